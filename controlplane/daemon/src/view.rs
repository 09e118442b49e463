//! What the control plane knows now, shared by the driver that learns it and the API that tells it.

mod again;
mod alone;
mod keeping;
mod orders;

pub use again::AUTOMATIC;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use midspan_node::recorder::Reader;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, watch};

use crate::alone::Place;
use crate::api::types::{
    ApiError, AreaStatus, Change, ChangeOutcome, ChangeProgress, ExportStatus, GroupConfig, KeptManifests,
    NodeStatus, TakeoverOutcome, TakeoverProgress, TakeoverRequest, VerifyOutcome, VerifyProgress,
    VerifyRequest,
};
use crate::events::EventLog;
use crate::following::Following;
use crate::operations::{Before, OperationLog};
use crate::state::Writer;
use crate::{clock, metrics};

/// What the API asks of the driver.
#[derive(Debug)]
pub enum Request {
    /// Take a group over; steps go to `progress`.
    Takeover {
        /// Number of the operation.
        operation: u64,
        /// Name of the group.
        group: String,
        /// How.
        request: TakeoverRequest,
        /// It was begun in an earlier run of the daemon.
        before: Option<Before>,
        /// Where steps are told.
        progress: watch::Sender<TakeoverProgress>,
    },
    /// Change something else of a group; steps go to `progress`.
    Change {
        /// Number of the operation.
        operation: u64,
        /// Name of the group.
        group: String,
        /// What.
        change: Change,
        /// It was begun in an earlier run of the daemon.
        before: Option<Before>,
        /// Where steps are told.
        progress: watch::Sender<ChangeProgress>,
    },
    /// Compare the sites; steps go to `progress`.
    Verify {
        /// Number of the operation.
        operation: u64,
        /// Name of the group.
        group: String,
        /// How.
        request: VerifyRequest,
        /// Where steps are told.
        progress: watch::Sender<VerifyProgress>,
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
    /// What the primaries here have listed and no receipt covers, by group.
    pub manifests: BTreeMap<String, KeptManifests>,
    /// How its groups are configured.
    pub configs: Vec<GroupConfig>,
    /// What hosts can open.
    pub exports: Vec<ExportStatus>,
    /// What happened.
    pub events: EventLog,
    /// What was asked for.
    pub operations: OperationLog,
    /// What the shards count.
    pub counters: Vec<metrics::Sample>,
}

/// The view, and the way to ask the driver.
#[derive(Debug)]
pub struct Shared {
    view: Mutex<View>,
    takeovers: Following<String, TakeoverRequest, TakeoverOutcome>,
    changes: Following<(String, Change), String, ChangeOutcome>,
    verifies: Following<String, VerifyRequest, VerifyOutcome>,
    requests: Sender<Request>,
    ending: Notify,
    started: Instant,
    recorders: Vec<Reader>,
    /// Where the groups whose volumes are here are kept.
    places: Vec<Place>,
    /// Where events and operations are kept.
    writer: Mutex<Option<Writer>>,
}

impl Shared {
    /// A first view; requests go to the driver through `requests`.
    pub fn new(view: View, requests: Sender<Request>) -> Self {
        Self {
            view: Mutex::new(view),
            takeovers: Following::default(),
            changes: Following::default(),
            verifies: Following::default(),
            requests,
            ending: Notify::new(),
            started: clock::now(),
            recorders: Vec::new(),
            places: Vec::new(),
            writer: Mutex::new(None),
        }
    }

    /// With a place where events and operations are kept.
    pub fn with_writer(self, writer: Option<Writer>) -> Self {
        Self { writer: Mutex::new(writer), ..self }
    }

    /// With the places of the groups whose volumes are here.
    pub fn with_places(self, places: Vec<Place>) -> Self {
        Self { places, ..self }
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
}

/// No such group here.
pub fn unknown_group(group: &str, node: &str) -> ApiError {
    let message = format!("group {group} is not known at node {node}");
    ApiError::new("not_found", message, "`midspan status` lists the groups of the node")
}
