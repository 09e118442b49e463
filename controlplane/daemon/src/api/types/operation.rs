//! What changes a group and takes its time: requests, progress, outcomes.

use serde::{Deserialize, Serialize};

use super::{ApiError, Epoch};

/// `POST /v1/groups/{name}/takeover`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TakeoverRequest {
    /// Serve even where "answered writes lost: 0" cannot be said.
    pub accept_loss: bool,
    /// Only ask what would happen: probe the lanes, fence nothing.
    pub dry_run: bool,
}

impl TakeoverRequest {
    /// What was asked, by `with` of its operation.
    pub fn of(with: &str) -> Self {
        let says = |word| with.split(", ").any(|part| part == word);
        Self { accept_loss: says("accept_loss"), dry_run: says("dry_run") }
    }

    /// What else was asked, as in `with` of its operation.
    pub const fn with(self) -> &'static str {
        match (self.dry_run, self.accept_loss) {
            (false, false) => "",
            (false, true) => "accept_loss",
            (true, false) => "dry_run",
            (true, true) => "dry_run, accept_loss",
        }
    }
}

/// `POST /v1/groups/{name}/resolve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// Name of the site whose writes stay: this one, or the one that replaced it. Refused where it is another.
    pub keep: String,
}

/// What can be asked of a group beside a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// `POST /v1/groups/{name}/takeover/abort`: undo a takeover that has not ended.
    Abort,
    /// `POST /v1/groups/{name}/switchover`: the other site goes on as primary; planned, without loss.
    Switchover,
    /// `POST /v1/groups/{name}/switchover/cancel`: give up a switchover or failback whose hosts still wait.
    Stay,
    /// `POST /v1/groups/{name}/failback`: a switchover to the group's home, and to nowhere else.
    Failback,
    /// `POST /v1/groups/{name}/pause`: hold the round that runs or is to come.
    Pause,
    /// `POST /v1/groups/{name}/resume`: let it go on.
    Resume,
    /// `POST /v1/groups/{name}/resolve`: give up what this site alone holds, and follow the site that replaced it.
    Resolve,
    /// The same with this site's own name: keep what this site holds, against the one that replaced it.
    Prevail,
    /// `POST /v1/groups/{name}/start/without-journal`: serve although the relay cannot be read.
    WithoutJournal,
    /// `POST /v1/groups/{name}/verify/cancel`: end a verify before its time.
    EndVerify,
}

impl Change {
    /// Those that have a way of their own to be asked for.
    pub const ALL: [Change; 9] = [
        Change::Abort,
        Change::Switchover,
        Change::Stay,
        Change::Failback,
        Change::Pause,
        Change::Resume,
        Change::Resolve,
        Change::WithoutJournal,
        Change::EndVerify,
    ];

    /// The word, as in the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Change::Abort => "abort",
            Change::Switchover => "switchover",
            Change::Stay => "stay",
            Change::Failback => "failback",
            Change::Pause => "pause",
            Change::Resume => "resume",
            Change::Resolve => "resolve",
            Change::Prevail => "prevail",
            Change::WithoutJournal => "without_journal",
            Change::EndVerify => "end_verify",
        }
    }

    /// Where it is asked for, below `/v1/groups/{name}`.
    pub const fn path(self) -> &'static str {
        match self {
            Change::Abort => "takeover/abort",
            Change::Switchover => "switchover",
            Change::Stay => "switchover/cancel",
            Change::Failback => "failback",
            Change::Pause => "pause",
            Change::Resume => "resume",
            Change::Resolve | Change::Prevail => "resolve",
            Change::WithoutJournal => "start/without-journal",
            Change::EndVerify => "verify/cancel",
        }
    }

    /// Whether it is a planned change of roles.
    pub const fn swaps_roles(self) -> bool {
        match self {
            Change::Switchover | Change::Failback => true,
            Change::Abort
            | Change::Stay
            | Change::Pause
            | Change::Resume
            | Change::Resolve
            | Change::Prevail
            | Change::WithoutJournal
            | Change::EndVerify => false,
        }
    }
}

/// Progress of something that takes its time: lines of NDJSON from the POST. The last line has an `outcome` or an
/// `error`. The newest line of a takeover is also at `GET /v1/groups/{name}/takeover`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Progress<T> {
    /// Number of the operation: `GET /v1/operations/{number}` has it also after its end.
    #[serde(default)]
    pub operation: u64,
    /// Name of the group.
    pub group: String,
    /// Step that runs. Of a takeover: `starting`, `probing`, `fencing`, `reading`, `redoing`, `done`, `refused`; of a
    /// switchover or failback: `starting`, `draining`, `handed_over` (until the other site serves), `done`, `refused`; of a verify: `starting`, `comparing`,
    /// `compared` (until the other site has told all of it), `done`, `refused`; of the others `starting`, `done`, `refused`.
    pub phase: String,
    /// The step in a sentence.
    pub message: String,
    /// Ring position read so far.
    pub position: Option<u64>,
    /// Ring position at which the reading ends.
    pub end: Option<u64>,
    /// Time since it was asked for, milliseconds.
    pub elapsed_ms: u64,
    /// How it ended.
    pub outcome: Option<T>,
    /// Why it was refused.
    pub error: Option<ApiError>,
}

impl<T> Progress<T> {
    /// Whether nothing more will come.
    pub fn is_final(&self) -> bool {
        self.outcome.is_some() || self.error.is_some()
    }
}

/// Progress of a takeover.
pub type TakeoverProgress = Progress<TakeoverOutcome>;

/// Progress of a switchover, failback, pause, resume or abort.
pub type ChangeProgress = Progress<ChangeOutcome>;

/// What a takeover found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TakeoverOutcome {
    /// True when nothing was changed: only asked.
    pub dry_run: bool,
    /// The epoch that serves now.
    pub epoch: Epoch,
    /// Frames read from the lanes and brought to the disks.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Time of the last record found.
    pub last_time_ns: Option<u64>,
    /// Regions marked because the former primary may lack or have torn them.
    pub marked_regions: u64,
    /// Whether "answered writes lost: 0" can be said.
    pub lost_nothing: bool,
    /// The statement: `answered writes lost: 0`, or why it cannot be said, and what may be missing.
    pub statement: String,
    /// Where it cannot be said: what was answered later than this may be missing; `null`: from the beginning, or nothing.
    #[serde(default)]
    pub kept_to_ns: Option<u64>,
    /// And journal bytes that are known to have been there and are not served.
    #[serde(default)]
    pub missing_bytes: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ChangeOutcome {
    /// What is so now, in a sentence.
    pub statement: String,
    /// How long hosts waited, milliseconds: from the first one that waited at the site that handed over until that one saw the
    /// other site serve, by heartbeats up to 0.4 s late; `null` where no roles were swapped.
    pub host_pause_ms: Option<u64>,
    /// How long of that they waited at the site that handed over; from then on they were refused there.
    #[serde(default)]
    pub drained_ms: Option<u64>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// `GET /v1/operations/{number}`: something that was asked of a group, or that it does by itself and takes its time; also after its
/// end and after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OperationStatus {
    /// Its number; numbers go up.
    pub operation: u64,
    /// Name of the group.
    pub group: String,
    /// `takeover`, `abort`, `switchover`, `failback`, `stay`, `pause`, `resume`, `resolve`, `prevail`, `without_journal`, `verify` or `end_verify`; `round` is what a primary
    /// sends to the other site by itself.
    pub kind: String,
    /// What else was asked: `dry_run`, `accept_loss`; empty when nothing.
    pub with: String,
    /// Who asked: user and process behind the API's socket.
    pub asked_by: String,
    /// Number of the group's epoch when it was asked for.
    #[serde(default)]
    pub epoch: u64,
    /// When it was asked for.
    pub started_ns: u64,
    /// When it ended; `null` while it runs.
    pub ended_ns: Option<u64>,
    /// Whether and how it ended.
    pub state: OperationState,
    /// The last step that was reached.
    pub phase: String,
    /// How much of it is done, percent; `null` where that is not known.
    #[serde(default)]
    pub percent: Option<f64>,
    /// How fast it is; `null` where that is not known, or it has ended.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    /// When it will have ended, as things are; `null` where that is not known, or it has ended.
    #[serde(default)]
    pub eta_seconds: Option<f64>,
    /// The step, the outcome or the refusal in a sentence.
    pub message: String,
    /// What to do next; empty when nothing.
    pub hint: String,
}

/// Whether and how an operation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It has not ended.
    #[default]
    Running,
    /// It did what was asked.
    Done,
    /// It was refused, or gave up.
    Refused,
    /// The daemon ended while it ran, and it is of a kind that does not go on; `hint` tells what to do.
    Interrupted,
}

impl OperationState {
    /// The word, as in the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            OperationState::Running => "running",
            OperationState::Done => "done",
            OperationState::Refused => "refused",
            OperationState::Interrupted => "interrupted",
        }
    }
}
