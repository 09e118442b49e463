//! A takeover that has fenced the relay and is undone: the former primary serves again, and nothing is missing.

use std::time::Duration;

use midspan_daemon::api::types::{OperationState, OperationStatus};

use rig::{Cluster, GROUP, LIMIT, Load, Place, Shape, pause, wait_for};

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

/// Two operators at once: one hands over at the primary, the other takes over at the other site, which is first because nothing
/// more gets through the lane. Both hear how it ended.
#[test]
fn a_switchover_that_a_takeover_comes_before_ends_and_says_so() {
    let mut cluster = Cluster::running(Shape::new(1, 16));
    let mut load = Load::gentle(&cluster);
    // Writes are under way from here on, so the switchover waits for them.
    cluster.node(Place::Relay).signal("STOP");
    pause(Duration::from_millis(200));
    let ask = |place, what: &str| {
        let asked = cluster.ask_midspan(place, &[what, GROUP, "--yes"]).start(&cluster.folder().file(what));
        wait_for(&format!("the {what} should begin"), LIMIT, || {
            let newest = cluster.operations(place).pop()?;
            (newest.kind == what && newest.phase != "starting").then_some(())
        });
        asked
    };
    let mut switchover = ask(Place::Primary, "switchover");
    let mut takeover = ask(Place::Secondary, "takeover");
    cluster.node(Place::Relay).signal("CONT");
    assert!(takeover.wait(LIMIT).success(), "{}", takeover.err());
    assert_eq!(switchover.wait(LIMIT).code(), Some(4), "{}", switchover.err());
    assert!(switchover.err().contains("the other site has taken over meanwhile"), "{}", switchover.err());
    let operations = cluster.operations(Place::Primary);
    assert!(operations.iter().all(|one| one.state != OperationState::Running), "{operations:?}");
    load.handle().cut();
    load.stop_replaced();
    cluster.wait_paired();
    load.verify(&cluster.uris(Place::Secondary));
    // Nothing keeps the next one away.
    println!("{}", cluster.midspan(Place::Secondary, &["switchover", GROUP, "--yes"]).well());
    cluster.wait_serving(Place::Primary);
    load.verify(&cluster.uris(Place::Primary));
}
