//! Comparisons of the sites: how fast they are, when they will have ended, and what they found.

use std::collections::BTreeMap;

use midspan_control::estimate::SendRate;

use crate::api::types::{ApiError, GroupStatus, VerifyOutcome};
use crate::following::Operation;
use crate::operations::{Ended, Share};
use crate::view::Shared;

use super::Driver;

/// How fast those of all groups are.
pub(super) type Verifies = BTreeMap<String, SendRate>;

impl Driver {
    /// Rate and end of a comparison, from how far it was before; told to those who wait for it.
    pub(super) fn estimate_verify(&mut self, shared: &Shared, now_ns: u64, status: &mut GroupStatus) {
        let Some(found) = &mut status.verify else {
            self.verifies.remove(&status.group);
            return;
        };
        let rate = self.verifies.entry(status.group.clone()).or_default();
        rate.on_sample(now_ns, found.bytes_sent);
        found.bytes_per_second = rate.bytes_per_second();
        let seconds = rate.seconds_to_end(found.bytes);
        found.eta_seconds = seconds.and_then(|s| u32::try_from(s).ok()).map(f64::from);
        let Some(running) = self.running.get_mut(&(status.group.clone(), Operation::Verify)) else { return };
        let (percent, bytes_per_second, eta_seconds) =
            (found.percent, found.bytes_per_second, found.eta_seconds);
        let share = Share { percent, bytes_per_second, eta_seconds };
        shared.view().operations.share(running.operation, share);
        running.on_compared(now_ns, found);
    }

    /// A comparison has ended.
    pub(super) fn on_verified(&mut self, shared: &Shared, group: String, outcome: VerifyOutcome) {
        let Some(running) = self.running.remove(&(group, Operation::Verify)) else { return };
        let ended = if outcome.complete {
            Ended::done(outcome.statement.clone())
        } else {
            Ended::refused(&ApiError::new("refused", outcome.statement.clone(), "run it again"))
        };
        shared.end_operation(running.operation, ended);
        running.on_verified(outcome);
    }
}
