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

/// From here on the lanes are several where a loss is accepted, too: failover and mirrors, so many seeds of each kind.
pub const SETS_FROM: u64 = 5_800_000;
const SETS_SEEDS: u64 = 50_000;

/// What seeds with such lanes are about.
const SET_THEMES: [Theme; 5] =
    [Theme::Unfenced, Theme::Left, Theme::Isolated, Theme::Unfenced, Theme::Skipped];
/// Where the primary's own lane counts alone: whoever starts there has it.
const LOCAL_THEMES: [Theme; 5] =
    [Theme::Unfenced, Theme::Unfenced, Theme::Isolated, Theme::Unfenced, Theme::Left];

/// The kinds of lanes with which losses are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sets {
    /// Failover, with the direct lane or without it, and mirrors.
    Whole,
    /// Lanes that share the data of frames.
    Striped,
    /// Lanes at the sites alone.
    Local,
}

/// Which lanes a seed has where a loss is accepted, if they are several, and its number among those.
pub fn sets_of(seed: u64) -> Option<(Sets, u64)> {
    let number = seed.checked_sub(SETS_FROM)?;
    let sets = match number / SETS_SEEDS {
        0 => Sets::Whole,
        1 => Sets::Striped,
        2 => Sets::Local,
        _ => return None,
    };
    Some((sets, number % SETS_SEEDS))
}

/// What a seed is about, if it is one of this book.
pub fn theme_of(seed: u64) -> Option<Theme> {
    let pick = |themes: &[Theme], number: u64| {
        themes.get(usize::try_from(number % themes.len() as u64).ok()?).copied()
    };
    match sets_of(seed) {
        Some((Sets::Local, number)) => pick(&LOCAL_THEMES, number),
        Some((Sets::Whole | Sets::Striped, number)) => pick(&SET_THEMES, number),
        None => pick(&THEMES, seed.checked_sub(FIFTH_BOOK)?),
    }
}

/// Whether a seed of this book has lanes as one of the fourth, and which one of them.
pub fn lanes_of(seed: u64) -> Option<u64> {
    if let Some((_, number)) = sets_of(seed) {
        // Its theme and its lanes change in turns of their own.
        return Some(number / SET_THEMES.len() as u64);
    }
    let row = (seed.checked_sub(FIFTH_BOOK)?) / THEMES.len() as u64;
    (theme_of(seed) == Some(Theme::Compare) && row % 3 == 2).then_some(row / 3)
}
