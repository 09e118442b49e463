//! What happens and what is asked for: shown at once, kept as soon as the disk has it.

use std::sync::PoisonError;
use std::time::Duration;

use crate::api::types::OperationStatus;
use crate::clock;
use crate::events::Tell;
use crate::operations::{Begun, Ended};
use crate::state::{Entry, NotKept, Writer};

use super::Shared;

/// How long what is begun waits at most for the disk under the state.
const RECORDED: Duration = Duration::from_millis(500);

impl Shared {
    /// Tells people.
    pub fn tell(&self, tell: Tell) {
        let event = self.view().events.tell(clock::wall_ns(), tell);
        self.keep(Entry::Event(event));
    }

    /// An operation begins; returns its number.
    pub fn begin_operation(&self, begun: Begun) -> u64 {
        let operation = self.view().operations.begin(clock::wall_ns(), begun);
        let number = operation.operation;
        self.keep(Entry::Operation(operation));
        number
    }

    /// An operation goes on.
    pub fn step_operation(&self, number: u64, phase: &str, message: &str) {
        let changed = self.view().operations.step(number, phase, message);
        self.keep_operation(changed);
    }

    /// An operation ends.
    pub fn end_operation(&self, number: u64, ended: Ended) {
        let changed = self.view().operations.end(number, clock::wall_ns(), ended);
        self.keep_operation(changed);
    }

    /// Keeps an operation as it is now.
    pub fn keep_operation(&self, operation: Option<OperationStatus>) {
        if let Some(operation) = operation {
            self.keep(Entry::Operation(operation));
        }
    }

    /// Rounds of a group are held, or are not any more: also after a restart.
    pub fn hold(&self, group: &str, held: bool) {
        self.keep(Entry::Held { group: group.to_owned(), held });
    }

    /// Waits until the disk has what was told so far, so that a kill from then on finds it. A disk that does not answer holds
    /// nothing up for long: what is done does not depend on it.
    pub async fn recorded(&self) {
        let progress =
            self.writer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Writer::progress);
        if let Some((given, mut kept)) = progress {
            // It has given up, or is too slow: that is told elsewhere.
            let _ = tokio::time::timeout(RECORDED, kept.wait_for(|kept| *kept >= given)).await;
        }
    }

    /// Waits until everything is kept; nothing is kept after that.
    pub fn finish_keeping(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && !writer.finish()
        {
            tracing::warn!("the last events are not kept: the disk under `state` does not answer");
        }
    }

    /// Keeps an entry, where this node keeps any; never waits for the disk. Tells once when that has become impossible.
    fn keep(&self, entry: Entry) {
        let mut keeping = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = keeping.as_mut() else { return };
        match writer.keep(entry) {
            Ok(()) => {}
            Err(NotKept::Full) => {
                tracing::warn!("an event is shown but not kept: the disk under `state` is too slow");
            }
            Err(NotKept::Failed) => {
                let why = writer.failure().unwrap_or("it has ended").to_owned();
                *keeping = None;
                drop(keeping);
                let message = format!("events and operations are not kept any more: {why}");
                let tell = Tell::error("state_failed", "node", message).hint(
                    "replication does not need them; check the disk under `state` and restart the node",
                );
                self.view().events.tell(clock::wall_ns(), tell);
            }
        }
    }
}
