//! A lane at the other site, for the time in which no relay is there.

use super::*;

/// Both relays are dead, and the lane at the other site carries.
fn direct() -> Stage {
    let mut stage = Stage::begin(shape(EVERYWHERE, DIRECT, FAILOVER));
    stage.cluster.kill(Place::Alternate);
    stage.cluster.kill(Place::Relay);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Secondary]);
    stage.hosts_notice_nothing();
    stage
}

#[test]
fn the_other_site_carries_while_both_relays_are_dead() {
    let mut stage = direct();
    // Any relay is better.
    stage.cluster.start(Place::Alternate);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Alternate]);
    stage.hosts_notice_nothing();
    stage.cluster.start(Place::Relay);
    stage.both_hold_the_same(Place::Primary);
}

#[test]
fn a_takeover_while_direct_loses_nothing() {
    let mut stage = direct();
    stage.take_over();
    // The former primary is back without relays, and then these are.
    stage.cluster.start(Place::Primary);
    stage.load.wait_for_answers();
    stage.cluster.start(Place::Relay);
    stage.cluster.start(Place::Alternate);
    stage.cluster.wait_paired();
    stage.both_hold_the_same(Place::Secondary);
}

#[test]
fn without_it_the_lanes_are_left_and_a_round_follows() {
    let keys = "lane_set = \"failover\"\nresend = \"64MiB\"\nmode = \"max-availability\"\n";
    let mut stage = Stage::begin(shape(RELAYS, "", keys));
    stage.cluster.kill(Place::Alternate);
    stage.cluster.kill(Place::Relay);
    stage.cluster.node(Place::Primary).wait("degraded", LIMIT, |group| group.state == "degraded");
    let events = stage.cluster.events(Place::Primary);
    assert!(events.iter().any(|event| event.kind == "left_the_lanes"), "{events:#?}");
    stage.hosts_notice_nothing();
    let group = stage.cluster.group(Place::Secondary);
    assert_eq!(group.zero_loss, Some(false), "{group:?}");
    stage.cluster.start(Place::Relay);
    stage.cluster.start(Place::Alternate);
    stage.cluster.wait_paired();
    stage.hosts_notice_nothing();
    stage.both_hold_the_same(Place::Primary);
}
