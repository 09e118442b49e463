//! What a shard counts, in atomics of its own cache lines: written by the shard alone, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

pub mod spans;

use spans::Spans;

/// A number that only its shard changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked instruction: there is one writer.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Sets a level.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Buckets of a [`Durations`]: upper bounds are 1 µs, 2 µs, 4 µs … 2^22 µs (about 4 s), then everything above.
pub const DURATION_BUCKETS: usize = 24;

/// A histogram of durations with bounds that double.
#[derive(Debug)]
pub struct Durations {
    buckets: [Counter; DURATION_BUCKETS],
    sum_ns: Counter,
}

impl Default for Durations {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum_ns: Counter::default() }
    }
}

impl Durations {
    /// Counts one duration.
    pub fn record(&self, nanoseconds: u64) {
        let microseconds = nanoseconds.div_ceil(1000).max(1);
        let index = usize::try_from(microseconds.next_power_of_two().trailing_zeros()).unwrap_or(usize::MAX);
        if let Some(bucket) = self.buckets.get(index.min(DURATION_BUCKETS - 1)) {
            bucket.add(1);
        }
        self.sum_ns.add(nanoseconds);
    }

    /// Number of durations per bucket, not accumulated; bucket i holds those up to 2^i µs, the last all longer ones.
    pub fn buckets(&self) -> [u64; DURATION_BUCKETS] {
        std::array::from_fn(|i| self.buckets.get(i).map_or(0, Counter::get))
    }

    /// Sum of all durations, nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct Counters {
    /// Passes of the loop.
    pub passes: Counter,
    /// Passes that slept.
    pub sleeps: Counter,
    /// Completions of the ring.
    pub completions: Counter,
    /// Bytes received from nodes.
    pub received_bytes: Counter,
    /// Bytes sent to nodes.
    pub sent_bytes: Counter,
    /// Send operations to nodes; fewer than messages when they were sent together.
    pub sends: Counter,
    /// Messages, blocks and frames sent to nodes.
    pub messages_sent: Counter,
    /// Messages and units received from nodes.
    pub messages_received: Counter,
    /// Bytes of partial units that were copied from one receive buffer to the next.
    pub moved_bytes: Counter,
    /// Receives that had to wait for a free buffer.
    pub starved_receives: Counter,
    /// Connections between nodes that are open.
    pub links: Counter,
    /// Durable writes: how long each took.
    pub durable_writes: Durations,
    /// Bytes written durably.
    pub durable_bytes: Counter,
    /// Other writes, and zeroes.
    pub writes: Durations,
    /// Bytes of those.
    pub written_bytes: Counter,
    /// Disk operations that were several of those as one: neighbours on the disk.
    pub runs: Counter,
    /// Reads.
    pub reads: Durations,
    /// Bytes of those.
    pub read_bytes: Counter,
    /// Flushes.
    pub flushes: Durations,
    /// Disk operations that failed.
    pub disk_failures: Counter,
    /// Host requests taken from the front end.
    pub host_requests: Counter,
    /// Host requests answered with an error.
    pub host_errors: Counter,
    /// How long writes and frames took between stages.
    pub spans: Spans,
}

/// The counters of all shards, each on cache lines of its own.
pub type AllCounters = Vec<CachePadded<Counters>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for ns in [0, 1, 1000, 1001, 2000, 2001, u64::MAX / 2] {
            durations.record(ns);
        }
        let buckets = durations.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[2], buckets[DURATION_BUCKETS - 1]), (3, 2, 1, 1));
    }
}
