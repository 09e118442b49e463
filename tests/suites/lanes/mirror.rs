//! Two lanes at a time: both hold a write before it is answered.

use std::time::Duration;

use super::*;

/// A cluster whose two relays both hold the journal.
fn mirrored() -> Stage {
    let mut stage = Stage::begin(shape(RELAYS, "", MIRROR));
    wait_lanes(&mut stage.cluster, Place::Primary, RELAYS);
    stage
}

#[test]
fn either_relay_dies_and_comes_back_and_hosts_notice_nothing() {
    let mut stage = mirrored();
    for (dies, stays) in [(Place::Alternate, Place::Relay), (Place::Relay, Place::Alternate)] {
        stage.cluster.kill(dies);
        wait_lanes(&mut stage.cluster, Place::Primary, &[stays]);
        stage.hosts_notice_nothing();
        stage.cluster.start(dies);
        wait_lanes(&mut stage.cluster, Place::Primary, RELAYS);
        stage.hosts_notice_nothing();
    }
    stage.both_hold_the_same(Place::Primary);
}

#[test]
fn the_primary_and_either_relay_die_at_once_and_a_takeover_loses_nothing() {
    for dies in RELAYS {
        let mut stage = mirrored();
        stage.cluster.kill(*dies);
        stage.take_over();
        stage.cluster.start(*dies);
        stage.cluster.start(Place::Primary);
        stage.cluster.wait_paired();
        stage.load.wait_for_answers();
        wait_lanes(&mut stage.cluster, Place::Secondary, RELAYS);
        stage.both_hold_the_same(Place::Secondary);
    }
}

#[test]
fn a_primary_restarts_with_either_relay_gone() {
    let mut stage = mirrored();
    for dies in RELAYS {
        stage.cluster.kill(*dies);
        stage.cluster.kill(Place::Primary);
        stage.cluster.start(Place::Primary);
        stage.cluster.wait_serving(Place::Primary);
        stage.load.wait_for_answers();
        stage.verify(Place::Primary);
        stage.load.resume(stage.cluster.uris(Place::Primary));
        stage.cluster.start(*dies);
        wait_lanes(&mut stage.cluster, Place::Primary, RELAYS);
    }
    stage.both_hold_the_same(Place::Primary);
}

#[test]
fn a_primary_that_dies_while_a_mirror_changes_serves_all_it_has_answered() {
    let mut stage = mirrored();
    for (dies, millis) in [(Place::Relay, 400), (Place::Alternate, 1100), (Place::Relay, 1300)] {
        stage.cluster.kill(dies);
        pause(Duration::from_millis(millis));
        stage.cluster.kill(Place::Primary);
        stage.cluster.start(dies);
        stage.cluster.start(Place::Primary);
        stage.cluster.wait_serving(Place::Primary);
        stage.load.wait_for_answers();
        stage.verify(Place::Primary);
        stage.load.resume(stage.cluster.uris(Place::Primary));
        wait_lanes(&mut stage.cluster, Place::Primary, RELAYS);
    }
    stage.take_over();
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_paired();
    stage.both_hold_the_same(Place::Secondary);
}
