//! How long writes and frames take between two stages: one histogram a span, in atomics that only the shard changes.

use super::Counter;

/// From one stage to another, on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Primary, of each write: from arrived to timed.
    Admit,
    /// Primary, of each write: from timed until its frame is sealed.
    Seal,
    /// Primary, of each frame: from sealed until it is given to the kernel.
    Send,
    /// Primary, of each frame: from sent until its journaling is known.
    Lane,
    /// Primary, of each write: from arrived to answered.
    Answer,
    /// Primary, of each write: from answered until it is on the own disk.
    Write,
    /// Relay, of each frame: from received to journaled.
    Journal,
    /// Secondary, of each range: from asked until the first frame of it is verified.
    Fetch,
    /// Secondary, of each frame: from fetched to acquired.
    Acquire,
    /// Secondary, of each run of frames acquired together: from acquired to applied.
    Apply,
}

impl Span {
    /// All spans, in the order in which a write goes through them.
    pub const ALL: [Self; 10] = [
        Self::Admit,
        Self::Seal,
        Self::Send,
        Self::Lane,
        Self::Answer,
        Self::Write,
        Self::Journal,
        Self::Fetch,
        Self::Acquire,
        Self::Apply,
    ];

    /// The word for it, as in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Seal => "seal",
            Self::Send => "send",
            Self::Lane => "lane",
            Self::Answer => "answer",
            Self::Write => "write",
            Self::Journal => "journal",
            Self::Fetch => "fetch",
            Self::Acquire => "acquire",
            Self::Apply => "apply",
        }
    }
}

/// The shortest bucket ends here: 2^10 ns, about a microsecond.
const FIRST_BITS: u32 = 10;
/// The last bucket with an end, 2^34 ns (17 s).
const LAST_BITS: u32 = 34;
/// Buckets between two powers of two.
const STEPS: u32 = 4;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Buckets of a [`Latencies`]: up to 2^10 ns, four equal ones up to each further power of two, and all that is longer.
pub const LATENCY_BUCKETS: usize = 2 + ((LAST_BITS - FIRST_BITS) * STEPS) as usize;

/// A histogram with buckets a fifth to a quarter of their bound wide, over the whole range.
#[derive(Debug)]
pub struct Latencies {
    buckets: [Counter; LATENCY_BUCKETS],
    sum_ns: Counter,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum_ns: Counter::default() }
    }
}

impl Latencies {
    /// Counts one.
    pub fn record(&self, ns: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(ns)) {
            bucket.add(1);
        }
        self.sum_ns.add(ns);
    }

    /// Each bucket's upper bound in nanoseconds (`None`: all that is longer) and its count, not accumulated.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(at, bucket)| (bound_of(at), bucket.get()))
    }

    /// Sum of all, nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

/// The spans of one shard.
#[derive(Debug, Default)]
pub struct Spans {
    spans: [Latencies; Span::ALL.len()],
}

impl Spans {
    /// Counts one.
    pub fn record(&self, span: Span, ns: u64) {
        if let Some(latencies) = self.spans.get(span as usize) {
            latencies.record(ns);
        }
    }

    /// Each span with its histogram.
    pub fn all(&self) -> impl Iterator<Item = (Span, &Latencies)> {
        Span::ALL.into_iter().zip(&self.spans)
    }
}

/// The first bucket whose bound is not below `ns`.
fn bucket_of(ns: u64) -> usize {
    let below = ns.saturating_sub(1);
    if below >> FIRST_BITS == 0 {
        return 0;
    }
    let power = below.ilog2();
    let step = (below >> (power - STEP_BITS)) & u64::from(STEPS - 1);
    let at = u64::from((power - FIRST_BITS) * STEPS) + step + 1;
    usize::try_from(at).unwrap_or(usize::MAX).min(LATENCY_BUCKETS - 1)
}

fn bound_of(bucket: usize) -> Option<u64> {
    let at = u32::try_from(bucket).unwrap_or(u32::MAX);
    if bucket + 1 >= LATENCY_BUCKETS {
        return None;
    }
    let Some(above) = at.checked_sub(1) else { return Some(1 << FIRST_BITS) };
    let power = FIRST_BITS + above / STEPS;
    Some((1 << power) + ((u64::from(above % STEPS) + 1) << (power - STEP_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_first_bucket_whose_bound_is_not_below_it() {
        let bounds: Vec<u64> = (0..LATENCY_BUCKETS).map_while(bound_of).collect();
        assert_eq!(bounds.len(), LATENCY_BUCKETS - 1);
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "bounds rise: {bounds:?}");
        for (at, bound) in bounds.iter().enumerate() {
            assert_eq!((bucket_of(*bound), bucket_of(*bound + 1)), (at, at + 1), "around {bound}");
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, LATENCY_BUCKETS - 1));
    }

    #[test]
    fn every_span_stands_at_its_number() {
        for (number, span) in Span::ALL.into_iter().enumerate() {
            assert_eq!(span as usize, number);
        }
    }
}
