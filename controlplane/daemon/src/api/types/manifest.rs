//! First control information that a primary keeps.

use serde::{Deserialize, Serialize};

/// What the primary has listed, and no receipt of the secondary covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeptManifests {
    /// How many there are; 0 at a node that is not the primary.
    pub kept: u64,
    /// The oldest of them, 256 at most.
    pub manifests: Vec<ManifestStatus>,
}

/// One manifest. Positions are bytes since the beginning of the lane's ring, or of its manifest area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ManifestStatus {
    /// Its end in the manifest area.
    pub end: u64,
    /// Where in the ring the first frame that it lists begins.
    pub from: u64,
    /// Where the last one ends.
    pub to: u64,
    /// How many frames it lists.
    pub frames: u64,
    /// Runs of 64 KiB regions that they touch.
    pub region_runs: u64,
    /// Time of the first record, nanoseconds since 1970.
    pub first_time_ns: u64,
    /// Time of the last one.
    pub last_time_ns: u64,
}
