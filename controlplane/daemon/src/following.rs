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
    /// The sites are compared.
    Verify,
    /// Something else.
    Change(Change),
}

impl Operation {
    /// The word for it in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Operation::Takeover => "takeover",
            Operation::Verify => "verify",
            Operation::Change(change) => change.word(),
        }
    }

    /// Kind of the event that it was refused.
    pub const fn refused(self) -> &'static str {
        match self {
            Operation::Takeover => "takeover_refused",
            Operation::Verify => "verify_refused",
            Operation::Change(Change::Abort) => "abort_refused",
            Operation::Change(Change::Switchover) => "switchover_refused",
            Operation::Change(Change::Stay) => "cancel_refused",
            Operation::Change(Change::Failback) => "failback_refused",
            Operation::Change(Change::Pause) => "pause_refused",
            Operation::Change(Change::Resume) => "resume_refused",
            Operation::Change(Change::Resolve | Change::Prevail) => "resolve_refused",
            Operation::Change(Change::WithoutJournal) => "start_refused",
            Operation::Change(Change::EndVerify) => "cancel_refused",
        }
    }
}

/// An operation, how it was asked for, and where its steps are told.
#[derive(Debug)]
struct Followed<W, T> {
    how: W,
    steps: watch::Receiver<Progress<T>>,
}

/// The newest operation of each kind.
#[derive(Debug)]
pub struct Following<K, W, T> {
    newest: Mutex<BTreeMap<K, Followed<W, T>>>,
}

impl<K, W, T> Default for Following<K, W, T> {
    fn default() -> Self {
        Self { newest: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Ord, W: PartialEq, T: Clone + Default> Following<K, W, T> {
    /// Joins the operation that runs under this key and was asked for in the same way, or begins one: `ask` passes it on.
    /// Whoever asks in another way must not take the outcome of this one for his own: `differs` says so, told how the one that
    /// runs was asked for and its number.
    ///
    /// # Errors
    /// Those of `ask` and of `differs`.
    pub fn join_or_begin(
        &self,
        key: K,
        how: W,
        group: &str,
        differs: impl FnOnce(&W, u64) -> ApiError,
        ask: impl FnOnce(watch::Sender<Progress<T>>) -> Result<(), ApiError>,
    ) -> Result<watch::Receiver<Progress<T>>, ApiError> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = newest.get(&key)
            && runs(&running.steps)
        {
            let operation = running.steps.borrow().operation;
            let is_same = running.how == how;
            return if is_same { Ok(running.steps.clone()) } else { Err(differs(&running.how, operation)) };
        }
        let first = Progress {
            group: group.to_owned(),
            phase: "starting".to_owned(),
            message: "asks the shard of the group".to_owned(),
            ..Progress::default()
        };
        let (progress, steps) = watch::channel(first);
        ask(progress)?;
        newest.insert(key, Followed { how, steps: steps.clone() });
        Ok(steps)
    }

    /// The newest step of the newest operation under this key.
    pub fn newest(&self, key: &K) -> Option<Progress<T>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(key).map(|found| found.steps.borrow().clone())
    }

    /// Where the steps of the newest operation under this key are told.
    pub fn receiver(&self, key: &K) -> Option<watch::Receiver<Progress<T>>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(key).map(|found| found.steps.clone())
    }

    /// Whether one runs under this key.
    pub fn runs(&self, key: &K) -> bool {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(key).is_some_and(|found| runs(&found.steps))
    }
}

/// Whether more steps will come.
fn runs<T>(receiver: &watch::Receiver<Progress<T>>) -> bool {
    !receiver.borrow().is_final() && receiver.has_changed().is_ok()
}
