//! Runs the simulator: one seed with a readable trace, or many seeds on all cores.

use std::io::IsTerminal;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Parser;
use sim::lies::Lie;
use sim::run::{Failure, Options, again, run, run_and_explain, running};
use sim::trace::{self, Tracing};
use sim::world::Figures;

/// Simulates a whole cluster in virtual time, from a seed: equal seeds give equal runs.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  simulate 42\n  simulate 42 --trace\n  simulate --first 1 --seeds 200")]
struct Arguments {
    /// The one seed to run.
    #[arg(conflicts_with_all = ["first", "seeds"])]
    seed: Option<u64>,
    /// The first of many seeds.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Print everything that happens in the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Go on behind a seed that failed.
    #[arg(long)]
    keep_going: bool,
    /// Plant a bug, to see that it is found: durable-too-early, lease-too-short and others.
    #[arg(long, value_parser = parse_lie)]
    lie: Option<Lie>,
    /// Threads; all cores by default.
    #[arg(long)]
    jobs: Option<usize>,
}

fn parse_lie(name: &str) -> Result<Lie, String> {
    let found = Lie::ALL.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, lie)| lie).ok_or_else(|| {
        let names: Vec<&str> = Lie::ALL.into_iter().map(|(known, _)| known).collect();
        format!("known are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    explain_panics();
    let lie = arguments.lie.unwrap_or_default();
    match arguments.seed {
        Some(seed) => one(seed, lie, arguments.trace),
        None => many(&arguments, lie),
    }
}

/// An assertion of a machine ends the process, so the seed and what came before are told here.
fn explain_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let was_traced = trace::is_on();
        for line in trace::take() {
            eprintln!("{line}");
        }
        usual(info);
        let Some(seed) = running() else { return };
        eprintln!("seed {seed} broke an assertion\nagain: {}", again(seed));
        if !was_traced {
            // The same seed does the same again, this time with the last lines of its trace.
            let replay = std::env::current_exe()
                .and_then(|program| Command::new(program).arg(seed.to_string()).status());
            drop(replay);
        }
    }));
}

fn one(seed: u64, lie: Lie, print: bool) -> ExitCode {
    let tracing = if print { Tracing::Print } else { Tracing::Last(60) };
    match run(seed, Options { tracing, lie }) {
        Ok(figures) => {
            println!("seed {seed} held: {figures:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// What all threads together have done.
#[derive(Default)]
struct Total {
    seeds: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
    sums: Mutex<Figures>,
}

fn many(arguments: &Arguments, lie: Lie) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(cores).max(1);
    let next = AtomicU64::new(arguments.first);
    let end = arguments.first.saturating_add(arguments.seeds);
    let total = Total::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !total.stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = run_and_explain(seed, Options { tracing: Tracing::Off, lie });
                    account(&total, arguments, outcome);
                }
            });
        }
    });
    let (seeds, failed) = (total.seeds.load(Ordering::Relaxed), total.failed.load(Ordering::Relaxed));
    if let Ok(sums) = total.sums.lock() {
        println!("{}", sums.deaths.table());
    }
    println!("{seeds} seeds from {}: {failed} failed; {}", arguments.first, sums(&total));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn account(total: &Total, arguments: &Arguments, outcome: Result<Figures, Box<Failure>>) {
    let done = total.seeds.fetch_add(1, Ordering::Relaxed) + 1;
    match outcome {
        Ok(figures) => {
            if let Ok(mut sums) = total.sums.lock() {
                sums.add(&figures);
            }
        }
        Err(failure) => {
            eprintln!("{failure}\n");
            total.failed.fetch_add(1, Ordering::Relaxed);
            total.stop.store(!arguments.keep_going, Ordering::Relaxed);
        }
    }
    let every = if std::io::stderr().is_terminal() { 10 } else { 100 };
    if done.is_multiple_of(every) {
        eprintln!("{done} of {} seeds, {}", arguments.seeds, sums(total));
    }
}

fn sums(total: &Total) -> String {
    let Ok(sums) = total.sums.lock() else { return String::new() };
    format!(
        "{} virtual seconds, {} writes and {} reads answered, {} requests lost, {} crashes, {} starts, {} takeovers ({} back), {} switchovers, {} rounds, {} leaves ({} without the relay), {} frames, {} wraps",
        sums.time / 1_000_000_000,
        sums.writes,
        sums.reads,
        sums.unanswered,
        sums.crashes,
        sums.starts,
        sums.takeovers,
        sums.takeovers_back,
        sums.switchovers,
        sums.rounds,
        sums.leaves,
        sums.losses,
        sums.frames,
        sums.wraps
    )
}
