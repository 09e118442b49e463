//! How the other nodes are heard, and what follows from it, as serde types.

use serde::{Deserialize, Serialize};

use super::{Epoch, Role};

/// Another node as this one hears it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerStatus {
    /// Name of the other node.
    pub node: String,
    /// Its number.
    pub node_id: u64,
    /// The path that is watched: `direct`, from this node to that one.
    pub path: String,
    /// Where heartbeats are sent to and expected from.
    pub address: String,
    /// `alive`, `suspect`, `path dead`, `node dead` or `cannot tell`.
    pub verdict: String,
    /// Why.
    pub why: String,
    /// How improbable the present silence of the path is: φ of the detector.
    pub suspicion: f64,
    /// Time since it was heard last; `null` when it was not heard since this node started.
    pub last_heard_ms: Option<u64>,
    /// The same as told by other nodes that are heard now: the shortest; `null` when none says anything.
    pub last_heard_elsewhere_ms: Option<u64>,
    /// Time of the last way there and back, nanoseconds.
    pub rtt_ns: Option<u64>,
    /// What it said last of the groups whose volumes it holds.
    pub groups: Vec<PeerGroup>,
}

/// What a site said last of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PeerGroup {
    /// Name of the group.
    pub group: String,
    /// Its role.
    pub role: Role,
    /// The newest epoch it knew.
    pub epoch: Epoch,
    /// Whether it served hosts.
    pub serving: bool,
    /// How long ago it said so, milliseconds.
    pub said_ms: u64,
}

/// Heartbeats that were not used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct HeartbeatsRefused {
    /// Why, in one word, stable for scripts: `unknown_sender`, `malformed`, `not_for_us`, `old`, `not_sent`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A group whose takeover this site, its secondary, would begin by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AutomaticStatus {
    /// Name of the group.
    pub group: String,
    /// What it waits for, or does.
    pub why: String,
    /// How long the primary must have been dead, milliseconds.
    pub after_ms: u64,
}
