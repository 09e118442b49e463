//! What an earlier run of the daemon had not ended is followed in this one, as if it had been asked for here.

use tokio::sync::watch;

use crate::api::types::{
    ApiError, Change, OperationState, OperationStatus, Progress, TakeoverProgress, TakeoverRequest,
};
use crate::operations::{Before, Ended};

use super::{Request, Shared, unknown_group};

/// Who asks for a takeover that no operator asks for.
pub const AUTOMATIC: &str = "automatic: the primary is dead";
/// The step in which it is until the data plane is asked.
const RESUMING: &str = "resuming";
/// The step in which this site has handed over.
const HANDED_OVER: &str = "handed_over";

impl Shared {
    /// Goes on with an operation under its number.
    pub fn go_on(&self, found: &OperationStatus) {
        let number = found.operation;
        let handed_over = found.phase == HANDED_OVER;
        let phase = if handed_over { HANDED_OVER } else { RESUMING };
        let message = format!(
            "the daemon ended while it was at `{}`: it goes on when it is known how the group stands",
            found.phase
        );
        self.step_operation(number, phase, &message);
        let before = Before { epoch: found.epoch, handed_over };
        let followed = if self.is_here(&found.group) {
            self.follow_again(found, before, phase, &message)
        } else {
            // It was taken out of the config meanwhile.
            let node = self.view().status.node.clone();
            Err(unknown_group(&found.group, &node))
        };
        if let Err(error) = followed {
            self.end_operation(number, Ended::refused(&error));
        }
    }

    fn is_here(&self, group: &str) -> bool {
        self.view().status.groups.iter().any(|found| found.group == group)
    }

    fn follow_again(
        &self,
        found: &OperationStatus,
        before: Before,
        phase: &str,
        message: &str,
    ) -> Result<(), ApiError> {
        let (operation, before, group) = (found.operation, Some(before), found.group.clone());
        let differs = |number| {
            let message = format!("operation {number} of the same group goes on already");
            ApiError::new("refused", message, "`midspan operations` shows it")
        };
        if found.kind == "takeover" {
            let request = TakeoverRequest::of(&found.with);
            let ask = |progress: watch::Sender<TakeoverProgress>| {
                progress.send_modify(|first| set(first, operation, phase, message));
                self.ask(Request::Takeover { operation, group: group.clone(), request, before, progress })
            };
            let differs = |_: &TakeoverRequest, number| differs(number);
            return self.takeovers.join_or_begin(group.clone(), request, &group, differs, ask).map(drop);
        }
        let Some(change) = Change::ALL.into_iter().find(|change| change.word() == found.kind) else {
            let message = format!("this version knows no {}", found.kind);
            return Err(ApiError::new("refused", message, "`midspan status` tells where the group stands"));
        };
        let ask = |progress: watch::Sender<_>| {
            progress.send_modify(|first| set(first, operation, phase, message));
            self.ask(Request::Change { operation, group: group.clone(), change, before, progress })
        };
        let key = (group.clone(), change);
        self.changes
            .join_or_begin(key, found.with.clone(), &group, |_: &String, number| differs(number), ask)
            .map(drop)
    }

    /// The automatic takeover of a group that an earlier run had not ended.
    pub fn automatic_before(&self, group: &str) -> Option<watch::Receiver<TakeoverProgress>> {
        let newest = self.takeovers.receiver(&group.to_owned())?;
        let number = newest.borrow().operation;
        let view = self.view();
        let found = view.operations.get(number)?;
        (found.state == OperationState::Running && found.asked_by == AUTOMATIC).then_some(newest)
    }
}

fn set<T>(progress: &mut Progress<T>, operation: u64, phase: &str, message: &str) {
    progress.operation = operation;
    phase.clone_into(&mut progress.phase);
    message.clone_into(&mut progress.message);
}
