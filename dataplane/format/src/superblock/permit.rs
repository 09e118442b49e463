//! Who may write a group's areas on this disk: one block, replaced as a whole, so that a fence is one atomic step (I5).

use crate::area::AreaKind;
use crate::block::{self, BlockError};
use crate::geometry::{BLOCK, Position, Ring, is_whole_blocks};
use crate::ids::{AreaId, Epoch, GroupId, LaneId, NodeId};
use crate::list::List;
use crate::wire::wire_struct;

/// Areas of one group on one disk at most.
pub const MAX_AREAS: usize = 24;

const MAGIC: [u8; 8] = *b"MSPGROUP";

wire_struct! {
    /// A lazily kept point of an area from which its scan can begin, and a prefix that was journaled once (I8).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AreaHint {
        /// Where a journaled frame begins.
        pub position: Position,
        /// Checksum of its header.
        pub header_checksum: u64,
        /// Everything before was journaled; 0 when nothing was.
        pub journaled: Position,
    } = 24
}

wire_struct! {
    /// An area of the group.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AreaEntry {
        /// Its id, the same as in its own superblock.
        pub area: AreaId,
        /// What it holds.
        pub kind: AreaKind,
        /// The lane.
        pub lane: LaneId,
        /// Device offset of its first byte; its superblock is the block before.
        pub start: u64,
        /// Its bytes.
        pub size: u64,
        /// Where to begin its scan.
        pub hint: AreaHint,
        /// The journal that its frames belong to, where that began in another area; else none.
        pub journal: AreaId,
        /// What lies before this position may be of an earlier use: it says nothing of what was journaled since.
        pub stale_to: Position,
        /// What the journal holds here begins at this position, or later; 0: at its beginning.
        pub began: Position,
    } = 96
}

impl AreaEntry {
    /// Where its bytes lie.
    pub const fn ring(&self) -> Ring {
        Ring { start: self.start, size: self.size }
    }

    /// The id that its frames carry: its own, or that of the journal which it goes on with.
    pub fn frames(&self) -> AreaId {
        if self.journal == AreaId::NONE { self.area } else { self.journal }
    }

    fn is_possible(&self) -> bool {
        is_whole_blocks(self.start)
            && is_whole_blocks(self.size)
            && self.size > 0
            && self.start.checked_add(self.size).is_some()
    }
}

wire_struct! {
    /// The permission of one group on this disk.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GroupPermit {
        /// Counts the changes of this block; the slot with the higher one counts.
        pub sequence: u64,
        /// The group.
        pub group: GroupId,
        /// The epoch in force.
        pub epoch: Epoch,
        /// The one node that may write rings and manifest areas; none where the holder of the epoch in force has given it back.
        pub primary: NodeId,
        /// The one node that may write receipt areas.
        pub secondary: NodeId,
        /// The group's two sites: only they may ask for anything.
        pub sites: [NodeId; 2],
        /// Lease of the permitted writer, milliseconds.
        pub lease_ms: u32,
        /// Who wrote before the last fence.
        pub former: NodeId,
        /// In which epoch.
        pub former_epoch: Epoch,
        /// The group was deleted here: its ids and epoch stay behind, its areas' space is free. A group that is created with its
        /// id begins with an epoch beyond, that no node holds.
        pub deleted: bool,
        /// Its areas.
        pub areas: List<AreaEntry, MAX_AREAS>,
    } = 2560
}

impl GroupPermit {
    /// Writes the block; it belongs at [`super::permit_offset`].
    pub fn encode(&self, block: &mut [u8; BLOCK]) {
        block::encode(MAGIC, self, block);
    }

    /// Reads the block at the front of `bytes`.
    ///
    /// # Errors
    /// It is none, or damaged, or impossible.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let permit: Self = block::decode(MAGIC, bytes)?;
        if permit.areas.iter().all(AreaEntry::is_possible) { Ok(permit) } else { Err(BlockError::Malformed) }
    }

    /// The newer of two slots.
    ///
    /// # Errors
    /// Neither is valid.
    pub fn choose_slot(a: &[u8], b: &[u8]) -> Result<Self, BlockError> {
        block::newer(Self::decode(a), Self::decode(b), |permit| permit.sequence)
    }

    /// The group's areas.
    pub fn areas(&self) -> &[AreaEntry] {
        &self.areas
    }

    /// Whether a lane of the group stands here: the only areas that other nodes may ask for.
    pub fn holds_lane(&self) -> bool {
        self.areas.iter().any(|entry| entry.kind == AreaKind::Manifest)
    }

    /// The group's areas, to be changed.
    pub fn areas_mut(&mut self) -> &mut [AreaEntry] {
        &mut self.areas
    }
}
