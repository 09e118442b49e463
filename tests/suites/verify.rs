//! `midspan verify`: no false difference whatever hosts write meanwhile; a flipped bit on either site's disk is found, listed
//! and repaired; it can be ended, and is refused where the sites are not to hold the same.

use std::fs;

use midspan::hammer::command::random_run_id;
use midspan::hammer::random::Seeded;
use midspan::hammer::{Config, Initial, OnDisconnect, SizeMix};
use midspan_daemon::api::types::{OperationState, VerifyOutcome, VerifyProgress};

use rig::{Cluster, GROUP, LIMIT, Load, Place, Shape, flip, wait_for};

const MIB: u64 = 1 << 20;
const PIECE: u64 = 128 * 1024;

/// Runs it to its end; with the exit code.
fn verify(cluster: &Cluster, more: &[&str], code: i32) -> VerifyOutcome {
    let arguments = [&["verify", GROUP, "--output", "json"], more].concat();
    let said = cluster.midspan(Place::Primary, &arguments);
    assert_eq!(said.status.code(), Some(code), "{said}");
    let last: VerifyProgress =
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said}"));
    let outcome = last.outcome.unwrap_or_else(|| panic!("no outcome: {said}"));
    println!("{}", outcome.statement);
    outcome
}

/// Volume, offset and length of what differs.
fn ranges(outcome: &VerifyOutcome) -> Vec<(&str, u64, u64)> {
    outcome.differences.iter().map(|found| (found.volume.as_str(), found.offset, found.length)).collect()
}

/// Hosts that write a volume, parts of blocks included, with overlaps.
fn busy(cluster: &Cluster, volume: u16, rate: u32) -> Load {
    let load = Load::start(Config {
        connections: 4,
        seed: random_run_id(),
        unit_bytes: 512,
        sizes: SizeMix::parse("512:10,4k:60,16k:20,64k:10").unwrap(),
        rate: Some(rate),
        on_disconnect: OnDisconnect::Reconnect { give_up_after: LIMIT },
        initial: Initial::Zeroes,
        ..Config::new(vec![cluster.uri(Place::Primary, volume)])
    });
    load.wait_for_answers();
    load
}

#[test]
fn nothing_that_hosts_write_meanwhile_is_a_difference() {
    // Few pieces, and each is written all the time.
    let mut cluster = Cluster::running(Shape::new(1, 2));
    let mut load = busy(&cluster, 1, 4000);
    let mut answered = load.handle().counts().answered;
    for _ in 0..60 {
        let outcome = verify(&cluster, &[], 0);
        assert!(outcome.complete && outcome.compared_bytes == 2 * MIB, "{outcome:?}");
        assert_eq!((outcome.different_bytes, outcome.differences.len()), (0, 0), "{outcome:?}");
        load.wait_for_answers();
        let now = load.handle().counts().answered;
        assert!(now > answered, "hosts write beside it");
        answered = now;
    }
    load.verify(&cluster.uris(Place::Primary));
    cluster.compare(Place::Primary);
}

/// What the secondary redoes after its restart stands on disks that hold later writes already: it must not be compared.
#[test]
fn a_secondary_that_is_killed_meanwhile_makes_no_difference() {
    let mut cluster = Cluster::running(Shape::new(1, 16));
    let mut load = busy(&cluster, 1, 1500);
    for _ in 0..3 {
        let log = cluster.folder().file("verify");
        let arguments = ["verify", GROUP, "--rate", "4MiB", "--output", "json"];
        let mut run = cluster.ask_midspan(Place::Primary, &arguments).start(&log);
        wait_for("something should be compared", LIMIT, || {
            cluster.group(Place::Primary).verify.filter(|found| found.compared_bytes > MIB)
        });
        cluster.kill(Place::Secondary);
        cluster.start(Place::Secondary);
        let code = run.wait(LIMIT).code();
        let last: VerifyProgress =
            serde_json::from_str(&fs::read_to_string(log.with_extension("out")).unwrap()).unwrap();
        let outcome = last.outcome.unwrap();
        println!("{}", outcome.statement);
        assert_eq!(outcome.different_bytes, 0, "{outcome:?}");
        assert_eq!(code, Some(i32::from(!outcome.complete)), "{outcome:?}");
    }
    cluster.wait_paired();
    assert!(verify(&cluster, &[], 0).complete);
    load.verify(&cluster.uris(Place::Primary));
    cluster.compare(Place::Primary);
}

#[test]
fn a_flipped_bit_on_either_disk_is_found_listed_and_repaired_under_load() {
    let cluster = Cluster::new(Shape::new(2, 8));
    let mut dice = Seeded::new(5, 0);
    let noise: Vec<u8> = (0..MIB).flat_map(|_| dice.next_word().to_le_bytes()).collect();
    for place in [Place::Primary, Place::Secondary] {
        fs::write(cluster.disk(place, 2), &noise).unwrap();
    }
    let mut cluster = cluster;
    cluster.run();
    cluster.wait_following();
    let mut load = busy(&cluster, 1, 500);
    assert!(ranges(&verify(&cluster, &[], 0)).is_empty());

    // Two neighbouring pieces and one for itself, behind the secondary's back.
    let there = cluster.disk(Place::Secondary, 2);
    for at in [3 * MIB + 777, 3 * MIB + PIECE, 8 * MIB - 1] {
        flip(&there, at);
    }
    let expected = [("v2", 3 * MIB, 2 * PIECE), ("v2", 8 * MIB - PIECE, PIECE)];
    let outcome = verify(&cluster, &["--volume", "v2"], 6);
    assert_eq!(ranges(&outcome), expected);
    assert!(outcome.complete && outcome.different_bytes == 3 * PIECE && !outcome.repairs, "{outcome:?}");
    let found = |cluster: &Cluster| {
        cluster.events(Place::Primary).into_iter().filter(|event| event.kind == "verify_found").count()
    };
    assert_eq!(found(&cluster), 1, "the primary tells of it");

    let words =
        ["differs: volume v2, offset 3145728, 256 KiB", "differs: volume v2, offset 8257536, 128 KiB"];
    println!("{}", cluster.midspan(Place::Primary, &["verify", GROUP]).with_code(6, &words));
    let outcome = verify(&cluster, &["--repair"], 6);
    assert_eq!(ranges(&outcome), expected);
    assert!(outcome.repairs, "{outcome:?}");
    wait_for("a round should send what differs", LIMIT, || {
        let done = |kind: &str| cluster.events(Place::Primary).iter().any(|event| event.kind == kind);
        (done("round_ended")).then_some(())
    });
    cluster.wait_paired();
    assert!(ranges(&verify(&cluster, &[], 0)).is_empty(), "it is repaired");

    // On the primary's disk it is as much a difference: which site is right is the operator's question.
    let here = cluster.disk(Place::Primary, 2);
    flip(&here, MIB + 5);
    assert_eq!(ranges(&verify(&cluster, &[], 6)), [("v2", MIB, PIECE)]);
    flip(&here, MIB + 5);
    assert!(ranges(&verify(&cluster, &[], 0)).is_empty());

    load.verify(&[cluster.uri(Place::Primary, 1)]);
    cluster.compare(Place::Primary);
    assert!(fs::read(here).unwrap() == noise, "nothing has changed the primary's volume");
}

#[test]
fn differences_come_back_by_either_way_of_control_information_alone() {
    for way in ["relay", "direct"] {
        let mut cluster = Cluster::new(Shape::new(1, 8));
        for place in [Place::Primary, Place::Secondary] {
            cluster.write_config(place, |text| {
                text.replace(
                    "initial = \"equal\"\n",
                    &format!("initial = \"equal\"\ncontrol_path = \"{way}\"\n"),
                )
            });
        }
        cluster.run();
        cluster.wait_following();
        cluster.wait_paired();
        flip(&cluster.disk(Place::Secondary, 1), MIB);
        assert_eq!(ranges(&verify(&cluster, &[], 6)), [("v1", MIB, PIECE)], "by {way}");
    }
}

#[test]
fn it_is_ended_by_a_word_and_refused_where_it_makes_no_sense() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    cluster.wait_paired();
    cluster.midspan(Place::Secondary, &["verify", GROUP]).with_code(4, &["is its secondary"]);
    cluster.midspan(Place::Primary, &["verify", GROUP, "--volume", "none"]).with_code(4, &["no such volume"]);
    cluster.midspan(Place::Primary, &["verify", GROUP, "--cancel"]).with_code(4, &["no verify is running"]);

    // Two seconds a piece: it does not end by itself while this test looks.
    let log = cluster.folder().file("verify");
    let mut slow = cluster.ask_midspan(Place::Primary, &["verify", GROUP, "--rate", "64KiB"]).start(&log);
    let number = wait_for("the verify should run", LIMIT, || {
        let operations = cluster.operations(Place::Primary);
        let runs = operations.into_iter().find(|o| o.kind == "verify" && o.state == OperationState::Running);
        runs.filter(|found| found.phase == "comparing").map(|found| found.operation)
    });
    wait_for("the status should show it", LIMIT, || cluster.group(Place::Primary).verify);
    let other = ["verify", GROUP, "--repair"];
    cluster.midspan(Place::Primary, &other).with_code(4, &["another verify is running"]);
    cluster.midspan(Place::Primary, &["operations", "--cancel", &number.to_string()]).well();
    assert_eq!(slow.wait(LIMIT).code(), Some(1), "not everything was compared");
    assert!(cluster.group(Place::Primary).verify.is_none());
    assert_eq!(verify(&cluster, &[], 0).compared_bytes, 8 * MIB);
}
