//! The end of rings, buffers and processes: nothing is freed under the kernel, nothing stays in use.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::io::Write;
use std::time::Duration;

use midspan_uring::file::Access;
use midspan_uring::{Address, File, Kind, Listener};
use rig::{Scratch, add, filled, next, next_within, ring, tcp_pair};

#[test]
fn a_ring_dropped_with_operations_in_flight_waits_for_the_kernel() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 8 << 20);
    for round in 0..20 {
        let mut ring = ring();
        let pool = ring.pool().clone();
        let free: Vec<_> = pool.classes().collect();
        let file = add(&mut ring, &path);
        let (mut peer, socket) = tcp_pair(&mut ring);
        let listener =
            ring.add_listener(Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap());
        ring.accept(listener.unwrap(), 0).unwrap();
        ring.recv_exact(socket, pool.take(4096).unwrap(), 4096, 1).unwrap();
        for number in 0..30 {
            let buf = filled(&ring, 4096, 1);
            ring.write(file, buf, 0..4096, number * 4096, true, 2).unwrap();
            let buf = filled(&ring, 65536, 1);
            if number < 8 {
                ring.send(socket, &[(buf.clone(), 0..65536), (buf, 0..65536)], 3).unwrap();
            } else if number < 12 {
                ring.read(file, pool.take(65536).unwrap(), 65536, 0, 3).unwrap();
            }
        }
        ring.zero(file, 4 << 20, 1 << 20, false, 4).unwrap();
        ring.flush(file, 5).unwrap();
        if round % 2 == 0 {
            ring.wait(0, None).unwrap();
        }
        peer.write_all(b"part of it").unwrap();
        drop(ring);
        assert_eq!(pool.classes().collect::<Vec<_>>(), free, "every buffer is back");
        let again = File::open(&path, Access::default());
        assert!(again.is_ok(), "the file is free at once: {again:?}");
        // The memory belongs to the pool alone: a late kernel write would show here.
        let mut bufs: Vec<_> = std::iter::from_fn(|| pool.take(1)).collect();
        bufs.iter_mut().for_each(|buf| buf.bytes_mut().unwrap().fill(0x5a));
        peer.write_all(b"too late").ok();
        assert!(bufs.iter_mut().all(|buf| buf.bytes_mut().unwrap().iter().all(|&byte| byte == 0x5a)));
    }
}

#[test]
fn a_ring_with_queued_but_never_submitted_operations_can_be_dropped() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 1 << 20);
    let mut ring = ring();
    let file = add(&mut ring, &path);
    let (_peer, socket) = tcp_pair(&mut ring);
    ring.read(file, ring.pool().take(4096).unwrap(), 4096, 0, 1).unwrap();
    ring.recv(socket, ring.pool().take(4096).unwrap(), 1).unwrap();
    ring.flush(file, 1).unwrap();
}

#[test]
fn completions_not_fetched_are_dropped_with_the_ring() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 1 << 20);
    let mut ring = ring();
    let pool = ring.pool().clone();
    let file = add(&mut ring, &path);
    for _ in 0..4 {
        ring.read(file, pool.take(4096).unwrap(), 4096, 0, 1).unwrap();
    }
    ring.wait(1, Some(Duration::from_secs(5))).unwrap();
    drop(ring);
    assert_eq!(pool.available(1), 84);
}

#[test]
fn an_exhausted_pool_recovers_when_buffers_come_back() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 1 << 20);
    let mut ring = ring();
    let file = add(&mut ring, &path);
    let mut reads = 0;
    while let Some(buf) = ring.pool().take(1) {
        ring.read(file, buf, 4096, 0, 1).unwrap();
        reads += 1;
    }
    assert_eq!((reads, ring.pool().available(1)), (84, 0));
    let done = next(&mut ring);
    assert!(ring.pool().take(1).is_none(), "the completion still holds it");
    drop(done);
    assert!(ring.pool().take(1).is_some());
    for _ in 1..reads {
        assert_eq!(next(&mut ring).result, Ok(4096));
    }
    assert_eq!(ring.pool().available(1), 84);
}

#[test]
fn workers_of_the_kernel_can_be_moved_to_other_cores() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 1 << 20);
    let mut ring = ring();
    ring.set_worker_cores(&midspan_uring::affinity::current_cores()).unwrap();
    assert!(ring.set_worker_cores(&[]).is_err());
    assert!(ring.set_worker_cores(&[1_000_000]).is_err());
    let file = add(&mut ring, &path);
    ring.flush(file, 1).unwrap();
    assert_eq!(next(&mut ring).kind, Kind::Flush);
}

#[test]
fn waiting_ends_at_its_timeout_and_polling_does_not_sleep() {
    let mut ring = ring();
    let start = midspan_uring::clock::boottime_ns();
    assert!(next_within(&mut ring, Duration::from_millis(50)).is_none());
    assert!(midspan_uring::clock::boottime_ns() - start >= 50_000_000);
    let start = midspan_uring::clock::boottime_ns();
    for _ in 0..1000 {
        ring.wait(0, Some(Duration::from_secs(10))).unwrap();
        assert!(ring.next_completion().is_none());
    }
    assert!(midspan_uring::clock::boottime_ns() - start < 1_000_000_000);
}

/// Holds a file with writes in flight until it is killed; does nothing in an ordinary test run.
#[test]
fn child_that_is_killed() {
    let Ok(path) = std::env::var("MIDSPAN_TEST_CHILD_FILE") else { return };
    let mut ring = ring();
    let file = add(&mut ring, std::path::Path::new(&path));
    println!("ready");
    loop {
        for number in 0..32 {
            let buf = filled(&ring, 4096, 1);
            ring.write(file, buf, 0..4096, number * 4096, true, 1).unwrap();
        }
        (0..32).for_each(|_| assert!(next(&mut ring).result.is_ok()));
    }
}

#[test]
fn the_file_of_a_killed_process_can_be_opened_again_at_once() {
    use std::io::{BufRead, BufReader};
    let scratch = Scratch::new();
    let path = scratch.file("a", 1 << 20);
    for _ in 0..5 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env("MIDSPAN_TEST_CHILD_FILE", &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ready")));
        child.kill().unwrap();
        child.wait().unwrap();
        let start = midspan_uring::clock::boottime_ns();
        let file = File::open(&path, Access::default());
        println!("opened after {} us", (midspan_uring::clock::boottime_ns() - start) / 1000);
        assert!(file.is_ok(), "{file:?}");
    }
}
