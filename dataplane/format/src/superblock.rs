//! The fixed places of a node's journal disk, and what stands there: who the node is, who may write, how a group stands.
//!
//! ```text
//!  block 0     1     2                                   130        256
//!  ┌─────┬─────┬─────────┬─────────┬─ ─ ─┬─────────┬──────┬──────────┬────────┬──────────┬─ ─
//!  │node │node │permit 0 │permit 1 │     │permit 63│ zero │ area     │ area's │ area     │
//!  │ A   │ B   │ A  │ B  │ A  │ B  │     │ A  │ B  │      │superblock│ bytes  │superblock│
//!  └─────┴─────┴─────────┴─────────┴─ ─ ─┴─────────┴──────┴──────────┴────────┴──────────┴─ ─
//! ```
//! Slots A and B are written in turn, the even sequence numbers to A; the valid one with the higher sequence counts.

use crate::geometry::BLOCK_U64;

mod node;
mod permit;
mod state;

pub use crate::block::BlockError;
pub use crate::mark::{LaneUse, MAX_LANES};
pub use crate::point::LanePoint;
pub use node::{DiskUse, NodeSuperblock};
pub use permit::{AreaEntry, AreaHint, GroupPermit, MAX_AREAS};
pub use state::{
    FenceSet, GroupState, MAX_FENCED, MAX_VOLUMES, PairState, Role, STATE_BYTES, StateLane, StateVolume,
    state_offset,
};

/// Groups on a disk at most.
pub const GROUP_SLOTS: u32 = 64;
/// Device offset of the first area's superblock.
pub const AREAS_OFFSET: u64 = 1 << 20;

const PERMITS_OFFSET: u64 = 2 * BLOCK_U64;

const _: () = assert!(PERMITS_OFFSET + 2 * GROUP_SLOTS as u64 * BLOCK_U64 <= AREAS_OFFSET);

/// Device offset of the slot for a node superblock of this sequence.
pub const fn node_offset(sequence: u64) -> u64 {
    sequence % 2 * BLOCK_U64
}

/// Device offset of the slot for a permit of this sequence, in group slot `slot` of [`GROUP_SLOTS`].
pub const fn permit_offset(slot: u32, sequence: u64) -> u64 {
    PERMITS_OFFSET + (slot as u64 * 2 + sequence % 2) * BLOCK_U64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_a_group_are_two_blocks_of_their_own() {
        assert_eq!((node_offset(7), node_offset(8)), (BLOCK_U64, 0));
        let mut offsets: std::vec::Vec<_> =
            (0..GROUP_SLOTS).flat_map(|slot| [permit_offset(slot, 0), permit_offset(slot, 1)]).collect();
        assert_eq!((offsets[0], offsets.last().copied()), (2 * BLOCK_U64, Some(129 * BLOCK_U64)));
        offsets.dedup();
        assert_eq!(offsets.len(), 128);
    }
}
