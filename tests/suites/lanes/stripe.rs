//! Two lanes that share the data of frames (decision 0021): large writes, so that both get some.

use super::*;

/// A cluster whose two relays share the journal, under a load of large writes.
fn striped() -> Stage {
    let cluster = Cluster::running(shape(RELAYS, "", STRIPE));
    let load = Load::of_sizes(&cluster, "4k:50,128k:50");
    let mut stage = Stage { load, cluster };
    wait_both(&mut stage.cluster, Place::Primary);
    stage
}

/// Both relays are in the set, and connected.
fn wait_both(cluster: &mut Cluster, serves: Place) {
    cluster.node(serves).wait("with both lanes", LIMIT, |group| {
        group.serving && group.lanes.len() == 2 && group.lanes.iter().all(|lane| lane.connected)
    });
    let told = |message: &str| message.contains("spread over");
    wait_for("a stripe should be told", LIMIT, || {
        let event = cluster.events(serves).into_iter().rfind(|event| event.kind == "lane_set");
        event.is_none_or(|event| told(&event.message)).then_some(())
    });
}

#[test]
fn the_primary_dies_with_frames_under_way_to_both_and_a_takeover_loses_nothing() {
    let mut stage = striped();
    stage.load.wait_for_answers();
    stage.take_over();
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_paired();
    stage.load.wait_for_answers();
    wait_both(&mut stage.cluster, Place::Secondary);
    stage.both_hold_the_same(Place::Secondary);
}

#[test]
fn the_primary_restarts_with_frames_under_way_to_both() {
    let mut stage = striped();
    for _ in 0..3 {
        stage.load.wait_for_answers();
        stage.cluster.kill(Place::Primary);
        stage.cluster.start(Place::Primary);
        stage.cluster.wait_serving(Place::Primary);
        stage.load.wait_for_answers();
        stage.verify(Place::Primary);
        stage.load.resume(stage.cluster.uris(Place::Primary));
    }
    stage.both_hold_the_same(Place::Primary);
}

#[test]
fn either_relay_dies_and_comes_back_and_hosts_notice_nothing() {
    let mut stage = striped();
    for (dies, stays) in [(Place::Alternate, Place::Relay), (Place::Relay, Place::Alternate)] {
        stage.cluster.kill(dies);
        wait_lanes(&mut stage.cluster, Place::Primary, &[stays]);
        stage.hosts_notice_nothing();
        stage.cluster.start(dies);
        wait_both(&mut stage.cluster, Place::Primary);
        stage.hosts_notice_nothing();
    }
    stage.both_hold_the_same(Place::Primary);
}

#[test]
fn a_takeover_after_a_relay_was_lost_goes_by_the_other_one() {
    let mut stage = striped();
    stage.cluster.kill(Place::Relay);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Alternate]);
    stage.hosts_notice_nothing();
    stage.take_over();
    stage.cluster.start(Place::Relay);
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_paired();
    stage.load.wait_for_answers();
    stage.both_hold_the_same(Place::Secondary);
}

#[test]
fn a_dump_of_either_relay_names_heads_whose_data_lies_at_the_other_one_and_no_damage() {
    let mut stage = striped();
    stage.load.wait_for_answers();
    stage.both_hold_the_same(Place::Primary);
    // No node runs any more.
    for place in RELAYS {
        let dump = rig::dump(&stage.cluster.journal(*place));
        assert!(!dump.contains("damage"), "{dump}");
        assert!(dump.contains(", the head here") && dump.contains(", whole here"), "{dump}");
    }
}
