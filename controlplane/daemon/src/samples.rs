//! What the shards count, under the names that Prometheus knows it by.

use midspan_node::counters::spans::Latencies;
use midspan_node::counters::{AllCounters, Counter, Counters, Durations};

use crate::metrics::{Sample, Value};

/// A number of each shard: its name, what it is, where it stands.
type Number = (&'static str, &'static str, fn(&Counters) -> &Counter);
/// Durations of each shard.
type Histogram = (&'static str, &'static str, fn(&Counters) -> &Durations);

const COUNTERS: &[Number] = &[
    ("shard_passes_total", "Passes of the shard's loop.", |c| &c.passes),
    ("shard_sleeps_total", "Passes that slept.", |c| &c.sleeps),
    ("shard_completions_total", "Completions of the shard's ring.", |c| &c.completions),
    ("peer_received_bytes_total", "Bytes received from nodes.", |c| &c.received_bytes),
    ("peer_sent_bytes_total", "Bytes sent to nodes.", |c| &c.sent_bytes),
    ("peer_sends_total", "Send operations to nodes.", |c| &c.sends),
    ("peer_messages_sent_total", "Messages, blocks and frames sent to nodes.", |c| &c.messages_sent),
    ("peer_messages_received_total", "Messages and units received from nodes.", |c| &c.messages_received),
    ("peer_moved_bytes_total", "Bytes of partial units copied between receive buffers.", |c| &c.moved_bytes),
    ("peer_starved_receives_total", "Receives that waited for a free buffer.", |c| &c.starved_receives),
    ("disk_durable_written_bytes_total", "Bytes written durably.", |c| &c.durable_bytes),
    ("disk_written_bytes_total", "Bytes of other writes, and zeroes.", |c| &c.written_bytes),
    ("disk_joined_writes_total", "Disk operations that were several neighbouring writes as one.", |c| {
        &c.runs
    }),
    ("disk_read_bytes_total", "Bytes read from disks.", |c| &c.read_bytes),
    ("disk_failures_total", "Disk operations that failed.", |c| &c.disk_failures),
    ("host_requests_total", "Host requests taken from the front end.", |c| &c.host_requests),
    ("host_errors_total", "Host requests answered with an error.", |c| &c.host_errors),
];

const GAUGES: &[Number] = &[("peer_connections", "Connections between nodes that are open.", |c| &c.links)];

const HISTOGRAMS: &[Histogram] = &[
    ("disk_durable_write_seconds", "Durable writes.", |c| &c.durable_writes),
    ("disk_write_seconds", "Other writes, and zeroes.", |c| &c.writes),
    ("disk_read_seconds", "Reads.", |c| &c.reads),
    ("disk_flush_seconds", "Flushes.", |c| &c.flushes),
];

const STAGE: (&str, &str) =
    ("stage_seconds", "Time that writes and frames took from one stage to the next, see docs/tracing.md.");

/// Everything that all shards count now.
pub fn samples(counters: &AllCounters) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (shard, of_shard) in counters.iter().enumerate() {
        let mut add = |name, help, value| samples.push(Sample { name, help, shard, stage: None, value });
        for (name, help, counter) in COUNTERS {
            add(*name, *help, Value::Counter(counter(of_shard).get()));
        }
        for (name, help, gauge) in GAUGES {
            add(*name, *help, Value::Gauge(gauge(of_shard).get()));
        }
        for (name, help, durations) in HISTOGRAMS {
            add(*name, *help, histogram(durations(of_shard)));
        }
        for (span, latencies) in of_shard.spans.all() {
            // A node has only the spans of its roles.
            if let Some(value) = latency(latencies) {
                let (name, help) = STAGE;
                samples.push(Sample { name, help, shard, stage: Some(span.word()), value });
            }
        }
    }
    samples
}

/// A span's histogram; `None` while there is nothing in it.
fn latency(latencies: &Latencies) -> Option<Value> {
    let seconds = |ns| std::time::Duration::from_nanos(ns).as_secs_f64();
    let bucket = |(bound, count): (Option<u64>, u64)| (bound.map_or(f64::INFINITY, seconds), count);
    let buckets: Vec<_> = latencies.buckets().map(bucket).collect();
    let is_empty = buckets.iter().all(|(_, count)| *count == 0);
    (!is_empty).then(|| Value::Histogram { buckets, sum: seconds(latencies.sum_ns()) })
}

/// The data plane's buckets end at 1 us, 2 us, 4 us and so on; the last one holds all that is longer.
fn histogram(durations: &Durations) -> Value {
    let counts = durations.buckets();
    let mut bound = 1e-6;
    let mut buckets = Vec::with_capacity(counts.len());
    for (index, count) in counts.iter().enumerate() {
        let is_last = index + 1 == counts.len();
        buckets.push((if is_last { f64::INFINITY } else { bound }, *count));
        bound *= 2.0;
    }
    let sum = std::time::Duration::from_nanos(durations.sum_ns()).as_secs_f64();
    Value::Histogram { buckets, sum }
}

#[cfg(test)]
mod tests {
    use midspan_node::counters::spans::Span;

    use super::*;

    #[test]
    fn every_shard_has_every_number_under_a_name_of_its_own() {
        let counters: AllCounters = (0..2).map(|_| Default::default()).collect();
        counters[1].host_requests.add(3);
        counters[1].reads.record(1_500);
        let samples = samples(&counters);
        let mut names: Vec<_> = samples.iter().map(|sample| (sample.name, sample.shard)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), all % 2), (all, 0));
        let value = |name| &samples.iter().find(|s| s.name == name && s.shard == 1).unwrap().value;
        assert_eq!(value("host_requests_total"), &Value::Counter(3));
        let Value::Histogram { buckets, sum } = value("disk_read_seconds") else { panic!("no histogram") };
        assert_eq!(buckets[1], (2e-6, 1));
        assert!((sum - 1.5e-6).abs() < 1e-12);
        assert!(buckets.last().unwrap().0.is_infinite());
    }

    #[test]
    fn a_span_is_shown_under_its_stage_once_something_went_through_it() {
        let counters: AllCounters = vec![Default::default()];
        counters[0].spans.record(Span::Lane, 100_000);
        let samples = samples(&counters);
        let stages: Vec<_> = samples.iter().filter(|s| s.name == "stage_seconds").collect();
        assert_eq!(stages.iter().map(|s| s.stage).collect::<Vec<_>>(), [Some("lane")]);
        let Value::Histogram { buckets, sum } = &stages[0].value else { panic!("no histogram") };
        let full: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert!(full.len() == 1 && full[0].0 >= 1e-4 && full[0].0 < 1.25e-4 && (sum - 1e-4).abs() < 1e-12);
    }
}
