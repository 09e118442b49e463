//! The load generator: keeps a fixed number of NBD writes under way on one connection, from one pinned thread.
//!
//! It must be cheap, since it shares the cores with what it measures: replies are received many at a time, and the
//! requests that follow them leave together, in one vectored send whose data is never copied.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use midspan::hammer::random::Seeded;
use midspan_uring::clock::boottime_ns;
use midspan_uring::{Buf, Class, Kind, MAX_PARTS, Ring, SocketId};

use crate::engine;
use crate::negotiate::{self, Connected};
use crate::window::{Tally, Window};

/// Where writes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Anywhere, at multiples of the write's size.
    Random,
    /// One behind the other, and from the start again at the end.
    Sequential,
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the export is.
    pub uri: String,
    /// Where writes go.
    pub pattern: Pattern,
    /// Bytes of a write.
    pub write_bytes: usize,
    /// Writes under way.
    pub depth: usize,
    /// Core of the generating thread.
    pub core: usize,
    /// Of the offsets.
    pub seed: u64,
    /// How long.
    pub window: Window,
}

/// Counts answered writes while the load runs, for whoever watches.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Writes answered so far, warm-up included.
    pub fn answered(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs the load on the calling thread, which is pinned.
///
/// # Errors
/// What the network says, or that the server has refused a write.
pub fn run(load: &Load, gauge: &Gauge) -> Result<Tally> {
    Generator::new(load, gauge)?.run().with_context(|| format!("load on {}", load.uri))
}

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const COMMAND_WRITE: u16 = 1;
const COMMAND_DISCONNECT: u16 = 2;
/// Bytes of a request in front of its data.
const REQUEST_BYTES: usize = 28;
/// Bytes of a reply.
const REPLY_BYTES: usize = 16;
/// Replies are received into a buffer of this size.
const REPLY_ROOM: usize = 64 * 1024;
/// Requests of one send: each has a head and data.
const BATCH: usize = MAX_PARTS / 2;
/// Written data comes from a stretch of random bytes of at least this size, from a different place each time.
const CONTENT: usize = 2 << 20;
/// Steps between those places; odd, so that content does not repeat in step with blocks.
const CONTENT_STEP: usize = 521;

/// Marks an operation's user data.
const GOODBYE: u64 = 1;

struct Generator<'a> {
    load: &'a Load,
    gauge: &'a Gauge,
    ring: Ring,
    socket: SocketId,
    tally: Tally,
    offsets: Offsets,
    content: Buf,
    content_at: usize,
    /// When the write with this cookie was sent; `None`: none is under way.
    sent_ns: Vec<Option<u64>>,
    /// Cookies of answered writes whose successors have not been sent yet.
    free: Vec<usize>,
    under_way: usize,
}

impl<'a> Generator<'a> {
    fn new(load: &'a Load, gauge: &'a Gauge) -> Result<Self> {
        ensure!(
            load.depth > 0 && load.depth <= 4096,
            "a depth from 1 to 4096 is possible, not {}",
            load.depth
        );
        let Connected { socket, size } = negotiate::connect(&load.uri)?;
        let content_bytes = (CONTENT + load.write_bytes).next_multiple_of(4096);
        // Each send has its heads in a buffer of its own until it has completed.
        let heads = load.depth.div_ceil(BATCH) + load.depth + 1;
        let classes = [
            Class { size: 4096, count: heads },
            Class { size: REPLY_ROOM, count: 1 },
            Class { size: content_bytes, count: 1 },
        ];
        let mut ring = engine::ring(load.core, &classes)?;
        let socket = ring.add_socket(socket)?;
        let content = random_content(engine::take(&ring, content_bytes)?, load.seed)?;
        Ok(Self {
            load,
            gauge,
            ring,
            socket,
            tally: Tally::new(load.window, boottime_ns())?,
            offsets: Offsets::new(load, size)?,
            content,
            content_at: 0,
            sent_ns: vec![None; load.depth],
            free: (0..load.depth).collect(),
            under_way: 0,
        })
    }

    fn run(mut self) -> Result<Tally> {
        let replies = engine::take(&self.ring, REPLY_ROOM)?;
        self.send_free(boottime_ns())?;
        self.ring.recv(self.socket, replies, 0)?;
        while self.under_way > 0 {
            let done = engine::next(&mut self.ring, "answers to writes")?;
            let moved = done.result.context("the connection to the server")?;
            if done.kind != Kind::Recv {
                continue;
            }
            ensure!(moved > 0, "the server has closed the connection");
            let now = boottime_ns();
            let mut replies = done.buf.context("a receive gives its buffer back")?;
            let used = self.on_replies(replies.bytes(), now)?;
            engine::keep_rest(&mut replies, used)?;
            if !self.tally.is_over(now) {
                self.send_free(now)?;
            }
            if self.under_way > 0 {
                self.ring.recv(self.socket, replies, 0)?;
            }
        }
        self.say_goodbye()?;
        Ok(self.tally)
    }

    /// Takes all whole replies and returns how many bytes they were.
    fn on_replies(&mut self, bytes: &[u8], now: u64) -> Result<usize> {
        let (replies, _) = bytes.as_chunks::<REPLY_BYTES>();
        for reply in replies {
            let (magic, rest) = reply.split_first_chunk().context("16 bytes hold a magic number")?;
            let (errno, rest) = rest.split_first_chunk().context("16 bytes hold an error")?;
            let cookie = rest.first_chunk().context("16 bytes hold a cookie")?;
            ensure!(
                u32::from_be_bytes(*magic) == REPLY_MAGIC,
                "the server sends something else than simple replies"
            );
            let errno = u32::from_be_bytes(*errno);
            ensure!(errno == 0, "the server refuses a write with error {errno}");
            let cookie = usize::try_from(u64::from_be_bytes(*cookie)).unwrap_or(usize::MAX);
            let sent_ns = self.sent_ns.get_mut(cookie).and_then(Option::take);
            self.tally.complete(sent_ns.context("an answer to nothing that is under way")?, now);
            self.free.push(cookie);
            self.under_way -= 1;
        }
        self.gauge.0.fetch_add(replies.len() as u64, Ordering::Relaxed);
        Ok(replies.len() * REPLY_BYTES)
    }

    /// Sends a write for each free cookie.
    fn send_free(&mut self, now: u64) -> Result<()> {
        while !self.free.is_empty() {
            let mut heads = engine::take(&self.ring, BATCH * REQUEST_BYTES)?;
            let mut data = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                let Some(cookie) = self.free.pop() else { break };
                *self.sent_ns.get_mut(cookie).context("a cookie beyond the depth")? = Some(now);
                let head = head(COMMAND_WRITE, cookie as u64, self.offsets.advance(), self.load.write_bytes)?;
                data.push((heads.append(&head).context("heads of a batch fit")?, self.next_content()));
            }
            self.under_way += data.len();
            let mut parts = Vec::with_capacity(MAX_PARTS);
            for (head, data) in data {
                parts.push((heads.clone(), head));
                parts.push((self.content.clone(), data));
            }
            self.ring.send(self.socket, &parts, 0)?;
        }
        Ok(())
    }

    /// The next stretch of random bytes.
    fn next_content(&mut self) -> Range<usize> {
        let start = self.content_at;
        self.content_at = (self.content_at + CONTENT_STEP) % CONTENT;
        start..start + self.load.write_bytes
    }

    fn say_goodbye(&mut self) -> Result<()> {
        let mut heads = engine::take(&self.ring, REQUEST_BYTES)?;
        let range = heads.append(&head(COMMAND_DISCONNECT, 0, 0, 0)?).context("a head fits")?;
        self.ring.send(self.socket, &[(heads, range)], GOODBYE)?;
        loop {
            let done = engine::next(&mut self.ring, "the goodbye")?;
            if done.user == GOODBYE {
                // The server may have gone already; all its answers are here.
                return Ok(());
            }
        }
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

/// Offsets of one write after the other.
#[derive(Debug)]
struct Offsets {
    pattern: Pattern,
    write_bytes: u64,
    places: u64,
    next: u64,
    random: Seeded,
}

impl Offsets {
    fn new(load: &Load, size: u64) -> Result<Self> {
        let write_bytes = load.write_bytes as u64;
        if write_bytes == 0 || size < write_bytes {
            bail!("writes of {write_bytes} bytes do not fit on an export of {size} bytes");
        }
        let random = Seeded::new(load.seed, 0);
        Ok(Self { pattern: load.pattern, write_bytes, places: size / write_bytes, next: 0, random })
    }

    fn advance(&mut self) -> u64 {
        let place = match self.pattern {
            Pattern::Random => self.random.below(self.places),
            Pattern::Sequential => {
                let place = self.next;
                self.next = (self.next + 1) % self.places;
                place
            }
        };
        place * self.write_bytes
    }
}

/// Fills the buffer: data that no disk can compress.
fn random_content(mut buf: Buf, seed: u64) -> Result<Buf> {
    let mut random = Seeded::new(seed, 1);
    let bytes = buf.bytes_mut().context("a new buffer has one owner")?;
    for word in bytes.chunks_mut(8) {
        word.copy_from_slice(random.next_word().to_le_bytes().get(..word.len()).unwrap_or_default());
    }
    buf.set_filled(buf.capacity());
    Ok(buf)
}

#[cfg(test)]
mod tests;
