//! What a write has reached: told by machines as it happens, for flight recorders and tracers; decides nothing.
//!
//! ```text
//!  PRIMARY    arrived ─▶ timed ─▶ sealed ─▶ sent ─┐          acknowledged ─▶ answered ─▶ written
//!  RELAY                                          └─▶ received ─▶ journaled ─┘   served ─┐
//!  SECONDARY                                                                asked ─┘      └─▶ fetched ─▶ acquired ─▶ applied
//! ```
//! A frame is named by its position. A prefix position stands for every frame that ends at or before it.

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::GroupId;

/// What was reached. The numbers are part of what recorders keep: they are only added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// A host's write is whole in memory. `place`: byte offset; `with`: volume.
    Arrived = 0,
    /// It took its time in the group's order. `place`: the time; `with`: its entry in the in-flight table.
    Timed = 1,
    /// A frame was sealed. `place`: its position; `with`: time of its last record; `request`: number of records.
    Sealed = 2,
    /// A frame was given to the kernel for the lane's node. `place`: its position; `with`: its sequence.
    Sent = 3,
    /// The relay has verified a frame. `place`: its position; `with`: its sequence.
    Received = 4,
    /// The relay's ring is durable before `place`; `with`: sequence of the last frame there.
    Journaled = 5,
    /// The primary knows that the lane is durable before `place`.
    Acknowledged = 6,
    /// The host was answered.
    Answered = 7,
    /// The write is on the primary's own disk (not flushed). `with`: its entry in the in-flight table.
    Written = 8,
    /// The secondary asks for `length` bytes of the ring from `place`.
    Asked = 9,
    /// The relay sends `length` bytes of the ring from `place`.
    Served = 10,
    /// The secondary has verified a frame. `place`: its position; `with`: its sequence.
    Fetched = 11,
    /// The secondary's own ring is durable before `place`.
    Acquired = 12,
    /// The secondary's volumes hold everything before `place` (not flushed).
    Applied = 13,
}

impl Stage {
    /// All stages, by their numbers.
    pub const ALL: [Self; 14] = [
        Self::Arrived,
        Self::Timed,
        Self::Sealed,
        Self::Sent,
        Self::Received,
        Self::Journaled,
        Self::Acknowledged,
        Self::Answered,
        Self::Written,
        Self::Asked,
        Self::Served,
        Self::Fetched,
        Self::Acquired,
        Self::Applied,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Timed => "timed",
            Self::Sealed => "sealed",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Journaled => "journaled",
            Self::Acknowledged => "acknowledged",
            Self::Answered => "answered",
            Self::Written => "written",
            Self::Asked => "asked",
            Self::Served => "served",
            Self::Fetched => "fetched",
            Self::Acquired => "acquired",
            Self::Applied => "applied",
        }
    }
}

/// Something was reached. What the fields mean is said at each [`Stage`]; a field that a stage does not name is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milestone {
    /// What.
    pub stage: Stage,
    /// Of which group.
    pub group: GroupId,
    /// The host request, for what is of one write.
    pub request: u32,
    /// Bytes, where it is of one write, one frame or one range.
    pub length: u32,
    /// Where: an offset, a time or a position.
    pub place: u64,
    /// What else the stage tells.
    pub with: u64,
}

impl Milestone {
    /// Everything before a position has reached a stage.
    pub const fn prefix(stage: Stage, group: GroupId, end: Position) -> Self {
        Self { stage, group, request: 0, length: 0, place: end.0, with: 0 }
    }

    /// A frame has reached a stage.
    pub const fn frame(stage: Stage, header: &FrameHeader) -> Self {
        let FrameHeader { group, length, position, sequence, .. } = *header;
        Self { stage, group, request: 0, length, place: position.0, with: sequence }
    }

    /// A range of the ring was asked for or served.
    pub const fn range(stage: Stage, group: GroupId, from: Position, length: u32) -> Self {
        Self { stage, group, request: 0, length, place: from.0, with: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_stands_at_its_number() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number, "{}", stage.word());
        }
    }
}
