//! Operations that were asked for: running, ended, interrupted by the daemon's end.

use std::collections::BTreeMap;

use crate::api::types::{ApiError, OperationState, OperationStatus};

/// Operations that are kept.
pub const KEPT: usize = 1000;

/// The newest operations, by their numbers.
#[derive(Debug, Default)]
pub struct OperationLog {
    last: u64,
    list: BTreeMap<u64, OperationStatus>,
}

/// An operation that begins.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    /// Name of the group.
    pub group: String,
    /// Its kind in a word.
    pub kind: &'static str,
    /// What else was asked.
    pub with: String,
    /// Who asked.
    pub asked_by: String,
}

impl OperationLog {
    /// Goes on behind the operations of earlier runs. What had not ended then is interrupted: returned, to be told.
    pub fn of_earlier_runs(operations: Vec<OperationStatus>, now_ns: u64) -> (Self, Vec<OperationStatus>) {
        let mut log = Self::default();
        let mut interrupted = Vec::new();
        for mut operation in operations {
            if operation.state == OperationState::Running {
                operation.state = OperationState::Interrupted;
                operation.ended_ns = Some(now_ns);
                operation.message = format!("the daemon ended while it was at `{}`", operation.phase);
                "`midspan status` tells where the group stands: the data plane goes on by itself; what is still wanted \
                 can be asked for again"
                    .clone_into(&mut operation.hint);
                interrupted.push(operation.clone());
            }
            log.last = log.last.max(operation.operation);
            log.list.insert(operation.operation, operation);
        }
        (log, interrupted)
    }

    /// One begins.
    pub fn begin(&mut self, now_ns: u64, begun: Begun) -> OperationStatus {
        let Begun { group, kind, with, asked_by } = begun;
        self.last += 1;
        let operation = OperationStatus {
            operation: self.last,
            group,
            kind: kind.to_owned(),
            with,
            asked_by,
            started_ns: now_ns,
            phase: "starting".to_owned(),
            ..OperationStatus::default()
        };
        self.list.insert(self.last, operation.clone());
        while self.list.len() > KEPT {
            self.list.pop_first();
        }
        operation
    }

    /// One goes on. Returns it as it is now, where that is new.
    pub fn step(&mut self, number: u64, phase: &str, message: &str) -> Option<OperationStatus> {
        let operation = self.list.get_mut(&number)?;
        let is_new = operation.phase != phase;
        phase.clone_into(&mut operation.phase);
        message.clone_into(&mut operation.message);
        is_new.then(|| operation.clone())
    }

    /// One ends. Returns it as it is now.
    pub fn end(&mut self, number: u64, now_ns: u64, ended: Ended) -> Option<OperationStatus> {
        let operation = self.list.get_mut(&number)?;
        let Ended { state, message, hint } = ended;
        operation.state = state;
        operation.ended_ns = Some(now_ns);
        if state == OperationState::Done {
            "done".clone_into(&mut operation.phase);
        }
        (operation.message, operation.hint) = (message, hint);
        Some(operation.clone())
    }

    /// One of them.
    pub fn get(&self, number: u64) -> Option<&OperationStatus> {
        self.list.get(&number)
    }

    /// The newest ones, oldest first.
    pub fn newest(&self, group: Option<&str>, limit: usize) -> Vec<OperationStatus> {
        let of_group = |operation: &&OperationStatus| group.is_none_or(|group| operation.group == group);
        let mut newest: Vec<OperationStatus> =
            self.list.values().rev().filter(of_group).take(limit).cloned().collect();
        newest.reverse();
        newest
    }
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// In which way.
    pub state: OperationState,
    /// The outcome or the refusal.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl Ended {
    /// It did what was asked.
    pub fn done(message: impl Into<String>) -> Self {
        Self { state: OperationState::Done, message: message.into(), hint: String::new() }
    }

    /// It was refused.
    pub fn refused(error: &ApiError) -> Self {
        Self { state: OperationState::Refused, message: error.message.clone(), hint: error.hint.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(group: &str) -> Begun {
        Begun { group: group.into(), kind: "takeover", ..Begun::default() }
    }

    fn done() -> Ended {
        Ended::done("lost: 0")
    }

    #[test]
    fn an_operation_is_kept_from_its_begin_to_its_end() {
        let mut log = OperationLog::default();
        let number = log.begin(5, begun("vault")).operation;
        assert!(log.step(number, "fencing", "fences").is_some());
        assert!(log.step(number, "fencing", "still fences").is_none(), "only a new step is worth writing");
        let ended = log.end(number, 9, done()).unwrap();
        assert_eq!(
            (ended.state, ended.phase.as_str(), ended.ended_ns),
            (OperationState::Done, "done", Some(9))
        );
        assert_eq!(log.get(number), Some(&ended));
        assert!(log.step(77, "x", "").is_none() && log.end(77, 0, done()).is_none());
    }

    #[test]
    fn what_ran_when_the_daemon_ended_is_interrupted_and_numbers_go_on() {
        let mut log = OperationLog::default();
        let first = log.begin(1, begun("vault")).operation;
        log.end(first, 2, done());
        let second = log.begin(3, begun("vault")).operation;
        log.step(second, "reading", "reads");
        let (mut log, interrupted) = OperationLog::of_earlier_runs(log.newest(None, KEPT), 50);
        let [operation] = &interrupted[..] else { panic!("{interrupted:?}") };
        assert_eq!((operation.operation, operation.state), (second, OperationState::Interrupted));
        assert!(operation.message.contains("reading") && operation.hint.contains("midspan status"));
        assert_eq!(log.get(first).map(|operation| operation.state), Some(OperationState::Done));
        assert_eq!(log.begin(51, begun("db")).operation, second + 1);
        assert_eq!(log.newest(Some("vault"), 1)[0].operation, second);
    }

    #[test]
    fn only_the_newest_operations_are_kept() {
        let mut log = OperationLog::default();
        for _ in 0..KEPT + 3 {
            log.begin(0, begun("vault"));
        }
        let kept = log.newest(None, usize::MAX);
        assert_eq!((kept.len(), kept[0].operation), (KEPT, 4));
    }
}
