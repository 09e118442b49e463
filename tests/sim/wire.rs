//! The simulated network: connections that carry messages and bulk units in order, late, partly, or not at all.
//!
//! Fault atlas: within a connection everything arrives in order and is what was sent; between connections nothing is ordered.
//! A connection is reset in mid-flight (a part of what was on its way arrives); an end may notice late. A path is cut one way
//! or both: what was sent waits, and goes on or is lost when the path is back; one way of it is slow; a connection arrives a second
//! time, later, with nobody behind it. When a process dies, what its kernel had taken
//! still arrives; when its machine loses power, a part of it does, and nobody tells the other end.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use midspan_format::message::{Hello, SessionKind};
use midspan_protocol::vocab::effect::{Frame, LinkId, Parts};

use crate::event::{ConnId, Event, NodeIndex, Side};
use crate::memory::SimBuf;
use crate::random::Random;
use crate::schedule::Schedule;

/// What two kernels hold of one direction before a sender has to wait, bytes.
const SOCKET_BYTES: usize = 512 * 1024;

/// Bytes of the answer to a fence with its frame, and what was added when lanes began in the middle.
const FENCED_BYTES: usize = midspan_format::message::HEADER_BYTES + 2544;
const GROWN_BYTES: usize = 8 * midspan_format::message::MAX_FENCED_LANES;

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// An encoded message of the small direction.
    Small(Vec<u8>),
    /// A frame, or a block message with its data.
    Bulk(Vec<u8>),
    /// The other end has closed, in order.
    End,
}

/// What must stay in the sender's memory until its kernel has taken it.
#[derive(Debug)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// A sealed frame.
    Frame(#[expect(dead_code, reason = "held, never read")] Rc<Frame<SimBuf>>),
    /// Ranges behind a block message; the machine hears when they have left.
    Parts(#[expect(dead_code, reason = "held, never read")] Box<Parts<SimBuf>>),
}

#[derive(Debug)]
struct Item {
    payload: Payload,
    bytes: usize,
    keep: Keep,
    /// Set once the kernel has taken it: when it arrives.
    at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The next message is the greeting, or its answer.
    Greeting,
    Small,
    Bulk,
}

/// One direction.
#[derive(Debug)]
struct Stream {
    items: VecDeque<Item>,
    arrived: VecDeque<Payload>,
    /// Bytes that the kernels hold.
    held: usize,
    last_at: u64,
    mode: Mode,
    next_mode: Mode,
    /// Nothing more can be sent.
    ended: bool,
    stalled: bool,
}

/// What an end knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndState {
    /// The greeting has not arrived.
    Waiting,
    /// Its machine knows it by this name.
    Open(LinkId),
    /// Its machine has closed it, was told that it is gone, or died.
    Gone,
}

/// One end.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Where.
    pub node: NodeIndex,
    /// Which process.
    pub life: u64,
    /// What it knows.
    pub state: EndState,
}

#[derive(Debug)]
struct Conn {
    ends: [End; 2],
    streams: [Stream; 2],
    /// Bytes do not pass any more; an end that sends finds out.
    dead: bool,
}

/// How the paths are.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// One way, nanoseconds.
    pub latency: u64,
    /// Bytes in a microsecond.
    pub bytes_per_us: u64,
}

/// The network.
pub struct Wire {
    conns: BTreeMap<ConnId, Conn>,
    count: u64,
    paths: [[Path; 4]; 4],
    /// How often each direction is cut now.
    cuts: [[u32; 4]; 4],
    /// What each direction takes longer now, nanoseconds.
    pub late: [[u64; 4]; 4],
    /// Whose connections arrive twice.
    pub doubles: [bool; 4],
    /// Latency is multiplied by this.
    pub slowness: u64,
    /// How often in a million a unit or message is damaged on its way.
    pub rot: u32,
    random: Random,
}

impl Wire {
    /// A network with these paths, by node.
    pub fn new(paths: [[Path; 4]; 4], random: Random) -> Self {
        Self {
            conns: BTreeMap::new(),
            count: 0,
            paths,
            cuts: [[0; 4]; 4],
            late: [[0; 4]; 4],
            doubles: [false; 4],
            slowness: 1,
            rot: 0,
            random,
        }
    }

    /// A process opens a connection and greets; gives the connection.
    pub fn connect(
        &mut self,
        schedule: &mut Schedule<Event>,
        from: (NodeIndex, u64, LinkId),
        to: NodeIndex,
        hello: &Hello,
        greeting: Vec<u8>,
    ) -> ConnId {
        let (node, life, link) = from;
        let id = self.insert(End { node, life, state: EndState::Open(link) }, to, hello);
        if self.doubles[node.0] {
            self.double(schedule, node, to, hello, greeting.clone());
        }
        self.send(schedule, id, 0, Payload::Small(greeting), Keep::Nothing);
        id
    }

    fn insert(&mut self, from: End, to: NodeIndex, hello: &Hello) -> ConnId {
        self.count += 1;
        let id = ConnId(self.count);
        let bulk = match hello.kind {
            SessionKind::Append | SessionKind::Direct => [Mode::Bulk, Mode::Small],
            SessionKind::Fetch => [Mode::Small, Mode::Bulk],
            SessionKind::Control => [Mode::Small, Mode::Small],
        };
        let stream = |next_mode| Stream {
            items: VecDeque::new(),
            arrived: VecDeque::new(),
            held: 0,
            last_at: 0,
            mode: Mode::Greeting,
            next_mode,
            ended: false,
            stalled: false,
        };
        let ends = [from, End { node: to, life: 0, state: EndState::Waiting }];
        self.conns.insert(id, Conn { ends, streams: bulk.map(stream), dead: false });
        id
    }

    /// The greeting arrives once more, on a connection that nobody holds: what is said on it comes back as a reset.
    fn double(
        &mut self,
        schedule: &mut Schedule<Event>,
        from: NodeIndex,
        to: NodeIndex,
        hello: &Hello,
        greeting: Vec<u8>,
    ) {
        let id = self.insert(End { node: from, life: 0, state: EndState::Gone }, to, hello);
        let at = schedule.now() + self.random.range(1_000_000, 2_000_000_000);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.dead = true;
        let bytes = greeting.len();
        let stream = &mut conn.streams[0];
        stream.held += bytes;
        let item = Item { payload: Payload::Small(greeting), bytes, keep: Keep::Nothing, at: Some(at) };
        stream.items.push_back(item);
        schedule.at(at, Event::Arrive { conn: id, from: 0 });
    }

    /// The greeting has arrived: the process that it reached knows the connection by `link`.
    pub fn accept(&mut self, conn: ConnId, life: u64, link: LinkId) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.ends[1].life = life;
            conn.ends[1].state = EndState::Open(link);
        }
    }

    /// An end of a connection.
    pub fn end(&self, conn: ConnId, side: Side) -> Option<End> {
        self.conns.get(&conn).map(|c| c.ends[side])
    }

    /// Sends something.
    ///
    /// # Panics
    /// When it is of the other direction's kind: the real stream could not be read any more.
    pub fn send(
        &mut self,
        schedule: &mut Schedule<Event>,
        id: ConnId,
        side: Side,
        payload: Payload,
        keep: Keep,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.dead {
            // The first thing that is sent into nothing comes back as a reset, once.
            let rtt = 2 * self.paths[conn.ends[side].node.0][conn.ends[1 - side].node.0].latency;
            schedule.after(rtt, Event::Lost { conn: id, side });
            return;
        }
        let stream = &mut conn.streams[side];
        if stream.ended {
            return;
        }
        match (&payload, stream.mode) {
            (Payload::Small(_), Mode::Greeting) => stream.mode = stream.next_mode,
            (Payload::Small(_), Mode::Small) | (Payload::Bulk(_), Mode::Bulk) | (Payload::End, _) => {}
            (Payload::Small(_), Mode::Bulk) => {
                panic!("a small message in the bulk direction of {:?}", conn.ends)
            }
            (Payload::Bulk(_), Mode::Greeting | Mode::Small) => {
                panic!("a unit in the small direction of {:?}", conn.ends)
            }
        }
        stream.ended = payload == Payload::End;
        let bytes = match &payload {
            Payload::Small(bytes) | Payload::Bulk(bytes) => bytes.len(),
            Payload::End => 0,
        };
        stream.items.push_back(Item { payload, bytes, keep, at: None });
        self.take_more(schedule, id, side);
    }

    /// A machine closes its end: what was sent still goes out, nothing comes in any more.
    pub fn close(&mut self, schedule: &mut Schedule<Event>, id: ConnId, side: Side) {
        self.send(schedule, id, side, Payload::End, Keep::Nothing);
        self.forget(id, side);
    }

    /// An end is not interested any more.
    pub fn forget(&mut self, id: ConnId, side: Side) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.ends[side].state = EndState::Gone;
        conn.streams[1 - side].items.clear();
        conn.streams[1 - side].arrived.clear();
        conn.streams[1 - side].ended = true;
        if conn.ends.iter().all(|end| end.state == EndState::Gone) {
            self.conns.remove(&id);
        }
    }

    /// Lets arrive what is due; says at which node something has.
    pub fn arrive(&mut self, now: u64, id: ConnId, from: Side) -> Option<NodeIndex> {
        let conn = self.conns.get_mut(&id)?;
        let (source, target) = (conn.ends[from].node, conn.ends[1 - from].node);
        let stream = &mut conn.streams[from];
        if self.cuts[source.0][target.0] > 0 {
            stream.stalled = true;
            return None;
        }
        let mut any = false;
        while stream.items.front().is_some_and(|item| item.at.is_some_and(|at| at <= now)) {
            let Some(mut item) = stream.items.pop_front() else { break };
            if self.random.chance(self.rot) {
                damage(&mut item.payload, &mut self.random);
            }
            stream.arrived.push_back(item.payload);
            any = true;
        }
        any.then_some(target)
    }

    /// The next thing that has arrived at an end; `None`: nothing.
    pub fn peek(&self, id: ConnId, side: Side) -> Option<&Payload> {
        self.conns.get(&id)?.streams[1 - side].arrived.front()
    }

    /// The sizes of the bulk units that have arrived in a row.
    pub fn units(&self, id: ConnId, side: Side) -> Vec<usize> {
        let Some(conn) = self.conns.get(&id) else { return Vec::new() };
        let sizes = conn.streams[1 - side].arrived.iter().map_while(|payload| match payload {
            Payload::Bulk(bytes) => Some(bytes.len()),
            Payload::Small(_) | Payload::End => None,
        });
        sizes.collect()
    }

    /// Takes it.
    pub fn take(&mut self, schedule: &mut Schedule<Event>, id: ConnId, side: Side) -> Option<Payload> {
        let stream = &mut self.conns.get_mut(&id)?.streams[1 - side];
        let payload = stream.arrived.pop_front()?;
        if let Payload::Small(bytes) | Payload::Bulk(bytes) = &payload {
            stream.held -= bytes.len();
        }
        self.take_more(schedule, id, 1 - side);
        Some(payload)
    }

    /// The kernels take what they have room for: only then it is on its way, and its memory free.
    fn take_more(&mut self, schedule: &mut Schedule<Event>, id: ConnId, from: Side) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (source, target) = (conn.ends[from].node.0, conn.ends[1 - from].node.0);
        let (path, late) = (self.paths[source][target], self.late[source][target]);
        let stream = &mut conn.streams[from];
        for item in stream.items.iter_mut().filter(|item| item.at.is_none()) {
            if stream.held > 0 && stream.held + item.bytes > SOCKET_BYTES {
                return;
            }
            stream.held += item.bytes;
            // So that seeds stay what they were, what this message has grown by since takes no time.
            let bytes = if item.bytes == FENCED_BYTES { item.bytes - GROWN_BYTES } else { item.bytes };
            let transit = self.random.latency(path.latency) * self.slowness
                + bytes as u64 * 1000 / path.bytes_per_us
                + late;
            let at = (schedule.now() + transit).max(stream.last_at + 1);
            stream.last_at = at;
            item.at = Some(at);
            if let Keep::Parts(_) = item.keep {
                schedule.after(self.random.range(1_000, 50_000), Event::Left { conn: id, from });
            }
            item.keep = Keep::Nothing;
            schedule.at(at, Event::Arrive { conn: id, from });
        }
    }

    /// A process dies: its kernel closes its connections, some of them rudely.
    pub fn on_killed(&mut self, schedule: &mut Schedule<Event>, node: NodeIndex, life: u64) {
        let greeted = |conn: &Conn| {
            let [_, end] = &conn.ends;
            end.node == node && end.state == EndState::Waiting && !conn.streams[0].arrived.is_empty()
        };
        let unseen: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| greeted(conn)).map(|(id, _)| *id).collect();
        for id in unseen {
            self.forget(id, 1);
            schedule.after(1_000_000, Event::Lost { conn: id, side: 0 });
        }
        for (id, side) in self.ends_of(node, life) {
            let rude = self.random.percent(30);
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let stream = &mut conn.streams[side];
            stream.items.retain(|item| item.at.is_some());
            if rude {
                let keep = self.random.index(stream.items.len() + 1);
                stream.items.truncate(keep);
            }
            self.close(schedule, id, side);
        }
    }

    /// A machine loses power: a part of what it sent arrives, and the other end hears nothing for long.
    pub fn on_power_lost(&mut self, schedule: &mut Schedule<Event>, node: NodeIndex, life: u64) {
        for (id, side) in self.ends_of(node, life) {
            let late = self.random.range(4_000_000_000, 15_000_000_000);
            self.cut_off(schedule, id, [late; 2]);
            self.forget(id, side);
        }
    }

    /// All connections between two nodes are reset; an end may notice late.
    pub fn reset(&mut self, schedule: &mut Schedule<Event>, a: NodeIndex, b: NodeIndex) {
        let between = |conn: &Conn| {
            let nodes = [conn.ends[0].node, conn.ends[1].node];
            nodes == [a, b] || nodes == [b, a]
        };
        let found: Vec<ConnId> = self.conns.iter().filter(|(_, c)| between(c)).map(|(id, _)| *id).collect();
        for id in found {
            if self.random.percent(80) {
                self.break_off(schedule, id);
            }
        }
    }

    /// Cuts the way from one node to another.
    pub fn cut(&mut self, from: NodeIndex, to: NodeIndex) {
        self.cuts[from.0][to.0] += 1;
    }

    /// The way is back: what waited goes on, or its connection did not survive.
    pub fn mend(&mut self, schedule: &mut Schedule<Event>, from: NodeIndex, to: NodeIndex) {
        let cuts = &mut self.cuts[from.0][to.0];
        *cuts = cuts.saturating_sub(1);
        if *cuts > 0 {
            return;
        }
        let stalled = |conn: &Conn, side: Side| {
            conn.ends[side].node == from && conn.ends[1 - side].node == to && conn.streams[side].stalled
        };
        let found: Vec<(ConnId, Side)> = self
            .conns
            .iter()
            .flat_map(|(id, conn)| {
                [0, 1].into_iter().filter(|side| stalled(conn, *side)).map(|side| (*id, side))
            })
            .collect();
        for (id, side) in found {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.streams[side].stalled = false;
            }
            if self.random.percent(30) {
                self.break_off(schedule, id);
            } else {
                schedule.after(self.random.below(200_000_000), Event::Arrive { conn: id, from: side });
            }
        }
    }

    /// All ways are back.
    pub fn mend_all(&mut self, schedule: &mut Schedule<Event>) {
        for from in NodeIndex::EVERY {
            for to in NodeIndex::EVERY {
                self.cuts[from.0][to.0] = self.cuts[from.0][to.0].min(1);
                self.mend(schedule, from, to);
            }
        }
    }

    fn break_off(&mut self, schedule: &mut Schedule<Event>, id: ConnId) {
        let mut notices = [0, 1].map(|_| self.random.below(20_000_000));
        if self.random.percent(25) {
            notices[self.random.index(2)] = self.random.range(1_000_000_000, 10_000_000_000);
        }
        self.cut_off(schedule, id, notices);
    }

    fn cut_off(&mut self, schedule: &mut Schedule<Event>, id: ConnId, notices: [u64; 2]) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.dead = true;
        for (side, notice) in notices.into_iter().enumerate() {
            let stream = &mut conn.streams[side];
            stream.items.retain(|item| item.at.is_some());
            let keep = self.random.index(stream.items.len() + 1);
            stream.items.truncate(keep);
            schedule.after(notice, Event::Lost { conn: id, side });
        }
    }

    fn ends_of(&self, node: NodeIndex, life: u64) -> Vec<(ConnId, Side)> {
        let is_of =
            |end: &End| end.node == node && end.life == life && matches!(end.state, EndState::Open(_));
        let sides = self.conns.iter().flat_map(|(id, conn)| {
            [0, 1].into_iter().filter(|side| is_of(&conn.ends[*side])).map(|side| (*id, side))
        });
        sides.collect()
    }
}

fn damage(payload: &mut Payload, random: &mut Random) {
    match payload {
        Payload::Small(bytes) | Payload::Bulk(bytes) => {
            let at = random.index(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        Payload::End => {}
    }
}
