//! From where a primary begins.

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch};
use midspan_format::time::Time;

use crate::vocab::tip::Tip;

/// What a start found out, from which a primary begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// The epoch taken in the lane.
    pub epoch: Epoch,
    /// The ring's identity, size and tip.
    pub ring: (AreaId, u64, Tip),
    /// The manifest area's identity, size and tip.
    pub manifest: (AreaId, u64, Tip),
    /// Last frame of the ring: the former process may have listed it, or the frames before it, in no manifest.
    pub last: Option<FrameHeader>,
    /// The disks hold everything before it, flushed, and it is time of the last record there.
    pub landed: (Position, Time),
    /// Newest `landed` that is durable in the lane.
    pub landed_durable: Position,
    /// Newest time seen anywhere.
    pub clock: Time,
    /// The epoch that was replaced in the lane: in further lanes it, and older ones, may be replaced, too.
    pub known: Epoch,
}
