//! `midspan-bench distance`: what the host, and what the secondary, feels of the paths' length.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use midspan::clock::Signal;
use midspan_uring::clock::boottime_ns;
use serde::Serialize;

use super::Measuring;
use super::jobs::Job;
use super::scenes;
use crate::backlog::{Drain, Filling};
use crate::cluster::{Cluster, Cores, Plan};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::figures::{Latencies, Spread, ratio};
use crate::finding::Summary;
use crate::generator::Load;
use crate::path;
use crate::proxy::{Distance, Proxy};
use crate::report::{self, Ratio};
use crate::scene::{self, Scene, Settings};
use crate::show::Show;
use crate::window::Window;
use crate::wires::Wires;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench distance
  midspan-bench distance --repeats 5 --seconds 3 --folder /mnt/nvme
  midspan-bench distance --smoke --json | tail -n 1

Each path between nodes leads through a proxy in this program that delays every byte by half of the round trip each way
and limits nothing else. Nodes are started once; the paths' length changes while they run.";

/// Arguments of `distance`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    /// Size of the volume, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub volume_mib: u64,
    /// Size of each ring, MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    pub ring_mib: u64,
    /// Cores of primary, relay, secondary and load generator, for example 0,1,1,0
    #[arg(long, value_name = "P,R,S,L")]
    pub cores: Option<Cores>,
}

/// Round trips to the far site, milliseconds.
const FAR_MS: [u64; 4] = [0, 10, 50, 100];
/// Round trips to the relay, microseconds.
const NEAR_US: [u64; 4] = [0, 200, 1000, 2000];
/// The longest of each.
const FARTHEST: usize = FAR_MS.len() - 1;
const NEAR_LONGEST: usize = NEAR_US.len() - 1;
/// Data that the secondary works off over the longest path, bytes.
const BACKLOG_BYTES: u64 = 128 << 20;
/// A load at full speed lasts no longer, so that the ring holds what the secondary has not got yet.
const FLOW: Duration = Duration::from_secs(1);
/// Nodes get used to a path for so long after it has changed.
const SETTLE: Duration = Duration::from_millis(300);
/// Exchanges that tell how long a path is.
const PINGS: u32 = 40;

/// One load over paths of one length.
struct Point {
    /// Median round trip through an idle proxy, microseconds.
    round_trip_us: f64,
    sample: path::Sample,
}

impl Point {
    fn at_us(&self, part: f64) -> Option<f64> {
        self.sample.tally.latencies().at_us(part)
    }
}

struct Repeat {
    /// Single writes by the length of the far paths.
    far: Vec<Point>,
    /// Single writes by the length of the near path; the first is that of `far`.
    near: Vec<Point>,
    /// Backlogs over the same two.
    drains: [Drain; 2],
}

/// Loads at full speed.
fn at_full_speed() -> [Job; 2] {
    [scenes::stream(), scenes::queue()]
}

/// Lengths of the far path for these.
const ENDS: [u64; 2] = [FAR_MS[0], FAR_MS[FARTHEST]];

/// Loads at full speed by length of the far path, then by load, then by repeat.
type Flows = [[Vec<path::Sample>; 2]; 2];

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says.
pub fn run(arguments: &Arguments) -> Result<Scene> {
    let measuring = &arguments.measuring;
    let (volume_mib, ring_mib) =
        if measuring.smoke { (32, 256) } else { (arguments.volume_mib, arguments.ring_mib) };
    let (repeats, seconds) = (measuring.repeats(), measuring.seconds());
    let environment = Environment::of(&measuring.folder());
    let plan = scene::plan(volume_mib, ring_mib, arguments.cores)?;
    let show =
        Show::new((2 + repeats * (FAR_MS.len() + NEAR_US.len() + 2 * at_full_speed().len() + 2)) as u64);
    let mut disks = Disks::create(&measuring.folder(), measuring.ram, false)?;
    let mut wires = Wires::default();
    let mut cluster = Cluster::start_routed(
        &plan,
        &mut disks,
        &mut |from, to, address| wires.route(from, to, address),
        &|what| show.step(what),
    )?;
    let backlog_bytes = if measuring.smoke { BACKLOG_BYTES / 16 } else { BACKLOG_BYTES };
    let mut bench =
        Bench { plan: &plan, wires: &wires, cluster: &mut cluster, show: &show, seconds, backlog_bytes };
    let mut flows = Flows::default();
    let found = (1..=repeats).map(|number| bench.repeat(number, &mut flows)).collect::<Result<Vec<_>>>();
    show.end();
    // The nodes end before the paths between them do.
    drop(cluster);
    drop(wires);
    let settings = scenes::settings(measuring, plan.cores);
    report(environment, settings, &found?, &flows)
}

struct Bench<'a> {
    plan: &'a Plan,
    wires: &'a Wires,
    cluster: &'a mut Cluster,
    show: &'a Show,
    seconds: f64,
    backlog_bytes: u64,
}

impl Bench<'_> {
    fn repeat(&mut self, number: usize, flows: &mut Flows) -> Result<Repeat> {
        let single = &scenes::single();
        let window = window(Duration::from_secs_f64(self.seconds));
        let mut far = Vec::new();
        for ms in FAR_MS {
            let what = format!("repeat {number}: single writes, far site at {ms} ms");
            far.push(self.point(single, window, [0, ms * 1000], number, &what)?);
        }
        let mut near = Vec::new();
        for us in NEAR_US {
            let what = format!("repeat {number}: single writes, relay at {} ms", us as f64 / 1e3);
            near.push(self.point(single, window, [us, 0], number, &what)?);
        }
        let flow = self::window(window.measured.min(FLOW));
        for (ms, by_load) in ENDS.into_iter().zip(flows) {
            for (job, samples) in at_full_speed().iter().zip(by_load) {
                let what = format!("repeat {number}: {}, far site at {ms} ms", job.title);
                samples.push(self.point(job, flow, [0, ms * 1000], number, &what)?.sample);
            }
        }
        let [nearest, farthest] = ENDS;
        let drains = [self.drain(nearest, number)?, self.drain(farthest, number)?];
        Ok(Repeat { far, near, drains })
    }

    /// One load with relay and far site so many microseconds away.
    fn point(
        &mut self,
        job: &Job,
        window: Window,
        round_trips: [u64; 2],
        seed: usize,
        what: &str,
    ) -> Result<Point> {
        self.show.step(what);
        let [near, far] = round_trips.map(Duration::from_micros);
        self.wires.near.set_round_trip(near);
        self.wires.far.set_round_trip(far);
        Signal::default().wait(SETTLE);
        let round_trip_us = round_trip_us(near.max(far))?;
        let load = Load {
            uris: vec![self.cluster.uri()?.to_owned()],
            work: job.work,
            core: self.plan.cores.client,
            seed: seed as u64,
            window,
        };
        Ok(Point { round_trip_us, sample: path::measure(&load, self.cluster, what, self.show)? })
    }

    fn drain(&mut self, far_ms: u64, seed: usize) -> Result<Drain> {
        let job = scenes::stream();
        self.show.step(&format!("repeat {seed}: backlog worked off, far site at {far_ms} ms"));
        self.wires.near.set_round_trip(Duration::ZERO);
        self.wires.far.set_round_trip(Duration::from_millis(far_ms));
        Signal::default().wait(SETTLE);
        let filling = Filling {
            work: job.work,
            backlog_bytes: self.backlog_bytes,
            core: self.plan.cores.client,
            seed: seed as u64,
        };
        filling.drain(self.cluster).with_context(|| self.cluster.logs())
    }
}

fn window(measured: Duration) -> Window {
    Window { warm: measured / 5, measured }
}

/// Median time of a short message and its echo through an idle proxy of this length: what the paths really are.
fn round_trip_us(length: Duration) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let distance = Arc::new(Distance::default());
    distance.set_round_trip(length);
    let proxy = Proxy::start(listener.local_addr()?, distance)?;
    let pings = if length > Duration::from_millis(5) { PINGS / 10 } else { PINGS };
    let mut found = Latencies::new()?;
    let echoing = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(proxy.address())?;
    stream.set_nodelay(true)?;
    let mut message = [0; 64];
    for _ in 0..pings {
        let began_ns = boottime_ns();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        found.record(boottime_ns().saturating_sub(began_ns));
    }
    drop(stream);
    drop(proxy);
    echoing.join().map_err(|_| anyhow::anyhow!("the echo has panicked"))??;
    found.at_us(0.5).context("no echo came back")
}

/// Single writes over a path of one length, over all repeats.
#[derive(Debug, Serialize)]
struct AnswerSummary {
    /// Round trip through an idle proxy of the same length, microseconds.
    round_trip_us: Option<Spread>,
    /// Latency of the answer, half of all, microseconds.
    p50_us: Option<Spread>,
    /// 99 in 100.
    p99_us: Option<Spread>,
    /// The median above that over no distance, microseconds.
    beyond_nearest_us: Option<Spread>,
}

/// Loads at full speed and backlogs over the shortest and the longest far path.
#[derive(Debug, Serialize)]
struct Carried {
    /// Loads by name.
    loads: BTreeMap<String, Summary>,
    /// Rate at which a backlog of 128 KiB writes was worked off, megabytes (10^6) a second.
    drain_mbps: Option<Spread>,
    /// The same between its first and last tenth.
    drain_steady_mbps: Option<Spread>,
    /// Rate at which it was filled.
    fill_mbps: Option<Spread>,
}

fn report(environment: Environment, settings: Settings, repeats: &[Repeat], flows: &Flows) -> Result<Scene> {
    let mut answers =
        report::table(&["far site ms", "relay ms", "round trip us", "p50 us", "p99 us", "p50 beyond 0 us"]);
    let (mut far, mut near) = (BTreeMap::new(), BTreeMap::new());
    for (number, ms) in FAR_MS.iter().enumerate() {
        let summary = answer(repeats, |repeat| &repeat.far, number);
        answers.add_row(answer_row(&[&ms.to_string(), "0"], &summary));
        far.insert(format!("far_{ms}ms"), summary);
    }
    for (number, us) in NEAR_US.iter().enumerate() {
        let summary = answer(repeats, |repeat| &repeat.near, number);
        answers.add_row(answer_row(&["0", &(*us as f64 / 1e3).to_string()], &summary));
        near.insert(format!("relay_{us}us"), summary);
    }
    let (carried, carried_table) = carried(repeats, flows);
    let points = repeats.iter().flat_map(|repeat| repeat.far.iter().chain(&repeat.near));
    let samples = points.map(|point| &point.sample).chain(flows.iter().flatten().flatten());
    Ok(Scene {
        suite: "distance",
        environment,
        settings,
        found: BTreeMap::from([
            ("answer_by_far", serde_json::to_value(far)?),
            ("answer_by_relay", serde_json::to_value(near)?),
            ("carried", serde_json::to_value(carried)?),
        ]),
        tables: format!(
            "\nAnswer to a single 4 KiB write, by the paths' round trips\n{answers}\n\n\
             The secondary at full speed, by the far path's round trip\n{carried_table}"
        ),
        noise: samples.map(|sample| sample.noise).collect(),
        ratios: ratios(repeats),
    })
}

fn answer(repeats: &[Repeat], take: fn(&Repeat) -> &Vec<Point>, number: usize) -> AnswerSummary {
    let over = |figure: &dyn Fn(&Repeat, &Point) -> Option<f64>| {
        Spread::over(repeats, |repeat: &Repeat| figure(repeat, take(repeat).get(number)?))
    };
    AnswerSummary {
        round_trip_us: over(&|_, point| Some(point.round_trip_us)),
        p50_us: over(&|_, point| point.at_us(0.5)),
        p99_us: over(&|_, point| point.at_us(0.99)),
        beyond_nearest_us: over(&|repeat, point| Some(point.at_us(0.5)? - take(repeat).first()?.at_us(0.5)?)),
    }
}

fn answer_row(names: &[&str], summary: &AnswerSummary) -> Vec<String> {
    let AnswerSummary { round_trip_us, p50_us, p99_us, beyond_nearest_us } = *summary;
    report::row(names, &[round_trip_us, p50_us, p99_us, beyond_nearest_us])
}

fn carried(repeats: &[Repeat], flows: &Flows) -> (BTreeMap<String, Carried>, String) {
    let head = ["far site ms", "load", "host MB/s", "behind MB at end", "behind ms", "caught up ms"];
    let mut table = report::table(&head);
    let mut drains = String::new();
    let mut found = BTreeMap::new();
    for (end, (ms, by_load)) in ENDS.into_iter().zip(flows).enumerate() {
        let mut loads = BTreeMap::new();
        for (job, samples) in at_full_speed().iter().zip(by_load) {
            let summary = Summary::of(samples, job.work.bytes);
            let scaled = |spread: Option<Spread>, scale: f64| spread.map(|spread| spread.scaled(scale));
            let figures = [
                summary.mbps,
                scaled(summary.behind_applied_bytes, 1e-6),
                scaled(summary.behind_seconds, 1e3),
                summary.caught_up_ms,
            ];
            table.add_row(report::row(&[&ms.to_string(), &job.name], &figures));
            loads.insert(job.name.clone(), summary);
        }
        let drain = |take: fn(&Drain) -> Option<f64>| {
            Spread::over(repeats, |repeat: &Repeat| Some(take(repeat.drains.get(end)?)? / 1e6))
        };
        let carried = Carried {
            loads,
            drain_mbps: drain(|drain| Some(drain.rate())),
            drain_steady_mbps: drain(|drain| drain.steady),
            fill_mbps: drain(|drain| Some(drain.fill)),
        };
        let text = |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), |spread| spread.text());
        drains += &format!(
            "\na backlog of 128 KiB writes, far site at {ms} ms: filled at {} MB/s, worked off at {} MB/s (steady: {})",
            text(carried.fill_mbps),
            text(carried.drain_mbps),
            text(carried.drain_steady_mbps)
        );
        found.insert(format!("far_{ms}ms"), carried);
    }
    (found, format!("{table}{drains}"))
}

fn ratios(repeats: &[Repeat]) -> Vec<Ratio> {
    type Take = fn(&Repeat) -> Option<f64>;
    let all: [(&'static str, &'static str, Take); 3] = [
        (
            "answer_p50_far_100ms_vs_0",
            "median of a single 4 KiB write with the far site 100 ms away over that at 0 ms; lower is better",
            |repeat| ratio(repeat.far.get(FARTHEST)?.at_us(0.5)?, repeat.far.first()?.at_us(0.5)?),
        ),
        (
            "answer_p50_relay_2ms_vs_sum",
            "the same with the relay 2 ms away over 2 ms and that at 0 ms; near 1 is good",
            |repeat| {
                let longest_us = NEAR_US.get(NEAR_LONGEST).copied()? as f64;
                let sum = repeat.near.first()?.at_us(0.5)? + longest_us;
                ratio(repeat.near.get(NEAR_LONGEST)?.at_us(0.5)?, sum)
            },
        ),
        (
            "drain_far_100ms_vs_fill",
            "128 KiB writes: rate at which a backlog is worked off over 100 ms over the host's; higher is better",
            |repeat| repeat.drains.last().and_then(|drain| ratio(drain.rate(), drain.fill)),
        ),
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

    #[test]
    fn a_path_is_not_shorter_than_it_was_said_to_be() {
        // Less what the proxy sends early and the histogram's rounding.
        assert!(round_trip_us(Duration::from_micros(2000)).unwrap() >= 1950.0);
    }
}
