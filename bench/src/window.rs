//! One measured stretch of a load: a warm-up, then the window in which completions count.

use std::time::Duration;

use crate::figures::{Coarse, Latencies};

/// Parts of a window that are counted apart, for the course over time.
const SLICES: u32 = 20;

/// How long to warm up and how long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Before anything counts.
    pub warm: Duration,
    /// What counts.
    pub measured: Duration,
}

/// What completed in the window.
#[derive(Debug)]
pub struct Tally {
    from_ns: u64,
    until_ns: u64,
    latencies: Latencies,
    /// Equal parts of the window, one behind the other; none where nobody wants them.
    slices: Vec<Coarse>,
}

impl Tally {
    /// The window's warm-up begins now.
    ///
    /// # Errors
    /// See [`Latencies::new`].
    pub fn new(window: Window, now_ns: u64) -> anyhow::Result<Self> {
        let length = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let from_ns = now_ns.saturating_add(length(window.warm));
        let until_ns = from_ns.saturating_add(length(window.measured).max(1));
        Ok(Self { from_ns, until_ns, latencies: Latencies::new()?, slices: Vec::new() })
    }

    /// The same, with the course over time.
    ///
    /// # Errors
    /// See [`Latencies::new`].
    pub fn with_slices(window: Window, now_ns: u64) -> anyhow::Result<Self> {
        let slices = (0..SLICES).map(|_| Coarse::new()).collect::<anyhow::Result<_>>()?;
        Ok(Self { slices, ..Self::new(window, now_ns)? })
    }

    /// What somebody else has counted, all of it in the window.
    pub fn of(measured: Duration, latencies: Latencies) -> Self {
        let until_ns = u64::try_from(measured.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { from_ns: 0, until_ns, latencies, slices: Vec::new() }
    }

    /// Whether the window is over: nothing more is to be started.
    pub fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns
    }

    /// The window ends now, if it has not ended before.
    pub fn end(&mut self, now_ns: u64) {
        self.from_ns = self.from_ns.min(now_ns);
        self.until_ns = self.until_ns.min(now_ns).max(self.from_ns + 1);
    }

    /// Something that was started then has completed now. It counts if now lies in the window.
    pub fn complete(&mut self, started_ns: u64, now_ns: u64) {
        if now_ns >= self.from_ns && now_ns < self.until_ns {
            let latency_ns = now_ns.saturating_sub(started_ns);
            self.latencies.record(latency_ns);
            let slice = (now_ns - self.from_ns) / self.slice_ns();
            let slice = self.slices.get_mut(usize::try_from(slice).unwrap_or(usize::MAX));
            if let Some(slice) = slice {
                slice.record(latency_ns);
            }
        }
    }

    /// Completions a second.
    pub fn per_second(&self) -> f64 {
        self.latencies.count() as f64 * 1e9 / (self.until_ns - self.from_ns) as f64
    }

    /// When the window begins or began, on the clock of `new`.
    pub fn began_ns(&self) -> u64 {
        self.from_ns
    }

    /// Nanoseconds of a slice; the last one has the rest.
    fn slice_ns(&self) -> u64 {
        (self.until_ns - self.from_ns).div_ceil(u64::from(SLICES)).max(1)
    }

    /// The window's parts in order: how long after the window's beginning each begins, how long it is, and its latencies.
    pub fn slices(&self) -> impl Iterator<Item = (Duration, Duration, &Coarse)> {
        let slice_ns = self.slice_ns();
        self.slices.iter().zip(0_u64..).map(move |(slice, number)| {
            let length_ns = (self.until_ns - self.from_ns).saturating_sub(number * slice_ns).min(slice_ns);
            (Duration::from_nanos(number * slice_ns), Duration::from_nanos(length_ns), slice)
        })
    }

    /// Their latencies.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_completes_in_the_window_counts() {
        let window = Window { warm: Duration::from_nanos(100), measured: Duration::from_nanos(1000) };
        let mut tally = Tally::new(window, 1000).unwrap();
        tally.complete(1000, 1099);
        tally.complete(1050, 1100);
        tally.complete(1500, 2099);
        assert!(!tally.is_over(2099) && tally.is_over(2100));
        tally.complete(1500, 2100);
        assert_eq!(tally.latencies().count(), 2);
        assert!((tally.per_second() - 2e6).abs() < 1.0, "{}", tally.per_second());
    }

    #[test]
    fn a_window_ends_earlier_when_somebody_says_so() {
        let window = Window { warm: Duration::from_nanos(1000), measured: Duration::from_secs(1) };
        let mut tally = Tally::new(window, 0).unwrap();
        for now in [999, 1000, 1500, 1999] {
            tally.complete(900, now);
        }
        tally.end(2000);
        tally.complete(900, 2000);
        assert!(tally.is_over(2000) && !tally.is_over(1999));
        assert_eq!(tally.latencies().count(), 3);
        assert!((tally.per_second() - 3e6).abs() < 1.0, "{}", tally.per_second());
        // Not later than it would have ended, and also in the warm-up.
        tally.end(3000);
        assert!(tally.is_over(2000));
        let mut tally = Tally::new(window, 0).unwrap();
        tally.end(50);
        assert!(tally.is_over(51));
    }

    #[test]
    fn slices_hold_what_completed_in_their_part_of_the_window() {
        let window = Window { warm: Duration::from_nanos(100), measured: Duration::from_nanos(1000) };
        let mut tally = Tally::with_slices(window, 0).unwrap();
        for now in [99, 100, 149, 150, 1099, 1100] {
            tally.complete(0, now);
        }
        let counts: Vec<(u64, u64, u64)> = tally
            .slices()
            .map(|(begin, length, slice)| {
                (
                    u64::try_from(begin.as_nanos()).unwrap(),
                    u64::try_from(length.as_nanos()).unwrap(),
                    slice.count(),
                )
            })
            .filter(|(_, _, count)| *count > 0)
            .collect();
        assert_eq!(counts, [(0, 50, 2), (50, 50, 1), (950, 50, 1)]);
        assert_eq!(tally.slices().count(), 20);
        assert_eq!(Tally::new(window, 0).unwrap().slices().count(), 0);
    }
}
