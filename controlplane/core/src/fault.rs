//! How strongly a peer is suspected to be gone: an accrual failure detector, one for each path to a node.
//!
//! After N. Hayashibara, X. Défago, R. Yared, T. Katayama: "The φ Accrual Failure Detector", SRDS 2004. φ says how
//! improbable the present silence is, given the intervals of a window: φ = 3 is one in a thousand. Changed here, each for
//! a reason that `docs/fault-detection.md` shows with figures:
//!
//! - **Two tails, the heavier one counts.** The paper takes a normal distribution. It knows no lost heartbeats (their gaps
//!   are geometric) and calls a quiet path dead after its first hiccup; an exponential tail of the same mean covers loss,
//!   the normal one covers a path whose deviation is beyond its mean. It takes the place of a floor of the deviation.
//! - **An acceptable pause** is not held against the peer, as in other implementations: a stalled host, not jitter.
//! - **The mean has a floor**, the sender's own interval: a burst of late heartbeats makes nobody impatient.
//! - **A sample has a ceiling**: an outage is no jitter, and must not blind the detector for the rest of the window.
//! - **Our own pauses are forgiven**: who was not running cannot say that others were silent.
//! - Whole numbers and a table: the same answer on every machine.

/// Intervals that are remembered.
pub const WINDOW: usize = 128;

const MICROSECOND_NS: u64 = 1_000;
/// A sample at most, microseconds: what the sums below have room for.
const LONGEST_US: u64 = 600_000_000;
/// Intervals that one sample can be at most, besides the acceptable pause.
const CEILING: u64 = 10;
/// 1000 · log10(e): thousandths of φ for each mean that was waited, under the exponential tail.
const PER_MEAN: u64 = 434;

/// Thousandths of a standard deviation between two entries of [`NORMAL_TAIL`].
const STEP: u64 = 250;
/// -1000 · log10 of the probability that a normal variable lies so many quarters of its deviation above its mean, or more.
const NORMAL_TAIL: [u32; 33] = [
    301, 397, 511, 645, 800, 976, 1175, 1397, 1643, 1913, 2207, 2526, 2870, 3239, 3633, 4053, 4499, 4971,
    5469, 5993, 6543, 7119, 7721, 8350, 9006, 9688, 10396, 11131, 11893, 12681, 13496, 14338, 15206,
];

/// Thousandths of φ: 3000 is a silence of one in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspicion(pub u32);

impl Suspicion {
    /// Beyond this nothing is told apart: the end of the table.
    pub const MAX: Self = Self(15_206);
    /// Where a peer becomes suspect, unless configured.
    pub const SUSPECT: Self = Self(3_000);
    /// Where a peer is held for dead, unless configured.
    pub const DEAD: Self = Self(8_000);
}

/// What the thresholds make of a suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Heard as usual.
    Alive,
    /// Silent for unusually long, or never heard so far.
    Suspect,
    /// Silent for so long that waiting is of no use.
    Dead,
}

/// What a detector is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often the peer sends.
    pub interval_ns: u64,
    /// Silence that is never held against it.
    pub pause_ns: u64,
    /// Suspect from here.
    pub suspect: Suspicion,
    /// Dead from here.
    pub dead: Suspicion,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_ns: 100_000_000,
            pause_ns: 1_000_000_000,
            suspect: Suspicion::SUSPECT,
            dead: Suspicion::DEAD,
        }
    }
}

/// Watches one path to one node. Its window holds the last [`WINDOW`] intervals, its sums are those of the window.
#[derive(Clone, Debug)]
pub struct Detector {
    settings: Settings,
    interval_ns: u64,
    samples_us: [u32; WINDOW],
    next: usize,
    count: u64,
    sum: u64,
    squares: u64,
    last_ns: u64,
    heard: bool,
}

impl Detector {
    /// A detector that waits for a first heartbeat from `now_ns` (monotonic) on.
    pub const fn new(settings: Settings, now_ns: u64) -> Self {
        assert!(settings.interval_ns >= MICROSECOND_NS, "an interval");
        assert!(settings.suspect.0 <= settings.dead.0, "suspect before dead");
        assert!(settings.dead.0 <= Suspicion::MAX.0, "a level that can be reached");
        Self {
            settings,
            interval_ns: settings.interval_ns,
            samples_us: [0; WINDOW],
            next: 0,
            count: 0,
            sum: 0,
            squares: 0,
            last_ns: now_ns,
            heard: false,
        }
    }

    /// The peer says how often it sends: seldomer than configured here is not late.
    pub fn expect(&mut self, interval_ns: u64) {
        self.interval_ns = interval_ns.min(LONGEST_US * MICROSECOND_NS).max(self.settings.interval_ns);
    }

    /// A heartbeat came.
    pub fn on_heartbeat(&mut self, now_ns: u64) {
        if self.heard {
            let ceiling_ns = self.interval_ns.saturating_mul(CEILING);
            let ceiling_us = ceiling_ns.saturating_add(self.settings.pause_ns) / MICROSECOND_NS;
            let interval_us = now_ns.saturating_sub(self.last_ns) / MICROSECOND_NS;
            self.take(interval_us.min(ceiling_us).min(LONGEST_US));
        }
        self.heard = true;
        self.last_ns = self.last_ns.max(now_ns);
    }

    /// This node itself did not run for so long: the silence in it says nothing about the peer.
    pub fn forgive(&mut self, lost_ns: u64, now_ns: u64) {
        self.last_ns = self.last_ns.saturating_add(lost_ns).min(now_ns.max(self.last_ns));
    }

    fn take(&mut self, sample_us: u64) {
        let Some(slot) = self.samples_us.get_mut(self.next) else { return };
        let former = u64::from(*slot);
        *slot = u32::try_from(sample_us).unwrap_or(u32::MAX);
        let sample = u64::from(*slot);
        self.sum = self.sum - former + sample;
        self.squares = self.squares - former * former + sample * sample;
        self.next = (self.next + 1) % WINDOW;
        self.count = (self.count + 1).min(WINDOW as u64);
    }

    /// Whether anything was ever heard.
    pub const fn was_heard(&self) -> bool {
        self.heard
    }

    /// How long nothing was heard: since the last heartbeat, or since the detector began.
    pub const fn silent_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.last_ns)
    }

    /// φ of the present silence. It never falls while the silence lasts.
    pub fn suspicion(&self, now_ns: u64) -> Suspicion {
        let silent_ns = self.silent_ns(now_ns).saturating_sub(self.settings.pause_ns);
        let waited = (silent_ns / MICROSECOND_NS).min(u64::MAX / 1_000);
        let (mean, deviation) = self.shape();
        let seldom = waited.saturating_mul(PER_MEAN) / mean;
        let odd = normal(waited.saturating_sub(mean) * 1_000 / deviation);
        Suspicion(odd.min(u32::try_from(seldom).unwrap_or(u32::MAX)))
    }

    /// Mean and deviation, microseconds, neither of them 0.
    fn shape(&self) -> (u64, u64) {
        let floor = (self.interval_ns / MICROSECOND_NS).max(1);
        let Some(mean) = self.sum.checked_div(self.count) else { return (floor, floor) };
        let square = self.squares / self.count;
        (mean.max(floor), square.saturating_sub(mean * mean).isqrt().max(1))
    }

    /// What the thresholds make of it. Who was never heard is suspect from the start: nothing speaks for it.
    pub fn level(&self, now_ns: u64) -> Level {
        let suspicion = self.suspicion(now_ns);
        if suspicion >= self.settings.dead {
            Level::Dead
        } else if suspicion >= self.settings.suspect || !self.heard {
            Level::Suspect
        } else {
            Level::Alive
        }
    }

    /// Asserts what always holds.
    pub fn check(&self) {
        let count = usize::try_from(self.count).unwrap_or(WINDOW);
        let filled = self.samples_us.iter().take(count).map(|sample| u64::from(*sample));
        let (sum, squares) = filled.fold((0, 0), |(sum, squares), s| (sum + s, squares + s * s));
        assert_eq!((self.sum, self.squares), (sum, squares), "the sums are those of the window");
        assert!(self.next < WINDOW && (self.count == WINDOW as u64 || self.next == count));
    }
}

/// Thousandths of φ at so many thousandths of the deviation above the mean: the table, and straight lines between.
fn normal(above: u64) -> u32 {
    let index = usize::try_from(above / STEP).unwrap_or(usize::MAX);
    let (Some(here), Some(there)) = (NORMAL_TAIL.get(index), NORMAL_TAIL.get(index.saturating_add(1))) else {
        return Suspicion::MAX.0;
    };
    let part = u64::from(there - here) * (above % STEP) / STEP;
    here + u32::try_from(part).unwrap_or(0)
}

#[cfg(test)]
mod tests;
