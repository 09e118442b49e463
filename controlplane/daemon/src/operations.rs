//! Operations that were asked for: running, ended, interrupted by the daemon's end.

use std::collections::BTreeMap;

use crate::api::types::{ApiError, OperationState, OperationStatus, TakeoverRequest};

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
    /// Number of the group's epoch.
    pub epoch: u64,
}

/// What an earlier run of the daemon has left behind of an operation that goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Number of the group's epoch when it was asked for.
    pub epoch: u64,
    /// This site had handed over to the other one.
    pub handed_over: bool,
}

/// What had not ended when the daemon did.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// What goes on in this run.
    pub goes_on: Vec<OperationStatus>,
    /// What does not, as it is now.
    pub ended: Vec<OperationStatus>,
}

impl OperationLog {
    /// Goes on behind the operations of earlier runs.
    pub fn of_earlier_runs(operations: Vec<OperationStatus>, now_ns: u64) -> (Self, Unfinished) {
        let (mut log, mut unfinished) = (Self::default(), Unfinished::default());
        for mut operation in operations {
            log.last = log.last.max(operation.operation);
            if operation.state == OperationState::Running {
                match fate(&operation) {
                    Fate::GoesOn => unfinished.goes_on.push(operation.clone()),
                    Fate::Ends(hint) => {
                        operation.state = OperationState::Interrupted;
                        operation.ended_ns = Some(now_ns);
                        operation.message = format!("the daemon ended while it was at `{}`", operation.phase);
                        hint.clone_into(&mut operation.hint);
                        unfinished.ended.push(operation.clone());
                    }
                }
            }
            log.list.insert(operation.operation, operation);
        }
        log.end_cancelled(&mut unfinished, now_ns);
        (log, unfinished)
    }

    /// What somebody had cancelled before the daemon ended does not go on.
    fn end_cancelled(&mut self, unfinished: &mut Unfinished, now_ns: u64) {
        let by = |found: &OperationStatus| {
            let later = self.list.range(found.operation + 1..).map(|(_, later)| later);
            let mut later = later.filter(|later| later.group == found.group && cancels(later, &found.kind));
            later.find(|later| later.state != OperationState::Refused).map(|later| later.operation)
        };
        let cancelled: Vec<(u64, u64)> =
            unfinished.goes_on.iter().filter_map(|found| Some((found.operation, by(found)?))).collect();
        for (number, by) in cancelled {
            unfinished.goes_on.retain(|found| found.operation != number);
            let ended = Ended {
                state: OperationState::Refused,
                message: format!("it was cancelled by operation {by} before the daemon ended"),
                hint: "`midspan status` shows the roles".to_owned(),
            };
            unfinished.ended.extend(self.end(number, now_ns, ended));
        }
    }

    /// One begins.
    pub fn begin(&mut self, now_ns: u64, begun: Begun) -> OperationStatus {
        let Begun { group, kind, with, asked_by, epoch } = begun;
        self.last += 1;
        let operation = OperationStatus {
            operation: self.last,
            group,
            kind: kind.to_owned(),
            with,
            asked_by,
            epoch,
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

    /// How much of one is done. That is shown and not kept: it changes all the time.
    pub fn share(&mut self, number: u64, share: Share) {
        if let Some(operation) = self.list.get_mut(&number) {
            operation.percent = Some(share.percent);
            (operation.bytes_per_second, operation.eta_seconds) = (share.bytes_per_second, share.eta_seconds);
        }
    }

    /// One ends. Returns it as it is now.
    pub fn end(&mut self, number: u64, now_ns: u64, ended: Ended) -> Option<OperationStatus> {
        let operation = self.list.get_mut(&number)?;
        let Ended { state, message, hint } = ended;
        operation.state = state;
        operation.ended_ns = Some(now_ns);
        (operation.bytes_per_second, operation.eta_seconds) = (None, None);
        if state == OperationState::Done {
            "done".clone_into(&mut operation.phase);
            operation.percent = operation.percent.map(|_| 100.0);
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

/// What becomes of an operation that had not ended when the daemon did.
enum Fate {
    /// Asking for it again is the same as going on with it.
    GoesOn,
    /// It is interrupted, and this is what to do.
    Ends(&'static str),
}

fn fate(operation: &OperationStatus) -> Fate {
    let asks_only = TakeoverRequest::of(&operation.with).dry_run;
    match operation.kind.as_str() {
        "takeover" if asks_only => Fate::Ends("nothing was changed: ask again"),
        "takeover" | "switchover" | "failback" | "pause" | "resume" | "resolve" => Fate::GoesOn,
        "abort" => Fate::Ends(
            "what the takeover had fenced is given back by itself as soon as the relay answers: `midspan status` at both sites",
        ),
        "prevail" => Fate::Ends(
            "`midspan status` tells whether hosts are served here; where the state is still `split`, ask for it again",
        ),
        "without_journal" => Fate::Ends(
            "`midspan status` tells whether hosts are served; where the state is still `starting`, ask for it again",
        ),
        "verify" => Fate::Ends("nothing was changed: ask again"),
        "round" => Fate::Ends(
            "nothing is to be done: another round follows by itself, and sends what may still differ",
        ),
        _ => Fate::Ends("`midspan status` tells where the group stands"),
    }
}

/// Whether an operation is there to end one of that kind.
fn cancels(operation: &OperationStatus, kind: &str) -> bool {
    match operation.kind.as_str() {
        "abort" => kind == "takeover",
        "stay" => kind == "switchover" || kind == "failback",
        _ => false,
    }
}

/// How much of an operation is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Percent.
    pub percent: f64,
    /// How fast it is.
    pub bytes_per_second: Option<u64>,
    /// When it will have ended.
    pub eta_seconds: Option<f64>,
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

    /// A log after a restart, in which the last operation of each kind had not ended.
    fn restarted(asked: &[(&'static str, &str)]) -> (OperationLog, Unfinished) {
        let mut log = OperationLog::default();
        for (kind, with) in asked {
            let begun = Begun { kind, with: (*with).to_owned(), epoch: 4, ..begun("vault") };
            let number = log.begin(3, begun).operation;
            log.step(number, "fencing", "fences");
        }
        OperationLog::of_earlier_runs(log.newest(None, KEPT), 50)
    }

    #[test]
    fn what_ran_when_the_daemon_ended_goes_on_under_its_number_and_with_what_was_asked() {
        for (kind, with) in
            [("takeover", ""), ("takeover", "accept_loss"), ("switchover", ""), ("failback", "")]
        {
            let (mut log, unfinished) = restarted(&[(kind, with)]);
            let [operation] = &unfinished.goes_on[..] else { panic!("{unfinished:?}") };
            assert!(unfinished.ended.is_empty() && operation.state == OperationState::Running);
            assert_eq!((operation.operation, operation.with.as_str(), operation.epoch), (1, with, 4));
            assert_eq!(log.begin(51, begun("db")).operation, 2);
        }
        assert!(TakeoverRequest::of("accept_loss").accept_loss);
    }

    #[test]
    fn what_only_asks_or_goes_on_by_itself_is_interrupted_and_says_what_to_do() {
        for (kind, with, hint) in [
            ("takeover", "dry_run", "ask again"),
            ("takeover", "dry_run, accept_loss", "ask again"),
            ("abort", "", "given back by itself"),
            ("without_journal", "", "midspan status"),
        ] {
            let (log, unfinished) = restarted(&[(kind, with)]);
            let [operation] = &unfinished.ended[..] else { panic!("{unfinished:?}") };
            assert!(unfinished.goes_on.is_empty());
            assert_eq!((operation.state, operation.ended_ns), (OperationState::Interrupted, Some(50)));
            assert!(operation.message.contains("fencing") && operation.hint.contains(hint), "{operation:?}");
            assert_eq!(log.get(1), Some(operation));
        }
    }

    #[test]
    fn what_was_cancelled_does_not_go_on() {
        for (kind, by) in [("takeover", "abort"), ("switchover", "stay"), ("failback", "stay")] {
            let (log, unfinished) = restarted(&[(kind, ""), (by, "")]);
            assert!(unfinished.goes_on.is_empty(), "{unfinished:?}");
            let ended = log.get(1).unwrap();
            assert_eq!(ended.state, OperationState::Refused);
            assert!(ended.message.contains("cancelled by operation 2"), "{ended:?}");
        }
        let (_, unfinished) = restarted(&[("abort", ""), ("takeover", "")]);
        assert_eq!(unfinished.goes_on.len(), 1, "an older abort is one of another takeover");
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
