//! From journaled to landed: which frames are on the primary's own disks, and since which flush (I3, design §2).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::geometry::Position;
use midspan_format::ids::VolumeId;
use midspan_format::record::MAX_RECORDS;
use midspan_format::time::Time;

use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, Disk, DiskOp, Frame};
use crate::vocab::tags;

#[derive(Debug)]
struct Flight<B> {
    frame: Rc<Frame<B>>,
    ops: Vec<u32>,
    ops_left: usize,
    answerable: bool,
}

/// Sealed frames until all their records are on the local disks, then until those disks are flushed.
#[derive(Debug)]
pub struct Landing<B> {
    flights: VecDeque<Flight<B>>,
    limit: usize,
    /// Number of the flight at the front, counted from the first ever.
    first: u64,
    /// Flights before this number are answerable.
    answerable: u64,
    /// Flight of each in-flight entry.
    flight_of: Box<[u64]>,
    spare: Vec<Vec<u32>>,
    volumes: Vec<VolumeId>,
    /// On the disks, not necessarily flushed, before this position.
    written: (Position, Time),
    landed: (Position, Time),
    flushing: Option<((Position, Time), usize)>,
    last_flush: u64,
    /// Volumes whose disk failed a write or a flush.
    broken: Vec<VolumeId>,
    /// The dirty map's disk failed.
    map_failed: bool,
}

impl<B> Landing<B> {
    /// Starts at a position up to which the disks hold everything. `requests` bounds the in-flight entries.
    pub fn new(volumes: Vec<VolumeId>, landed: (Position, Time), frames: usize, requests: usize) -> Self {
        Self {
            flights: VecDeque::with_capacity(frames),
            limit: frames,
            first: 0,
            answerable: 0,
            flight_of: alloc::vec![0; requests].into_boxed_slice(),
            spare: (0..frames).map(|_| Vec::with_capacity(MAX_RECORDS)).collect(),
            broken: Vec::with_capacity(volumes.len()),
            volumes,
            written: landed,
            landed,
            flushing: None,
            last_flush: 0,
            map_failed: false,
        }
    }

    /// Whether another frame can be followed.
    pub fn has_room(&self) -> bool {
        self.flights.len() < self.limit
    }

    /// Flushed up to here.
    pub fn landed(&self) -> (Position, Time) {
        self.landed
    }

    /// Whether a local disk failed: `landed` stands still.
    pub fn failed(&self) -> bool {
        self.map_failed || !self.broken.is_empty()
    }

    /// Whether a volume's disk may be older than what was answered: it serves nothing any more. The others do.
    pub fn is_stale(&self, volume: VolumeId) -> bool {
        self.map_failed || self.broken.contains(&volume)
    }

    /// An empty list for the entries of the next frame.
    pub fn blank(&mut self) -> Vec<u32> {
        self.spare.pop().unwrap_or_default()
    }

    /// A list that was not needed.
    pub fn give_blank(&mut self, mut ops: Vec<u32>) {
        ops.clear();
        self.spare.push(ops);
    }

    /// A frame was sealed with these entries.
    pub fn push(&mut self, frame: Rc<Frame<B>>, ops: Vec<u32>) {
        let number = self.first + self.flights.len() as u64;
        for op in &ops {
            if let Some(place) = self.flight_of.get_mut(*op as usize) {
                *place = number;
            }
        }
        let ops_left = ops.len();
        self.flights.push_back(Flight { frame, ops, ops_left, answerable: false });
    }

    /// Whether another frame is answerable because everything before `journaled` is durable.
    pub fn is_answerable(&self, journaled: Position) -> bool {
        let index = usize::try_from(self.answerable - self.first).ok();
        index.and_then(|at| self.flights.get(at)).is_some_and(|flight| flight.frame.header.end() <= journaled)
    }

    /// Time of the first record of the oldest frame that is not answerable.
    pub fn unanswerable_since(&self) -> Option<Time> {
        let index = usize::try_from(self.answerable - self.first).ok()?;
        self.flights.get(index).map(|flight| flight.frame.header.first_time)
    }

    /// The next frame that became answerable because everything before `journaled` is durable; its entries are appended
    /// to `ops`.
    pub fn next_answerable(&mut self, journaled: Position, ops: &mut Vec<u32>) -> Option<Rc<Frame<B>>> {
        if !self.is_answerable(journaled) {
            return None;
        }
        let index = usize::try_from(self.answerable - self.first).ok()?;
        let flight = self.flights.get_mut(index)?;
        flight.answerable = true;
        self.answerable += 1;
        ops.extend_from_slice(&flight.ops);
        Some(Rc::clone(&flight.frame))
    }

    /// An entry's disk write succeeded. Frames that are complete leave through `done`.
    pub fn on_written(&mut self, op: u32, mut done: impl FnMut(Rc<Frame<B>>)) {
        let number = self.flight_of.get(op as usize).copied().unwrap_or(0);
        if let Some(flight) = number
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok())
            .and_then(|i| self.flights.get_mut(i))
        {
            flight.ops_left = flight.ops_left.saturating_sub(1);
        }
        self.sweep(&mut done);
    }

    /// Frames without records leave as soon as they are answerable and first.
    pub fn sweep(&mut self, done: &mut impl FnMut(Rc<Frame<B>>)) {
        while self.flights.front().is_some_and(|f| f.ops_left == 0 && f.answerable) {
            let Some(mut flight) = self.flights.pop_front() else { break };
            self.first += 1;
            self.written = (flight.frame.header.end(), flight.frame.header.last_time.max(self.written.1));
            flight.ops.clear();
            self.spare.push(flight.ops);
            done(flight.frame);
        }
    }

    /// A volume's disk failed a write or a flush: it holds less than the journal, and `landed` stops for good.
    pub fn on_failed(&mut self, volume: VolumeId) {
        rare!(LandingFails);
        if !self.broken.contains(&volume) {
            self.broken.push(volume);
        }
    }

    /// The dirty map cannot be written any more: `landed` stops for good, and no disk is trusted.
    pub fn on_map_failed(&mut self) {
        self.map_failed = true;
    }

    /// Starts a flush of all volumes when something was written and it is time (or `urgent`); says whether it did. `others`
    /// more calls of [`Landing::on_flushed`] are waited for: what else must be durable before `landed` moves.
    pub fn flush<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        pace_ns: u64,
        urgent: bool,
        others: usize,
    ) -> bool {
        let now = context.now.mono;
        let due = urgent || now >= self.last_flush + pace_ns;
        if self.written.0 == self.landed.0 || self.flushing.is_some() || self.failed() || !due {
            return false;
        }
        self.last_flush = now;
        self.flushing = Some((self.written, self.volumes.len() + others));
        for volume in &self.volumes {
            context.disk(Disk::Volume(*volume), tags::token(tags::LAND, u64::from(volume.0)), DiskOp::Flush);
        }
        true
    }

    /// A volume was flushed, or failed to, or one of the others is durable. `true` when `landed` moved.
    pub fn on_flushed(&mut self) -> bool {
        let Some((to, left)) = self.flushing.as_mut() else { return false };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        let to = *to;
        self.flushing = None;
        let moves = !self.failed();
        if moves {
            self.landed = to;
        }
        moves
    }

    /// When the next flush is due; `u64::MAX` when nothing waits for one.
    pub fn deadline(&self, pace_ns: u64) -> u64 {
        let waits = self.written.0 != self.landed.0 && self.flushing.is_none() && !self.failed();
        if waits { self.last_flush + pace_ns } else { u64::MAX }
    }

    /// Whether no flush runs.
    pub fn is_idle(&self) -> bool {
        self.flushing.is_none()
    }
}
