//! Areas of a disk: the block in front of each that says what it is and where.

use rkyv::{Archive, Deserialize, Serialize};

use crate::block::{self, BlockError};
use crate::geometry::{BLOCK, BLOCK_U64, Ring};
use crate::ids::{AreaId, DiskId, GroupId, LaneId};
use crate::wire::{wire_enum, wire_struct};

const MAGIC: [u8; 8] = *b"MSPAREA\0";

wire_enum! {
    /// What an area holds.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
    pub enum AreaKind {
        /// A lane's journal frames, written by the primary.
        #[default]
        Ring = 1,
        /// Manifest frames, written by the primary.
        Manifest = 2,
        /// Receipt frames, written by the secondary.
        Receipt = 3,
        /// A site's group state: two blocks, written in turn.
        State = 4,
        /// A site's dirty map: its blocks.
        DirtyMap = 5,
        /// A site's own ring: journal frames that it fetched, written by itself.
        OwnRing = 6,
    }
}

wire_struct! {
    /// What stands in the block in front of an area.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AreaSuperblock {
        /// Its random id: another id at this place is another area.
        pub area: AreaId,
        /// The disk it was created on: a copied or moved area is noticed.
        pub disk: DiskId,
        /// What it holds.
        pub kind: AreaKind,
        /// The group.
        pub group: GroupId,
        /// The lane.
        pub lane: LaneId,
        /// Device offset of its first byte: directly behind this block.
        pub start: u64,
        /// Its bytes.
        pub size: u64,
        /// When it was created, ns since 1970.
        pub created_ns: u64,
    } = 128
}

impl AreaSuperblock {
    /// Writes the block.
    pub fn encode(&self, block: &mut [u8; BLOCK]) {
        block::encode(MAGIC, self, block);
    }

    /// Reads the block at the front of `bytes`.
    ///
    /// # Errors
    /// It is none, or damaged, or impossible.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let area: Self = block::decode(MAGIC, bytes)?;
        let whole =
            area.start.is_multiple_of(BLOCK_U64) && area.size.is_multiple_of(BLOCK_U64) && area.size > 0;
        let behind = area.start >= BLOCK_U64 && area.start.checked_add(area.size).is_some();
        if whole && behind && area.area != AreaId::NONE { Ok(area) } else { Err(BlockError::Malformed) }
    }

    /// Where its bytes lie.
    pub const fn ring(&self) -> Ring {
        Ring { start: self.start, size: self.size }
    }
}
