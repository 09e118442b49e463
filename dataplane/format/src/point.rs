//! A point of a lane's chain, as it is recorded: what lies behind it can be told from anything else.

use crate::geometry::Position;
use crate::wire::wire_struct;

wire_struct! {
    /// The point behind a frame of a lane.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LanePoint {
        /// Where the next frame goes.
        pub position: Position,
        /// Sequence of the frame before; 0 before the first.
        pub sequence: u64,
        /// Checksum of its header.
        pub header_checksum: u64,
    } = 24
}
