//! The front end between a client that speaks bytes and owners in memory: what it promises, one by one.

mod rig;
mod client;

use midspan_protocol::host::nbd::Mode;
use midspan_protocol::host::nbd_wire::{Errno, cmd, cmd_flag, opt};
use midspan_protocol::vocab::effect::HostError;
use midspan_uring::Class;

use super::bounds;
use client::Client;
use rig::{MIB, Plan, Rig, Seen, export};

const MODES: [Mode; 3] = [Mode::Simple, Mode::Structured, Mode::Extended];

/// Numbers that look random and are the same each time.
pub(super) fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = numbers(seed);
    (0..length).map(|_| random(256).to_le_bytes()[0]).collect()
}

fn one(size: usize) -> Rig {
    Rig::new(vec![export(0, "disk", size)])
}

fn length(random: &mut impl FnMut(u64) -> u64) -> u64 {
    let scale = [5000, 70_000, 300_000, 3 << 20];
    let scale = scale[usize::try_from(random(40)).unwrap() / 10 % 4];
    1 + random(scale)
}

#[test]
fn random_requests_of_any_alignment_read_what_a_model_reads() {
    let rig = one(8 * MIB);
    let mut model = vec![0; 8 * MIB];
    let mut random = numbers(5);
    for mode in MODES {
        let mut client = Client::open(&rig, "disk", mode);
        assert_eq!(client.size, 8 << 20);
        for round in 0..150 {
            let length = length(&mut random);
            let offset = random((8 << 20) - length);
            let at = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
            match random(4) {
                0 => {
                    assert_eq!(client.ask(cmd::WRITE_ZEROES, 0, offset, length, &[]).error, 0);
                    model[at].fill(0);
                }
                1 => {
                    let payload = bytes(round, at.len());
                    client.write_at(offset, &payload);
                    model[at].copy_from_slice(&payload);
                }
                _ => assert!(client.read_at(offset, length) == model[at]),
            }
        }
        assert!(rig.disk(0, |disk| disk.bytes == model));
    }
    rig.until_empty();
}

#[test]
fn requests_cut_at_any_place_are_understood() {
    let rig = one(4 * MIB);
    let mut random = numbers(9);
    for mode in MODES {
        let mut client = Client::open(&rig, "disk", mode);
        let (mut stream, mut model) = (Vec::new(), vec![0; 4 * MIB]);
        for round in 0..40 {
            let payload = bytes(round, usize::try_from(length(&mut random).min(200_000)).unwrap());
            let at = usize::try_from(round).unwrap() * 100_000;
            let payload = &payload[..payload.len().min(100_000)];
            stream.extend(client.encode(cmd::WRITE, 0, at as u64, payload.len() as u64, payload));
            model[at..at + payload.len()].copy_from_slice(payload);
            let bad = client.encode(cmd::WRITE, 0, 4 << 20, 1000, &bytes(1, 1000));
            stream.extend(bad);
        }
        let mut left = &stream[..];
        while !left.is_empty() {
            let most = [1, 29, 4096, 70_000][usize::try_from(random(4)).unwrap()];
            let (now, rest) = left.split_at(usize::try_from(1 + random(most)).unwrap().min(left.len()));
            client.write(now);
            left = rest;
        }
        let mut errors: Vec<u32> = (0..80).map(|_| client.reply().unwrap().error).collect();
        errors.sort_unstable();
        assert_eq!(errors, [[0; 40], [Errno::NoSpace.code(); 40]].concat());
        assert!(rig.disk(0, |disk| disk.bytes == model));
        rig.disk(0, |disk| disk.bytes.fill(0));
    }
}

#[test]
fn many_requests_under_way_are_each_answered_once() {
    let rig = one(64 * MIB);
    for mode in MODES {
        let mut client = Client::open(&rig, "disk", mode);
        let content = bytes(2, 64 * MIB);
        rig.disk(0, |disk| {
            disk.bytes.copy_from_slice(&content);
            disk.most = 0;
        });
        let all: Vec<u8> =
            (0..1000).flat_map(|n| client.encode(cmd::READ, 0, n * 65_000, 4096, &[])).collect();
        client.write(&all);
        for _ in 0..1000 {
            let reply = client.reply().unwrap();
            let at = usize::try_from(reply.data[0].0).unwrap();
            assert!(reply.joined(at as u64, 4096) == content[at..at + 4096]);
        }
        let most = rig.disk(0, |disk| disk.most);
        assert!((2..=128).contains(&most), "{most} at a time");
    }
    rig.until_empty();
}

#[test]
fn a_payload_beyond_the_limit_is_refused_and_the_connection_lives() {
    let rig = one(80 * MIB);
    for mode in MODES {
        let mut client = Client::open(&rig, "disk", mode);
        let large = bytes(1, 32 * MIB + 1);
        let refused = client.ask(cmd::WRITE, 0, 0, large.len() as u64, &large);
        assert_eq!(refused.error, Errno::Invalid.code());
        client.write_at(12_345, &large[..32 * MIB]);
        assert!(client.read_at(12_345, 32 << 20) == large[..32 * MIB]);
        assert_eq!(client.ask(cmd::READ, 0, 0, (32 << 20) + 1, &[]).error, Errno::Invalid.code());
    }
}

#[test]
fn flags_and_kinds_reach_the_owner() {
    let rig = one(4 * MIB);
    let mut client = Client::open(&rig, "disk", Mode::Structured);
    let mut seen = |command, flags, offset, length, payload: &[u8]| {
        assert_eq!(client.ask(command, flags, offset, length, payload).error, 0);
        rig.disk(0, |disk| std::mem::take(&mut disk.seen))
    };
    let zero = |offset, length, unmap| Seen::Zero { offset, length, unmap };
    assert_eq!(seen(cmd::FLUSH, 0, 0, 0, &[]), [Seen::Flush]);
    assert_eq!(seen(cmd::WRITE, 0, 0, 10, &[9; 10]), []);
    assert_eq!(seen(cmd::WRITE, cmd_flag::FUA, 0, 10, &[9; 10]), [Seen::Fua]);
    assert_eq!(seen(cmd::WRITE_ZEROES, 0, 4096, 8192, &[]), [zero(4096, 8192, true)]);
    assert_eq!(seen(cmd::WRITE_ZEROES, cmd_flag::NO_HOLE, 4096, 4096, &[]), [zero(4096, 4096, false)]);
    let fast = cmd_flag::FAST_ZERO | cmd_flag::FUA;
    assert_eq!(seen(cmd::WRITE_ZEROES, fast, 4096, 4096, &[]), [zero(4096, 4096, true), Seen::Fua]);
    assert_eq!(
        seen(cmd::WRITE_ZEROES, cmd_flag::FUA, 1, 100, &[]),
        [Seen::Fua],
        "a part of a block is written"
    );
    assert_eq!(seen(cmd::TRIM, 0, 1, 12_288, &[]), [zero(4096, 8192, true)]);
    assert_eq!(seen(cmd::TRIM, cmd_flag::FUA, 1, 8190, &[]), [], "no whole block");
    assert_eq!(seen(cmd::CACHE, 0, 0, 4096, &[]), []);
    assert!(rig.disk(0, |disk| disk.bytes[..10] == [9, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn everything_is_said_to_be_allocated() {
    let rig = one(MIB);
    for (mode, flags, expect) in
        [(Mode::Structured, 0, (4096, 0)), (Mode::Extended, cmd_flag::REQ_ONE, (4096, 0))]
    {
        let mut client = Client::open(&rig, "disk", mode);
        let reply = client.ask(cmd::BLOCK_STATUS, flags, 4096, 4096, &[]);
        assert_eq!((reply.error, reply.extents), (0, vec![expect]));
    }
}

#[test]
fn a_failure_is_the_answer_to_its_request_alone() {
    let rig = one(64 * MIB);
    for (error, number) in [(HostError::Io, Errno::Io.code()), (HostError::NoSpace, Errno::NoSpace.code())] {
        for mode in MODES {
            let mut client = Client::open(&rig, "disk", mode);
            rig.disk(0, |disk| disk.bad = Some((600_000, error)));
            let payload = bytes(3, MIB);
            assert_eq!(client.ask(cmd::WRITE, 0, 100, payload.len() as u64, &payload).error, number);
            assert_eq!(client.ask(cmd::WRITE_ZEROES, 0, 0, 1 << 20, &[]).error, number);
            assert_eq!(client.ask(cmd::READ, 0, 5, 1 << 20, &[]).error, number);
            if mode != Mode::Simple {
                let whole = client.ask(cmd::READ, cmd_flag::DF, 5, 1 << 20, &[]);
                assert_eq!((whole.error, whole.data), (number, vec![]), "nothing was sent before it failed");
            }
            rig.disk(0, |disk| disk.bad = None);
            client.write_at(100, &payload);
            assert!(client.read_at(100, 1 << 20) == payload);
        }
    }
    rig.until_empty();
}

#[test]
fn a_large_read_that_must_be_whole_goes_as_it_comes_and_breaks_off_when_it_fails() {
    let rig = one(64 * MIB);
    let content = bytes(4, 64 * MIB);
    rig.disk(0, |disk| disk.bytes.copy_from_slice(&content));
    for (mode, flags) in [(Mode::Simple, 0), (Mode::Structured, cmd_flag::DF), (Mode::Extended, cmd_flag::DF)]
    {
        let mut client = Client::open(&rig, "disk", mode);
        let mut expected = Vec::new();
        for n in 0..4 {
            expected.push(client.send(cmd::READ, flags, 77 + n, 32 << 20, &[]));
            expected.push(client.send(cmd::READ, 0, n * 5000, 9000, &[]));
            expected.push(client.send(cmd::FLUSH, 0, 0, 0, &[]));
        }
        let mut cookies = Vec::new();
        for _ in 0..12 {
            let reply = client.reply().unwrap();
            cookies.push(reply.cookie);
            if let Some((at, data)) = reply.data.first() {
                let at = usize::try_from(*at).unwrap();
                assert!(data[..] == content[at..at + data.len()] && reply.error == 0);
            }
        }
        cookies.sort_unstable();
        assert_eq!(cookies, expected);
        rig.disk(0, |disk| disk.bad = Some((30 << 20, HostError::Io)));
        client.send(cmd::READ, flags, 0, 32 << 20, &[]);
        assert_eq!(client.reply(), None, "the connection ends in the middle");
        rig.disk(0, |disk| disk.bad = None);
    }
    rig.until_empty();
}

#[test]
fn an_owner_that_does_not_serve_any_more_ends_the_connection_without_an_answer() {
    let rig = one(4 * MIB);
    let mut client = Client::open(&rig, "disk", Mode::Structured);
    rig.disk(0, |disk| disk.bad = Some((4096, HostError::NotServing)));
    let all: Vec<u8> =
        (0..20).flat_map(|n| client.encode(cmd::READ, 0, n * 4096 % 8192, 4096, &[])).collect();
    client.write(&all);
    while client.reply().is_some() {}
    rig.until_empty();
}

#[test]
fn an_export_that_stops_being_served_loses_its_connections_and_refuses_new_ones() {
    let rig = Rig::new(vec![export(0, "left", MIB), export(1, "right", MIB)]);
    let mut left = Client::open(&rig, "left", Mode::Structured);
    let mut right = Client::open(&rig, "right", Mode::Structured);
    rig.disk(0, |disk| disk.hold = true);
    left.send(cmd::WRITE, 0, 0, 4096, &[1; 4096]);
    rig.until("the write is under way", |facts| facts.pieces == 1);
    rig.serve(0, false);
    assert!(left.is_ended());
    right.write_at(0, &[2; 5000]);
    let refusal = Client::tcp(&rig).go("left", Mode::Structured).unwrap_err();
    for part in ["export 'left'", "secondary", "`midspan takeover`"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    rig.disk(0, |disk| disk.hold = false);
    rig.serve(0, true);
    let mut again = Client::open(&rig, "left", Mode::Structured);
    assert_eq!(again.read_at(0, 1), [1]);
    drop((again, left, right));
    rig.until_empty();
}

#[test]
fn a_read_only_export_takes_no_writes() {
    let rig = Rig::new(vec![crate::exports::Export { read_only: true, ..export(0, "disk", MIB) }]);
    let mut client = Client::open(&rig, "disk", Mode::Structured);
    assert_eq!(client.ask(cmd::WRITE, 0, 0, 512, &[1; 512]).error, Errno::Permission.code());
    assert_eq!(client.read_at(0, 512), [0; 512]);
}

#[test]
fn malformed_input_ends_its_own_connection_only() {
    let rig = one(MIB);
    let mut good = Client::open(&rig, "disk", Mode::Structured);
    let mut garbage = Client::open(&rig, "disk", Mode::Structured);
    garbage.send(cmd::READ, 0, 0, 4096, &[]);
    garbage.write(&[0xff; 300]);
    while garbage.reply().is_some() {}
    let mut unknown = Client::tcp(&rig);
    unknown.write(&[0xff; 400]);
    assert!(unknown.read(&mut [0; 18]) && unknown.is_ended());
    let mut half = Client::open(&rig, "disk", Mode::Structured);
    let write = half.encode(cmd::WRITE, 0, 0, 100_000, &[7; 50_000]);
    half.write(&write);
    drop(half);
    good.write_at(0, b"good");
    assert_eq!(good.read_at(0, 4), b"good");
    drop(good);
    rig.until_empty();
}

#[test]
fn clients_that_die_at_any_moment_leave_nothing_behind() {
    let rig = one(16 * MIB);
    let mut random = numbers(21);
    let mut alive = Vec::new();
    for round in 0..120 {
        rig.disk(0, |disk| {
            disk.hold = round % 3 == 0;
            disk.bad = (round % 7 == 0).then_some((5 << 20, HostError::Io));
        });
        let mode = MODES[usize::try_from(random(3)).unwrap()];
        let mut client = Client::open(&rig, "disk", mode);
        let mut stream = Vec::new();
        for _ in 0..1 + random(30) {
            let length = length(&mut random);
            let offset = random((16 << 20) - length);
            let payload = vec![round; usize::try_from(length).unwrap()];
            stream.extend(match random(5) {
                0 => client.encode(cmd::WRITE, 0, offset, length, &payload),
                1 => client.encode(cmd::WRITE_ZEROES, 0, offset, length, &[]),
                2 => client.encode(cmd::FLUSH, 0, 0, 0, &[]),
                _ => client.encode(cmd::READ, 0, offset, length, &[]),
            });
        }
        let cut = usize::try_from(random(stream.len() as u64 + 1)).unwrap();
        client.write_until_stuck(&stream[..cut]);
        for _ in 0..random(3).min(u64::from(round % 3)) {
            let mut some = vec![0; usize::try_from(random(100_000)).unwrap()];
            client.read_some(&mut some);
        }
        alive.push(client);
        if random(2) == 0 {
            alive.swap_remove(usize::try_from(random(alive.len() as u64)).unwrap());
        }
    }
    rig.disk(0, |disk| disk.hold = false);
    drop(alive);
    rig.until_empty();
}

#[test]
fn a_client_that_leaves_is_answered_first() {
    let rig = one(MIB);
    for goodbye in [true, false] {
        let mut client = Client::unix(&rig);
        client.go("disk", Mode::Structured).unwrap();
        rig.disk(0, |disk| disk.hold = true);
        let mut all: Vec<u8> =
            (0..50).flat_map(|n| client.encode(cmd::WRITE, 0, n * 100, 100, &[1; 100])).collect();
        if goodbye {
            all.extend(client.encode(cmd::DISC, 0, 0, 0, &[]));
        }
        client.write(&all);
        if !goodbye {
            client.shut();
        }
        rig.until("all are under way", |facts| facts.pieces == 50);
        rig.disk(0, |disk| disk.hold = false);
        (0..50).for_each(|_| assert_eq!(client.reply().unwrap().error, 0));
        assert!(client.is_ended());
        rig.until_empty();
    }
}

#[test]
fn a_negotiation_that_takes_too_long_is_dropped() {
    let rig = one(MIB);
    let mut done = Client::open(&rig, "disk", Mode::Structured);
    let mut slow = Client::tcp(&rig);
    assert!(slow.read(&mut [0; 18]));
    slow.write(&[0]);
    rig.jump(bounds::PATIENCE_NS - 5_000_000_000);
    rig.until("both are there", |facts| facts.connections == 2);
    rig.jump(5_000_000_000);
    assert!(slow.is_ended());
    assert_eq!(done.read_at(0, 1), [0]);
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let rig = Rig::of(Plan { limit: Some(3), ..Plan::new(vec![export(0, "disk", MIB)]) });
    let mut clients: Vec<Client> = (0..3).map(|_| Client::open(&rig, "disk", Mode::Simple)).collect();
    assert!(Client::tcp(&rig).is_ended() && Client::unix(&rig).is_ended());
    clients.pop();
    rig.until("one is gone", |facts| facts.connections == 2);
    clients.push(Client::open(&rig, "disk", Mode::Simple));
    clients.iter_mut().for_each(|client| assert_eq!(client.read_at(0, 1), [0]));
}

#[test]
fn a_client_that_reads_nothing_is_bounded_and_blocks_nobody() {
    let rig = one(16 * MIB);
    let mut greedy = Client::open(&rig, "disk", Mode::Structured);
    let mut good = Client::open(&rig, "disk", Mode::Structured);
    let reads: Vec<u8> =
        (0..200_000).flat_map(|n| greedy.encode(cmd::READ, 0, n % 100 * 4096, 128 << 10, &[])).collect();
    let written = greedy.write_until_stuck(&reads);
    assert!(written < reads.len(), "the server goes on receiving");
    // Kernel buffers are full, the front end holds what it may, and nothing moves any more.
    let facts = rig.until("its bounds are reached", |facts| facts.buffers >= 12);
    assert!(facts.buffers <= 4 + 10, "ten buffers are its share of this pool: {facts:?}");
    for n in 0..200 {
        good.write_at(n * 4096, &bytes(n, 4096));
        assert!(good.read_at(n * 4096, 4096) == bytes(n, 4096));
    }
    drop((greedy, good));
    rig.until_empty();
}

/// Twelve large buffers, of which the front end takes ten at most, and four a connection.
fn little_memory() -> Rig {
    let class = |size, count| Class { size, count };
    let classes = vec![class(4096, 64), class(16 << 10, 32), class(132 << 10, 12)];
    Rig::of(Plan { classes, requests: 8, ..Plan::new(vec![export(0, "disk", 64 * MIB)]) })
}

#[test]
fn with_little_memory_and_few_places_everybody_is_served() {
    let rig = little_memory();
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let mode = MODES[usize::try_from(n % 3).unwrap()];
            let mut client = Client::open(&rig, "disk", mode);
            std::thread::spawn(move || {
                for round in 0..4 {
                    let payload = bytes(n * 10 + round, 3 * MIB + 999);
                    let at = n * 10_000_000 + round * 77;
                    client.write_at(at, &payload);
                    assert!(client.read_at(at, payload.len() as u64) == payload);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    rig.until_empty();
}

#[test]
fn when_memory_is_short_those_that_sit_on_it_are_dropped() {
    let rig = little_memory();
    let mut idle = Client::open(&rig, "disk", Mode::Simple);
    let mut sitting: Vec<Client> = (0..4).map(|_| Client::open(&rig, "disk", Mode::Simple)).collect();
    for client in &mut sitting {
        let reads: Vec<u8> = (0..400).flat_map(|_| client.encode(cmd::READ, 0, 0, 1 << 20, &[])).collect();
        client.write(&reads);
    }
    rig.until_still("they hold all memory", |facts| facts.buffers >= 10 + 10);
    let mut writer = Client::open(&rig, "disk", Mode::Structured);
    let payload = bytes(1, 100_000);
    writer.send(cmd::WRITE, 0, 0, 100_000, &payload);
    rig.until_still("the writer waits", |facts| facts.waiting > 0);
    rig.jump(bounds::STALL_NS + bounds::LOOK_NS);
    assert_eq!(writer.reply().unwrap().error, 0);
    for mut client in sitting {
        while client.reply().is_some() {}
    }
    assert!(writer.read_at(0, 100_000) == payload && idle.read_at(0, 5) == payload[..5]);
}

#[test]
fn a_stopping_front_end_answers_what_is_under_way() {
    let rig = one(MIB);
    let mut idle = Client::open(&rig, "disk", Mode::Structured);
    let mut busy = Client::open(&rig, "disk", Mode::Structured);
    let mut greeting = Client::tcp(&rig);
    rig.disk(0, |disk| disk.hold = true);
    busy.send(cmd::WRITE, 0, 0, 4096, &[1; 4096]);
    rig.until("the write is under way", |facts| facts.pieces == 1);
    rig.stop();
    assert!(idle.is_ended());
    assert!(greeting.read(&mut [0; 18]) && greeting.is_ended());
    assert!(!rig.facts().closed && std::net::TcpStream::connect(rig.tcp).is_err());
    rig.disk(0, |disk| disk.hold = false);
    assert_eq!(busy.reply().unwrap().error, 0);
    assert!(busy.is_ended());
    rig.until("all is closed", |facts| facts.closed);
    assert!(!rig.unix.exists(), "the socket's path is removed");
}

#[test]
fn a_stopping_front_end_does_not_wait_for_ever() {
    let rig = one(MIB);
    let mut busy = Client::open(&rig, "disk", Mode::Structured);
    rig.disk(0, |disk| disk.hold = true);
    busy.send(cmd::WRITE, 0, 0, 4096, &[1; 4096]);
    rig.until("the write is under way", |facts| facts.pieces == 1);
    rig.stop();
    rig.jump(bounds::FAREWELL_NS);
    assert!(busy.is_ended());
    rig.until("all is closed", |facts| facts.closed && facts.pieces == 1);
}

#[test]
fn a_connection_goes_to_the_shard_of_its_export() {
    let far = crate::exports::Export { shard: 1, ..export(1, "far", MIB) };
    let rig = Rig::of(Plan { shards: 2, ..Plan::new(vec![export(0, "near", MIB), far]) });
    let mut near = Client::open(&rig, "near", Mode::Structured);
    let mut far = Client::open(&rig, "far", Mode::Extended);
    near.write_at(5, b"near");
    far.write_at(5, b"far");
    assert_eq!((near.read_at(5, 4), far.read_at(5, 3)), (b"near".to_vec(), b"far".to_vec()));
    rig.until("each has its own", |facts| facts.connections == 1);
    assert_eq!(rig.facts_of(1).connections, 1);
    // A client of the oldest kind may send its first requests along with the name of the export.
    let mut eager = Client::tcp(&rig);
    let name =
        [&[0; 4][..], &0x4948_4156_454f_5054_u64.to_be_bytes(), &opt::EXPORT_NAME.to_be_bytes()].concat();
    let mut all = [&name[..], &3_u32.to_be_bytes(), b"far"].concat();
    all.extend(eager.encode(cmd::READ, 0, 5, 3, &[]));
    eager.write(&all);
    assert!(eager.read(&mut [0; 18 + 10 + 124]));
    assert_eq!(eager.reply().unwrap().data, [(5, b"far".to_vec())]);
    drop((near, far, eager));
    rig.until_empty();
}
