//! What a load has shown over all repeats: medians and ranges, the distribution, the course over time.

use anyhow::Result;
use serde::Serialize;

use crate::calls::Calls;
use crate::cluster::Place;
use crate::figures::{Latencies, Spread, ratio, round};
use crate::generator::{Mix, Pace, Pattern, Work};
use crate::path::{Cost, Sample};
use crate::status::Behind;
use crate::window::Tally;

/// A load over all repeats.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Operations a second.
    pub iops: Option<Spread>,
    /// Megabytes (10^6) a second.
    pub mbps: Option<Spread>,
    /// Latency that half of all operations do not exceed, microseconds.
    pub p50_us: Option<Spread>,
    /// 99 in 100.
    pub p99_us: Option<Spread>,
    /// 999 in 1000.
    pub p999_us: Option<Spread>,
    /// CPU time for each operation, by process, microseconds.
    pub cpu_us: Costs,
    /// Context switches for each operation, by process.
    pub switches: Costs,
    /// Journal bytes that the secondary had not got when the load ended.
    pub behind_acquired_bytes: Option<Spread>,
    /// Journal bytes that the secondary had not applied when the load ended.
    pub behind_applied_bytes: Option<Spread>,
    /// The same as time, seconds.
    pub behind_seconds: Option<Spread>,
    /// How long it took to apply the rest, milliseconds.
    pub caught_up_ms: Option<Spread>,
    /// Repeats after which the secondary did not catch up in time.
    pub never_caught_up: usize,
    /// Of a mixed load, the reads alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<Apart>,
    /// And the writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<Apart>,
    /// Of a load with a fixed rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// One kind of request in a mixed load.
#[derive(Debug, Serialize)]
pub struct Apart {
    /// Of them a second.
    pub iops: Option<Spread>,
    /// Latency that half of them do not exceed, microseconds.
    pub p50_us: Option<Spread>,
    /// 99 in 100.
    pub p99_us: Option<Spread>,
}

impl Apart {
    fn of(samples: &[Sample], take: fn(&[Tally; 2]) -> &Tally) -> Option<Self> {
        samples.iter().find(|sample| sample.apart.is_some())?;
        let over = |figure: &dyn Fn(&Tally) -> Option<f64>| {
            Spread::over(samples, |sample| figure(take(sample.apart.as_ref()?)))
        };
        Some(Self {
            iops: over(&|tally| Some(tally.per_second())),
            p50_us: over(&|tally| tally.latencies().at_us(0.5)),
            p99_us: over(&|tally| tally.latencies().at_us(0.99)),
        })
    }
}

/// How well a fixed rate was kept.
#[derive(Debug, Serialize)]
pub struct Open {
    /// What was wanted, operations a second.
    pub offered_iops: Option<Spread>,
    /// Part of the repeats' rates that was reached.
    pub reached: Option<Spread>,
    /// Arrivals given up, because a second's worth of older ones waited.
    pub missed: Option<Spread>,
    /// How long after it was due 99 in 100 requests were started, microseconds: waiting for a free place, or for the
    /// generator to wake. It is part of the latencies.
    pub late_p99_us: Option<Spread>,
    /// Repeats in which less than 98 % of the rate was reached, or arrivals were given up.
    pub not_reached: usize,
}

impl Open {
    fn of(samples: &[Sample]) -> Option<Self> {
        samples.iter().find(|sample| sample.pace.is_some())?;
        let over = |figure: &dyn Fn(&Pace) -> Option<f64>| {
            Spread::over(samples, |sample| figure(sample.pace.as_ref()?))
        };
        let reached =
            |sample: &Sample| ratio(sample.tally.per_second(), f64::from(sample.pace.as_ref()?.per_second));
        let fell_short = |sample: &&Sample| {
            sample.pace.as_ref().is_some_and(|pace| !pace.is_kept(reached(sample).unwrap_or(0.0)))
        };
        Some(Self {
            offered_iops: over(&|pace| Some(f64::from(pace.per_second))),
            reached: Spread::over(samples, reached),
            missed: over(&|pace| Some(pace.missed as f64)),
            late_p99_us: over(&|pace| pace.late.at_us(0.99)),
            not_reached: samples.iter().filter(fell_short).count(),
        })
    }
}

/// One figure for each process.
#[derive(Debug, Serialize)]
pub struct Costs {
    /// The primary's.
    pub primary: Option<Spread>,
    /// The relay's.
    pub relay: Option<Spread>,
    /// The secondary's.
    pub secondary: Option<Spread>,
    /// The load generator's.
    pub client: Option<Spread>,
}

impl Costs {
    fn of(samples: &[Sample], take: fn(&Cost) -> f64) -> Self {
        let node = |wanted: Place| {
            Spread::over(samples, |sample| {
                sample.nodes.iter().find(|(place, _)| *place == wanted).map(|(_, cost)| take(cost))
            })
        };
        Self {
            primary: node(Place::Primary),
            relay: node(Place::Relay),
            secondary: node(Place::Secondary),
            client: Spread::over(samples, |sample| sample.client.as_ref().map(take)),
        }
    }
}

impl Summary {
    /// Of operations of this size.
    pub fn of(samples: &[Sample], bytes_each: usize) -> Self {
        let over = |take: &dyn Fn(&Sample) -> Option<f64>| Spread::over(samples, take);
        let at = |part: f64| over(&|sample| sample.tally.latencies().at_us(part));
        let bytes =
            |take: fn(&Behind) -> Option<u64>| over(&|sample| take(&sample.behind).map(|bytes| bytes as f64));
        Self {
            iops: over(&|sample| Some(sample.tally.per_second())),
            mbps: over(&|sample| Some(sample.tally.per_second() * bytes_each as f64 / 1e6)),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            cpu_us: Costs::of(samples, |cost| cost.cpu_us),
            switches: Costs::of(samples, |cost| cost.switches),
            behind_acquired_bytes: bytes(|behind| behind.acquired_bytes),
            behind_applied_bytes: bytes(|behind| behind.applied_bytes),
            behind_seconds: over(&|sample| sample.behind.seconds),
            caught_up_ms: over(&|sample| sample.caught_up_ms),
            never_caught_up: samples
                .iter()
                .filter(|sample| sample.has_written && sample.caught_up_ms.is_none())
                .count(),
            reads: Apart::of(samples, |[reads, _]| reads),
            writes: Apart::of(samples, |[_, writes]| writes),
            open: Open::of(samples),
        }
    }
}

/// A load over all repeats, as it stands in a report.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Its name in the JSON.
    pub name: String,
    /// For people.
    pub title: String,
    /// Where requests go.
    pub pattern: Pattern,
    /// What they are.
    pub mix: Mix,
    /// Bytes of a request.
    pub bytes: usize,
    /// Operations under way on each connection.
    pub depth: usize,
    /// Connections.
    pub connections: usize,
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// System calls for each operation, by process; empty where nobody has counted them.
    pub syscalls: Calls,
    /// The distribution over all repeats: percentile and microseconds.
    pub percentiles: Vec<[f64; 2]>,
    /// The course of the repeat in the middle: seconds since its beginning, and operations a second.
    pub timeline: Vec<[f64; 2]>,
}

impl Finding {
    /// From all repeats.
    ///
    /// # Errors
    /// See [`Latencies::new`].
    pub fn of(name: &str, title: &str, work: &Work, connections: usize, samples: &[Sample]) -> Result<Self> {
        let all = Latencies::merged(samples.iter().map(|sample| sample.tally.latencies()))?;
        let middle = middle(samples, |sample| &sample.tally);
        Ok(Self {
            name: name.to_owned(),
            title: title.to_owned(),
            pattern: work.pattern,
            mix: work.mix,
            bytes: work.bytes,
            depth: work.depth,
            connections,
            summary: Summary::of(samples, work.bytes),
            syscalls: Calls::new(),
            percentiles: all.percentiles(),
            timeline: middle.map(timeline).unwrap_or_default(),
        })
    }
}

/// The repeat in the middle, by its rate.
pub fn middle<T>(samples: &[T], take: impl Fn(&T) -> &Tally) -> Option<&Tally> {
    let mut by_rate: Vec<&Tally> = samples.iter().map(take).collect();
    by_rate.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
    by_rate.get(by_rate.len() / 2).copied()
}

/// The course of one repeat: seconds since its beginning, and operations a second.
pub fn timeline(tally: &Tally) -> Vec<[f64; 2]> {
    let points = tally.slices().filter_map(|(begin, length, slice)| {
        let middle = (begin + length / 2).as_secs_f64();
        Some([round(middle, 1e4), round(ratio(slice.count() as f64, length.as_secs_f64())?, 1.0)])
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Noise;
    use crate::status::Behind;
    use crate::window::Window;
    use std::time::Duration;

    fn sample(latency_ns: u64, cpu_us: f64, caught_up_ms: Option<f64>) -> Sample {
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(10) };
        let mut tally = Tally::new(window, 0).unwrap();
        for _ in 0..100 {
            tally.complete(0, latency_ns);
        }
        Sample {
            tally,
            apart: None,
            pace: None,
            nodes: vec![(Place::Relay, Cost { cpu_us, switches: 2.0 })],
            client: None,
            has_written: true,
            behind: Behind { applied_bytes: Some(4096), ..Behind::default() },
            caught_up_ms,
            noise: Noise::default(),
        }
    }

    #[test]
    fn a_summary_has_medians_over_repeats_and_counts_those_that_never_caught_up() {
        let samples =
            [sample(1000, 10.0, Some(5.0)), sample(3000, 30.0, None), sample(2000, 20.0, Some(7.0))];
        let found = Summary::of(&samples, 4096);
        // 100 writes in 10 ms, each time.
        assert_eq!(found.iops, Some(Spread { median: 10_000.0, min: 10_000.0, max: 10_000.0 }));
        assert!((found.mbps.unwrap().median - 40.96).abs() < 1e-9);
        assert!((found.p50_us.unwrap().median - 2.0).abs() < 0.01);
        assert_eq!(found.cpu_us.relay, Some(Spread { median: 20.0, min: 10.0, max: 30.0 }));
        assert_eq!((found.cpu_us.primary, found.cpu_us.client), (None, None));
        assert_eq!(found.caught_up_ms, Some(Spread { median: 6.0, min: 5.0, max: 7.0 }));
        assert_eq!(found.never_caught_up, 1);
        assert_eq!(found.behind_applied_bytes.unwrap().max, 4096.0);
        assert_eq!(found.behind_acquired_bytes, None);
    }
}
