//! The simulator itself: it repeats itself, finds planted bugs, and the seeds that once showed a bug hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::lies::Lie;
use sim::plan::Less;
use sim::run::{Options, run};
use sim::shrink::{judge, shrink};
use sim::steps::{Deaths, Step};
use sim::world::Figures;

/// A seed with many faults that finds the bug of the test below.
const SHRUNK: u64 = 11;
/// A planted bug must show within so many seeds.
const SEEDS: u64 = 300;

#[test]
fn seeds_that_once_showed_a_bug_hold() {
    for line in include_str!("../seeds/kept.txt").lines() {
        let seed: u64 = line.trim().parse().expect("a seed in each line");
        if let Err(failure) = run(seed, Options::default()) {
            panic!("{failure}");
        }
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [2, 4, 40] {
        let first = run(seed, Options::default()).expect("the seed holds");
        let again = run(seed, Options::default()).expect("the seed holds");
        assert_eq!(format!("{first:?}"), format!("{again:?}"), "seed {seed}");
    }
}

/// Seeds of the second book that come to each step twice, with nothing else that would end a process on the way.
const STEPS_FROM: u64 = 1_000_176;
const STEPS_SEEDS: u64 = 2 * Step::COUNT as u64;

#[test]
fn a_site_dies_in_every_step_and_all_of_it_holds() {
    let next = AtomicU64::new(STEPS_FROM);
    let deaths = Mutex::new(Deaths::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < STEPS_FROM + STEPS_SEEDS
                {
                    match run(seed, Options::default()) {
                        Ok(figures) => deaths.lock().expect("no thread panics with it").add(&figures.deaths),
                        Err(failure) => panic!("{failure}"),
                    }
                }
            });
        }
    });
    let deaths = deaths.into_inner().expect("no thread panics with it");
    let missed: Vec<&str> =
        Step::ALL.into_iter().filter(|step| deaths.within(*step) == 0).map(Step::words).collect();
    assert!(missed.is_empty(), "no site died within {missed:?}\n{}", deaths.table());
}

/// Seeds of the fifth book: an operator compares the sites, accepts losses, starts without the journal, and chooses in a split.
const WORDS_FROM: u64 = 5_000_000;
const WORDS_SEEDS: u64 = 120;

#[test]
fn seeds_with_words_of_an_operator_hold() {
    let figures = hold(WORDS_FROM, WORDS_SEEDS);
    assert!(figures.compared > 100 && figures.accepted > 50, "{figures:?}");
}

/// Seeds in which losses are accepted with several lanes, of each kind: failover and mirrors, stripes, local lanes.
const SETS_FROM: [u64; 3] = [5_800_000, 5_850_000, 5_900_000];
const SETS_SEEDS: u64 = 30;

#[test]
fn seeds_with_accepted_losses_and_several_lanes_hold() {
    for first in SETS_FROM {
        let figures = hold(first, SETS_SEEDS);
        assert!(figures.accepted > 8, "{figures:?}");
    }
}

fn hold(first: u64, seeds: u64) -> Figures {
    let next = AtomicU64::new(first);
    let figures = Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < first + seeds
                {
                    match run(seed, Options::default()) {
                        Ok(found) => figures.lock().expect("no thread panics with it").add(&found),
                        Err(failure) => panic!("{failure}"),
                    }
                }
            });
        }
    });
    figures.into_inner().expect("no thread panics with it")
}

/// The oracle is able to fail: each planted bug breaks a rule in some seed.
fn is_found(lie: Lie) {
    let found = (1..=SEEDS).find(|seed| run(*seed, Options { lie, ..Options::default() }).is_err());
    assert!(found.is_some(), "{lie:?} is not found within {SEEDS} seeds");
}

#[test]
fn a_seed_that_fails_is_shrunk_to_fewer_faults_that_break_the_same_rule() {
    let (seed, lie) = (SHRUNK, Lie::FlushDoesNothing);
    let mut judged = |less: &Less| judge(seed, lie, less);
    let shrunk = shrink(seed, &mut judged).expect("the planted bug is found in this seed");
    assert!(shrunk.kept.len() * 4 < shrunk.planned, "{shrunk:?}");
    let again = run(seed, Options { lie, less: shrunk.less.clone(), ..Options::default() });
    let failure = again.expect_err("what is left breaks a rule");
    assert_eq!(failure.broken.rule, shrunk.class);
    assert!(run(seed, Options { less: shrunk.less, ..Options::default() }).is_ok(), "only with the bug");
}

#[test]
fn a_relay_that_says_durable_too_early_is_found() {
    is_found(Lie::DurableTooEarly);
}

#[test]
fn progress_before_the_frame_is_durable_is_found() {
    is_found(Lie::ProgressTooEarly);
}

#[test]
fn a_fence_that_does_not_wait_for_the_lease_is_found() {
    is_found(Lie::LeaseTooShort);
}

#[test]
fn a_flush_that_does_nothing_is_found() {
    is_found(Lie::FlushDoesNothing);
}

#[test]
fn an_own_ring_that_is_not_durable_is_found() {
    is_found(Lie::OwnRingTooEarly);
}

#[test]
fn a_fence_that_never_reaches_the_relay_is_found() {
    is_found(Lie::FenceDropped);
}

#[test]
fn a_relay_that_forgets_its_permits_is_found() {
    is_found(Lie::PermitForgotten);
}

#[test]
fn old_reads_are_found() {
    is_found(Lie::OldReads);
}

#[test]
fn a_promise_of_no_loss_outside_the_lanes_is_found() {
    is_found(Lie::PromisesOutside);
}

#[test]
fn promises_of_no_loss_are_looked_at() {
    let promises: u64 =
        (1..=16).map(|seed| run(seed, Options::default()).expect("the seed holds").promises).sum();
    assert!(promises > 50, "{promises} promises were held against what hosts were told");
}

#[test]
fn a_dirty_map_that_is_never_written_is_found() {
    is_found(Lie::MapNotWritten);
}
