//! Replies: the heads that stand before data, as short byte strings; the data itself never comes here.
//!
//! What the driver must do for a read of `length` bytes, once it has (or can have) the data:
//!
//! | [`Command::Read`] | heads | data |
//! | --- | --- | --- |
//! | `whole`, simple replies | one [`Session::encode_data`] for all of it | all bytes, in order, right behind; a failure after the head was sent can only be answered by closing |
//! | `whole`, chunks | one [`Session::encode_data`] for all of it | as above; a failure after the head: fill up with zeroes, then [`Session::encode_error_at`] |
//! | not `whole` | one for each piece, in any order; no two overlap; [`Session::encode_hole`] where all is zero | each right behind its head; a failure: leave that piece out and end with an error |
//!
//! The last head of a reply has `last` set, and nothing may fail any more once it is on its way: a driver that is not sure sends it
//! without `last` and ends with [`Session::encode_done`] or an error.
//!
//! [`Command::Read`]: super::transmission::Command::Read

use super::nbd::{MAX_ERROR_TEXT, Mode, Session};
use super::nbd_wire::{
    self as wire, EXTENDED_REPLY_BYTES, Errno, SIMPLE_REPLY_BYTES, STRUCTURED_REPLY_BYTES, chunk,
};
use super::transmission::{Command, Refusal, ReplyTo, Request};

/// The longest head in bytes: an extended error chunk with an offset and the longest message.
pub const HEAD_BYTES: usize = EXTENDED_REPLY_BYTES + 6 + MAX_ERROR_TEXT + 8;

/// The bytes of a reply up to its data.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; HEAD_BYTES],
    length: usize,
}

impl Head {
    fn new() -> Self {
        Self { bytes: [0; HEAD_BYTES], length: 0 }
    }

    pub(super) fn put(mut self, part: &[u8]) -> Self {
        let end = self.length + part.len();
        assert!(end <= HEAD_BYTES, "a reply head longer than the longest one");
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(part);
        }
        self.length = end;
        self
    }

    /// What goes on the wire.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Head {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Session {
    /// Answers a step that needs nothing carried out.
    pub fn encode_answer(&self, to: ReplyTo, result: Result<(), Refusal>) -> Head {
        match result {
            Ok(()) => self.encode_done(to),
            Err(Refusal { errno, text }) => self.encode_error(to, errno, text),
        }
    }

    /// Success, and nothing (more) to say.
    pub fn encode_done(&self, to: ReplyTo) -> Head {
        match self.mode {
            Mode::Simple => simple(to, 0),
            Mode::Structured if !to.read => simple(to, 0),
            Mode::Structured | Mode::Extended => self.chunk(to, chunk::NONE, true, 0),
        }
    }

    /// The end of a reply that went wrong. `text` is cut to [`MAX_ERROR_TEXT`] bytes; clients with simple replies do not see it,
    /// and must not have been sent any part of the reply before.
    pub fn encode_error(&self, to: ReplyTo, errno: Errno, text: &str) -> Head {
        if self.mode == Mode::Simple {
            return simple(to, errno.code());
        }
        let (text, length) = message(text);
        self.chunk(to, chunk::ERROR, true, 6 + u32::from(length))
            .put(&errno.code().to_be_bytes())
            .put(&length.to_be_bytes())
            .put(text)
    }

    /// As [`encode_error`](Self::encode_error), and says where: what was sent before `offset` holds. With `last` unset, more chunks
    /// follow; a client with simple replies gets its one reply either way.
    pub fn encode_error_at(&self, to: ReplyTo, errno: Errno, text: &str, offset: u64, last: bool) -> Head {
        if self.mode == Mode::Simple {
            return simple(to, errno.code());
        }
        let (text, length) = message(text);
        self.chunk(to, chunk::ERROR_OFFSET, last, 14 + u32::from(length))
            .put(&errno.code().to_be_bytes())
            .put(&length.to_be_bytes())
            .put(text)
            .put(&offset.to_be_bytes())
    }

    /// The head of `length` bytes of data at `offset`, which the driver sends right behind.
    ///
    /// # Panics
    /// When the piece is not inside the request, or is not all of it although the request wants that: programmer errors.
    pub fn encode_data(&self, request: &Request, offset: u64, length: u32, last: bool) -> Head {
        let to = self.piece(request, offset, length);
        match self.mode {
            Mode::Simple => simple(to, 0),
            Mode::Structured | Mode::Extended => {
                self.chunk(to, chunk::OFFSET_DATA, last, 8 + length).put(&offset.to_be_bytes())
            }
        }
    }

    /// Says that `length` bytes at `offset` read as zeroes: no data follows.
    ///
    /// # Panics
    /// As [`encode_data`](Self::encode_data), and when the session has simple replies, which cannot say it.
    pub fn encode_hole(&self, request: &Request, offset: u64, length: u32, last: bool) -> Head {
        assert!(self.mode != Mode::Simple, "a simple reply cannot leave out zeroes");
        let to = self.piece(request, offset, length);
        self.chunk(to, chunk::OFFSET_HOLE, last, 12).put(&offset.to_be_bytes()).put(&length.to_be_bytes())
    }

    fn piece(&self, request: &Request, offset: u64, length: u32) -> ReplyTo {
        let end = offset.saturating_add(u64::from(length));
        let whole = offset == request.offset && u64::from(length) == request.length;
        assert!(
            length > 0 && offset >= request.offset && end <= request.offset + request.length,
            "data outside its request"
        );
        assert!(
            whole || request.command == Command::Read { whole: false },
            "a piece of what must be sent whole"
        );
        request.reply_to()
    }

    /// ```text
    /// 0      4      6     8       16              20                    32
    /// │magic │flags │type │cookie │length 32      │                structured
    /// │magic │flags │type │cookie │offset 64 │length 64           │ extended
    /// ```
    pub(super) fn chunk(&self, to: ReplyTo, kind: u16, last: bool, length: u32) -> Head {
        let flags = if last { chunk::DONE } else { 0 };
        let extended = self.mode == Mode::Extended;
        let magic = if extended { wire::EXTENDED_REPLY_MAGIC } else { wire::STRUCTURED_REPLY_MAGIC };
        let head = Head::new()
            .put(&magic.to_be_bytes())
            .put(&flags.to_be_bytes())
            .put(&kind.to_be_bytes())
            .put(&to.cookie.to_be_bytes());
        let head = if extended {
            head.put(&to.offset.to_be_bytes()).put(&u64::from(length).to_be_bytes())
        } else {
            head.put(&length.to_be_bytes())
        };
        debug_assert_eq!(head.length, if extended { EXTENDED_REPLY_BYTES } else { STRUCTURED_REPLY_BYTES });
        head
    }
}

/// ```text
/// 0      4      8       16
/// │magic │error │cookie │ data
/// ```
fn simple(to: ReplyTo, errno: u32) -> Head {
    let head = Head::new()
        .put(&wire::SIMPLE_REPLY_MAGIC.to_be_bytes())
        .put(&errno.to_be_bytes())
        .put(&to.cookie.to_be_bytes());
    debug_assert_eq!(head.length, SIMPLE_REPLY_BYTES);
    head
}

fn message(text: &str) -> (&[u8], u16) {
    let text = wire::cut(text, MAX_ERROR_TEXT).as_bytes();
    (text, u16::try_from(text.len()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
