//! One load on the running nodes, with what it cost each process and how far the secondary fell behind.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use midspan::clock::Signal;
use midspan_uring::clock::boottime_ns;

use crate::cluster::{Cluster, Place};
use crate::figures::ratio;
use crate::generator::{self, Gauge, Load, Mix, Outcome, Pace};
use crate::proc::{Cores, Noise, Usage};
use crate::show::Show;
use crate::status::Behind;
use crate::window::Tally;

/// How long the secondary may take to apply what a load has left.
pub const CATCH_UP_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at a running load.
const GLANCE: Duration = Duration::from_millis(250);

/// What one process used for each operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// CPU time, microseconds.
    pub cpu_us: f64,
    /// Context switches.
    pub switches: f64,
}

impl Cost {
    /// Of so much, used for so many operations; `None` without any.
    pub fn of(used: Usage, operations: u64) -> Option<Self> {
        let each = |used: u64| ratio(used as f64, operations as f64);
        Some(Self { cpu_us: each(used.cpu_us)?, switches: each(used.switches)? })
    }
}

/// One load in one repeat.
#[derive(Debug)]
pub struct Sample {
    /// What was answered.
    pub tally: Tally,
    /// Of a mixed load, reads and writes apart.
    pub apart: Option<[Tally; 2]>,
    /// How well the rate was kept, if there was one.
    pub pace: Option<Pace>,
    /// Each node's cost.
    pub nodes: Vec<(Place, Cost)>,
    /// The load generator's cost.
    pub client: Option<Cost>,
    /// Whether there was anything for the secondary to follow.
    pub has_written: bool,
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
    let (outcome, moments) = thread::scope(|scope| {
        let running = scope.spawn(|| generator::run(load, &gauge));
        let moments = watch(load, cluster, &gauge, what, show);
        let outcome = running.join().map_err(|_| anyhow!("the load generator has panicked"));
        (outcome.flatten(), moments)
    });
    // A node that has ended explains a load that has failed.
    let (first, last) = moments?;
    let Outcome { tally, apart, pace } = outcome.map_err(|error| error.context(cluster.logs()))?;
    // Where nothing was ever written, the primary knows of no lag either.
    let has_written = load.work.mix != Mix::Read;
    let behind = if has_written { cluster.behind()? } else { Behind::default() };
    let caught_up_ms = if has_written { cluster.wait_until_caught_up(CATCH_UP_LIMIT)? } else { None };
    let operations = last.answered.saturating_sub(first.answered);
    let pairs = last.nodes.iter().zip(&first.nodes);
    let used: Vec<(Place, Usage)> =
        pairs.map(|((place, last), (_, first))| (*place, last.since(*first))).collect();
    let own = last.own.since(first.own);
    let ours: u64 = used.iter().map(|(_, used)| used.cpu_us).sum::<u64>() + own.cpu_us;
    let wall_ns = last.now_ns.saturating_sub(first.now_ns);
    Ok(Sample {
        tally,
        apart,
        pace,
        nodes: used.iter().filter_map(|(place, used)| Some((*place, Cost::of(*used, operations)?))).collect(),
        client: Cost::of(own, operations),
        has_written,
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
        show.detail(&format!("{what}: {rate:.0} operations/s"));
        glanced = (now_ns, answered);
    }
    Ok((first, Moment::now(cluster, gauge)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_for_each_operation() {
        let cost = Cost::of(Usage { cpu_us: 300, switches: 50 }, 100).unwrap();
        assert_eq!(cost, Cost { cpu_us: 3.0, switches: 0.5 });
        assert_eq!(Cost::of(Usage::default(), 0), None);
    }
}
