//! Second control information: what the secondary has acquired and what its disks hold for sure (claim 1).

use alloc::vec::Vec;

use rkyv::{Archive, Serialize};

use crate::geometry::is_whole_blocks;
use crate::ids::{Epoch, NodeId};
use crate::time::Time;

/// Flag of a receipt: the site's disks hold no cut; only a round in place leads to one.
pub const NO_CUT: u64 = 1;

/// Lanes in a receipt at most.
pub const MAX_RECEIPT_LANES: usize = 64;

/// How far one lane is acquired and applied.
///
/// ```text
///  0            8        16              24      32       40         44   46       48
///  ┌────────────┬────────┬───────────────┬───────┬────────┬──────────┬────┬────────┐
///  │epoch_number│position│header_checksum│applied│sequence│epoch_node│lane│reserved│
///  └────────────┴────────┴───────────────┴───────┴────────┴──────────┴────┴────────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct LaneReceipt {
    /// Epoch number of the last acquired frame.
    pub epoch_number: u64,
    /// Everything before is in the own ring, durably.
    pub position: u64,
    /// Checksum of the last acquired frame's header.
    pub header_checksum: u64,
    /// Everything before is applied and flushed, and the persisted cut says so.
    pub applied: u64,
    /// Sequence of the last acquired frame.
    pub sequence: u64,
    /// Epoch node of the last acquired frame.
    pub epoch_node: u32,
    /// The lane.
    pub lane: u16,
    /// Zero.
    pub reserved: [u8; 2],
}

impl LaneReceipt {
    /// Epoch of the last acquired frame.
    pub const fn epoch(&self) -> Epoch {
        Epoch { number: self.epoch_number, node: NodeId(self.epoch_node) }
    }

    pub(crate) fn is_possible(&self) -> bool {
        is_whole_blocks(self.position) && is_whole_blocks(self.applied) && self.reserved == [0; 2]
    }
}

/// Differences in a receipt at most.
pub const MAX_DIFFERENCES: usize = 96;

/// A range that does not read as the primary's did at a time.
///
/// ```text
///  0      8        16       24       28         32
///  ┌──────┬────────┬────────┬────────┬──────────┐
///  │ time │ offset │ length │ volume │ reserved │
///  └──────┴────────┴────────┴────────┴──────────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct Difference {
    /// Time of the Verify record; of the last one, where several lie side by side.
    pub time: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The volume.
    pub volume: u32,
    /// Zero.
    pub reserved: u32,
}

impl Difference {
    /// Behind its last byte.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    pub(crate) fn is_possible(&self) -> bool {
        let whole = is_whole_blocks(self.offset) && is_whole_blocks(self.length) && self.length > 0;
        let fits = self.offset.checked_add(self.length).is_some() && self.time <= Time::MAX.0;
        whole && fits && self.reserved == 0
    }
}

/// The table of a receipt frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct Receipt {
    /// The persisted cut ([`crate::time::Time`]): the disks hold everything up to it, flushed.
    pub cut: u64,
    /// Manifests before this position of the manifest area are consumed.
    pub manifest: u64,
    /// Version of the lane set that the secondary has durably recorded; 0 for the configured one.
    pub fence_version: u64,
    /// The round whose staged data is whole so far; 0 when there is none.
    pub round: u64,
    /// Bytes of the own ring: what a round may stage.
    pub staging: u64,
    /// [`NO_CUT`].
    pub flags: u64,
    /// The run of `verify` whose records came last since the site started; 0 when there was none.
    pub run: u64,
    /// Bytes of it that were compared.
    pub compared: u64,
    /// Of them, bytes of records that do not match.
    pub different: u64,
    /// One entry for each lane.
    pub lanes: Vec<LaneReceipt>,
    /// Where they lie, as far as there is room.
    pub differences: Vec<Difference>,
}

impl Receipt {
    pub(crate) fn is_possible(cut: u64, manifest: u64, flags: u64) -> bool {
        cut <= Time::MAX.0 && is_whole_blocks(manifest) && flags & !NO_CUT == 0
    }
}

/// Size of an archived lane receipt, bytes.
pub const LANE_RECEIPT_BYTES: usize = 48;
/// Size of an archived difference, bytes.
pub const DIFFERENCE_BYTES: usize = 32;

const _: () = {
    assert!(size_of::<ArchivedLaneReceipt>() == LANE_RECEIPT_BYTES && align_of::<ArchivedLaneReceipt>() == 8);
    assert!(core::mem::offset_of!(ArchivedLaneReceipt, sequence) == 32);
    assert!(core::mem::offset_of!(ArchivedLaneReceipt, epoch_node) == 40);
    assert!(core::mem::offset_of!(ArchivedLaneReceipt, reserved) == 46);
    assert!(size_of::<ArchivedDifference>() == DIFFERENCE_BYTES && align_of::<ArchivedDifference>() == 8);
    assert!(core::mem::offset_of!(ArchivedDifference, volume) == 24);
    assert!(core::mem::offset_of!(ArchivedDifference, reserved) == 28);
    assert!(size_of::<ArchivedReceipt>() == 88 && align_of::<ArchivedReceipt>() == 8);
    assert!(core::mem::offset_of!(ArchivedReceipt, run) == 48);
    assert!(core::mem::offset_of!(ArchivedReceipt, lanes) == 72);
    assert!(core::mem::offset_of!(ArchivedReceipt, differences) == 80);
};

impl From<&ArchivedDifference> for Difference {
    fn from(archived: &ArchivedDifference) -> Self {
        Self {
            time: archived.time.to_native(),
            offset: archived.offset.to_native(),
            length: archived.length.to_native(),
            volume: archived.volume.to_native(),
            reserved: archived.reserved.to_native(),
        }
    }
}

impl From<&ArchivedLaneReceipt> for LaneReceipt {
    fn from(archived: &ArchivedLaneReceipt) -> Self {
        Self {
            epoch_number: archived.epoch_number.to_native(),
            position: archived.position.to_native(),
            header_checksum: archived.header_checksum.to_native(),
            applied: archived.applied.to_native(),
            sequence: archived.sequence.to_native(),
            epoch_node: archived.epoch_node.to_native(),
            lane: archived.lane.to_native(),
            reserved: archived.reserved,
        }
    }
}
