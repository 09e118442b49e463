//! What all connections of a shard have asked owners for: requests under way, and their pieces.
//!
//! A piece keeps its place until its owner has answered it, also when the connection is gone: an answer names the place.

use midspan_protocol::host::transmission::{Command, Request};
use midspan_protocol::vocab::effect::{HostError, RequestId};
use midspan_uring::Buf;

use super::bounds::CONNECTIONS;
use super::outgoing::Load;
use super::split::Span;
use crate::slab::{Key, Slab};

/// How the bytes of a read reach its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Each piece as a chunk of its own, as soon as it is there.
    Any,
    /// One reply with all bytes, once all are there: until then it can still fail.
    Whole,
    /// One reply with all bytes, each as soon as those before it are there: it is larger than what may be held.
    /// `began`: its head is on its way, so it can only end or break off.
    Stream { began: bool },
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Active {
    /// The connection; stale when it is gone.
    pub(super) conn: Key,
    /// What was asked.
    pub(super) request: Request,
    pub(super) order: Order,
    /// Pieces that are not answered.
    left: u32,
    /// No further piece will follow.
    complete: bool,
    /// The first failure, and the offset of its piece.
    failure: Option<(HostError, u64)>,
    /// Pieces whose bytes are sent in order, oldest first.
    first: Option<Key>,
    last: Option<Key>,
}

/// A piece of a request, in the hands of an owner or answered and waiting for earlier ones.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) active: Key,
    /// Where its bytes lie; empty for what has none.
    pub(super) span: Span,
    /// Bytes of its buffer.
    pub(super) bytes: usize,
    /// What was read.
    pub(super) buf: Option<Buf>,
    answered: bool,
    next: Option<Key>,
}

impl Piece {
    /// What its connection holds for it.
    pub(super) fn load(&self) -> Load {
        Load { requests: 0, pieces: 1, bytes: self.bytes }
    }
}

/// The tables. All memory is allocated by [`Work::new`].
#[derive(Debug)]
pub(super) struct Work {
    actives: Slab<Active>,
    pieces: Slab<Piece>,
}

impl Work {
    /// For so many pieces at a time.
    pub(super) fn new(pieces: usize) -> Self {
        // Each connection may have one request none of whose pieces found a place yet.
        Self { actives: Slab::new(pieces + CONNECTIONS), pieces: Slab::new(pieces) }
    }

    /// Whether another piece has a place.
    pub(super) fn has_room(&self) -> bool {
        self.pieces.has_room()
    }

    /// Pieces that have a place.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// A request begins; `None` when there are too many.
    pub(super) fn begin(&mut self, conn: Key, request: Request) -> Option<Key> {
        let order = match request.command {
            Command::Read { whole: true } => Order::Whole,
            Command::Read { whole: false }
            | Command::Write { .. }
            | Command::Flush
            | Command::Trim { .. }
            | Command::Cache
            | Command::WriteZeroes { .. }
            | Command::BlockStatus { .. } => Order::Any,
        };
        let (first, last) = (None, None);
        let active = Active { conn, request, order, left: 0, complete: false, failure: None, first, last };
        self.actives.insert(active).ok()
    }

    /// The request.
    pub(super) fn active(&mut self, key: Key) -> Option<&mut Active> {
        self.actives.get_mut(key)
    }

    /// Gives a piece its place and its name; `None` when there is no place or its request is gone.
    pub(super) fn place(&mut self, active: Key, span: Span, bytes: usize) -> Option<RequestId> {
        let owner = self.actives.get_mut(active)?;
        let piece = Piece { active, span, bytes, buf: None, answered: false, next: None };
        let key = self.pieces.insert(piece).ok()?;
        owner.left += 1;
        if owner.order != Order::Any {
            let before = owner.last.replace(key);
            match before.and_then(|before| self.pieces.get_mut(before)) {
                Some(before) => before.next = Some(key),
                None => owner.first = Some(key),
            }
        }
        u32::try_from(key.place()).ok().map(RequestId)
    }

    /// No owner took the piece.
    pub(super) fn withdraw(&mut self, request: RequestId) {
        if let Some((piece, ..)) = self.named(request) {
            self.answer(piece, Err(HostError::Io));
        }
    }

    /// The piece that an answer names, its request and its connection.
    pub(super) fn named(&self, request: RequestId) -> Option<(Key, Key, Key)> {
        let piece = self.pieces.key_of_place(usize::try_from(request.0).ok()?)?;
        let active = self.pieces.get(piece).filter(|piece| !piece.answered)?.active;
        Some((piece, active, self.actives.get(active)?.conn))
    }

    /// Where the bytes of a piece lie.
    pub(super) fn span(&self, piece: Key) -> Option<Span> {
        self.pieces.get(piece).map(|piece| piece.span)
    }

    /// A piece was answered. One that is not sent in order is given up; the others are taken by [`Work::take_next`].
    pub(super) fn answer(&mut self, key: Key, result: Result<Option<Buf>, HostError>) -> Option<Piece> {
        let piece = self.pieces.get_mut(key)?;
        piece.answered = true;
        let (active, offset) = (piece.active, piece.span.offset);
        let owner = self.actives.get_mut(active)?;
        owner.left -= 1;
        match result {
            Ok(buf) => piece.buf = buf,
            Err(error) => {
                owner.failure.get_or_insert((error, offset));
            }
        }
        if owner.order == Order::Any { self.pieces.remove(key) } else { None }
    }

    /// The oldest piece that is sent in order, if it is answered.
    pub(super) fn take_next(&mut self, active: Key) -> Option<Piece> {
        let owner = self.actives.get_mut(active)?;
        let first =
            owner.first.filter(|first| self.pieces.get(*first).is_some_and(|piece| piece.answered))?;
        let piece = self.pieces.remove(first)?;
        owner.first = piece.next;
        if owner.first.is_none() {
            owner.last = None;
        }
        Some(piece)
    }

    /// No further piece of the request will follow.
    pub(super) fn complete(&mut self, active: Key) {
        if let Some(active) = self.actives.get_mut(active) {
            active.complete = true;
        }
    }

    /// The request ended.
    pub(super) fn end(&mut self, active: Key) {
        while self.take_next(active).is_some() {}
        self.actives.remove(active);
    }

    /// Ends a request whose connection is gone, once its last piece was answered.
    pub(super) fn end_orphan(&mut self, active: Key) {
        if self.actives.get(active).is_some_and(Active::is_over) {
            self.end(active);
        }
    }
}

impl Active {
    /// Whether all pieces there will be are answered.
    pub(super) fn is_over(&self) -> bool {
        self.complete && self.left == 0
    }

    /// Whether any piece is under way, or waits for an earlier one.
    pub(super) fn has_pieces(&self) -> bool {
        self.left > 0 || self.first.is_some()
    }

    /// The first failure, and the offset of its piece.
    pub(super) fn failure(&self) -> Option<(HostError, u64)> {
        self.failure
    }
}
