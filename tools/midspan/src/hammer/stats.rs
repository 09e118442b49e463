//! Live figures of a run.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::ledger::Counts;

/// Latencies above this are counted as this: one hour, in ns.
const MAX_LATENCY_NS: u64 = 3_600_000_000_000;

/// The figures of a run at one moment. A window is the time since the previous snapshot.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Snapshot {
    /// Time since the start.
    pub elapsed_seconds: f64,
    /// The counts so far; `possibly_answered` without what is under way.
    pub counts: Counts,
    /// Connections that are working now.
    pub connected: u32,
    /// Answered writes per second since the start, until the last answer.
    pub iops: f64,
    /// Answered writes per second in the window.
    pub window_iops: f64,
    /// Latency of writes since the start, half of them, in µs.
    pub p50_us: f64,
    /// Latency of writes since the start, 99 % of them, in µs.
    pub p99_us: f64,
    /// Latency of writes in the window, half of them, in µs.
    pub window_p50_us: f64,
    /// Latency of writes in the window, 99 % of them, in µs.
    pub window_p99_us: f64,
    /// The longest time without the answer to any write, in ms: for the host, the interruption.
    pub longest_pause_ms: f64,
}

#[derive(Debug)]
struct Figures {
    counts: Counts,
    connected: u32,
    all: Histogram<u64>,
    window: Histogram<u64>,
    window_start_ns: u64,
    last_answer_ns: u64,
    longest_pause_ns: u64,
}

/// The collected figures of all connections.
#[derive(Debug)]
pub(super) struct Stats {
    start_ns: u64,
    figures: Mutex<Figures>,
}

impl Stats {
    /// `counts` continue those of an earlier run; `now` in ns of the run's clock.
    pub(super) fn new(counts: Counts, now: u64) -> Result<Self, hdrhistogram::CreationError> {
        let figures = Figures {
            counts,
            connected: 0,
            all: Histogram::new_with_max(MAX_LATENCY_NS, 3)?,
            window: Histogram::new_with_max(MAX_LATENCY_NS, 3)?,
            window_start_ns: now,
            last_answer_ns: now,
            longest_pause_ns: 0,
        };
        Ok(Self { start_ns: now, figures: Mutex::new(figures) })
    }

    /// Changes the counts.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().counts);
    }

    /// A connection came or went.
    pub(super) fn connection(&self, is_up: bool) {
        let mut figures = self.lock();
        figures.connected = if is_up { figures.connected + 1 } else { figures.connected.saturating_sub(1) };
    }

    /// A write was answered.
    pub(super) fn answered(&self, start: u64, end: u64) {
        let mut figures = self.lock();
        figures.counts.answered += 1;
        let latency = end.saturating_sub(start);
        figures.all.saturating_record(latency);
        figures.window.saturating_record(latency);
        // Answers come from several threads, so `end` is not in order here.
        let pause = end.saturating_sub(figures.last_answer_ns);
        figures.longest_pause_ns = figures.longest_pause_ns.max(pause);
        figures.last_answer_ns = figures.last_answer_ns.max(end);
    }

    /// The figures now; starts a new window.
    pub(super) fn snapshot(&self, now: u64) -> Snapshot {
        let mut figures = self.lock();
        let microseconds =
            |histogram: &Histogram<u64>, quantile| nanoseconds(histogram.value_at_quantile(quantile)) / 1e3;
        let window_seconds = seconds(now.saturating_sub(figures.window_start_ns));
        let snapshot = Snapshot {
            elapsed_seconds: seconds(now.saturating_sub(self.start_ns)),
            counts: figures.counts.clone(),
            connected: figures.connected,
            iops: per_second(
                figures.all.len(),
                seconds(figures.last_answer_ns.saturating_sub(self.start_ns)),
            ),
            window_iops: per_second(figures.window.len(), window_seconds),
            p50_us: microseconds(&figures.all, 0.5),
            p99_us: microseconds(&figures.all, 0.99),
            window_p50_us: microseconds(&figures.window, 0.5),
            window_p99_us: microseconds(&figures.window, 0.99),
            longest_pause_ms: nanoseconds(figures.longest_pause_ns) / 1e6,
        };
        figures.window.reset();
        figures.window_start_ns = now;
        snapshot
    }

    /// The counts alone.
    pub(super) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

fn nanoseconds(ns: u64) -> f64 {
    seconds(ns) * 1e9
}

fn per_second(count: u64, seconds: f64) -> f64 {
    // Counts far below 2^53: exact.
    let count = u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
    if seconds > 0.0 { count / seconds } else { 0.0 }
}
