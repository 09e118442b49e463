//! The configuration in force, as serde types.

use serde::{Deserialize, Serialize};

/// `GET /v1/groups/{name}/config`: how a group is configured at this node, with what its file leaves to the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct GroupConfig {
    /// Name of the group.
    pub group: String,
    /// Its number.
    pub group_id: u64,
    /// The file that says it.
    pub file: String,
    /// What this node is for the group until its disk says otherwise.
    pub role: String,
    /// The nodes that hold the volumes.
    pub sites: Vec<String>,
    /// Where the journal may be kept.
    pub lanes: Vec<LaneConfig>,
    /// How many of the lanes hold it at a time.
    #[serde(default)]
    pub lane_set: String,
    /// Whether a lane at the other site may carry hosts' writes.
    #[serde(default)]
    pub direct: String,
    /// Memory from which what a lost lane held is sent to another one.
    #[serde(default)]
    pub resend_bytes: u64,
    /// What a write must have reached before the host is answered.
    pub answer: String,
    /// What the primary does when the lanes are gone.
    pub mode: String,
    /// What the primary does while the ring fills up.
    #[serde(default)]
    pub overflow: String,
    /// Percent of the ring from which on it counts as filling up.
    #[serde(default)]
    pub overflow_threshold_percent: u64,
    /// How long one write is held back at most while it does, milliseconds; `null`: none is.
    #[serde(default)]
    pub throttle_max_delay_ms: Option<u64>,
    /// Who begins a takeover when the primary is dead.
    pub takeover: String,
    /// How long the primary must have been dead for an automatic one, milliseconds.
    pub takeover_after_ms: u64,
    /// What a primary does that reaches no other node.
    pub isolated: String,
    /// Where control information travels.
    pub control_path: String,
    /// What the volumes hold when the group is first started.
    pub initial: String,
    /// Bytes in a second that a round sends at most; `null`: as many as hosts leave room for.
    pub round_rate_bytes: Option<u64>,
    /// How long an answer of a lane permits the primary to answer reads, milliseconds.
    pub lease_ms: u64,
    /// Size of each ring area of the group on this node's journal disk.
    pub ring_bytes: u64,
    /// Size of each manifest area.
    pub manifest_bytes: u64,
    /// Size of each receipt area.
    pub receipt_bytes: u64,
}

/// One lane of a group, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LaneConfig {
    /// Its number.
    pub lane: u64,
    /// The node that holds it.
    pub node: String,
}
