//! Status chunks: puts the extents of one context into a reply, in memory that the driver lends.

use super::nbd::{Context, Mode, Session};
use super::nbd_wire::{EXTENDED_REPLY_BYTES, STRUCTURED_REPLY_BYTES, chunk};
use super::transmission::{Command, ReplyTo, Request};

/// The longest extent that 32 bits can state and that is a multiple of every minimum block size.
const MAX_COMPACT_EXTENT: u64 = 0xffff_0000;

/// One chunk of a status reply: the extents of one context, in order, from the start of the request.
///
/// It keeps the rules of the protocol: neighbours differ in their flags; only the last extent may reach beyond the request, and with
/// [`one`](Command::BlockStatus::one) there is one and it does not; nothing reaches beyond the export.
#[derive(Debug)]
pub struct StatusChunk<'m> {
    session: Session,
    to: ReplyTo,
    context: Context,
    one: bool,
    /// Bytes the client asked for.
    wanted: u64,
    /// Bytes that all extents taken so far cover.
    covered: u64,
    /// The last extent, which the next one may still make longer.
    open: Option<(u64, u32)>,
    full: bool,
    memory: &'m mut [u8],
    /// Bytes of memory in use: the room for the head, and all extents but the open one.
    used: usize,
}

impl<'m> StatusChunk<'m> {
    /// The least memory a chunk needs, in bytes.
    pub const MIN_BYTES: usize = 64;

    /// A chunk for one context of a `BLOCK_STATUS` request. The memory decides how many extents fit: 40 bytes for the head and 16
    /// for each of them are always enough. When it is full the reply ends early, which the protocol allows.
    ///
    /// # Panics
    /// When the memory is shorter than [`MIN_BYTES`](Self::MIN_BYTES), or the request did not ask for this context: programmer
    /// errors.
    pub fn new(session: &Session, request: &Request, context: Context, memory: &'m mut [u8]) -> Self {
        assert!(memory.len() >= Self::MIN_BYTES, "too little memory for a status chunk");
        let Command::BlockStatus { one, contexts } = request.command else {
            panic!("extents for a request that asked for something else");
        };
        assert!(contexts.contains(context), "extents of a context that was not asked for");
        Self {
            session: *session,
            to: request.reply_to(),
            context,
            one,
            wanted: request.length,
            covered: 0,
            open: None,
            full: false,
            memory,
            used: head_bytes(session.mode),
        }
    }

    /// Whether another extent is wanted.
    pub fn wants_more(&self) -> bool {
        self.covered < self.wanted && !self.full
    }

    /// Where the next extent starts, in bytes from the start of the request.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// Adds the next `length` bytes, which have these [`flags`](super::nbd_wire::state). Does nothing when no more is wanted.
    ///
    /// # Panics
    /// When the extent is empty: a programmer error.
    pub fn push(&mut self, length: u64, flags: u32) {
        assert!(length > 0, "an empty extent");
        if !self.wants_more() {
            return;
        }
        let room = self.session.size.saturating_sub(self.to.offset).saturating_sub(self.covered);
        let length = length.min(room);
        match self.open {
            Some((open, same)) if same == flags => self.open = Some((open.saturating_add(length), flags)),
            Some((open, other)) => {
                let next = self.used + 2 * self.extent_bytes();
                if self.one || next > self.memory.len() {
                    self.full = true;
                    return;
                }
                self.write(open, other);
                self.open = Some((length, flags));
            }
            None => self.open = Some((length, flags)),
        }
        self.covered = self.covered.saturating_add(length);
    }

    /// Completes the chunk; with `last` set, the reply as well. Gives the bytes to send.
    ///
    /// # Panics
    /// When no extent was added: a programmer error.
    pub fn finish(mut self, last: bool) -> &'m [u8] {
        assert!(self.open.is_some(), "a status without an extent");
        if let Some((length, flags)) = self.open.take() {
            self.write(if self.one { length.min(self.wanted) } else { length }, flags);
        }
        let head_bytes = head_bytes(self.session.mode);
        let extents = u32::try_from((self.used - head_bytes) / self.extent_bytes()).unwrap_or(u32::MAX);
        let id = self.context.id().to_be_bytes();
        let head = match self.session.mode {
            Mode::Simple | Mode::Structured => {
                self.session.chunk(self.to, chunk::BLOCK_STATUS, last, 4 + 8 * extents).put(&id)
            }
            Mode::Extended => {
                let head = self.session.chunk(self.to, chunk::BLOCK_STATUS_EXT, last, 8 + 16 * extents);
                head.put(&id).put(&extents.to_be_bytes())
            }
        };
        if let Some(place) = self.memory.get_mut(..head_bytes) {
            place.copy_from_slice(head.bytes());
        }
        self.memory.get(..self.used).unwrap_or_default()
    }

    fn extent_bytes(&self) -> usize {
        match self.session.mode {
            Mode::Simple | Mode::Structured => 8,
            Mode::Extended => 16,
        }
    }

    /// ```text
    /// │length 32 │flags 32 │   or   │length 64 │flags 64 │
    /// ```
    fn write(&mut self, length: u64, flags: u32) {
        let mut bytes = [0; 16];
        let extent_bytes = self.extent_bytes();
        let word = match self.session.mode {
            Mode::Simple | Mode::Structured => {
                let length = length.min(MAX_COMPACT_EXTENT);
                (u128::from(length) << 32 | u128::from(flags)) << 64
            }
            Mode::Extended => u128::from(length) << 64 | u128::from(flags),
        };
        bytes.copy_from_slice(&word.to_be_bytes());
        let end = self.used + extent_bytes;
        if let (Some(place), Some(extent)) = (self.memory.get_mut(self.used..end), bytes.get(..extent_bytes))
        {
            place.copy_from_slice(extent);
        }
        self.used = end;
    }
}

fn head_bytes(mode: Mode) -> usize {
    match mode {
        Mode::Simple | Mode::Structured => STRUCTURED_REPLY_BYTES + 4,
        Mode::Extended => EXTENDED_REPLY_BYTES + 8,
    }
}

#[cfg(test)]
mod tests;
