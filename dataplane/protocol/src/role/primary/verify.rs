//! `verify` beside live writes: digests of ranges at exact times go through the lane, the secondary compares (design §7).
//!
//! A range passes the in-flight table as a write does: earlier overlapping writes have landed, later ones wait; only then it is
//! read and takes its time. So no difference is found that is none, whatever hosts write meanwhile.

use alloc::boxed::Box;
use alloc::vec::Vec;

use midspan_format::control::VerifyStatus;
use midspan_format::geometry::BLOCK;
use midspan_format::ids::VolumeId;
use midspan_format::mark::{Mark, Verify};
use midspan_format::receipt::Difference;
use midspan_format::time::Time;

use super::{LATEST_WALL, Primary};
use crate::stage::inflight::{OpKind, WriteView};
use crate::stage::verification::{PIECE, Verification};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note, VerifyNote, VerifyRefusal, VerifyReport, VerifyStop};

/// Pieces that are read at a time while no host waits for anything.
const READING: usize = 4;

/// The run, if there is one.
#[derive(Debug)]
pub(super) struct Verifying<B> {
    run: Option<Verification>,
    /// A block for the record of each piece that is being read.
    blocks: Vec<B>,
    /// Pieces in the in-flight table, those of a run that was ended included.
    pieces: usize,
    /// What a round is to send.
    repairs: Vec<Difference>,
}

impl<B> Verifying<B> {
    /// No run.
    pub(super) fn new() -> Self {
        Self { run: None, blocks: Vec::with_capacity(READING), pieces: 0, repairs: Vec::new() }
    }

    /// A frame was sealed.
    pub(super) fn on_sealed(&mut self, header: &midspan_format::frame::FrameHeader) {
        if let Some(run) = self.run.as_mut() {
            run.on_sealed(header.last_time, header.end());
        }
    }
}

impl<B: Buffer> Primary<B> {
    /// Begins a run over a volume, or all of them.
    ///
    /// # Errors
    /// One runs, or there is no such volume.
    pub fn begin_verify<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        volume: Option<VolumeId>,
        bytes_per_s: u64,
        repair: bool,
    ) -> Result<(), VerifyRefusal> {
        if self.verifying.run.is_some() || self.verifying.pieces > 0 {
            return Err(VerifyRefusal::Running);
        }
        if self.repair.is_some() || self.closed || self.departs || self.landing.failed() {
            return Err(VerifyRefusal::NotPaired);
        }
        let wanted = self.config.volumes.iter().filter(|known| volume.is_none_or(|id| known.id == id));
        let volumes: Vec<_> = wanted.map(|known| (known.id, known.size)).collect();
        if volumes.is_empty() {
            return Err(VerifyRefusal::UnknownVolume);
        }
        let name = self.clock.next(context.now.wall.min(LATEST_WALL));
        let bytes_per_s = if bytes_per_s == 0 { self.config.pace.round_bytes_per_s } else { bytes_per_s };
        let run = Verification::new(name.0, context.now.mono, volumes, bytes_per_s, repair);
        context.note(Note::Verify(VerifyNote::Began { bytes: run.bytes }));
        self.verifying.run = Some(run);
        Ok(())
    }

    /// Ends a run before its time. `false` when there is none.
    pub fn stop_verify<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        why: VerifyStop,
    ) -> bool {
        self.end_verify(context, Some(why))
    }

    /// What a run has found that a round is to send, once it has ended.
    pub fn take_repairs(&mut self) -> Vec<Difference> {
        core::mem::take(&mut self.verifying.repairs)
    }

    /// How the run stands.
    pub fn verify_status(&self) -> Option<VerifyStatus> {
        let run = self.verifying.run.as_ref()?;
        let tally = &self.receipts.tally;
        let (compared, different) =
            if tally.run == run.run { (tally.compared, tally.different) } else { (0, 0) };
        let (bytes, bytes_sent, began_ns) = (run.bytes, run.sent, run.began_at);
        Some(VerifyStatus { run: run.run, bytes, bytes_sent, compared, different, began_ns })
    }

    /// Brings the run forward as far as it may go now.
    pub(super) fn drive_verify<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(run) = self.verifying.run.as_ref() else { return };
        if self.landing.failed() || self.repair.is_some() {
            self.end_verify(context, Some(VerifyStop::NotPaired));
            return;
        }
        let applied = self.receipts.newest.applied.min(self.journaled());
        if run.end().is_some_and(|end| applied >= end) {
            self.end_verify(context, None);
            return;
        }
        self.read_pieces(context);
    }

    /// Whether the run waits for room in the ring.
    pub(super) fn verify_is_held_up(&self) -> bool {
        let waits = self.verifying.run.as_ref().is_some_and(|run| run.due_at() < u64::MAX);
        waits && self.used() >= self.round_space()
    }

    /// When the run has something to do next.
    pub(super) fn verify_deadline(&self, soon: u64) -> u64 {
        self.verifying.run.as_ref().map_or(u64::MAX, |run| run.due_at().max(soon))
    }

    /// Fewer at a time while hosts wait for something, and none where the ring fills.
    fn read_pieces<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        loop {
            let room = self.used() < self.round_space() && !self.ring_full && self.sealer.waiting() < READING;
            let pieces = self.verifying.pieces;
            let limit = if self.inflight.len() > pieces { 1 } else { READING };
            let Some(run) = self.verifying.run.as_mut() else { return };
            if pieces >= limit || !room || context.now.mono < run.due_at() {
                return;
            }
            let size = usize::try_from(PIECE).unwrap_or(0);
            let (Some(block), Some(into)) = (context.buffers.take(BLOCK), context.buffers.take(size)) else {
                return;
            };
            let Some((volume, offset, length)) = run.next_piece() else { return };
            let place = (offset, length);
            if self.inflight.enter_copy(context, volume, place, true, into, &mut self.steps).is_none() {
                return run.put_back(volume, offset);
            }
            self.verifying.blocks.push(block);
            self.verifying.pieces += 1;
        }
    }

    /// A piece was read while it stood alone: it takes its time, and its digest goes into the lane.
    pub(super) fn join_digest<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        op: u32,
        view: &WriteView<B>,
    ) {
        self.verifying.pieces = self.verifying.pieces.saturating_sub(1);
        let block = self.verifying.blocks.pop();
        if let (Some(run), Some(block), Some(data)) = (self.verifying.run.as_mut(), block, view.data.as_ref())
        {
            let time: Time = self.clock.next(context.now.wall.min(LATEST_WALL));
            let mark = Mark::Verify(Verify::of(run.run, data.bytes()));
            self.sealer.join_mark_of(block, time, &mark, (view.volume, view.offset, view.length));
            run.on_read(context.now.mono, view.length, time);
            if run.is_sent() {
                context.note(Note::Verify(VerifyNote::Sent));
            }
        }
        self.inflight.leave(context, op, &mut self.steps);
    }

    /// A piece of a round or a run could not be read. What cannot be read cannot be sent.
    pub(super) fn on_piece_failed<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        op: u32,
        kind: OpKind,
    ) {
        if kind == (OpKind::Copy { digest: true }) {
            self.verifying.pieces = self.verifying.pieces.saturating_sub(1);
            self.verifying.blocks.pop();
            let volume = self.volume_of(op);
            self.end_verify(context, Some(VerifyStop::Unreadable { volume }));
        } else {
            self.on_copy_failed(op);
        }
    }

    fn end_verify<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        stopped: Option<VerifyStop>,
    ) -> bool {
        let (Some(status), Some(run)) = (self.verify_status(), self.verifying.run.take()) else {
            return false;
        };
        let tally = &self.receipts.tally;
        let mut differences = Vec::new();
        if tally.run == run.run {
            differences.extend_from_slice(tally.differences());
            differences.sort_unstable_by_key(|found| (found.volume, found.offset));
        }
        let repairs = run.repair && stopped.is_none() && !differences.is_empty();
        if repairs {
            self.verifying.repairs.clone_from(&differences);
        }
        let report = VerifyReport {
            bytes: status.bytes,
            compared: status.compared,
            different: status.different,
            differences,
            repairs,
            stopped,
            took_ns: context.now.mono.saturating_sub(run.began_at),
        };
        context.note(Note::Verify(VerifyNote::Ended(Box::new(report))));
        true
    }
}
