//! The bare probe of the path: frames go to a peer thread over a socket, it appends them durably and says how far it is.
//!
//! ```text
//!  near thread ── frame ──▶ far thread ── durable append ──▶ disk
//!       ▲                        │ the number of frames that are durable without a gap
//!       └──────── reply ─────────┘
//! ```
//!
//! Nothing else happens: no host, no record, no checksum, no permission. What a lane does cannot be faster.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use midspan_uring::clock::boottime_ns;
use midspan_uring::{Buf, Class, Completion, FileId, Kind, Ring, Socket, SocketId};

use super::append::{self, Positions};
use crate::engine;
use crate::window::{Tally, Window};

/// What the two threads talk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// TCP on the loopback interface.
    Tcp,
    /// A unix socket.
    Unix,
}

/// One exchange: how much, how many at once, where.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The hop.
    pub hop: Hop,
    /// Bytes of a frame.
    pub frame_bytes: usize,
    /// Frames under way.
    pub in_flight: usize,
    /// Bytes of a reply, at least 8.
    pub reply_bytes: usize,
    /// Cores of the near and of the far thread.
    pub cores: [usize; 2],
    /// Whether both threads look for what comes next, and yield meanwhile, rather than sleep.
    pub awake: bool,
    /// The file that the far thread appends to; without it, it replies at once.
    pub append_to: Option<PathBuf>,
}

/// Runs the exchange between two new threads.
///
/// # Errors
/// What the kernel says.
pub fn measure(exchange: &Exchange, window: Window) -> Result<Tally> {
    ensure!(exchange.reply_bytes >= 8 && exchange.reply_bytes <= REPLY_ROOM, "a reply of an impossible size");
    let (near, far) = connected(exchange.hop).context("a loopback connection")?;
    thread::scope(|scope| {
        let far = scope.spawn(|| Far::new(exchange, far)?.run());
        let near = scope.spawn(|| Near::new(exchange, near, window)?.run());
        let panicked = |_| anyhow!("a measuring thread has panicked");
        let (near, far) = (near.join().map_err(panicked)?, far.join().map_err(panicked)?);
        // Where the far thread fails the near one only sees the end of the connection.
        far.and(near)
    })
}

/// Two ends of a connection.
fn connected(hop: Hop) -> Result<(Socket, Socket)> {
    let (near, far) = match hop {
        Hop::Tcp => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let near = TcpStream::connect(listener.local_addr()?)?;
            let (far, _) = listener.accept()?;
            (Socket::adopt(near.into())?, Socket::adopt(far.into())?)
        }
        Hop::Unix => {
            let (near, far) = UnixStream::pair()?;
            (Socket::adopt(near.into())?, Socket::adopt(far.into())?)
        }
    };
    near.tune(&engine::socket_options())?;
    far.tune(&engine::socket_options())?;
    Ok((near, far))
}

/// Replies are received into buffers of this size.
const REPLY_ROOM: usize = 4096;

/// The side that sends frames and takes the time.
struct Near<'a> {
    exchange: &'a Exchange,
    ring: Ring,
    socket: SocketId,
    tally: Tally,
    /// The frame, sent again and again: its bytes do not matter.
    frame: Buf,
    /// When each frame under way was sent, by its number.
    sent_ns: Vec<u64>,
    sent: u64,
    answered: u64,
}

impl<'a> Near<'a> {
    fn new(exchange: &'a Exchange, socket: Socket, window: Window) -> Result<Self> {
        let room = exchange.frame_bytes.next_multiple_of(4096);
        let [core, _] = exchange.cores;
        let classes = [Class { size: room, count: 1 }, Class { size: REPLY_ROOM, count: 2 }];
        let mut ring = engine::ring(core, &classes)?;
        let mut frame = engine::take(&ring, room.max(REPLY_ROOM))?;
        frame.set_filled(exchange.frame_bytes);
        let socket = ring.add_socket(socket)?;
        let tally = Tally::new(window, boottime_ns())?;
        let sent_ns = vec![0; exchange.in_flight];
        Ok(Self { exchange, ring, socket, tally, frame, sent_ns, sent: 0, answered: 0 })
    }

    fn run(mut self) -> Result<Tally> {
        for _ in 0..self.exchange.in_flight {
            self.send(boottime_ns())?;
        }
        let buf = engine::take(&self.ring, REPLY_ROOM)?;
        self.ring.recv(self.socket, buf, 0)?;
        while self.answered < self.sent {
            let done = engine::next_of(&mut self.ring, "replies", self.exchange.awake)?;
            let now = boottime_ns();
            let moved = done.result.context("the loopback connection")?;
            if done.kind == Kind::Recv {
                ensure!(moved > 0, "the far thread has ended early");
                self.on_replies(done, now)?;
            }
        }
        Ok(self.tally)
    }

    fn send(&mut self, now: u64) -> Result<()> {
        let place = place(self.sent, self.exchange.in_flight);
        *self.sent_ns.get_mut(place).context("a frame beyond those under way")? = now;
        self.ring.send(self.socket, &[(self.frame.clone(), 0..self.exchange.frame_bytes)], 0)?;
        self.sent += 1;
        Ok(())
    }

    fn on_replies(&mut self, done: Completion, now: u64) -> Result<()> {
        let mut buf = done.buf.context("a receive gives its buffer back")?;
        let whole = buf.filled() / self.exchange.reply_bytes * self.exchange.reply_bytes;
        let newest =
            buf.bytes().get(..whole).and_then(|replies| replies.rchunks(self.exchange.reply_bytes).next());
        if let Some(count) = newest.and_then(|reply| reply.first_chunk()).copied().map(u64::from_le_bytes) {
            ensure!(count <= self.sent, "a reply to a frame that was not sent");
            while self.answered < count {
                let place = place(self.answered, self.exchange.in_flight);
                let sent_ns = self.sent_ns.get(place).copied().unwrap_or(now);
                self.tally.complete(sent_ns, now);
                self.answered += 1;
                if !self.tally.is_over(now) {
                    self.send(now)?;
                }
            }
        }
        engine::keep_rest(&mut buf, whole)?;
        if self.answered < self.sent {
            self.ring.recv(self.socket, buf, 0)?;
        }
        Ok(())
    }
}

/// The side that stores frames.
struct Far<'a> {
    exchange: &'a Exchange,
    ring: Ring,
    socket: SocketId,
    file: Option<(FileId, Positions)>,
    /// Buffers that nothing is received into.
    spare: Vec<Buf>,
    is_receiving: bool,
    has_ended: bool,
    /// Frames received, and those of them that are stored without a gap.
    received: u64,
    stored: u64,
    /// Which frames behind `stored` are stored, by their number.
    done: Vec<bool>,
}

impl<'a> Far<'a> {
    fn new(exchange: &'a Exchange, socket: Socket) -> Result<Self> {
        let room = exchange.frame_bytes.next_multiple_of(4096);
        let [_, core] = exchange.cores;
        let frames = exchange.in_flight + 1;
        // Replies come from a class of their own, unless a frame is as small.
        let classes = [Class { size: room, count: frames }, Class { size: REPLY_ROOM, count: frames + 1 }];
        let mut ring = engine::ring(core, &classes)?;
        let spare = (0..frames).map(|_| engine::take(&ring, room)).collect::<Result<_>>()?;
        let file =
            exchange.append_to.as_deref().map(|path| append::open(&mut ring, path, room)).transpose()?;
        let socket = ring.add_socket(socket)?;
        Ok(Self {
            exchange,
            ring,
            socket,
            file,
            spare,
            is_receiving: false,
            has_ended: false,
            received: 0,
            stored: 0,
            done: vec![false; exchange.in_flight],
        })
    }

    fn run(mut self) -> Result<()> {
        loop {
            self.receive()?;
            if self.has_ended && self.ring.in_flight() == 0 {
                return Ok(());
            }
            let done = engine::next_of(&mut self.ring, "frames", self.exchange.awake)?;
            match done.kind {
                Kind::Recv => self.on_frame(done)?,
                Kind::Write => self.on_stored(done)?,
                Kind::Send => drop(done.result.context("the loopback connection")?),
                Kind::Read | Kind::Flush | Kind::Zero | Kind::Accept | Kind::Connect | Kind::Close => {
                    bail!("a completion of something that was not started")
                }
            }
        }
    }

    /// Receives the next frame, if a buffer is there.
    fn receive(&mut self) -> Result<()> {
        if !self.is_receiving
            && !self.has_ended
            && let Some(mut buf) = self.spare.pop()
        {
            buf.set_filled(0);
            self.ring.recv_exact(self.socket, buf, self.exchange.frame_bytes, 0)?;
            self.is_receiving = true;
        }
        Ok(())
    }

    fn on_frame(&mut self, done: Completion) -> Result<()> {
        self.is_receiving = false;
        let moved = done.result.context("the loopback connection")? as usize;
        let mut buf = done.buf.context("a receive gives its buffer back")?;
        if moved < self.exchange.frame_bytes {
            self.has_ended = true;
            return Ok(());
        }
        let number = self.received;
        self.received += 1;
        let Some((file, positions)) = &mut self.file else {
            self.spare.push(buf);
            self.stored = self.received;
            return self.reply();
        };
        let whole = self.exchange.frame_bytes.next_multiple_of(4096);
        buf.set_filled(whole);
        self.ring.write(*file, buf, 0..whole, positions.advance(whole), true, number)?;
        Ok(())
    }

    fn on_stored(&mut self, done: Completion) -> Result<()> {
        let shown = || {
            self.exchange
                .append_to
                .as_deref()
                .map_or_else(String::new, |path: &Path| path.display().to_string())
        };
        done.result.with_context(|| format!("a durable write to {}", shown()))?;
        self.spare.extend(done.buf);
        *self.done.get_mut(place(done.user, self.exchange.in_flight)).context("an unknown frame")? = true;
        let before = self.stored;
        while self.stored < self.received
            && let Some(done) = self.done.get_mut(place(self.stored, self.exchange.in_flight))
            && std::mem::take(done)
        {
            self.stored += 1;
        }
        if self.stored > before { self.reply() } else { Ok(()) }
    }

    fn reply(&mut self) -> Result<()> {
        let mut buf = engine::take(&self.ring, self.exchange.reply_bytes)?;
        buf.set_filled(self.exchange.reply_bytes);
        if let Some(count) = buf.bytes_mut().and_then(|bytes| bytes.first_chunk_mut()) {
            *count = self.stored.to_le_bytes();
        }
        self.ring.send(self.socket, &[(buf, 0..self.exchange.reply_bytes)], 0)?;
        Ok(())
    }
}

/// Where a frame under way has its place.
fn place(number: u64, in_flight: usize) -> usize {
    usize::try_from(number % in_flight.max(1) as u64).unwrap_or(0)
}
