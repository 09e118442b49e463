//! The load generator against a small server in a thread.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::*;
use crate::window::Window;

fn work(pattern: Pattern, mix: Mix, bytes: usize, depth: usize) -> Work {
    Work { pattern, mix, bytes, depth, arrival: Arrival::Closed }
}

fn take<const N: usize>(stream: &mut UnixStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn greet(stream: &mut UnixStream, size: u64) {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
    let _flags: [u8; 4] = take(stream);
    let option: [u8; 16] = take(stream);
    let mut data = vec![0; usize::from(option[15])];
    stream.read_exact(&mut data).unwrap();
    let mut reply = Vec::new();
    for (kind, payload) in
        [(3_u32, [&[0, 0][..], &size.to_be_bytes()[..], &[0, 1][..]].concat()), (1, vec![])]
    {
        reply.extend_from_slice(&0x0003_e889_0455_65a9_u64.to_be_bytes());
        reply.extend_from_slice(&7_u32.to_be_bytes());
        reply.extend_from_slice(&kind.to_be_bytes());
        reply.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        reply.extend_from_slice(&payload);
    }
    stream.write_all(&reply).unwrap();
}

/// A command as the server saw it.
const READ: u8 = 0;
const WRITE: u8 = 1;
const DISCONNECT: u8 = 2;
const FLUSH: u8 = 3;

/// What the server saw.
#[derive(Default)]
struct Seen {
    /// Command and offset.
    requests: Vec<(u8, u64)>,
    /// The most requests that waited for their answers at once.
    most: usize,
}

impl Seen {
    fn offsets(&self) -> Vec<u64> {
        self.requests.iter().map(|(_, offset)| *offset).collect()
    }

    fn count(&self, command: u8) -> usize {
        self.requests.iter().filter(|(found, _)| *found == command).count()
    }
}

/// How the server answers.
#[derive(Clone, Copy)]
struct Manner {
    /// Holds answers back until so many requests are there or no more come.
    hold: usize,
    errno: u32,
    /// Waits so long before each batch of answers.
    pause: Duration,
}

const AT_ONCE: Manner = Manner { hold: 1, errno: 0, pause: Duration::ZERO };

/// Serves one connection: answers the newest first, in pieces that cut replies and their data.
fn serve(listener: &UnixListener, size: u64, bytes: usize, manner: Manner) -> Seen {
    let (mut stream, _) = listener.accept().unwrap();
    greet(&mut stream, size);
    let (mut seen, mut waiting, mut data) = (Seen::default(), Vec::new(), vec![0; bytes]);
    loop {
        let mut head = [0; 28];
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let first = stream.read_exact(&mut head[..1]);
        stream.set_read_timeout(None).unwrap();
        let none_comes = first.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        if !none_comes {
            if first.is_err() || stream.read_exact(&mut head[1..]).is_err() || head[7] == DISCONNECT {
                return seen;
            }
            if head[7] == WRITE {
                stream.read_exact(&mut data).unwrap();
            }
            seen.requests.push((head[7], u64::from_be_bytes(head[16..24].try_into().unwrap())));
            waiting.push((head[7], head[8..16].to_vec()));
            seen.most = seen.most.max(waiting.len());
            if waiting.len() < manner.hold {
                continue;
            }
        }
        midspan::clock::Signal::default().wait(manner.pause);
        let mut replies = Vec::new();
        for (command, cookie) in waiting.drain(..).rev() {
            replies.extend_from_slice(&0x6744_6698_u32.to_be_bytes());
            replies.extend_from_slice(&manner.errno.to_be_bytes());
            replies.extend_from_slice(&cookie);
            if command == READ && manner.errno == 0 {
                replies.extend_from_slice(&data);
            }
        }
        for piece in replies.chunks(23.max(replies.len() / 5)) {
            if stream.write_all(piece).is_err() {
                return seen;
            }
        }
    }
}

/// What the generator found and what the servers saw.
struct Ended {
    outcome: Result<Outcome>,
    answered: u64,
    seen: Vec<Seen>,
}

impl Ended {
    fn one(self) -> (Outcome, u64, Seen) {
        let [seen] = <[Seen; 1]>::try_from(self.seen).ok().unwrap();
        (self.outcome.unwrap(), self.answered, seen)
    }
}

/// Runs the load against one server thread for each connection, on exports of 1 MiB.
fn against(name: &str, work: Work, connections: usize, manner: Manner) -> Ended {
    let paths: Vec<PathBuf> = (0..connections)
        .map(|number| {
            std::env::temp_dir().join(format!("midspan-bench-{name}-{number}-{}", std::process::id()))
        })
        .collect();
    let listen = |path: &PathBuf| {
        let _ = std::fs::remove_file(path);
        UnixListener::bind(path).unwrap()
    };
    let listeners: Vec<UnixListener> = paths.iter().map(listen).collect();
    let load = Load {
        uris: paths.iter().map(|path| format!("nbd+unix:///disk?socket={}", path.display())).collect(),
        work,
        core: *midspan_uring::affinity::current_cores().first().unwrap(),
        seed: 7,
        window: Window { warm: Duration::from_millis(5), measured: Duration::from_millis(60) },
    };
    let gauge = Gauge::default();
    let (outcome, seen) = std::thread::scope(|scope| {
        let serve = |listener| scope.spawn(move || serve(listener, 1 << 20, work.bytes, manner));
        let servers: Vec<_> = listeners.iter().map(serve).collect();
        let outcome = scope.spawn(|| run(&load, &gauge)).join().unwrap();
        (outcome, servers.into_iter().map(|server| server.join().unwrap()).collect())
    });
    paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    Ended { outcome, answered: gauge.answered(), seen }
}

#[test]
fn every_write_is_answered_and_counted_at_depth_one() {
    let (outcome, answered, seen) =
        against("one", work(Pattern::Random, Mix::Write, 4096, 1), 1, AT_ONCE).one();
    assert!(outcome.tally.latencies().count() > 0 && outcome.apart.is_none() && outcome.pace.is_none());
    assert_eq!(answered, seen.requests.len() as u64);
    let offsets = seen.offsets();
    assert!(offsets.iter().all(|offset| offset % 4096 == 0 && *offset < 1 << 20));
    let different: std::collections::BTreeSet<&u64> = offsets.iter().collect();
    assert!(different.len() > 1, "random offsets are not all alike");
    let sliced: u64 = outcome.tally.slices().map(|(_, _, slice)| slice.count()).sum();
    assert_eq!(sliced, outcome.tally.latencies().count());
}

#[test]
fn a_load_ends_when_it_is_told_to_and_everything_it_asked_is_answered() {
    let path = std::env::temp_dir().join(format!("midspan-bench-told-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let load = Load {
        uris: vec![format!("nbd+unix:///disk?socket={}", path.display())],
        work: work(Pattern::Random, Mix::Write, 4096, 2),
        core: *midspan_uring::affinity::current_cores().first().unwrap(),
        seed: 7,
        window: Window { warm: Duration::ZERO, measured: Duration::from_secs(3600) },
    };
    let gauge = Gauge::default();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener, 1 << 20, 4096, AT_ONCE));
        let running = scope.spawn(|| run(&load, &gauge));
        while gauge.answered() < 100 {
            std::thread::yield_now();
        }
        gauge.end();
        let tally = running.join().unwrap().unwrap().tally;
        let asked = server.join().unwrap().requests.len() as u64;
        assert_eq!(gauge.answered(), asked);
        assert!(tally.latencies().count() >= 98 && tally.latencies().count() <= asked);
    });
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_whole_depth_is_under_way_even_where_it_takes_several_sends() {
    let manner = Manner { hold: 80, ..AT_ONCE };
    let (outcome, answered, seen) =
        against("deep", work(Pattern::Random, Mix::Write, 512, 80), 1, manner).one();
    assert!(outcome.tally.latencies().count() > 0);
    assert_eq!((answered, seen.most), (seen.requests.len() as u64, 80));
}

#[test]
fn sequential_writes_go_through_the_export_and_begin_again() {
    let manner = Manner { hold: 4, ..AT_ONCE };
    let (_, _, seen) =
        against("sequential", work(Pattern::Sequential, Mix::Write, 128 << 10, 4), 1, manner).one();
    assert!(seen.requests.len() > 8);
    for (number, offset) in seen.offsets().into_iter().enumerate() {
        assert_eq!(offset, u64::try_from(number % 8).unwrap() << 17);
    }
}

#[test]
fn a_flush_follows_each_write_once_it_is_answered_and_the_pair_counts_once() {
    let (outcome, answered, seen) =
        against("flush", work(Pattern::Random, Mix::WriteFlush, 4096, 1), 1, AT_ONCE).one();
    assert!(outcome.tally.latencies().count() > 0);
    let commands: Vec<u8> = seen.requests.iter().map(|(command, _)| *command).collect();
    assert!(commands.chunks(2).all(|pair| pair == [WRITE, FLUSH]), "{commands:?}");
    assert_eq!(answered * 2, commands.len() as u64);
}

#[test]
fn chains_of_writes_and_flushes_are_independent() {
    let manner = Manner { hold: 8, ..AT_ONCE };
    let (_, answered, seen) =
        against("chains", work(Pattern::Random, Mix::WriteFlush, 4096, 8), 1, manner).one();
    assert_eq!((seen.count(WRITE) as u64, seen.count(FLUSH) as u64), (answered, answered));
    assert_eq!(seen.most, 8);
}

#[test]
fn read_data_is_taken_off_however_it_is_cut() {
    let manner = Manner { hold: 6, ..AT_ONCE };
    let (outcome, answered, seen) =
        against("read", work(Pattern::Random, Mix::Read, 128 << 10, 6), 1, manner).one();
    assert!(outcome.tally.latencies().count() > 0);
    assert_eq!((answered, seen.count(READ)), (seen.requests.len() as u64, seen.requests.len()));
}

#[test]
fn reads_and_writes_of_a_mixed_load_are_counted_apart() {
    let manner = Manner { hold: 16, ..AT_ONCE };
    let (outcome, _, seen) = against("mixed", work(Pattern::Random, Mix::Mixed, 4096, 16), 1, manner).one();
    assert!(seen.count(READ) > seen.count(WRITE) && seen.count(WRITE) > 0);
    let [reads, writes] = outcome.apart.unwrap();
    assert_eq!(reads.latencies().count() + writes.latencies().count(), outcome.tally.latencies().count());
    assert!(reads.latencies().count() > writes.latencies().count());
}

#[test]
fn every_connection_has_its_own_depth() {
    let manner = Manner { hold: 4, ..AT_ONCE };
    let ended = against("several", work(Pattern::Random, Mix::Write, 4096, 4), 3, manner);
    assert_eq!(ended.answered, ended.seen.iter().map(|seen| seen.requests.len() as u64).sum::<u64>());
    assert!(ended.seen.iter().all(|seen| seen.most == 4));
    assert!(ended.outcome.unwrap().tally.latencies().count() > 0);
    assert_ne!(ended.seen[0].offsets()[..4], ended.seen[1].offsets()[..4]);
}

#[test]
fn a_slow_server_makes_arrivals_late_from_the_instant_they_were_due() {
    let arrival = Arrival::Open { per_second: 1000 };
    let work = Work { arrival, ..work(Pattern::Random, Mix::Write, 512, 1) };
    let manner = Manner { pause: Duration::from_millis(10), ..AT_ONCE };
    let (outcome, answered, seen) = against("late", work, 1, manner).one();
    assert_eq!((answered, seen.most), (seen.requests.len() as u64, 1));
    // Ten are due while one is answered: each waits for all before it, not for its own answer alone.
    let pace = outcome.pace.unwrap();
    assert_eq!(pace.per_second, 1000);
    assert!(!pace.is_kept(outcome.tally.per_second() / 1000.0));
    assert!(outcome.tally.latencies().at_us(1.0).unwrap() > 20_000.0);
    assert!(pace.late.at_us(1.0).unwrap() > 10_000.0);
}

#[test]
fn arrivals_that_the_server_keeps_up_with_are_all_answered_and_no_more() {
    let arrival = Arrival::Open { per_second: 200 };
    let work = Work { arrival, ..work(Pattern::Random, Mix::Write, 512, 64) };
    let ended = against("kept", work, 2, AT_ONCE);
    let outcome = ended.outcome.unwrap();
    // Due within the 65 ms are 13. A busy machine may sleep through the last ones' time, but none comes too early.
    assert!((1..=13).contains(&ended.answered), "{}", ended.answered);
    assert_eq!(outcome.pace.unwrap().missed, 0);
    let each: Vec<usize> = ended.seen.iter().map(|seen| seen.requests.len()).collect();
    assert!(each[0].abs_diff(each[1]) <= 1, "connections take turns: {each:?}");
}

#[test]
fn a_refused_request_ends_the_load_with_its_error() {
    let manner = Manner { errno: 5, ..AT_ONCE };
    for (mix, what) in [(Mix::Write, "write"), (Mix::Read, "read")] {
        let name = format!("refused-{what}");
        let ended = against(&name, work(Pattern::Random, mix, 4096, 1), 1, manner);
        let error = format!("{:#}", ended.outcome.unwrap_err());
        assert!(error.contains("error 5") && error.contains(&format!("refuses a {what}")), "{error}");
    }
}
