//! The open files of a shard: runs the machines' disk operations on the ring, and turns outcomes into their words.
//!
//! A failed operation is never repeated here. The first failure of each file is reported with path, offset and errno.

pub mod run;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use midspan_format::ids::VolumeId;
use midspan_protocol::vocab::buffer::{Buffer, Buffers};
use midspan_protocol::vocab::effect::{Disk, DiskError, DiskOp, DiskResult, Token};
use midspan_uring::{Completion, Errno, File, FileId, MAX_PARTS, Refused, Ring};

use crate::background::Background;
use crate::buffers::{Gathered, PoolBuf, PoolBuffers};
use crate::counters::{Counters, Durations};
use crate::event::{Event, Events, Owner};
use crate::slab::{Key, Slab};
use crate::tag;

/// Bytes written at a time where the kernel cannot make zeroes itself.
const ZERO_PIECE: usize = 128 * 1024;

/// What was being done when a disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Flushing.
    Flush,
    /// Making zeroes.
    Zero,
}

/// The first failure of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFailure {
    /// The file or device.
    pub path: PathBuf,
    /// What was being done.
    pub action: Action,
    /// Where, bytes.
    pub offset: u64,
    /// The kernel's word.
    pub errno: Errno,
}

impl std::fmt::Display for DiskFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = match self.action {
            Action::Read => "reading",
            Action::Write => "writing",
            Action::Flush => "flushing",
            Action::Zero => "zeroing",
        };
        write!(f, "{}: {action} at {} failed: {}", self.path.display(), self.offset, self.errno)
    }
}

/// Number of an open file in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskIndex(usize);

#[derive(Debug)]
struct Open {
    id: FileId,
    path: PathBuf,
    reported: bool,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Write { length: u64, durable: bool },
    Read { length: usize },
    Flush,
    Zero { length: u64, durable: bool, step: ZeroStep },
}

#[derive(Clone, Copy, Debug)]
enum ZeroStep {
    /// The kernel does it.
    Kernel,
    /// We write zeroes; so many bytes are done.
    Writing { done: u64, piece: u64 },
    /// All is zero; it becomes durable.
    Flushing,
}

/// What a machine asks for.
#[derive(Debug)]
pub struct Request {
    /// The machine.
    pub owner: Owner,
    /// One of its disks.
    pub disk: Disk,
    /// Its name for the operation.
    pub token: Token,
    /// The operation.
    pub op: DiskOp<PoolBuf>,
    /// Whether somebody's answer waits for it.
    pub awaited: bool,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    owner: Owner,
    token: Token,
    disk: usize,
    offset: u64,
    since: u64,
    work: Work,
    /// It has one of its disk's turns among the writes that nobody waits for.
    turn: bool,
    /// What was written as one with it, behind it.
    behind: Option<Key>,
}

#[derive(Debug)]
struct Asked {
    owner: Owner,
    disk: usize,
    token: Token,
    op: DiskOp<PoolBuf>,
    awaited: bool,
}

/// The files and what is in flight on them.
#[derive(Debug)]
pub struct Disks {
    open: Vec<Open>,
    journal: Option<DiskIndex>,
    /// Sorted by owner and volume.
    volumes: Vec<(Owner, VolumeId, DiskIndex)>,
    ops: Slab<Op>,
    /// What found no room in the ring.
    waiting: VecDeque<Asked>,
    /// What nobody waits for.
    background: Background<Asked>,
    /// Writes that are to be given to the kernel as one.
    run: Vec<Asked>,
    gathered: Gathered,
    /// Runs given and not ended.
    runs: usize,
    /// Continuations of zeroing that found no room.
    stuck: VecDeque<Key>,
    zeroes: Option<PoolBuf>,
    failures: Vec<DiskFailure>,
}

impl Disks {
    /// No files yet; room for `capacity` operations at a time.
    pub fn new(capacity: usize) -> Self {
        Self {
            open: Vec::new(),
            journal: None,
            volumes: Vec::new(),
            ops: Slab::new(capacity),
            waiting: VecDeque::with_capacity(capacity),
            background: Background::new(capacity),
            run: Vec::with_capacity(MAX_PARTS),
            gathered: Vec::with_capacity(MAX_PARTS),
            runs: 0,
            stuck: VecDeque::with_capacity(64),
            zeroes: None,
            failures: Vec::with_capacity(8),
        }
    }

    /// Takes a file over.
    ///
    /// # Errors
    /// The ring has no place for it.
    pub fn add(&mut self, ring: &mut Ring, file: File) -> Result<DiskIndex, Refused> {
        let path = file.path().to_owned();
        let id = ring.add_file(file)?;
        self.open.push(Open { id, path, reported: false });
        self.background.add_disk();
        Ok(DiskIndex(self.open.len() - 1))
    }

    /// Says which file is the journal disk.
    pub fn set_journal(&mut self, disk: DiskIndex) {
        self.journal = Some(disk);
    }

    /// Says which file is a machine's volume.
    pub fn set_volume(&mut self, owner: Owner, volume: VolumeId, disk: DiskIndex) {
        self.volumes.push((owner, volume, disk));
        self.volumes.sort_unstable_by_key(|(owner, volume, _)| (*owner, *volume));
    }

    /// Path of a file.
    pub fn path(&self, disk: DiskIndex) -> Option<&Path> {
        self.open.get(disk.0).map(|o| o.path.as_path())
    }

    /// Operations that are not finished.
    pub fn in_flight(&self) -> usize {
        self.ops.len() + self.waiting.len() + self.background.waiting()
    }

    /// A failure that was not taken yet; of each file the first one only.
    pub fn take_failure(&mut self) -> Option<DiskFailure> {
        self.failures.pop()
    }

    /// A machine's disk operation: at once if somebody waits for it, else behind all that others wait for in this pass.
    pub fn start(&mut self, ring: &mut Ring, events: &mut Events, now: u64, request: Request) {
        let Request { owner, disk, token, op, awaited } = request;
        let Some(disk) = self.find(owner, disk) else {
            debug_assert!(false, "an operation on a disk that the machine does not have");
            events.push_back(Event::Disk { owner, token, result: Err(DiskError::Failed) });
            return;
        };
        let asked = Asked { owner, disk, token, op, awaited };
        let asked = match (awaited, asked) {
            (true, asked) => asked,
            (false, asked) => match self.background.push(disk, asked) {
                Ok(()) => return,
                Err(asked) => Asked { awaited: true, ..asked },
            },
        };
        if self.waiting.is_empty() && has_room(ring, &self.ops) {
            self.issue(ring, events, now, asked);
        } else {
            self.waiting.push_back(asked);
        }
    }

    /// Tries again what found no room, then starts what nobody waits for. Once per pass, behind everything else.
    pub fn retry(&mut self, ring: &mut Ring, buffers: &mut PoolBuffers, events: &mut Events, now: u64) {
        for _ in 0..self.stuck.len() {
            let Some(key) = self.stuck.pop_front() else { break };
            self.go_on_zeroing(ring, buffers, events, key);
        }
        while !self.waiting.is_empty() && has_room(ring, &self.ops) {
            let Some(asked) = self.waiting.pop_front() else { break };
            self.issue(ring, events, now, asked);
        }
        for disk in 0..self.background.disks() {
            while self.waiting.is_empty() && has_room(ring, &self.ops) {
                let Some(asked) = self.background.next(disk) else { break };
                self.issue_run(ring, events, now, asked);
            }
        }
    }

    /// A completion with the tag of disks.
    pub fn on_completion(
        &mut self,
        ring: &mut Ring,
        buffers: &mut PoolBuffers,
        events: &mut Events,
        counters: &Counters,
        now: u64,
        completion: Completion,
    ) {
        let key = Key::from_raw(tag::rest(completion.user));
        let Some(op) = self.ops.get(key).copied() else { return };
        match (op.work, completion.result) {
            (Work::Zero { length, durable, step }, result) => {
                match next_step(length, durable, step, result) {
                    Ok(Some(step)) => {
                        if let Some(op) = self.ops.get_mut(key) {
                            op.work = Work::Zero { length, durable, step };
                        }
                        self.go_on_zeroing(ring, buffers, events, key);
                    }
                    Ok(None) => self.finish(events, counters, now, key, Ok(None)),
                    Err(errno) => self.fail(events, counters, now, key, errno),
                }
            }
            (Work::Read { length }, Ok(count)) if count as usize == length => {
                let buf = completion.buf.map(PoolBuf::new);
                self.finish(events, counters, now, key, Ok(buf));
            }
            // The file ends before the range: it is not the disk that was opened.
            (Work::Read { .. }, Ok(_)) => self.fail(events, counters, now, key, Errno::IO),
            (Work::Write { .. }, result) => {
                self.on_written(events, counters, now, key, result.map(drop));
            }
            (Work::Flush, Ok(_)) => self.finish(events, counters, now, key, Ok(None)),
            (Work::Read { .. } | Work::Flush, Err(errno)) => {
                self.fail(events, counters, now, key, errno);
            }
        }
    }

    fn find(&self, owner: Owner, disk: Disk) -> Option<usize> {
        match disk {
            Disk::Journal => self.journal.map(|d| d.0),
            Disk::Volume(volume) => {
                let place = self.volumes.binary_search_by_key(&(owner, volume), |(o, v, _)| (*o, *v)).ok()?;
                self.volumes.get(place).map(|(_, _, disk)| disk.0)
            }
        }
    }

    fn issue(&mut self, ring: &mut Ring, events: &mut Events, now: u64, asked: Asked) {
        let Asked { owner, disk, token, op, awaited } = asked;
        let Some(file) = self.open.get(disk).map(|o| o.id) else { return };
        let (offset, work) = match &op {
            DiskOp::Write { offset, data, durable } => {
                (*offset, Work::Write { length: data.len() as u64, durable: *durable })
            }
            DiskOp::Read { offset, length, .. } => (*offset, Work::Read { length: *length }),
            DiskOp::Flush => (0, Work::Flush),
            DiskOp::Zero { offset, length, durable, .. } => {
                (*offset, Work::Zero { length: *length, durable: *durable, step: ZeroStep::Kernel })
            }
        };
        let record = Op { owner, token, disk, offset, since: now, work, turn: !awaited, behind: None };
        let Ok(key) = self.ops.insert(record) else {
            self.waiting.push_front(Asked { owner, disk, token, op, awaited });
            return;
        };
        let user = tag::user(tag::DISK, key.raw());
        let accepted = match op {
            DiskOp::Write { offset, data, durable } => {
                let range = data.range();
                ring.write(file, data.into_buffer().into_buf(), range, offset, durable, user)
            }
            DiskOp::Read { offset, length, at, mut into } => {
                into.set_filled(at);
                ring.read(file, into.into_buf(), length, offset, user)
            }
            DiskOp::Flush => ring.flush(file, user),
            DiskOp::Zero { offset, length, unmap, .. } => ring.zero(file, offset, length, unmap, user),
        };
        if let Err(refused) = accepted {
            self.on_refused(events, key, refused);
        }
    }

    /// The ring did not take an operation although it had room: a programmer error, or a broken ring.
    fn on_refused(&mut self, events: &mut Events, key: Key, refused: Refused) {
        let errno = match refused {
            Refused::Kernel(errno) => errno,
            Refused::Full => Errno::BUSY,
            Refused::Unknown
            | Refused::Busy
            | Refused::Closed
            | Refused::Misaligned
            | Refused::OutOfRange
            | Refused::Foreign => Errno::INVALID,
        };
        debug_assert!(errno != Errno::INVALID, "an impossible disk operation: {refused}");
        if let Some(op) = self.ops.remove(key) {
            self.note_end(&op);
            self.report(&op, errno);
            events.push_back(Event::Disk {
                owner: op.owner,
                token: op.token,
                result: Err(DiskError::Failed),
            });
        }
    }

    fn go_on_zeroing(&mut self, ring: &mut Ring, buffers: &mut PoolBuffers, events: &mut Events, key: Key) {
        let Some(op) = self.ops.get(key).copied() else { return };
        let Some(file) = self.open.get(op.disk).map(|o| o.id) else { return };
        let Work::Zero { length, durable, step } = op.work else { return };
        let user = tag::user(tag::DISK, key.raw());
        let accepted = match step {
            ZeroStep::Kernel => return,
            ZeroStep::Flushing => ring.flush(file, user),
            ZeroStep::Writing { done, .. } => {
                let Some(zeroes) = self.zeroes(buffers) else { return self.stuck.push_back(key) };
                let piece = (length - done).min(zeroes.capacity().min(ZERO_PIECE) as u64);
                if let Some(op) = self.ops.get_mut(key) {
                    op.work = Work::Zero { length, durable, step: ZeroStep::Writing { done, piece } };
                }
                let range = 0..usize::try_from(piece).unwrap_or(0);
                ring.write(file, zeroes.into_buf(), range, op.offset + done, false, user)
            }
        };
        match accepted {
            Ok(_) => {}
            Err(Refused::Full) => self.stuck.push_back(key),
            Err(refused) => self.on_refused(events, key, refused),
        }
    }

    /// A buffer of zeroes, made when first needed and kept.
    fn zeroes(&mut self, buffers: &mut PoolBuffers) -> Option<PoolBuf> {
        if self.zeroes.is_none() {
            let mut buf = buffers.take(ZERO_PIECE)?;
            buf.bytes_mut()?.fill(0);
            buf.set_filled(buf.capacity());
            self.zeroes = Some(buf);
        }
        self.zeroes.clone()
    }

    fn finish(
        &mut self,
        events: &mut Events,
        counters: &Counters,
        now: u64,
        key: Key,
        result: DiskResult<PoolBuf>,
    ) {
        let Some(op) = self.ops.remove(key) else { return };
        self.note_end(&op);
        let took = now.saturating_sub(op.since);
        let record = |durations: &Durations| durations.record(took);
        match op.work {
            Work::Write { length, durable: true } => {
                record(&counters.durable_writes);
                counters.durable_bytes.add(length);
            }
            Work::Write { length, durable: false } | Work::Zero { length, .. } => {
                record(&counters.writes);
                counters.written_bytes.add(length);
            }
            Work::Read { length } => {
                record(&counters.reads);
                counters.read_bytes.add(length as u64);
            }
            Work::Flush => record(&counters.flushes),
        }
        events.push_back(Event::Disk { owner: op.owner, token: op.token, result });
    }

    fn note_end(&mut self, op: &Op) {
        if op.turn {
            self.background.on_end(op.disk);
        }
    }

    fn fail(&mut self, events: &mut Events, counters: &Counters, now: u64, key: Key, errno: Errno) {
        if let Some(op) = self.ops.get(key).copied() {
            self.report(&op, errno);
        }
        counters.disk_failures.add(1);
        let error = if errno == Errno::NO_SPACE { DiskError::NoSpace } else { DiskError::Failed };
        self.finish(events, counters, now, key, Err(error));
    }

    fn report(&mut self, op: &Op, errno: Errno) {
        let action = match op.work {
            Work::Write { .. } => Action::Write,
            Work::Read { .. } => Action::Read,
            Work::Flush => Action::Flush,
            Work::Zero { .. } => Action::Zero,
        };
        let Some(open) = self.open.get_mut(op.disk) else { return };
        if !std::mem::replace(&mut open.reported, true) {
            self.failures.push(DiskFailure { path: open.path.clone(), action, offset: op.offset, errno });
        }
    }
}

/// What follows a step of zeroing; `None` when all is done.
fn next_step(
    length: u64,
    durable: bool,
    step: ZeroStep,
    result: Result<u32, Errno>,
) -> Result<Option<ZeroStep>, Errno> {
    let zeroed = if durable { Some(ZeroStep::Flushing) } else { None };
    match (step, result) {
        (ZeroStep::Kernel, Err(errno)) if errno == Errno::NOT_SUPPORTED => {
            Ok(Some(ZeroStep::Writing { done: 0, piece: 0 }))
        }
        (ZeroStep::Kernel | ZeroStep::Writing { .. } | ZeroStep::Flushing, Err(errno)) => Err(errno),
        (ZeroStep::Writing { done, piece }, Ok(_)) if done + piece < length => {
            Ok(Some(ZeroStep::Writing { done: done + piece, piece: 0 }))
        }
        (ZeroStep::Kernel | ZeroStep::Writing { .. }, Ok(_)) => Ok(zeroed),
        (ZeroStep::Flushing, Ok(_)) => Ok(None),
    }
}

fn has_room(ring: &Ring, ops: &Slab<Op>) -> bool {
    ring.room() > 0 && ops.has_room()
}
