//! The hammer against real servers: what is right holds, and what is wrong is found.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod servers;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use midspan::clock::Clock;
use midspan::hammer::{Config, Hammer, Handle, Ledger, OnDisconnect, SizeMix, Verdict};
use servers::liar::{Liar, Lie};
use servers::{Folder, Server, pause};

const PATIENCE: Duration = Duration::from_secs(30);
const BLOCK: usize = 4096;

/// A small volume with much overlap; page caches let a read see a write half done.
fn config(uris: &[&str]) -> Config {
    Config {
        span_bytes: Some(8 << 20),
        hot_bytes: 1 << 20,
        tolerate_torn_reads: true,
        ..Config::new(uris.iter().map(|uri| (*uri).to_owned()).collect())
    }
}

/// One connection that writes single blocks, one at a time, to very few places.
fn simple(uri: &str) -> Config {
    Config {
        connections: 1,
        depth: 1,
        span_bytes: Some(1 << 20),
        hot_bytes: 1 << 20,
        sizes: SizeMix::only(4096),
        read_percent: 0,
        flush_percent: 0,
        ..Config::new(vec![uri.to_owned()])
    }
}

fn run_id() -> u64 {
    midspan::hammer::command::random_run_id()
}

fn until_answered(handle: &Handle, count: u64) {
    let since = Clock::starting_at(0);
    while handle.counts().answered < count {
        assert!(since.elapsed() < Duration::from_secs(60), "{:?} {:?}", handle.counts(), handle.messages());
        pause(2);
    }
}

fn verify(ledger: &Ledger, uris: &[&str]) -> Verdict {
    let uris: Vec<String> = uris.iter().map(|uri| (*uri).to_owned()).collect();
    ledger.verify(&uris, PATIENCE, |_| {}).unwrap()
}

fn assert_held(ledger: &Ledger, uris: &[&str]) -> Verdict {
    let verdict = verify(ledger, uris);
    assert!(verdict.held(), "{verdict:#?}");
    verdict
}

#[test]
fn a_clean_run_holds_with_every_kind_of_operation_on_two_volumes() {
    let folder = Folder::new();
    let Some(one) = Server::qemu_nbd(&folder.disk("one", 8 << 20), &folder.path("one.sock")) else { return };
    let Some(two) = Server::nbdkit_memory("9M") else { return };
    let uris = [one.uri.as_str(), two.uri.as_str()];
    let config = Config { zero_percent: 5, trim_percent: 5, trims_read_zero: false, ..config(&uris) };
    let handle = Hammer::start(config, run_id()).unwrap();
    until_answered(&handle, 20_000);
    let snapshot = handle.snapshot();
    assert!(
        snapshot.connected == 8 && snapshot.iops > 1.0 && snapshot.p99_us >= snapshot.p50_us,
        "{snapshot:?}"
    );
    let ledger = handle.into_ledger();
    assert!(ledger.counts.reads > 1000 && ledger.counts.flushes > 10, "{:?}", ledger.counts);
    assert_eq!((ledger.counts.errors, ledger.counts.possibly_answered), (0, 0), "{:?}", ledger.counts);
    let verdict = assert_held(&ledger, &uris);
    assert_eq!(verdict.checked_blocks, 2 * 2048);
    // The volumes in the wrong order are another content.
    let crossed = verify(&ledger, &[uris[1], uris[0]]);
    assert!(crossed.corrupt > 100, "{crossed:#?}");
}

#[test]
fn a_clean_run_of_sub_block_writes_holds() {
    let folder = Folder::new();
    let Some(server) = Server::qemu_nbd(&folder.disk("disk", 8 << 20), &folder.path("sock")) else { return };
    let sizes = SizeMix::parse("512:40,1536:20,4k:20,10k:10,64k:10").unwrap();
    let config = Config { unit_bytes: 512, hot_bytes: 128 << 10, sizes, ..config(&[&server.uri]) };
    let handle = Hammer::start(config, run_id()).unwrap();
    until_answered(&handle, 10_000);
    assert_held(&handle.into_ledger(), &[&server.uri]);
}

#[test]
fn a_copy_from_the_middle_of_the_run_has_lost_writes() {
    let folder = Folder::new();
    let (disk, copy) = (folder.disk("disk", 8 << 20), folder.path("copy"));
    let Some(server) = Server::qemu_nbd(&disk, &folder.path("sock")) else { return };
    let handle = Hammer::start(config(&[&server.uri]), run_id()).unwrap();
    until_answered(&handle, 2_000);
    fs::copy(&disk, &copy).unwrap();
    let before_now = handle.counts().answered;
    until_answered(&handle, before_now + 2_000);
    let ledger = handle.into_ledger();
    assert_held(&ledger, &[&server.uri]);
    let old = Server::qemu_nbd(&copy, &folder.path("old.sock")).unwrap();
    let verdict = verify(&ledger, &[&old.uri]);
    assert!(verdict.lost > 100 && verdict.lost_blocks >= verdict.lost, "{verdict:#?}");
    assert!(verdict.examples.iter().any(|told| told.contains("is missing")), "{verdict:#?}");
}

/// Two blocks of the file that hold data.
fn two_written_blocks(disk: &Path) -> (u64, u64) {
    let bytes = fs::read(disk).unwrap();
    let mut written = bytes.chunks(BLOCK).zip(0..).filter(|(block, _)| block.iter().any(|byte| *byte != 0));
    (written.next().unwrap().1 * BLOCK as u64, written.next().unwrap().1 * BLOCK as u64)
}

fn block_at(disk: &Path, offset: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    fs::File::open(disk).unwrap().read_exact_at(&mut block, offset).unwrap();
    block
}

fn put_at(disk: &Path, offset: u64, bytes: &[u8]) {
    fs::File::options().write(true).open(disk).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_flipped_byte_and_swapped_blocks_are_corrupt() {
    let folder = Folder::new();
    let disk = folder.disk("disk", 8 << 20);
    let Some(server) = Server::qemu_nbd(&disk, &folder.path("sock")) else { return };
    let handle = Hammer::start(config(&[&server.uri]), run_id()).unwrap();
    until_answered(&handle, 1_000);
    let ledger = handle.into_ledger();
    assert_held(&ledger, &[&server.uri]);

    let (one, two) = two_written_blocks(&disk);
    let (first, second) = (block_at(&disk, one), block_at(&disk, two));
    put_at(&disk, one + 1000, &[first[1000] ^ 1]);
    let verdict = verify(&ledger, &[&server.uri]);
    assert_eq!((verdict.corrupt, verdict.lost), (1, 0), "{verdict:#?}");
    assert!(verdict.examples[0].contains("damaged"), "{verdict:#?}");

    put_at(&disk, one, &second);
    put_at(&disk, two, &first);
    let verdict = verify(&ledger, &[&server.uri]);
    assert_eq!((verdict.corrupt, verdict.lost), (2, 0), "{verdict:#?}");
    assert!(verdict.examples.iter().all(|told| told.contains("misplaced")), "{verdict:#?}");

    put_at(&disk, one, &first);
    put_at(&disk, two, &[&second[..512], &[0; 3584]].concat());
    let verdict = verify(&ledger, &[&server.uri]);
    assert_eq!((verdict.corrupt, verdict.lost), (1, 0), "{verdict:#?}");
    assert!(verdict.examples[0].contains("torn"), "{verdict:#?}");
}

#[test]
fn the_last_answered_write_of_one_block_is_missed() {
    let folder = Folder::new();
    let (disk, ledger_path) = (folder.disk("disk", 1 << 20), folder.path("ledger"));
    let Some(server) = Server::qemu_nbd(&disk, &folder.path("sock")) else { return };
    let handle = Hammer::start(simple(&server.uri), run_id()).unwrap();
    until_answered(&handle, 2_000);
    handle.into_ledger().save(&ledger_path).unwrap();
    let before = fs::read(&disk).unwrap();

    let handle = Hammer::resume(simple(&server.uri), Ledger::load(&ledger_path).unwrap()).unwrap();
    // The first run may have gone on a good while before it was stopped.
    let before_now = handle.counts().answered;
    until_answered(&handle, before_now + 50);
    let ledger = handle.into_ledger();
    assert_held(&ledger, &[&server.uri]);
    let after = fs::read(&disk).unwrap();
    let changed =
        (0..after.len()).step_by(BLOCK).find(|at| before[*at..at + BLOCK] != after[*at..at + BLOCK]).unwrap();

    put_at(&disk, changed as u64, &before[changed..changed + BLOCK]);
    let verdict = verify(&ledger, &[&server.uri]);
    assert_eq!((verdict.lost, verdict.lost_blocks, verdict.corrupt), (1, 1, 0), "{verdict:#?}");
    put_at(&disk, changed as u64, &[0; BLOCK]);
    let verdict = verify(&ledger, &[&server.uri]);
    assert_eq!((verdict.lost, verdict.corrupt), (1, 0), "{verdict:#?}");
    put_at(&disk, changed as u64, &after[changed..changed + BLOCK]);
    assert_held(&ledger, &[&server.uri]);
}

#[test]
fn what_was_there_before_the_run_stays_where_nothing_is_written() {
    let folder = Folder::new();
    let disk = folder.disk("disk", 8 << 20);
    let old: Vec<u8> = (0..8 << 20_u32).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(&disk, &old).unwrap();
    let Some(server) = Server::qemu_nbd(&disk, &folder.path("sock")) else { return };
    let handle = Hammer::start(config(&[&server.uri]), run_id()).unwrap();
    until_answered(&handle, 100);
    let ledger = handle.into_ledger();
    assert_held(&ledger, &[&server.uri]);
    let now = fs::read(&disk).unwrap();
    let same = (0..now.len()).step_by(BLOCK).find(|at| old[*at..at + BLOCK] == now[*at..at + BLOCK]).unwrap();
    let other =
        (0..now.len()).step_by(BLOCK).find(|at| old[*at..at + BLOCK] != now[*at..at + BLOCK]).unwrap();
    put_at(&disk, same as u64 + 7, &[old[same + 7] ^ 1]);
    let verdict = verify(&ledger, &[&server.uri]);
    assert_eq!((verdict.lost, verdict.corrupt), (0, 1), "{verdict:#?}");
    put_at(&disk, other as u64, &old[other..other + BLOCK]);
    let verdict = verify(&ledger, &[&server.uri]);
    assert_eq!((verdict.lost, verdict.corrupt), (1, 1), "{verdict:#?}");
}

#[test]
fn a_server_killed_and_started_again_on_the_same_file_loses_nothing() {
    let folder = Folder::new();
    let (disk, socket) = (folder.disk("disk", 8 << 20), folder.path("sock"));
    let Some(mut server) = Server::qemu_nbd(&disk, &socket) else { return };
    let on_disconnect = OnDisconnect::Reconnect { give_up_after: PATIENCE };
    let handle = Hammer::start(Config { on_disconnect, ..config(&[&server.uri]) }, run_id()).unwrap();
    for round in 1..=5 {
        until_answered(&handle, round * 1_000);
        server.kill();
        pause(30);
        server = Server::qemu_nbd(&disk, &socket).unwrap();
    }
    let before = handle.counts().answered;
    until_answered(&handle, before + 1_000);
    let ledger = handle.into_ledger();
    assert!(ledger.counts.disconnects >= 20 && ledger.counts.reconnects >= 20, "{:?}", ledger.counts);
    assert!(ledger.counts.possibly_answered > 0, "{:?}", ledger.counts);
    assert_held(&ledger, &[&server.uri]);
}

#[test]
fn a_run_that_stops_with_its_server_can_be_judged_by_another_process_later() {
    let folder = Folder::new();
    let (disk, path) = (folder.disk("disk", 8 << 20), folder.path("ledger"));
    let Some(server) = Server::qemu_nbd(&disk, &folder.path("sock")) else { return };
    let handle = Hammer::start(config(&[&server.uri]), run_id()).unwrap();
    until_answered(&handle, 1_000);
    server.kill();
    assert!(handle.wait_finished(PATIENCE));
    assert_eq!(handle.snapshot().connected, 0);
    let ledger = handle.into_ledger();
    assert!(ledger.counts.possibly_answered > 0, "{:?}", ledger.counts);
    ledger.save(&path).unwrap();

    let other = Server::qemu_nbd(&disk, &folder.path("other.sock")).unwrap();
    let loaded = Ledger::load(&path).unwrap();
    assert_held(&loaded, &[&other.uri]);
    let handle = Hammer::resume(config(&[&other.uri]), loaded).unwrap();
    let before = handle.counts().answered;
    until_answered(&handle, before + 1_000);
    assert_held(&handle.into_ledger(), &[&other.uri]);
}

#[test]
fn a_server_that_hangs_does_not_keep_the_hammer_from_stopping() {
    let folder = Folder::new();
    let Some(server) = Server::qemu_nbd(&folder.disk("disk", 8 << 20), &folder.path("sock")) else { return };
    let config = Config { drain_timeout: Duration::from_millis(200), ..config(&[&server.uri]) };
    let handle = Hammer::start(config, run_id()).unwrap();
    until_answered(&handle, 500);
    server.signal("STOP");
    pause(50);
    let since = Clock::starting_at(0);
    let ledger = handle.into_ledger();
    assert!(since.elapsed() < Duration::from_secs(10));
    assert!(ledger.counts.possibly_answered > 0, "{:?}", ledger.counts);
    server.signal("CONT");
    pause(300);
    // The server may have done what it was sent, or not: both is right.
    assert_held(&ledger, &[&server.uri]);
}

#[test]
fn an_operation_rate_is_kept() {
    let folder = Folder::new();
    let liar = Liar::start(&folder.path("sock"), vec![0; 8 << 20], Lie::Honest);
    let handle =
        Hammer::start(Config { rate: Some(500), read_percent: 0, ..config(&[&liar.uri]) }, run_id()).unwrap();
    pause(1_000);
    let counts = handle.counts();
    assert!(counts.answered + counts.flushes <= 600, "{counts:?}");
    assert_held(&handle.into_ledger(), &[&liar.uri]);
}

/// A run against a server that lies, then its verdict.
fn verdict_on(lie: Lie, answered: u64) -> (Verdict, midspan::hammer::Counts) {
    let folder = Folder::new();
    let liar = Liar::start(&folder.path("sock"), vec![0; 8 << 20], lie);
    let config = Config { tolerate_torn_reads: false, ..config(&[&liar.uri]) };
    let handle = Hammer::start(config, run_id()).unwrap();
    until_answered(&handle, answered);
    let ledger = handle.into_ledger();
    liar.lying.store(false, std::sync::atomic::Ordering::Relaxed);
    (verify(&ledger, &[&liar.uri]), ledger.counts)
}

#[test]
fn an_honest_server_that_does_one_thing_after_the_other_holds() {
    let (verdict, counts) = verdict_on(Lie::Honest, 5_000);
    assert!(verdict.held(), "{verdict:#?}");
    assert_eq!(counts.torn_reads, 0);
}

#[test]
fn a_forgotten_write_is_found_by_reads_or_in_the_end() {
    let (verdict, _) = verdict_on(Lie::ForgetsWrites { every: 10 }, 3_000);
    assert!(verdict.lost > 0 && verdict.corrupt == 0, "{verdict:#?}");
    assert!(verdict.stale_reads > 0 && verdict.corrupt_reads == 0, "{verdict:#?}");
}

#[test]
fn a_read_of_what_was_before_is_found_although_the_disk_is_right() {
    let (verdict, _) = verdict_on(Lie::ReadsOld { every: 10 }, 3_000);
    assert!(verdict.stale_reads > 0 && !verdict.held(), "{verdict:#?}");
    assert_eq!((verdict.lost, verdict.corrupt, verdict.corrupt_reads), (0, 0, 0), "{verdict:#?}");
}

#[test]
fn a_write_beside_its_place_is_found() {
    let (verdict, _) = verdict_on(Lie::WritesBeside { every: 10 }, 3_000);
    assert!(verdict.corrupt > 0 && verdict.lost > 0, "{verdict:#?}");
}

#[test]
fn a_torn_write_is_found() {
    let (verdict, _) = verdict_on(Lie::Tears { every: 10 }, 3_000);
    assert!(verdict.corrupt > 0, "{verdict:#?}");
    assert!(verdict.examples.iter().any(|told| told.contains("torn")), "{verdict:#?}");
}

#[test]
fn a_refused_write_may_be_there_or_not() {
    let (verdict, counts) = verdict_on(Lie::RefusesWrites { every: 10 }, 1_000);
    assert!(counts.errors > 50 && counts.possibly_answered == counts.errors, "{counts:?}");
    assert!(verdict.held(), "{verdict:#?}");
}

#[test]
fn after_a_read_of_an_unanswered_write_the_content_may_not_go_back() {
    let folder = Folder::new();
    let liar = Liar::start(&folder.path("sock"), vec![0; 1 << 20], Lie::RefusesWrites { every: 2 });
    let config =
        Config { read_percent: 50, span_bytes: Some(64 << 10), hot_bytes: 64 << 10, ..simple(&liar.uri) };
    let handle = Hammer::start(config, run_id()).unwrap();
    until_answered(&handle, 100);
    let ledger = handle.into_ledger();
    assert_held(&ledger, &[&liar.uri]);
    let last = liar.disk();
    // Each block was read many times since its first write, so nothing but its latest known content is right.
    liar.change(|disk| disk.fill(0));
    let verdict = verify(&ledger, &[&liar.uri]);
    assert!(verdict.lost > 8 && verdict.corrupt == 0, "{verdict:#?}");
    liar.change(|disk| disk.copy_from_slice(&last));
    assert_held(&ledger, &[&liar.uri]);
}

#[test]
fn cut_connections_come_back() {
    let folder = Folder::new();
    let liar = Liar::start(&folder.path("sock"), vec![0; 8 << 20], Lie::Honest);
    let on_disconnect = OnDisconnect::Reconnect { give_up_after: PATIENCE };
    let handle = Hammer::start(Config { on_disconnect, ..config(&[&liar.uri]) }, run_id()).unwrap();
    for round in 1..10 {
        until_answered(&handle, round * 300);
        liar.cut();
    }
    let before = handle.counts().answered;
    until_answered(&handle, before + 300);
    let ledger = handle.into_ledger();
    assert!(ledger.counts.reconnects >= 20, "{:?}", ledger.counts);
    assert_held(&ledger, &[&liar.uri]);
}
