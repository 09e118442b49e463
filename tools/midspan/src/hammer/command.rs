//! `midspan hammer run` and `midspan hammer verify`, ready to be mounted by the command line.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::config::{Config, Initial, OnDisconnect, SizeMix, parse_bytes};
use super::ledger::Ledger;
use super::run::{Hammer, Handle};
use super::verify::{Progress, Verdict};
use crate::clock::Clock;

/// Drives volumes with self-describing writes and judges what is left of them.
#[derive(Clone, Debug, Subcommand)]
pub enum HammerCommand {
    /// Write and read for a while; example: `midspan hammer run nbd://127.0.0.1/vol --seconds 30 --verify`
    Run(RunArgs),
    /// Judge volumes by the ledger of a run; example: `midspan hammer verify --ledger run.ledger nbd://other/vol`
    Verify(VerifyArgs),
}

/// Arguments of `hammer run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// One export for each volume: `nbd://host:port/export` or `nbd+unix:///export?socket=PATH`
    #[arg(required = true)]
    uris: Vec<String>,
    /// How long to run
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections to each volume
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 8)]
    depth: u32,
    /// Operations and data derive from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bytes used of each volume (k, m, g); by default all, at most 256m
    #[arg(long, value_parser = bytes)]
    span: Option<u64>,
    /// Bytes that all connections write, overlapping
    #[arg(long, default_value = "4m", value_parser = bytes)]
    hot: u64,
    /// Share of the operations in the hot area
    #[arg(long, default_value_t = 30)]
    hot_percent: u8,
    /// Lengths with weights
    #[arg(long, default_value = "4k:70,16k:15,64k:9,256k:4,1m:2", value_parser = SizeMix::parse)]
    sizes: SizeMix,
    /// Bytes of a self-describing unit: 4096, or 512 for sub-block writes
    #[arg(long, default_value_t = 4096)]
    unit: u32,
    /// Share of reads, each checked at once
    #[arg(long, default_value_t = 20)]
    read_percent: u8,
    /// Share of flushes
    #[arg(long, default_value_t = 1)]
    flush_percent: u8,
    /// Share of zeroings
    #[arg(long, default_value_t = 0)]
    zero_percent: u8,
    /// Share of trims
    #[arg(long, default_value_t = 0)]
    trim_percent: u8,
    /// Share of FUA among the writes
    #[arg(long, default_value_t = 5)]
    fua_percent: u8,
    /// The server promises nothing about trimmed ranges
    #[arg(long)]
    trims_promise_nothing: bool,
    /// Reads may see a block half written while it is written
    #[arg(long)]
    tolerate_torn_reads: bool,
    /// Operations per second over all connections
    #[arg(long)]
    rate: Option<u32>,
    /// What to do when a connection is lost
    #[arg(long, value_enum, default_value_t = WhenLost::Reconnect)]
    when_lost: WhenLost,
    /// Seconds without a connection after which to give up
    #[arg(long, default_value_t = 60)]
    give_up_seconds: u64,
    /// The volumes are new and hold zeroes: do not read them first
    #[arg(long)]
    new_volumes: bool,
    /// Save the ledger to this file, for `hammer verify`
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Go on with the ledger of an earlier run: its writes stay under judgement
    #[arg(long)]
    resume: Option<PathBuf>,
    /// Verify at the end
    #[arg(long)]
    verify: bool,
    /// End with one line of JSON, without progress
    #[arg(long)]
    json: bool,
}

/// Arguments of `hammer verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The volumes of the run, in its order, wherever they are served now
    #[arg(required = true)]
    uris: Vec<String>,
    /// The ledger that the run has saved
    #[arg(long)]
    ledger: PathBuf,
    /// Limit for each wait for a server, in seconds
    #[arg(long, default_value_t = 30)]
    timeout_seconds: u64,
    /// End with one line of JSON, without progress
    #[arg(long)]
    json: bool,
}

/// What to do when a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WhenLost {
    /// Go on without it.
    Stop,
    /// Connect again and go on.
    Reconnect,
}

/// Runs the command; says whether everything held: the exit code should.
pub fn run_from_args(command: HammerCommand) -> anyhow::Result<bool> {
    match command {
        HammerCommand::Run(args) => run(&args),
        HammerCommand::Verify(args) => {
            let path = args.ledger.display();
            let ledger = Ledger::load(&args.ledger).with_context(|| format!("ledger {path}"))?;
            let verdict = verify(&ledger, &args.uris, Duration::from_secs(args.timeout_seconds), args.json)?;
            let mut value = serde_json::to_value(&verdict)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("verdict".into(), word(verdict.held()).into());
            }
            print(args.json, value, &verdict_text(&verdict));
            Ok(verdict.held())
        }
    }
}

/// A number for [`Hammer::start`] that no other run has.
pub fn random_run_id() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn run(args: &RunArgs) -> anyhow::Result<bool> {
    let config = config(args);
    let handle = match &args.resume {
        Some(path) => {
            let ledger = Ledger::load(path).with_context(|| format!("ledger {}", path.display()))?;
            Hammer::resume(config, ledger)?
        }
        None => Hammer::start(config, random_run_id())?,
    };
    watch(&handle, Duration::from_secs(args.seconds), args.json);
    let snapshot = handle.snapshot();
    let messages = handle.messages();
    let ledger = handle.into_ledger();
    if let Some(path) = &args.ledger {
        ledger.save(path).with_context(|| format!("ledger {}", path.display()))?;
    }
    let counts = ledger.counts.clone();
    let mut value = serde_json::to_value(&snapshot)?;
    let mut held = counts.stale_reads == 0 && counts.corrupt_reads == 0;
    let mut text = format!(
        "{} answered, {} possibly answered, {} reads, {} errors, {} disconnects; {:.0}/s, p50 {:.0} µs, p99 {:.0} µs",
        counts.answered,
        counts.possibly_answered,
        counts.reads,
        counts.errors,
        counts.disconnects,
        snapshot.iops,
        snapshot.p50_us,
        snapshot.p99_us
    );
    let Some(object) = value.as_object_mut() else { bail!("the figures are no JSON object") };
    object.insert("counts".into(), serde_json::to_value(&counts)?);
    object.insert("messages".into(), serde_json::to_value(&messages)?);
    if !args.json {
        messages.iter().take(10).for_each(|message| eprintln!("{message}"));
    }
    if args.verify {
        let verdict = verify(&ledger, &args.uris, Duration::from_secs(30), args.json)?;
        held = verdict.held();
        text = format!("{text}\n{}", verdict_text(&verdict));
        object.insert("verification".into(), serde_json::to_value(&verdict)?);
    }
    object.insert("verdict".into(), word(held).into());
    print(args.json, value, &text);
    Ok(held)
}

fn config(args: &RunArgs) -> Config {
    let give_up_after = Duration::from_secs(args.give_up_seconds);
    Config {
        connections: args.connections,
        depth: args.depth,
        seed: args.seed,
        span_bytes: args.span,
        hot_bytes: args.hot,
        hot_percent: args.hot_percent,
        sizes: args.sizes.clone(),
        unit_bytes: args.unit,
        read_percent: args.read_percent,
        flush_percent: args.flush_percent,
        zero_percent: args.zero_percent,
        trim_percent: args.trim_percent,
        fua_percent: args.fua_percent,
        trims_read_zero: !args.trims_promise_nothing,
        tolerate_torn_reads: args.tolerate_torn_reads,
        rate: args.rate,
        on_disconnect: match args.when_lost {
            WhenLost::Stop => OnDisconnect::Stop,
            WhenLost::Reconnect => OnDisconnect::Reconnect { give_up_after },
        },
        initial: if args.new_volumes { Initial::Zeroes } else { Initial::Scan },
        ..Config::new(args.uris.clone())
    }
}

/// Prints a line each second until the time is over or all connections are gone.
fn watch(handle: &Handle, limit: Duration, quiet: bool) {
    let since = Clock::starting_at(0);
    while let Some(left) = limit.checked_sub(since.elapsed())
        && !left.is_zero()
        && !handle.wait_finished(left.min(Duration::from_secs(1)))
    {
        if quiet {
            continue;
        }
        let now = handle.snapshot();
        eprintln!(
            "{:5.1} s  {:6.0} writes/s  p50 {:5.0} µs  p99 {:6.0} µs  {} connections  {} errors",
            now.elapsed_seconds,
            now.window_iops,
            now.window_p50_us,
            now.window_p99_us,
            now.connected,
            now.counts.errors
        );
    }
}

fn verify(ledger: &Ledger, uris: &[String], timeout: Duration, quiet: bool) -> anyhow::Result<Verdict> {
    let mut shown = 0;
    let verdict = ledger.verify(uris, timeout, |Progress { checked_blocks, total_blocks }| {
        let tenths = checked_blocks * 10 / total_blocks.max(1);
        if !quiet && tenths > shown {
            shown = tenths;
            eprintln!("verified {checked_blocks} of {total_blocks} blocks");
        }
    })?;
    Ok(verdict)
}

fn verdict_text(verdict: &Verdict) -> String {
    let mut text = format!(
        "{}: {} blocks checked, {} writes lost ({} blocks), {} blocks corrupt, {} stale and {} corrupt reads",
        word(verdict.held()),
        verdict.checked_blocks,
        verdict.lost,
        verdict.lost_blocks,
        verdict.corrupt,
        verdict.stale_reads,
        verdict.corrupt_reads
    );
    for example in &verdict.examples {
        text.push_str("\n  ");
        text.push_str(example);
    }
    text
}

fn word(held: bool) -> &'static str {
    if held { "held" } else { "broken" }
}

fn print(json: bool, value: serde_json::Value, text: &str) {
    if json {
        println!("{value}");
    } else {
        println!("{text}");
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "expected a number of bytes such as 4096, 64k, 4m or 1g".to_owned())
}
