//! The simulator passes every branch that only faults reach, but for those that are listed with a reason.
//!
//! Marks count for a whole process, so these tests stand in a program of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use midspan_protocol::rare::{Rare, passed};
use sim::run::{Options, run};
use sim::unseen::{UNSEEN, report};

/// Seeds of all five books that together pass every path, most of them more than once.
#[rustfmt::skip]
const SEEDS: &[u64] = &[
    177, 196, 201, 235, 1_000_055, 1_000_074, 1_000_111, 1_000_133, 1_000_165, 1_000_176, 1_000_220,
    1_000_245, 1_000_251, 1_000_281, 1_000_285, 1_000_302, 1_000_321, 1_000_347, 2_000_007, 2_000_009,
    2_000_014, 2_000_052, 2_000_069, 2_000_072, 2_000_088, 2_000_091, 2_000_104, 2_000_114, 2_000_118,
    2_000_140, 2_000_142, 2_000_161, 2_000_173, 2_000_196, 2_000_245, 2_000_272, 2_000_275, 2_000_300,
    2_000_307, 2_000_324, 2_000_344, 2_000_363, 2_000_467, 2_000_538, 2_000_552, 2_000_553, 2_000_588,
    2_000_606, 2_000_630, 2_000_735, 2_000_828, 2_000_832, 2_000_930, 2_001_010, 2_001_032, 2_001_092,
    2_001_209, 2_001_321, 2_002_954, 2_003_768, 2_007_014, 1_000_440, 2_000_423, 2_000_494, 2_001_441,
    2_001_444, 2_002_225, 2_003_024, 2_003_391, 3_000_028, 3_000_411, 3_000_502, 3_000_514,
    2_000_001, 3_000_137, 2_001_056, 2_001_517, 5_000_002, 5_000_004, 5_000_008, 5_000_016, 5_000_079,
    5_000_740, 3_000_283, 4_000_038, 4_000_066, 4_000_118, 4_000_151, 599, 3_115, 3_000_621, 4_001_184,
    4_000_002, 4_000_005, 4_000_021, 4_000_025, 4_000_142, 4_000_237, 4_000_311, 5_000_887, 5_001_261, 2_000_663,
    4_000_007, 4_000_035, 4_000_201, 4_000_243, 4_000_566, 4_000_847, 4_001_920, 3_000_572, 3_017_704, 3_017_764, 2_001_757, 2_002_478,
    2_003_333, 2_003_869, 4_003_250, 4_200_871, 3_021_910, 4_041_752, 4_043_264, 5_002_339, 5_301_115, 4_301_124, 4_046_379,
    4_042_337, 4_503_534, 5_800_444, 5_800_530, 5_850_328, 5_850_409, 5_850_454, 5_850_810, 3_703_803, 3_900_540,
    4_700_313, 5_803_856, 3_710_673, 3_719_866, 3_714_886,
];

#[test]
fn every_rare_path_is_passed_but_for_those_that_are_listed() {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = SEEDS.get(next.fetch_add(1, Ordering::Relaxed)) {
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
