//! What an operator can say, and the themes of the fifth book, as plain data.

use crate::event::NodeIndex;

/// The first seed of the fifth book.
pub const FIFTH_BOOK: u64 = 5_000_000;
/// A word of an operator, or what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The sites are compared.
    Verify {
        /// How fast; 0: as fast as it goes.
        bytes_per_s: u64,
        /// What differs is sent.
        repair: bool,
    },
    /// No more of that.
    EndVerify,
    /// A bit of a block that hosts leave alone flips on a volume, and nobody is told.
    Flip {
        /// Where.
        site: NodeIndex,
        /// Which, of any size.
        place: u64,
    },
    /// The site that does not serve takes over, whatever is lost.
    AcceptLoss {
        /// As soon as the process of the one that does is dead.
        dead: bool,
    },
    /// The primary, the relay and perhaps the other site are lost.
    Lose(Lost),
    /// So they are as soon as the primary has noted how far its disks are.
    LoseAtLanded(Lost),
    /// This site is to start without the journal, if it waits for it; the operator repeats it until then.
    WithoutJournal {
        /// Where.
        site: NodeIndex,
        /// How often it is repeated.
        again: u32,
    },
}

/// Who is lost before a start without the journal, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The relay.
    pub relay: u64,
    /// The other site; 0: it is not.
    pub other: u64,
    /// The primary.
    pub down: u64,
    /// Its machine loses power, not only its process dies.
    pub power: bool,
    /// So much later.
    pub after: u64,
}

/// What a seed of the fifth book is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// The sites are compared.
    Compare,
    /// A loss is accepted where hosts were answered outside the lanes.
    Left,
    /// A loss is accepted where the relay is away, too.
    Unfenced,
    /// A loss is accepted where the primary goes on with nobody to tell.
    Isolated,
    /// A start without the journal.
    Skipped,
}

/// In the order in which seeds take them.
const THEMES: [Theme; 6] =
    [Theme::Compare, Theme::Left, Theme::Unfenced, Theme::Compare, Theme::Isolated, Theme::Skipped];

/// What a seed is about, if it is one of this book.
pub fn theme_of(seed: u64) -> Option<Theme> {
    let number = seed.checked_sub(FIFTH_BOOK)?;
    THEMES.get(usize::try_from(number % THEMES.len() as u64).ok()?).copied()
}

/// Whether a seed of this book has lanes as one of the fourth, and which one of them.
pub fn lanes_of(seed: u64) -> Option<u64> {
    let row = (seed.checked_sub(FIFTH_BOOK)?) / THEMES.len() as u64;
    (theme_of(seed) == Some(Theme::Compare) && row % 3 == 2).then_some(row / 3)
}
