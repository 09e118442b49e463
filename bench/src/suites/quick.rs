//! `midspan-bench quick`: three nodes on this machine under three loads, next to the floor of the same run.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{Args, ValueEnum};
use midspan_uring::affinity;
use midspan_uring::clock::boottime_ns;

use super::Measuring;
use super::jobs::{self, JOBS, QUEUE, SINGLE, STREAM};
use crate::client::Load;
use crate::cluster::{self, Cluster, Cores, Place, Plan};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::figures::{Spread, ratio};
use crate::floor::exchange::Hop;
use crate::floor::{self, Floor, FloorFile};
use crate::path;
use crate::proc::Usage;
use crate::report::{Ratio, Report, Settings};
use crate::show::{self, Show};
use crate::window::Tally;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench quick
  midspan-bench quick --folder /mnt/nvme --repeats 5 --seconds 5
  midspan-bench quick --ram --json | tail -n 1";

/// Arguments of `quick`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    /// How the host reaches the primary
    #[arg(long, value_enum, default_value_t = Host::Tcp)]
    pub host: Host,
    /// Cores of primary, relay, secondary and load generator, for example 0,1,1,0
    #[arg(long, value_name = "P,R,S,L")]
    pub cores: Option<Cores>,
    /// Size of the volume, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub volume_mib: u64,
    /// Size of each ring, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub ring_mib: u64,
    /// Keep the folder with disks, configs and logs
    #[arg(long)]
    pub keep: bool,
}

/// How the host reaches the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Host {
    /// TCP on the loopback interface.
    Tcp,
    /// A unix socket.
    Unix,
}

impl Host {
    const fn hop(self) -> Hop {
        match self {
            Host::Tcp => Hop::Tcp,
            Host::Unix => Hop::Unix,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Host::Tcp => "tcp",
            Host::Unix => "unix",
        }
    }
}

/// What one repeat has found.
struct Repeat {
    floors: Vec<floor::Sample>,
    host_hop: Tally,
    loads: Vec<path::Sample>,
    /// CPU use of each node while only the floor ran, percent of one core.
    idle: Vec<(Place, f64)>,
}

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let measuring = &arguments.measuring;
    let folder = measuring.folder();
    let environment = Environment::of(&folder);
    let usable = affinity::current_cores();
    let plan = Plan {
        midspand: cluster::find_midspand()?,
        volume_bytes: arguments.volume_mib << 20,
        ring_bytes: arguments.ring_mib << 20,
        memory_bytes: 256 << 20,
        cores: arguments.cores.map_or_else(|| Cores::share_out(&usable), Ok)?,
        host: arguments.host.hop(),
    };
    let repeats = usize::from(measuring.repeats);
    let show = Show::new((2 + JOBS.len() + repeats * (2 * JOBS.len() + 1)) as u64);
    let mut disks = Disks::create(&folder, measuring.ram, arguments.keep)?;
    let file = FloorFile::create(&mut disks)?;
    let mut cluster = Cluster::start(&plan, &mut disks, &|what| show.step(what))?;
    let floors = jobs::find_floors(&file, &usable, &show)?;
    let mut bench =
        Bench { arguments, plan: &plan, file: &file, floors: &floors, cluster: &mut cluster, show: &show };
    let found = (1..=repeats).map(|number| bench.repeat(number)).collect::<Result<Vec<_>>>();
    show.end();
    if arguments.keep {
        show::say(&format!("kept: {}", disks.folder().display()));
    }
    drop(cluster);
    let settings = Settings {
        repeats,
        seconds: measuring.seconds,
        in_memory: measuring.ram,
        host: arguments.host.name(),
        cores: Some(plan.cores),
    };
    Ok(report(environment, settings, &floors, found?))
}

/// All that a repeat needs.
struct Bench<'a> {
    arguments: &'a Arguments,
    plan: &'a Plan,
    file: &'a FloorFile,
    floors: &'a [Floor],
    cluster: &'a mut Cluster,
    show: &'a Show,
}

impl Bench<'_> {
    fn repeat(&mut self, number: usize) -> Result<Repeat> {
        let measuring = &self.arguments.measuring;
        let window = measuring.window(1.0 / 3.0);
        let (began_ns, before) = (boottime_ns(), self.cluster.usage()?);
        let (mut floors, mut loads) = (Vec::new(), Vec::new());
        for (job, floor) in JOBS.iter().zip(self.floors) {
            self.show.step(&format!("repeat {number}: floor of {}", job.title));
            floors.push(floor.measure(self.file, window)?);
        }
        self.show.step(&format!("repeat {number}: a host's hop"));
        let cores = [self.plan.cores.client, self.plan.cores.primary];
        let host_hop = floor::host_hop(4096, self.plan.host, cores, window)?;
        let idle = idle(&before, &self.cluster.usage()?, boottime_ns().saturating_sub(began_ns));
        for job in &JOBS {
            let what = format!("repeat {number}: {}", job.title);
            self.show.step(&what);
            let load = Load {
                uri: self.cluster.uri().to_owned(),
                pattern: job.pattern,
                write_bytes: job.demand.write_bytes,
                depth: job.demand.depth,
                core: self.plan.cores.client,
                seed: number as u64,
                window: measuring.window(1.0),
            };
            loads.push(path::measure(&load, self.cluster, &what, self.show)?);
        }
        Ok(Repeat { floors, host_hop, loads, idle })
    }
}

/// Percent of one core that each node used.
fn idle(before: &[(Place, Usage)], after: &[(Place, Usage)], wall_ns: u64) -> Vec<(Place, f64)> {
    let pairs = before.iter().zip(after);
    pairs
        .filter_map(|((place, before), (_, after))| {
            let used_us = after.since(*before).cpu_us as f64;
            Some((*place, ratio(used_us * 1e5, wall_ns as f64)?))
        })
        .collect()
}

fn report(environment: Environment, settings: Settings, floors: &[Floor], repeats: Vec<Repeat>) -> Report {
    let ratios = ratios(&repeats);
    let noise = repeats.iter().flat_map(|repeat| repeat.loads.iter().map(|load| load.noise)).collect();
    let idle_percent = Place::ALL.iter().filter_map(|place| {
        let of_place = |repeat: &Repeat| {
            repeat.idle.iter().find(|(found, _)| found == place).map(|(_, percent)| *percent)
        };
        Some((place.name(), Spread::over(&repeats, of_place)?))
    });
    let idle_percent: BTreeMap<&'static str, Spread> = idle_percent.collect();
    let host_hop = floor::Part::of(repeats.iter().map(|repeat| &repeat.host_hop), 1, 4096);
    let mut of_load: Vec<Vec<path::Sample>> = JOBS.iter().map(|_| Vec::new()).collect();
    let mut of_floor = Vec::new();
    for repeat in repeats {
        of_floor.push(repeat.floors);
        for (list, sample) in of_load.iter_mut().zip(repeat.loads) {
            list.push(sample);
        }
    }
    let named = JOBS.iter().zip(&of_load);
    let loads = named.map(|(job, samples)| (job.name, path::Summary::of(samples, job.demand.write_bytes)));
    Report {
        suite: "quick",
        environment,
        settings,
        floors: jobs::floor_summaries(floors, of_floor),
        host_hop: Some(host_hop),
        loads: loads.collect(),
        idle_percent,
        noise,
        ratios,
    }
}

/// Each ratio is taken inside a repeat, so that a disturbance that lasts longer than one cancels out.
fn ratios(repeats: &[Repeat]) -> Vec<Ratio> {
    type Take = fn(&Repeat) -> Option<f64>;
    let all: [(&'static str, &'static str, Take); 5] = [
        (
            "answer_qd1_p50_vs_floor",
            "median latency of a single 4 KiB write over the floor's answer; lower is better",
            |repeat| {
                ratio(at(repeat, SINGLE, 0.5)?, repeat.floors.get(SINGLE)?.answer.latencies().at_us(0.5)?)
            },
        ),
        (
            "answer_qd1_p50_vs_floor_and_host_hop",
            "the same over floor and host's hop together; lower is better",
            |repeat| {
                let floor = repeat.floors.get(SINGLE)?.answer.latencies().at_us(0.5)?;
                ratio(at(repeat, SINGLE, 0.5)?, floor + repeat.host_hop.latencies().at_us(0.5)?)
            },
        ),
        (
            "answer_qd1_p99_vs_floor",
            "99th percentile of a single 4 KiB write over the floor's; lower is better",
            |repeat| {
                ratio(at(repeat, SINGLE, 0.99)?, repeat.floors.get(SINGLE)?.answer.latencies().at_us(0.99)?)
            },
        ),
        (
            "qd32_iops_vs_floor",
            "4 KiB writes a second at depth 32 over the floor's; higher is better",
            |repeat| rate_ratio(repeat, QUEUE),
        ),
        (
            "seq_mbps_vs_floor",
            "128 KiB writes at depth 8, MB/s over the floor's; higher is better",
            |repeat| rate_ratio(repeat, STREAM),
        ),
    ];
    let found = all.into_iter().filter_map(|(name, meaning, take)| {
        Some(Ratio { name, meaning, spread: Spread::over(repeats, take)? })
    });
    found.collect()
}

fn at(repeat: &Repeat, load: usize, part: f64) -> Option<f64> {
    repeat.loads.get(load)?.tally.latencies().at_us(part)
}

/// Writes a second of the path over those of the floor; the same as megabytes over megabytes.
fn rate_ratio(repeat: &Repeat, load: usize) -> Option<f64> {
    let floor = repeat.floors.get(load)?;
    ratio(repeat.loads.get(load)?.tally.per_second(), floor.writes_per_second(&floor.answer))
}
