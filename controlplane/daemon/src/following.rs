//! Operations that people follow: whoever asks again joins the one that runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::api::types::{ApiError, Change, Progress};

/// What can be asked of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// The secondary becomes primary.
    Takeover,
    /// Something else.
    Change(Change),
}

impl Operation {
    /// The word for it in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Operation::Takeover => "takeover",
            Operation::Change(change) => change.word(),
        }
    }

    /// Kind of the event that it was refused.
    pub const fn refused(self) -> &'static str {
        match self {
            Operation::Takeover => "takeover_refused",
            Operation::Change(Change::Abort) => "abort_refused",
            Operation::Change(Change::Switchover) => "switchover_refused",
            Operation::Change(Change::Failback) => "failback_refused",
            Operation::Change(Change::Pause) => "pause_refused",
            Operation::Change(Change::Resume) => "resume_refused",
            Operation::Change(Change::Resolve) => "resolve_refused",
            Operation::Change(Change::WithoutJournal) => "start_refused",
        }
    }
}

/// The newest operation of each kind.
#[derive(Debug)]
pub struct Following<K, T> {
    newest: Mutex<BTreeMap<K, watch::Receiver<Progress<T>>>>,
}

impl<K, T> Default for Following<K, T> {
    fn default() -> Self {
        Self { newest: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Ord, T: Clone + Default> Following<K, T> {
    /// Joins the operation that runs under this key, or begins one: `ask` passes it on.
    ///
    /// # Errors
    /// Those of `ask`.
    pub fn join_or_begin(
        &self,
        key: K,
        group: &str,
        ask: impl FnOnce(watch::Sender<Progress<T>>) -> Result<(), ApiError>,
    ) -> Result<watch::Receiver<Progress<T>>, ApiError> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = newest.get(&key)
            && runs(running)
        {
            return Ok(running.clone());
        }
        let first = Progress {
            group: group.to_owned(),
            phase: "starting".to_owned(),
            message: "asks the shard of the group".to_owned(),
            ..Progress::default()
        };
        let (progress, receiver) = watch::channel(first);
        ask(progress)?;
        newest.insert(key, receiver.clone());
        Ok(receiver)
    }

    /// The newest step of the newest operation under this key.
    pub fn newest(&self, key: &K) -> Option<Progress<T>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(key).map(|receiver| receiver.borrow().clone())
    }

    /// Whether one runs under this key.
    pub fn runs(&self, key: &K) -> bool {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).get(key).is_some_and(runs)
    }
}

/// Whether more steps will come.
fn runs<T>(receiver: &watch::Receiver<Progress<T>>) -> bool {
    !receiver.borrow().is_final() && receiver.has_changed().is_ok()
}
