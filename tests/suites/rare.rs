//! The simulator passes every branch that only faults reach, but for those that are listed with a reason.
//!
//! Marks count for a whole process, so these tests stand in a program of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use midspan_protocol::rare::{Rare, passed};
use sim::run::{Options, run};
use sim::unseen::{UNSEEN, report};

/// Seeds of all three books, and those that alone pass some path.
const SEEDS: &[std::ops::Range<u64>] = &[1..40, 1_000_000..1_000_044, 2_000_000..2_000_052];

#[test]
fn every_rare_path_is_passed_but_for_those_that_are_listed() {
    let seeds: Vec<u64> = SEEDS.iter().cloned().flatten().collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = run(*seed, Options::default()) {
                        panic!("{failure}");
                    }
                }
            });
        }
    });
    let listed = |path: &Rare| UNSEEN.iter().any(|(known, _)| known == path);
    let missed: Vec<Rare> =
        Rare::ALL.into_iter().filter(|path| passed(*path) == 0 && !listed(path)).collect();
    let found: Vec<Rare> = Rare::ALL.into_iter().filter(|path| passed(*path) > 0 && listed(path)).collect();
    assert!(missed.is_empty(), "no seed passes {missed:?}\n{}", report(true));
    assert!(found.is_empty(), "listed as never passed, and passed: {found:?}");
}

#[test]
fn every_rare_path_stands_at_one_place() {
    let mut code = String::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/protocol/src"), &mut code);
    for path in Rare::ALL {
        let name = format!("rare!({path:?}");
        let ends = |(at, _): &(usize, &str)| code[at + name.len()..].starts_with([')', ' ']);
        assert_eq!(code.match_indices(&name).filter(ends).count(), 1, "{name}");
    }
}

fn read(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
