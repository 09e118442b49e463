//! The in-flight table: host requests between their arrival and the end of their disk operation (design §4, step 2).
//!
//! Upholds the order half of I11 and of "the journal leads": a disk operation starts only when every earlier conflicting
//! request has left the table, and a write's disk operation only when its role calls it answerable. So a read never sees
//! a write that could still vanish, and two overlapping writes reach the disk in the order of their times. Writes whose
//! range is unaligned are filled up to whole blocks from the disk while they stand alone in their range; a write that
//! overlaps one which has not taken its time yet waits for it.

mod passing;

use alloc::boxed::Box;
use alloc::vec::Vec;

use midspan_format::geometry::{BLOCK, BLOCK_U64};
use midspan_format::ids::VolumeId;

use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{
    Context, Disk, DiskError, DiskOp, DiskResult, HostOp, HostRequest, RequestId, Token,
};
use crate::vocab::interval::{Access, Blocks, Intervals};

/// What a request asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Read whole blocks.
    Read,
    /// Write data.
    Write,
    /// Make the range read as zeroes.
    Zero {
        /// The space may be given back.
        unmap: bool,
    },
    /// Read the range for a round or a verify, while it stands alone: nothing goes to the disk.
    Copy {
        /// Only its digest is to be sent.
        digest: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits until it stands alone in its range, before it takes its time.
    Clear,
    /// Its partial blocks are being read.
    Fill { reads_left: u8, failed: bool },
    /// Has its data; its role gives it its time and makes it answerable.
    Timed,
    /// May go to the disk as soon as nothing earlier is in its way (reads are born so).
    Free,
    /// Its disk operation runs.
    OnDisk,
    /// Its disk operation failed; it stays until the role lets it go.
    Failed,
}

#[derive(Debug)]
struct Op<B> {
    /// Taken by whoever answers it: nothing is answered twice.
    request: Option<RequestId>,
    volume: VolumeId,
    /// Byte range as the host gave it.
    offset: u64,
    length: u64,
    kind: OpKind,
    fua: bool,
    phase: Phase,
    /// Something that it waits for, directly or not, had no time yet when it came. What waits for this one takes no time
    /// before it: else a frame could not land before a later one is sealed, which may find no room until it does.
    behind_untimed: bool,
    data: Option<B>,
}

impl<B> Op<B> {
    /// First byte of the block-rounded range.
    fn start(&self) -> u64 {
        self.offset / BLOCK_U64 * BLOCK_U64
    }

    /// Bytes of the block-rounded range.
    fn span(&self) -> u64 {
        (self.offset + self.length).next_multiple_of(BLOCK_U64) - self.start()
    }

    fn is_aligned(&self) -> bool {
        self.offset.is_multiple_of(BLOCK_U64) && self.length.is_multiple_of(BLOCK_U64)
    }
}

/// What became possible: the role acts on it, in order, and clears the lists. Allocated once.
#[derive(Debug, Default)]
pub struct Steps {
    /// Writes that have all their data and take their time now.
    pub join: Vec<u32>,
    /// Requests whose disk operation may start now.
    pub disk: Vec<u32>,
}

impl Steps {
    /// Room for `capacity` entries in each list.
    pub fn new(capacity: usize) -> Self {
        Self { join: Vec::with_capacity(capacity), disk: Vec::with_capacity(capacity) }
    }
}

/// A disk operation that ended; the entry is still in the table until `leave`.
#[derive(Debug)]
pub struct Finished<B> {
    /// The entry.
    pub id: u32,
    /// What it was.
    pub kind: OpKind,
    /// Whether a write had its time already: then it is journaled, and only the local disk lacks it.
    pub timed: bool,
    /// For a read its filled buffer.
    pub result: DiskResult<B>,
}

/// A write as the sealer needs it.
#[derive(Debug)]
pub struct WriteView<B> {
    /// The volume.
    pub volume: VolumeId,
    /// Block-rounded byte offset.
    pub offset: u64,
    /// Block-rounded length in bytes.
    pub length: u64,
    /// What it does.
    pub kind: OpKind,
    /// Its data, block-rounded; `None` for zeroes.
    pub data: Option<Slice<B>>,
}

const SIDE_SHIFT: u32 = 32;
const SIDE_MAIN: u64 = 0;
const SIDE_HEAD: u64 = 1;
const SIDE_TAIL: u64 = 2;
const SIDE_COPY: u64 = 3;

/// The table. Entries are named by the indexes of its interval table.
#[derive(Debug)]
pub struct Inflight<B> {
    ops: Box<[Option<Op<B>>]>,
    ranges: Intervals,
    /// Put into the top byte of every token of this table.
    tag: u64,
    earlier: Vec<u32>,
    released: Vec<u32>,
    /// Entries that could not get a buffer for their partial blocks yet.
    starved: Vec<u32>,
}

impl<B: Buffer> Inflight<B> {
    /// A table for `capacity` requests, whose tokens carry `tag` in their top byte.
    pub fn new(capacity: usize, tag: u8) -> Self {
        Self {
            ops: (0..capacity).map(|_| None).collect(),
            ranges: Intervals::new(capacity),
            tag: u64::from(tag) << 56,
            earlier: Vec::with_capacity(capacity),
            released: Vec::with_capacity(capacity),
            starved: Vec::with_capacity(capacity),
        }
    }

    /// Whether another request fits.
    pub fn has_room(&self) -> bool {
        self.ranges.has_room()
    }

    /// Whether a request waits for a buffer.
    pub fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of requests in the table.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Takes a read, write or zero request in; a flush or a request beyond the table's room is given back.
    pub fn enter<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        request: HostRequest<B>,
        steps: &mut Steps,
    ) -> Result<u32, HostRequest<B>> {
        if !self.has_room() || matches!(request.op, HostOp::Flush) {
            return Err(request);
        }
        let HostRequest { id: name, volume, op } = request;
        let (offset, length, kind, data, fua) = match op {
            HostOp::Read { offset, length, into } => (offset, length as u64, OpKind::Read, Some(into), false),
            HostOp::Write { offset, length, data, fua } => {
                (offset, length as u64, OpKind::Write, Some(data), fua)
            }
            HostOp::Zero { offset, length, unmap, fua } => {
                (offset, length, OpKind::Zero { unmap }, None, fua)
            }
            HostOp::Flush => return Err(HostRequest { id: name, volume, op: HostOp::Flush }),
        };
        let phase = Phase::Timed;
        let mut op =
            Op { request: Some(name), volume, offset, length, kind, fua, phase, behind_untimed: false, data };
        let blocks = Blocks { volume: volume.0, first: op.start() / BLOCK_U64, count: op.span() / BLOCK_U64 };
        let access = if kind == OpKind::Read { Access::Read } else { Access::Write };
        self.earlier.clear();
        let Some(id) = self.ranges.enter(blocks, access, &mut self.earlier) else {
            debug_assert!(false, "has_room was checked");
            return Ok(u32::MAX);
        };
        op.behind_untimed = self.earlier_is_untimed();
        let waits = kind != OpKind::Read && (!op.is_aligned() || op.behind_untimed);
        if let Some(slot) = self.ops.get_mut(id as usize) {
            *slot = Some(op);
        }
        if kind == OpKind::Read {
            self.set_phase(id, Phase::Free);
            if self.ranges.blockers(id) == 0 {
                steps.disk.push(id);
            }
        } else if waits {
            self.set_phase(id, Phase::Clear);
            if self.ranges.blockers(id) == 0 {
                self.on_clear(context, id, steps);
            }
        } else {
            self.seal_length(id);
            steps.join.push(id);
        }
        Ok(id)
    }

    /// The write behind an entry, as it goes into the journal.
    pub fn view(&self, id: u32) -> Option<WriteView<B>> {
        let op = self.op(id)?;
        let length = usize::try_from(op.span()).unwrap_or(0);
        let data = op.data.as_ref().map(|buf| Slice::new(buf.clone(), 0..length));
        Some(WriteView { volume: op.volume, offset: op.start(), length: op.span(), kind: op.kind, data })
    }

    /// The host's name of an entry that was not answered yet.
    pub fn request(&self, id: u32) -> Option<RequestId> {
        self.op(id).and_then(|op| op.request)
    }

    /// The host's name of an entry, to be answered now; `None` when it was taken before.
    pub fn take_request(&mut self, id: u32) -> Option<RequestId> {
        self.ops.get_mut(id as usize).and_then(Option::as_mut).and_then(|op| op.request.take())
    }

    /// Whether the host asked for this write to be durable by itself.
    pub fn is_fua(&self, id: u32) -> bool {
        self.op(id).is_some_and(|op| op.fua)
    }

    /// Whether an entry is a read.
    pub fn is_read(&self, id: u32) -> bool {
        self.op(id).is_some_and(|op| op.kind == OpKind::Read)
    }

    /// Says that a write may go to the disk now (its frame is answerable, or there is no journal).
    pub fn allow_disk(&mut self, id: u32, steps: &mut Steps) {
        self.set_phase(id, Phase::Free);
        if self.ranges.blockers(id) == 0 {
            steps.disk.push(id);
        }
    }

    /// Starts the disk operation of an entry that was reported in [`Steps::disk`]. `durable` asks for stable media.
    pub fn start_disk<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32, durable: bool) {
        let token = Token(self.tag | SIDE_MAIN << SIDE_SHIFT | u64::from(id));
        let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) else { return };
        op.phase = Phase::OnDisk;
        let awaited = op.request.is_some();
        let (offset, span) = (op.start(), op.span());
        let length = usize::try_from(span).unwrap_or(0);
        let disk_op = match op.kind {
            OpKind::Read => match op.data.take() {
                Some(into) => DiskOp::Read { offset, length, at: 0, into },
                None => return,
            },
            OpKind::Write => match op.data.as_ref() {
                Some(buf) => DiskOp::Write { offset, data: Slice::new(buf.clone(), 0..length), durable },
                None => return,
            },
            OpKind::Zero { unmap } => DiskOp::Zero { offset, length: span, unmap, durable },
            OpKind::Copy { .. } => return,
        };
        let disk = Disk::Volume(op.volume);
        if awaited {
            context.disk(disk, token, disk_op);
        } else {
            context.disk_unawaited(disk, token, disk_op);
        }
    }

    /// A disk operation of this table completed. A fill is continued here; anything else is reported.
    pub fn on_disk(&mut self, token: Token, result: DiskResult<B>, steps: &mut Steps) -> Option<Finished<B>> {
        let id = u32::try_from(token.0 & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let side = (token.0 & !self.tag) >> SIDE_SHIFT;
        if side == SIDE_MAIN {
            let kind = self.op(id)?.kind;
            if result.is_err() {
                self.set_phase(id, Phase::Failed);
            }
            return Some(Finished { id, kind, timed: true, result });
        }
        let error = result.as_ref().err().copied();
        match result {
            Ok(Some(data)) if side == SIDE_COPY => {
                if let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) {
                    op.data = Some(data);
                }
            }
            Ok(Some(block)) => self.merge(id, side, &block),
            Ok(None) | Err(_) => {}
        }
        self.on_filled(id, error, steps)
    }

    /// Removes an entry and looks at those that waited for it.
    pub fn leave<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32, steps: &mut Steps) {
        if let Some(slot) = self.ops.get_mut(id as usize) {
            *slot = None;
        }
        self.released.clear();
        self.ranges.leave(id, &mut self.released);
        for at in 0..self.released.len() {
            let Some(&other) = self.released.get(at) else { break };
            match self.op(other).map(|op| op.phase) {
                Some(Phase::Clear) => self.on_clear(context, other, steps),
                Some(Phase::Free) => steps.disk.push(other),
                Some(Phase::Fill { .. } | Phase::Timed | Phase::OnDisk | Phase::Failed) | None => {}
            }
        }
    }

    /// Tries again what found the pool empty.
    pub fn retry<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        for _ in 0..self.starved.len() {
            let Some(id) = self.starved.pop() else { return };
            if !self.start_fill(context, id) {
                return;
            }
        }
    }

    /// The next read, or write without a time, from `from` on that waits for an earlier entry to leave.
    pub fn next_waiting(&self, from: u32) -> Option<u32> {
        let waits = |op: &Op<B>| match op.kind {
            OpKind::Read => op.phase == Phase::Free,
            OpKind::Write | OpKind::Zero { .. } => op.phase == Phase::Clear,
            OpKind::Copy { .. } => false,
        };
        let end = u32::try_from(self.ops.len()).unwrap_or(u32::MAX);
        (from..end).find(|&id| self.ranges.blockers(id) > 0 && self.op(id).is_some_and(waits))
    }

    fn op(&self, id: u32) -> Option<&Op<B>> {
        self.ops.get(id as usize).and_then(Option::as_ref)
    }

    fn set_phase(&mut self, id: u32, phase: Phase) {
        if let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) {
            op.phase = phase;
        }
    }

    fn earlier_is_untimed(&self) -> bool {
        self.earlier.iter().any(|&id| {
            self.op(id).is_some_and(|op| match op.kind {
                OpKind::Read => op.behind_untimed,
                OpKind::Write | OpKind::Zero { .. } | OpKind::Copy { .. } => {
                    matches!(op.phase, Phase::Clear | Phase::Fill { .. })
                }
            })
        })
    }

    /// Marks the block-rounded range of a write's buffer as filled, so that it can be shared.
    fn seal_length(&mut self, id: u32) {
        if let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) {
            let span = usize::try_from(op.span()).unwrap_or(0);
            // One that comes from an earlier role is filled already, and may be shared.
            if let Some(buf) = op.data.as_mut().filter(|buf| buf.bytes().len() != span) {
                buf.set_filled(span);
            }
        }
    }

    fn on_clear<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32, steps: &mut Steps) {
        if self.op(id).is_some_and(|op| matches!(op.kind, OpKind::Copy { .. })) {
            return self.start_copy(context, id);
        }
        let partial = self.op(id).is_some_and(|op| op.kind == OpKind::Write && !op.is_aligned());
        if !partial {
            self.set_phase(id, Phase::Timed);
            self.seal_length(id);
            steps.join.push(id);
        } else {
            // When the pool is empty it goes on the starved list, and `retry` comes back to it.
            self.start_fill(context, id);
        }
    }

    /// Reads the partial blocks at both ends. `false` when the pool was empty: it is tried again by `retry`.
    fn start_fill<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32) -> bool {
        let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) else { return true };
        let (start, end) = (op.start(), op.start() + op.span());
        let head = !op.offset.is_multiple_of(BLOCK_U64) || op.span() == BLOCK_U64;
        let tail = op.span() > BLOCK_U64 && !(op.offset + op.length).is_multiple_of(BLOCK_U64);
        let mut reads: [Option<(u64, u64, B)>; 2] = [None, None];
        let wanted = [(head, SIDE_HEAD, start), (tail, SIDE_TAIL, end - BLOCK_U64)];
        for (place, (needed, side, offset)) in reads.iter_mut().zip(wanted) {
            if !needed {
                continue;
            }
            let Some(block) = context.buffers.take(BLOCK) else {
                self.starved.push(id);
                return false;
            };
            *place = Some((side, offset, block));
        }
        op.phase = Phase::Fill { reads_left: u8::from(head) + u8::from(tail), failed: false };
        for (side, offset, into) in reads.into_iter().flatten() {
            let token = Token(self.tag | side << SIDE_SHIFT | u64::from(id));
            context.disk(Disk::Volume(op.volume), token, DiskOp::Read { offset, length: BLOCK, at: 0, into });
        }
        true
    }

    /// Puts the old content around the payload of a partial block.
    fn merge(&mut self, id: u32, side: u64, old: &B) {
        let Some(op) = self.ops.get_mut(id as usize).and_then(Option::as_mut) else { return };
        let span = usize::try_from(op.span()).unwrap_or(0);
        let base = if side == SIDE_TAIL { span.saturating_sub(BLOCK) } else { 0 };
        let payload_start = usize::try_from(op.offset - op.start()).unwrap_or(0);
        let payload_end = payload_start + usize::try_from(op.length).unwrap_or(0);
        let Some(block) =
            op.data.as_mut().and_then(Buffer::bytes_mut).and_then(|d| d.get_mut(base..base + BLOCK))
        else {
            return;
        };
        let keep_from = payload_start.saturating_sub(base).min(BLOCK);
        let keep_to = payload_end.saturating_sub(base).min(BLOCK);
        for range in [0..keep_from, keep_to..BLOCK] {
            if let (Some(to), Some(from)) = (block.get_mut(range.clone()), old.bytes().get(range)) {
                to.copy_from_slice(from);
            }
        }
    }

    /// One of the reads of partial blocks ended; after the last the write has its data, or has failed as a whole before
    /// it had a time.
    fn on_filled(&mut self, id: u32, error: Option<DiskError>, steps: &mut Steps) -> Option<Finished<B>> {
        let op = self.ops.get_mut(id as usize).and_then(Option::as_mut)?;
        let Phase::Fill { reads_left, failed } = op.phase else { return None };
        let failed = failed || error.is_some();
        if reads_left > 1 {
            op.phase = Phase::Fill { reads_left: reads_left - 1, failed };
            return None;
        }
        if failed {
            op.phase = Phase::Failed;
            let error = error.unwrap_or(DiskError::Failed);
            return Some(Finished { id, kind: op.kind, timed: false, result: Err(error) });
        }
        op.phase = Phase::Timed;
        self.seal_length(id);
        steps.join.push(id);
        None
    }
}

#[cfg(test)]
mod tests;
