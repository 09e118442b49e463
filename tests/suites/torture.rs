//! A short run of the torture: each scenario once or twice. Hours of it are for who has them: `tests/README.md`.

use serde_json::Value;

use rig::{Program, can_cut};

/// Each of the seven scenarios once on one cluster, and once more on others with two rounds each.
const ROUNDS: u64 = 14;
/// The same trouble each time.
const SEED: u64 = 20_261_130;

#[test]
fn a_minute_of_everything_loses_nothing_and_comes_right() {
    let torture = Program::new(env!("CARGO_BIN_EXE_midspan-torture"));
    let rounds = ROUNDS.to_string();
    let said = torture
        .args(["--json", "--seed", &SEED.to_string(), "--rounds", &rounds])
        .limit(std::time::Duration::from_secs(500))
        .run();
    println!("{said}");
    let told: Value = serde_json::from_str(said.well().trim()).unwrap();
    assert_eq!(told["verdict"], "held");
    let figure = |name: &str| told["figures"][name].as_u64().unwrap();
    assert_eq!(figure("rounds"), ROUNDS);
    // It has made the trouble that it is for.
    for name in ["kills", "stops", "fills", "wipes", "answered", "compared"] {
        assert!(figure(name) > 0, "no {name}: {told}");
    }
    assert_eq!(figure("cuts") > 0, can_cut().is_ok(), "{told}");
    assert!(figure("verified") >= ROUNDS, "{told}");
}

#[test]
fn a_scenario_that_does_not_exist_is_named_with_those_that_do() {
    let torture = || Program::new(env!("CARGO_BIN_EXE_midspan-torture"));
    torture().args(["--scenario", "meteor"]).run().with_code(2, &["meteor", "relay-wiped", "all"]);
    let listed = torture().arg("--list").run().well();
    for name in ["kills", "stops", "cuts", "full", "relay-wiped", "roles", "mixed", "all"] {
        assert!(listed.lines().any(|line| line.split(' ').next() == Some(name)), "{name}: {listed}");
    }
}
