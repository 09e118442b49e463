//! A short run of the torture: each scenario once or twice. Hours of it are for who has them: `tests/README.md`.

use serde_json::Value;

use rig::{Folder, LIMIT, Program, can_cut, signal as signal_to, wait_for};

/// Each of the nine scenarios once.
const ROUNDS: u64 = 9;
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
    for name in ["cuts", "lost_as_reported"] {
        assert_eq!(figure(name) > 0, can_cut().is_ok(), "{name}: {told}");
    }
    assert!(figure("verified") >= ROUNDS, "{told}");
}

/// Nodes, namespaces and folders go, whatever it waits for.
#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let folder = Folder::new();
        let inside = folder.file("t");
        let torture = Program::new(env!("CARGO_BIN_EXE_midspan-torture"));
        let torture = torture.args(["--scenario", "kills", "--rounds", "1000", "--folder"]).arg(&inside);
        let mut torture = torture.start(&folder.file("log"));
        wait_for("it should be in a round", LIMIT, || {
            assert!(torture.ended().is_none(), "{}", torture.err());
            torture.err().contains("SIGKILL").then_some(())
        });
        let pid = torture.pid();
        signal_to(pid, signal);
        let ended = torture.wait(LIMIT);
        assert_eq!(ended.code(), Some(code), "{}", torture.err());
        assert!(!torture.err().contains("panicked"), "{}", torture.err());
        assert!(!inside.exists(), "{}", torture.err());
        let spaces = Program::new("ip").args(["netns", "list"]).run();
        assert!(!spaces.out.contains(&format!("midspan-{pid}-")), "{spaces}");
        let nodes = Program::new("pgrep").arg("-f").arg(inside.display().to_string()).run();
        assert!(nodes.out.is_empty(), "{nodes}");
    }
}

#[test]
fn a_scenario_that_does_not_exist_is_named_with_those_that_do() {
    let torture = || Program::new(env!("CARGO_BIN_EXE_midspan-torture"));
    torture().args(["--scenario", "meteor"]).run().with_code(2, &["meteor", "relay-wiped", "all"]);
    let listed = torture().arg("--list").run().well();
    for name in
        ["kills", "stops", "cuts", "full", "relay-wiped", "roles", "mixed", "accept-loss", "lanes", "all"]
    {
        assert!(listed.lines().any(|line| line.split(' ').next() == Some(name)), "{name}: {listed}");
    }
}
