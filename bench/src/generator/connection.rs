//! One connection: what is under way on it, the bytes of its requests, the meaning of its replies.

use std::collections::VecDeque;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use midspan_uring::{Buf, MAX_PARTS};

use super::load::{Mix, Work};
use super::stream::{Stream, Verb};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const COMMAND_READ: u16 = 0;
const COMMAND_WRITE: u16 = 1;
const COMMAND_DISCONNECT: u16 = 2;
const COMMAND_FLUSH: u16 = 3;
/// Bytes of a request in front of its data.
const REQUEST_BYTES: usize = 28;
/// Bytes of a reply in front of its data.
const REPLY_BYTES: usize = 16;
/// Size of the buffer that the heads of one send lie in.
pub const HEADS_ROOM: usize = 4096;

/// The random bytes that are written, from a different place each time.
#[derive(Debug)]
pub struct Content {
    buf: Buf,
    at: usize,
    /// Places are below this.
    span: usize,
    /// Bytes of a write.
    bytes: usize,
}

/// Steps between places; odd, so that content does not repeat in step with blocks.
const CONTENT_STEP: usize = 521;

impl Content {
    /// From a filled buffer of at least `span + bytes` bytes.
    pub fn new(buf: Buf, span: usize, bytes: usize) -> Self {
        Self { buf, at: 0, span, bytes }
    }

    fn advance(&mut self) -> Range<usize> {
        let start = self.at;
        self.at = (self.at + CONTENT_STEP) % self.span.max(1);
        start..start + self.bytes
    }
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is none.
    Idle,
    /// The answer to this request.
    Request(Verb),
    /// The answer to the FLUSH behind a write.
    Flush,
}

/// A place for one operation; its index is the cookie.
#[derive(Clone, Copy, Debug)]
struct Slot {
    step: Step,
    offset: u64,
    /// When it was started, or due.
    started_ns: u64,
}

/// One connection. Nothing is allocated after [`Connection::new`].
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    bytes: usize,
    flushes: bool,
    slots: Vec<Slot>,
    /// Slots without an operation.
    free: Vec<usize>,
    /// Slots whose next request has not been sent yet.
    waiting: VecDeque<usize>,
    is_sending: bool,
    heads: Buf,
    /// Parts of the send that is put together: whether it is content, and which bytes.
    ranges: Vec<(bool, Range<usize>)>,
    /// The slot whose read data comes now, and how much is left of it.
    receiving: Option<(usize, usize)>,
}

impl Connection {
    /// With nothing under way. `heads` has room for [`HEADS_ROOM`] bytes.
    pub fn new(work: &Work, stream: Stream, heads: Buf) -> Self {
        let slot = Slot { step: Step::Idle, offset: 0, started_ns: 0 };
        Self {
            stream,
            bytes: work.bytes,
            flushes: work.mix == Mix::WriteFlush,
            slots: vec![slot; work.depth],
            free: (0..work.depth).rev().collect(),
            waiting: VecDeque::with_capacity(work.depth),
            is_sending: false,
            heads,
            ranges: Vec::with_capacity(MAX_PARTS),
            receiving: None,
        }
    }

    /// Starts an operation that counts from `started_ns`; false if as many as may be are under way.
    pub fn start(&mut self, started_ns: u64) -> bool {
        let Some(cookie) = self.free.pop() else { return false };
        let (verb, offset) = self.stream.advance();
        if let Some(slot) = self.slots.get_mut(cookie) {
            *slot = Slot { step: Step::Request(verb), offset, started_ns };
            self.waiting.push_back(cookie);
        }
        true
    }

    /// Whether another operation can be started.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether a send is under way.
    pub fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Puts the next send together in `parts`; they stay empty if nothing waits or one is under way. The connection counts as
    /// sending then, until [`Connection::on_sent`].
    ///
    /// # Errors
    /// Never, unless this program is wrong.
    pub fn batch(&mut self, content: &mut Content, parts: &mut Vec<(Buf, Range<usize>)>) -> Result<()> {
        if self.is_sending || self.waiting.is_empty() {
            return Ok(());
        }
        self.heads.set_filled(0);
        let mut since_data = 0;
        // One more request takes two parts at most, and a last one the heads behind it.
        while self.ranges.len() + 3 <= MAX_PARTS && self.heads.filled() + REQUEST_BYTES <= HEADS_ROOM {
            let Some(cookie) = self.waiting.pop_front() else { break };
            let slot = self.slots.get(cookie).context("a cookie beyond the depth")?;
            let head = match slot.step {
                Step::Request(Verb::Read) => head(COMMAND_READ, cookie as u64, slot.offset, self.bytes)?,
                Step::Request(Verb::Write) => head(COMMAND_WRITE, cookie as u64, slot.offset, self.bytes)?,
                Step::Flush => head(COMMAND_FLUSH, cookie as u64, 0, 0)?,
                Step::Idle => bail!("an operation waits that was not started"),
            };
            let end = self.heads.append(&head).context("the heads of the last send are still in use")?.end;
            if slot.step == Step::Request(Verb::Write) {
                self.ranges.push((false, since_data..end));
                self.ranges.push((true, content.advance()));
                since_data = end;
            }
        }
        if since_data < self.heads.filled() {
            self.ranges.push((false, since_data..self.heads.filled()));
        }
        for (is_content, range) in self.ranges.drain(..) {
            parts.push(((if is_content { &content.buf } else { &self.heads }).clone(), range));
        }
        self.is_sending = true;
        Ok(())
    }

    /// The send has left.
    pub fn on_sent(&mut self) {
        self.is_sending = false;
    }

    /// A request that says goodbye, alone in a send.
    ///
    /// # Errors
    /// While another send is under way.
    pub fn goodbye(&mut self) -> Result<(Buf, Range<usize>)> {
        self.heads.set_filled(0);
        let range = self.heads.append(&head(COMMAND_DISCONNECT, 0, 0, 0)?).context("a send is under way")?;
        self.is_sending = true;
        Ok((self.heads.clone(), range))
    }

    /// Takes what has been received, tells `ended` of each operation that has ended (what it was, when it was started), and
    /// returns how many bytes were used. Fewer than a reply's head may be left.
    ///
    /// # Errors
    /// When the server refuses a request, or sends what no reply is.
    pub fn on_received(&mut self, mut bytes: &[u8], mut ended: impl FnMut(Verb, u64)) -> Result<usize> {
        let received = bytes.len();
        loop {
            if let Some((cookie, left)) = self.receiving {
                let taken = left.min(bytes.len());
                bytes = bytes.get(taken..).unwrap_or_default();
                self.receiving = Some((cookie, left - taken)).filter(|(_, left)| *left > 0);
                if self.receiving.is_some() {
                    return Ok(received);
                }
                self.end(cookie, Verb::Read, &mut ended)?;
            } else if let Some((reply, rest)) = bytes.split_first_chunk() {
                bytes = rest;
                self.on_reply(reply, &mut ended)?;
            } else {
                return Ok(received - bytes.len());
            }
        }
    }

    fn on_reply(&mut self, reply: &[u8; REPLY_BYTES], ended: &mut impl FnMut(Verb, u64)) -> Result<()> {
        let (magic, rest) = reply.split_first_chunk().context("16 bytes hold a magic number")?;
        let (errno, rest) = rest.split_first_chunk().context("16 bytes hold an error")?;
        let cookie = rest.first_chunk().context("16 bytes hold a cookie")?;
        ensure!(
            u32::from_be_bytes(*magic) == REPLY_MAGIC,
            "the server sends something else than simple replies"
        );
        let errno = u32::from_be_bytes(*errno);
        let cookie = usize::try_from(u64::from_be_bytes(*cookie)).unwrap_or(usize::MAX);
        let slot = self.slots.get_mut(cookie).context("an answer with an unknown cookie")?;
        let refused = |what: &str| format!("the server refuses a {what} with error {errno}");
        match slot.step {
            Step::Idle => bail!("an answer to nothing that is under way"),
            Step::Request(Verb::Read) => {
                ensure!(errno == 0, refused("read"));
                self.receiving = Some((cookie, self.bytes));
            }
            Step::Request(Verb::Write) => {
                ensure!(errno == 0, refused("write"));
                if self.flushes {
                    slot.step = Step::Flush;
                    self.waiting.push_back(cookie);
                } else {
                    self.end(cookie, Verb::Write, ended)?;
                }
            }
            Step::Flush => {
                ensure!(errno == 0, refused("flush"));
                self.end(cookie, Verb::Write, ended)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, cookie: usize, verb: Verb, ended: &mut impl FnMut(Verb, u64)) -> Result<()> {
        let slot = self.slots.get_mut(cookie).context("an answer with an unknown cookie")?;
        slot.step = Step::Idle;
        ended(verb, slot.started_ns);
        self.free.push(cookie);
        Ok(())
    }
}

/// A request without its data.
fn head(command: u16, cookie: u64, offset: u64, length: usize) -> Result<[u8; REQUEST_BYTES]> {
    let length = u32::try_from(length).context("a request has at most 4 GiB")?;
    let mut head = [0; REQUEST_BYTES];
    let fields: [&[u8]; 6] = [
        &REQUEST_MAGIC.to_be_bytes(),
        &0_u16.to_be_bytes(),
        &command.to_be_bytes(),
        &cookie.to_be_bytes(),
        &offset.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    let mut at = 0;
    for field in fields {
        head.get_mut(at..at + field.len()).context("fields fill the head exactly")?.copy_from_slice(field);
        at += field.len();
    }
    Ok(head)
}
