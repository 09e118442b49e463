//! The PostgreSQL drill that users run: a database loses its site in full flow, goes on at the other one, and comes home; every
//! acknowledged commit is there.
//!
//! The drill is a script, [`deploy/drills/postgres.sh`](../../deploy/drills/postgres.sh). It mounts, which needs root and /dev/fuse.

use std::path::Path;

use rig::{LIMIT, Program, free_ports, may_mount, midspan, midspand};

#[test]
fn every_acknowledged_commit_outlives_the_site_and_comes_home() {
    if !may_mount() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/drills/postgres.sh");
    let (cli, daemon) = (midspan(), midspand());
    assert_eq!(cli.parent(), daemon.parent(), "both programs of one build");
    let ports = free_ports::<3>().map(|port| port.to_string()).join(" ");
    let drill = Program::new(script).env("MIDSPAN_BIN", cli.parent().unwrap()).env("DRILL_PORTS", ports);
    let said = drill.limit(LIMIT * 5).run();
    println!("{said}");
    let said = said.well();
    for words in ["answered writes lost: 0", "paired again: round", "home again"] {
        assert!(said.contains(words), "{words:?} was not said");
    }
    assert_eq!(said.matches("commits acknowledged, lost: 0").count(), 4, "it is verified four times");
}
