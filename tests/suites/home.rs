//! The way home: after a takeover the former primary comes back, a round brings it up while hosts go on and nodes are killed,
//! and a planned change of roles brings the group home. Nothing answered is ever missing, and both sites end with the same
//! bytes.
//!
//! `MIDSPAN_SEED` repeats the choices of a run, `MIDSPAN_ROUNDS` asks for more kills.

use std::fs;
use std::time::Duration;

use midspan::hammer::command::random_run_id;
use midspan::hammer::random::Seeded;
use midspan::hammer::{Config, Initial, OnDisconnect, SizeMix};
use midspan::nbd_client::Client;

use rig::{Cluster, GROUP, LIMIT, Load, Place, Shape, pause, wait_for};

/// Kills of each node while the former primary comes back, unless `MIDSPAN_ROUNDS` (50 there, too) says otherwise.
const KILLS: u64 = 4;
/// Bytes of a region: what the dirty map marks at once.
const REGION: u64 = midspan_format::geometry::REGION_BYTES;

/// A workload that leaves room for a round.
fn workload(cluster: &Cluster, seed: u64) -> Config {
    Config {
        connections: 2,
        depth: 8,
        seed,
        hot_bytes: 2 << 20,
        hot_percent: 50,
        zero_percent: 3,
        trim_percent: 2,
        sizes: SizeMix::parse("4k:60,8k:10,16k:10,64k:10,256k:8,1m:2").unwrap(),
        rate: Some(600),
        on_disconnect: OnDisconnect::Reconnect { give_up_after: LIMIT },
        initial: Initial::Zeroes,
        ..Config::new(cluster.uris(Place::Primary))
    }
}

fn seed(name: &str) -> u64 {
    let seed = std::env::var("MIDSPAN_SEED").map_or_else(|_| random_run_id(), |text| text.parse().unwrap());
    println!("{name}: MIDSPAN_SEED={seed} repeats its choices");
    seed
}

fn kills_wanted() -> u64 {
    let asked = std::env::var("MIDSPAN_ROUNDS").ok().map(|text| text.parse::<u64>().unwrap());
    asked.map_or(KILLS, |asked| (asked * KILLS / 50).max(1))
}

/// Writes the configs of both sites after a change, before anything is started.
fn configure(cluster: &Cluster, initial: &str, round_rate: &str) {
    for place in [Place::Primary, Place::Secondary] {
        cluster.write_config(place, |text| {
            text.replace(
                "initial = \"equal\"\n",
                &format!("initial = \"{initial}\"\nround_rate = \"{round_rate}\"\n"),
            )
        });
    }
}

/// Kills each node so many times, at random moments and in random order, while hosts write.
fn harass(cluster: &mut Cluster, load: &Load, dice: &mut Seeded) {
    let mut hand: Vec<Place> = Vec::new();
    for _ in 0..3 * kills_wanted() {
        if hand.is_empty() {
            hand.extend(Place::ALL);
        }
        let place = hand.remove(usize::try_from(dice.below(hand.len() as u64)).unwrap());
        pause(Duration::from_micros(dice.below(500_000)));
        let group = cluster.group(Place::Secondary);
        let round = group.round.map(|round| format!(" with {} % of a round sent", round.percent));
        println!("{} is killed in state {}{}", place.name(), group.state, round.unwrap_or_default());
        cluster.kill(place);
        if dice.percent(50) {
            pause(Duration::from_micros(dice.below(300_000)));
        }
        cluster.start(place);
        if place != Place::Primary {
            load.wait_for_answers();
        }
        cluster.wait_role(place);
    }
}

/// Hands the group home as planned, and waits until hosts are served there.
fn failback(cluster: &mut Cluster) {
    println!("{}", cluster.midspan(Place::Secondary, &["failback", GROUP, "--yes"]).well());
    cluster.wait_serving(Place::Primary);
}

/// There and home again, with kills on the way. The round takes some seconds, so that most of them hit it.
fn there_and_home(name: &str, shape: Shape, round_rate: &str) {
    let seed = seed(name);
    let mut dice = Seeded::new(seed, 1);
    let mut cluster = Cluster::new(shape);
    configure(&cluster, "equal", round_rate);
    cluster.run();
    cluster.wait_following();
    let mut load = Load::start(workload(&cluster, seed));
    load.wait_for_answers();
    pause(Duration::from_millis(500));
    cluster.kill(Place::Primary);
    load.handle().cut();
    println!("{}", cluster.take_over());
    let there = cluster.uris(Place::Secondary);
    let verdict = load.verify(&there);
    println!("after the takeover: {} answered, lost: {}", verdict.answered, verdict.lost);

    load.resume(there.clone());
    load.wait_for_answers();
    cluster.start(Place::Primary);
    harass(&mut cluster, &load, &mut dice);
    cluster.wait_follows(Place::Primary);
    cluster.wait_paired();
    load.wait_for_answers();
    let verdict = load.verify(&there);
    println!("paired again: {} answered, lost: {}", verdict.answered, verdict.lost);

    // In full flow: hosts are let go when the other site has everything, and no request gets an error.
    load.resume(there);
    load.wait_for_answers();
    failback(&mut cluster);
    load.handle().cut();
    let home = cluster.uris(Place::Primary);
    load.verify(&home);
    load.resume(home.clone());
    load.wait_for_answers();
    let verdict = load.verify(&home);
    println!("at home: {} answered, lost: {}", verdict.answered, verdict.lost);
    cluster.wait_paired();
    cluster.compare(Place::Primary);
}

/// What differs fits into the other site's ring: it is staged there, and that site keeps its cut until the round's end.
#[test]
fn every_node_is_killed_on_the_way_home_and_nothing_is_missing() {
    let mut shape = Shape::new(2, 8);
    shape.ring_mib = 64;
    there_and_home("staged", shape, "4MiB");
}

/// What differs is more than the ring holds: the round is written in place, and wraps it several times.
#[test]
fn every_node_is_killed_while_a_round_is_written_in_place_and_nothing_is_missing() {
    there_and_home("in place", Shape::new(2, 16), "8MiB");
}

/// What hosts write to known regions, and nothing else, is sent.
#[test]
fn a_round_sends_what_the_takeover_marked_and_what_was_written_since_and_no_byte_more() {
    let mut cluster = Cluster::running(Shape::new(1, 16));
    let write = |cluster: &Cluster, place: Place, offset: u64, length: usize| {
        let mut host = Client::connect(&cluster.uri(place, 1), LIMIT).unwrap();
        host.write(offset, &vec![0x5a; length], true).unwrap();
        host.disconnect().unwrap();
    };
    let half = 8 << 20;
    // The first half before the takeover, the second half after it.
    for number in 0..16 {
        write(&cluster, Place::Primary, number * 5 * 4096, 30_000);
    }
    cluster.wait_caught_up();
    cluster.kill(Place::Primary);
    cluster.take_over();
    let marked = cluster.group(Place::Secondary).dirty_bytes.unwrap();
    assert!(marked <= half, "{marked} bytes were marked by the takeover");
    // A whole region, a part of one, one of a block over a border, twice the same: five regions.
    let writes = [(0, 65_536), (3 * REGION + 512, 512), (9 * REGION - 512, 1024), (20 * REGION, 4096)];
    for (offset, length) in writes.into_iter().chain(writes) {
        write(&cluster, Place::Secondary, half + offset, length);
    }
    let union = marked + 5 * REGION;
    wait_for("what was written should be marked", LIMIT, || {
        (cluster.group(Place::Secondary).dirty_bytes == Some(union)).then_some(())
    });
    let journaled =
        |cluster: &mut Cluster| cluster.group(Place::Relay).lanes[0].watermarks.journaled.unwrap();
    let before = journaled(&mut cluster);
    cluster.start(Place::Primary);
    cluster.wait_paired();
    let events = cluster.events(Place::Secondary);
    let sent: Vec<_> = events.iter().filter(|event| event.kind == "round_sent").collect();
    assert!(
        matches!(sent.as_slice(), [event] if event.message.contains(&format!("all {union} bytes are sent"))),
        "{union} bytes differ: {events:#?}"
    );
    // The lane carried them once, with heads, and marks without data.
    let carried = journaled(&mut cluster) - before;
    println!("{marked} bytes marked by the takeover, {union} in all, {carried} carried by the lane");
    assert!((union..union + union / 10 + (256 << 10)).contains(&carried), "{carried} bytes for {union}");
    wait_for("nothing should be marked any more", LIMIT, || {
        (cluster.group(Place::Secondary).dirty_bytes == Some(0)).then_some(())
    });
    failback(&mut cluster);
    cluster.wait_paired();
    cluster.compare(Place::Primary);
}

/// The secondary's disk held something else; hosts write from the first moment on.
#[test]
fn a_first_copy_under_load_makes_a_takeover_possible_and_not_before() {
    let seed = seed("first copy");
    let mut cluster = Cluster::new(Shape::new(1, 32));
    configure(&cluster, "copy", "16MiB");
    let garbage: Vec<u8> = (0..4 << 20)
        .scan(Seeded::new(seed, 2), |dice, _: u64| Some(dice.next_word()))
        .flat_map(u64::to_le_bytes)
        .collect();
    fs::write(cluster.disk(Place::Secondary, 1), garbage).unwrap();
    cluster.run();
    let mut load = Load::start(workload(&cluster, seed));
    load.wait_for_answers();
    for how in ["--dry-run", "--yes", "--accept-loss"] {
        let arguments = ["takeover", GROUP, "--yes", how];
        let arguments = if how == "--yes" { &arguments[..3] } else { &arguments[..] };
        println!("{}", cluster.midspan(Place::Secondary, arguments).badly(&["no consistent cut"]));
    }
    load.wait_for_answers();
    cluster.wait_paired();
    load.wait_for_answers();
    cluster.kill(Place::Primary);
    load.handle().cut();
    println!("{}", cluster.take_over());
    let there = cluster.uris(Place::Secondary);
    let verdict = load.verify(&there);
    println!("{} answered, lost: {}", verdict.answered, verdict.lost);
    load.resume(there.clone());
    load.wait_for_answers();
    cluster.start(Place::Primary);
    cluster.wait_paired();
    load.wait_for_answers();
    load.verify(&there);
    failback(&mut cluster);
    load.verify(&cluster.uris(Place::Primary));
    cluster.wait_paired();
    cluster.compare(Place::Primary);
}

#[test]
fn a_switchover_whose_other_site_stands_still_is_cancelled_and_hosts_go_on() {
    // While the other site stands still nothing frees the ring: it holds all that hosts write here.
    let mut cluster = Cluster::running(Shape { ring_mib: 256, ..Shape::new(1, 16) });
    let mut load = Load::start(workload(&cluster, seed("cancel")));
    cluster.wait_paired();
    load.wait_for_answers();
    cluster.node(Place::Secondary).signal("STOP");
    load.wait_for_answers();
    let asked = cluster.ask_midspan(Place::Primary, &["switchover", GROUP, "--yes"]);
    let mut asked = asked.start(&cluster.folder().file("switchover"));
    let number = wait_for("hosts should wait", LIMIT, || {
        let newest = cluster.operations(Place::Primary).pop()?;
        (newest.kind == "switchover" && newest.phase == "draining").then_some(newest.operation)
    });
    println!("{}", cluster.midspan(Place::Primary, &["operations", "--cancel", &number.to_string()]).well());
    assert_eq!(asked.wait(LIMIT).code(), Some(4), "{}", asked.err());
    assert!(asked.err().contains("it was cancelled; this site goes on as primary"), "{}", asked.err());
    // The other site still stands still: hosts need it not.
    load.wait_for_answers();
    cluster.node(Place::Secondary).signal("CONT");
    cluster.wait_paired();
    load.verify(&cluster.uris(Place::Primary));
    let again = cluster.midspan(Place::Primary, &["operations", "--cancel", &number.to_string()]);
    again.badly(&["it has ended"]);
}
