//! Brings frames to the volumes in time order: the secondary's last stage, and every redo.
//!
//! Upholds I4: a record's disk write starts only when all earlier overlapping records are on the disk, and `applied` moves
//! only over whole frames, so after a flush the disk holds exactly the writes up to it. Of several records of one range that wait for an
//! earlier one only the last is written: nothing that overlaps it comes between them.

mod compare;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::BLOCK_U64;
use midspan_format::ids::VolumeId;
use midspan_format::mark::Verify;
use midspan_format::record::{Record, RecordKind};
use midspan_format::time::Time;

use self::compare::{Comparing, difference};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, DiskResult, Token};
use crate::vocab::interval::{Access, Blocks, Intervals};
use crate::vocab::tip::Tip;

#[derive(Debug)]
struct FrameEntry {
    tip: Tip,
    last_time: Time,
    records_left: u32,
}

#[derive(Debug)]
struct RecordEntry<B> {
    record: Record,
    data: Option<Slice<B>>,
    /// Number of its frame, counted from the first ever pushed.
    frame: u64,
    /// The next record that overlaps it, which has the very same range and came while it waited.
    newer: Option<u32>,
    /// The disk holds it, or something newer, as soon as nothing earlier is in its way.
    superseded: bool,
    /// Nothing is written: the range is read, and compared with this.
    compare: Option<Verify>,
}

/// Why a frame cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// It does not verify.
    Damaged,
    /// It names a volume that this site does not have, or a range beyond its end.
    Foreign {
        /// The volume it names.
        volume: VolumeId,
    },
}

/// The applier.
#[derive(Debug)]
pub struct Applier<B> {
    volumes: Vec<(VolumeId, u64)>,
    ranges: Intervals,
    records: Box<[Option<RecordEntry<B>>]>,
    frames: VecDeque<FrameEntry>,
    frame_limit: usize,
    /// Number of the frame at the front.
    first_frame: u64,
    applied: Tip,
    applied_time: Time,
    tag: u64,
    failed: Option<VolumeId>,
    /// Records written since the last flush, in bytes.
    pub unflushed: u64,
    earlier: Vec<u32>,
    released: Vec<u32>,
    comparing: Comparing,
}

impl<B: Buffer> Applier<B> {
    /// An applier for volumes of the given sizes that stand at `applied`. Its tokens carry `tag` in the top byte.
    pub fn new(
        volumes: Vec<(VolumeId, u64)>,
        frames: usize,
        records: usize,
        tag: u8,
        applied: Tip,
        time: Time,
    ) -> Self {
        Self {
            volumes,
            ranges: Intervals::new(records),
            records: (0..records).map(|_| None).collect(),
            frames: VecDeque::with_capacity(frames),
            frame_limit: frames,
            first_frame: 0,
            applied,
            applied_time: time,
            tag: u64::from(tag) << 56,
            failed: None,
            unflushed: 0,
            earlier: Vec::with_capacity(records),
            released: Vec::with_capacity(records),
            comparing: Comparing::new(records),
        }
    }

    /// Behind the last frame of which every record is written (not flushed).
    pub fn applied(&self) -> Tip {
        self.applied
    }

    /// Time of the last record up to there.
    pub fn applied_time(&self) -> Time {
        self.applied_time
    }

    /// Whether everything pushed is written.
    pub fn is_idle(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether no disk operation runs. All that has no earlier record in its way runs.
    pub fn is_settled(&self) -> bool {
        self.ranges.is_empty() || self.failed.is_some()
    }

    /// The volume whose disk failed, if one did: nothing moves any more.
    pub fn failed(&self) -> Option<VolumeId> {
        self.failed
    }

    /// Whether a frame with so many records fits now.
    pub fn has_room(&self, records: u32) -> bool {
        self.frames.len() < self.frame_limit
            && self.records.len() - self.ranges.len() >= records as usize
            && self.failed.is_none()
    }

    /// Takes the next frame of the chain. Its records start as soon as nothing earlier is in their way. Its digests are looked
    /// at when it `compares`: no later record can have been written before.
    ///
    /// # Errors
    /// When it cannot be applied: then nothing of it is started.
    pub fn push<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        header: &FrameHeader,
        frame: &Slice<B>,
        compares: bool,
    ) -> Result<(), ApplyError> {
        let checked = CheckedFrame::parse_head(frame.bytes()).map_err(|_| ApplyError::Damaged)?;
        let mut writes = 0;
        for record in checked.records() {
            if kind_of(&record).is_none_or(is_write) {
                self.check(&record)?;
                writes += 1;
            } else if compares && self.digest(&checked, &record).is_some() {
                writes += 1;
            }
        }
        let number = self.first_frame + self.frames.len() as u64;
        self.frames.push_back(FrameEntry {
            tip: Tip::after(header),
            last_time: header.last_time,
            records_left: writes,
        });
        for record in checked.records() {
            if kind_of(&record).is_some_and(is_write) {
                let range = checked.data_range(&record);
                let data = (!range.is_empty()).then(|| frame.part(range));
                self.enter(context, (record, data, None), number);
            } else if compares && let Some(digest) = self.digest(&checked, &record) {
                self.enter(context, (record, None, Some(digest)), number);
            }
        }
        self.advance();
        Ok(())
    }

    /// Lets the next frame of the chain go by: nothing of it is written.
    pub fn pass(&mut self, header: &FrameHeader) {
        self.frames.push_back(FrameEntry { tip: Tip::after(header), last_time: Time::ZERO, records_left: 0 });
        self.advance();
    }

    /// Goes on behind `tip`: what lies before it is not to be written at all. Only while nothing is under way.
    pub fn jump(&mut self, tip: Tip) {
        debug_assert!(self.is_idle(), "frames are under way");
        self.applied = tip;
    }

    /// A disk operation ended. `true` when `applied` moved.
    pub fn on_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
    ) -> bool {
        let id = u32::try_from(token.0 & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let Some(entry) = self.records.get(id as usize).and_then(Option::as_ref) else { return false };
        if let Some(digest) = entry.compare {
            // What cannot be read differs from what could be.
            let same = result.ok().flatten().is_some_and(|data| digest.is_of(data.bytes()));
            self.comparing.on_compared(context.now.mono, digest.run, difference(&entry.record), same);
        } else if result.is_err() {
            rare!(ApplyFails);
            self.failed = Some(VolumeId(entry.record.volume));
            self.records.get_mut(id as usize).map(Option::take);
            return false;
        } else {
            self.unflushed += entry.record.length;
        }
        self.end(context, id)
    }

    /// A record is done; what waited for it starts. `true` when `applied` moved.
    fn end<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32) -> bool {
        self.released.clear();
        self.leave(id);
        let mut at = 0;
        while let Some(&next) = self.released.get(at) {
            at += 1;
            if self.records.get(next as usize).and_then(Option::as_ref).is_some_and(|next| next.superseded) {
                self.leave(next);
            } else {
                self.start(context, next);
            }
        }
        self.advance()
    }

    /// A record is on the disk. Those that waited for it alone come behind `released`.
    fn leave(&mut self, id: u32) {
        let Some(entry) = self.records.get_mut(id as usize).and_then(Option::take) else { return };
        self.ranges.leave(id, &mut self.released);
        let index = usize::try_from(entry.frame - self.first_frame).unwrap_or(usize::MAX);
        if let Some(frame) = self.frames.get_mut(index) {
            frame.records_left -= 1;
        }
    }

    fn advance(&mut self) -> bool {
        let mut moved = false;
        while self.frames.front().is_some_and(|f| f.records_left == 0) {
            let Some(frame) = self.frames.pop_front() else { break };
            self.first_frame += 1;
            self.applied = frame.tip;
            self.applied_time = self.applied_time.max(frame.last_time);
            moved = true;
        }
        moved
    }

    fn check(&self, record: &Record) -> Result<(), ApplyError> {
        let volume = VolumeId(record.volume);
        let size = self.volumes.iter().find(|(v, _)| *v == volume).map(|(_, s)| *s);
        let end = record.offset.checked_add(record.length);
        let aligned = record.offset.is_multiple_of(BLOCK_U64) && record.length.is_multiple_of(BLOCK_U64);
        match (size, end) {
            (Some(size), Some(end)) if end <= size && aligned && record.length > 0 => Ok(()),
            _ => Err(ApplyError::Foreign { volume }),
        }
    }

    fn enter<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        (record, data, compare): (Record, Option<Slice<B>>, Option<Verify>),
        frame: u64,
    ) {
        let blocks = Blocks {
            volume: record.volume,
            first: record.offset / BLOCK_U64,
            count: record.length / BLOCK_U64,
        };
        self.earlier.clear();
        let Some(id) = self.ranges.enter(blocks, Access::Write, &mut self.earlier) else {
            debug_assert!(false, "has_room was checked");
            return;
        };
        if let Some(slot) = self.records.get_mut(id as usize) {
            *slot = Some(RecordEntry { record, data, frame, newer: None, superseded: false, compare });
        }
        let Some(before) = self.ranges.latest(&self.earlier) else { return self.start(context, id) };
        let waits = self.ranges.blockers(before) > 0;
        if let Some(before) = self.records.get_mut(before as usize).and_then(Option::as_mut)
            && waits
            && before.compare.is_none()
            && compare.is_none()
            && range_of(&before.record) == range_of(&record)
        {
            before.newer = Some(id);
        }
    }

    fn start<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32) {
        if self.records.get(id as usize).and_then(Option::as_ref).is_some_and(|e| e.compare.is_some()) {
            return self.begin_comparison(context, id);
        }
        let newest = self.supersede(id);
        let Some(entry) = self.records.get(newest as usize).and_then(Option::as_ref) else { return };
        let (offset, length) = (entry.record.offset, entry.record.length);
        let op = match &entry.data {
            Some(data) => DiskOp::Write { offset, data: data.clone(), durable: false },
            None => {
                let unmap = entry.record.flags & midspan_format::record::MAY_UNMAP != 0;
                DiskOp::Zero { offset, length, unmap, durable: false }
            }
        };
        let disk = Disk::Volume(VolumeId(entry.record.volume));
        context.disk_unawaited(disk, Token(self.tag | u64::from(id)), op);
    }

    /// The newest record that waits for this one and has its range; all up to it go without a write of their own.
    fn supersede(&mut self, id: u32) -> u32 {
        let mut newest = id;
        while let Some(newer) =
            self.records.get(newest as usize).and_then(Option::as_ref).and_then(|e| e.newer)
        {
            let Some(entry) = self.records.get_mut(newer as usize).and_then(Option::as_mut) else { break };
            entry.superseded = true;
            newest = newer;
        }
        newest
    }
}

fn range_of(record: &Record) -> (u32, u64, u64) {
    (record.volume, record.offset, record.length)
}

fn kind_of(record: &Record) -> Option<RecordKind> {
    RecordKind::from_u8(record.kind)
}

/// Whether a record of this kind changes a volume.
fn is_write(kind: RecordKind) -> bool {
    match kind {
        RecordKind::Write | RecordKind::Zero | RecordKind::RoundData => true,
        RecordKind::Verify
        | RecordKind::RoundBegin
        | RecordKind::RoundEnd
        | RecordKind::LaneSet
        | RecordKind::Leave
        | RecordKind::Handover => false,
    }
}

#[cfg(test)]
mod tests;
