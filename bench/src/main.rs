//! `midspan-bench`: measures the path of a write, always next to what the machine itself permits.

mod figures;
mod window;
mod hdr;
mod engine;
mod proc;
mod environment;
mod syscalls;
mod show;
mod hold;
mod guard;
mod disks;
mod floor;
mod machine;
mod stages;
mod negotiate;
mod generator;
mod api;
mod status;
mod cluster;
mod calls;
mod proxy;
mod wires;
mod takeover;
mod path;
mod finding;
mod backlog;
mod resync;
mod report;
mod peers;
mod compare;
mod html;
mod scene;
mod suites;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use compare::figure::Run;
use report::Report;
use scene::Scene;
use suites::{
    Measuring, compare as compare_suite, distance, drain, floor as floor_suite, load, multi, page,
    path as path_suite, peers as peers_suite, quick, read, round, takeover as takeover_suite, write,
};

/// Measures Midspan next to the floor of the same run: loopback round trip and durable append, both by io_uring
#[derive(Debug, Parser)]
#[command(
    name = "midspan-bench",
    version,
    disable_help_subcommand = true,
    after_help = "Example:\n  midspan-bench quick\n  midspan-bench quick --folder /mnt/nvme --json | tail -n 1"
)]
struct Cli {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Three nodes on this machine under three loads, next to the floor: under a minute
    #[command(after_help = quick::EXAMPLES)]
    Quick(quick::Arguments),
    /// Writes of all kinds: depths, sizes, with reads, with FLUSH, at a fixed rate
    #[command(after_help = write::EXAMPLES)]
    Write(write::Arguments),
    /// Reads, next to the same reads from the disk itself
    #[command(after_help = read::EXAMPLES)]
    Read(read::Arguments),
    /// Several volumes, connections and cores: what more of each gives
    #[command(after_help = multi::EXAMPLES)]
    Multi(multi::Arguments),
    /// The floor alone: what loopback and disk permit
    #[command(after_help = floor_suite::EXAMPLES)]
    Floor(floor_suite::Arguments),
    /// Midspan next to qemu's mirror, qemu-nbd and nbdkit, on disks of the same kind, in turn
    #[command(after_help = peers_suite::EXAMPLES)]
    Peers(peers_suite::Arguments),
    /// What changed from one run to another, beyond noise
    #[command(after_help = compare_suite::EXAMPLES)]
    Compare(compare_suite::Arguments),
    /// A run's JSON as a page with pictures
    #[command(after_help = page::EXAMPLES)]
    Report(page::Arguments),
    /// Each stage of a write alone, in one thread without I/O, next to copy and checksum
    #[command(after_help = path_suite::EXAMPLES)]
    Path(path_suite::Arguments),
    /// The secondary is held, the host fills a backlog, the secondary works it off
    #[command(after_help = drain::EXAMPLES)]
    Drain(drain::Arguments),
    /// The primary is killed under load, the secondary takes over: time to serve by backlog
    #[command(after_help = takeover_suite::EXAMPLES)]
    Takeover(takeover_suite::Arguments),
    /// The secondary lacks what no journal holds any more: rate of the round that brings it, alone and beside writes
    #[command(after_help = round::EXAMPLES)]
    Round(round::Arguments),
    /// Answer by distance of relay and far site, and what the secondary does over a long path
    #[command(after_help = distance::EXAMPLES)]
    Distance(distance::Arguments),
    /// The load generator alone, on any NBD export that may be overwritten
    #[command(after_help = load::EXAMPLES)]
    Load(load::Arguments),
}

fn main() -> ExitCode {
    let suite = Cli::parse().suite;
    // Of a comparison 1 means that something is worse.
    let failed = if matches!(suite, Suite::Compare(_)) { ExitCode::from(2) } else { ExitCode::FAILURE };
    match run(suite) {
        Ok(code) => code,
        Err(error) => {
            show::say(&format!("midspan-bench: {error:#}"));
            failed
        }
    }
}

fn run(suite: Suite) -> Result<ExitCode> {
    match suite {
        Suite::Quick(arguments) => print(&quick::run(&arguments)?, &arguments.measuring),
        Suite::Write(arguments) => print(&write::run(&arguments)?, &arguments.measuring),
        Suite::Read(arguments) => print(&read::run(&arguments)?, &arguments.measuring),
        Suite::Multi(arguments) => print(&multi::run(&arguments)?, &arguments.measuring),
        Suite::Floor(arguments) => print(&floor_suite::run(&arguments)?, &arguments.measuring),
        Suite::Peers(arguments) => {
            let outcome = peers_suite::run(&arguments)?;
            let Measuring { json, html, .. } = &arguments.measuring;
            finish(&outcome.text(), &outcome.json()?, *json, html.as_deref())
        }
        Suite::Path(arguments) => {
            let scene = path_suite::run(&arguments)?;
            finish(&scene.text(), &scene.json()?, arguments.json, arguments.html.as_deref())
        }
        Suite::Drain(arguments) => stage(&drain::run(&arguments)?, &arguments.measuring),
        Suite::Takeover(arguments) => stage(&takeover_suite::run(&arguments)?, &arguments.measuring),
        Suite::Round(arguments) => stage(&round::run(&arguments)?, &arguments.measuring),
        Suite::Distance(arguments) => stage(&distance::run(&arguments)?, &arguments.measuring),
        Suite::Load(arguments) => {
            let outcome = load::run(&arguments)?;
            finish(&outcome.text(), &outcome.json()?, arguments.json, None)
        }
        Suite::Report(arguments) => page::run(&arguments),
        Suite::Compare(arguments) => {
            let verdict = compare_suite::run(&arguments)?;
            finish(&verdict.text(arguments.all), &verdict.json()?, arguments.json, None)?;
            return Ok(if verdict.is_worse() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, measuring: &Measuring) -> Result<()> {
    finish(&report.text(), &report.json()?, measuring.json, measuring.html.as_deref())
}

/// What a suite has found: for people, as a line of JSON if that is wanted, as a page if a file is named.
fn finish(text: &str, line: &str, is_json: bool, html: Option<&Path>) -> Result<()> {
    // First what cannot fail for want of space or rights: the figures were expensive.
    write_out(text, is_json.then_some(line))?;
    match html {
        Some(path) => page::write(&Run::of(serde_json::from_str(line)?), path),
        None => Ok(()),
    }
}

fn stage(scene: &Scene, measuring: &Measuring) -> Result<()> {
    finish(&scene.text(), &scene.json()?, measuring.json, measuring.html.as_deref())
}

/// Tables to the output; with JSON they go to the error output, and the output holds that line alone.
fn write_out(text: &str, line: Option<&str>) -> Result<()> {
    let mut out = io::stdout().lock();
    match line {
        None => out.write_all(text.as_bytes())?,
        Some(line) => {
            show::say(text.trim_end());
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_suite_has_help_and_an_example_that_parses() {
        Cli::command().debug_assert();
        for suite in Cli::command().get_subcommands() {
            assert!(suite.get_about().is_some(), "{} has no help", suite.get_name());
            let after = suite.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                after.lines().map(str::trim).filter(|l| l.starts_with("midspan-bench ")).collect();
            assert!(!examples.is_empty(), "{} has no example", suite.get_name());
            for example in examples {
                let words = example
                    .split(" | ")
                    .next()
                    .unwrap()
                    .split_whitespace()
                    .map(|word| word.trim_matches('\''));
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn a_smoke_run_has_its_own_times_and_a_rate_is_a_number() {
        for wrong in [
            &["quick", "--smoke", "--seconds", "1"][..],
            &["write", "--smoke", "--repeats", "1"],
            &["load"],
            &["load", "nbd://x/y", "--rate", "0"],
            &["load", "nbd://x/y", "--mix", "6040"],
            &["load", "nbd://x/y", "--connections", "65"],
        ] {
            let words = ["midspan-bench"].iter().chain(wrong);
            assert!(Cli::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for wrong in [["--seconds", "0"], ["--seconds", "NaN"], ["--repeats", "0"], ["--cores", "0,1"]] {
            let words = ["midspan-bench", "quick"].into_iter().chain(wrong);
            assert!(Cli::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }
}
