//! One seed from beginning to end, and what is said of it when it fails.

use std::cell::Cell;
use std::fmt;

use crate::atlas;
use crate::drills;
use crate::lanes;
use crate::lies::Lie;
use crate::operators;
use crate::plan::{Less, Planned, plan};
use crate::swarm::Swarm;
use crate::trace::{self, Tracing};
use crate::world::{Broken, Figures, World};

thread_local! {
    /// The seed of this thread, for the panic hook.
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which trace is kept.
    pub tracing: Tracing,
    /// A planted bug.
    pub lie: Lie,
    /// What is left out of it.
    pub less: Less,
}

impl Default for Options {
    fn default() -> Self {
        Self { tracing: Tracing::Off, lie: Lie::None, less: Less::default() }
    }
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// With what it was run.
    pub lie: Lie,
    /// Without what.
    pub less: Less,
    /// The rule that was broken.
    pub broken: Broken,
    /// The last lines of the trace, if one was kept.
    pub lines: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { rule, what, at } = &self.broken;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} broke {rule} at {} s: {what}", self.seed, trace::clock(*at).trim_start())?;
        write!(f, "again: {}", again(self.seed, self.lie, &self.less))
    }
}

/// The command that runs a seed again.
pub fn again(seed: u64, lie: Lie, less: &Less) -> String {
    let mut words = format!("cargo run --release -p midspan-tests --bin simulate -- {seed} --trace");
    if let Some((name, _)) = Lie::ALL.into_iter().find(|(_, known)| *known == lie) {
        words += &format!(" --lie {name}");
    }
    if !less.without.is_empty() {
        let places: Vec<String> = less.without.iter().map(usize::to_string).collect();
        words += &format!(" --without {}", places.join(","));
    }
    if let Some(requests) = less.requests {
        words += &format!(" --requests {requests}");
    }
    words
}

/// What a seed makes of the world, and what goes wrong in it, by time.
pub fn world_of(seed: u64) -> (Swarm, Vec<Planned>) {
    let mut swarm = Swarm::new(seed);
    drills::suit(seed, &mut swarm);
    atlas::suit(seed, &mut swarm);
    lanes::suit(seed, &mut swarm);
    operators::suit(seed, &mut swarm);
    let mut faults = plan(seed, &swarm);
    faults.extend(drills::history(seed, &swarm));
    faults.extend(atlas::history(seed, &swarm));
    faults.extend(lanes::history(seed, &swarm));
    faults.extend(operators::history(seed, &swarm));
    faults.sort_by_key(|planned| planned.at);
    (swarm, faults)
}

/// The seed that runs on this thread.
pub fn running() -> Option<u64> {
    RUNNING.get()
}

/// Runs a seed.
///
/// # Errors
/// A rule was broken.
pub fn run(seed: u64, options: Options) -> Result<Figures, Box<Failure>> {
    RUNNING.set(Some(seed));
    trace::begin(options.tracing);
    let Options { lie, less, .. } = options;
    let (swarm, faults) = world_of(seed);
    trace::line("seed", || format!("{seed}: {swarm:?}"));
    let outcome = World::new(seed, swarm, faults, lie, less.clone()).run();
    let lines = trace::take();
    RUNNING.set(None);
    outcome.map_err(|broken| Box::new(Failure { seed, lie, less, broken, lines }))
}

/// Runs a seed; if it fails, once more with the last lines of its trace, for it fails again in the same way.
///
/// # Errors
/// A rule was broken.
pub fn run_and_explain(seed: u64, options: Options) -> Result<Figures, Box<Failure>> {
    run(seed, options.clone()).or_else(|_| run(seed, Options { tracing: Tracing::Last(60), ..options }))
}
