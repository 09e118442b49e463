//! Moments of a change of the lane set, and who is struck in them.

use crate::event::NodeIndex;

/// A sign that a change of the set is in some step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A further lane is told where to go on.
    Begins,
    /// That it is asked for is being recorded at the primary.
    Records,
    /// The other site is asked.
    Asks,
    /// The other site is about to say that it has recorded it.
    Recorded,
    /// The new set counts alone.
    Counts,
    /// A frame goes to a second lane, too.
    Doubled,
}

impl Moment {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Begins, Self::Records, Self::Asks, Self::Recorded, Self::Counts, Self::Doubled];
}

/// What happens in such a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The process dies that does it.
    Here,
    /// The other site's does.
    There,
    /// This node's does.
    At(NodeIndex),
    /// This machine loses power.
    Power(NodeIndex),
    /// The sites do not reach each other.
    Apart,
    /// Whoever serves and this relay are lost at once, and the other site takes over.
    Both(NodeIndex),
}

/// Something strikes in a moment of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// When.
    pub moment: Moment,
    /// So many times it passes undisturbed.
    pub skip: u32,
    /// So many effects later.
    pub fuse: u32,
    /// What.
    pub blow: Blow,
    /// How long.
    pub time: u64,
}
