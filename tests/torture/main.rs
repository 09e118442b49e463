//! Torture of real processes: io_uring, TCP and files, with nodes killed, stopped and cut off, rings full, disks wiped, and
//! operators who ask for anything at any time, for as long as one likes, from a seed.
//!
//! After each round of trouble everything is healed: the group must become paired within a limit, and every answered write
//! must be where hosts are served, by content. At the end of each cluster both sites' volumes must be equal byte for byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test: where something is not as wanted, it panics, and that is what ends the run"
)]

mod scenario;
mod plan;
mod tally;
mod arena;
mod wiped;
mod clock;
mod diary;
mod loss;
mod recovery;
mod run;
mod interrupt;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use midspan::hammer::command::random_run_id;
use serde_json::json;

use run::{Broken, Run, Until};
use scenario::Scenario;
use tally::Tally;

/// Something was lost, differs, or does not come right.
const BROKEN: u8 = 1;
/// The command line makes no sense, as clap has it.
const USAGE: u8 = 2;
/// This machine, or this build, cannot do it.
const CANNOT: u8 = 3;
/// Rounds where nothing says how long.
const ROUNDS: u64 = 28;
/// Sockets lie in the folder, and their paths must be short.
const PATH_MOST: usize = 70;

/// Makes trouble for real clusters, from a seed, and judges by content what is left of every answered write.
#[derive(Debug, Parser)]
#[command(name = "midspan-torture", after_help = AFTER)]
struct Arguments {
    /// All choices derive from it; random by default, and said.
    #[arg(long)]
    seed: Option<u64>,
    /// So many rounds of trouble (28 where no time is given, either).
    #[arg(long, conflicts_with = "minutes")]
    rounds: Option<u64>,
    /// Ends with the round in which this time is over.
    #[arg(long)]
    minutes: Option<u64>,
    /// What is played, by a name of --list; all of them in turn by default.
    #[arg(long, default_value = "all", value_parser = known)]
    scenario: String,
    /// Lists the scenarios and ends.
    #[arg(long)]
    list: bool,
    /// Where disks, configs and logs lie; by default a new folder in the system's place for temporary files.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Keeps them also where nothing has failed.
    #[arg(long)]
    keep: bool,
    /// Ends with one line of JSON on the standard output.
    #[arg(long)]
    json: bool,
}

const AFTER: &str = "Examples:
  midspan-torture --minutes 30
  midspan-torture --seed 42 --rounds 5 --scenario roles --keep

It runs the midspand and midspan of the folder MIDSPAN_BIN, else those built last. Each round, each cluster and each
instant of trouble derive from the seed; what the processes do in between does not, so the same seed repeats the trouble
and not always what comes of it.

Ctrl-C and SIGTERM end it, and with it its nodes, namespaces and folders; what it waits for may take half a minute.

Exit codes: 0 everything held, 1 something was lost, differs or did not come right, 2 usage, 3 it cannot run here, 130 or 143
where SIGINT or SIGTERM ended it";

fn known(name: &str) -> Result<String, String> {
    Scenario::named(name).map(|_| name.to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in Scenario::ALL {
            println!("{:<12} {}", scenario.name(), scenario.about());
        }
        println!("{:<12} all of them in turn", "all");
        return ExitCode::SUCCESS;
    }
    if cfg!(panic = "abort") {
        eprintln!(
            "this build ends at once when something fails, and leaves nodes behind: build it without --release"
        );
        return ExitCode::from(CANNOT);
    }
    let network = rig::can_cut();
    let on_network = network.is_ok();
    let (scenarios, left_out) = match playable(&arguments.scenario, network) {
        Ok(parts) => parts,
        Err(told) => {
            eprintln!("{told}");
            return ExitCode::from(CANNOT);
        }
    };
    let folder = arguments
        .folder
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("midspan-torture-{}", std::process::id())));
    if folder.as_os_str().len() > PATH_MOST {
        eprintln!("{}: paths of sockets would be too long; at most {PATH_MOST} bytes", folder.display());
        return ExitCode::from(USAGE);
    }
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("{}: {error}", folder.display());
        return ExitCode::from(CANNOT);
    }
    let run = Run {
        seed: arguments.seed.unwrap_or_else(random_run_id),
        scenarios,
        on_network,
        until: match (arguments.minutes, arguments.rounds) {
            (Some(minutes), _) => Until::Time(Duration::from_secs(minutes * 60)),
            (None, rounds) => Until::Rounds(rounds.unwrap_or(ROUNDS).max(1)),
        },
        folder,
        keep: arguments.keep,
    };
    eprintln!("--seed {} repeats the trouble", run.seed);
    interrupt::listen();
    let mut tally = Tally::new();
    let outcome = run.play(&mut tally);
    // Nodes and programs that the same key ended may have been found first.
    if let Some(code) = outcome.as_ref().err().and_then(|_| interrupt::code()) {
        eprintln!("interrupted: {}", tally.figures);
        return code;
    }
    conclude(&arguments, run.seed, &left_out, &tally, outcome.err())
}

/// What is to be played here, and what cannot be; an error where nothing is left, or it was asked for by name.
fn playable(name: &str, network: Result<(), String>) -> Result<(Vec<Scenario>, Vec<Scenario>), String> {
    let wanted = Scenario::named(name)?;
    let Err(why) = network else { return Ok((wanted, Vec::new())) };
    let (left_out, rest): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|scenario| scenario.needs_network());
    if left_out.is_empty() {
        return Ok((rest, left_out));
    }
    let names: Vec<_> = left_out.iter().map(|scenario| scenario.name()).collect();
    let told = format!("not run here: {}: {why}", names.join(", "));
    if rest.is_empty() {
        return Err(told);
    }
    eprintln!("{told}");
    Ok((rest, left_out))
}

/// The last words, and the exit code.
fn conclude(
    arguments: &Arguments,
    seed: u64,
    left_out: &[Scenario],
    tally: &Tally,
    broken: Option<Broken>,
) -> ExitCode {
    let (seconds, rounds) = (tally.seconds(), tally.figures.rounds);
    let replay =
        format!("midspan-torture --seed {seed} --rounds {} --scenario {}", rounds + 1, arguments.scenario);
    if let Some(broken) = &broken {
        eprintln!("BROKEN in round {}: {}", rounds + 1, broken.told);
        eprintln!("disks, configs and logs: {}\nagain: {replay}", broken.folder.display());
    }
    if arguments.json {
        let mut value = json!({
            "verdict": if broken.is_some() { "broken" } else { "held" },
            "seed": seed,
            "scenario": arguments.scenario,
            "left_out": left_out.iter().map(|scenario| scenario.name()).collect::<Vec<_>>(),
            "seconds": seconds,
            "figures": tally.figures,
        });
        if let Some(broken) = &broken {
            value["told"] = json!(broken.told);
            value["folder"] = json!(broken.folder);
            value["replay"] = json!(replay);
        }
        println!("{value}");
    } else {
        println!("{} in {seconds:.0} s: {}", if broken.is_some() { "BROKEN" } else { "held" }, tally.figures);
    }
    if broken.is_some() { ExitCode::from(BROKEN) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_network_is_left_out_or_refused_where_there_is_none() {
        let none = || Err("no root".to_owned());
        let (played, left_out) = playable("all", none()).unwrap();
        assert_eq!(
            (played.len(), left_out),
            (5, vec![Scenario::Cuts, Scenario::Mixed, Scenario::AcceptLoss, Scenario::Lanes])
        );
        assert!(playable("cuts", none()).unwrap_err().contains("cuts: no root"));
        assert_eq!(playable("kills", none()).unwrap(), (vec![Scenario::Kills], Vec::new()));
        assert_eq!(playable("all", Ok(())).unwrap().0, Scenario::ALL);
    }
}
