//! A ring that fills up: a forecast beforehand, the threshold, hosts that are paced and never answered with an error, what happens
//! when it is full all the same, and the way back.

use midspan::hammer::command::random_run_id;
use midspan::hammer::{Config, Initial, SizeMix};
use midspan_daemon::api::types::{Event, GroupStatus, OverflowStatus};

use rig::{Cluster, LIMIT, Load, MOMENT, Place, Program, Shape, pause, wait_for};

/// A cluster with small rings, and hosts that write a few hundred blocks in a second.
fn scene(site_keys: &'static str) -> (Cluster, Load) {
    let cluster = Cluster::running(Shape { site_keys, ..Shape::new(1, 16) });
    let load = Load::start(Config {
        connections: 1,
        depth: 4,
        seed: random_run_id(),
        sizes: SizeMix::parse("4k:100").unwrap(),
        read_percent: 10,
        rate: Some(300),
        initial: Initial::Zeroes,
        ..Config::new(cluster.uris(Place::Primary))
    });
    load.wait_for_answers();
    (cluster, load)
}

fn overflow(group: &GroupStatus) -> &OverflowStatus {
    group
        .overflow
        .as_ref()
        .unwrap_or_else(|| panic!("a primary in the lanes says how its ring fills: {group:?}"))
}

/// What a takeover now would lose, and what only the relay has beside the primary, bytes.
fn exposed(group: &GroupStatus) -> (Option<u64>, Option<u64>) {
    let exposure = group.exposure.unwrap();
    (exposure.takeover_loses.bytes, exposure.relay_only.bytes)
}

fn told(cluster: &mut Cluster, kind: &str) -> Event {
    wait_for(&format!("the primary should tell `{kind}`"), LIMIT, || {
        cluster.node(Place::Primary).status()?;
        cluster.events(Place::Primary).into_iter().find(|event| event.kind == kind)
    })
}

/// Operations answered within a while.
fn answered_within_a_while(load: &Load) -> u64 {
    let before = load.counts().answered;
    pause(MOMENT * 2);
    load.counts().answered - before
}

fn forecast_is_said(cluster: &mut Cluster, words: &[&str]) {
    let group = cluster.node(Place::Primary).wait("able to say which outage it rides out", LIMIT, |group| {
        group.overflow.as_ref().is_some_and(|overflow| overflow.forecast.outage_seconds.is_some())
    });
    assert_eq!((group.zero_loss, exposed(&group).0), (Some(true), Some(0)), "{group:?}");
    let said = cluster.midspan(Place::Primary, &["status"]).well();
    println!("{said}");
    for word in words.iter().chain(&["the secondary can be away for", "would lose nothing answered"]) {
        assert!(said.contains(word), "{word} is missing in:\n{said}");
    }
}

/// The secondary dies, the ring fills, and hosts are paced: slower and slower, and still answered. Says how many are answered within
/// a while when they are slow.
fn fills_and_paces(cluster: &mut Cluster, load: &Load) -> u64 {
    cluster.kill(Place::Secondary);
    let filling = told(cluster, "ring_filling");
    let began = told(cluster, "throttle_began");
    assert!(filling.seq < began.seq && !began.hint.is_empty(), "{filling:?} {began:?}");
    let group = cluster.node(Place::Primary).wait("paced", LIMIT, |group| {
        let pace = group.overflow.as_ref().and_then(|overflow| overflow.pace_bytes_per_second);
        pace.is_some_and(|pace| pace < 128 << 10)
    });
    let found = overflow(&group);
    assert!(found.throttled && found.above_threshold && found.delayed_writes > 0, "{found:?}");
    // Everything answered is at the relay.
    assert_eq!((group.state.as_str(), group.zero_loss), ("paired", Some(true)), "{group:?}");
    let (loses, relay_only) = exposed(&group);
    assert!(loses == Some(0) && relay_only.is_some_and(|bytes| bytes > 4 << 20), "{group:?}");
    let said = cluster.midspan(Place::Primary, &["status"]).well();
    assert!(said.contains("hosts are paced"), "{said}");
    answered_within_a_while(load)
}

#[test]
fn hosts_are_paced_then_go_on_outside_the_lanes_and_come_back_by_themselves() {
    let keys = "mode = \"max-availability\"\noverflow = \"throttle\"\nthrottle_max_delay = \"500ms\"\n";
    let (mut cluster, mut load) = scene(keys);
    forecast_is_said(
        &mut cluster,
        &["from 80 % of the ring hosts are paced", "hosts go on outside the lanes"],
    );
    let paced = fills_and_paces(&mut cluster, &load);
    // Reads are not held back: one on a connection of its own is answered beside the writes that wait.
    let read = Program::new("qemu-io").args(["-f", "raw", "-c", "read 0 64k"]);
    read.arg(cluster.uri(Place::Primary, 1)).run().well();

    let group = cluster.node(Place::Primary).wait("suspended", LIMIT, |group| group.state == "suspended");
    assert_eq!((group.zero_loss, group.overflow.is_none()), (Some(false), true), "{group:?}");
    let group = cluster
        .node(Place::Primary)
        .wait("alone with what it answered", LIMIT, |group| exposed(group).0.is_some_and(|bytes| bytes > 0));
    assert!(group.zero_loss_why.contains("outside the lanes"), "{group:?}");
    assert_eq!(group.exposure.unwrap().primary_only, group.exposure.unwrap().takeover_loses);
    let free = answered_within_a_while(&load);
    println!(
        "within {} s {paced} operations were answered when paced, {free} outside the lanes",
        (MOMENT * 2).as_secs()
    );
    assert!(paced > 0 && free > paced * 2, "{paced} when paced, {free} when not");
    let [began, ended, left] =
        ["throttle_began", "throttle_ended", "left_the_lanes"].map(|kind| told(&mut cluster, kind));
    assert!(began.seq < ended.seq && began.seq < left.seq, "{began:?} {ended:?} {left:?}");
    assert!(left.message.contains("the ring is full"), "{left:?}");

    cluster.start(Place::Secondary);
    cluster.wait_paired();
    assert!(told(&mut cluster, "back_in_the_lanes").seq > left.seq);
    assert!(told(&mut cluster, "round_ended").seq > left.seq);
    let group =
        cluster.node(Place::Primary).wait("without loss", LIMIT, |group| group.zero_loss == Some(true));
    assert_eq!((exposed(&group).0, group.zero_loss_why.as_str()), (Some(0), ""), "{group:?}");
    load.wait_for_answers();
    let verdict = load.verify(&cluster.uris(Place::Primary));
    println!("{} answered, lost: {}", verdict.answered, verdict.lost);
    cluster.compare(Place::Primary);
}

#[test]
fn hosts_are_paced_then_wait_and_go_on_when_the_secondary_is_back() {
    let (mut cluster, mut load) = scene("throttle_max_delay = \"500ms\"\n");
    forecast_is_said(&mut cluster, &["from 80 % of the ring hosts are paced", "hosts wait"]);
    let paced = fills_and_paces(&mut cluster, &load);
    assert!(paced > 0, "hosts are slow, and answered");
    cluster.node(Place::Primary).wait("full", LIMIT, |group| group.lanes[0].ring.full);
    // Not one answer that a takeover would lose, and no error while hosts wait.
    let group = cluster.group(Place::Primary);
    assert_eq!((group.zero_loss, exposed(&group).0), (Some(true), Some(0)), "{group:?}");
    cluster.start(Place::Secondary);
    let drained = told(&mut cluster, "ring_drained");
    let ended = told(&mut cluster, "throttle_ended");
    assert!(ended.message.contains("writes were held back"), "{ended:?} {drained:?}");
    load.wait_for_answers();
    load.stop();
    cluster.wait_no_lag(Place::Primary);
    cluster.kill(Place::Primary);
    println!("{}", cluster.take_over());
    load.verify(&cluster.uris(Place::Secondary));
}

#[test]
fn a_policy_that_contradicts_the_mode_is_refused_with_its_line() {
    let cluster = Cluster::new(Shape { site_keys: "overflow = \"suspend\"\n", ..Shape::new(1, 16) });
    let config = cluster.config(Place::Primary);
    let said = cluster.format(Place::Primary);
    said.badly(&["group[0].overflow", "site-a.toml:", "max-protection"]);
    let check = Program::new(rig::midspan()).args(["config", "check"]).arg(&config).run();
    check.badly(&["group[0].overflow", "allowed are \"throttle\" and \"stall\""]);
}
