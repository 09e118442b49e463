//! Brings the verified tail to the volumes, then flushes them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::checked::CheckedFrame;
use midspan_format::dirty_map::DirtyMap;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, VolumeId};
use midspan_format::record::RecordKind;

use super::{Outcome, Start, Step};
use crate::lane::tail::Tail;
use crate::role::site::SiteConfig;
use crate::stage::applier::{Applier, ApplyError};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, Note, StartNote};
use crate::vocab::tags;
use crate::vocab::tip::Tip;

#[derive(Debug)]
pub(super) struct Redo<B> {
    pub(super) tail: Tail,
    pub(super) applier: Applier<B>,
    pub(super) waiting: VecDeque<(FrameHeader, Slice<B>)>,
    /// It did not verify this time: everything is read again once no disk operation runs.
    pub(super) damaged: Option<Position>,
    /// The other site has taken the lane: that is followed once no disk operation runs.
    replaced: Option<Epoch>,
}

impl<B: Buffer> Start<B> {
    /// Regions that the tail touched, where the sites differ anyway.
    pub fn take_marks(&mut self) -> Option<DirtyMap> {
        let marks = self.marks.take();
        self.has_marked |= marks.is_some();
        marks
    }

    /// Whether the tail was marked.
    pub fn has_marked(&self) -> bool {
        self.has_marked
    }

    /// What was marked is durable.
    pub fn on_marked(&mut self, now: u64, store: &StateStore) -> Outcome {
        if matches!(self.step, Step::Flushing { left: 0 }) && self.has_marked {
            return self.done(now, store);
        }
        Outcome::Running
    }

    pub(super) fn tail(&mut self) -> Option<&mut Tail> {
        match &mut self.step {
            Step::Verifying(tail) => Some(tail),
            Step::Redoing(redo) => Some(&mut redo.tail),
            Step::Preparing(_)
            | Step::Fencing
            | Step::Asking(_)
            | Step::Waiting { .. }
            | Step::Recording { .. }
            | Step::FencingBeside(_)
            | Step::Flushing { .. }
            | Step::Done
            | Step::Failed => None,
        }
    }

    pub(super) fn redo<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Step::Verifying(mut tail) = core::mem::replace(&mut self.step, Step::Done) else { return };
        context.note(Note::Start(StartNote::Redoing));
        tail.rewind();
        let volumes: Vec<_> = self.config.volumes.iter().map(|v| (v.id, v.size)).collect();
        let limits = self.config.limits;
        let at = Tip { position: self.facts.landed.0, ..Tip::default() };
        let applier = Applier::new(
            volumes,
            limits.apply_frames,
            limits.apply_records,
            tags::APPLIER,
            at,
            self.facts.landed.1,
        );
        self.step =
            Step::Redoing(Redo { tail, applier, waiting: VecDeque::new(), damaged: None, replaced: None });
    }

    /// Gives the applier what it has room for. `true` when everything is written.
    pub(super) fn apply<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) -> bool {
        let Step::Redoing(Redo { tail, applier, waiting, damaged, replaced }) = &mut self.step else {
            return false;
        };
        if replaced.is_some() {
            return false;
        }
        if let Some(position) = *damaged {
            if applier.is_idle() {
                self.wait(context, Note::Damaged { node: self.config.relay, position });
            }
            return false;
        }
        while let Some((header, frame)) = waiting.front() {
            if !applier.has_room(header.records) {
                return false;
            }
            match applier.push(context, header, frame, false) {
                Ok(()) => {}
                Err(ApplyError::Foreign { volume }) => {
                    self.on_disk_failed(context, volume);
                    return false;
                }
                Err(ApplyError::Damaged) => {
                    let position = header.position;
                    self.on_damaged(context, position);
                    return false;
                }
            }
            if let Some(marks) = self.marks.as_mut() {
                mark_frame(&self.config, frame, marks);
            }
            self.report.frames += 1;
            self.report.bytes += u64::from(header.length);
            waiting.pop_front();
        }
        if tail.is_done() {
            return applier.is_idle();
        }
        tail.poke(context);
        false
    }

    /// The other site has taken the lane meanwhile: what two lanes must hold is not given to this one any more.
    pub(super) fn on_replaced<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        found: Epoch,
    ) -> Outcome {
        rare!(StartReplaced);
        if let Some(tail) = self.tail() {
            tail.close(context);
        }
        if let Step::Redoing(redo) = &mut self.step
            && !redo.applier.is_idle()
        {
            rare!(StartRedoReplaced);
            redo.replaced = Some(found);
            return Outcome::Running;
        }
        Outcome::Fenced(found)
    }

    /// Who has taken the lane, once nothing is written any more.
    pub(super) fn replaced(&self) -> Option<Epoch> {
        let Step::Redoing(redo) = &self.step else { return None };
        redo.replaced.filter(|_| redo.applier.is_idle())
    }

    pub(super) fn flush<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(tail) = self.tail() {
            tail.close(context);
        }
        self.step = Step::Flushing { left: self.config.volumes.len() };
        for volume in &self.config.volumes {
            let token = tags::token(tags::LAND, u64::from(volume.id.0));
            context.disk(Disk::Volume(volume.id), token, DiskOp::Flush);
        }
    }

    pub(super) fn on_damaged<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        position: Position,
    ) {
        // The bytes may have been damaged on their way: everything is read again, a little later.
        if let Some(tail) = self.tail() {
            tail.close(context);
        }
        if let Step::Redoing(redo) = &mut self.step
            && !redo.applier.is_idle()
        {
            rare!(StartRedoDamaged);
            redo.damaged = Some(position);
            return;
        }
        self.wait(context, Note::Damaged { node: self.config.relay, position });
    }

    pub(super) fn on_disk_failed<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        volume: VolumeId,
    ) {
        if let Some(tail) = self.tail() {
            tail.close(context);
        }
        rare!(StartDiskFailed);
        self.step = Step::Failed;
        context.note(Note::DiskFailed { disk_is_journal: false, volume });
    }
}

/// Marks what a frame that was just applied has touched.
fn mark_frame<B: Buffer>(config: &SiteConfig, frame: &Slice<B>, marks: &mut DirtyMap) {
    let Ok(checked) = CheckedFrame::parse_head(frame.bytes()) else { return marks.mark_all(None) };
    for record in checked.records().filter(|record| record.kind().is_none_or(RecordKind::changes_disk)) {
        let volume = VolumeId(record.volume);
        if config.holds(volume, record.offset, record.length) {
            marks.mark(volume, record.offset, record.length);
        }
    }
}
