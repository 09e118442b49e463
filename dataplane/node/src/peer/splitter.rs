//! Cuts received bytes into messages and units: contiguous, aligned, copied only where a buffer ends inside one.
//!
//! ```text
//!  chunk:   | delivered ........ | start: partial unit | free: the kernel receives here |
//! ```
//! A unit that the chunk cannot hold to its end is moved, as far as it has come, to the start of a fresh chunk.

use midspan_format::message::Message;
use midspan_protocol::vocab::buffer::{Buffer, Buffers, Slice};

use crate::buffers::{PoolBuf, PoolBuffers};
use crate::peer::wire::{self, BadStream};

/// With less room than this behind the last whole unit, a fresh chunk is taken.
const LOW_ROOM: usize = 64 * 1024;

/// With so much or more of a unit missing, it is received to its end in one go, and not beyond it: the kernel puts the parts
/// together, and nothing of the next unit lies where it has no room.
const MUCH_MISSING: usize = 32 * 1024;

/// How the bytes of a direction are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One small message, and not a byte beyond it: what follows may be of another mode.
    Greeting,
    /// Small messages.
    Small,
    /// Frames and block messages.
    Bulk,
}

/// A complete item of a stream.
#[derive(Debug)]
pub enum Item {
    /// A small message.
    Message(Message),
    /// A bulk unit.
    Unit(Slice<PoolBuf>),
}

/// Where to receive next.
#[derive(Debug)]
pub struct Target {
    /// The buffer; bytes go behind its filled ones.
    pub buf: PoolBuf,
    /// Receive exactly so many; else as many as come.
    pub exactly: Option<usize>,
}

/// The splitter of one direction of a connection.
#[derive(Debug)]
pub struct Splitter {
    mode: Mode,
    /// Bytes of an ordinary chunk.
    chunk_bytes: usize,
    chunk: Option<PoolBuf>,
    start: usize,
    /// Bytes copied from chunk to chunk so far.
    pub moved: u64,
}

impl Splitter {
    /// A splitter that takes chunks of `chunk_bytes`.
    pub fn new(mode: Mode, chunk_bytes: usize) -> Self {
        Self { mode, chunk_bytes, chunk: None, start: 0, moved: 0 }
    }

    /// The present mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What follows the greeting. Nothing is left over: a greeting is received exactly.
    pub fn set_mode(&mut self, mode: Mode, chunk_bytes: usize) {
        debug_assert!(self.rest().is_empty(), "bytes behind a greeting");
        *self = Self { moved: self.moved, ..Self::new(mode, chunk_bytes) };
    }

    /// The next complete item, after bytes were received into the target.
    pub fn take_item(&mut self) -> Result<Option<Item>, BadStream> {
        let rest = self.rest();
        let Some(length) = self.unit_length(rest)?.filter(|l| *l <= rest.len()) else { return Ok(None) };
        let end = self.start + length;
        let item = match self.mode {
            Mode::Greeting | Mode::Small => {
                Item::Message(wire::decode(rest.get(..length).unwrap_or_default())?)
            }
            Mode::Bulk => match &self.chunk {
                Some(chunk) => Item::Unit(Slice::new(chunk.clone(), self.start..end)),
                None => return Ok(None),
            },
        };
        self.start = end;
        Ok(Some(item))
    }

    /// Where to receive next; call it when no receive runs and [`Splitter::take_item`] has nothing more. `None`: the pool is
    /// empty.
    pub fn target(&mut self, buffers: &mut PoolBuffers) -> Option<Target> {
        let rest = self.rest();
        let have = rest.len();
        let header = if self.mode == Mode::Bulk { wire::BULK_HEADER } else { wire::SMALL_HEADER };
        // A bad length was refused by `take_item` before.
        let need = self.unit_length(rest).ok().flatten().unwrap_or(header);
        self.make_room(buffers, have, need)?;
        let buf = self.chunk.clone()?;
        let missing = need.saturating_sub(have);
        let exactly = (self.mode == Mode::Greeting || missing >= MUCH_MISSING).then_some(missing);
        Some(Target { buf, exactly })
    }

    /// Forgets everything received: the connection is only read to its end.
    pub fn discard(&mut self) {
        self.mode = Mode::Small;
        self.chunk_bytes = wire::SMALL_MAX;
        self.start = 0;
        match self.chunk.take_if(|c| c.is_unique()) {
            Some(mut chunk) => {
                chunk.set_filled(0);
                self.chunk = Some(chunk);
            }
            None => self.chunk = None,
        }
    }

    fn rest(&self) -> &[u8] {
        self.chunk.as_ref().and_then(|c| c.bytes().get(self.start..)).unwrap_or_default()
    }

    fn unit_length(&self, bytes: &[u8]) -> Result<Option<usize>, BadStream> {
        match self.mode {
            Mode::Greeting | Mode::Small => wire::small_length(bytes),
            Mode::Bulk => wire::unit_length(bytes),
        }
    }

    /// Provides a chunk with room for a unit of `need` bytes of which `have` have come.
    fn make_room(&mut self, buffers: &mut PoolBuffers, have: usize, need: usize) -> Option<()> {
        if let Some(chunk) = self.chunk.as_mut() {
            let low = LOW_ROOM.min(self.chunk_bytes / 4);
            // Nobody else holds what was delivered: the chunk can start anew, for nothing if nothing is left in it.
            if chunk.is_unique() && (have == 0 || chunk.capacity() - self.start < need.max(have + low)) {
                self.moved += compact(chunk, self.start);
                self.start = 0;
            }
            let room = chunk.capacity() - self.start;
            if room >= need && room > have && (room - have >= low || self.start == 0) {
                return Some(());
            }
        }
        let mut fresh = buffers.take(self.chunk_bytes.max(need))?;
        let rest = self.rest();
        let moved = rest.len() as u64;
        let place = fresh.bytes_mut()?.get_mut(..rest.len())?;
        place.copy_from_slice(rest);
        fresh.set_filled(have);
        self.moved += moved;
        self.chunk = Some(fresh);
        self.start = 0;
        Some(())
    }
}

/// Moves the bytes from `start` on to the front; says how many.
fn compact(chunk: &mut PoolBuf, start: usize) -> u64 {
    if start == 0 {
        return 0;
    }
    let filled = chunk.bytes().len();
    if let Some(bytes) = chunk.bytes_mut() {
        bytes.copy_within(start..filled, 0);
    }
    chunk.set_filled(filled - start);
    (filled - start) as u64
}
