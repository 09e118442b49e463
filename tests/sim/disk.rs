//! A simulated disk: what is durable, what only its cache holds, what is on its way; and what a crash leaves of it.
//!
//! Fault atlas: at a loss of power each write that was not flushed, and each on its way, is kept, lost, or torn between sectors,
//! independently of all others. When only its process dies, writes on their way are done or not, block by block, and the
//! cache stays. A completed durable write stays; a flush makes durable what had completed when it was asked for. Reads see a
//! write on its way or not, sector by sector. By plan a disk dies (all operations fail from then on, and a failed write may have
//! been done in part), is full, gives one bit that is not on its media, or writes to a place that is not the one named; and of the
//! last one it keeps what it *said*, which is what the oracle holds against the machines.

use std::collections::BTreeMap;

use midspan_protocol::vocab::buffer::{Buffer, Slice};
use midspan_protocol::vocab::effect::{DiskError, DiskOp, DiskResult, Token};

use crate::memory::SimBuf;
use crate::pages::{Page, Pages};
use crate::random::Random;

/// What a disk writes whole, bytes.
const SECTOR: usize = 512;
/// What stays whole when only the process dies, bytes.
const BLOCK: usize = 4096;

/// Which machine asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The relay of the node.
    Relay,
    /// The group of the node.
    Group,
}

/// What a write puts there.
#[derive(Debug)]
enum Source {
    Data(Slice<SimBuf>),
    Zero,
}

#[derive(Debug)]
enum Work {
    Write {
        offset: usize,
        length: usize,
        source: Source,
        durable: bool,
    },
    Read {
        offset: usize,
        length: usize,
        at: usize,
        into: SimBuf,
    },
    /// Covers what had completed before this count.
    Flush {
        until: u64,
    },
}

/// An operation on its way.
#[derive(Debug)]
pub struct Flying {
    owner: Owner,
    token: Token,
    work: Work,
}

/// A completed write that is not durable.
#[derive(Debug)]
struct Cached {
    number: u64,
    offset: usize,
    data: Vec<Page>,
    /// Sectors that something newer has taken are not its business any more.
    alive: Vec<bool>,
}

/// A completed operation.
#[derive(Debug)]
pub struct Completed {
    /// Who asked.
    pub owner: Owner,
    /// By which name.
    pub token: Token,
    /// What came of it.
    pub result: DiskResult<SimBuf>,
    /// Bytes that changed on stable media, as a range of the disk.
    pub durable: Option<(usize, usize)>,
}

/// The disk.
#[derive(Debug)]
pub struct FakeDisk {
    /// What reads see.
    seen: Pages,
    /// What a loss of power leaves for sure.
    durable: Pages,
    cached: Vec<Cached>,
    flying: BTreeMap<u64, Flying>,
    operations: u64,
    completed: u64,
    random: Random,
    /// Planted lies.
    pub lies: DiskLies,
    /// What goes wrong with it.
    pub trouble: Trouble,
    /// What it said that it holds durably, once that is not what it holds.
    told: Option<Pages>,
    /// What was there a while ago, for one of them.
    past: Option<Pages>,
}

/// What goes wrong with a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Every operation fails.
    pub dead: bool,
    /// No write finds room.
    pub full: bool,
    /// The next read gives a bit that is not there.
    pub bad_read: bool,
    /// So many reads to come fail.
    pub read_errors: u32,
    /// The next durable write into bytes from here to there goes elsewhere within them, so many bytes off.
    pub misdirects: Option<(usize, usize, usize)>,
}

impl Trouble {
    fn error(&mut self, work: &Work) -> Option<DiskError> {
        match work {
            Work::Read { .. } if self.read_errors > 0 => {
                self.read_errors -= 1;
                Some(DiskError::Failed)
            }
            Work::Write { .. } | Work::Read { .. } | Work::Flush { .. } if self.dead => {
                Some(DiskError::Failed)
            }
            Work::Write { .. } if self.full => Some(DiskError::NoSpace),
            Work::Write { .. } | Work::Read { .. } | Work::Flush { .. } => None,
        }
    }
}

/// Planted lies of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskLies {
    /// Durable writes are done when only the cache has them.
    pub durable_too_early: bool,
    /// A flush does nothing.
    pub flush_does_nothing: bool,
    /// Now and then a read gives what was there a while ago.
    pub old_reads: bool,
    /// Writes to these bytes are said to be done, and are not.
    pub drops: Option<(usize, usize)>,
}

impl FakeDisk {
    /// A disk of zeroes.
    pub fn new(size: usize, random: Random) -> Self {
        Self {
            seen: Pages::new(size),
            durable: Pages::new(size),
            cached: Vec::new(),
            flying: BTreeMap::new(),
            operations: 0,
            completed: 0,
            random,
            lies: DiskLies::default(),
            trouble: Trouble::default(),
            told: None,
            past: None,
        }
    }

    /// Puts bytes there for good: formatting.
    pub fn format(&mut self, offset: usize, bytes: &[u8]) {
        self.seen.write(offset, bytes);
        self.durable.write(offset, bytes);
    }

    /// What reads see.
    pub fn seen(&self) -> &Pages {
        &self.seen
    }

    /// What is on stable media.
    pub fn durable(&self) -> &Pages {
        &self.durable
    }

    /// What it said that it holds durably.
    pub fn told(&self) -> &Pages {
        self.told.as_ref().unwrap_or(&self.durable)
    }

    /// Operations on their way.
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Takes an operation; gives its number.
    pub fn submit(&mut self, owner: Owner, token: Token, op: DiskOp<SimBuf>) -> u64 {
        let place = |offset: u64, length: u64| {
            let (offset, length) = (
                usize::try_from(offset).unwrap_or(usize::MAX),
                usize::try_from(length).unwrap_or(usize::MAX),
            );
            let fits = offset.checked_add(length).is_some_and(|end| end <= self.seen.size());
            assert!(fits, "{op:?} is beyond the disk's end, {}", self.seen.size());
            assert!(
                offset.is_multiple_of(BLOCK) && length.is_multiple_of(BLOCK),
                "{op:?} is not in whole blocks"
            );
            (offset, length)
        };
        let work = match &op {
            DiskOp::Write { offset, data, durable } => {
                let (offset, length) = place(*offset, data.len() as u64);
                assert!(
                    data.bytes().len() == length && length > 0,
                    "a write of bytes that were never filled"
                );
                Work::Write { offset, length, source: Source::Data(data.clone()), durable: *durable }
            }
            DiskOp::Zero { offset, length, durable, .. } => {
                let (offset, length) = place(*offset, *length);
                Work::Write { offset, length, source: Source::Zero, durable: *durable }
            }
            DiskOp::Read { offset, length, at, into } => {
                let (offset, length) = place(*offset, *length as u64);
                Work::Read { offset, length, at: *at, into: into.clone() }
            }
            DiskOp::Flush => Work::Flush { until: self.completed },
        };
        drop(op);
        self.operations += 1;
        self.flying.insert(self.operations, Flying { owner, token, work });
        self.operations
    }

    /// An operation ends, unless a crash has ended it before.
    pub fn complete(&mut self, number: u64) -> Option<Completed> {
        let Flying { owner, token, work } = self.flying.remove(&number)?;
        if let Some(error) = self.trouble.error(&work) {
            self.leave_a_part(work, error);
            return Some(Completed { owner, token, result: Err(error), durable: None });
        }
        let mut durable_range = None;
        let result = match work {
            Work::Write { offset, length, source, durable } => {
                let data = pages_of(&source, length);
                if self.lies.drops.is_some_and(|(from, to)| (from..to).contains(&offset)) {
                    Ok(None)
                } else {
                    let place = self.place_of(offset, length);
                    put_whole(&mut self.seen, place, &data);
                    if durable && !self.lies.durable_too_early {
                        self.write_durable(place, &data);
                        self.tell(offset, &data);
                        durable_range = Some((offset, length));
                    } else {
                        self.completed += 1;
                        let alive = vec![true; length / SECTOR];
                        self.cached.push(Cached { number: self.completed, offset, data, alive });
                    }
                    Ok(None)
                }
            }
            Work::Read { offset, length, at, mut into } => {
                self.settle_seen(offset, length);
                let source = if self.lies.old_reads { self.past(offset, length) } else { &self.seen };
                let pages = &source.pages()[offset / BLOCK..(offset + length) / BLOCK];
                into.load(at, pages).expect("a read goes into a buffer that nobody else holds");
                if std::mem::take(&mut self.trouble.bad_read) {
                    let bytes = into.bytes_mut().expect("it still does");
                    // Of what lies there, if chance finds anything: a bit of nothing harms nobody.
                    let mut places = (0..16).map(|_| at + self.random.index(length));
                    let place = places.find(|place| bytes[*place] != 0).unwrap_or(at);
                    bytes[place] ^= 4;
                }
                into.set_filled(at + length);
                Ok(Some(into))
            }
            Work::Flush { .. } if self.lies.flush_does_nothing => Ok(None),
            Work::Flush { until } => {
                durable_range = Some((0, self.seen.size()));
                self.flush(until);
                Ok(None)
            }
        };
        Some(Completed { owner, token, result, durable: durable_range })
    }

    /// The process that asked is gone: what was on its way is done or not.
    pub fn on_killed(&mut self) {
        for (_, flying) in std::mem::take(&mut self.flying) {
            if let Work::Write { offset, length, source, .. } = flying.work {
                self.leave_behind(offset, pages_of(&source, length), BLOCK);
            }
        }
    }

    /// Power is lost.
    pub fn on_power_lost(&mut self) {
        let mut survivors = Vec::new();
        for cached in std::mem::take(&mut self.cached) {
            let kept = self.tear(cached.data.len() * BLOCK, SECTOR, 500_000);
            let kept: Vec<bool> =
                kept.iter().zip(&cached.alive).map(|(kept, alive)| *kept && *alive).collect();
            survivors.push((cached.offset, cached.data, kept));
        }
        for (_, flying) in std::mem::take(&mut self.flying) {
            if let Work::Write { offset, length, source, .. } = flying.work {
                let kept = self.tear(length, SECTOR, 500_000);
                survivors.push((offset, pages_of(&source, length), kept));
            }
        }
        for (offset, data, kept) in survivors {
            put(&mut self.durable, offset, &data, &kept);
        }
        self.seen.clone_from(&self.durable);
    }

    /// Changes a bit on stable media: rot.
    pub fn rot(&mut self, offset: usize) {
        self.seen.flip(offset);
        self.durable.flip(offset);
    }

    /// Everything on it is gone.
    pub fn wipe(&mut self) {
        self.seen = Pages::new(self.seen.size());
        self.durable = self.seen.clone();
        self.cached.clear();
        self.flying.clear();
    }

    /// A write that failed may have been done in part.
    fn leave_a_part(&mut self, work: Work, error: DiskError) {
        if let (Work::Write { offset, length, source, .. }, DiskError::Failed) = (work, error) {
            let torn = self.tear(length, SECTOR, 500_000);
            put(&mut self.seen, offset, &pages_of(&source, length), &torn);
        }
    }

    /// Where a write goes.
    fn place_of(&mut self, offset: usize, length: usize) -> usize {
        let Some((from, to, by)) =
            self.trouble.misdirects.filter(|(from, to, _)| (*from..*to).contains(&offset))
        else {
            return offset;
        };
        self.trouble.misdirects = None;
        self.told.get_or_insert_with(|| self.durable.clone());
        let elsewhere = from + (offset - from + by / BLOCK * BLOCK) % (to - from);
        elsewhere.min(to - length)
    }

    /// Says that something is there durably.
    fn tell(&mut self, offset: usize, data: &[Page]) {
        if let Some(told) = self.told.as_mut() {
            put_whole(told, offset, data);
        }
    }

    /// For a lying disk: mostly the truth.
    fn past(&mut self, offset: usize, length: usize) -> &Pages {
        if self.past.is_none() || self.random.percent(1) {
            self.past = Some(self.seen.clone());
        }
        let past = self.past.get_or_insert_with(|| self.seen.clone());
        if !self.random.percent(5) {
            let range = offset / BLOCK..(offset + length) / BLOCK;
            past.pages_mut()[range.clone()].clone_from_slice(&self.seen.pages()[range]);
        }
        past
    }

    fn write_durable(&mut self, offset: usize, data: &[Page]) {
        put_whole(&mut self.durable, offset, data);
        let end = offset + data.len() * BLOCK;
        for cached in &mut self.cached {
            for (index, alive) in cached.alive.iter_mut().enumerate() {
                let at = cached.offset + index * SECTOR;
                *alive &= at < offset || at >= end;
            }
        }
        self.cached.retain(|cached| cached.alive.contains(&true));
    }

    /// A write of a dead process: partly done, and not durable.
    fn leave_behind(&mut self, offset: usize, data: Vec<Page>, grain: usize) {
        let kept = self.tear(data.len() * BLOCK, grain, 500_000);
        put(&mut self.seen, offset, &data, &kept);
        self.completed += 1;
        let number = self.completed;
        self.cached.push(Cached { number, offset, data, alive: kept });
    }

    fn flush(&mut self, until: u64) {
        for cached in std::mem::take(&mut self.cached) {
            if cached.number > until {
                self.cached.push(cached);
                continue;
            }
            put(&mut self.durable, cached.offset, &cached.data, &cached.alive);
            if let Some(told) = self.told.as_mut() {
                put(told, cached.offset, &cached.data, &cached.alive);
            }
        }
    }

    /// What of a write is done: all, nothing, or chance decides for each `grain` bytes; as flags of sectors.
    fn tear(&mut self, length: usize, grain: usize, per_million: u32) -> Vec<bool> {
        let sectors = length / SECTOR;
        match self.random.below(3) {
            0 => vec![true; sectors],
            1 => vec![false; sectors],
            _ => {
                let mut kept = Vec::with_capacity(sectors);
                while kept.len() < sectors {
                    let done = self.random.chance(per_million);
                    kept.extend(std::iter::repeat_n(done, (grain / SECTOR).min(sectors - kept.len())));
                }
                kept
            }
        }
    }

    /// Lets chance decide which sectors of writes on their way a read finds done.
    fn settle_seen(&mut self, offset: usize, length: usize) {
        let mut done = Vec::new();
        for flying in self.flying.values() {
            let Work::Write { offset: start, length: span, source, .. } = &flying.work else { continue };
            let (from, to) = (offset.max(*start), (offset + length).min(start + span));
            for at in (from..to).step_by(SECTOR) {
                if self.random.percent(50) {
                    let sector = match source {
                        Source::Data(data) => data.bytes()[at - start..at - start + SECTOR].to_vec(),
                        Source::Zero => vec![0; SECTOR],
                    };
                    done.push((at, sector));
                }
            }
        }
        for (at, sector) in done {
            self.seen.write(at, &sector);
        }
    }
}

fn pages_of(source: &Source, length: usize) -> Vec<Page> {
    match source {
        Source::Data(data) => data.bytes().chunks_exact(BLOCK).map(Page::new).collect(),
        Source::Zero => vec![Page::default(); length / BLOCK],
    }
}

/// Puts blocks there.
fn put_whole(pages: &mut Pages, offset: usize, data: &[Page]) {
    pages.pages_mut()[offset / BLOCK..][..data.len()].clone_from_slice(data);
}

/// Puts those sectors of blocks there that are `kept`.
fn put(pages: &mut Pages, offset: usize, data: &[Page], kept: &[bool]) {
    let pages = &mut pages.pages_mut()[offset / BLOCK..];
    for ((page, data), kept) in pages.iter_mut().zip(data).zip(kept.chunks_exact(BLOCK / SECTOR)) {
        if kept.iter().all(|kept| *kept) {
            page.clone_from(data);
            continue;
        }
        for (index, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            let at = index * SECTOR;
            page.write(at, &data.bytes()[at..at + SECTOR]);
        }
    }
}
