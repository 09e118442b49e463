//! Replies that wait to be sent on one connection: in order, many in one operation, one operation at a time.
//!
//! Nothing is encoded before its send starts: heads then go to a scratch buffer that no other send uses, data is sent
//! from where it was read to.

use std::collections::VecDeque;

use midspan_protocol::host::nbd::{Context, Session};
use midspan_protocol::host::nbd_wire::state;
use midspan_protocol::host::reply::{HEAD_BYTES, Head};
use midspan_protocol::host::status::StatusChunk;
use midspan_protocol::host::transmission::{Command, Refusal, ReplyTo, Request};
use midspan_uring::{Buf, MAX_PARTS};

use super::bounds::{SCRATCH_BYTES, SEND_BYTES};
use crate::buffers::{Gathered, gather};
use crate::slab::Key;

/// Extents of a status reply at most; a longer range is told in several replies.
pub(super) const STATUS_EXTENTS: usize = 32;
/// Bytes of a status chunk at most.
const STATUS_BYTES: usize = 40 + 16 * STATUS_EXTENTS;
/// Room that the next reply's heads may need.
const ROOM_BYTES: usize = if HEAD_BYTES > 2 * STATUS_BYTES { HEAD_BYTES } else { 2 * STATUS_BYTES };

/// Bytes of a piece that was read.
#[derive(Clone, Debug)]
pub(super) struct Data {
    /// Where they lie.
    pub(super) buf: Buf,
    /// And from where on.
    pub(super) start: usize,
    /// How many they are.
    pub(super) length: usize,
}

/// One thing to send.
#[derive(Clone, Debug)]
pub(super) enum Out {
    /// A request was carried out.
    Done(ReplyTo),
    /// A request was not carried out; `at`: what was sent before this offset holds.
    Error {
        /// What to name.
        to: ReplyTo,
        /// Why, and in words.
        refusal: Refusal,
        /// From where on.
        at: Option<u64>,
    },
    /// What is known of a request's range.
    Status {
        /// The request.
        request: Request,
        /// Lengths from its start on, and whether they may differ at the other site.
        marks: Vec<(u64, bool)>,
    },
    /// Data with its head.
    Chunk {
        /// The request.
        request: Request,
        /// Where the chunk starts, and how many bytes its head announces: more than `data` has when others follow.
        offset: u64,
        /// See `offset`.
        length: u32,
        /// Nothing follows this chunk in its reply.
        last: bool,
        /// The (first) bytes.
        data: Data,
        /// These bytes end the reply.
        ends: bool,
    },
    /// Further bytes of the chunk before.
    More {
        /// The bytes.
        data: Data,
        /// They end the reply.
        ends: bool,
    },
}

impl Out {
    /// The answer to a step that needs nothing carried out.
    pub(super) fn answer(to: ReplyTo, result: Result<(), Refusal>) -> Self {
        match result {
            Ok(()) => Self::Done(to),
            Err(refusal) => Self::Error { to, refusal, at: None },
        }
    }

    /// What becomes free when this was sent.
    fn load(&self) -> Load {
        match self {
            Self::Done(_) | Self::Error { .. } | Self::Status { .. } => {
                Load { requests: 1, pieces: 0, bytes: 0 }
            }
            Self::Chunk { data, ends, .. } | Self::More { data, ends } => {
                Load { requests: u32::from(*ends), pieces: 1, bytes: data.buf.capacity() }
            }
        }
    }
}

/// What a connection holds of its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Requests that are not answered.
    pub(super) requests: u32,
    /// Pieces under way or waiting to be sent.
    pub(super) pieces: u32,
    /// Bytes of their buffers.
    pub(super) bytes: usize,
}

impl Load {
    /// More of it.
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.pieces += other.pieces;
        self.bytes += other.bytes;
    }

    /// Less of it.
    pub(super) fn remove(&mut self, other: Self) {
        debug_assert!(
            self.requests >= other.requests && self.pieces >= other.pieces && self.bytes >= other.bytes,
            "more became free than was held"
        );
        self.requests = self.requests.saturating_sub(other.requests);
        self.pieces = self.pieces.saturating_sub(other.pieces);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// The queue of one connection.
///
/// A reply whose bytes come one by one (a *stream*) must not be interrupted: while it runs, other replies wait behind it.
#[derive(Debug)]
pub(super) struct Outgoing {
    queue: VecDeque<Out>,
    /// Replies behind the end of the stream.
    behind: VecDeque<Out>,
    stream: Option<Key>,
    scratch: Buf,
    /// A send runs; what becomes free when it ends.
    sending: Option<Load>,
}

impl Outgoing {
    /// An empty queue that encodes into `scratch`, of at least [`SCRATCH_BYTES`].
    pub(super) fn new(scratch: Buf) -> Self {
        assert!(scratch.capacity() >= SCRATCH_BYTES, "too small for reply heads");
        let queue = VecDeque::with_capacity(64);
        Self { queue, behind: VecDeque::new(), stream: None, scratch, sending: None }
    }

    /// Queues a whole reply, or a chunk that may stand anywhere.
    pub(super) fn push(&mut self, out: Out) {
        if self.stream.is_some() { self.behind.push_back(out) } else { self.queue.push_back(out) }
    }

    /// Lets a request's reply be a stream, unless another one is; says whether it is one now.
    pub(super) fn begin_stream(&mut self, request: Key) -> bool {
        *self.stream.get_or_insert(request) == request
    }

    /// Queues the next bytes of the stream.
    pub(super) fn push_stream(&mut self, out: Out) {
        debug_assert!(self.stream.is_some(), "no stream has begun");
        self.queue.push_back(out);
    }

    /// The stream of this request, if it is one, is complete or will not be.
    pub(super) fn end_stream(&mut self, request: Key) {
        if self.stream == Some(request) {
            self.stream = None;
            self.queue.append(&mut self.behind);
        }
    }

    /// Whether something could be sent now.
    pub(super) fn wants_send(&self) -> bool {
        self.sending.is_none() && !self.queue.is_empty()
    }

    /// Whether a send runs.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Takes what the next send carries; nothing while a send runs. Whoever calls must send what it gets.
    pub(super) fn gather(&mut self, session: &Session, parts: &mut Gathered) {
        parts.clear();
        if !self.wants_send() {
            return;
        }
        // The last send has ended, so nobody else holds the scratch buffer.
        self.scratch.set_filled(0);
        let (mut load, mut bytes) = (Load::default(), 0);
        while bytes < SEND_BYTES && parts.len() + 2 <= MAX_PARTS && self.scratch.room() >= ROOM_BYTES {
            let Some(out) = self.queue.pop_front() else { break };
            load.add(out.load());
            bytes += self.add(session, out, parts);
        }
        self.sending = Some(load);
    }

    /// The send ended: what became free.
    pub(super) fn on_sent(&mut self) -> Load {
        self.sending.take().unwrap_or_default()
    }

    fn add(&mut self, session: &Session, out: Out, parts: &mut Gathered) -> usize {
        match out {
            Out::Done(to) => self.head(&session.encode_done(to), parts),
            Out::Error { to, refusal: Refusal { errno, text }, at } => {
                let head = match at {
                    Some(offset) => session.encode_error_at(to, errno, text, offset, true),
                    None => session.encode_error(to, errno, text),
                };
                self.head(&head, parts)
            }
            Out::Status { request, marks } => self.status(session, &request, &marks, parts),
            Out::Chunk { request, offset, length, last, data, .. } => {
                let head = self.head(&session.encode_data(&request, offset, length, last), parts);
                head + add_data(data, parts)
            }
            Out::More { data, .. } => add_data(data, parts),
        }
    }

    fn head(&mut self, head: &Head, parts: &mut Gathered) -> usize {
        self.append(head.bytes(), parts)
    }

    /// Everything counts as allocated: what the disk knows of holes is not asked.
    fn status(
        &mut self,
        session: &Session,
        request: &Request,
        marks: &[(u64, bool)],
        parts: &mut Gathered,
    ) -> usize {
        let Command::BlockStatus { contexts, .. } = request.command else { return 0 };
        let last = contexts.iter().last();
        let mut bytes = 0;
        for context in contexts.iter() {
            let mut memory = [0; STATUS_BYTES];
            let mut chunk = StatusChunk::new(session, request, context, &mut memory);
            match context {
                Context::Allocation => chunk.push(request.length, 0),
                Context::Dirty => {
                    marks.iter().for_each(|(length, dirty)| {
                        chunk.push(*length, if *dirty { state::DIRTY } else { 0 })
                    });
                }
            }
            bytes += self.append(chunk.finish(last == Some(context)), parts);
        }
        bytes
    }

    fn append(&mut self, bytes: &[u8], parts: &mut Gathered) -> usize {
        let range = self.scratch.append(bytes);
        debug_assert!(range.is_some(), "asked before whether it fits");
        if let Some(range) = range {
            gather(parts, &self.scratch, range);
        }
        bytes.len()
    }
}

fn add_data(data: Data, parts: &mut Gathered) -> usize {
    parts.push((data.buf, data.start..data.start + data.length));
    data.length
}

#[cfg(test)]
mod tests;
