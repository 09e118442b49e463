//! The NBD machines against arbitrary bytes: nothing panics, the cut of the stream changes nothing, and what is let through keeps
//! every promise that drivers rely on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]
#![allow(missing_docs, reason = "test code")]

use midspan_protocol::host::nbd::{
    BlockSizes, CloseReason, Context, Contexts, Export, MAX_PAYLOAD, MAX_SKIP, Mode, Session,
};
use midspan_protocol::host::nbd_wire::{Errno, export_flag};
use midspan_protocol::host::negotiation::{INPUT_BYTES, Negotiation, Outcome};
use midspan_protocol::host::reply::HEAD_BYTES;
use midspan_protocol::host::status::StatusChunk;
use midspan_protocol::host::transmission::{Command, HEADER_BYTES, Request, Step};
use proptest::collection::vec;
use proptest::prelude::*;

fn export(name: &'static str, size: u64) -> Export<'static> {
    Export {
        name,
        description: "a disk",
        size,
        read_only: false,
        block: BlockSizes::DEFAULT,
        can_trim: true,
        can_zero: true,
        fast_zero: true,
        multi_conn: true,
        dirty_map: true,
        default: false,
        available: Ok(()),
    }
}

fn exports() -> [Export<'static>; 3] {
    [
        Export { default: true, ..export("a", 1 << 20) },
        Export { dirty_map: false, read_only: true, ..export("bb", 1 << 40) },
        Export { available: Err("secondary"), ..export("c", 1 << 30) },
    ]
}

/// A name or query that means something, or does not.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "a", "bb", "c", "base:", "base:allocation", "midspan:dirty", "midspan:", "x"])
            .prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn counted(word: &[u8]) -> Vec<u8> {
    [&(word.len() as u32).to_be_bytes(), word].concat()
}

/// The data of an option: well-formed for one of the options, or anything.
fn option_data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(Vec::new()),
        2 => word(),
        3 => (word(), vec(0_u16..6, 0..4)).prop_map(|(name, facts)| {
            let facts: Vec<u8> = [facts.len() as u16].iter().chain(&facts).flat_map(|word| word.to_be_bytes()).collect();
            [counted(&name), facts].concat()
        }),
        3 => (word(), vec(word(), 0..4)).prop_map(|(name, queries)| {
            let queries_bytes: Vec<u8> = queries.iter().flat_map(|query| counted(query)).collect();
            [counted(&name), (queries.len() as u32).to_be_bytes().to_vec(), queries_bytes].concat()
        }),
        1 => vec(any::<u8>(), 0..64),
        1 => (16_000_usize..18_000).prop_map(|length| vec![0; length]),
    ]
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![8 => 0_u32..14, 1 => any::<u32>()];
    (code, option_data(), prop_oneof![20 => Just(0_i64), 1 => -4_i64..4]).prop_map(|(code, data, lie)| {
        let length = (data.len() as i64 + lie).max(0) as u32;
        [b"IHAVEOPT".as_slice(), &code.to_be_bytes(), &length.to_be_bytes(), &data].concat()
    })
}

fn handshake() -> impl Strategy<Value = Vec<u8>> {
    let flags =
        prop_oneof![8 => Just(vec![0, 0, 0, 3]), 1 => Just(vec![0, 0, 0, 0]), 1 => vec(any::<u8>(), 4)];
    let options = vec(option(), 0..8).prop_map(|options| options.concat());
    (flags, options, vec(any::<u8>(), 0..8))
        .prop_map(|(flags, options, rest)| [flags, options, rest].concat())
}

#[derive(Debug, PartialEq)]
struct Talk {
    said: Vec<u8>,
    end: Outcome,
    unread: Vec<u8>,
}

/// Feeds a stream in these cuts, as a driver does.
fn negotiate(stream: &[u8], cuts: &[usize]) -> Talk {
    let exports = exports();
    let mut machine = Negotiation::new();
    let mut talk = Talk { said: Vec::new(), end: Outcome::NeedMore, unread: Vec::new() };
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    loop {
        let mut out = Vec::new();
        let progress = machine.on_bytes(&talk.unread, exports.as_slice(), &mut out);
        talk.unread.drain(..progress.consumed);
        talk.said.extend(out);
        talk.end = progress.outcome;
        match progress.outcome {
            Outcome::Reply => {}
            Outcome::NeedMore if rest.is_empty() => return talk,
            Outcome::NeedMore => {
                assert!(talk.unread.len() < INPUT_BYTES, "a driver's buffer would be full");
                let room = INPUT_BYTES - talk.unread.len();
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()).min(room));
                talk.unread.extend(now);
                rest = later;
            }
            Outcome::Ready { .. } | Outcome::Close(_) => {
                talk.unread.extend(rest);
                return talk;
            }
        }
    }
}

fn contexts() -> impl Strategy<Value = Contexts> {
    (any::<bool>(), any::<bool>()).prop_map(|chosen| {
        let mut contexts = Contexts::NONE;
        let rows = [(chosen.0, Context::Allocation), (chosen.1, Context::Dirty)];
        rows.into_iter()
            .filter(|(chosen, _)| *chosen)
            .for_each(|(_, context)| assert!(contexts.insert(context)));
        contexts
    })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Simple, Mode::Structured, Mode::Extended])
}

fn session() -> impl Strategy<Value = Session> {
    let abilities = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let sizes = (prop::sample::select(vec![1_u32, 512, 4096]), 0_u64..1 << 20);
    (mode(), contexts(), sizes, abilities).prop_map(|(mode, contexts, (minimum, blocks), abilities)| {
        let (read_only, can_trim, can_zero, fast_zero) = abilities;
        let block = BlockSizes::new(minimum, 4096, MAX_PAYLOAD).unwrap();
        let size = blocks * u64::from(minimum) * 8;
        let export = Export { read_only, can_trim, can_zero, fast_zero, block, ..export("a", size) };
        Session::new(&export, mode, contexts)
    })
}

/// A number near something interesting.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0_u64..40).prop_map(|blocks| blocks * 512),
        (0_u32..64, -2_i64..3).prop_map(|(bit, lie)| (1_u64 << bit).wrapping_add_signed(lie)),
        any::<u64>(),
    ]
}

/// Request headers, with some of the payload that they announce.
fn requests(session: Session) -> impl Strategy<Value = (Session, Vec<u8>)> {
    let extended = session.mode() == Mode::Extended;
    let magic: u32 = if extended { 0x21e4_1c71 } else { 0x2560_9513 };
    let flags = prop_oneof![4 => Just(0_u16), 4 => 0_u16..64, 1 => any::<u16>()];
    let command = prop_oneof![12 => 0_u16..9, 1 => any::<u16>()];
    let one = (flags, command, any::<u64>(), number(), number(), vec(0_u8..3, 0..24)).prop_map(
        move |(flags, command, cookie, offset, length, payload)| {
            let length =
                if extended { length.to_be_bytes().to_vec() } else { (length as u32).to_be_bytes().to_vec() };
            let start =
                [magic.to_be_bytes().to_vec(), flags.to_be_bytes().to_vec(), command.to_be_bytes().to_vec()];
            [start.concat(), cookie.to_be_bytes().to_vec(), offset.to_be_bytes().to_vec(), length, payload]
                .concat()
        },
    );
    vec(one, 1..6).prop_map(move |requests| (session, requests.concat()))
}

/// All that a driver sees of a stream in these cuts.
fn transmit(session: &Session, stream: &[u8], cuts: &[usize]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut unread = Vec::new();
    let mut skip = 0_u64;
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    loop {
        let now = usize::try_from(skip).unwrap_or(usize::MAX).min(unread.len());
        unread.drain(..now);
        skip -= now as u64;
        let step = if skip > 0 { Step::NeedMore } else { session.on_header(&unread) };
        match step {
            Step::NeedMore if rest.is_empty() => return steps,
            Step::NeedMore => {
                assert!(skip > 0 || unread.len() < HEADER_BYTES, "a driver's buffer would be full");
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                unread.extend(now);
                rest = later;
                continue;
            }
            Step::Request { consumed, payload, .. } => {
                unread.drain(..consumed);
                skip = u64::from(payload);
            }
            Step::Answer { consumed, skip: waste, .. } => {
                unread.drain(..consumed);
                skip = waste;
            }
            Step::Disconnect | Step::Close(_) => {
                steps.push(step);
                return steps;
            }
        }
        steps.push(step);
    }
}

/// What a driver may count on, said once more in other words.
fn holds(session: &Session, request: &Request, payload: u32) {
    let Request { command, offset, length, .. } = *request;
    let flag = |flag| session.flags() & flag != 0;
    assert!(u128::from(offset) + u128::from(length) <= u128::from(session.size()));
    assert_eq!((offset | length) % u64::from(session.block().minimum()), 0);
    assert_eq!(length == 0, command == Command::Flush);
    let writable = !flag(export_flag::READ_ONLY);
    let allowed = match command {
        Command::Read { whole } => {
            length <= u64::from(MAX_PAYLOAD) && (whole || session.mode() != Mode::Simple)
        }
        Command::Write { .. } => length <= u64::from(MAX_PAYLOAD) && writable,
        Command::Flush | Command::Cache => true,
        Command::Trim { .. } => writable && flag(export_flag::SEND_TRIM),
        Command::WriteZeroes { .. } => writable && flag(export_flag::SEND_WRITE_ZEROES),
        Command::BlockStatus { contexts, .. } => {
            !contexts.is_empty() && contexts.iter().all(|context| session.contexts().contains(context))
        }
    };
    assert!(allowed, "{request:?}");
    let expected = if matches!(command, Command::Write { .. }) { length } else { 0 };
    assert_eq!(u64::from(payload), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_a_handshake_is_the_same_handshake(stream in handshake(), cuts in vec(1_usize..300, 1..8)) {
        let whole = negotiate(&stream, &[usize::MAX]);
        prop_assert_eq!(&negotiate(&stream, &cuts), &whole);
        prop_assert_eq!(&negotiate(&stream, &[1]), &whole);
        if let Outcome::Ready { export, session } = whole.end {
            prop_assert!(exports()[export].available.is_ok() && session.size() == exports()[export].size);
        }
    }

    #[test]
    fn noise_never_opens_an_export(noise in vec(any::<u8>(), 0..400)) {
        let talk = negotiate(&noise, &[7]);
        let opened = matches!(talk.end, Outcome::Ready { .. });
        prop_assert!(!opened);
    }

    #[test]
    fn any_cut_of_requests_is_the_same_requests(
        (session, stream) in session().prop_flat_map(requests),
        cuts in vec(1_usize..80, 1..8),
    ) {
        let whole = transmit(&session, &stream, &[usize::MAX]);
        prop_assert_eq!(&transmit(&session, &stream, &cuts), &whole);
        prop_assert_eq!(&transmit(&session, &stream, &[1]), &whole);
        for step in whole {
            match step {
                Step::Request { request, payload, .. } => holds(&session, &request, payload),
                Step::Answer { skip, to, result, .. } => {
                    prop_assert!(skip <= MAX_SKIP);
                    let head = session.encode_answer(to, result);
                    prop_assert!((16..=HEAD_BYTES).contains(&head.bytes().len()));
                }
                Step::Disconnect | Step::Close(_) | Step::NeedMore => {}
            }
        }
    }

    #[test]
    fn noise_is_never_taken_for_a_request(session in session(), mut noise in vec(any::<u8>(), 32..100)) {
        noise[0] = 0x55;
        prop_assert_eq!(session.on_header(&noise), Step::Close(CloseReason::BadMagic));
    }

    #[test]
    fn errors_fit_whatever_they_say(mode in mode(), text in ".{0,400}", offset in any::<u64>()) {
        let session = Session::new(&export("a", 1 << 20), mode, Contexts::NONE);
        let request = Request { cookie: offset, command: Command::Cache, offset: 0, length: 512 };
        let plain = session.encode_error(request.reply_to(), Errno::Io, &text);
        let placed = session.encode_error_at(request.reply_to(), Errno::Io, &text, offset, true);
        prop_assert!(plain.bytes().len() <= placed.bytes().len() && placed.bytes().len() <= HEAD_BYTES);
    }

    #[test]
    fn status_chunks_keep_their_rules(
        extended in any::<bool>(),
        one in any::<bool>(),
        blocks in 1_u64..1 << 20,
        memory in 64_usize..400,
        extents in vec((1_u64..1 << 22, 0_u32..4), 1..40),
    ) {
        let mode = if extended { Mode::Extended } else { Mode::Structured };
        let mut contexts = Contexts::NONE;
        contexts.insert(Context::Dirty);
        let session = Session::new(&export("a", 1 << 34), mode, contexts);
        let command = Command::BlockStatus { one, contexts };
        let request = Request { cookie: 7, command, offset: 4096, length: blocks * 512 };
        let mut memory = vec![0; memory];
        let mut chunk = StatusChunk::new(&session, &request, Context::Dirty, &mut memory);
        extents.iter().for_each(|(length, flags)| chunk.push(length * 512, *flags));
        let bytes = chunk.finish(true);
        let (head, width) = if extended { (40, 16) } else { (24, 8) };
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let found: Vec<(u64, u64)> = bytes[head..]
            .chunks(width)
            .map(|extent| (number(&extent[..width / 2]), number(&extent[width / 2..])))
            .collect();
        let stated = number(if extended { &bytes[24..32] } else { &bytes[16..20] }) as usize;
        prop_assert_eq!(stated, bytes.len() - if extended { 32 } else { 20 });
        prop_assert!(!found.is_empty() && found.iter().all(|(length, _)| *length > 0 && length % 512 == 0));
        prop_assert!(found.windows(2).all(|pair| pair[0].1 != pair[1].1));
        let before_last: u64 = found[..found.len() - 1].iter().map(|(length, _)| length).sum();
        prop_assert!(before_last < request.length);
        prop_assert!(4096 + before_last + found[found.len() - 1].0 <= session.size());
        prop_assert!(!one || (found.len() == 1 && found[0].0 <= request.length));
    }
}
