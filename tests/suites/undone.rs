//! A takeover that has fenced the relay and is undone: the former primary serves again, and nothing is missing.

use midspan_daemon::api::types::{OperationState, OperationStatus};

use rig::{Cluster, GROUP, LIMIT, Load, Place, Shape};

/// Long enough for an operator to change his mind: a takeover waits for so long after the fence.
const LEASE: &str = "5s";

/// How an operator undoes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Abort,
    Cancel,
}

/// A takeover is begun while the primary is well, and undone when the primary has found itself fenced.
fn undone(cluster: &mut Cluster, load: &mut Load, how: How) {
    let takeover = cluster.ask_midspan(Place::Secondary, &["takeover", GROUP, "--yes"]);
    let mut takeover = takeover.start(&cluster.folder().file("takeover"));
    cluster.node(Place::Primary).wait("fenced", LIMIT, |group| !group.serving);
    assert!(takeover.ended().is_none(), "it waits for the end of the lease: {}", takeover.err());
    let said = match how {
        How::Abort => cluster.midspan(Place::Secondary, &["takeover", GROUP, "--abort", "--yes"]),
        How::Cancel => {
            let number = running(cluster).to_string();
            cluster.midspan(Place::Secondary, &["operations", "--cancel", &number])
        }
    };
    println!("{how:?}: {}", said.well());
    let ended = takeover.wait(LIMIT);
    assert!(!ended.success(), "the takeover was undone: {}", takeover.err());
    let group = cluster.wait_serving(Place::Primary);
    println!("served again in epoch {:?}", group.epoch);
    cluster.wait_paired();
    let group = cluster.group(Place::Secondary);
    assert!(!group.serving && group.zero_loss == Some(true), "{group:?}");
    load.wait_for_answers();
    load.verify(&cluster.uris(Place::Primary));
    load.resume(cluster.uris(Place::Primary));
    load.wait_for_answers();
}

/// The number of the takeover that runs.
fn running(cluster: &Cluster) -> u64 {
    let said = cluster.midspan(Place::Secondary, &["operations", GROUP, "--output", "json"]).well();
    let operations: Vec<OperationStatus> = serde_json::from_str(&said).unwrap();
    let found = operations.iter().find(|one| one.kind == "takeover" && one.state == OperationState::Running);
    found.unwrap_or_else(|| panic!("no takeover runs: {said}")).operation
}

#[test]
fn a_takeover_is_undone_and_the_former_primary_serves_again() {
    let mut cluster = Cluster::running(Shape { lease: LEASE, ..Shape::new(1, 16) });
    let mut load = Load::gentle(&cluster);
    let epoch = cluster.group(Place::Primary).epoch;
    for how in [How::Abort, How::Cancel] {
        undone(&mut cluster, &mut load, how);
    }
    assert!(
        cluster.group(Place::Primary).epoch.number > epoch.number + 1,
        "each time a newer epoch is taken"
    );
    // The next one is wanted.
    cluster.kill(Place::Primary);
    load.handle().cut();
    println!("{}", cluster.take_over());
    load.verify(&cluster.uris(Place::Secondary));
}
