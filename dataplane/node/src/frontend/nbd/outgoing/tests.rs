//! Gathering replies, against encoding them one behind the other.

use midspan_protocol::host::nbd::{BlockSizes, Contexts, Export, Mode};
use midspan_protocol::host::nbd_wire::Errno;
use midspan_protocol::host::transmission::Command;
use midspan_uring::{Class, Pool};

use super::super::tests::numbers;
use super::*;
use crate::slab::Slab;

fn pool() -> Pool {
    Pool::new(&[Class { size: 4096, count: 4 }, Class { size: 132 * 1024, count: 64 }], false).unwrap()
}

fn session(mode: Mode) -> Session {
    let export = Export {
        name: "disk",
        description: "",
        size: 1 << 40,
        read_only: false,
        block: BlockSizes::DEFAULT,
        can_trim: true,
        can_zero: true,
        fast_zero: true,
        multi_conn: true,
        dirty_map: false,
        default: false,
        available: Ok(()),
    };
    let mut contexts = Contexts::NONE;
    contexts.insert(Context::Allocation);
    Session::new(&export, mode, contexts)
}

fn request(command: Command, offset: u64, length: u64) -> Request {
    Request { cookie: offset ^ 0x5555, command, offset, length }
}

/// A piece of data whose bytes tell where they lie in the export.
fn data(pool: &Pool, offset: u64, length: usize) -> Data {
    let mut buf = pool.take(132 * 1024).unwrap();
    let start = usize::try_from(offset % 4096).unwrap();
    buf.set_filled(start);
    let bytes: Vec<u8> = (offset..).take(length).map(|at| (at * 31 % 2039).to_le_bytes()[0]).collect();
    buf.append(&bytes).unwrap();
    Data { buf, start, length }
}

fn chunk(pool: &Pool, request: Request, offset: u64, length: usize, last: bool) -> Out {
    let data = data(pool, offset, length);
    Out::Chunk { request, offset, length: u32::try_from(length).unwrap(), last, data, ends: last }
}

/// Encodes a reply by itself.
fn alone(session: &Session, out: &Out) -> Vec<u8> {
    let with_data =
        |head: &[u8], data: &Data| [head, &data.buf.bytes()[data.start..data.start + data.length]].concat();
    match out {
        Out::Done(to) => session.encode_done(*to).bytes().to_vec(),
        Out::Error { to, refusal, at: None } => {
            session.encode_error(*to, refusal.errno, refusal.text).bytes().to_vec()
        }
        Out::Error { to, refusal, at: Some(at) } => {
            session.encode_error_at(*to, refusal.errno, refusal.text, *at, true).bytes().to_vec()
        }
        Out::Status { request, .. } => {
            let mut memory = [0; 4096];
            let mut status = StatusChunk::new(session, request, Context::Allocation, &mut memory);
            status.push(request.length, 0);
            status.finish(true).to_vec()
        }
        Out::Chunk { request, offset, length, last, data, .. } => {
            with_data(session.encode_data(request, *offset, *length, *last).bytes(), data)
        }
        Out::More { data, .. } => with_data(&[], data),
    }
}

/// Sends all that is queued, and gives the bytes of each send.
fn sends(outgoing: &mut Outgoing, session: &Session, held: &mut Load) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut sends = Vec::new();
    while outgoing.wants_send() {
        outgoing.gather(session, &mut parts);
        assert!((1..=MAX_PARTS).contains(&parts.len()) && outgoing.is_sending());
        let bytes = parts.iter().flat_map(|(buf, range)| buf.bytes()[range.clone()].to_vec()).collect();
        sends.push(bytes);
        outgoing.gather(session, &mut parts);
        assert!(parts.is_empty(), "one send at a time");
        held.remove(outgoing.on_sent());
    }
    sends
}

fn random_out(pool: &Pool, random: &mut impl FnMut(u64) -> u64, mode: Mode) -> Out {
    let offset = random(1 << 30);
    let read = request(Command::Read { whole: mode == Mode::Simple }, offset, 1 + random(5000));
    let to = read.reply_to();
    let refusal = Refusal { errno: Errno::Io, text: "the disk failed" };
    match random(if mode == Mode::Simple { 4 } else { 6 }) {
        0 => Out::Done(request(Command::Flush, 0, 0).reply_to()),
        1 => Out::Error { to, refusal, at: None },
        2 | 3 => chunk(pool, read, offset, usize::try_from(read.length).unwrap(), true),
        4 => Out::Error { to, refusal, at: Some(offset) },
        _ => {
            let mut contexts = Contexts::NONE;
            contexts.insert(Context::Allocation);
            let request = request(Command::BlockStatus { one: false, contexts }, offset, 1 + random(1 << 33));
            Out::Status { request, marks: Vec::new() }
        }
    }
}

#[test]
fn gathered_replies_are_the_replies_one_behind_the_other() {
    let mut random = numbers(3);
    for mode in [Mode::Simple, Mode::Structured, Mode::Extended] {
        let (pool, session) = (pool(), session(mode));
        let mut outgoing = Outgoing::new(pool.take(SCRATCH_BYTES).unwrap());
        for _ in 0..200 {
            let (mut expected, mut held) = (Vec::new(), Load::default());
            for _ in 0..=random(60) {
                let out = random_out(&pool, &mut random, mode);
                expected.extend(alone(&session, &out));
                held.add(out.load());
                outgoing.push(out);
            }
            assert!(sends(&mut outgoing, &session, &mut held).concat() == expected);
            assert_eq!(held, Load::default(), "all became free");
        }
        assert_eq!(pool.available(1), 67, "only the scratch buffer is in use");
    }
}

#[test]
fn answers_to_many_writes_are_one_range_of_one_send() {
    let (pool, session) = (pool(), session(Mode::Simple));
    let mut outgoing = Outgoing::new(pool.take(SCRATCH_BYTES).unwrap());
    let mut parts = Vec::new();
    for number in 0..128 {
        outgoing.push(Out::Done(request(Command::Write { fua: false }, number, 1).reply_to()));
    }
    outgoing.gather(&session, &mut parts);
    assert_eq!((parts.len(), parts[0].1.clone()), (1, 0..128 * 16));
    assert_eq!(outgoing.on_sent(), Load { requests: 128, pieces: 0, bytes: 0 });
}

#[test]
fn a_send_carries_a_bounded_number_of_bytes() {
    let (pool, session) = (pool(), session(Mode::Structured));
    let mut outgoing = Outgoing::new(pool.take(SCRATCH_BYTES).unwrap());
    let mut held = Load::default();
    for number in 0..32 {
        let read = request(Command::Read { whole: false }, number << 20, 128 * 1024);
        let out = chunk(&pool, read, number << 20, 128 * 1024, true);
        held.add(out.load());
        outgoing.push(out);
    }
    let lengths: Vec<usize> = sends(&mut outgoing, &session, &mut held).iter().map(Vec::len).collect();
    assert!(
        lengths.len() >= 4 && lengths.iter().all(|bytes| *bytes < SEND_BYTES + (132 << 10)),
        "{lengths:?}"
    );
}

#[test]
fn nothing_comes_between_the_parts_of_a_stream() {
    let (pool, session) = (pool(), session(Mode::Simple));
    let mut outgoing = Outgoing::new(pool.take(SCRATCH_BYTES).unwrap());
    let mut held = Load { requests: 10, pieces: 10, bytes: 10 << 20 };
    let mut names = Slab::new(2);
    let (name, other) = (names.insert(()).unwrap(), names.insert(()).unwrap());
    let read = request(Command::Read { whole: true }, 8192, 8192);
    let done = Out::Done(request(Command::Flush, 0, 0).reply_to());
    let head = Out::Chunk {
        request: read,
        offset: 8192,
        length: 8192,
        last: true,
        data: data(&pool, 8192, 4096),
        ends: false,
    };
    let more = Out::More { data: data(&pool, 12_288, 4096), ends: true };
    let expected: Vec<u8> =
        [&head, &more, &done, &done].iter().flat_map(|out| alone(&session, out)).collect();
    assert!(outgoing.begin_stream(name) && outgoing.begin_stream(name) && !outgoing.begin_stream(other));
    outgoing.push(done.clone());
    outgoing.push_stream(head);
    let mut sent = sends(&mut outgoing, &session, &mut held).concat();
    outgoing.push(done);
    outgoing.push_stream(more);
    outgoing.end_stream(other);
    sent.extend(sends(&mut outgoing, &session, &mut held).concat());
    outgoing.end_stream(name);
    sent.extend(sends(&mut outgoing, &session, &mut held).concat());
    assert!(sent == expected);
    assert!(outgoing.begin_stream(other));
}
