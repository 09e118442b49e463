//! Who a formatted disk belongs to.

use crate::block::{self, BlockError};
use crate::geometry::BLOCK;
use crate::ids::{DiskId, NodeId};
use crate::wire::{wire_enum, wire_struct};

const MAGIC: [u8; 8] = *b"MSPNODE\0";

wire_enum! {
    /// What a disk was formatted for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum DiskUse {
        /// The areas of a relay.
        #[default]
        Relay = 1,
        /// A site's own areas.
        Site = 2,
    }
}

wire_struct! {
    /// A node's journal disk.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NodeSuperblock {
        /// Counts the changes of this block; the slot with the higher one counts.
        pub sequence: u64,
        /// The disk's random id.
        pub disk: DiskId,
        /// The node.
        pub node: NodeId,
        /// What the disk was formatted for.
        pub usage: DiskUse,
        /// Bytes of the disk when it was formatted, or when a group that was added made use of more.
        pub size_bytes: u64,
        /// When it was formatted, ns since 1970.
        pub created_ns: u64,
        /// Group slots in use: those from this one on were never written.
        pub groups: u32,
        /// Device offset from which on no area was ever created.
        pub free_offset: u64,
    } = 128
}

impl NodeSuperblock {
    /// Writes the block; it belongs at [`super::node_offset`].
    pub fn encode(&self, block: &mut [u8; BLOCK]) {
        block::encode(MAGIC, self, block);
    }

    /// Reads the block at the front of `bytes`.
    ///
    /// # Errors
    /// It is none, or damaged, or impossible.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let found: Self = block::decode(MAGIC, bytes)?;
        if found.groups <= super::GROUP_SLOTS && found.free_offset <= found.size_bytes {
            Ok(found)
        } else {
            Err(BlockError::Malformed)
        }
    }

    /// The newer of two slots.
    ///
    /// # Errors
    /// Neither is valid.
    pub fn choose_slot(a: &[u8], b: &[u8]) -> Result<Self, BlockError> {
        block::newer(Self::decode(a), Self::decode(b), |found| found.sequence)
    }
}
