//! What a site in a split holds and nobody else has, as serde types.

use serde::{Deserialize, Serialize};

use super::Epoch;

/// `GET /v1/groups/{name}/alone`: what this site, in state `split`, holds and the other one has not.
///
/// Regions of 64 KiB are marked: what differs may be less than a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct HeldAlone {
    /// Name of the group.
    pub group: String,
    /// This node: the one that would give it up.
    pub node: String,
    /// The epoch that replaced this site.
    pub replaced_by: Option<Epoch>,
    /// When the lanes were left: nothing in the ranges is older than that.
    pub left_ns: Option<u64>,
    /// The newest time that this site has recorded.
    pub newest_ns: Option<u64>,
    /// When this site found itself replaced: nothing was answered from then on; `null` when that event is not kept any more.
    pub replaced_ns: Option<u64>,
    /// What these times are the times of, in a sentence.
    pub times: String,
    /// Bytes of all ranges.
    pub bytes: u64,
    /// How many ranges there are.
    pub ranges_total: u64,
    /// Each volume of the group.
    pub volumes: Vec<AloneVolume>,
    /// The ranges after the first `after` ones, in order of volume and offset; neighbours are one range.
    pub ranges: Vec<AloneRange>,
}

/// How much of a volume is held here alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AloneVolume {
    /// Its number.
    pub volume: u64,
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Bytes of its ranges.
    pub bytes: u64,
    /// How many ranges there are.
    pub ranges: u64,
}

/// A part of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct AloneRange {
    /// Number of the volume.
    pub volume: u64,
    /// Where it begins.
    pub offset_bytes: u64,
    /// How long it is.
    pub length_bytes: u64,
}

/// Most bytes that one `GET /v1/groups/{name}/alone/data` answers.
pub const MAX_PIECE_BYTES: u64 = 4 << 20;
