//! `midspan-bench load`: the load generator alone, on any NBD export that may be overwritten.

use std::path::PathBuf;
use std::thread;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use midspan_uring::affinity;
use serde::Serialize;

use crate::figures::{Latencies, Spread, ratio};
use crate::generator::{self, Arrival, Gauge, Load, Mix, Pace, Pattern, Work};
use crate::hdr;
use crate::path::Cost;
use crate::proc::Usage;
use crate::show::Show;
use crate::window::{Tally, Window};

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench load nbd://127.0.0.1:10809/db-v0 --depth 32
  midspan-bench load 'nbd+unix:///disk?socket=/tmp/disk.sock' --pattern sequential --kib 128 --depth 8 --json
  midspan-bench load nbd://127.0.0.1:10809/db-v0 --mix 7030 --depth 64 --rate 20000
  midspan-bench load nbd://127.0.0.1:10809/db-v0 --flush --depth 16
  midspan-bench load nbd://127.0.0.1:10809/db-v0 nbd://127.0.0.1:10809/db-v1 --connections 4 --depth 8

Everything but --mix read overwrites the exports.

With --rate a latency counts from the instant at which the request was due, not from when it could be sent: a server that stops
for a second makes all that were due in it late, as their users would see it. What was due more than a second's worth ago is
given up and counted, and the output says when the rate was not reached.";

/// Arguments of `load`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where each export is: `nbd://host:port/export` or `nbd+unix:///export?socket=PATH`
    #[arg(required = true, value_name = "URI")]
    pub uris: Vec<String>,
    /// Where requests go
    #[arg(long, value_enum, default_value_t = PatternName::Random)]
    pub pattern: PatternName,
    /// What requests are; 7030: seven reads to three writes
    #[arg(long, value_enum, default_value_t = MixName::Write)]
    pub mix: MixName,
    /// Follow each write with a FLUSH; the pair is one operation
    #[arg(long)]
    pub flush: bool,
    /// Size of a request, KiB
    #[arg(long, value_name = "KIB", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32768))]
    pub kib: u16,
    /// Operations under way on each connection; with --rate the most of them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub depth: u16,
    /// Start operations at this rate a second over all connections, whatever the server does, instead of keeping up the depth
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// Connections to each export
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub connections: u16,
    /// How often it is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeats: u16,
    /// Seconds of each repeat
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = super::seconds)]
    pub seconds: f64,
    /// Core of the load generator; by default the last one
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,
    /// Process numbers of the server, for its CPU time
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Write the latencies to DIR for the HdrHistogram tools: load.hgrm (microseconds) and load.hlog
    #[arg(long, value_name = "DIR")]
    pub hdr: Option<PathBuf>,
    /// End with one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PatternName {
    /// Anywhere.
    Random,
    /// One behind the other.
    Sequential,
}

/// What requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MixName {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Seven reads to three writes.
    #[value(name = "7030")]
    Mixed,
}

impl Arguments {
    /// What each connection is asked for.
    ///
    /// # Errors
    /// When the options contradict each other.
    fn work(&self) -> Result<Work> {
        let mix = match (self.mix, self.flush) {
            (MixName::Read, false) => Mix::Read,
            (MixName::Write, false) => Mix::Write,
            (MixName::Mixed, false) => Mix::Mixed,
            (MixName::Write, true) => Mix::WriteFlush,
            (MixName::Read | MixName::Mixed, true) => {
                return Err(anyhow!("--flush follows writes: it goes with --mix write alone"));
            }
        };
        Ok(Work {
            pattern: match self.pattern {
                PatternName::Random => Pattern::Random,
                PatternName::Sequential => Pattern::Sequential,
            },
            mix,
            bytes: usize::from(self.kib) * 1024,
            depth: usize::from(self.depth),
            arrival: self.rate.map_or(Arrival::Closed, |per_second| Arrival::Open { per_second }),
        })
    }

    /// One for each connection, those of an export not beside each other.
    fn connections(&self) -> Vec<String> {
        let rounds = (0..self.connections).flat_map(|_| self.uris.iter().cloned());
        rounds.collect()
    }
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Outcome {
    suite: &'static str,
    uri: String,
    exports: usize,
    connections: usize,
    mix: Mix,
    write_bytes: usize,
    depth: usize,
    iops: Option<Spread>,
    mbps: Option<Spread>,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    p999_us: Option<Spread>,
    /// Of the server's processes together, for each operation.
    server_cpu_us: Option<Spread>,
    /// Of the load generator, for each operation.
    client_cpu_us: Option<Spread>,
    /// With a fixed rate: what was due a second.
    offered_iops: Option<u32>,
    /// Repeats in which the rate was not reached, and all arrivals given up in them.
    not_reached: usize,
    missed: u64,
    /// The distribution over all repeats: percentile and microseconds.
    percentiles: Vec<[f64; 2]>,
}

/// One repeat.
struct Found {
    tally: Tally,
    pace: Option<Pace>,
    server: Option<Cost>,
    client: Option<Cost>,
}

/// Runs the load.
///
/// # Errors
/// What the server says, or that options contradict each other.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let work = arguments.work()?;
    let hdr = arguments.hdr.as_deref().map(hdr::Folder::create).transpose()?;
    let measured = std::time::Duration::from_secs_f64(arguments.seconds);
    let show = Show::new(u64::from(arguments.repeats));
    let mut found = Vec::new();
    for number in 1..=arguments.repeats {
        show.step(&format!("repeat {number}"));
        let load = Load {
            uris: arguments.connections(),
            work,
            core: arguments.core.or_else(|| affinity::current_cores().pop()).unwrap_or(0),
            seed: u64::from(number),
            window: Window { warm: measured / 5, measured },
        };
        let gauge = Gauge::default();
        let usage = || (server_usage(&arguments.pid), Usage::of(std::process::id()).unwrap_or_default());
        let before = usage();
        // A thread of its own: it is pinned, this one is not.
        let outcome = thread::scope(|scope| scope.spawn(|| generator::run(&load, &gauge)).join());
        let generator::Outcome { tally, pace, .. } =
            outcome.map_err(|_| anyhow!("the load generator has panicked"))??;
        let after = usage();
        let cost = |used: Usage| Cost::of(used, gauge.answered());
        let server = cost(after.0.since(before.0)).filter(|_| !arguments.pid.is_empty());
        found.push(Found { tally, pace, server, client: cost(after.1.since(before.1)) });
    }
    show.end();
    if let Some(hdr) = hdr {
        hdr.write("load", &found.iter().map(|found| &found.tally).collect::<Vec<_>>())?;
    }
    outcome(arguments, &work, &found)
}

fn server_usage(pids: &[u32]) -> Usage {
    let used = pids.iter().filter_map(|pid| Usage::of(*pid));
    used.fold(Usage::default(), |sum, used| Usage {
        cpu_us: sum.cpu_us + used.cpu_us,
        switches: sum.switches + used.switches,
    })
}

fn outcome(arguments: &Arguments, work: &Work, found: &[Found]) -> Result<Outcome> {
    let at = |part: f64| Spread::over(found, |found| found.tally.latencies().at_us(part));
    let falls_short = |found: &&Found| {
        let reached = |pace: &Pace| ratio(found.tally.per_second(), f64::from(pace.per_second));
        found.pace.as_ref().is_some_and(|pace| !pace.is_kept(reached(pace).unwrap_or(0.0)))
    };
    Ok(Outcome {
        suite: "load",
        uri: arguments.uris.join(" "),
        exports: arguments.uris.len(),
        connections: arguments.uris.len() * usize::from(arguments.connections),
        mix: work.mix,
        write_bytes: work.bytes,
        depth: work.depth,
        iops: Spread::over(found, |found| Some(found.tally.per_second())),
        mbps: Spread::over(found, |found| Some(found.tally.per_second() * work.bytes as f64 / 1e6)),
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        server_cpu_us: Spread::over(found, |found| found.server.map(|cost| cost.cpu_us)),
        client_cpu_us: Spread::over(found, |found| found.client.map(|cost| cost.cpu_us)),
        offered_iops: arguments.rate,
        not_reached: found.iter().filter(falls_short).count(),
        missed: found.iter().filter_map(|found| Some(found.pace.as_ref()?.missed)).sum(),
        percentiles: Latencies::merged(found.iter().map(|found| found.tally.latencies()))?.percentiles(),
    })
}

impl Outcome {
    /// For people.
    pub fn text(&self) -> String {
        let shown = |figure: Option<Spread>| figure.map_or_else(|| "-".to_owned(), |figure| figure.text());
        let what = match self.mix {
            Mix::Write => "writes",
            Mix::WriteFlush => "writes, each with a FLUSH behind it",
            Mix::Read => "reads",
            Mix::Mixed => "reads and writes, 70 to 30",
        };
        let connections = match self.connections {
            1 => String::new(),
            count => format!(" on each of {count} connections"),
        };
        let mut text = format!(
            "{}: {} byte {what}, depth {}{connections}\n  IOPS {}, MB/s {}\n  p50 {}, p99 {}, p99.9 {} us\n  CPU us an operation: server {}, load generator {}\n",
            self.uri,
            self.write_bytes,
            self.depth,
            shown(self.iops),
            shown(self.mbps),
            shown(self.p50_us),
            shown(self.p99_us),
            shown(self.p999_us),
            shown(self.server_cpu_us),
            shown(self.client_cpu_us),
        );
        if let Some(rate) = self.offered_iops {
            text += &format!("  {rate} a second were due; latencies count from then\n");
        }
        if self.not_reached > 0 {
            text += &format!(
                "  RATE NOT REACHED in {} repeats, {} arrivals given up: the latencies are those of an overload\n",
                self.not_reached, self.missed
            );
        }
        text
    }

    /// One line.
    ///
    /// # Errors
    /// Never with these types; the serializer's refusal otherwise.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}
