//! Disks that do a part of what they are asked for, and say so: what is left is asked for again, or is an error. It is never taken
//! for done.
//!
//! The disks are files of a FUSE server of the rig, which needs root.

use std::fs;

use midspan::nbd_client::Client;

use rig::{Cluster, Early, LIMIT, Load, Place, Shape, may_mount};

/// Bytes of each write of the second test.
const PIECE: usize = 64 << 10;

/// All journals and all volumes end reads and writes early, under load, over restarts of all nodes and a takeover.
#[test]
fn what_disks_leave_out_is_asked_for_again() {
    if !may_mount() {
        return;
    }
    let mut cluster = Cluster::new(Shape { ring_mib: 64, ..Shape::new(1, 16) });
    let mut paths: Vec<_> = Place::ALL.iter().map(|place| cluster.journal(*place)).collect();
    paths.extend([Place::Primary, Place::Secondary].map(|place| cluster.disk(place, 1)));
    let disks: Vec<_> = paths.iter().map(|path| Early::in_place_of(path)).collect();
    cluster.run();
    cluster.wait_following();
    let mut load = Load::gentle(&cluster);
    for disk in &disks {
        disk.cut_writes();
        disk.cut_reads();
    }
    load.wait_for_answers();
    // What a restart reads ends early, too: areas are scanned, the own ring, and the tail for a redo.
    for place in [Place::Secondary, Place::Relay, Place::Primary] {
        cluster.kill(place);
        cluster.start(place);
        load.wait_for_answers();
    }
    cluster.wait_paired();
    cluster.kill(Place::Primary);
    load.handle().cut();
    println!("{}", cluster.take_over());
    load.verify(&cluster.uris(Place::Secondary));
    cluster.start(Place::Primary);
    cluster.wait_paired();
    cluster.wait_no_lag(Place::Secondary);
    cluster.stop_all();
    let [here, there] =
        [Place::Primary, Place::Secondary].map(|place| fs::read(cluster.disk(place, 1)).unwrap());
    assert!(here == there, "both sites hold the same");
    for (path, disk) in paths.iter().zip(&disks) {
        println!("{}: {} ended early", path.display(), disk.count());
        assert!(disk.count() > 0, "{} had nothing to leave out", path.display());
    }
    drop(cluster);
}

/// A file system under the relay's journal becomes full within a write. What was not written whole is not confirmed; hosts wait,
/// and get their answers when there is room again.
#[test]
fn a_journal_that_becomes_full_within_a_write_confirms_nothing_of_it() {
    if !may_mount() {
        return;
    }
    let mut cluster = Cluster::new(Shape { ring_mib: 64, ..Shape::new(1, 16) });
    let disk = Early::in_place_of(&cluster.journal(Place::Relay));
    cluster.run();
    cluster.wait_following();
    let mut host = Client::connect(&cluster.uri(Place::Primary, 1), LIMIT).unwrap();
    host.write(0, &[1; PIECE], false).unwrap();
    let before = cluster.wait_caught_up();
    disk.fill_within_a_write();
    let waits = std::thread::spawn(move || {
        host.write(0, &[2; PIECE], false).unwrap();
        host
    });
    super::wait_event(&mut cluster, Place::Relay, "disk_failed", &["writing", "No space left on device"]);
    cluster.node(Place::Primary).wait("stalled", LIMIT, |group| group.state == "stalled");
    assert!(disk.count() > 0 && !waits.is_finished());
    let journaled = cluster.group(Place::Primary).lanes[0].watermarks.journaled;
    assert_eq!(journaled, Some(before), "nothing of it counts");
    disk.heal();
    cluster.kill(Place::Relay);
    cluster.start(Place::Relay);
    drop(waits.join().unwrap());
    cluster.wait_paired();
    cluster.kill(Place::Primary);
    cluster.take_over();
    let mut host = Client::connect(&cluster.uri(Place::Secondary, 1), LIMIT).unwrap();
    let mut found = vec![0; PIECE];
    host.read(0, &mut found).unwrap();
    assert!(found == [2; PIECE]);
    drop(cluster);
}
