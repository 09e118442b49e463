//! How fast hosts may write into a ring that fills: its fill level and how fast it drains in, the pause between two writes out.
//!
//! Below the threshold nobody is held back. From there on writes are let in at
//!
//! ```text
//!   pace = drain × share + (zone / HORIZON) × (room left / room taken)        zone = from the threshold to the end
//! ```
//!
//! where `share` is all of it down to half of the room and nothing at the end. So nothing begins with a jump (at the threshold
//! the second part has no bound), and the level comes to rest where as much is let in as drains, with room left for a drain that
//! comes in pieces: hosts see slow writes in place of none. Where nothing drains they become slower and slower; one write is held
//! back for the maximum delay at most, and then the ring fills after all, at the pace of that.

use midspan_format::geometry::BLOCK_U64;
use midspan_format::table::records_head_length;

use crate::vocab::limits::RESERVE_BYTES;

const SECOND_NS: u64 = 1_000_000_000;
/// How long the zone lasts where nothing drains and half of it is left, nanoseconds.
const HORIZON_NS: u64 = 10 * SECOND_NS;
/// What of the ring hosts are not to get at: a few of the largest writes, which are already admitted when the level is looked at.
const MARGIN_BYTES: u64 = RESERVE_BYTES + 256 * 1024;
/// The level must fall so many percent of the ring below the threshold before it counts as below again.
const CALM_PERCENT: u64 = 10;
/// Shortest time over which the drain is measured.
const WINDOW_NS: u64 = SECOND_NS / 4;

/// What the level has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// It has risen over the threshold.
    Up,
    /// It has fallen well below it.
    Down,
}

/// The writes that are held back.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// How many.
    pub waiting: u64,
    /// How long the first of them has waited.
    pub oldest_ns: u64,
    /// How long the last of them has.
    pub newest_ns: u64,
}

/// How fast ring space becomes free.
#[derive(Clone, Copy, Debug, Default)]
struct Drain {
    anchor: Option<(u64, u64)>,
    /// Smoothed, bytes a second.
    rate: u64,
}

impl Drain {
    /// Everything before `freed` is free at `now`.
    fn on_freed(&mut self, now: u64, freed: u64) {
        let Some((then, before)) = self.anchor else {
            self.anchor = Some((now, freed));
            return;
        };
        let passed = now.saturating_sub(then);
        if passed < WINDOW_NS {
            return;
        }
        let new = per_second(freed.saturating_sub(before), passed);
        // What was measured over seconds is not smoothed any more.
        self.rate = if passed >= SECOND_NS { new } else { self.rate / 4 * 3 + new / 4 };
        self.anchor = Some((now, freed));
    }
}

/// The stage. It has no clock: whoever calls says what time it is.
#[derive(Debug)]
pub struct Throttle {
    /// Bytes in use at the threshold, at the end, and where the level counts as low again.
    from: u64,
    to: u64,
    calm: u64,
    max_delay_ns: u64,
    used: u64,
    drain: Drain,
    crossed: bool,
}

impl Throttle {
    /// Of a ring of `size` bytes. With a `max_delay_ns` of 0 nobody is ever held back; the threshold is watched all the same.
    pub fn new(size: u64, percent: u64, max_delay_ns: u64) -> Self {
        let share = |percent: u64| size / 100 * percent.min(100);
        let from = share(percent);
        Self {
            from,
            to: size.saturating_sub(MARGIN_BYTES).max(from + 1),
            calm: share(percent.saturating_sub(CALM_PERCENT)),
            max_delay_ns,
            used: 0,
            drain: Drain::default(),
            crossed: false,
        }
    }

    /// `used` bytes of the ring are in use, and everything before `freed` is free.
    pub fn on_level(&mut self, now: u64, used: u64, freed: u64) -> Option<Crossing> {
        self.drain.on_freed(now, freed);
        self.used = used;
        match self.crossed {
            false if used >= self.from => {
                self.crossed = true;
                Some(Crossing::Up)
            }
            true if used < self.calm => {
                self.crossed = false;
                Some(Crossing::Down)
            }
            true | false => None,
        }
    }

    /// Whether the level has risen over the threshold and not fallen well below it since.
    pub fn is_crossed(&self) -> bool {
        self.crossed
    }

    /// Whether writes are held back at this level.
    pub fn is_on(&self) -> bool {
        self.max_delay_ns > 0 && self.used > self.from
    }

    /// How long one write is held back at most.
    pub fn max_delay_ns(&self) -> u64 {
        self.max_delay_ns
    }

    /// Bytes of the ring in a second that are let in at this level; `None`: as many as hosts write.
    pub fn pace(&self) -> Option<u64> {
        if !self.is_on() {
            return None;
        }
        let zone = u128::from(self.to - self.from);
        let taken = u128::from(self.used - self.from).min(zone).max(1);
        let left = zone - taken;
        let drain = u128::from(self.drain.rate);
        let share = drain - drain * (taken * 2).saturating_sub(zone) / zone;
        let rest = zone * u128::from(SECOND_NS) / u128::from(HORIZON_NS) * left / taken;
        Some(u64::try_from(share + rest).unwrap_or(u64::MAX))
    }

    /// When the first of the writes that wait may go, `last` being when the one before it went. It takes `cost` bytes of the ring
    /// at most, see [`cost`].
    ///
    /// The pace decides, but no write waits for longer than the maximum delay; where that counts, all that wait are spread over
    /// what is left of it, so that they do not go at once.
    pub fn next_at(&self, now: u64, last: u64, cost: u64, queue: Queue) -> u64 {
        let Some(pace) = self.pace() else { return now };
        let by_pace = u128::from(cost) * u128::from(SECOND_NS) / u128::from(pace.max(1));
        let by_pace = u64::try_from(by_pace).unwrap_or(u64::MAX);
        let limit = |waited_ns| now.saturating_add(self.max_delay_ns).saturating_sub(waited_ns);
        let spread = limit(queue.newest_ns).saturating_sub(last) / queue.waiting.max(1);
        let latest = limit(queue.oldest_ns);
        last.saturating_add(by_pace.min(spread)).min(latest)
    }
}

/// Bytes of the ring that a write of so many bytes takes at most: one that has its frame to itself.
pub fn cost(length: u64) -> u64 {
    length.next_multiple_of(BLOCK_U64) + records_head_length(1) as u64
}

fn per_second(bytes: u64, passed_ns: u64) -> u64 {
    let rate = u128::from(bytes) * u128::from(SECOND_NS) / u128::from(passed_ns.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
