//! Where a ring's chain stands: the place of its next frame and what that frame must link to.

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_format::superblock::LanePoint;

/// The point behind the last frame of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tip {
    /// Where the next frame goes.
    pub position: Position,
    /// Its sequence number.
    pub sequence: u64,
    /// Checksum of the header before it.
    pub chain: u64,
    /// Epoch of the frame before it: epochs never decrease along a chain.
    pub epoch: Epoch,
}

impl Tip {
    /// The point behind a frame.
    pub fn after(header: &FrameHeader) -> Self {
        Self {
            position: header.end(),
            sequence: header.sequence + 1,
            chain: header.checksum,
            epoch: header.epoch,
        }
    }

    /// The point before a frame.
    pub fn before(header: &FrameHeader) -> Self {
        Self { position: header.position, sequence: header.sequence, chain: header.chain, epoch: Epoch::NONE }
    }

    /// The point at `journaled`, which lies behind `last`; the ring's very beginning when there is no frame.
    pub fn behind(journaled: Position, last: Option<&FrameHeader>) -> Self {
        last.map_or(Self { position: journaled, sequence: 1, chain: 0, epoch: Epoch::NONE }, Self::after)
    }

    /// As recorded in a site's group state.
    pub fn from_point(point: &LanePoint) -> Self {
        Self {
            position: point.position,
            sequence: point.sequence + 1,
            chain: point.header_checksum,
            epoch: Epoch::NONE,
        }
    }

    /// As a site's group state records it.
    pub fn to_point(&self) -> LanePoint {
        LanePoint {
            position: self.position,
            sequence: self.sequence.saturating_sub(1),
            header_checksum: self.chain,
        }
    }

    /// Whether a frame continues this chain.
    pub fn links(&self, header: &FrameHeader) -> bool {
        header.position == self.position
            && header.sequence == self.sequence
            && header.chain == self.chain
            && header.epoch >= self.epoch
    }
}
