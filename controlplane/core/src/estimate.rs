//! How far a secondary is behind, when a ring will be full, and when a round will have ended: from watermarks and times alone.

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Bytes between two watermarks; 0 when the later one is not ahead (the two may have been read at different instants).
pub const fn bytes_behind(ahead: u64, reached: u64) -> u64 {
    ahead.saturating_sub(reached)
}

/// Time between the newest record and the newest one that was reached, nanoseconds. 0 when everything was reached:
/// an idle group is not behind, however long ago its last write was.
pub const fn time_behind(newest_ns: u64, reached_ns: u64, bytes_behind: u64) -> u64 {
    if bytes_behind == 0 { 0 } else { newest_ns.saturating_sub(reached_ns) }
}

/// Watches how a ring fills.
#[derive(Clone, Copy, Debug, Default)]
pub struct FillRate {
    anchor: Option<(u64, u64)>,
    /// Smoothed net rate, bytes a second; negative when it empties.
    rate: i64,
    used: u64,
}

impl FillRate {
    /// `used` bytes were in use at `at_ns` of a monotonic clock. Samples closer than a second are gathered.
    pub fn on_sample(&mut self, at_ns: u64, used: u64) {
        self.used = used;
        let Some((then, before)) = self.anchor else {
            self.anchor = Some((at_ns, used));
            return;
        };
        let passed = at_ns.saturating_sub(then);
        if passed < SECOND_NS {
            return;
        }
        let change = i128::from(used) - i128::from(before);
        let rate = change * i128::from(SECOND_NS) / i128::from(passed);
        let rate = i64::try_from(rate).unwrap_or(if rate > 0 { i64::MAX } else { i64::MIN });
        // A quarter of the new one: a burst of a second makes no alarm, ten seconds of it do.
        self.rate = self.rate / 4 * 3 + rate / 4;
        self.anchor = Some((at_ns, used));
    }

    /// Seconds until a ring of `size` bytes is full at the present rate; `None` when it does not fill.
    pub fn seconds_to_full(&self, size: u64) -> Option<u64> {
        let rate = u64::try_from(self.rate).ok().filter(|rate| *rate > 0)?;
        Some(size.saturating_sub(self.used) / rate)
    }

    /// Seconds until it is empty at the present rate; `None` when it does not empty.
    pub fn seconds_to_empty(&self) -> Option<u64> {
        let rate = self.rate.checked_neg().and_then(|rate| u64::try_from(rate).ok());
        let rate = rate.filter(|rate| *rate > 0)?;
        Some(self.used.div_ceil(rate))
    }
}

/// Seconds for which a ring of `size` bytes, `used` of them in use, takes what is written at `rate` bytes a second when nothing
/// becomes free any more; `None` when nothing is written.
pub const fn outage(size: u64, used: u64, rate: u64) -> Option<u64> {
    size.saturating_sub(used).checked_div(rate)
}

/// Watches how a round gets on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendRate {
    anchor: Option<(u64, u64)>,
    /// Smoothed, bytes a second; `None` until a second has been seen.
    rate: Option<u64>,
    sent: u64,
}

impl SendRate {
    /// `sent` bytes were sent at `at_ns` of a monotonic clock. Samples closer than a second are gathered.
    pub fn on_sample(&mut self, at_ns: u64, sent: u64) {
        // Less than before: it began anew.
        if sent < self.sent {
            *self = Self::default();
        }
        self.sent = sent;
        let Some((then, before)) = self.anchor else {
            self.anchor = Some((at_ns, sent));
            return;
        };
        let passed = at_ns.saturating_sub(then);
        if passed < SECOND_NS {
            return;
        }
        let new = u128::from(sent.saturating_sub(before)) * u128::from(SECOND_NS) / u128::from(passed);
        let new = u64::try_from(new).unwrap_or(u64::MAX);
        self.rate = Some(self.rate.map_or(new, |old| old / 4 * 3 + new / 4));
        self.anchor = Some((at_ns, sent));
    }

    /// Nothing is sent for a while, and that time does not count.
    pub fn on_pause(&mut self) {
        *self = Self { sent: self.sent, ..Self::default() };
    }

    /// Bytes a second.
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.rate
    }

    /// Seconds until all of `bytes` are sent at this rate.
    pub fn seconds_to_end(&self, bytes: u64) -> Option<u64> {
        let rate = self.rate.filter(|rate| *rate > 0)?;
        Some(bytes.saturating_sub(self.sent).div_ceil(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_group_is_not_behind() {
        assert_eq!(time_behind(90 * SECOND_NS, 3, bytes_behind(4096, 4096)), 0);
        assert_eq!(time_behind(90, 30, bytes_behind(8192, 4096)), 60);
    }

    #[test]
    fn a_reading_from_an_earlier_instant_is_not_a_negative_lag() {
        assert_eq!(bytes_behind(4096, 8192), 0);
        assert_eq!(time_behind(3, 9, 1), 0);
    }

    #[test]
    fn a_ring_that_fills_steadily_says_when_it_is_full() {
        let mut rate = FillRate::default();
        for second in 0..60u64 {
            rate.on_sample(second * SECOND_NS, second * 1000);
        }
        let seconds = rate.seconds_to_full(159_000).unwrap();
        assert!((100..=102).contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_ring_that_empties_is_never_full() {
        let mut rate = FillRate::default();
        for second in 0..60u64 {
            rate.on_sample(second * SECOND_NS, 1_000_000 - second * 1000);
        }
        assert_eq!(rate.seconds_to_full(2_000_000), None);
    }

    #[test]
    fn a_ring_that_empties_says_when_it_is_empty() {
        let mut rate = FillRate::default();
        for second in 0..60u64 {
            rate.on_sample(second * SECOND_NS, 1_000_000 - second * 1000);
        }
        let seconds = rate.seconds_to_empty().unwrap();
        assert!((940..=960).contains(&seconds), "{seconds}");
        assert_eq!(FillRate::default().seconds_to_empty(), None);
    }

    #[test]
    fn an_outage_lasts_as_long_as_the_room_that_is_left() {
        assert_eq!(outage(1000, 400, 60), Some(10));
        assert_eq!(outage(1000, 4000, 60), Some(0));
        assert_eq!(outage(1000, 400, 0), None, "nobody writes");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut rate = FillRate::default();
        rate.on_sample(0, 0);
        rate.on_sample(SECOND_NS, u64::MAX);
        rate.on_sample(2 * SECOND_NS, 0);
        rate.on_sample(u64::MAX, u64::MAX);
        rate.on_sample(0, 0);
        assert!(rate.seconds_to_full(u64::MAX).is_none_or(|s| s < u64::MAX));
    }

    #[test]
    fn a_round_says_when_it_has_ended_after_its_first_second() {
        let mut rate = SendRate::default();
        rate.on_sample(0, 1000);
        assert_eq!((rate.bytes_per_second(), rate.seconds_to_end(9000)), (None, None));
        rate.on_sample(SECOND_NS, 2000);
        assert_eq!((rate.bytes_per_second(), rate.seconds_to_end(9000)), (Some(1000), Some(7)));
        rate.on_sample(2 * SECOND_NS, 9000);
        assert_eq!(rate.seconds_to_end(9000), Some(0));
    }

    #[test]
    fn a_pause_and_another_round_are_no_slowness() {
        let mut rate = SendRate::default();
        rate.on_sample(0, 0);
        rate.on_sample(SECOND_NS, 4000);
        rate.on_pause();
        assert_eq!(rate.seconds_to_end(8000), None);
        rate.on_sample(100 * SECOND_NS, 4000);
        rate.on_sample(101 * SECOND_NS, 8000);
        assert_eq!(rate.bytes_per_second(), Some(4000));
        rate.on_sample(102 * SECOND_NS, 100);
        assert_eq!(rate.bytes_per_second(), None);
    }

    #[test]
    fn a_round_that_stands_still_has_no_end() {
        let mut rate = SendRate::default();
        rate.on_sample(0, 7);
        rate.on_sample(SECOND_NS, 7);
        assert_eq!((rate.bytes_per_second(), rate.seconds_to_end(9)), (Some(0), None));
        rate.on_sample(u64::MAX, u64::MAX);
        assert!(rate.bytes_per_second().is_some());
    }
}
