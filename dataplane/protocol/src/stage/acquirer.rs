//! Writes fetched frames into the site's own ring, durably: only then they are acquired and may be applied (the one rule).

use alloc::collections::VecDeque;

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::{Position, Ring};

use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, Token};
use crate::vocab::tags;
use crate::vocab::tip::Tip;

/// Durable writes at the same time.
const IN_FLIGHT: u64 = 4;

/// A verified frame on its way through the secondary.
#[derive(Debug)]
pub struct Held<B> {
    /// Its header.
    pub header: FrameHeader,
    /// All its bytes.
    pub frame: Slice<B>,
}

#[derive(Debug)]
struct Run<B> {
    position: Position,
    data: Slice<B>,
    end: Tip,
    frames: usize,
    pieces_left: u8,
    started: bool,
}

/// The acquirer.
#[derive(Debug)]
pub struct Acquirer<B> {
    ring: Ring,
    runs: VecDeque<Run<B>>,
    first_run: u64,
    held: VecDeque<Held<B>>,
    /// Frames at the front of `held` that are acquired.
    ready: usize,
    acquired: Tip,
    failed: bool,
    limit: usize,
}

impl<B: Buffer> Acquirer<B> {
    /// An acquirer whose ring holds everything up to `acquired`; at most `limit` frames are held in memory.
    pub fn new(ring: Ring, acquired: Tip, limit: usize) -> Self {
        Self {
            ring,
            runs: VecDeque::with_capacity(limit),
            first_run: 0,
            held: VecDeque::with_capacity(limit),
            ready: 0,
            acquired,
            failed: false,
            limit,
        }
    }

    /// Behind the last acquired frame.
    pub fn acquired(&self) -> Tip {
        self.acquired
    }

    /// Behind the last frame that was taken, acquired or not.
    pub fn taken(&self) -> Position {
        self.runs.back().map_or(self.acquired.position, |run| run.end.position)
    }

    /// Whether the ring's disk failed.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether nothing is held and no write runs.
    pub fn is_idle(&self) -> bool {
        self.runs.is_empty() && self.held.is_empty()
    }

    /// Whether no write runs.
    pub fn is_settled(&self) -> bool {
        self.runs.iter().all(|r| !r.started)
    }

    /// Frames held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether more frames can be taken.
    pub fn has_room(&self) -> bool {
        self.held.len() < self.limit
    }

    /// Takes the next frames of the chain, which lie contiguously in memory: `data` is all of them.
    pub fn push_run(&mut self, data: Slice<B>, frames: impl Iterator<Item = Held<B>>) {
        let before = self.held.len();
        self.held.extend(frames);
        let Some(last) = self.held.back().filter(|_| self.held.len() > before) else { return };
        let end = Tip::after(&last.header);
        let position = Position(end.position.0 - data.len() as u64);
        let frames = self.held.len() - before;
        self.runs.push_back(Run { position, data, end, frames, pieces_left: 0, started: false });
    }

    /// Takes a frame that was found in the own ring: it is acquired already.
    pub fn push_acquired(&mut self, header: FrameHeader, frame: Slice<B>) {
        debug_assert!(self.runs.is_empty(), "recovery comes before fetching");
        self.acquired = Tip::after(&header);
        self.held.push_back(Held { header, frame });
        self.ready += 1;
    }

    /// Starts the writes for which the ring has room: nothing at or behind `keep_from` is overwritten (I3).
    pub fn poke<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, keep_from: Position) {
        let running = self.runs.iter().filter(|r| r.started).count() as u64;
        let mut free = IN_FLIGHT.saturating_sub(running);
        for (index, run) in self.runs.iter_mut().enumerate() {
            if run.started {
                continue;
            }
            rare!(AcquireWaits if run.end.position.0 > keep_from.0 + self.ring.size);
            if free == 0 || self.failed || run.end.position.0 > keep_from.0 + self.ring.size {
                return;
            }
            let token = tags::token(tags::ACQUIRE, (self.first_run + index as u64) & 0xFFFF_FFFF);
            run.started = true;
            let (first, second) = self.ring.split(run.position, run.data.len() as u64);
            let cut = usize::try_from(first.length).unwrap_or(0);
            run.pieces_left = 1 + u8::from(second.is_some());
            let data = run.data.part(0..cut);
            context.disk(Disk::Journal, token, DiskOp::Write { offset: first.offset, data, durable: true });
            if let Some(second) = second {
                let data = run.data.part(cut..run.data.len());
                context.disk(
                    Disk::Journal,
                    token,
                    DiskOp::Write { offset: second.offset, data, durable: true },
                );
            }
            free -= 1;
        }
    }

    /// A write ended. `true` when `acquired` moved.
    pub fn on_disk(&mut self, token: Token, failed: bool) -> bool {
        rare!(AcquireFails if failed);
        self.failed |= failed;
        let number = token.0 & 0xFFFF_FFFF;
        let index = usize::try_from(number.wrapping_sub(self.first_run & 0xFFFF_FFFF) & 0xFFFF_FFFF)
            .unwrap_or(usize::MAX);
        if let Some(run) = self.runs.get_mut(index) {
            run.pieces_left = run.pieces_left.saturating_sub(1);
        }
        let mut moved = false;
        while !self.failed && self.runs.front().is_some_and(|r| r.started && r.pieces_left == 0) {
            let Some(run) = self.runs.pop_front() else { break };
            self.first_run += 1;
            self.acquired = run.end;
            self.ready += run.frames;
            moved = true;
        }
        moved
    }

    /// The next frame that may be applied.
    pub fn front(&self) -> Option<&Held<B>> {
        self.held.front().filter(|_| self.ready > 0)
    }

    /// Takes it.
    pub fn pop(&mut self) -> Option<Held<B>> {
        if self.ready == 0 {
            return None;
        }
        self.ready -= 1;
        self.held.pop_front()
    }
}
