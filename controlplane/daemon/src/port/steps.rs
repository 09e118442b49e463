//! Which operation a step of the data plane belongs to, and what the driver is told of it.

use midspan_node::port::{HandoverNote, HandoverRefusal, StartNote, StartRefusal};

use super::{DataPlane, Port, Wait};
use crate::api::types::{ApiError, Change};
use crate::driver::{News, Step};
use crate::following::Operation;
use crate::{measure, words};

impl<P: DataPlane> Port<P> {
    /// A start goes on. False when nobody waits for it: then it is told as an event.
    pub(super) fn on_start(&mut self, index: usize, step: &StartNote) -> bool {
        let operation = self.addressee(index, step);
        if !self.runs(index, operation) {
            return false;
        }
        let group = self.name(index);
        let step = match step {
            StartNote::Fencing => Step::Fencing,
            StartNote::Reading { from, to } => Step::Reading { from: from.0, to: to.0 },
            StartNote::Redoing => Step::Redoing,
            StartNote::Skipping { landed, last } => Step::Skipping { landed: landed.0, last: last.0 },
            // The event says what may be missing.
            StartNote::Done(_) if let Operation::Change(change) = operation => {
                self.changed(index, change);
                self.ask_group(index);
                return false;
            }
            StartNote::Done(found) | StartNote::Probed(found) => {
                let report = Box::new(measure::takeover(&self.objects.names, found));
                self.waits.insert((index, operation), Wait::Ended(News::Taken { group, report }));
                // Whoever hears of the end must find it in the status, too.
                self.ask_group(index);
                return true;
            }
            StartNote::Aborted => {
                self.changed(index, Change::Abort);
                self.end_undone(index);
                self.ask_group(index);
                return true;
            }
            StartNote::Refused(refusal) => {
                let error = self.objects.names.start_refused(&format!("group:{group}"), *refusal);
                self.refuse(index, operation, error);
                if operation == Operation::Change(Change::Abort) {
                    self.end_undone(index);
                }
                return true;
            }
        };
        self.news.push(News::Step { group, operation, step });
        true
    }

    /// Which operation a step belongs to. Once an abort was taken no takeover runs any more.
    fn addressee(&self, index: usize, step: &StartNote) -> Operation {
        let abort = Operation::Change(Change::Abort);
        let word = Operation::Change(Change::WithoutJournal);
        if self.runs(index, word) {
            return word;
        }
        // In a split nothing else starts here.
        let prevail = Operation::Change(Change::Prevail);
        let other = matches!(step, StartNote::Refused(StartRefusal::NotSplit | StartRefusal::NothingToAbort));
        if self.runs(index, prevail) && !other {
            return prevail;
        }
        match step {
            StartNote::Refused(StartRefusal::NotToBeKept) => prevail,
            StartNote::Aborted | StartNote::Refused(StartRefusal::NothingToAbort) => abort,
            StartNote::Refused(StartRefusal::NotSplit) => Operation::Change(Change::Resolve),
            StartNote::Refused(_) if matches!(self.waits.get(&(index, abort)), Some(Wait::Taken)) => abort,
            StartNote::Refused(_)
            | StartNote::Fencing
            | StartNote::Reading { .. }
            | StartNote::Redoing
            | StartNote::Skipping { .. }
            | StartNote::Done(_)
            | StartNote::Probed(_) => Operation::Takeover,
        }
    }

    /// An abort has ended the takeover that somebody waited for.
    fn end_undone(&mut self, index: usize) {
        if matches!(self.waits.get(&(index, Operation::Takeover)), Some(Wait::Running)) {
            let message = format!("group {}: the takeover was ended by an abort", self.name(index));
            let error = ApiError::new("refused", message, "`midspan status` shows the roles");
            self.refuse(index, Operation::Takeover, error);
        }
    }

    /// A switchover goes on. False when nobody waits for it: then it is told as an event.
    pub(super) fn on_handover(&mut self, index: usize, step: HandoverNote) -> bool {
        let stays = self.runs(index, Operation::Change(Change::Stay));
        if step == HandoverNote::Refused(HandoverRefusal::Cancelled) && stays {
            self.changed(index, Change::Stay);
            self.ask_group(index);
        }
        if step == HandoverNote::NotCancelled && stays {
            self.refuse(index, Operation::Change(Change::Stay), words::not_cancelled(&self.name(index)));
            return true;
        }
        let waited = [Change::Switchover, Change::Failback]
            .into_iter()
            .find(|change| self.runs(index, Operation::Change(*change)));
        let Some(change) = waited else { return false };
        let (group, operation) = (self.name(index), Operation::Change(change));
        match step {
            HandoverNote::Draining => {
                self.news.push(News::Step { group, operation, step: Step::Draining });
            }
            HandoverNote::Given { took_ns } => {
                self.waits.remove(&(index, operation));
                self.news.push(News::Step { group: group.clone(), operation, step: Step::HandedOver });
                self.news.push(News::HandedOver { group, change, drained_ns: took_ns });
                self.ask_group(index);
            }
            HandoverNote::Refused(refusal) => {
                let error = words::handover_error(&group, refusal);
                self.refuse(index, operation, error);
            }
            HandoverNote::NotCancelled => return false,
        }
        true
    }
}
