//! Arrivals at a fixed rate: when each is due, and which are given up when the server cannot keep up.

use crate::figures::Latencies;

const SECOND_NS: u64 = 1_000_000_000;

/// How well a fixed rate was kept.
#[derive(Debug)]
pub struct Pace {
    /// The rate that was wanted, operations a second.
    pub per_second: u32,
    /// Arrivals that were given up, because a second's worth of older ones waited.
    pub missed: u64,
    /// How long after it was due each one was started: it waited for a free place, or the generator woke late.
    pub late: Latencies,
}

/// Less than this part of a rate counts as not reached.
const REACHED: f64 = 0.98;

impl Pace {
    /// Whether the rate was kept, given which part of it was reached.
    pub fn is_kept(&self, reached: f64) -> bool {
        self.missed == 0 && reached >= REACHED
    }
}

/// The arrivals of one load. None is remembered: which is due when follows from its number.
#[derive(Debug)]
pub struct Arrivals {
    start_ns: u64,
    /// Started or given up.
    taken: u64,
    pace: Pace,
}

impl Arrivals {
    /// The first is due now.
    ///
    /// # Errors
    /// See [`Latencies::new`].
    pub fn new(per_second: u32, now_ns: u64) -> anyhow::Result<Self> {
        anyhow::ensure!(per_second > 0, "a rate of at least one a second is needed");
        let pace = Pace { per_second, missed: 0, late: Latencies::new()? };
        Ok(Self { start_ns: now_ns, taken: 0, pace })
    }

    /// When the next one is due.
    pub fn next_due_ns(&self) -> u64 {
        let after_ns = u128::from(self.taken) * u128::from(SECOND_NS) / u128::from(self.pace.per_second);
        self.start_ns.saturating_add(u64::try_from(after_ns).unwrap_or(u64::MAX))
    }

    /// Takes the next one if it is due, and returns when it was.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.next_due_ns();
        if due_ns > now_ns {
            return None;
        }
        self.taken += 1;
        self.pace.late.record(now_ns - due_ns);
        Some(due_ns)
    }

    /// Gives the oldest up if more than a second's worth waits: the backlog has a bound, and so has the time that the load
    /// goes on behind its end.
    pub fn give_up(&mut self, now_ns: u64) {
        let elapsed_ns = u128::from(now_ns.saturating_sub(self.start_ns));
        let due = elapsed_ns * u128::from(self.pace.per_second) / u128::from(SECOND_NS) + 1;
        let waiting = u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.taken);
        let excess = waiting.saturating_sub(u64::from(self.pace.per_second).max(1));
        self.taken += excess;
        self.pace.missed += excess;
    }

    /// How well the rate was kept.
    pub fn into_pace(self) -> Pace {
        self.pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_due_at_equal_distances_whenever_they_are_taken() {
        let mut arrivals = Arrivals::new(4, 1000).unwrap();
        assert_eq!(arrivals.take(999), None);
        assert_eq!(arrivals.take(1000), Some(1000));
        assert_eq!(arrivals.take(1000), None);
        // A stall of half a second: both that it made wait count from when they were due.
        let now = 1000 + SECOND_NS / 2;
        assert_eq!(arrivals.take(now), Some(1000 + SECOND_NS / 4));
        assert_eq!(arrivals.take(now), Some(now));
        assert_eq!(arrivals.take(now), None);
        assert_eq!(arrivals.next_due_ns(), 1000 + 3 * SECOND_NS / 4);
        assert_eq!(arrivals.into_pace().late.count(), 3);
    }

    #[test]
    fn a_backlog_beyond_one_second_is_given_up_and_counted() {
        let mut arrivals = Arrivals::new(10, 0).unwrap();
        // Due by now are 31; the oldest 21 go.
        arrivals.give_up(3 * SECOND_NS);
        assert_eq!(arrivals.take(3 * SECOND_NS), Some(21 * SECOND_NS / 10));
        arrivals.give_up(3 * SECOND_NS);
        assert_eq!(arrivals.into_pace().missed, 21);
    }

    #[test]
    fn nothing_is_given_up_while_the_rate_is_kept() {
        let mut arrivals = Arrivals::new(1000, 0).unwrap();
        for now in (0..SECOND_NS).step_by(1_000_000) {
            arrivals.give_up(now);
            assert_eq!(arrivals.take(now), Some(now));
        }
        assert_eq!(arrivals.into_pace().missed, 0);
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        assert!(Arrivals::new(0, 0).is_err());
    }
}
