//! What hosts are told, and when: answerable writes, reads under the lease, failures (I1, I5, I11).

use alloc::rc::Rc;

use midspan_format::ids::VolumeId;

use super::Primary;
use crate::role::direct::{answer, host_error};
use crate::role::site::AnswerMode;
use crate::stage::inflight::{Finished, OpKind};
use crate::stage::sealer::Sealer;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Frame, HostError, Note, RequestId};
use crate::vocab::milestone::{Milestone, Stage};

impl<B: Buffer> Primary<B> {
    /// The lane's prefix moved or a request was confirmed: answer, write locally, let reads go.
    pub(super) fn on_progress<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.raise_floor(context);
        let journaled = self.journaled();
        if self.landing.is_answerable(journaled) {
            context.reach(Milestone::prefix(Stage::Acknowledged, self.config.group, journaled));
        }
        loop {
            self.answerable.clear();
            if !self.manifests.has_room() {
                self.issue_manifest(context);
            }
            let Some(frame) = self.landing.next_answerable(journaled, &mut self.answerable) else { break };
            self.landed_durable = self.landed_durable.max(frame.header.landed);
            let views = self.answerable.iter().filter_map(|op| self.inflight.view(*op));
            let ranges = views.map(|view| (view.volume, view.offset, view.length));
            self.manifests.add(context.now.mono, &frame.header, ranges);
            for at in 0..self.answerable.len() {
                let Some(&op) = self.answerable.get(at) else { break };
                if self.config.answer == AnswerMode::Journaled
                    && let Some(request) = self.inflight.take_request(op)
                {
                    self.answered += 1;
                    answer(context, request, Ok(None));
                }
                self.inflight.allow_disk(op, &mut self.steps);
            }
        }
        let (keeps, sealer) = (self.keeps_frames(), &mut self.sealer);
        self.landing.sweep(&mut |frame| recycle(sealer, frame, keeps));
        self.forget_received();
        if self.has_lease(context.now.mono) {
            while let Some(op) = self.waiting_reads.pop_front() {
                self.steps.disk.push(op);
            }
            while let Some((op, data)) = self.held.pop_front() {
                self.end_op(context, op, Ok(Some(data)));
            }
            while let Some(request) = self.waiting_flushes.pop_front() {
                answer(context, request, Ok(None));
            }
        }
    }

    pub(super) fn on_finished<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        done: Finished<B>,
    ) {
        match (done.kind, done.result) {
            (OpKind::Read, Ok(Some(data))) if self.closed || self.has_lease(context.now.mono) => {
                self.end_op(context, done.id, Ok(Some(data)));
            }
            (OpKind::Read, Ok(Some(data))) => {
                rare!(ReadHeldForLease);
                self.held.push_back((done.id, data));
            }
            (OpKind::Read, Ok(None)) => self.end_op(context, done.id, Err(HostError::Io)),
            (OpKind::Read, Err(error)) => {
                rare!(ReadFails);
                self.end_op(context, done.id, Err(host_error(error)));
            }
            (OpKind::Write | OpKind::Zero { .. }, Ok(_)) => {
                self.answered += u64::from(self.config.answer == AnswerMode::JournaledLocal);
                self.end_op(context, done.id, Ok(None));
                let (keeps, sealer) = (self.keeps_frames(), &mut self.sealer);
                self.landing.on_written(done.id, |frame| recycle(sealer, frame, keeps));
            }
            // What cannot be read cannot be sent: the round waits for an operator. Hosts are not concerned: nothing was lost.
            (kind @ OpKind::Copy { .. }, _) => {
                rare!(CopyFails);
                self.on_piece_failed(context, done.id, kind);
                context.note(Note::DiskFailed { disk_is_journal: false, volume: self.volume_of(done.id) });
                self.end_op(context, done.id, Ok(None));
            }
            (OpKind::Write | OpKind::Zero { .. }, Err(error)) => {
                self.on_write_failed(context, done.id, done.timed, host_error(error));
            }
        }
    }

    /// A write that has its time stays in the table after its disk failed: nothing may be read around it.
    pub(super) fn on_write_failed<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        op: u32,
        timed: bool,
        error: HostError,
    ) {
        let volume = self.volume_of(op);
        context.note(Note::DiskFailed { disk_is_journal: false, volume });
        if timed && !self.closed {
            rare!(WriteFails);
            self.landing.on_failed(volume);
            if let Some(request) = self.inflight.take_request(op) {
                answer(context, request, Err(error));
            }
            // What waits for it would wait for ever.
            let mut from = 0;
            while let Some(waiting) = self.inflight.next_waiting(from) {
                if self.volume_of(waiting) == volume {
                    self.end_op(context, waiting, Err(HostError::Io));
                }
                from = waiting + 1;
            }
            return;
        }
        // It failed while its partial blocks were read: it never had a time, and nothing of it is anywhere. Or this role
        // ends: what the disk lacks, the next start brings.
        rare!(FillFails);
        self.end_op(context, op, Err(error));
    }

    pub(super) fn volume_of(&self, op: u32) -> VolumeId {
        self.inflight.view(op).map_or(VolumeId(0), |view| view.volume)
    }

    /// Answers a request, unless that was done before, and lets it go.
    pub(super) fn end_op<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        op: u32,
        result: Result<Option<B>, HostError>,
    ) {
        if let Some(request) = self.inflight.take_request(op) {
            self.answer_now(context, request, result);
        }
        self.inflight.leave(context, op, &mut self.steps);
    }

    /// The disk is flushed; a primary that may have been replaced keeps that to itself until it has the lease.
    pub(super) fn answer_flushed<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        request: RequestId,
        result: Result<Option<B>, HostError>,
    ) {
        if result.is_ok() && !self.closed && !self.has_lease(context.now.mono) {
            self.waiting_flushes.push_back(request);
        } else {
            self.answer_now(context, request, result);
        }
    }

    /// A primary that is fenced or ends answers nothing but that it serves no more (I5).
    pub(super) fn answer_now<S: Buffers<Buf = B>>(
        &self,
        context: &mut Context<'_, S>,
        request: RequestId,
        result: Result<Option<B>, HostError>,
    ) {
        let result = if self.closed { Err(HostError::NotServing) } else { result };
        answer(context, request, result);
    }
}

/// A frame's records are on the disks: its memory is used again, unless it is kept for another lane.
fn recycle<B: Buffer>(sealer: &mut Sealer<B>, frame: Rc<Frame<B>>, keeps: bool) {
    if keeps {
        sealer.recycle_last(frame);
    } else {
        sealer.recycle(frame);
    }
}
