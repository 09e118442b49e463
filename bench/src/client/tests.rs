//! The load generator against a small server in a thread.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn load(uri: &str, pattern: Pattern, write_bytes: usize, depth: usize) -> Load {
    let core = *midspan_uring::affinity::current_cores().first().unwrap();
    let window = Window { warm: Duration::from_millis(5), measured: Duration::from_millis(60) };
    Load { uri: uri.to_owned(), pattern, write_bytes, depth, core, seed: 7, window }
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

/// What the server saw.
#[derive(Default)]
struct Seen {
    offsets: Vec<u64>,
    /// The most writes that waited for their answers at once.
    most: usize,
}

/// Serves one connection: holds back answers until `hold` writes are there or no more come, and answers the newest first,
/// in pieces that cut replies.
fn serve(listener: &UnixListener, size: u64, write_bytes: usize, hold: usize, errno: u32) -> Seen {
    let (mut stream, _) = listener.accept().unwrap();
    greet(&mut stream, size);
    let (mut seen, mut waiting, mut data) = (Seen::default(), Vec::new(), vec![0; write_bytes]);
    loop {
        let mut head = [0; 28];
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let first = stream.read_exact(&mut head[..1]);
        stream.set_read_timeout(None).unwrap();
        let none_comes = first.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        if !none_comes {
            if first.is_err() || stream.read_exact(&mut head[1..]).is_err() || head[7] == 2 {
                return seen;
            }
            stream.read_exact(&mut data).unwrap();
            seen.offsets.push(u64::from_be_bytes(head[16..24].try_into().unwrap()));
            waiting.push(head[8..16].to_vec());
            seen.most = seen.most.max(waiting.len());
            if waiting.len() < hold {
                continue;
            }
        }
        let mut replies = Vec::new();
        for cookie in waiting.drain(..).rev() {
            replies.extend_from_slice(&0x6744_6698_u32.to_be_bytes());
            replies.extend_from_slice(&errno.to_be_bytes());
            replies.extend_from_slice(&cookie);
        }
        for piece in replies.chunks(23) {
            if stream.write_all(piece).is_err() {
                return seen;
            }
        }
    }
}

/// Runs the load against a server thread; the result, the gauge's count and what the server saw.
fn against(
    name: &str,
    shape: (Pattern, usize, usize),
    hold: usize,
    errno: u32,
) -> (Result<Tally>, u64, Seen) {
    let path: PathBuf = std::env::temp_dir().join(format!("midspan-bench-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let (pattern, write_bytes, depth) = shape;
    let load = load(&format!("nbd+unix:///disk?socket={}", path.display()), pattern, write_bytes, depth);
    let gauge = Gauge::default();
    let (tally, seen) = std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener, 1 << 20, write_bytes, hold, errno));
        let tally = scope.spawn(|| run(&load, &gauge)).join().unwrap();
        (tally, server.join().unwrap())
    });
    std::fs::remove_file(&path).unwrap();
    (tally, gauge.answered(), seen)
}

#[test]
fn every_write_is_answered_and_counted_at_depth_one() {
    let (tally, answered, Seen { offsets, .. }) = against("one", (Pattern::Random, 4096, 1), 1, 0);
    assert!(tally.unwrap().latencies().count() > 0);
    assert_eq!(answered, offsets.len() as u64);
    assert!(offsets.iter().all(|offset| offset % 4096 == 0 && *offset < 1 << 20));
    let different: std::collections::BTreeSet<&u64> = offsets.iter().collect();
    assert!(different.len() > 1, "random offsets are not all alike");
}

#[test]
fn the_whole_depth_is_under_way_even_where_it_takes_several_sends() {
    let (tally, answered, seen) = against("deep", (Pattern::Random, 512, 80), 80, 0);
    assert!(tally.unwrap().latencies().count() > 0);
    assert_eq!((answered, seen.most), (seen.offsets.len() as u64, 80));
}

#[test]
fn sequential_writes_go_through_the_export_and_begin_again() {
    let (tally, _, Seen { offsets, .. }) = against("sequential", (Pattern::Sequential, 128 << 10, 4), 4, 0);
    tally.unwrap();
    assert!(offsets.len() > 8);
    for (number, offset) in offsets.iter().enumerate() {
        assert_eq!(*offset, u64::try_from(number % 8).unwrap() << 17);
    }
}

#[test]
fn a_refused_write_ends_the_load_with_its_error() {
    let (tally, _, _) = against("refused", (Pattern::Random, 4096, 1), 1, 5);
    let error = format!("{:#}", tally.unwrap_err());
    assert!(error.contains("error 5") && error.contains("refused"), "{error}");
}

#[test]
fn writes_larger_than_the_export_are_refused() {
    let load = load("nbd://x/", Pattern::Random, 4096, 1);
    assert!(Offsets::new(&load, 4095).is_err());
    let mut offsets = Offsets::new(&load, 8191).unwrap();
    assert_eq!((offsets.advance(), offsets.advance()), (0, 0));
}
