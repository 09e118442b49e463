//! Runs the simulator: one seed with a readable trace, many seeds on all cores, or less and less of a seed that fails.

mod clock;
mod many;
mod shrinking;

use std::process::{Command, ExitCode};

use clap::Parser;
use sim::lies::Lie;
use sim::plan::Less;
use sim::run::{Options, again, run, running};
use sim::trace::{self, Tracing};
use sim::unseen;

/// Simulates a whole cluster in virtual time, from a seed: equal seeds give equal runs.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  simulate 42\n  simulate 42 --trace\n  simulate --first 1 --seeds 200\n  \
    simulate --minutes 60 --first 5000\n  simulate --shrink 42"
)]
struct Arguments {
    /// The one seed to run.
    #[arg(conflicts_with_all = ["first", "seeds", "minutes", "shrink"])]
    seed: Option<u64>,
    /// The first of many seeds.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Seed after seed for so many minutes.
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// Print everything that happens in the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Leave faults out of the one seed, by their place in its plan.
    #[arg(long, requires = "seed", value_delimiter = ',')]
    without: Vec<usize>,
    /// Hosts of the one seed ask only so many requests before everything is repaired.
    #[arg(long, requires = "seed")]
    requests: Option<u64>,
    /// Find less of a seed that fails: fewer faults, fewer requests, the same rule broken.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["first", "seeds", "minutes"])]
    shrink: Option<u64>,
    /// Say of the one seed only which rule it broke, and when.
    #[arg(long, requires = "seed", hide = true)]
    verdict: bool,
    /// Go on behind a seed that failed.
    #[arg(long)]
    keep_going: bool,
    /// Print all rare paths with how often they were passed, not only those that never were.
    #[arg(long)]
    marks: bool,
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
    let lie = arguments.lie.unwrap_or_default();
    let without = arguments.without.iter().copied().collect();
    let less = Less { without, requests: arguments.requests };
    if arguments.verdict {
        shrinking::tell_panics();
    } else {
        explain_panics(lie, less.clone());
    }
    match (arguments.seed, arguments.shrink) {
        (Some(seed), _) if arguments.verdict => shrinking::verdict(seed, lie, &less),
        (Some(seed), _) => one(seed, lie, less, &arguments),
        (None, Some(seed)) => shrinking::shrink(seed, lie),
        (None, None) => many::many(&arguments, lie),
    }
}

/// An assertion of a machine ends the process, so the seed and what came before are told here.
fn explain_panics(lie: Lie, less: Less) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let was_traced = trace::is_on();
        for line in trace::take() {
            eprintln!("{line}");
        }
        usual(info);
        let Some(seed) = running() else { return };
        let words = again(seed, lie, &less);
        eprintln!("seed {seed} broke an assertion\nagain: {words}");
        if !was_traced {
            // The same seed does the same again, this time with the last lines of its trace.
            let replay = std::env::current_exe().and_then(|program| {
                let given = words.split(" -- ").nth(1).unwrap_or_default();
                let given = given.split(' ').filter(|word| *word != "--trace");
                Command::new(program).args(given).status()
            });
            drop(replay);
        }
    }));
}

fn one(seed: u64, lie: Lie, less: Less, arguments: &Arguments) -> ExitCode {
    let tracing = if arguments.trace { Tracing::Print } else { Tracing::Last(60) };
    let outcome = run(seed, Options { tracing, lie, less });
    if arguments.marks {
        println!("{}", unseen::report(true));
    }
    match outcome {
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
