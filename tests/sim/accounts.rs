//! What the oracle keeps of comparisons and of accepted losses.

use std::collections::BTreeSet;

use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_protocol::vocab::effect::LinkId;

use crate::event::NodeIndex;
use crate::orders::Lost;

/// A piece of a volume whose digest one record carries.
pub type Piece = (u32, u64);

/// How the last comparison stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Last {
    /// To be asked for.
    #[default]
    Wanted,
    /// Asked for then.
    Asked(u64),
    /// It found nothing any more.
    Clean,
}

/// What the oracle knows of comparisons.
#[derive(Debug, Default)]
pub struct Comparing {
    /// A bit has flipped.
    pub flipped: bool,
    /// Pieces that differed when the run began.
    pub before: BTreeSet<Piece>,
    /// And that may have differed since.
    pub since: BTreeSet<Piece>,
    /// The last one of the run.
    pub last: Last,
}

/// An operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Takes over, whatever is lost.
    Takeover,
    /// Starts without the journal.
    Start,
    /// Of a split, this site is kept.
    Keep,
}

/// A takeover with accepted loss that has said nothing yet.
#[derive(Clone, Copy, Debug)]
pub struct Untold {
    /// The life in which it was asked for last, or in which it was recorded.
    pub life: u64,
    /// The takeover that was recorded then.
    pub before: Epoch,
    /// A newer one was recorded since.
    pub taken: bool,
}

/// What the oracle knows of losses.
#[derive(Debug, Default)]
pub struct Losing {
    /// By node: what has been said there, and nothing has come of it yet.
    pub pending: [Option<Said>; 3],
    /// The site by whose history hosts go since a loss was accepted, until the sites are paired.
    pub crown: Option<NodeIndex>,
    /// Up to here it held the journal when it accepted the loss, where there are several lanes.
    pub shared: Position,
    /// Frames of that site in the lane then.
    pub frames: u64,
    /// By node: what it had recorded last as a secondary says that the other site answers outside the lanes.
    pub recorded: [bool; 3],
    /// By node: the life in which a lane has answered a takeover, and the connection by which, as long as it is only looked at.
    pub answered: [Option<(u64, Option<LinkId>)>; 3],
    /// By node: the last takeover there came to nothing: the next one is another.
    pub over: [bool; 3],
    /// By node: the life to which the other site has told that it answers outside the lanes, before a lane had answered a takeover there.
    pub told: [Option<u64>; 3],
    /// Another site has served since without anybody's word: which history counts shows when one of them is given up.
    pub apart: bool,
    /// The other site has answered a write since, and no operator has chosen between the two.
    pub beside: bool,
    /// By node: a takeover with accepted loss that may end in a process that dies before it can say so.
    pub untold: [Option<Untold>; 3],
    /// By node: when the operator looks at a split next.
    pub looks_at: [u64; 3],
    /// Who is lost as soon as the primary notes that more has landed.
    pub trap: Option<Lost>,
    /// What it has noted last.
    pub landed: u64,
    /// Since when both sites follow, and nobody serves.
    pub idle_since: Option<u64>,
    /// The site that was replaced was kept once, or cannot be.
    pub kept: bool,
}
