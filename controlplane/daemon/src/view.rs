//! What the control plane knows now, shared by the driver that learns it and the API that tells it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use midspan_node::recorder::Reader;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, watch};

use crate::api::types::{
    ApiError, AreaStatus, ExportStatus, NodeStatus, Role, TakeoverProgress, TakeoverRequest,
};
use crate::events::{EventLog, Tell};
use crate::{clock, metrics};

/// What the API asks of the driver.
#[derive(Debug)]
pub enum Request {
    /// Take a group over; steps go to `progress`.
    Takeover {
        /// Name of the group.
        group: String,
        /// How.
        request: TakeoverRequest,
        /// Where steps are told.
        progress: watch::Sender<TakeoverProgress>,
    },
}

/// Requests that may wait for the driver.
pub const MAX_REQUESTS: usize = 64;

/// Everything known of this node.
#[derive(Debug, Default)]
pub struct View {
    /// The node and its groups.
    pub status: NodeStatus,
    /// The areas of its journal disk.
    pub areas: Vec<AreaStatus>,
    /// What hosts can open.
    pub exports: Vec<ExportStatus>,
    /// What happened.
    pub events: EventLog,
    /// What the shards count.
    pub counters: Vec<metrics::Sample>,
}

/// The view, and the way to ask the driver.
#[derive(Debug)]
pub struct Shared {
    view: Mutex<View>,
    takeovers: Mutex<BTreeMap<String, watch::Receiver<TakeoverProgress>>>,
    requests: Sender<Request>,
    ending: Notify,
    started: Instant,
    recorders: Vec<Reader>,
}

impl Shared {
    /// A first view; requests go to the driver through `requests`.
    pub fn new(view: View, requests: Sender<Request>) -> Self {
        let takeovers = Mutex::new(BTreeMap::new());
        Self {
            view: Mutex::new(view),
            takeovers,
            requests,
            ending: Notify::new(),
            started: clock::now(),
            recorders: Vec::new(),
        }
    }

    /// With the flight recorders of the shards.
    pub fn with_recorders(self, recorders: &[Reader]) -> Self {
        Self { recorders: recorders.to_vec(), ..self }
    }

    /// The flight recorders of the shards.
    pub fn recorders(&self) -> &[Reader] {
        &self.recorders
    }

    /// The view, locked. Held only for copying out or in: never across a wait.
    pub fn view(&self) -> MutexGuard<'_, View> {
        // A thread that panicked while holding it has aborted the process; in tests the data is whole anyway.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    /// The status as of now.
    pub fn status(&self) -> NodeStatus {
        let mut status = self.view().status.clone();
        status.uptime_ms = u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX);
        status
    }

    /// Tells people.
    pub fn tell(&self, tell: Tell) {
        self.view().events.tell(clock::wall_ns(), tell);
    }

    /// Begins a takeover, or joins the one that runs.
    ///
    /// # Errors
    /// When the group is not known here, this node is not its secondary, or the driver cannot take it.
    pub fn takeover(
        &self,
        group: &str,
        request: TakeoverRequest,
    ) -> Result<watch::Receiver<TakeoverProgress>, ApiError> {
        self.may_take_over(group)?;
        let mut takeovers = self.takeovers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = takeovers.get(group)
            && !running.borrow().is_final()
            && running.has_changed().is_ok()
        {
            return Ok(running.clone());
        }
        let first = TakeoverProgress {
            group: group.to_owned(),
            phase: "starting".to_owned(),
            message: "asks the shard of the group".to_owned(),
            ..TakeoverProgress::default()
        };
        let (progress, receiver) = watch::channel(first);
        let asked = Request::Takeover { group: group.to_owned(), request, progress };
        self.ask(asked)?;
        takeovers.insert(group.to_owned(), receiver.clone());
        Ok(receiver)
    }

    /// The newest step of the group's last takeover.
    pub fn last_takeover(&self, group: &str) -> Option<TakeoverProgress> {
        let takeovers = self.takeovers.lock().unwrap_or_else(PoisonError::into_inner);
        takeovers.get(group).map(|receiver| receiver.borrow().clone())
    }

    /// Asks for the end of the daemon.
    pub fn end(&self) {
        self.ending.notify_one();
    }

    /// Waits until somebody asks for the end.
    pub async fn ended(&self) {
        self.ending.notified().await;
    }

    fn ask(&self, request: Request) -> Result<(), ApiError> {
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => {
                ApiError::new("refused", "too many requests are waiting", "try again in a moment")
            }
            TrySendError::Closed(_) => ApiError::new("refused", "the daemon is ending", ""),
        })
    }

    fn may_take_over(&self, group: &str) -> Result<(), ApiError> {
        let view = self.view();
        let node = &view.status.node;
        let Some(found) = view.status.groups.iter().find(|g| g.group == group) else {
            return Err(unknown_group(group, node));
        };
        match found.role {
            Role::Secondary => Ok(()),
            Role::Primary => Err(ApiError::new(
                "refused",
                format!("group {group}: node {node} is its primary already, in state {}", found.state),
                "a takeover runs on the secondary's site",
            )),
            Role::Relay => Err(ApiError::new(
                "refused",
                format!("group {group}: node {node} is a relay and holds no volumes"),
                "a takeover runs on the secondary's site",
            )),
            Role::Unknown => Err(ApiError::new(
                "refused",
                format!("group {group}: node {node} does not know its role yet"),
                "try again in a moment",
            )),
        }
    }
}

/// No such group here.
pub fn unknown_group(group: &str, node: &str) -> ApiError {
    let message = format!("group {group} is not known at node {node}");
    ApiError::new("not_found", message, "`midspan status` lists the groups of the node")
}
