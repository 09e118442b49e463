//! Runs a load: starts operations when they may start, sends, receives, counts.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use midspan::hammer::random::Seeded;
use midspan_uring::clock::boottime_ns;
use midspan_uring::{Buf, Class, Completion, Kind, MAX_PARTS, Ring, SocketId};

use super::arrival::{Arrivals, Pace};
use super::connection::{Connection, Content, HEADS_ROOM};
use super::load::{Arrival, Gauge, Load, Mix};
use super::stream::{Stream, Verb};
use crate::engine;
use crate::negotiate::{self, Connected};
use crate::window::Tally;

/// Each connection receives replies into a buffer of this size, and read data into one of up to the larger size.
const REPLY_ROOM: usize = 64 << 10;
const DATA_ROOM: usize = 1 << 20;
/// Written data comes from a stretch of random bytes of at least this size.
const CONTENT: usize = 2 << 20;
/// Operations that may be under way altogether, and connections.
const MOST: usize = 4096;
const MOST_CONNECTIONS: usize = 64;

/// What a load has found.
#[derive(Debug)]
pub struct Outcome {
    /// All operations.
    pub tally: Tally,
    /// Of a mixed load, reads and writes apart.
    pub apart: Option<[Tally; 2]>,
    /// How well the rate was kept, if there was one.
    pub pace: Option<Pace>,
}

/// Runs the load on the calling thread, which is pinned.
///
/// # Errors
/// What the network says, or that the server has refused a request.
pub fn run(load: &Load, gauge: &Gauge) -> Result<Outcome> {
    let about = || format!("load on {}", load.uris.first().map_or("no export", String::as_str));
    Driver::new(load, gauge).and_then(Driver::run).with_context(about)
}

struct Driver<'a> {
    gauge: &'a Gauge,
    ring: Ring,
    /// The first of each pair carries the second's requests.
    connections: Vec<(SocketId, Connection)>,
    content: Content,
    parts: Vec<(Buf, Range<usize>)>,
    outcome: Outcome,
    arrivals: Option<Arrivals>,
    /// Operations.
    under_way: usize,
    /// The connection that gets the next arrival if it has room.
    turn: usize,
}

impl<'a> Driver<'a> {
    fn new(load: &Load, gauge: &'a Gauge) -> Result<Self> {
        let (count, work) = (load.uris.len(), &load.work);
        ensure!(
            (1..=MOST_CONNECTIONS).contains(&count),
            "1 to {MOST_CONNECTIONS} connections are possible, not {count}"
        );
        let depth = work.depth.saturating_mul(count);
        ensure!(
            (1..=MOST).contains(&depth),
            "1 to {MOST} operations under way are possible, not {count} times {}",
            work.depth
        );
        let connected = load.uris.iter().map(|uri| negotiate::connect(uri)).collect::<Result<Vec<_>>>()?;
        let content_bytes = (CONTENT + work.bytes).next_multiple_of(4096);
        let room = match work.mix {
            Mix::Write | Mix::WriteFlush => REPLY_ROOM,
            Mix::Read | Mix::Mixed => work.bytes.saturating_mul(work.depth).clamp(REPLY_ROOM, DATA_ROOM),
        };
        let classes = [
            Class { size: HEADS_ROOM, count },
            Class { size: room.next_multiple_of(4096), count },
            Class { size: content_bytes, count: 1 },
        ];
        let mut ring = engine::ring(load.core, &classes)?;
        let content = random_content(engine::take(&ring, content_bytes)?, load.seed)?;
        let mut connections = Vec::with_capacity(count);
        for (index, Connected { socket, size }) in connected.into_iter().enumerate() {
            let socket = ring.add_socket(socket)?;
            let stream = Stream::new(work, size, load.seed, index, count)?;
            connections.push((socket, Connection::new(work, stream, engine::take(&ring, HEADS_ROOM)?)));
            ring.recv(socket, engine::take(&ring, room)?, index as u64)?;
        }
        let now = boottime_ns();
        let tally = || Tally::new(load.window, now);
        Ok(Self {
            gauge,
            ring,
            connections,
            content: Content::new(content, CONTENT, work.bytes),
            parts: Vec::with_capacity(MAX_PARTS),
            outcome: Outcome {
                tally: Tally::with_slices(load.window, now)?,
                apart: if work.mix == Mix::Mixed { Some([tally()?, tally()?]) } else { None },
                pace: None,
            },
            arrivals: match work.arrival {
                Arrival::Closed => None,
                Arrival::Open { per_second } => Some(Arrivals::new(per_second, now)?),
            },
            under_way: 0,
            turn: 0,
        })
    }

    fn run(mut self) -> Result<Outcome> {
        let mut now = boottime_ns();
        let mut heard_ns = now;
        loop {
            self.heed(now);
            let is_over = self.outcome.tally.is_over(now);
            if !is_over {
                self.start(now);
            }
            self.send()?;
            if is_over && self.is_idle() {
                break;
            }
            let limit = self.patience(is_over);
            engine::wait(&mut self.ring, limit)?;
            now = boottime_ns();
            while let Some(done) = self.ring.next_completion() {
                self.on_completion(done, now)?;
                heard_ns = now;
            }
            let silent = Duration::from_nanos(now.saturating_sub(heard_ns));
            ensure!(
                silent < engine::PATIENCE || self.is_idle(),
                "the server has not answered for {} s",
                silent.as_secs()
            );
        }
        self.say_goodbye()?;
        self.outcome.pace = self.arrivals.map(Arrivals::into_pace);
        Ok(self.outcome)
    }

    /// Ends the window, if whoever watches has said so.
    fn heed(&mut self, now: u64) {
        if self.gauge.ends() {
            let Outcome { tally, apart, .. } = &mut self.outcome;
            for tally in std::iter::once(tally).chain(apart.iter_mut().flatten()) {
                tally.end(now);
            }
        }
    }

    /// Starts what may be started now.
    fn start(&mut self, now: u64) {
        let Some(arrivals) = &mut self.arrivals else {
            for (_, connection) in &mut self.connections {
                while connection.start(now) {
                    self.under_way += 1;
                }
            }
            return;
        };
        arrivals.give_up(now);
        let count = self.connections.len();
        loop {
            let mut turns = (0..count).map(|step| (self.turn + step) % count);
            let has_room = |index: &usize| {
                self.connections.get(*index).is_some_and(|(_, connection)| connection.has_room())
            };
            let Some(index) = turns.find(has_room) else { return };
            let Some(due_ns) = arrivals.take(now) else { return };
            if let Some((_, connection)) = self.connections.get_mut(index) {
                self.under_way += usize::from(connection.start(due_ns));
            }
            self.turn = (index + 1) % count;
        }
    }

    /// Sends what waits on each connection that is not sending.
    fn send(&mut self) -> Result<()> {
        for (index, (socket, connection)) in self.connections.iter_mut().enumerate() {
            connection.batch(&mut self.content, &mut self.parts)?;
            if !self.parts.is_empty() {
                self.ring.send(*socket, &self.parts, index as u64)?;
                self.parts.clear();
            }
        }
        Ok(())
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.under_way == 0 && !self.connections.iter().any(|(_, connection)| connection.is_sending())
    }

    /// How long to sleep at most: until the next arrival is due, if there is room for it.
    fn patience(&self, is_over: bool) -> Duration {
        let can_start = !is_over && self.connections.iter().any(|(_, connection)| connection.has_room());
        match &self.arrivals {
            Some(arrivals) if can_start => {
                Duration::from_nanos(arrivals.next_due_ns().saturating_sub(boottime_ns()))
            }
            Some(_) | None => engine::PATIENCE,
        }
    }

    fn on_completion(&mut self, done: Completion, now: u64) -> Result<()> {
        let moved = done.result.context("the connection to the server")? as usize;
        let index = usize::try_from(done.user).unwrap_or(usize::MAX);
        let (socket, connection) =
            self.connections.get_mut(index).context("a completion of no connection")?;
        match done.kind {
            Kind::Send => connection.on_sent(),
            Kind::Recv => {
                ensure!(moved > 0, "the server has closed the connection");
                let mut buf = done.buf.context("a receive gives its buffer back")?;
                let mut ended = 0;
                let Outcome { tally, apart, .. } = &mut self.outcome;
                let used = connection.on_received(buf.bytes(), |verb, started_ns| {
                    tally.complete(started_ns, now);
                    if let Some([reads, writes]) = apart {
                        let tally = if verb == Verb::Read { reads } else { writes };
                        tally.complete(started_ns, now);
                    }
                    ended += 1;
                })?;
                self.under_way -= ended;
                self.gauge.add(ended as u64);
                engine::keep_rest(&mut buf, used)?;
                self.ring.recv(*socket, buf, done.user)?;
            }
            Kind::Read
            | Kind::Write
            | Kind::Flush
            | Kind::Zero
            | Kind::Accept
            | Kind::Connect
            | Kind::Close => bail!("a completion of something that was not started"),
        }
        Ok(())
    }

    /// All answers are here. The server may go as soon as it has been told.
    fn say_goodbye(&mut self) -> Result<()> {
        let mut left = 0;
        for (index, (socket, connection)) in self.connections.iter_mut().enumerate() {
            self.ring.send(*socket, &[connection.goodbye()?], index as u64)?;
            left += 1;
        }
        while left > 0 {
            let done = engine::next(&mut self.ring, "the goodbye")?;
            left -= usize::from(done.kind == Kind::Send);
        }
        Ok(())
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
