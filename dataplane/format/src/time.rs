//! A record's place in the group's total order, and the clock that gives it.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// Nanoseconds of wall time since 1970 as the group clock saw them; forced strictly increasing within a group.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
)]
pub struct Time(pub u64);

impl Time {
    /// Before every record.
    pub const ZERO: Self = Self(0);
    /// The latest time a frame may carry (in the year 2262): whatever a peer sends, a clock can go on from it.
    pub const MAX: Self = Self(i64::MAX.cast_unsigned());
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Hybrid logical clock of a group: wall time where that goes forward, else one more than the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupClock {
    last: Time,
}

impl GroupClock {
    /// A clock beyond every time seen so far.
    pub const fn new(seen: Time) -> Self {
        Self { last: seen }
    }

    /// The next time: greater than every one given or observed before, and at least the wall clock's `wall_ns`.
    pub fn next(&mut self, wall_ns: u64) -> Time {
        let next = Time(wall_ns.max(self.last.0 + 1));
        assert!(next > self.last, "the group clock stands still");
        self.last = next;
        next
    }

    /// Takes note of a time given elsewhere.
    pub fn observe(&mut self, seen: Time) {
        self.last = self.last.max(seen);
    }

    /// The newest time given or observed.
    pub const fn last(&self) -> Time {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_wall_clock_and_never_goes_back() {
        let mut clock = GroupClock::new(Time(10));
        assert_eq!(clock.next(5), Time(11));
        assert_eq!(clock.next(100), Time(100));
        assert_eq!(clock.next(100), Time(101));
        assert_eq!(clock.next(0), Time(102));
    }

    #[test]
    fn it_is_beyond_every_time_seen() {
        let mut clock = GroupClock::new(Time::ZERO);
        clock.observe(Time(500));
        clock.observe(Time(7));
        assert_eq!(clock.last(), Time(500));
        assert_eq!(clock.next(3), Time(501));
    }

    #[test]
    fn it_goes_on_behind_the_latest_time_a_frame_may_carry() {
        let mut clock = GroupClock::new(Time::MAX);
        assert!(clock.next(0) > Time::MAX);
    }
}
