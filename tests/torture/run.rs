//! A run: clusters one after another, each with some rounds of trouble, until enough was seen or something failed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use midspan::clock::Clock;
use midspan::hammer::random::Seeded;
use rig::{Folder, pause};

use crate::arena::Arena;
use crate::plan;
use crate::scenario::Scenario;
use crate::tally::Tally;

/// A cluster sees no more rounds than this.
const ROUNDS_MOST: u64 = 16;
/// Of each hundred rounds, so many end with both sites compared, and everything started again.
const COMPARED_PERCENT: u8 = 20;
/// The dice of clusters begin here; those of rounds, at 0.
const CLUSTERS: u64 = 1 << 32;

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many rounds.
    Rounds(u64),
    /// With the round in which this time is over.
    Time(Duration),
}

/// A run to be made.
#[derive(Debug)]
pub struct Run {
    /// All choices derive from it.
    pub seed: u64,
    /// What is played, in turn.
    pub scenarios: Vec<Scenario>,
    /// Each node has a network namespace of its own: paths can be cut, and no other program has its ports.
    pub on_network: bool,
    /// When it is over.
    pub until: Until,
    /// Where clusters have their folders.
    pub folder: PathBuf,
    /// Folders stay.
    pub keep: bool,
}

/// Why a run has failed.
#[derive(Debug)]
pub struct Broken {
    /// What was found.
    pub told: String,
    /// Disks, configs and logs as they were left.
    pub folder: PathBuf,
}

/// The folder of all clusters, removed where nothing is in it any more: what belongs to somebody else stays.
struct Leaves<'a>(&'a Path);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0);
    }
}

impl Run {
    /// Makes it. Clusters see more rounds from turn to turn, so that a short run has met every scenario, and a long one
    /// groups with a long history.
    pub fn play(&self, tally: &mut Tally) -> Result<(), Broken> {
        let _all = Leaves(&self.folder);
        let clock = Clock::starting_at(0);
        let mut rounds = 1;
        loop {
            for scenario in &self.scenarios {
                let folder = self.folder.join(tally.figures.clusters.to_string());
                let act = || self.act(*scenario, rounds, folder.clone(), &clock, tally);
                catch_unwind(AssertUnwindSafe(act)).map_err(|payload| Broken {
                    told: payload.downcast::<String>().map_or_else(
                        |other| {
                            other
                                .downcast::<&str>()
                                .map_or_else(|_| "a panic".into(), |text| text.to_string())
                        },
                        |text| *text,
                    ),
                    folder: folder.clone(),
                })?;
                if self.is_over(&clock, tally) {
                    return Ok(());
                }
            }
            rounds = (rounds * 2).min(ROUNDS_MOST);
        }
    }

    fn is_over(&self, clock: &Clock, tally: &Tally) -> bool {
        match self.until {
            Until::Rounds(rounds) => tally.figures.rounds >= rounds,
            Until::Time(time) => clock.elapsed() >= time,
        }
    }

    /// One cluster from its making to the comparison of its sites.
    fn act(&self, scenario: Scenario, rounds: u64, folder: PathBuf, clock: &Clock, tally: &mut Tally) {
        let mut dice = Seeded::new(self.seed, CLUSTERS + tally.figures.clusters);
        tally.begin_round(scenario.name());
        let folder = Folder::at(folder, self.keep);
        let mut arena = Arena::open(folder, self.on_network, scenario, &mut dice, tally);
        for number in 1..=rounds {
            let mut dice = Seeded::new(self.seed, arena.tally.figures.rounds);
            arena.tally.begin_round(scenario.name());
            for step in plan::round(scenario, &mut dice) {
                pause(step.after);
                arena.strike(&step.trouble);
            }
            arena.settle();
            if number == rounds || self.is_over(clock, arena.tally) {
                break;
            }
            if dice.percent(COMPARED_PERCENT) {
                arena.compare();
                arena.go_on();
            }
        }
        arena.compare();
        arena.close();
    }
}
