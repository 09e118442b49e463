//! Many seeds on all cores, until so many are done or so much time is over.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use midspan_protocol::rare::Rare;
use sim::lies::Lie;
use sim::run::{Failure, Options, run_and_explain};
use sim::unseen;
use sim::world::Figures;

use crate::Arguments;
use crate::clock::Clock;

/// What all threads together have done.
struct Total {
    clock: Clock,
    until: Option<Duration>,
    seeds: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
    sums: Mutex<Figures>,
    /// Rare paths that are listed as never passed, and were.
    found: Mutex<Vec<Rare>>,
}

impl Total {
    fn is_over(&self) -> bool {
        let late = self.until.is_some_and(|until| self.clock.elapsed() >= until);
        late || self.stop.load(Ordering::Relaxed)
    }
}

pub fn many(arguments: &Arguments, lie: Lie) -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(cores).max(1);
    let next = AtomicU64::new(arguments.first);
    let count = if arguments.minutes.is_some() { u64::MAX } else { arguments.seeds };
    let end = arguments.first.saturating_add(count);
    let total = Total {
        clock: Clock::start(),
        until: arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        seeds: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        sums: Mutex::default(),
        found: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !total.is_over() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    account(&total, arguments, run_and_explain(seed, Options { lie, ..Options::default() }));
                    tell_found(&total, seed);
                }
            });
        }
    });
    let (seeds, failed) = (total.seeds.load(Ordering::Relaxed), total.failed.load(Ordering::Relaxed));
    if let Ok(sums) = total.sums.lock() {
        println!("{}", sums.deaths.table());
    }
    println!("{}", unseen::report(arguments.marks));
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
        let of = match arguments.minutes {
            Some(minutes) => {
                let took = total.clock.elapsed().as_secs();
                format!("{}:{:02} of {minutes} minutes", took / 60, took % 60)
            }
            None => format!("of {}", arguments.seeds),
        };
        eprintln!("{done} seeds, {of}, {}", sums(total));
    }
}

/// With several threads it may also have been one of the seeds that run beside it.
fn tell_found(total: &Total, seed: u64) {
    let Ok(mut found) = total.found.lock() else { return };
    for path in unseen::found(&mut found) {
        eprintln!("seed {seed} passes {path:?}, which is listed as never passed");
    }
}

fn sums(total: &Total) -> String {
    let Ok(sums) = total.sums.lock() else { return String::new() };
    format!(
        "{} virtual seconds, {} writes and {} reads answered, {} requests lost, {} crashes, {} starts, {} takeovers ({} back), {} switchovers, {} rounds, {} leaves ({} without the relay), {} harms, {} comparisons, {} losses accepted, {} frames, {} wraps",
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
        sums.harms,
        sums.compared,
        sums.accepted,
        sums.frames,
        sums.wraps
    )
}
