//! First control information: what lies in the journal and where (claim 1).

use alloc::vec::Vec;

use rkyv::{Archive, Serialize};

use crate::geometry::{Position, is_whole_blocks};
use crate::ids::{Epoch, LaneId, NodeId};
use crate::time::Time;

/// Entries in a manifest at most.
pub const MAX_MANIFEST_ENTRIES: usize = 256;
/// Region runs in a manifest at most.
pub const MAX_REGION_RUNS: usize = 3584;

/// One journal frame.
///
/// ```text
///  0            8        16       24         32        40              48
///  ┌────────────┬────────┬────────┬──────────┬─────────┬───────────────┐
///  │epoch_number│sequence│position│first_time│last_time│header_checksum│
///  ├──────────┬─┴────┬───┴────────┼───────┬──┴─┬───────┴───┬────────┬──┘
///  │epoch_node│length│first_region│regions│lane│origin_lane│data_at │
///  └──────────┴──────┴────────────┴───────┴────┴───────────┴────────┘
///  48         52     56           60      64   66          68       72
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct ManifestEntry {
    /// Its epoch's number.
    pub epoch_number: u64,
    /// Its sequence in the lane.
    pub sequence: u64,
    /// Where it begins in the ring.
    pub position: u64,
    /// Time of its first record.
    pub first_time: u64,
    /// Time of its last record.
    pub last_time: u64,
    /// Checksum of its header.
    pub header_checksum: u64,
    /// Its epoch's node.
    pub epoch_node: u32,
    /// Its bytes.
    pub length: u32,
    /// Index of its first region run in the manifest.
    pub first_region: u32,
    /// Number of its region runs.
    pub regions: u32,
    /// The lane.
    pub lane: u16,
    /// The lane in which it was first sent.
    pub origin_lane: u16,
    /// The node whose lane holds its data, where lanes are striped; 0: each of them.
    pub data_at: u32,
}

impl ManifestEntry {
    /// Its epoch.
    pub const fn epoch(&self) -> Epoch {
        Epoch { number: self.epoch_number, node: NodeId(self.epoch_node) }
    }

    /// Its lane.
    pub const fn lane(&self) -> LaneId {
        LaneId(self.lane)
    }

    /// Where it begins.
    pub const fn start(&self) -> Position {
        Position(self.position)
    }

    /// Behind it.
    pub const fn end(&self) -> Position {
        Position(self.position + self.length as u64)
    }

    /// Whether it can be an entry of a manifest with so many region runs.
    pub(crate) fn is_possible(&self, runs: usize, max_frame: u32) -> bool {
        let regions_end = u64::from(self.first_region) + u64::from(self.regions);
        is_whole_blocks(self.position)
            && is_whole_blocks(self.length.into())
            && (1..=max_frame).contains(&self.length)
            && self.position.checked_add(self.length.into()).is_some()
            && self.first_time <= self.last_time
            && self.last_time <= Time::MAX.0
            && regions_end <= runs as u64
    }
}

/// Regions of a volume that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct RegionRun {
    /// The volume.
    pub volume: u32,
    /// The first region (64 KiB each).
    pub first: u32,
    /// How many, at least 1.
    pub count: u32,
}

impl RegionRun {
    pub(crate) fn is_possible(&self) -> bool {
        self.count > 0 && self.first.checked_add(self.count).is_some()
    }
}

/// The table of a manifest frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct ManifestTable {
    /// Frames, in order of their position.
    pub entries: Vec<ManifestEntry>,
    /// The regions they touch; each entry names its part.
    pub regions: Vec<RegionRun>,
}

/// Size of an archived entry, bytes.
pub const MANIFEST_ENTRY_BYTES: usize = 72;
/// Size of an archived region run, bytes.
pub const REGION_RUN_BYTES: usize = 12;

const _: () = {
    assert!(size_of::<ArchivedManifestEntry>() == MANIFEST_ENTRY_BYTES);
    assert!(align_of::<ArchivedManifestEntry>() == 8);
    assert!(core::mem::offset_of!(ArchivedManifestEntry, header_checksum) == 40);
    assert!(core::mem::offset_of!(ArchivedManifestEntry, epoch_node) == 48);
    assert!(core::mem::offset_of!(ArchivedManifestEntry, lane) == 64);
    assert!(core::mem::offset_of!(ArchivedManifestEntry, data_at) == 68);
    assert!(size_of::<ArchivedRegionRun>() == REGION_RUN_BYTES && align_of::<ArchivedRegionRun>() == 4);
    assert!(core::mem::offset_of!(ArchivedRegionRun, count) == 8);
    assert!(size_of::<ArchivedManifestTable>() == 16);
};

impl From<&ArchivedManifestEntry> for ManifestEntry {
    fn from(archived: &ArchivedManifestEntry) -> Self {
        Self {
            epoch_number: archived.epoch_number.to_native(),
            sequence: archived.sequence.to_native(),
            position: archived.position.to_native(),
            first_time: archived.first_time.to_native(),
            last_time: archived.last_time.to_native(),
            header_checksum: archived.header_checksum.to_native(),
            epoch_node: archived.epoch_node.to_native(),
            length: archived.length.to_native(),
            first_region: archived.first_region.to_native(),
            regions: archived.regions.to_native(),
            lane: archived.lane.to_native(),
            origin_lane: archived.origin_lane.to_native(),
            data_at: archived.data_at.to_native(),
        }
    }
}

impl From<&ArchivedRegionRun> for RegionRun {
    fn from(archived: &ArchivedRegionRun) -> Self {
        Self {
            volume: archived.volume.to_native(),
            first: archived.first.to_native(),
            count: archived.count.to_native(),
        }
    }
}
