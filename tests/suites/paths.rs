//! The failure table, row by row, on a network whose paths are cut: each node has its own namespace and address, and what is
//! cut is dropped without a word, as behind a broken path.
//!
//! Namespaces and packet filters need root.

use rig::{GROUP, LIMIT, MOMENT, Place, Program, Scene, Shape, pause, wait_for};

#[test]
fn row_primary_site() {
    let Some(mut scene) = Scene::begin() else { return };
    scene.network.isolate(Place::Primary);
    scene.cluster.kill(Place::Primary);
    scene.take_over();
}

#[test]
fn row_primary_process_comes_back() {
    let Some(mut scene) = Scene::begin() else { return };
    scene.cluster.kill(Place::Primary);
    pause(MOMENT);
    scene.cluster.start(Place::Primary);
    scene.load.wait_for_answers();
    let disconnects = scene.load.handle().counts().disconnects;
    scene.heal(disconnects);
}

/// Without its relay it does not know what it has answered: nothing is served until the relay is there.
#[test]
fn row_primary_process_comes_back_with_too_few_lanes() {
    let Some(mut scene) = Scene::begin() else { return };
    scene.cluster.kill(Place::Primary);
    scene.network.cut(Place::Primary, Place::Relay);
    scene.cluster.start(Place::Primary);
    scene.wait_state(Place::Primary, "starting");
    pause(MOMENT);
    let group = scene.cluster.group(Place::Primary);
    assert!(!group.serving && group.state == "starting", "{group:?}");
    for uri in scene.cluster.uris(Place::Primary) {
        Program::new("nbdinfo").arg(uri).run().badly(&["v1"]);
    }
    let said = scene.cluster.midspan(Place::Primary, &["status", GROUP]).well();
    assert!(said.contains("the start waits for lane 0 at relay"), "{said}");
    let start = ["start", GROUP, "--without-journal", "--yes"];
    scene.cluster.midspan(Place::Primary, &start).badly(&["the other site can be reached and has more"]);
    scene.network.heal();
    scene.load.wait_for_answers();
    let disconnects = scene.load.handle().counts().disconnects;
    scene.heal(disconnects);
}

#[test]
fn row_relay() {
    let Some(mut scene) = Scene::begin() else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.isolate(Place::Relay);
    scene.wait_state(Place::Primary, "stalled");
    let before = scene.answered();
    pause(MOMENT);
    assert_eq!(scene.answered(), before, "hosts wait: this version has one lane");
    scene.heal(disconnects);
}

#[test]
fn row_secondary() {
    let Some(mut scene) = Scene::begin() else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.isolate(Place::Secondary);
    scene.wait_state(Place::Secondary, "detached");
    scene.hosts_go_on();
    scene.heal(disconnects);
}

#[test]
fn row_secondary_away_for_long() {
    let site_keys = "mode = \"max-availability\"\n";
    let Some(mut scene) = Scene::with(Shape { site_keys, ..Shape::new(1, 16) }) else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.isolate(Place::Secondary);
    // The ring fills, hosts wait a moment, and are answered outside the lanes.
    scene.wait_state(Place::Primary, "suspended");
    scene.hosts_go_on();
    scene.heal(disconnects);
    // The round has brought everything.
    scene.cluster.kill(Place::Primary);
    println!("{}", scene.cluster.take_over());
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
}

#[test]
fn row_relay_secondary_path() {
    let Some(mut scene) = Scene::begin() else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.cut(Place::Relay, Place::Secondary);
    // What was on its way has come by now; what the secondary hears of from here on the primary has told it.
    pause(MOMENT / 2);
    let known = |scene: &mut Scene| scene.cluster.group(Place::Secondary).last_time_ns;
    let before = known(&mut scene);
    wait_for("manifests should come from site to site", LIMIT, || (known(&mut scene) > before).then_some(()));
    scene.wait_state(Place::Secondary, "detached");
    scene.hosts_go_on();
    scene.heal(disconnects);
}

#[test]
fn row_site_site_path() {
    let Some(mut scene) = Scene::begin() else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.cut(Place::Primary, Place::Secondary);
    scene.wait_path_dead();
    // Nothing stops: the secondary follows through the relay.
    let applied = |scene: &mut Scene, place| scene.cluster.group(place).lanes[0].watermarks.applied;
    let before = [Place::Primary, Place::Secondary].map(|place| applied(&mut scene, place));
    scene.hosts_go_on();
    assert!(applied(&mut scene, Place::Secondary) > before[1], "the secondary should follow");
    assert!(applied(&mut scene, Place::Primary) > before[0], "its receipts should come through the relay");
    for place in [Place::Primary, Place::Secondary] {
        assert_eq!(scene.cluster.group(place).state, "paired", "{}", place.name());
    }
    scene.heal(disconnects);
}

/// The secondary has something to say when it is back at the relay; the primary is not. The newest manifests are kept all the
/// same: the relay has not got them.
#[test]
fn receipts_come_from_site_to_site_when_the_primary_has_no_relay() {
    let Some(mut scene) = Scene::begin() else { return };
    let disconnects = scene.load.handle().counts().disconnects;
    scene.network.cut(Place::Relay, Place::Secondary);
    scene.wait_state(Place::Secondary, "detached");
    scene.hosts_go_on();
    scene.load.stop();
    pause(MOMENT);
    let kept = scene.kept();
    assert!(kept > 10, "{kept} manifests");
    scene.network.only_cut(Place::Primary, Place::Relay);
    scene.cluster.node(Place::Primary).wait("told that the secondary has everything", LIMIT, |group| {
        let marks = &group.lanes[0].watermarks;
        marks.applied.is_some() && marks.applied == marks.sealed
    });
    assert!(scene.kept() < kept, "receipts should cover manifests");
    scene.wait_state(Place::Primary, "stalled");
    scene.load.resume(scene.cluster.uris(Place::Primary));
    scene.heal(disconnects);
}

/// The other site cannot say that it serves: its epoch in the lane does.
#[test]
fn a_switchover_ends_without_the_path_between_the_sites() {
    let Some(mut scene) = Scene::begin() else { return };
    scene.network.cut(Place::Primary, Place::Secondary);
    scene.wait_path_dead();
    println!("{}", scene.cluster.midspan(Place::Primary, &["switchover", GROUP, "--yes"]).well());
    scene.cluster.wait_serving(Place::Secondary);
    scene.load.handle().cut();
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
}

#[test]
fn row_former_primary_returns() {
    let Some(mut scene) = Scene::begin() else { return };
    // It lives, and knows nothing of the takeover.
    scene.network.isolate(Place::Primary);
    scene.wait_state(Place::Primary, "stalled");
    scene.take_over();
    let group = scene.cluster.group(Place::Primary);
    assert_eq!(group.fenced_by, None, "it cannot know yet");
    scene.network.heal();
    scene.cluster.node(Place::Primary).wait("a secondary", LIMIT, |group| {
        group.role == midspan_daemon::api::types::Role::Secondary && !group.serving
    });
    scene.cluster.wait_paired();
    scene.load.wait_for_answers();
    scene.load.verify(&scene.cluster.uris(Place::Secondary));
    println!("{}", scene.cluster.midspan(Place::Secondary, &["failback", GROUP, "--yes"]).well());
    scene.cluster.wait_serving(Place::Primary);
    scene.load.verify(&scene.cluster.uris(Place::Primary));
}
