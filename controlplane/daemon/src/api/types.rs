//! Everything the HTTP API says, as serde types: shared by `midspand` and its clients.
//!
//! Numbers of bytes end in `_bytes`, times in `_ns` (nanoseconds since 1970 unless the name says otherwise). Positions are
//! absolute ring positions: they never wrap. A field that is not known is `null`, never zero.

use serde::{Deserialize, Serialize};

mod alone;
mod config;
mod exposure;
mod manifest;
mod operation;
mod peers;
mod verify;

pub use alone::{AloneRange, AloneVolume, HeldAlone, MAX_PIECE_BYTES};
pub use config::{GroupConfig, LaneConfig};
pub use exposure::{Amount, ExposureStatus, OverflowStatus, RingForecast};
pub use manifest::{KeptManifests, ManifestStatus};
pub use operation::{
    Change, ChangeOutcome, ChangeProgress, OperationState, OperationStatus, Progress, ResolveRequest,
    TakeoverOutcome, TakeoverProgress, TakeoverRequest,
};
pub use peers::{AutomaticStatus, HeartbeatsRefused, PeerGroup, PeerStatus};
pub use verify::{DifferentRange, VerifyOutcome, VerifyProgress, VerifyRequest, VerifyStatus};

/// `GET /v1/status`: this node and everything it knows of its groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NodeStatus {
    /// Name of the node, from the configuration.
    pub node: String,
    /// Its number.
    pub node_id: u64,
    /// What it is.
    pub kind: NodeKind,
    /// Version of the running `midspand`.
    pub version: String,
    /// Process number of the running `midspand`.
    pub pid: u32,
    /// Time since it was started, milliseconds.
    pub uptime_ms: u64,
    /// The groups this node has a part in.
    pub groups: Vec<GroupStatus>,
    /// Requests of other nodes that this node refused as a relay.
    #[serde(default)]
    pub refused: Vec<RefusedStatus>,
    /// The other nodes as they are heard.
    #[serde(default)]
    pub peers: Vec<PeerStatus>,
    /// Heartbeats that were not used.
    #[serde(default)]
    pub heartbeats_refused: Vec<HeartbeatsRefused>,
    /// The groups whose takeover this site would begin by itself.
    #[serde(default)]
    pub automatic: Vec<AutomaticStatus>,
}

/// Requests that a relay refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RefusedStatus {
    /// The node that asked.
    pub node: String,
    /// Why, in one word, stable for scripts: for example `not_permitted` or `older_epoch`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Holds volumes.
    #[default]
    Site,
    /// Holds journal areas only.
    Relay,
    /// One disk exported without replication.
    Simplex,
}

/// What a node is for one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serves the hosts.
    Primary,
    /// Follows the primary.
    Secondary,
    /// Holds the group's journal areas.
    Relay,
    /// Not yet decided: the start is still running.
    #[default]
    Unknown,
}

impl Role {
    /// The word, as in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Secondary => "secondary",
            Role::Relay => "relay",
            Role::Unknown => "unknown",
        }
    }
}

/// An epoch: raised at every start of a primary and every takeover; never two alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Epoch {
    /// Counts up.
    pub number: u64,
    /// Name of the node that raised it; empty while there is none.
    pub node: String,
}

/// `GET /v1/groups/{name}`: one group as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct GroupStatus {
    /// Name of the group.
    pub group: String,
    /// Its number.
    pub group_id: u64,
    /// What this node is for the group.
    pub role: Role,
    /// The site that is its primary by configuration: where `failback` goes; `null` at a relay.
    #[serde(default)]
    pub home: Option<String>,
    /// The pair state's word, for example `paired`.
    pub state: String,
    /// The pair state in a sentence: who may read and write, and what to do.
    pub meaning: String,
    /// The newest epoch this node knows.
    pub epoch: Epoch,
    /// Whether hosts are served here.
    pub serving: bool,
    /// Whether a start (a restart or a takeover) is running here.
    #[serde(default)]
    pub starting: bool,
    /// The newer epoch that fenced this site.
    #[serde(default)]
    pub fenced_by: Option<Epoch>,
    /// Whether a takeover of this group can be without loss as far as this node knows; `null` at a relay.
    pub zero_loss: Option<bool>,
    /// Why not; empty when it can.
    #[serde(default)]
    pub zero_loss_why: String,
    /// What of it exists at one place only; `null` at a relay.
    #[serde(default)]
    pub exposure: Option<ExposureStatus>,
    /// How the ring's filling up is dealt with; `null` where this node is no primary in the lanes.
    #[serde(default)]
    pub overflow: Option<OverflowStatus>,
    /// Host writes answered here, in the lanes, since the start of the daemon; `null` at a relay and outside the lanes.
    #[serde(default)]
    pub answered: Option<u64>,
    /// Time of the newest record known here.
    pub last_time_ns: Option<u64>,
    /// The cut that this node's disks hold for sure (a secondary), all writes with a time up to it.
    pub cut_ns: Option<u64>,
    /// How far the secondary is behind.
    pub lag: Lag,
    /// The lanes of the group.
    pub lanes: Vec<LaneStatus>,
    /// In how many lanes a write is before it is answered: the first ones of `lanes`, as far as they are known here. 0 outside the
    /// lanes; `null` at a relay.
    #[serde(default)]
    pub lanes_holding: Option<u64>,
    /// In how many it is to be; fewer than that is exposed. `null` at a relay.
    #[serde(default)]
    pub lanes_wanted: Option<u64>,
    /// Two of them share the data: both hold the head of each write, and of a large one a single lane the data. So the loss of either of
    /// them together with the primary loses what the secondary has not received.
    #[serde(default)]
    pub lanes_share: bool,
    /// The other site is asked to record another set of lanes.
    #[serde(default)]
    pub lanes_changing: bool,
    /// Lanes of the group that stand at this site, as its own relay sees them; empty at a relay, where `lanes` are.
    #[serde(default)]
    pub held: Vec<LaneStatus>,
    /// Bytes of regions marked in the dirty map.
    pub dirty_bytes: Option<u64>,
    /// The round that runs, or is to come: what one site lacks is sent to it.
    #[serde(default)]
    pub round: Option<RoundStatus>,
    /// The comparison of the sites that runs.
    #[serde(default)]
    pub verify: Option<VerifyStatus>,
    /// This site's disks hold no consistent cut until a round's end: no takeover is possible here.
    #[serde(default)]
    pub no_cut: bool,
    /// The volumes; empty at a relay.
    pub volumes: Vec<VolumeStatus>,
    /// Requests refused here for lack of permission or an older epoch.
    pub refused: u64,
}

/// A round at its source, or what its target knows of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RoundStatus {
    /// Its number; `null` while it has not begun.
    pub round: Option<u64>,
    /// The target holds no cut until its end.
    pub in_place: bool,
    /// An operator holds it; `midspan resume` lets it go on.
    pub paused: bool,
    /// Everything was sent: the target brings it to its disks.
    pub sent: bool,
    /// Bytes of the marked regions.
    pub bytes: u64,
    /// Bytes of them that were sent.
    pub bytes_sent: u64,
    /// How much of it was sent, 0 to 100.
    pub percent: f64,
    /// Bytes that are sent in a second; `null` until a second was seen, and while it is held.
    pub bytes_per_second: Option<u64>,
    /// Time until everything is sent at that rate, seconds.
    pub eta_seconds: Option<f64>,
}

/// How far the secondary is behind the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Lag {
    /// Journal bytes sealed and not yet acquired by the secondary.
    pub acquired_bytes: Option<u64>,
    /// Journal bytes sealed and not yet applied at the secondary.
    pub applied_bytes: Option<u64>,
    /// Time between the newest record known and the newest one applied at the secondary, seconds.
    pub seconds: Option<f64>,
}

/// One lane of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LaneStatus {
    /// Number of the lane.
    pub lane: u64,
    /// The node that holds it.
    pub node: String,
    /// Whether this node is connected to it (always true at the node that holds it).
    pub connected: bool,
    /// The watermarks as known here, each "durably done up to here".
    pub watermarks: Watermarks,
    /// Where damage was found.
    #[serde(default)]
    pub damaged_at: Option<u64>,
    /// The ring.
    pub ring: RingUse,
    /// Bytes that this site has read there as the group's secondary since it began to; what is read twice counts twice.
    #[serde(default)]
    pub fetched_bytes: Option<u64>,
}

/// Watermarks of a lane as absolute ring positions; they never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Watermarks {
    /// Sealed at the primary.
    pub sealed: Option<u64>,
    /// Durable in the lane.
    pub journaled: Option<u64>,
    /// Durable in the secondary's own ring.
    pub acquired: Option<u64>,
    /// Written to the secondary's disks.
    pub applied: Option<u64>,
    /// Written to the primary's own disks and flushed.
    pub landed: Option<u64>,
}

/// How full a ring is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RingUse {
    /// Size of the ring.
    pub size_bytes: Option<u64>,
    /// Bytes in use: journaled and not yet free to reuse.
    pub used_bytes: Option<u64>,
    /// Time until it is full at the present net rate, seconds; `null` when it does not fill.
    pub full_in_seconds: Option<f64>,
    /// It is full: host writes wait until the secondary has followed.
    #[serde(default)]
    pub full: bool,
}

/// One volume of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct VolumeStatus {
    /// Number of the volume, the same at both sites.
    pub volume: u64,
    /// Name of the volume.
    pub name: String,
    /// Path of the disk or file at this site.
    pub path: String,
    /// Its size.
    pub size_bytes: Option<u64>,
}

/// `GET /v1/areas`: the areas of lanes on this node's journal disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AreaStatus {
    /// Name of the group that uses the area.
    pub group: String,
    /// `ring`, `manifest` or `receipt`.
    pub kind: String,
    /// The area's random id, hexadecimal.
    pub area: String,
    /// Number of the lane.
    pub lane: u64,
    /// The one node that may write it.
    pub writer: String,
    /// The epoch in force.
    pub epoch: Epoch,
    /// Size of its ring.
    pub size_bytes: u64,
    /// Every byte before this position is durable.
    pub journaled: Option<u64>,
    /// Whether the writer is connected.
    #[serde(default)]
    pub writer_connected: bool,
    /// `open`, or what keeps it from use: `scanning` after a start, `damaged`, `failed`.
    pub health: String,
}

/// `GET /v1/exports`: the block devices offered to hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ExportStatus {
    /// Name that an NBD client asks for.
    pub export: String,
    /// Name of the group; empty without replication.
    pub group: String,
    /// Name of the volume.
    pub volume: String,
    /// Size.
    pub size_bytes: Option<u64>,
    /// Whether hosts are served now, and how.
    pub access: String,
    /// URIs at which it is found.
    pub uris: Vec<String>,
    /// Connected clients.
    pub connections: Option<u64>,
}

/// `GET /v1/events?group=NAME&after=SEQ&limit=N`: what happened, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Event {
    /// Counts up from 1, and goes on after a restart where the node keeps its events.
    pub seq: u64,
    /// When.
    pub time_ns: u64,
    /// How much it matters.
    pub level: Level,
    /// One word for what happened, stable for scripts.
    pub kind: String,
    /// The object that it happened to, for example `group:vault` or `disk:/dev/sdb`.
    pub object: String,
    /// What happened.
    pub message: String,
    /// What to do next; empty when nothing.
    pub hint: String,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is well.
    #[default]
    Info,
    /// Something is not as configured; the node goes on.
    Warn,
    /// Something is lost or refused; somebody must look.
    Error,
}

/// Body of every refusal: `{"error": {...}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// The refusal.
    pub error: ApiError,
}

/// Why a request was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// One word, stable for scripts: `not_found`, `bad_request`, `refused`, `timeout`, `internal`.
    pub code: String,
    /// What is wrong, naming the object.
    pub message: String,
    /// What would help; empty when nothing is known.
    pub hint: String,
}

impl ApiError {
    /// A refusal.
    pub fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: hint.into() }
    }
}

/// `GET /v1/groups/{name}/trace?after=NUMBER,NUMBER,...`: what this node's flight recorders hold of a group. `after` has
/// for each shard the `next` of the answer before; without it the answer has no events, only where "now" is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct GroupRecording {
    /// Name of the node.
    pub node: String,
    /// Its number.
    pub node_id: u64,
    /// What it is for the group.
    pub role: Role,
    /// Name of the group.
    pub group: String,
    /// Its number.
    pub group_id: u64,
    /// The node's time since boot when this was answered: the clock of all events.
    pub boot_ns: u64,
    /// Its wall clock at the same moment, nanoseconds since 1970.
    pub wall_ns: u64,
    /// One recorder a shard; none when nothing is recorded.
    pub shards: Vec<ShardRecording>,
}

/// A part of what one shard's flight recorder holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ShardRecording {
    /// Number of the shard.
    pub shard: usize,
    /// Where the next request goes on.
    pub next: u64,
    /// Events (of all groups) that were overwritten before they could be read.
    pub lost: u64,
    /// There are more already.
    pub more: bool,
    /// Events of the group, oldest first.
    pub events: Vec<TraceEvent>,
}

/// One event: time since boot in nanoseconds, stage, host request, length in bytes, place, and what else the stage tells.
/// What the last four mean at which stage is listed in docs/tracing.md; what a stage does not have is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TraceEvent(pub u64, pub TraceStage, pub u32, pub u32, pub u64, pub u64);

/// What a write, a frame or a range has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TraceStage {
    /// Primary: a host's write is whole in memory.
    Arrived,
    /// Primary: it took its time.
    Timed,
    /// Primary: its frame was sealed.
    Sealed,
    /// Primary: the frame was given to the kernel.
    Sent,
    /// Relay: the frame was verified.
    Received,
    /// Relay: the ring is durable up to here.
    Journaled,
    /// Primary: that is known.
    Acknowledged,
    /// Primary: the host was answered.
    Answered,
    /// Primary: the write is on the own disk.
    Written,
    /// Secondary: a range of the ring was asked for.
    Asked,
    /// Relay: it was sent.
    Served,
    /// Secondary: a frame was verified.
    Fetched,
    /// Secondary: the own ring is durable up to here.
    Acquired,
    /// Secondary: the volumes hold everything up to here.
    Applied,
}
