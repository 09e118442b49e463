//! Reads a range of a ring into one buffer, in two pieces where it wraps.

use midspan_format::geometry::{Extent, Position, Ring};

use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, DiskResult, Token};

/// One read at a time; its disk operations carry one token.
#[derive(Debug)]
pub struct RingRead {
    token: Token,
    state: Option<Pieces>,
}

#[derive(Clone, Copy, Debug)]
struct Pieces {
    position: Position,
    length: usize,
    done: usize,
    second: Option<Extent>,
}

/// How a read stands.
#[derive(Debug)]
pub enum ReadStep<B> {
    /// The second piece is on its way.
    Running,
    /// All bytes are there.
    Done(Position, Slice<B>),
    /// The disk failed.
    Failed(Position),
}

impl RingRead {
    /// A reader whose operations carry `token`.
    pub fn new(token: Token) -> Self {
        Self { token, state: None }
    }

    /// Whether a read is running.
    pub fn is_busy(&self) -> bool {
        self.state.is_some()
    }

    /// Starts reading `length` bytes from `position`, or says that the pool is empty.
    pub fn start<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        ring: Ring,
        position: Position,
        length: usize,
    ) -> bool {
        let Some(into) = context.buffers.take(length) else {
            rare!(RingReadStarved);
            return false;
        };
        let (first, second) = ring.split(position, length as u64);
        let cut = usize::try_from(first.length).unwrap_or(0);
        self.state = Some(Pieces { position, length, done: cut, second });
        let op = DiskOp::Read { offset: first.offset, length: cut, at: 0, into };
        context.disk(Disk::Journal, self.token, op);
        true
    }

    /// A piece ended.
    pub fn on_disk<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        result: DiskResult<S::Buf>,
    ) -> ReadStep<S::Buf> {
        let Some(mut pieces) = self.state.take() else { return ReadStep::Running };
        let Ok(Some(buffer)) = result else {
            rare!(RingReadFails);
            return ReadStep::Failed(pieces.position);
        };
        let Some(second) = pieces.second.take() else {
            debug_assert!(buffer.bytes().len() >= pieces.length, "a read gives what was asked");
            return ReadStep::Done(pieces.position, Slice::new(buffer, 0..pieces.length));
        };
        let length = usize::try_from(second.length).unwrap_or(0);
        let op = DiskOp::Read { offset: second.offset, length, at: pieces.done, into: buffer };
        context.disk(Disk::Journal, self.token, op);
        pieces.done += length;
        self.state = Some(pieces);
        ReadStep::Running
    }
}
