//! One measured stretch of a load: a warm-up, then the window in which completions count.

use std::time::Duration;

use crate::figures::Latencies;

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
        Ok(Self { from_ns, until_ns, latencies: Latencies::new()? })
    }

    /// Whether the window is over: nothing more is to be started.
    pub fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns
    }

    /// Something that was started then has completed now. It counts if now lies in the window.
    pub fn complete(&mut self, started_ns: u64, now_ns: u64) {
        if now_ns >= self.from_ns && now_ns < self.until_ns {
            self.latencies.record(now_ns.saturating_sub(started_ns));
        }
    }

    /// Completions a second.
    pub fn per_second(&self) -> f64 {
        self.latencies.count() as f64 * 1e9 / (self.until_ns - self.from_ns) as f64
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
}
