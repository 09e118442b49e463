//! One load on the running nodes, with what it cost each process and how far the secondary fell behind.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use midspan::clock::Signal;
use midspan_uring::clock::boottime_ns;
use serde::Serialize;

use crate::client::{self, Gauge, Load};
use crate::cluster::{Cluster, Place};
use crate::figures::{Spread, ratio};
use crate::proc::{Cores, Noise, Usage};
use crate::show::Show;
use crate::status::Behind;
use crate::window::Tally;

/// How long the secondary may take to apply what a load has left.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at a running load.
const GLANCE: Duration = Duration::from_millis(250);

/// What one process used for each write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// CPU time, microseconds.
    pub cpu_us: f64,
    /// Context switches.
    pub switches: f64,
}

impl Cost {
    /// Of so much, used for so many writes; `None` without any.
    pub fn of(used: Usage, writes: u64) -> Option<Self> {
        let each = |used: u64| ratio(used as f64, writes as f64);
        Some(Self { cpu_us: each(used.cpu_us)?, switches: each(used.switches)? })
    }
}

/// One load in one repeat.
#[derive(Debug)]
pub struct Sample {
    /// What was answered.
    pub tally: Tally,
    /// Each node's cost.
    pub nodes: Vec<(Place, Cost)>,
    /// The load generator's cost.
    pub client: Option<Cost>,
    /// How far the secondary was behind when the load ended.
    pub behind: Behind,
    /// How long it took to apply the rest, milliseconds; `None`: too long.
    pub caught_up_ms: Option<f64>,
    /// Who else was there.
    pub noise: Noise,
}

/// Counters at one moment.
struct Moment {
    now_ns: u64,
    answered: u64,
    nodes: Vec<(Place, Usage)>,
    own: Usage,
    cores: Cores,
}

impl Moment {
    fn now(cluster: &mut Cluster, gauge: &Gauge) -> Result<Self> {
        let nodes = cluster.usage()?;
        let own = Usage::of(std::process::id()).context("this process is not in /proc")?;
        Ok(Self { now_ns: boottime_ns(), answered: gauge.answered(), nodes, own, cores: Cores::now() })
    }
}

/// Runs a load on the nodes.
///
/// # Errors
/// When the load fails or a node ends; with the ends of the nodes' logs.
pub fn measure(load: &Load, cluster: &mut Cluster, what: &str, show: &Show) -> Result<Sample> {
    let gauge = Gauge::default();
    let (tally, moments) = thread::scope(|scope| {
        let running = scope.spawn(|| client::run(load, &gauge));
        let moments = watch(load, cluster, &gauge, what, show);
        let tally = running.join().map_err(|_| anyhow!("the load generator has panicked"));
        (tally.flatten(), moments)
    });
    // A node that has ended explains a load that has failed.
    let (first, last) = moments?;
    let tally = tally.map_err(|error| error.context(cluster.logs()))?;
    let behind = cluster.behind()?;
    let caught_up_ms = cluster.wait_until_caught_up(CATCH_UP_LIMIT)?;
    let writes = last.answered.saturating_sub(first.answered);
    let pairs = last.nodes.iter().zip(&first.nodes);
    let used: Vec<(Place, Usage)> =
        pairs.map(|((place, last), (_, first))| (*place, last.since(*first))).collect();
    let own = last.own.since(first.own);
    let ours: u64 = used.iter().map(|(_, used)| used.cpu_us).sum::<u64>() + own.cpu_us;
    let wall_ns = last.now_ns.saturating_sub(first.now_ns);
    Ok(Sample {
        tally,
        nodes: used.iter().filter_map(|(place, used)| Some((*place, Cost::of(*used, writes)?))).collect(),
        client: Cost::of(own, writes),
        behind,
        caught_up_ms,
        noise: Noise::of(first.cores, last.cores, ours, wall_ns),
    })
}

/// Counters at the beginning and towards the end of the load's window; shows the rate meanwhile.
fn watch(
    load: &Load,
    cluster: &mut Cluster,
    gauge: &Gauge,
    what: &str,
    show: &Show,
) -> Result<(Moment, Moment)> {
    Signal::default().wait(load.window.warm);
    let first = Moment::now(cluster, gauge)?;
    // A little earlier than the load ends, whose thread takes its counters with it.
    let counted = load.window.measured.mul_f64(0.95);
    let end_ns = first.now_ns + u64::try_from(counted.as_nanos()).unwrap_or(0);
    let mut glanced = (first.now_ns, first.answered);
    loop {
        let left = Duration::from_nanos(end_ns.saturating_sub(boottime_ns()));
        if left.is_zero() {
            break;
        }
        Signal::default().wait(if show.is_live() { left.min(GLANCE) } else { left });
        let (now_ns, answered) = (boottime_ns(), gauge.answered());
        let rate = (answered - glanced.1) as f64 * 1e9 / (now_ns - glanced.0).max(1) as f64;
        show.detail(&format!("{what}: {rate:.0} writes/s"));
        glanced = (now_ns, answered);
    }
    Ok((first, Moment::now(cluster, gauge)?))
}

/// A load over all repeats.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Answered writes a second.
    pub iops: Option<Spread>,
    /// Megabytes (10^6) a second.
    pub mbps: Option<Spread>,
    /// Latency that half of all writes do not exceed, microseconds.
    pub p50_us: Option<Spread>,
    /// 99 in 100.
    pub p99_us: Option<Spread>,
    /// 999 in 1000.
    pub p999_us: Option<Spread>,
    /// CPU time for each write, by process, microseconds.
    pub cpu_us: Costs,
    /// Context switches for each write, by process.
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
    /// Of writes of this size.
    pub fn of(samples: &[Sample], write_bytes: usize) -> Self {
        let over = |take: &dyn Fn(&Sample) -> Option<f64>| Spread::over(samples, take);
        let at = |part: f64| over(&|sample| sample.tally.latencies().at_us(part));
        let bytes =
            |take: fn(&Behind) -> Option<u64>| over(&|sample| take(&sample.behind).map(|bytes| bytes as f64));
        Self {
            iops: over(&|sample| Some(sample.tally.per_second())),
            mbps: over(&|sample| Some(sample.tally.per_second() * write_bytes as f64 / 1e6)),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            cpu_us: Costs::of(samples, |cost| cost.cpu_us),
            switches: Costs::of(samples, |cost| cost.switches),
            behind_acquired_bytes: bytes(|behind| behind.acquired_bytes),
            behind_applied_bytes: bytes(|behind| behind.applied_bytes),
            behind_seconds: over(&|sample| sample.behind.seconds),
            caught_up_ms: over(&|sample| sample.caught_up_ms),
            never_caught_up: samples.iter().filter(|sample| sample.caught_up_ms.is_none()).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;

    fn sample(latency_ns: u64, cpu_us: f64, caught_up_ms: Option<f64>) -> Sample {
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(10) };
        let mut tally = Tally::new(window, 0).unwrap();
        for _ in 0..100 {
            tally.complete(0, latency_ns);
        }
        Sample {
            tally,
            nodes: vec![(Place::Relay, Cost { cpu_us, switches: 2.0 })],
            client: None,
            behind: Behind { applied_bytes: Some(4096), ..Behind::default() },
            caught_up_ms,
            noise: Noise::default(),
        }
    }

    #[test]
    fn costs_are_for_each_write() {
        let cost = Cost::of(Usage { cpu_us: 300, switches: 50 }, 100).unwrap();
        assert_eq!(cost, Cost { cpu_us: 3.0, switches: 0.5 });
        assert_eq!(Cost::of(Usage::default(), 0), None);
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
