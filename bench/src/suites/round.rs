//! `midspan-bench round`: a secondary that was away for longer than the ring lasts is brought up by a round, alone and beside writes.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde::Serialize;

use super::Measuring;
use super::jobs::Job;
use super::scenes;
use crate::cluster::layout::{Layout, Mode};
use crate::cluster::{Cluster, Cores, Plan};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::figures::{Latencies, Spread, ratio};
use crate::floor::bandwidth::{self, Bandwidth};
use crate::generator::{self, Gauge, Load};
use crate::proc::Noise;
use crate::report::{self, Ratio};
use crate::resync::{Difference, Round, Waiting};
use crate::scene::{self, Scene, Settings, Stretch};
use crate::show::Show;
use crate::window::{Tally, Window};

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench round
  midspan-bench round --dirty-mib 2048 --volume-mib 8192 --ring-mib 1024 --folder /mnt/nvme
  midspan-bench round --smoke --json | tail -n 1

The secondary is stopped (SIGSTOP) and a host writes blocks of 64 KiB anywhere, until the ring is full, the primary has left the
lanes, and so much differs; then the host stops and the secondary goes on (SIGCONT). When it has what was in the ring the round
begins. Its time runs from there until both sites hold the same, by the node's own events.";

/// Arguments of `round`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    /// What differs between the sites at least when the round begins, MiB; at most three quarters of the volume
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub dirty_mib: u64,
    /// Size of the volume, MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub volume_mib: u64,
    /// Size of each ring, MiB; it is filled first. A round larger than about half of it is written in place
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub ring_mib: u64,
    /// Cores of primary, relay, secondary and load generator, for example 0,1,1,0
    #[arg(long, value_name = "P,R,S,L")]
    pub cores: Option<Cores>,
}

/// No load runs longer beside a round.
const LOAD_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// How often each byte of a round is written: to the relay's ring, the secondary's own, the secondary's volume.
const WRITES: f64 = 3.0;

struct Repeat {
    /// Of durable appends, bytes a second.
    disk: f64,
    /// Of frames over loopback, bytes a second.
    path: f64,
    alone: Round,
    /// The host without a round.
    host: Tally,
    beside: Round,
    /// The same host during that round.
    host_beside: Tally,
    noise: Noise,
}

impl Repeat {
    fn rate_vs(&self, other: f64) -> Option<f64> {
        ratio(self.alone.rate(), other)
    }

    fn host_vs(&self, part: f64) -> Option<f64> {
        ratio(self.host_beside.latencies().at_us(part)?, self.host.latencies().at_us(part)?)
    }
}

/// A part of a repeat, with its name in the JSON.
type Part<T> = (&'static str, fn(&Repeat) -> &T);

const ROUNDS: [Part<Round>; 2] =
    [("alone", |repeat| &repeat.alone), ("beside_writes", |repeat| &repeat.beside)];
const HOSTS: [Part<Tally>; 2] =
    [("alone", |repeat| &repeat.host), ("beside_round", |repeat| &repeat.host_beside)];

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says.
pub fn run(arguments: &Arguments) -> Result<Scene> {
    let measuring = &arguments.measuring;
    let (dirty_mib, volume_mib, ring_mib) = if measuring.smoke {
        (8, 64, 16)
    } else {
        (arguments.dirty_mib, arguments.volume_mib, arguments.ring_mib)
    };
    // The last places are found late: the host writes anywhere.
    ensure!(
        dirty_mib * 4 <= volume_mib * 3,
        "{dirty_mib} MiB are more than three quarters of a volume of {volume_mib} MiB: say --volume-mib"
    );
    let repeats = measuring.repeats();
    let folder = measuring.folder();
    let environment = Environment::of(&folder);
    let layout = Layout { mode: Mode::Availability, ..Layout::SINGLE };
    let plan = Plan { layout, ..scene::plan(volume_mib, ring_mib, arguments.cores)? };
    let show = Show::new((2 + repeats * 6) as u64);
    let mut disks = Disks::create(&folder, measuring.ram, false)?;
    let bandwidth = Bandwidth::create(&mut disks)?;
    let mut cluster = Cluster::start(&plan, &mut disks, &|what| show.step(what))?;
    let mut bench = Bench {
        plan: &plan,
        bandwidth: &bandwidth,
        cluster: &mut cluster,
        show: &show,
        window: measuring.window(1.0),
        dirty_bytes: dirty_mib << 20,
    };
    let found = (1..=repeats).map(|number| bench.repeat(number)).collect::<Result<Vec<_>>>();
    show.end();
    let found = found.with_context(|| cluster.logs())?;
    report(environment, scenes::settings(measuring, plan.cores), &found)
}

struct Bench<'a> {
    plan: &'a Plan,
    bandwidth: &'a Bandwidth,
    cluster: &'a mut Cluster,
    show: &'a Show,
    window: Window,
    dirty_bytes: u64,
}

impl Bench<'_> {
    fn repeat(&mut self, number: usize) -> Result<Repeat> {
        let step = |what: &str| self.show.step(&format!("repeat {number}: {what}"));
        let Cores { primary, relay, .. } = self.plan.cores;
        step("disk and path");
        let (disk, path) = (self.bandwidth.of_disk(relay)?, bandwidth::of_path([primary, relay])?);
        let stretch = Stretch::begin(Some(self.cluster))?;
        step("the sites are made to differ");
        let waiting = self.differ(2 * number)?;
        step("round");
        let alone = waiting.let_go(self.cluster)?.watch(self.cluster)?.settle(self.cluster)?;
        step(&format!("{}, no round", writes().title));
        let host = self.write(number)?;
        step("the sites are made to differ again");
        let waiting = self.differ(2 * number + 1)?;
        step(&format!("round beside {}", writes().title));
        let (beside, host_beside) = self.beside(number, waiting)?;
        let noise = stretch.end(Some(self.cluster))?;
        Ok(Repeat { disk, path, alone, host, beside, host_beside, noise })
    }

    fn differ(&self, seed: usize) -> Result<Waiting> {
        let difference = Difference {
            bytes: self.dirty_bytes,
            ring_bytes: self.plan.ring_bytes,
            core: self.plan.cores.client,
            seed: seed as u64,
        };
        difference.make(self.cluster)
    }

    /// The host alone.
    fn write(&self, number: usize) -> Result<Tally> {
        let load = self.load(number, self.window)?;
        let gauge = Gauge::default();
        // A thread of its own: it is pinned, this one is not.
        let ended = thread::scope(|scope| scope.spawn(|| generator::run(&load, &gauge)).join());
        Ok(ended.map_err(|_| anyhow!("the load generator has panicked"))??.tally)
    }

    /// The round, and the host during it: from the moment at which its begin is seen until its end is.
    fn beside(&self, number: usize, waiting: Waiting) -> Result<(Round, Tally)> {
        let load = self.load(number, Window { warm: Duration::ZERO, measured: LOAD_LIMIT })?;
        let gauge = Gauge::default();
        let begun = waiting.let_go(self.cluster)?;
        let (ended, tally) = thread::scope(|scope| {
            let running = scope.spawn(|| generator::run(&load, &gauge));
            let ended = begun.watch(self.cluster);
            gauge.end();
            let tally = running.join().map_err(|_| anyhow!("the load generator has panicked"));
            // A load that has failed explains a round that has.
            let tally = tally??.tally;
            Ok::<_, anyhow::Error>((ended?, tally))
        })?;
        Ok((ended.settle(self.cluster)?, tally))
    }

    fn load(&self, number: usize, window: Window) -> Result<Load> {
        Ok(Load {
            uris: vec![self.cluster.uri()?.to_owned()],
            work: writes().work,
            core: self.plan.cores.client,
            seed: number as u64,
            window,
        })
    }
}

/// The host beside the round: single writes anywhere on the same volume.
fn writes() -> Job {
    scenes::single()
}

/// Rounds of one kind over all repeats.
#[derive(Debug, Serialize)]
struct RoundSummary {
    /// Bytes of the regions that differed.
    dirty_bytes: Option<Spread>,
    /// Bytes of journal meanwhile, with what hosts wrote.
    journal_bytes: Option<Spread>,
    /// From its begin until everything was in the lane, seconds.
    sent_s: Option<Spread>,
    /// From its begin until both sites held the same, seconds.
    seconds: Option<Spread>,
    /// Megabytes (10^6) of what differed a second.
    mbps: Option<Spread>,
    /// Repeats in which the target had no cut meanwhile.
    in_place: usize,
}

/// The host of one kind over all repeats.
#[derive(Debug, Serialize)]
struct HostSummary {
    name: String,
    title: String,
    /// `alone` or `beside_round`.
    on: &'static str,
    depth: usize,
    iops: Option<Spread>,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    /// The distribution over all repeats: percentile and microseconds.
    percentiles: Vec<[f64; 2]>,
}

/// What nothing large can exceed.
#[derive(Debug, Serialize)]
struct Limits {
    /// Durable appends of 128 KiB, megabytes (10^6) a second.
    disk_mbps: Option<Spread>,
    /// Frames of 128 KiB over loopback.
    path_mbps: Option<Spread>,
}

fn report(environment: Environment, settings: Settings, repeats: &[Repeat]) -> Result<Scene> {
    let (rounds, round_table) = rounds(repeats);
    let (hosts, host_table) = hosts(repeats)?;
    let limits = Limits {
        disk_mbps: Spread::over(repeats, |repeat| Some(repeat.disk / 1e6)),
        path_mbps: Spread::over(repeats, |repeat| Some(repeat.path / 1e6)),
    };
    let text = |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), |spread| spread.text());
    let limits_text = format!(
        "disk: durable appends of 128 KiB, {} MB/s; path: frames of 128 KiB over loopback, {} MB/s; the one device under all \
         nodes writes each byte of a round three times (relay's ring, secondary's ring, secondary's volume) and reads it once",
        text(limits.disk_mbps),
        text(limits.path_mbps)
    );
    Ok(Scene {
        suite: "round",
        environment,
        settings,
        found: BTreeMap::from([
            ("rounds", serde_json::to_value(rounds)?),
            ("loads", serde_json::to_value(hosts)?),
            ("limits", serde_json::to_value(limits)?),
        ]),
        tables: format!(
            "\nRound: what differs between the sites is sent through the lane\n{round_table}\n{limits_text}\n\n\
             {}, anywhere on the same volume\n{host_table}",
            writes().title
        ),
        noise: repeats.iter().map(|repeat| repeat.noise).collect(),
        ratios: ratios(repeats),
    })
}

fn rounds(repeats: &[Repeat]) -> (BTreeMap<&'static str, RoundSummary>, String) {
    let head = ["round", "dirty MB", "journal MB", "sent s", "ended s", "MB/s", "in place"];
    let mut table = report::table(&head);
    let mut summaries = BTreeMap::new();
    for (name, of) in ROUNDS {
        let over = |take: fn(&Round) -> f64| Spread::over(repeats, |repeat| Some(take(of(repeat))));
        let summary = RoundSummary {
            dirty_bytes: over(|round| round.dirty_bytes),
            journal_bytes: over(|round| round.journal_bytes),
            sent_s: over(|round| round.sent_s),
            seconds: over(|round| round.seconds),
            mbps: over(|round| round.rate() / 1e6),
            in_place: repeats.iter().filter(|repeat| of(repeat).in_place).count(),
        };
        let in_mb = |bytes: Option<Spread>| bytes.map(|bytes| bytes.scaled(1e-6));
        let RoundSummary { dirty_bytes, journal_bytes, sent_s, seconds, mbps, in_place } = summary;
        let figures = [in_mb(dirty_bytes), in_mb(journal_bytes), sent_s, seconds, mbps];
        let mut row = report::row(&[name], &figures);
        row.push(format!("{in_place} of {}", repeats.len()));
        table.add_row(row);
        summaries.insert(name, summary);
    }
    (summaries, table.to_string())
}

fn hosts(repeats: &[Repeat]) -> Result<(Vec<HostSummary>, String)> {
    let mut table = report::table(&["host", "IOPS", "p50 us", "p99 us"]);
    let mut summaries = Vec::new();
    for (on, of) in HOSTS {
        let at = |part: f64| Spread::over(repeats, |repeat| of(repeat).latencies().at_us(part));
        let job = writes();
        let summary = HostSummary {
            name: job.name,
            title: job.title,
            on,
            depth: job.work.depth,
            iops: Spread::over(repeats, |repeat| Some(of(repeat).per_second())),
            p50_us: at(0.5),
            p99_us: at(0.99),
            percentiles: Latencies::merged(repeats.iter().map(|repeat| of(repeat).latencies()))?
                .percentiles(),
        };
        table.add_row(report::row(&[on], &[summary.iops, summary.p50_us, summary.p99_us]));
        summaries.push(summary);
    }
    Ok((summaries, table.to_string()))
}

fn ratios(repeats: &[Repeat]) -> Vec<Ratio> {
    type Take = fn(&Repeat) -> Option<f64>;
    let all: [(&'static str, &'static str, Take); 6] = [
        (
            "round_bytes_vs_dirty",
            "journal of a round alone, heads included, over the marked regions, bytes; lower is better, goal 1.02",
            |repeat| ratio(repeat.alone.journal_bytes, repeat.alone.dirty_bytes),
        ),
        (
            "round_rate_vs_slower",
            "rate of a round alone over the slower of disk and path; higher is better, goal 0.8 with a disk for each node",
            |repeat| repeat.rate_vs(repeat.disk.min(repeat.path)),
        ),
        (
            "round_rate_vs_device_share",
            "three times that rate over the disk's: one device under all nodes writes each byte three times; higher is better",
            |repeat| repeat.rate_vs(repeat.disk / WRITES),
        ),
        (
            "round_rate_beside_writes_vs_alone",
            "rate of a round beside single 4 KiB writes over that of one alone; higher is better",
            |repeat| ratio(repeat.beside.rate(), repeat.alone.rate()),
        ),
        (
            "host_p50_beside_round_vs_alone",
            "median latency of a single 4 KiB write while a round runs over that without one; lower is better",
            |repeat| repeat.host_vs(0.5),
        ),
        ("host_p99_beside_round_vs_alone", "the same of the 99th percentiles; lower is better", |repeat| {
            repeat.host_vs(0.99)
        }),
    ];
    let found = all.into_iter().filter_map(|(name, meaning, take)| {
        Some(Ratio {
            name: name.to_owned(),
            meaning: meaning.to_owned(),
            spread: Spread::over(repeats, take)?,
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(latency_ns: u64) -> Tally {
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(10) };
        let mut tally = Tally::new(window, 0).unwrap();
        (0..100).for_each(|_| tally.complete(0, latency_ns));
        tally
    }

    fn round(seconds: f64) -> Round {
        Round { dirty_bytes: 100e6, journal_bytes: 102e6, in_place: true, sent_s: seconds / 2.0, seconds }
    }

    #[test]
    fn ratios_are_those_of_the_round_to_its_limits_and_of_the_host_to_itself() {
        let repeat = Repeat {
            disk: 600e6,
            path: 2000e6,
            alone: round(1.0),
            host: tally(100_000),
            beside: round(2.0),
            host_beside: tally(300_000),
            noise: Noise::default(),
        };
        let found = ratios(&[repeat]);
        let of = |name: &str| found.iter().find(|ratio| ratio.name == name).unwrap().spread.median;
        for (name, wanted) in [
            ("round_bytes_vs_dirty", 1.02),
            ("round_rate_vs_slower", 1.0 / 6.0),
            ("round_rate_vs_device_share", 0.5),
            ("round_rate_beside_writes_vs_alone", 0.5),
            ("host_p50_beside_round_vs_alone", 3.0),
            ("host_p99_beside_round_vs_alone", 3.0),
        ] {
            assert!((of(name) - wanted).abs() < 0.02, "{name}: {} instead of {wanted}", of(name));
        }
    }
}
