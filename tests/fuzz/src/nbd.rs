//! Drives the NBD machines as the front end does: a bounded receive buffer, filled in pieces of any size.

use midspan_protocol::host::nbd::{
    BlockSizes, Context, Contexts, Export, MAX_PAYLOAD, MAX_SKIP, Mode, Session,
};
use midspan_protocol::host::nbd_wire::{Errno, export_flag};
use midspan_protocol::host::negotiation::{INPUT_BYTES, Negotiation, Outcome};
use midspan_protocol::host::reply::HEAD_BYTES;
use midspan_protocol::host::status::StatusChunk;
use midspan_protocol::host::transmission::{Command, HEADER_BYTES, Request, Step};

use crate::input::Input;

/// What one message of a client is answered with at most, bytes: far more than any real answer.
const MAX_ANSWER: usize = 16 << 10;

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

/// Exports of which one is the default, one cannot be written, one cannot be opened.
pub fn exports() -> [Export<'static>; 3] {
    [
        Export { default: true, ..export("a", 1 << 20) },
        Export { dirty_map: false, read_only: true, description: "", ..export("bb", 1 << 40) },
        Export { available: Err("secondary"), ..export("c", 1 << 30) },
    ]
}

/// Where a stream is cut: lengths of the pieces, again and again.
pub struct Cuts<'a>(core::iter::Cycle<core::slice::Iter<'a, u8>>);

impl<'a> Cuts<'a> {
    /// Pieces of these lengths, each at least 1.
    pub fn new(lengths: &'a [u8]) -> Self {
        Self(lengths.iter().cycle())
    }

    /// The next piece is as long as this; all there is where no cut is known.
    fn next(&mut self) -> usize {
        self.0.next().map_or(usize::MAX, |length| usize::from(*length).max(1))
    }
}

/// What a negotiation came to.
#[derive(Debug, PartialEq)]
pub struct Talk {
    said: Vec<u8>,
    /// How it ended; `NeedMore` where the client's bytes ended before it.
    pub end: Outcome,
    unread: Vec<u8>,
}

/// Negotiates with a client that sends this stream.
pub fn negotiate(stream: &[u8], mut cuts: Cuts<'_>) -> Talk {
    let exports = exports();
    let mut machine = Negotiation::new();
    let mut talk = Talk { said: Vec::new(), end: Outcome::NeedMore, unread: Vec::new() };
    let mut rest = stream;
    loop {
        let mut out = Vec::new();
        let progress = machine.on_bytes(&talk.unread, exports.as_slice(), &mut out);
        assert!(progress.consumed <= talk.unread.len() && out.len() <= MAX_ANSWER);
        talk.unread.drain(..progress.consumed);
        talk.said.extend(out);
        talk.end = progress.outcome;
        match progress.outcome {
            Outcome::Reply => assert!(progress.consumed > 0, "an answer to nothing"),
            Outcome::NeedMore if rest.is_empty() => return talk,
            Outcome::NeedMore => {
                let room = INPUT_BYTES - talk.unread.len();
                assert!(room > 0, "more is wanted than the buffer holds");
                let (now, later) = rest.split_at(cuts.next().min(rest.len()).min(room));
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

/// A session as some negotiation could have ended.
pub fn session(input: &mut Input<'_>) -> Session {
    let mode = [Mode::Simple, Mode::Structured, Mode::Extended][usize::from(input.byte() % 3)];
    let chosen = input.byte();
    let mut contexts = Contexts::NONE;
    for (bit, context) in (0..).zip(Context::ALL) {
        if chosen >> bit & 1 == 1 {
            contexts.insert(context);
        }
    }
    let minimum = [1, 512, 4096, 65536][usize::from(input.byte() % 4)];
    let block = BlockSizes::new(minimum, 65536, MAX_PAYLOAD).expect("sizes that the protocol allows");
    let size = u64::from(input.u32()) * u64::from(minimum);
    let (read_only, can_trim) = (input.flag(), input.flag());
    let (can_zero, fast_zero) = (input.flag(), input.flag());
    let export = Export { read_only, can_trim, can_zero, fast_zero, block, ..export("a", size) };
    Session::new(&export, mode, contexts)
}

/// All that a driver sees of a stream of requests, each answered on the way.
pub fn transmit(session: &Session, stream: &[u8], mut cuts: Cuts<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut unread = Vec::new();
    let mut skip = 0_u64;
    let mut rest = stream;
    loop {
        let now = usize::try_from(skip).unwrap_or(usize::MAX).min(unread.len());
        unread.drain(..now);
        skip -= now as u64;
        let step = if skip > 0 { Step::NeedMore } else { session.on_header(&unread) };
        match step {
            Step::NeedMore if rest.is_empty() => return steps,
            Step::NeedMore => {
                assert!(skip > 0 || unread.len() < HEADER_BYTES, "more is wanted than the buffer holds");
                let (now, later) = rest.split_at(cuts.next().min(rest.len()));
                unread.extend(now);
                rest = later;
                continue;
            }
            Step::Request { consumed, request, payload } => {
                assert!((session.header_bytes()..=HEADER_BYTES).contains(&consumed));
                holds(session, &request, payload);
                unread.drain(..consumed);
                skip = u64::from(payload);
            }
            Step::Answer { consumed, skip: waste, to, result } => {
                assert!((session.header_bytes()..=HEADER_BYTES).contains(&consumed) && waste <= MAX_SKIP);
                let head = session.encode_answer(to, result);
                assert!((16..=HEAD_BYTES).contains(&head.bytes().len()));
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

/// Answers a request with what the rest of the input says: data in pieces, extents, or an error.
pub fn answer(session: &Session, request: &Request, input: &mut Input<'_>) {
    let fits = |bytes: &[u8]| assert!((16..=HEAD_BYTES).contains(&bytes.len()));
    match request.command {
        Command::Read { whole } => {
            let length = u32::try_from(request.length).expect("no longer than the maximum payload");
            let piece = if whole { length } else { (input.u32() % length).max(1) };
            let end = request.offset + u64::from(piece);
            fits(session.encode_data(request, request.offset, piece, whole).bytes());
            if !whole {
                let rest = (length - piece).max(1);
                fits(
                    session
                        .encode_hole(request, request.offset + u64::from(length - rest), rest, false)
                        .bytes(),
                );
                fits(session.encode_error_at(request.reply_to(), Errno::Io, "damaged", end, true).bytes());
            }
        }
        Command::BlockStatus { contexts, .. } => {
            for context in contexts.iter() {
                status(session, request, context, input);
            }
        }
        Command::Write { .. }
        | Command::Flush
        | Command::Trim { .. }
        | Command::Cache
        | Command::WriteZeroes { .. } => {
            let text = String::from_utf8_lossy(input.piece(300));
            fits(session.encode_error(request.reply_to(), Errno::NoSpace, &text).bytes());
            fits(session.encode_done(request.reply_to()).bytes());
        }
    }
}

/// A status chunk with extents of any length is no longer than the memory lent for it.
fn status(session: &Session, request: &Request, context: Context, input: &mut Input<'_>) {
    let room = StatusChunk::MIN_BYTES + usize::from(input.byte());
    let mut memory = vec![0; room];
    let mut chunk = StatusChunk::new(session, request, context, &mut memory);
    let unit = u64::from(session.block().minimum());
    for _ in 0..=input.byte() % 16 {
        chunk.push((u64::from(input.u32()) + 1) * unit, u32::from(input.byte() % 4));
    }
    let bytes = chunk.finish(input.flag());
    assert!(bytes.len() <= room);
}
