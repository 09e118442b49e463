//! Words of the model: sites, lanes, epochs, sets of writes, lane sets.

/// A site: 0 is A, which begins as the primary; 1 is B.
pub type SiteNo = usize;
/// A lane, counted by the relay where it stands.
pub type LaneNo = usize;
/// A set of writes, one bit each. A write's number is its time.
pub type Writes = u8;
/// A set of lanes, one bit each.
pub type Lanes = u8;

/// Lanes that a state has room for.
pub const LANES: usize = 3;
/// Every site.
pub const SITES: [SiteNo; 2] = [0, 1];

/// Number and node of an epoch, ordered in this sequence. `Epoch::NONE` is below all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u8);

impl Epoch {
    /// No epoch.
    pub const NONE: Self = Self(0);

    /// The epoch `number` of `site`.
    pub const fn new(number: u8, site: SiteNo) -> Self {
        Self(number * 2 + site as u8)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0 / 2
    }

    /// Whether it is one of `site`'s.
    pub fn is_of(self, site: SiteNo) -> bool {
        self != Self::NONE && (self.0 & 1) as usize == site
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::NONE => write!(f, "-"),
            epoch => write!(f, "{}{}", epoch.number(), if epoch.is_of(0) { 'A' } else { 'B' }),
        }
    }
}

/// n lanes, of which k must hold a frame before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSet {
    /// Its lanes.
    pub lanes: Lanes,
    /// How many must hold a frame.
    pub k: u32,
}

impl LaneSet {
    /// A set of `lanes`, one bit each, with `k`.
    pub const fn new(lanes: Lanes, k: u32) -> Self {
        Self { lanes, k }
    }

    /// Whether `lanes` are enough for an answer.
    pub fn answers(self, lanes: Lanes) -> bool {
        (lanes & self.lanes).count_ones() >= self.k
    }

    /// Whether `lanes` are enough for a takeover that reads `fewer` lanes less than it should.
    pub fn stops(self, lanes: Lanes, fewer: u32) -> bool {
        (lanes & self.lanes).count_ones() + self.k + fewer > self.lanes.count_ones()
    }
}
