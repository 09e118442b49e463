//! One connection in its transmission phase: what it agreed on, what it is doing, what it holds.

use midspan_format::ids::VolumeId;
use midspan_protocol::host::nbd::Session;
use midspan_protocol::vocab::effect::{HostOp, HostRequest};
use midspan_uring::{Buf, SocketId};

use super::bounds;
use super::input::Input;
use super::outgoing::{Load, Out, Outgoing};
use super::split::Span;
use super::work::Work;
use crate::buffers::PoolBuf;
use crate::exports::ExportId;
use crate::frontend::Host;
use crate::slab::Key;

pub(super) const ACCEPTED: u64 = 0;
pub(super) const LISTENER_CLOSED: u64 = 1;
pub(super) const GREETING_SENT: u64 = 2;
pub(super) const GREETING_RECEIVED: u64 = 3;
pub(super) const SENT: u64 = 4;
pub(super) const RECEIVED: u64 = 5;
pub(super) const CLOSED: u64 = 6;

/// User data of an operation.
pub(super) fn user(key: Key, what: u64) -> u64 {
    Host::user(what << 48 | key.raw())
}

/// Why a connection does not go on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// It receives, or the client has said its last.
    Input,
    /// Its own bounds: it goes on when something of it was answered or sent.
    Own,
    /// The bounds of all requests: it goes on when something was answered.
    Shared,
    /// No buffer: it goes on when one comes back.
    Memory,
    /// The stream cannot be followed, or the ring does not take its operations.
    Broken,
}

/// A piece of a write that is being received.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) span: Span,
    /// Its buffer, filled as far as the payload has come; `None` while the kernel receives into it.
    pub(super) buf: Option<Buf>,
}

impl Hand {
    /// Bytes of the payload that are not in the buffer.
    pub(super) fn missing(&self) -> usize {
        let filled = self.buf.as_ref().map_or(0, Buf::filled);
        (self.span.skew() + self.span.length).saturating_sub(filled)
    }

    /// Moves what was received of the payload into the buffer.
    pub(super) fn fill_from(&mut self, input: &mut Input) {
        let here = self.missing().min(input.unread().len());
        let Some(buf) = self.buf.as_mut() else { return };
        let bytes = input.unread().get(..here).unwrap_or_default();
        if buf.append(bytes).is_some() {
            input.consume(here);
        }
    }
}

/// What follows a payload that nobody wants.
#[derive(Debug)]
pub(super) enum Then {
    /// This is the answer.
    Reply(Out),
    /// The request has failed; it is answered when its pieces are.
    Fail(Key),
}

/// What a connection is doing with what it received.
#[derive(Debug)]
pub(super) enum Task {
    /// The next header.
    Header,
    /// Gives the pieces of a request without payload to the owner. A flush, which has no range, counts as one byte.
    Issue { active: Key, offset: u64, left: u64 },
    /// Receives the payload of a write; `left`: bytes from the piece in hand on.
    Payload { active: Key, offset: u64, left: u64, hand: Option<Hand> },
    /// Throws a payload away.
    Skip { left: u64, then: Option<Then> },
}

/// The connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) socket: SocketId,
    pub(super) export: ExportId,
    pub(super) volume: VolumeId,
    pub(super) session: Session,
    pub(super) input: Input,
    pub(super) task: Task,
    pub(super) out: Outgoing,
    pub(super) held: Load,
    /// A receive runs.
    pub(super) receiving: bool,
    /// Nothing more is read: the client said goodbye, or we stop. It is closed when all is answered.
    pub(super) leaving: bool,
    /// It is among those that are tried again when something became free.
    pub(super) waiting: bool,
    /// It waits for its own bounds.
    pub(super) blocked: bool,
    /// It is among those for which a send is to be started.
    pub(super) ready: bool,
    /// When the operation that is running for it was started; see [`Conn::stalls`].
    pub(super) since: u64,
}

impl Conn {
    /// A connection that has just been agreed on.
    pub(super) fn new(
        socket: SocketId,
        (export, volume): (ExportId, VolumeId),
        session: Session,
        input: Input,
        scratch: Buf,
    ) -> Self {
        Self {
            socket,
            export,
            volume,
            session,
            input,
            task: Task::Header,
            out: Outgoing::new(scratch),
            held: Load::default(),
            receiving: false,
            leaving: false,
            waiting: false,
            blocked: false,
            ready: false,
            since: 0,
        }
    }

    /// Whether another piece of `bytes` is within its bounds. One piece always is.
    pub(super) fn may_hold(&self, bytes: usize, host: &Host<'_>) -> Result<(), Pause> {
        let most = bounds::piece_bytes(host.buffers.pool());
        let Load { pieces, bytes: held, .. } = self.held;
        let may = pieces == 0 || (pieces < bounds::PIECES && held + bytes <= most);
        if may { Ok(()) } else { Err(Pause::Own) }
    }

    /// Whether it is done: the client has left, or we stop, and all is answered.
    pub(super) fn is_over(&self) -> bool {
        self.leaving && self.held.requests == 0 && !self.out.is_sending()
    }

    /// Whether the client moves nothing although our memory is in its hands: replies it does not read, or a payload that
    /// does not come.
    pub(super) fn stalls(&self, now: u64) -> bool {
        let midway = self.receiving && matches!(self.task, Task::Payload { .. });
        (self.out.is_sending() || midway) && now.saturating_sub(self.since) >= bounds::STALL_NS
    }

    /// The request that it is still working on, when it goes away.
    pub(super) fn unfinished(&self) -> Option<Key> {
        match &self.task {
            Task::Issue { active, .. } | Task::Payload { active, .. } => Some(*active),
            Task::Skip { then: Some(Then::Fail(active)), .. } => Some(*active),
            Task::Header | Task::Skip { .. } => None,
        }
    }

    /// Gives one piece to the owner, who has room; its buffer counts as `bytes`.
    pub(super) fn submit(
        &mut self,
        work: &mut Work,
        host: &mut Host<'_>,
        active: Key,
        (span, bytes): (Span, usize),
        op: HostOp<PoolBuf>,
    ) -> Result<(), Pause> {
        let id = work.place(active, span, bytes).ok_or(Pause::Shared)?;
        let request = HostRequest { id, volume: self.volume, op };
        if host.submit(self.export, request).is_err() {
            debug_assert!(false, "asked before whether there is room");
            work.withdraw(id);
            return Err(Pause::Broken);
        }
        self.held.add(Load { requests: 0, pieces: 1, bytes });
        Ok(())
    }
}
