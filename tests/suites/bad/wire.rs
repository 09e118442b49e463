//! Flipped bits and cut connections between the nodes: found by checksums, sent again, never seen by a host.

use std::time::Duration;

use midspan::hammer::command::random_run_id;
use midspan::hammer::random::Seeded;
use midspan::hammer::{Config, Hammer, Handle, Initial};

use rig::{Cluster, Harm, LIMIT, Meddler, Place, Shape, Way, free_ports, pause, wait_for};

/// Times that harm is done.
const TIMES: u64 = 12;
/// Bytes that pass in between, at most: where frames go, and where only numbers go.
const FRAMES: u64 = 3 << 20;
const NUMBERS: u64 = 8 << 10;

/// A cluster in which one node reaches the relay through a meddler, under load; judged at both sites in the end.
fn meddled(place: Place, way: Way, between: u64, harms: &[Harm]) {
    let mut cluster = Cluster::new(Shape::new(1, 32));
    let [port] = free_ports();
    let relay = cluster.shape().address(Place::Relay);
    let meddler = Meddler::new(port, relay.parse().unwrap());
    cluster.write_config(place, |text| text.replace(&relay, &meddler.address().to_string()));
    for place in Place::ALL {
        cluster.format(place).well();
        cluster.start(place);
    }
    cluster.wait_serving(Place::Primary);
    cluster.wait_following();
    let workload = Config { initial: Initial::Zeroes, ..Config::new(cluster.uris(Place::Primary)) };
    let handle = Hammer::start(workload, random_run_id()).unwrap();
    let seed = random_run_id();
    println!("harms from seed {seed}");
    let mut dice = Seeded::new(seed, 0);
    for time in 0..TIMES {
        let harm = harms[usize::try_from(time).unwrap() % harms.len()];
        meddler.harm(harm, way, dice.below(between));
        wait_for("harm should be done", LIMIT, || (meddler.done() > time).then_some(()));
        // Sometimes again before everything is up.
        if dice.percent(70) {
            wait_for_answers(&handle);
        }
    }
    wait_for_answers(&handle);
    let counts = handle.counts();
    assert_eq!((counts.errors, counts.disconnects), (0, 0), "hosts only wait: {:?}", handle.messages());
    let ledger = handle.into_ledger();
    let verdict = ledger.verify(&cluster.uris(Place::Primary), LIMIT, |_| {}).unwrap();
    assert!(verdict.held() && verdict.answered > 100, "{verdict:#?}");
    cluster.wait_caught_up();
    for place in Place::ALL {
        let group = cluster.group(place);
        assert!(group.lanes.iter().all(|lane| lane.damaged_at.is_none()), "{}: {group:?}", place.name());
    }
    cluster.kill(Place::Primary);
    cluster.take_over();
    let verdict = ledger.verify(&cluster.uris(Place::Secondary), LIMIT, |_| {}).unwrap();
    assert!(verdict.held(), "{verdict:#?}");
}

fn wait_for_answers(handle: &Handle) {
    let before = handle.counts().answered;
    wait_for("hosts should be served", LIMIT, || {
        assert!(!handle.is_finished(), "the workload has ended: {:?}", handle.messages());
        (handle.counts().answered >= before + 20).then_some(())
    });
}

#[test]
fn bits_flipped_on_the_way_to_the_relay_are_found_and_sent_again() {
    meddled(Place::Primary, Way::There, FRAMES, &[Harm::Flip]);
}

#[test]
fn bits_flipped_on_the_way_to_the_secondary_are_found_and_fetched_again() {
    meddled(Place::Secondary, Way::Back, FRAMES, &[Harm::Flip]);
}

#[test]
fn answers_of_the_relay_that_are_flipped_or_cut_are_asked_for_again() {
    meddled(Place::Primary, Way::Back, NUMBERS, &[Harm::Flip, Harm::Cut]);
}

#[test]
fn requests_of_the_secondary_that_are_flipped_or_cut_are_made_again() {
    meddled(Place::Secondary, Way::There, NUMBERS, &[Harm::Flip, Harm::Cut]);
}

#[test]
fn frames_cut_in_the_middle_are_sent_again() {
    meddled(Place::Primary, Way::There, FRAMES, &[Harm::Cut]);
}

#[test]
fn ranges_cut_in_the_middle_are_fetched_again() {
    meddled(Place::Secondary, Way::Back, FRAMES, &[Harm::Cut]);
}

/// The relay is killed while a frame is half received: stopped first, so that the socket is full of it.
#[test]
fn a_relay_that_disappears_in_mid_frame_loses_nothing() {
    let mut cluster = Cluster::running(Shape::new(1, 32));
    let workload = Config { initial: Initial::Zeroes, ..Config::new(cluster.uris(Place::Primary)) };
    let handle = Hammer::start(workload, random_run_id()).unwrap();
    for _ in 0..5 {
        wait_for_answers(&handle);
        cluster.node(Place::Relay).signal("STOP");
        pause(Duration::from_millis(300));
        cluster.kill(Place::Relay);
        cluster.start(Place::Relay);
    }
    wait_for_answers(&handle);
    let counts = handle.counts();
    assert_eq!((counts.errors, counts.disconnects), (0, 0), "hosts only wait: {:?}", handle.messages());
    let ledger = handle.into_ledger();
    let verdict = ledger.verify(&cluster.uris(Place::Primary), LIMIT, |_| {}).unwrap();
    assert!(verdict.held(), "{verdict:#?}");
    cluster.kill(Place::Primary);
    cluster.take_over();
    let verdict = ledger.verify(&cluster.uris(Place::Secondary), LIMIT, |_| {}).unwrap();
    assert!(verdict.held(), "{verdict:#?}");
}
