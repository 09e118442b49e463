//! Compares ranges with the digests that the primary took, at exactly their times: all earlier records that overlap are on the
//! disk, all later ones wait.

use alloc::collections::VecDeque;

use midspan_format::checked::CheckedFrame;
use midspan_format::ids::VolumeId;
use midspan_format::mark::{Mark, Verify};
use midspan_format::receipt::Difference;
use midspan_format::record::{MAX_RECORD_DATA, Record};

use super::Applier;
use crate::stage::tally::Tally;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Disk, DiskOp, Token};

/// Ranges that are read at a time: what is fetched needs memory, too.
const READING: usize = 8;
/// How long memory is waited for while nothing is read. What holds it may wait for this very comparison: it is left out then.
const PATIENCE_NS: u64 = 1_000_000_000;

/// What was found, and what waits for its turn or for memory.
#[derive(Debug)]
pub(super) struct Comparing {
    tally: Tally,
    waiting: VecDeque<u32>,
    reading: usize,
    /// When a read last began or ended, or the first one began to wait.
    moved_at: u64,
}

impl Comparing {
    pub(super) fn new(records: usize) -> Self {
        Self { tally: Tally::new(), waiting: VecDeque::with_capacity(records), reading: 0, moved_at: 0 }
    }

    pub(super) fn on_compared(&mut self, now: u64, run: u64, range: Difference, same: bool) {
        self.tally.on_compared(run, range, same);
        (self.reading, self.moved_at) = (self.reading.saturating_sub(1), now);
    }
}

impl<B: Buffer> Applier<B> {
    /// What was compared.
    pub fn tally(&self) -> &Tally {
        &self.comparing.tally
    }

    /// Whether a comparison waits for memory.
    pub fn is_starved(&self) -> bool {
        !self.comparing.waiting.is_empty() && self.comparing.reading == 0
    }

    /// Begins comparisons that wait, as far as there is room.
    pub fn compare<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        while self.comparing.reading < READING
            && let Some(&id) = self.comparing.waiting.front()
            && self.read(context, id)
        {
            self.comparing.waiting.pop_front();
        }
        if self.is_starved() && context.now.mono >= self.comparing.moved_at.saturating_add(PATIENCE_NS) {
            self.leave_out(context);
        }
    }

    /// Leaves out what waits: it is not counted, and nothing waits for it any more.
    pub fn leave_out<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        while let Some(id) = self.comparing.waiting.pop_front() {
            self.end(context, id);
        }
    }

    /// The digest in a record that can be compared here. One that cannot is left out.
    pub(super) fn digest(&self, frame: &CheckedFrame<'_>, record: &Record) -> Option<Verify> {
        let Some(Mark::Verify(digest)) = frame.mark(record) else { return None };
        let fits = record.length <= u64::from(MAX_RECORD_DATA) && self.check(record).is_ok();
        fits.then_some(digest)
    }

    /// Nothing is in the way of a comparison any more.
    pub(super) fn begin_comparison<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32) {
        if self.comparing.waiting.is_empty() && self.comparing.reading == 0 {
            self.comparing.moved_at = context.now.mono;
        }
        let begun =
            self.comparing.reading < READING && self.comparing.waiting.is_empty() && self.read(context, id);
        if !begun {
            self.comparing.waiting.push_back(id);
        }
    }

    /// `false` when the pool is empty.
    fn read<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, id: u32) -> bool {
        let Some(entry) = self.records.get(id as usize).and_then(Option::as_ref) else { return true };
        let (offset, length) = (entry.record.offset, usize::try_from(entry.record.length).unwrap_or(0));
        let disk = Disk::Volume(VolumeId(entry.record.volume));
        let Some(into) = context.buffers.take(length) else { return false };
        (self.comparing.reading, self.comparing.moved_at) = (self.comparing.reading + 1, context.now.mono);
        let op = DiskOp::Read { offset, length, at: 0, into };
        context.disk_unawaited(disk, Token(self.tag | u64::from(id)), op);
        true
    }
}

/// The range of a record.
pub(super) fn difference(record: &Record) -> Difference {
    let Record { time, offset, length, volume, .. } = *record;
    Difference { time, offset, length, volume, reserved: 0 }
}
