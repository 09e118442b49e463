//! `midspan-bench load`: the load generator alone, on any NBD export that may be overwritten.

use std::thread;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use midspan_uring::affinity;
use serde::Serialize;

use crate::client::{self, Gauge, Load, Pattern};
use crate::figures::Spread;
use crate::path::Cost;
use crate::proc::Usage;
use crate::show::Show;
use crate::window::{Tally, Window};

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench load nbd://127.0.0.1:10809/db-v0 --depth 32
  midspan-bench load 'nbd+unix:///disk?socket=/tmp/disk.sock' --pattern sequential --kib 128 --depth 8 --json

It overwrites the export.";

/// Arguments of `load`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the export is: `nbd://host:port/export` or `nbd+unix:///export?socket=PATH`
    pub uri: String,
    /// Where writes go
    #[arg(long, value_enum, default_value_t = PatternName::Random)]
    pub pattern: PatternName,
    /// Size of a write, KiB
    #[arg(long, value_name = "KIB", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32768))]
    pub kib: u16,
    /// Writes under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub depth: u16,
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
    /// End with one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Where writes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PatternName {
    /// Anywhere.
    Random,
    /// One behind the other.
    Sequential,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Outcome {
    suite: &'static str,
    uri: String,
    write_bytes: usize,
    depth: usize,
    iops: Option<Spread>,
    mbps: Option<Spread>,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    p999_us: Option<Spread>,
    /// Of the server's processes together, for each write.
    server_cpu_us: Option<Spread>,
    /// Of the load generator, for each write.
    client_cpu_us: Option<Spread>,
}

/// Runs the load.
///
/// # Errors
/// What the server says.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let (write_bytes, depth) = (usize::from(arguments.kib) * 1024, usize::from(arguments.depth));
    let measured = std::time::Duration::from_secs_f64(arguments.seconds);
    let show = Show::new(u64::from(arguments.repeats));
    let mut found: Vec<(Tally, Option<Cost>, Option<Cost>)> = Vec::new();
    for number in 1..=arguments.repeats {
        show.step(&format!("repeat {number}"));
        let load = Load {
            uri: arguments.uri.clone(),
            pattern: match arguments.pattern {
                PatternName::Random => Pattern::Random,
                PatternName::Sequential => Pattern::Sequential,
            },
            write_bytes,
            depth,
            core: arguments.core.or_else(|| affinity::current_cores().pop()).unwrap_or(0),
            seed: u64::from(number),
            window: Window { warm: measured / 5, measured },
        };
        let gauge = Gauge::default();
        let usage = || (server_usage(&arguments.pid), Usage::of(std::process::id()).unwrap_or_default());
        let before = usage();
        // A thread of its own: it is pinned, this one is not.
        let tally = thread::scope(|scope| scope.spawn(|| client::run(&load, &gauge)).join());
        let tally = tally.map_err(|_| anyhow!("the load generator has panicked"))??;
        let after = usage();
        let cost = |used: Usage| Cost::of(used, gauge.answered());
        let server = after.0.since(before.0);
        found.push((
            tally,
            cost(server).filter(|_| !arguments.pid.is_empty()),
            cost(after.1.since(before.1)),
        ));
    }
    show.end();
    Ok(outcome(arguments, &found))
}

fn server_usage(pids: &[u32]) -> Usage {
    let used = pids.iter().filter_map(|pid| Usage::of(*pid));
    used.fold(Usage::default(), |sum, used| Usage {
        cpu_us: sum.cpu_us + used.cpu_us,
        switches: sum.switches + used.switches,
    })
}

fn outcome(arguments: &Arguments, found: &[(Tally, Option<Cost>, Option<Cost>)]) -> Outcome {
    let write_bytes = usize::from(arguments.kib) * 1024;
    let at = |part: f64| Spread::over(found, |(tally, _, _)| tally.latencies().at_us(part));
    Outcome {
        suite: "load",
        uri: arguments.uri.clone(),
        write_bytes,
        depth: usize::from(arguments.depth),
        iops: Spread::over(found, |(tally, _, _)| Some(tally.per_second())),
        mbps: Spread::over(found, |(tally, _, _)| Some(tally.per_second() * write_bytes as f64 / 1e6)),
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        server_cpu_us: Spread::over(found, |(_, server, _)| server.map(|cost| cost.cpu_us)),
        client_cpu_us: Spread::over(found, |(_, _, client)| client.map(|cost| cost.cpu_us)),
    }
}

impl Outcome {
    /// For people.
    pub fn text(&self) -> String {
        let shown = |figure: Option<Spread>| figure.map_or_else(|| "-".to_owned(), |figure| figure.text());
        format!(
            "{}: {} byte writes, depth {}\n  IOPS {}, MB/s {}\n  p50 {}, p99 {}, p99.9 {} us\n  CPU us a write: server {}, load generator {}\n",
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
        )
    }

    /// One line.
    ///
    /// # Errors
    /// Never with these types; the serializer's refusal otherwise.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}
