//! One lane at a time: another takes its place.

use std::time::Duration;

use super::*;

#[test]
fn a_relay_dies_and_comes_back_and_hosts_notice_nothing() {
    let mut stage = Stage::begin(shape(RELAYS, "", FAILOVER));
    stage.cluster.kill(Place::Relay);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Alternate]);
    stage.hosts_notice_nothing();
    // The first one is preferred.
    stage.cluster.start(Place::Relay);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Relay]);
    stage.hosts_notice_nothing();
    stage.both_hold_the_same(Place::Primary);
}

#[test]
fn a_relay_that_is_cut_off_is_replaced_also_where_the_other_site_reaches_it() {
    let Some(mut scene) = Scene::with(shape(RELAYS, "", FAILOVER)) else { return };
    scene.network.isolate(Place::Relay);
    wait_lanes(&mut scene.cluster, Place::Primary, &[Place::Alternate]);
    notice_nothing(&scene.load);
    scene.network.heal();
    // Only the primary does not reach it.
    scene.network.cut(Place::Primary, Place::Alternate);
    wait_lanes(&mut scene.cluster, Place::Primary, &[Place::Relay]);
    notice_nothing(&scene.load);
    scene.network.heal();
    scene.load.verify(&scene.cluster.uris(Place::Primary));
    scene.cluster.wait_paired();
    scene.cluster.compare(Place::Primary);
}

#[test]
fn a_takeover_after_a_switch_loses_nothing_while_the_first_relay_stays_dead() {
    let mut stage = Stage::begin(shape(RELAYS, "", FAILOVER));
    stage.cluster.kill(Place::Relay);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Alternate]);
    stage.hosts_notice_nothing();
    stage.take_over();
    // The former primary follows; the dead relay is not needed for that.
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_paired();
    stage.load.wait_for_answers();
    stage.cluster.start(Place::Relay);
    stage.both_hold_the_same(Place::Secondary);
}

/// Hosts have written nothing since the start, so no header in a lane says what the start has brought to the disks.
#[test]
fn a_relay_that_dies_after_a_start_is_replaced_before_hosts_have_written() {
    let mut stage = Stage::begin(shape(RELAYS, "", FAILOVER));
    stage.load.stop();
    stage.cluster.wait_no_lag(Place::Primary);
    stage.cluster.kill(Place::Primary);
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_serving(Place::Primary);
    stage.cluster.wait_paired();
    stage.cluster.kill(Place::Relay);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Alternate]);
    stage.load.resume(stage.cluster.uris(Place::Primary));
    stage.load.wait_for_answers();
    // What was never in the second lane is at both sites.
    stage.take_over();
    stage.cluster.start(Place::Primary);
    stage.cluster.start(Place::Relay);
    stage.cluster.wait_paired();
    stage.both_hold_the_same(Place::Secondary);
}

#[test]
fn relays_with_new_disks_and_in_any_order_are_lost_lanes_and_never_empty_journals() {
    let mut stage = Stage::begin(shape(RELAYS, "", FAILOVER));
    // The lane in use has a new disk at once: the other one takes its place.
    stage.cluster.kill(Place::Relay);
    wipe(&stage.cluster, Place::Relay);
    stage.cluster.start(Place::Relay);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Alternate]);
    stage.hosts_notice_nothing();
    // So does that one, after a while: the journal begins anew on the first new disk.
    stage.cluster.kill(Place::Alternate);
    wipe(&stage.cluster, Place::Alternate);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Relay]);
    stage.hosts_notice_nothing();
    stage.cluster.start(Place::Alternate);
    // Both are away at once, and come back in the other order: hosts wait.
    stage.cluster.kill(Place::Alternate);
    stage.cluster.kill(Place::Relay);
    pause(MOMENT);
    stage.cluster.start(Place::Alternate);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Alternate]);
    stage.hosts_notice_nothing();
    // The one in use dies while the other one is there again with a journal from before.
    stage.cluster.start(Place::Relay);
    stage.cluster.kill(Place::Alternate);
    wait_lanes(&mut stage.cluster, Place::Primary, &[Place::Relay]);
    stage.hosts_notice_nothing();
    stage.cluster.start(Place::Alternate);
    stage.take_over();
    stage.cluster.start(Place::Primary);
    stage.cluster.wait_paired();
    stage.both_hold_the_same(Place::Secondary);
}

#[test]
fn a_primary_that_dies_in_the_middle_of_a_switch_serves_all_it_has_answered() {
    let mut stage = Stage::begin(shape(RELAYS, "", FAILOVER));
    let mut in_use = Place::Relay;
    for millis in [300, 1050, 1200, 2100] {
        stage.cluster.kill(in_use);
        pause(Duration::from_millis(millis));
        stage.cluster.kill(Place::Primary);
        stage.cluster.start(Place::Primary);
        // Where nothing was asked for yet, only this lane has what hosts were told last, and the start waits for it.
        pause(MOMENT);
        stage.cluster.start(in_use);
        let group = stage.cluster.wait_serving(Place::Primary);
        let found = RELAYS.iter().find(|place| group.lanes[0].node == place.name());
        in_use = *found.unwrap_or_else(|| panic!("{group:?}"));
        println!("killed {millis} ms after its lane: serves again from the one at {in_use:?}");
        stage.load.wait_for_answers();
        stage.verify(Place::Primary);
        stage.load.resume(stage.cluster.uris(Place::Primary));
        stage.load.wait_for_answers();
    }
    stage.both_hold_the_same(Place::Primary);
}

/// The other site must record a change: while it cannot, hosts wait for the relay, or the group leaves its lanes if it may.
#[test]
fn a_relay_that_dies_while_the_sites_are_cut_is_waited_for() {
    let Some(mut scene) = Scene::with(shape(RELAYS, "", FAILOVER)) else { return };
    scene.network.cut(Place::Primary, Place::Secondary);
    scene.hosts_go_on();
    scene.cluster.kill(Place::Relay);
    scene.cluster.node(Place::Primary).wait("without its lane", LIMIT, |group| {
        !group.lanes.iter().any(|lane| lane.node == Place::Relay.name() && lane.connected)
    });
    pause(MOMENT * 3);
    scene.network.heal();
    wait_lanes(&mut scene.cluster, Place::Primary, &[Place::Alternate]);
    notice_nothing(&scene.load);
    scene.cluster.start(Place::Relay);
    scene.load.verify(&scene.cluster.uris(Place::Primary));
    scene.cluster.wait_paired();
    scene.cluster.compare(Place::Primary);
}

/// What memory does not hold any more no other lane can get: the lanes are left by the dirty map, and a round follows.
#[test]
fn past_the_memory_for_another_lane_the_lanes_are_left_and_a_round_follows() {
    let keys = "lane_set = \"failover\"\nresend = \"16MiB\"\nmode = \"max-availability\"\n";
    let shape = Shape { keys: "", ring_mib: 256, ..shape(RELAYS, "", keys) };
    let Some(mut scene) = Scene::with(shape) else { return };
    scene.network.isolate(Place::Secondary);
    scene.wait_state(Place::Secondary, "detached");
    let sealed = |scene: &mut Scene| {
        let group = scene.cluster.group(Place::Primary);
        group.lanes.first().and_then(|lane| lane.watermarks.sealed).unwrap_or(0)
    };
    let before = sealed(&mut scene);
    wait_for("more than memory holds should be written", LIMIT, || {
        (sealed(&mut scene) > before + (20 << 20)).then_some(())
    });
    scene.cluster.kill(Place::Relay);
    scene.network.heal();
    scene.wait_state(Place::Primary, "degraded");
    notice_nothing(&scene.load);
    scene.cluster.start(Place::Relay);
    scene.cluster.wait_paired();
    notice_nothing(&scene.load);
    scene.load.verify(&scene.cluster.uris(Place::Primary));
    scene.cluster.compare(Place::Primary);
}
