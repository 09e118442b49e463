//! Runs a suite: loads on three nodes, next to their floors, repeat by repeat.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use midspan_uring::affinity;
use midspan_uring::clock::boottime_ns;

use super::Measuring;
use super::jobs::{Job, Repeat, Wanted};
use super::nodes::Nodes;
use crate::calls::{self, Calls};
use crate::cluster::layout::Layout;
use crate::cluster::{Cluster, Cores, Place};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::figures::{Spread, ratio};
use crate::finding::Finding;
use crate::floor::exchange::Hop;
use crate::floor::{self, Floor, FloorFile};
use crate::generator::{Arrival, Load, Mix, Work};
use crate::path;
use crate::proc::Usage;
use crate::report::{Ratio, Report, Settings};
use crate::show::{self, Show};
use crate::window::Tally;

/// A suite of loads.
pub struct Series {
    /// Its name.
    pub suite: &'static str,
    /// The groups, volumes and cores on which loads run: each is three nodes of its own, and all are there at once.
    pub layouts: Vec<Layout>,
    /// The loads, in order.
    pub jobs: Vec<Job>,
    /// The ratios, in order.
    pub ratios: Vec<Wanted>,
}

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says.
pub fn run(series: &Series, measuring: &Measuring, nodes: &Nodes) -> Result<Report> {
    let folder = measuring.folder();
    let environment = Environment::of(&folder);
    let hdr = measuring.hdr()?;
    let usable = affinity::current_cores();
    let repeats = measuring.repeats();
    let floors = series.jobs.iter().filter(|job| job.floor.is_some()).count();
    let disks = series.jobs.iter().filter(|job| job.is_next_to_disk).count();
    let counted = if measuring.smoke { 0 } else { series.jobs.len() };
    let each = floors + disks + 1 + series.jobs.len();
    let show = Show::new((2 * series.layouts.len() + floors + repeats * each + counted) as u64);
    let mut disks = Disks::create(&folder, measuring.ram, nodes.keep)?;
    let file = FloorFile::create(&mut disks)?;
    // Those of the first layout and of the floor are in `disks`, each further layout's in a folder of their own below.
    let (mut clusters, mut plans, mut further) = (Vec::new(), Vec::new(), Vec::new());
    for (number, layout) in series.layouts.iter().enumerate() {
        let plan = nodes.plan(measuring, layout, &usable)?;
        let start = |disks: &mut Disks| Cluster::start(&plan, disks, &|what| show.step(what));
        if number == 0 {
            clusters.push(start(&mut disks)?);
        } else {
            let mut own = further_disks(&disks, number, measuring, nodes)?;
            clusters.push(start(&mut own)?);
            further.push(own);
        }
        plans.push(plan);
    }
    let cores = plans.first().context("a suite has a layout")?.cores;
    let floors = find_floors(series, measuring, &file, &usable, &show)?;
    let mut bench = Bench {
        series,
        measuring,
        cores,
        host: nodes.host.hop(),
        file: &file,
        floors: &floors,
        clusters: &mut clusters,
        show: &show,
        idle: Vec::new(),
    };
    let found = (1..=repeats).map(|number| bench.repeat(number)).collect::<Result<Vec<_>>>();
    let calls = match found.as_ref().map(|repeats| repeats.last()) {
        Ok(Some(last)) if !measuring.smoke => bench.count_calls(&last.loads),
        Ok(_) | Err(_) => Ok(Vec::new()),
    };
    let idle = bench.idle;
    show.end();
    if nodes.keep {
        show::say(&format!("kept: {}", disks.folder().display()));
    }
    drop(clusters);
    drop(further);
    let (found, calls) = (found?, calls?);
    if let Some(hdr) = hdr {
        for (index, job) in series.jobs.iter().enumerate() {
            let tallies = found.iter().filter_map(|repeat| Some(&repeat.loads.get(index)?.tally));
            hdr.write(&job.name, &tallies.collect::<Vec<&Tally>>())?;
        }
    }
    let settings = Settings {
        repeats,
        seconds: measuring.seconds(),
        smoke: measuring.smoke,
        in_memory: measuring.ram,
        host: nodes.host.name(),
        cores: Some(cores),
    };
    let mut report = report(series, environment, settings, &floors, &idle, found)?;
    for (load, calls) in report.loads.iter_mut().zip(calls) {
        load.syscalls = calls;
    }
    Ok(report)
}

/// Disks for a further layout.
fn further_disks(disks: &Disks, number: usize, measuring: &Measuring, nodes: &Nodes) -> Result<Disks> {
    let parent = disks.folder().join(format!("layout{}", number + 1));
    std::fs::create_dir(&parent).with_context(|| format!("making {}", parent.display()))?;
    Disks::create(&parent, measuring.ram, nodes.keep)
}

/// The best shape for each load that has a floor.
fn find_floors(
    series: &Series,
    measuring: &Measuring,
    file: &FloorFile,
    cores: &[usize],
    show: &Show,
) -> Result<Vec<Option<Floor>>> {
    let find = |job: &Job| {
        let Some(demand) = job.floor else { return Ok(None) };
        show.step(&format!("looking for the floor of {}", job.title));
        Floor::find(demand, file, cores, measuring.trial()).map(Some)
    };
    series.jobs.iter().map(find).collect()
}

/// All that a repeat needs.
struct Bench<'a> {
    series: &'a Series,
    measuring: &'a Measuring,
    cores: Cores,
    host: Hop,
    file: &'a FloorFile,
    floors: &'a [Option<Floor>],
    clusters: &'a mut [Cluster],
    show: &'a Show,
    /// CPU use of each node while only floors ran, percent of one core.
    idle: Vec<Vec<(Place, f64)>>,
}

impl Bench<'_> {
    fn repeat(&mut self, number: usize) -> Result<Repeat> {
        let window = self.measuring.window(1.0 / 3.0);
        let (began_ns, before) = (boottime_ns(), self.first()?.usage()?);
        let mut floors = Vec::new();
        for (job, floor) in self.series.jobs.iter().zip(self.floors) {
            let Some(floor) = floor else {
                floors.push(None);
                continue;
            };
            self.show.step(&format!("repeat {number}: floor of {}", job.title));
            floors.push(Some(floor.measure(self.file, window)?));
        }
        let mut disks = Vec::new();
        for job in &self.series.jobs {
            let read = |reads| {
                self.show.step(&format!("repeat {number}: the disk alone, {}", job.title));
                self.file.read(reads, self.cores.primary, window)
            };
            disks.push(job.reads().map(read).transpose()?);
        }
        self.show.step(&format!("repeat {number}: a host's hop"));
        let cores = [self.cores.client, self.cores.primary];
        let host_hop = floor::host_hop(4096, self.host, cores, window)?;
        let wall_ns = boottime_ns().saturating_sub(began_ns);
        let after = self.first()?.usage()?;
        self.idle.push(idle(&before, &after, wall_ns));
        let mut loads = Vec::new();
        for job in &self.series.jobs {
            loads.push(self.load(number, job, &loads)?);
        }
        Ok(Repeat { floors, disks, host_hop, loads })
    }

    fn first(&mut self) -> Result<&mut Cluster> {
        self.clusters.first_mut().context("a suite has a layout")
    }

    /// `before` are the loads of this repeat so far.
    fn load(&mut self, number: usize, job: &Job, before: &[path::Sample]) -> Result<path::Sample> {
        let what = format!("repeat {number}: {}", job.title);
        self.show.step(&what);
        let load = self.load_of(number, job, before)?;
        let show = self.show;
        path::measure(&load, self.cluster(job)?, &what, show)
    }

    /// A short run of each load that is not timed, only for the number of system calls; `last` are the loads of the last repeat.
    fn count_calls(&mut self, last: &[path::Sample]) -> Result<Vec<Calls>> {
        let mut all = Vec::new();
        for job in &self.series.jobs {
            self.show.step(&format!("counting system calls: {}", job.title));
            let window = self.measuring.window(1.0 / 3.0);
            let load = Load { window, ..self.load_of(0, job, last)? };
            let cluster = self.cluster(job)?;
            let calls = calls::count_load(&load, &calls::nodes(cluster));
            // Where one load cannot be counted none can.
            let Some(calls) = calls.map_err(|error| error.context(cluster.logs()))? else { break };
            all.push(calls);
            if job.work.mix != Mix::Read {
                cluster.wait_until_caught_up(path::CATCH_UP_LIMIT)?;
            }
        }
        Ok(all)
    }

    fn cluster(&mut self, job: &Job) -> Result<&mut Cluster> {
        let (layout, _) = job.place;
        self.clusters.get_mut(layout).context("a load names a layout of its suite")
    }

    /// What the load generator is told.
    fn load_of(&mut self, number: usize, job: &Job, before: &[path::Sample]) -> Result<Load> {
        let arrival = match job.share {
            None => job.work.arrival,
            Some((other, percent)) => {
                let other = before.get(other).context("a rate comes from a load that runs before")?;
                let rate = other.tally.per_second() * f64::from(percent) / 100.0;
                Arrival::Open { per_second: whole(rate) }
            }
        };
        let (_, connections) = job.place;
        let uris = self.cluster(job)?.uris();
        Ok(Load {
            // Those of one export not beside each other.
            uris: (0..connections).flat_map(|_| uris.to_vec()).collect(),
            work: Work { arrival, ..job.work },
            core: self.cores.client,
            seed: number as u64,
            window: self.measuring.window(1.0),
        })
    }
}

/// A rate as a whole number, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what the type holds; the fraction does not matter"
)]
fn whole(rate: f64) -> u32 {
    rate.clamp(1.0, f64::from(u32::MAX)) as u32
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

fn report(
    series: &Series,
    environment: Environment,
    settings: Settings,
    floors: &[Option<Floor>],
    idle: &[Vec<(Place, f64)>],
    mut repeats: Vec<Repeat>,
) -> Result<Report> {
    let ratios = series.ratios.iter().filter_map(|Wanted { name, meaning, take }| {
        let spread = Spread::over(&repeats, take)?;
        Some(Ratio { name: name.clone(), meaning: meaning.clone(), spread })
    });
    let ratios = ratios.collect();
    let noise = repeats.iter().flat_map(|repeat| repeat.loads.iter().map(|load| load.noise)).collect();
    let idle_percent = Place::ALL.iter().filter_map(|place| {
        let of_place = |idle: &Vec<(Place, f64)>| {
            idle.iter().find(|(found, _)| found == place).map(|(_, percent)| *percent)
        };
        Some((place.name(), Spread::over(idle, of_place)?))
    });
    let idle_percent: BTreeMap<&'static str, Spread> = idle_percent.collect();
    let host_hop = floor::Part::of(repeats.iter().map(|repeat| &repeat.host_hop), 1, 4096);
    let mut disk_reads = Vec::new();
    for (index, job) in series.jobs.iter().enumerate().filter(|(_, job)| job.is_next_to_disk) {
        let tallies = repeats.iter().filter_map(|repeat| repeat.disk(index));
        disk_reads.push((job.name.clone(), floor::Part::of(tallies, 1, job.work.bytes)));
    }
    let (mut of_floors, mut loads) = (Vec::new(), Vec::new());
    // From the last to the first: each takes its samples off the ends.
    for (job, floor) in series.jobs.iter().zip(floors).rev() {
        let samples: Vec<floor::Sample> =
            repeats.iter_mut().filter_map(|repeat| repeat.floors.pop().flatten()).collect();
        if let Some(floor) = floor {
            of_floors.push((job.name.clone(), floor::Summary::of(floor, &samples)));
        }
        let samples: Vec<path::Sample> = repeats.iter_mut().filter_map(|repeat| repeat.loads.pop()).collect();
        let (layout, connections) = job.place;
        let exports = series.layouts.get(layout).map_or(1, Layout::all_volumes);
        loads.push(Finding::of(&job.name, &job.title, &job.work, exports * connections, &samples)?);
    }
    of_floors.reverse();
    loads.reverse();
    Ok(Report {
        suite: series.suite,
        environment,
        settings,
        floors: of_floors,
        disk_reads,
        host_hop: Some(host_hop),
        machine: None,
        loads,
        idle_percent,
        noise,
        ratios,
    })
}
