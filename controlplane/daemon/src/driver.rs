//! Joins what the data plane tells with what the API asks: keeps the view, follows takeovers and changes.
//!
//! It is a machine: news and requests in, actions out; `now_ns` (monotonic) is a parameter. The loop that feeds it is in
//! [`crate::run`].

mod again;
mod forecast;
mod handing;
mod rounds;
mod verifying;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use midspan_control::estimate::{bytes_behind, time_behind};
use midspan_control::pair::{PairFacts, PairState};
use midspan_control::takeover::{Statement, TakeoverFacts};

use crate::api::types::{
    ApiError, AreaStatus, Change, ChangeOutcome, Epoch, GroupStatus, KeptManifests, Lag, Level,
    RefusedStatus, Role, TakeoverOutcome, TakeoverRequest, VerifyOutcome, VerifyRequest,
};
use crate::driver::again::Again;
use crate::driver::forecast::Forecasts;
use crate::driver::handing::{Handing, Pause};
use crate::driver::rounds::Rounds;
use crate::driver::verifying::Verifies;
use crate::driver::waiting::{Running, Waiting};
use crate::events::Tell;
use crate::following::Operation;
use crate::operations::Ended;
use crate::view::{Request, Shared};
use crate::{clock, metrics, words};

pub use self::rounds::RoundStep;

/// The same warning is told once in so many nanoseconds.
const QUIET_NS: u64 = 10_000_000_000;
/// Different warnings that are remembered for that.
const WARNINGS: usize = 64;

/// What the data plane tells, in the control plane's words.
#[derive(Debug)]
pub enum News {
    /// How a group stands.
    Group(Box<GroupNews>),
    /// How the areas of the journal disk stand, and what was refused there.
    Areas(Vec<AreaStatus>, Vec<RefusedStatus>),
    /// What the shards have counted.
    Counters(Vec<metrics::Sample>),
    /// An export started or stopped being served.
    Export {
        /// Name of the export.
        export: String,
        /// How hosts are served now.
        access: &'static str,
    },
    /// Something for people.
    Tell(Tell),
    /// A round made progress or ended.
    Round {
        /// Name of the group.
        group: String,
        /// How.
        step: RoundStep,
    },
    /// An operation goes on.
    Step {
        /// Name of the group.
        group: String,
        /// Which.
        operation: Operation,
        /// Where it is.
        step: Step,
    },
    /// A takeover ended.
    Taken {
        /// Name of the group.
        group: String,
        /// What it found.
        report: Box<Report>,
    },
    /// The sites were compared.
    Verified {
        /// Name of the group.
        group: String,
        /// What was found.
        outcome: Box<VerifyOutcome>,
    },
    /// A change ended.
    Changed {
        /// Name of the group.
        group: String,
        /// Which.
        change: Change,
    },
    /// This site has handed over; the change ends when the other site serves.
    HandedOver {
        /// Name of the group.
        group: String,
        /// Which change.
        change: Change,
        /// How long hosts waited here.
        drained_ns: u64,
    },
    /// An operation was refused.
    Refused {
        /// Name of the group.
        group: String,
        /// Which.
        operation: Operation,
        /// Why.
        error: ApiError,
    },
}

/// How a group stands: what is measured; the driver adds what is derived from it.
#[derive(Clone, Debug, Default)]
pub struct GroupNews {
    /// The measured part.
    pub status: GroupStatus,
    /// What makes its pair state.
    pub pair: PairFacts,
    /// Time of the newest record that the secondary is known to have applied.
    pub applied_time_ns: Option<u64>,
    /// Journal bytes that the secondary has not applied, where no watermarks say it.
    pub behind_bytes: Option<u64>,
    /// What its primary here has listed and no receipt covers.
    pub manifests: KeptManifests,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asks the lanes what they hold.
    Probing,
    /// Fences the lanes.
    Fencing,
    /// Reads and verifies the tail.
    Reading {
        /// From here.
        from: u64,
        /// To here.
        to: u64,
    },
    /// Brings the disks up to it.
    Redoing,
    /// By an operator's word the journal is not read: from when on answered writes may be missing, and the last time known, ns.
    Skipping {
        /// Everything up to this time is on the disks.
        landed: u64,
        /// The newest time that was recorded.
        last: u64,
    },
    /// Hosts wait until the other site has everything.
    Draining,
    /// The other site is to go on.
    HandedOver,
    /// The sites are compared.
    Comparing {
        /// So many bytes.
        bytes: u64,
    },
    /// The other site compares the rest.
    Compared,
}

/// What a takeover found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What can be said of it.
    pub facts: TakeoverFacts,
    /// The epoch that serves now.
    pub epoch: Epoch,
    /// Frames brought to the disks.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Time of the last record.
    pub last_time_ns: Option<u64>,
    /// Regions marked for the other site.
    pub marked_regions: u64,
    /// What was answered later than this may be missing.
    pub kept_to_ns: Option<u64>,
    /// Journal bytes that were there and are not on the disks.
    pub missing_bytes: u64,
}

/// What the driver asks of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take a group over.
    TakeOver {
        /// Name of the group.
        group: String,
        /// Serve even where a loss cannot be excluded.
        accept_loss: bool,
        /// Only probe.
        dry_run: bool,
    },
    /// Change something else of it.
    Change {
        /// Name of the group.
        group: String,
        /// What.
        change: Change,
    },
    /// Compare the sites.
    Verify {
        /// Name of the group.
        group: String,
        /// How.
        request: VerifyRequest,
    },
}

impl Action {
    /// The group and the operation.
    fn key(&self) -> (String, Operation) {
        match self {
            Action::TakeOver { group, .. } => (group.clone(), Operation::Takeover),
            Action::Change { group, change } => (group.clone(), Operation::Change(*change)),
            Action::Verify { group, .. } => (group.clone(), Operation::Verify),
        }
    }
}

/// The machine.
#[derive(Debug, Default)]
pub struct Driver {
    forecasts: Forecasts,
    rounds: Rounds,
    verifies: Verifies,
    running: BTreeMap<(String, Operation), Running>,
    /// Groups that were handed over and are not served by the other site yet.
    handing: BTreeMap<String, Handing>,
    /// What earlier runs of the daemon began, and is not asked of the data plane yet.
    again: BTreeMap<(String, Operation), Again>,
    /// What is to be asked of it next.
    due: Vec<Action>,
    /// Warnings of the last seconds, with their times.
    warned: VecDeque<(u64, Tell)>,
}

impl Driver {
    /// The data plane tells something.
    pub fn on_news(&mut self, shared: &Shared, now_ns: u64, news: News) {
        match news {
            News::Group(news) => self.on_group(shared, now_ns, *news),
            News::Areas(areas, refused) => {
                let mut view = shared.view();
                view.areas = areas;
                view.status.refused = refused;
            }
            News::Counters(samples) => shared.view().counters = samples,
            News::Export { export, access } => {
                let mut view = shared.view();
                if let Some(found) = view.exports.iter_mut().find(|known| known.export == export) {
                    access.clone_into(&mut found.access);
                }
            }
            News::Tell(tell) => {
                if self.is_new(now_ns, &tell) {
                    shared.tell(tell);
                }
            }
            News::Round { group, step } => self.rounds.on_step(shared, &group, step),
            News::Step { group, operation, step } => {
                if let Some(running) = self.running.get_mut(&(group, operation)) {
                    let (phase, message) = waiting::said(step);
                    running.on_step(now_ns, step, phase, &message);
                    shared.step_operation(running.operation, phase, &message);
                }
            }
            News::Verified { group, outcome } => self.on_verified(shared, group, *outcome),
            News::Taken { group, report } => self.on_taken(shared, now_ns, group, *report),
            News::Changed { group, change } => self.on_changed(shared, now_ns, group, change, None),
            News::HandedOver { group, change, drained_ns } => {
                self.on_handed_over(shared, now_ns, group, change, drained_ns);
            }
            News::Refused { group, operation, error } => {
                self.on_refused(shared, now_ns, group, operation, error);
            }
        }
    }

    /// The API asks something, or an earlier run of the daemon did.
    pub fn on_request(&mut self, now_ns: u64, request: Request) {
        let (operation, waiting, action, before) = match request {
            Request::Takeover { operation, group, request, before, progress } => {
                let TakeoverRequest { accept_loss, dry_run } = request;
                let waiting = Waiting::Takeover { dry_run, progress };
                (operation, waiting, Action::TakeOver { group, accept_loss, dry_run }, before)
            }
            Request::Change { operation, group, change, before, progress } => {
                (operation, Waiting::Change(progress), Action::Change { group, change }, before)
            }
            Request::Verify { operation, group, request, progress } => {
                (operation, Waiting::Verify(progress), Action::Verify { group, request }, None)
            }
        };
        self.end_again(&action);
        let key = action.key();
        self.running.insert(key.clone(), Running { operation, since_ns: now_ns, skipped: None, waiting });
        match before {
            Some(before) => {
                self.again.insert(key, Again { before, since_ns: now_ns, action, cancelled: false });
            }
            None => self.due.push(action),
        }
    }

    /// What is to be asked of the data plane now.
    pub fn take_due(&mut self) -> Vec<Action> {
        mem::take(&mut self.due)
    }

    /// Whether people have not just been told the same: a node that is refused comes again ten times a second.
    fn is_new(&mut self, now_ns: u64, tell: &Tell) -> bool {
        while self.warned.front().is_some_and(|(at, _)| at.saturating_add(QUIET_NS) <= now_ns) {
            self.warned.pop_front();
        }
        let new = self.warned.iter().all(|(_, other)| other != tell);
        if new && tell.level == Level::Warn && self.warned.len() < WARNINGS {
            self.warned.push_back((now_ns, tell.clone()));
        }
        new
    }

    fn on_group(&mut self, shared: &Shared, now_ns: u64, news: GroupNews) {
        let GroupNews { mut status, pair, applied_time_ns, behind_bytes, manifests } = news;
        // A relay has no pair state: its own words stay.
        if status.role != Role::Relay {
            let state = PairState::of(pair);
            state.word().clone_into(&mut status.state);
            state.meaning(pair.primary).clone_into(&mut status.meaning);
            status.zero_loss = Some(pair.zero_loss() && !status.no_cut && status.zero_loss != Some(false));
            if status.zero_loss == Some(false) {
                words::say_why(&mut status, state);
            }
            status.lag = lag(&status, applied_time_ns, behind_bytes);
        }
        self.forecasts.estimate(now_ns, &mut status);
        self.rounds.estimate(shared, now_ns, &mut status);
        self.estimate_verify(shared, now_ns, &mut status);
        let group = status.group.clone();
        let mut view = shared.view();
        view.manifests.insert(status.group.clone(), manifests);
        match view.status.groups.iter_mut().find(|known| known.group == status.group) {
            Some(known) => *known = status,
            None => view.status.groups.push(status),
        }
        drop(view);
        self.look_at_again(shared, now_ns, &group);
        self.look_at_handing(shared, now_ns, &group);
    }

    fn on_taken(&mut self, shared: &Shared, now_ns: u64, group: String, report: Report) {
        let statement = Statement::of(report.facts);
        let object = format!("group:{group}");
        let running = self.running.remove(&(group, Operation::Takeover));
        let dry_run = running.as_ref().is_some_and(|running| running.waiting.is_dry_run());
        let took_ms = running.as_ref().map_or(0, |running| running.elapsed_ms(now_ns));
        let lost_nothing = statement.lost_nothing();
        let mut said = statement.sentence().to_owned();
        if !lost_nothing {
            said += &words::may_be_missing(report.kept_to_ns, report.missing_bytes, clock::wall_ns());
        }
        let outcome = TakeoverOutcome {
            dry_run,
            epoch: report.epoch,
            frames: report.frames,
            bytes: report.bytes,
            last_time_ns: report.last_time_ns,
            marked_regions: report.marked_regions,
            lost_nothing,
            statement: said,
            kept_to_ns: report.kept_to_ns.filter(|_| !lost_nothing),
            missing_bytes: if lost_nothing { 0 } else { report.missing_bytes },
            took_ms,
        };
        if !dry_run {
            let epoch = format!("{}@{}", outcome.epoch.number, outcome.epoch.node);
            let message = format!("taken over in epoch {epoch} within {took_ms} ms; {}", outcome.statement);
            shared.tell(if outcome.lost_nothing {
                Tell::info("takeover_done", object, message)
            } else {
                Tell::error("takeover_done", object, message).hint(statement.hint())
            });
        }
        if let Some(running) = running {
            shared.end_operation(running.operation, Ended::done(outcome.statement.clone()));
            running.on_taken(outcome);
        }
    }

    fn on_changed(
        &mut self,
        shared: &Shared,
        now_ns: u64,
        group: String,
        change: Change,
        pause: Option<Pause>,
    ) {
        match change {
            Change::Pause => shared.hold(&group, true),
            Change::Resume => shared.hold(&group, false),
            Change::Abort
            | Change::Switchover
            | Change::Stay
            | Change::Failback
            | Change::Resolve
            | Change::Prevail
            | Change::WithoutJournal
            | Change::EndVerify => {}
        }
        self.end_change(shared, now_ns, &group, change, waiting::changed(change), pause);
    }

    fn end_change(
        &mut self,
        shared: &Shared,
        now_ns: u64,
        group: &str,
        change: Change,
        (kind, statement): (&'static str, &str),
        pause: Option<Pause>,
    ) {
        let object = format!("group:{group}");
        let running = self.running.remove(&(group.to_owned(), Operation::Change(change)));
        let took_ms = running.as_ref().map_or(0, |running| running.elapsed_ms(now_ns));
        let ms = |ns: u64| ns.div_ceil(1_000_000);
        let host_pause_ms = pause.map(|pause| ms(pause.whole_ns));
        let drained_ms = pause.map(|pause| ms(pause.here_ns));
        let waited = host_pause_ms.zip(drained_ms).map(|(whole, here)| {
            format!("; hosts waited {whole} ms until it was seen to serve, {here} ms of that here")
        });
        let skipped = running.as_ref().and_then(|running| running.skipped.as_deref());
        let statement =
            skipped.map_or_else(|| statement.to_owned(), |skipped| format!("{statement}; {skipped}"));
        let message = format!("{statement}{}", waited.unwrap_or_default());
        shared.tell(Tell::info(kind, object, message.clone()));
        if let Some(running) = running {
            shared.end_operation(running.operation, Ended::done(message));
            running.on_changed(ChangeOutcome { statement, host_pause_ms, drained_ms, took_ms });
        }
    }

    fn on_refused(
        &mut self,
        shared: &Shared,
        now_ns: u64,
        group: String,
        operation: Operation,
        error: ApiError,
    ) {
        let message = format!("{} refused: {}", operation.word(), error.message);
        shared.tell(
            Tell::warn(operation.refused(), format!("group:{group}"), message).hint(error.hint.clone()),
        );
        if let Some(running) = self.running.remove(&(group, operation)) {
            shared.end_operation(running.operation, Ended::refused(&error));
            running.on_refused(now_ns, error);
        }
    }
}

/// How far the secondary is behind: by the first lane's watermarks where both ends are known, else as measured.
fn lag(status: &GroupStatus, applied_time_ns: Option<u64>, behind_bytes: Option<u64>) -> Lag {
    let marks = status.lanes.first().map(|lane| lane.watermarks).unwrap_or_default();
    let ahead = marks.sealed.or(marks.journaled);
    let behind = |reached: Option<u64>| Some(bytes_behind(ahead?, reached?));
    let applied_bytes = behind(marks.applied).or(behind_bytes);
    let seconds = match (status.last_time_ns, applied_time_ns, applied_bytes) {
        (Some(newest), Some(applied), Some(bytes)) => {
            Some(std::time::Duration::from_nanos(time_behind(newest, applied, bytes)).as_secs_f64())
        }
        (None, _, Some(0)) => Some(0.0),
        _ => None,
    };
    Lag { acquired_bytes: behind(marks.acquired), applied_bytes, seconds }
}

#[cfg(test)]
mod tests;
