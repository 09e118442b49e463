//! Shards with this front end and nothing else: a thread that turns their loop, and disks in memory as the owners.
//!
//! The owner checks every request it gets against what the seam promises, and answers in an order of its own choice.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use midspan_format::ids::{GroupId, VolumeId};
use midspan_protocol::vocab::buffer::Buffer;
use midspan_protocol::vocab::effect::{HostError, HostOp, HostRequest, RequestId};
use midspan_protocol::vocab::limits::{MAX_PIECE, MAX_ZERO_PIECE};
use midspan_uring::{Address, Class, Config, Listener, Pool, Ring, Waker};

use super::super::NbdFrontEnd;
use super::numbers;
use crate::buffers::{PoolBuf, PoolBuffers};
use crate::clock;
use crate::exports::{Backing, Export, ExportId, Exports};
use crate::frontend::{Asked, FrontEnd, FrontSetup, Host, HostResult, NoMarks};
use crate::recorder::Recorder;
use crate::tag;

pub const MIB: usize = 1 << 20;

/// What an owner was asked for besides data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Flush,
    Fua,
    Zero { offset: u64, length: u64, unmap: bool },
}

/// A disk and how it answers.
#[derive(Debug, Default)]
pub struct Disk {
    pub bytes: Vec<u8>,
    pub seen: Vec<Seen>,
    /// What touches this byte fails so.
    pub bad: Option<(u64, HostError)>,
    /// Nothing is answered.
    pub hold: bool,
    /// Most requests that were waiting for an answer at a time.
    pub most: usize,
}

pub type Disks = Arc<Vec<Mutex<Disk>>>;

/// How a rig is built.
pub struct Plan {
    pub exports: Vec<Export>,
    pub shards: usize,
    pub classes: Vec<Class>,
    pub requests: usize,
    pub limit: Option<usize>,
}

impl Plan {
    pub fn new(exports: Vec<Export>) -> Self {
        let class = |size, count| Class { size, count };
        let classes = vec![
            class(4096, 512),
            class(16 << 10, 128),
            class(64 << 10, 64),
            class(132 << 10, 128),
            class(1 << 20, 16),
        ];
        Self { exports, shards: 1, classes, requests: 1024, limit: None }
    }
}

/// An export of shard 0 that is served.
pub fn export(number: u32, name: &str, bytes: usize) -> Export {
    Export {
        id: ExportId(number),
        name: name.to_owned(),
        description: String::new(),
        size: bytes as u64,
        read_only: false,
        default: false,
        backing: Backing::Group(GroupId(1)),
        volume: VolumeId(number + 100),
        shard: 0,
        serving: AtomicBool::new(true),
    }
}

/// How a shard stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub connections: usize,
    pub pieces: usize,
    /// Buffers of any size that are in use.
    pub buffers: usize,
    /// Connections that wait for places or memory.
    pub waiting: usize,
    pub closed: bool,
}

enum Word {
    Tell(usize, mpsc::Sender<Facts>),
    Serve(ExportId, bool),
    /// The clock jumps ahead by so many nanoseconds.
    Jump(u64),
    Stop,
    End,
}

/// The running shards.
pub struct Rig {
    pub disks: Disks,
    pub tcp: SocketAddr,
    pub unix: PathBuf,
    words: mpsc::Sender<Word>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    pub fn new(exports: Vec<Export>) -> Self {
        Self::of(Plan::new(exports))
    }

    pub fn of(plan: Plan) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unix = std::env::temp_dir().join(format!("midspan-front-{}-{number}.sock", std::process::id()));
        let disk = |e: &Export| {
            Mutex::new(Disk { bytes: vec![0; usize::try_from(e.size).unwrap()], ..Disk::default() })
        };
        let disks: Disks = Arc::new(plan.exports.iter().map(disk).collect());
        let tcp = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let local = tcp.local().unwrap();
        let listeners = vec![tcp, Listener::bind(&Address::Unix(unix.clone())).unwrap()];
        let (words, heard) = mpsc::channel();
        let (ready, waker) = mpsc::channel();
        let shared = disks.clone();
        let thread = thread::spawn(move || turn(plan, &shared, listeners, &ready, &heard));
        let waker = waker.recv().unwrap();
        Self { disks, tcp: local, unix, words, waker, thread: Some(thread) }
    }

    /// How shard 0 stands.
    pub fn facts(&self) -> Facts {
        self.facts_of(0)
    }

    pub fn facts_of(&self, shard: usize) -> Facts {
        let (sender, receiver) = mpsc::channel();
        self.say(Word::Tell(shard, sender));
        receiver.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// Waits until shard 0 stands so.
    pub fn until(&self, what: &str, holds: impl Fn(&Facts) -> bool) -> Facts {
        let end = clock::now().mono + 10_000_000_000;
        loop {
            let facts = self.facts();
            if holds(&facts) {
                return facts;
            }
            assert!(clock::now().mono < end, "waited in vain until {what}: {facts:?}");
        }
    }

    /// Waits until shard 0 stands so and has not changed for a while.
    pub fn until_still(&self, what: &str, holds: impl Fn(&Facts) -> bool) {
        let mut last = self.until(what, &holds);
        let mut since = clock::now().mono;
        while clock::now().mono - since < 300_000_000 {
            let facts = self.until(what, &holds);
            if facts != last {
                (last, since) = (facts, clock::now().mono);
            }
        }
    }

    /// Waits until all connections are gone, and demands that nothing is left of them.
    pub fn until_empty(&self) {
        let facts =
            self.until("all connections are gone", |facts| facts.connections == 0 && facts.pieces == 0);
        assert_eq!(facts.buffers, 0, "buffers of connections that are gone");
    }

    pub fn serve(&self, export: u32, serving: bool) {
        self.say(Word::Serve(ExportId(export), serving));
    }

    pub fn jump(&self, nanoseconds: u64) {
        self.say(Word::Jump(nanoseconds));
    }

    pub fn stop(&self) {
        self.say(Word::Stop);
    }

    /// Changes how a disk answers.
    pub fn disk<T>(&self, number: usize, change: impl FnOnce(&mut Disk) -> T) -> T {
        let result = change(&mut self.disks[number].lock().unwrap());
        self.waker.wake();
        result
    }

    fn say(&self, word: Word) {
        self.words.send(word).unwrap();
        self.waker.wake();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.words.send(Word::End);
        self.waker.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(ended.is_some_and(|ended| ended.is_ok()), "the shards' thread panicked");
        }
    }
}

struct Shard {
    ring: Ring,
    buffers: PoolBuffers,
    front: NbdFrontEnd,
    asked: Asked,
    waiting: VecDeque<(ExportId, HostRequest<PoolBuf>)>,
    all: usize,
}

fn turn(
    plan: Plan,
    disks: &Disks,
    listeners: Vec<Listener>,
    ready: &mpsc::Sender<Waker>,
    words: &mpsc::Receiver<Word>,
) {
    let exports = Arc::new(Exports::new(plan.exports));
    let mut shards: Vec<Shard> = (0..plan.shards)
        .map(|shard| {
            let pool = Pool::new(&plan.classes, false).unwrap();
            let config = Config { entries: 256, operations: 4096, vectors: 1024, descriptors: 1100 };
            let ring = Ring::new(config, &pool).unwrap();
            let setup = FrontSetup { shard, exports: exports.clone(), requests: plan.requests };
            let mut front = NbdFrontEnd::new(&setup);
            front.limit = plan.limit.unwrap_or(front.limit);
            let (asked, waiting) = (Asked::new(plan.requests), VecDeque::new());
            Shard { ring, all: pool.available(1), buffers: PoolBuffers::new(pool), front, asked, waiting }
        })
        .collect();
    ready.send(shards[0].ring.waker()).unwrap();
    let mut ahead = 0;
    shards[0].with(0, &exports, ahead, |front, host| front.listen(host, listeners));
    let mut random = numbers(11);
    loop {
        while let Ok(word) = words.try_recv() {
            match word {
                Word::Tell(shard, to) => to.send(shards[shard].facts()).unwrap(),
                Word::Jump(by) => ahead += by,
                Word::End => return,
                Word::Stop => {
                    for (number, shard) in shards.iter_mut().enumerate() {
                        shard.with(number, &exports, ahead, |front, host| front.stop(host));
                    }
                }
                Word::Serve(export, serving) => {
                    let of = exports.get(export).unwrap();
                    of.set_serving(serving);
                    shards[of.shard]
                        .with(of.shard, &exports, ahead, |front, host| front.on_export(host, export));
                }
            }
        }
        let mut handed = Vec::new();
        for (number, shard) in shards.iter_mut().enumerate() {
            shard.pass(number, &exports, ahead, disks, &mut random);
            handed.append(&mut shard.asked.handovers);
        }
        for handover in handed {
            let to = exports.get(handover.export).unwrap().shard;
            shards[to].with(to, &exports, ahead, |front, host| front.on_handover(host, handover));
            shards[to].ring.wait(0, None).unwrap();
        }
        let pause = Duration::from_millis(if plan.shards == 1 { 20 } else { 1 });
        shards[0].ring.wait(1, Some(pause)).unwrap();
        shards.iter_mut().skip(1).for_each(|shard| shard.ring.wait(0, None).unwrap());
    }
}

impl Shard {
    fn with(
        &mut self,
        shard: usize,
        exports: &Exports,
        ahead: u64,
        call: impl FnOnce(&mut NbdFrontEnd, &mut Host<'_>),
    ) {
        let mut now = clock::now();
        now.mono += ahead;
        let Self { ring, buffers, front, asked, .. } = self;
        let recorder = &mut Recorder::off();
        call(front, &mut Host { ring, buffers, exports, marks: &NoMarks, now, shard, asked, recorder });
    }

    fn pass(
        &mut self,
        me: usize,
        exports: &Exports,
        ahead: u64,
        disks: &Disks,
        random: &mut impl FnMut(u64) -> u64,
    ) {
        while let Some(completion) = self.ring.next_completion() {
            assert_eq!(tag::owner(completion.user), tag::FRONT);
            let rest = tag::rest(completion.user);
            self.with(me, exports, ahead, |front, host| front.on_completion(host, rest, completion));
        }
        if self.front.deadline() <= clock::now().mono + ahead {
            self.with(me, exports, ahead, |front, host| front.on_tick(host));
        }
        for (request, result) in self.answers(exports, disks, random) {
            self.with(me, exports, ahead, |front, host| front.on_answer(host, request, result));
        }
        self.with(me, exports, ahead, |front, host| front.on_drained(host));
    }

    fn facts(&self) -> Facts {
        Facts {
            connections: self.front.connections(),
            pieces: self.front.pieces(),
            buffers: self.all - self.buffers.pool().available(1),
            waiting: self.front.waiting.len(),
            closed: self.front.is_closed(),
        }
    }

    /// Takes the front end's requests, and answers some of those that wait.
    fn answers(
        &mut self,
        exports: &Exports,
        disks: &Disks,
        random: &mut impl FnMut(u64) -> u64,
    ) -> Vec<(RequestId, HostResult)> {
        for (export, request) in self.asked.requests.drain(..) {
            let names = self.waiting.iter().filter(|(_, other)| other.id == request.id).count();
            assert_eq!(names, 0, "a name is used twice");
            assert_eq!(request.volume, exports.get(export).unwrap().volume);
            self.waiting.push_back((export, request));
        }
        let mut answers = Vec::new();
        for _ in 0..self.waiting.len() {
            let at = usize::try_from(random(self.waiting.len() as u64)).unwrap();
            self.waiting.swap(0, at);
            let Some((export, request)) = self.waiting.pop_front() else { break };
            let mut disk = disks[export.0 as usize].lock().unwrap();
            disk.most = disk.most.max(self.waiting.len() + 1);
            if disk.hold {
                self.waiting.push_back((export, request));
                continue;
            }
            answers.push((request.id, disk.carry_out(request.op)));
        }
        answers
    }
}

impl Disk {
    fn carry_out(&mut self, op: HostOp<PoolBuf>) -> HostResult {
        let size = self.bytes.len() as u64;
        let range = match &op {
            HostOp::Read { offset, length, .. } | HostOp::Write { offset, length, .. } => {
                *offset..offset + *length as u64
            }
            HostOp::Zero { offset, length, .. } => *offset..offset + length,
            HostOp::Flush => 0..0,
        };
        assert!(range.end <= size, "{range:?} is beyond the disk");
        if let Some((_, error)) = self.bad.filter(|(at, _)| range.contains(at)) {
            return Err(error);
        }
        let at = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        match op {
            HostOp::Read { length, mut into, .. } => {
                assert!(at.start % 4096 == 0 && (4096..=MAX_PIECE).contains(&length) && length % 4096 == 0);
                into.bytes_mut().expect("a buffer that nobody else holds")[..length]
                    .copy_from_slice(&self.bytes[at]);
                into.set_filled(length);
                return Ok(Some(into));
            }
            HostOp::Write { length, data, fua, .. } => {
                let skew = at.start % 4096;
                assert!(data.is_unique() && length > 0);
                assert_eq!(data.bytes().len(), skew + length, "filled up to the end of the payload");
                let blocks = (skew + length).next_multiple_of(4096);
                assert!(blocks <= MAX_PIECE && blocks <= data.capacity());
                self.bytes[at].copy_from_slice(&data.bytes()[skew..]);
                self.seen.extend(fua.then_some(Seen::Fua));
            }
            HostOp::Zero { offset, length, unmap, fua } => {
                assert!(offset % 4096 == 0 && length % 4096 == 0 && (1..=MAX_ZERO_PIECE).contains(&length));
                self.bytes[at].fill(0);
                self.seen.push(Seen::Zero { offset, length, unmap });
                self.seen.extend(fua.then_some(Seen::Fua));
            }
            HostOp::Flush => self.seen.push(Seen::Flush),
        }
        Ok(None)
    }
}
