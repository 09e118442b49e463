//! Measures what the engine costs on this machine: durable writes, reads from memory, TCP round trips.
//!
//! `cargo run --release -p midspan-uring --example cost -- DIRECTORY` (on the disk to be measured; default: here).
//! Round trips need two cores.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a tool of developers: it may stop with a panic"
)]

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use midspan_uring::clock::boottime_ns;
use midspan_uring::file::Access;
use midspan_uring::socket::SocketOptions;
use midspan_uring::{Address, Class, Config, File, Listener, Pool, Ring, Socket, affinity};

fn ring() -> Ring {
    let pool =
        Pool::new(&[Class { size: 4096, count: 256 }, Class { size: 1 << 20, count: 8 }], true).unwrap();
    Ring::new(Config::default(), &pool).unwrap()
}

/// Waits for the next completion, asleep or polling.
fn next(ring: &mut Ring, min: usize) -> midspan_uring::Completion {
    loop {
        if let Some(done) = ring.next_completion() {
            return done;
        }
        ring.wait(min, Some(Duration::from_secs(10))).unwrap();
    }
}

fn report(what: &str, mut each: Vec<u64>, total_ns: u64) {
    each.sort_unstable();
    let at = |permille: usize| each[(each.len() - 1) * permille / 1000];
    let rate = each.len() as u64 * 1_000_000_000 / total_ns.max(1);
    let line = format!(
        "{what:<52} {rate:>8}/s  p50 {:>8} ns  p99 {:>8} ns  p99.9 {:>8} ns",
        at(500),
        at(990),
        at(999)
    );
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// `count` operations at `depth`; `start` starts one at a block number.
fn run(ring: &mut Ring, what: &str, depth: u64, count: u64, mut start: impl FnMut(&mut Ring, u64)) {
    let mut started = vec![0; usize::try_from(count + depth).unwrap()];
    let mut each = Vec::with_capacity(started.len());
    let begin = boottime_ns();
    for number in 0..depth {
        started[usize::try_from(number).unwrap()] = boottime_ns();
        start(ring, number);
    }
    for number in depth..count + depth {
        let done = next(ring, 1);
        assert!(done.result.is_ok(), "{done:?}");
        let now = boottime_ns();
        each.push(now - started[usize::try_from(done.user).unwrap()]);
        if number < count {
            started[usize::try_from(number).unwrap()] = now;
            start(ring, number);
        }
    }
    report(what, each, boottime_ns() - begin);
}

fn files(directory: &Path) {
    let path = directory.join(format!("midspan-cost-{}", std::process::id()));
    let blocks = 16384;
    File::preallocate(&path, blocks * 4096, &mut |_| {}).unwrap();
    let mut ring = ring();
    let file = ring.add_file(File::open(&path, Access::default()).unwrap()).unwrap();
    for (durable, name) in [(true, "durable"), (false, "plain")] {
        for depth in [1, 16] {
            let what = format!("write 4 KiB O_DIRECT {name}, depth {depth}");
            run(&mut ring, &what, depth, 20_000, |ring, number| {
                let mut buf = ring.pool().take(4096).unwrap();
                buf.set_filled(4096);
                ring.write(file, buf, 0..4096, number % blocks * 4096, durable, number).unwrap();
            });
        }
    }
    for depth in [1, 16] {
        run(&mut ring, &format!("read 4 KiB O_DIRECT, depth {depth}"), depth, 20_000, |ring, number| {
            let buf = ring.pool().take(4096).unwrap();
            ring.read(file, buf, 4096, number % blocks * 4096, number).unwrap();
        });
    }
    drop(ring.remove_file(file).unwrap());
    let file =
        ring.add_file(File::open(&path, Access { direct: false, ..Access::default() }).unwrap()).unwrap();
    run(&mut ring, "read 4 KiB from the page cache, depth 16", 16, 500_000, |ring, number| {
        let buf = ring.pool().take(4096).unwrap();
        ring.read(file, buf, 4096, number % 256 * 4096, number).unwrap();
    });
    drop(ring);
    std::fs::remove_file(path).unwrap();
}

/// Echoes messages of `len` bytes until the peer closes.
fn echo(socket: Socket, len: usize, min: usize) {
    let mut ring = ring();
    let id = ring.add_socket(socket).unwrap();
    loop {
        ring.recv_exact(id, ring.pool().take(len).unwrap(), len, 0).unwrap();
        let buf = loop {
            if let Some(buf) = next(&mut ring, min).buf {
                break buf;
            }
        };
        if buf.filled() < len {
            return;
        }
        ring.send(id, &[(buf, 0..len)], 1).unwrap();
    }
}

fn ping_pong(len: usize, poll: bool, cores: &[usize]) {
    let min = usize::from(!poll);
    let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let local = Address::Tcp(listener.local().unwrap());
    let core = cores[cores.len() - 1];
    let server = std::thread::spawn(move || {
        affinity::pin(core).unwrap();
        let mut ring = ring();
        let id = ring.add_listener(listener).unwrap();
        ring.accept(id, 0).unwrap();
        let socket = next(&mut ring, 1).socket.unwrap();
        socket.tune(&SocketOptions::default()).unwrap();
        echo(socket, len, min);
    });
    let mut ring = ring();
    let socket = Socket::connect(&local).unwrap();
    socket.tune(&SocketOptions::default()).unwrap();
    let id = ring.add_socket(socket).unwrap();
    let mut each = Vec::new();
    let begin = boottime_ns();
    for _ in 0..50_000 {
        let start = boottime_ns();
        let mut buf = ring.pool().take(len).unwrap();
        buf.set_filled(len);
        ring.send(id, &[(buf, 0..len)], 0).unwrap();
        ring.recv_exact(id, ring.pool().take(len).unwrap(), len, 1).unwrap();
        for _ in 0..2 {
            assert!(next(&mut ring, min).result.is_ok());
        }
        each.push(boottime_ns() - start);
    }
    let how = if poll { "polling" } else { "sleeping" };
    report(&format!("TCP round trip {len} bytes, {how}"), each, boottime_ns() - begin);
    ring.close(id, 2).unwrap();
    drop(ring);
    server.join().unwrap();
}

fn main() {
    let cores = affinity::current_cores();
    affinity::pin(cores[0]).unwrap();
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    files(Path::new(&directory));
    if cores.len() < 2 {
        return;
    }
    for len in [40, 4096] {
        for poll in [false, true] {
            ping_pong(len, poll, &cores);
        }
    }
}
