//! Host requests straight on the local disks, outside the lanes: a lone export, and a primary after a takeover.
//!
//! With a tracker, a write reaches the disk only when its dirty bit is durable, and is answered when it is written; FLUSH
//! and FUA flush the disk (design §4, "outside the lanes").

use alloc::vec::Vec;

use midspan_format::ids::VolumeId;

use crate::stage::inflight::{Inflight, OpKind, Steps};
use crate::stage::tracker::{Marked, Tracker};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{
    Context, Disk, DiskError, DiskOp, DiskResult, Effect, HostError, HostOp, HostRequest, Note, RequestId,
    Token,
};
use crate::vocab::tags;

/// The machine.
#[derive(Debug)]
pub struct Direct<B> {
    inflight: Inflight<B>,
    tracker: Option<Tracker>,
    steps: Steps,
    flushes: usize,
    answered: u64,
    ready: Vec<u32>,
    /// Hosts are not served any more.
    closed: bool,
}

impl<B: Buffer> Direct<B> {
    /// For `capacity` requests at a time; `tracker` when another site must later learn what changed.
    pub fn new(capacity: usize, tracker: Option<Tracker>) -> Self {
        Self {
            inflight: Inflight::new(capacity, tags::INFLIGHT),
            tracker,
            steps: Steps::new(capacity),
            flushes: 0,
            answered: 0,
            ready: Vec::with_capacity(capacity),
            closed: false,
        }
    }

    /// Hosts are not served any more: what waits is told so, what runs settles.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.closed = true;
        let effects = &mut context.effects;
        self.inflight.abandon(|request| {
            effects.push(Effect::Answer { request, result: Err(HostError::NotServing) });
        });
        self.steps.join.clear();
        self.steps.disk.clear();
    }

    /// Takes the map, for whoever plays the next role.
    pub fn take_tracker(&mut self) -> Option<Tracker> {
        self.tracker.take()
    }

    /// The dirty map, when there is one.
    pub fn tracker(&self) -> Option<&Tracker> {
        self.tracker.as_ref()
    }

    /// Writes answered so far.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether another request can be taken.
    pub fn has_room(&self) -> bool {
        self.inflight.has_room()
    }

    /// Whether something found the pool empty.
    pub fn is_starved(&self) -> bool {
        self.inflight.is_starved() || self.tracker.as_ref().is_some_and(|tracker| !tracker.is_durable())
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.inflight.is_empty() && self.flushes == 0
    }

    /// A host request. The driver asks [`Direct::has_room`] first.
    pub fn on_host<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, request: HostRequest<B>) {
        if self.closed {
            return answer(context, request.id, Err(HostError::NotServing));
        }
        match self.inflight.enter(context, request, &mut self.steps) {
            Ok(_) => self.proceed(context),
            Err(HostRequest { id, volume, op: HostOp::Flush }) => {
                self.flushes += 1;
                let token = tags::token(tags::HOST_FLUSH, u64::from(volume.0) << 32 | u64::from(id.0));
                context.disk(Disk::Volume(volume), token, DiskOp::Flush);
            }
            Err(refused) => answer(context, refused.id, Err(HostError::NotServing)),
        }
    }

    /// A disk operation completed.
    pub fn on_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
    ) {
        match tags::of(token) {
            tags::INFLIGHT => {
                if let Some(done) = self.inflight.on_disk(token, result, &mut self.steps) {
                    self.answered += u64::from(done.kind != OpKind::Read && done.result.is_ok());
                    self.end(context, done.id, done.result.map_err(host_error));
                }
            }
            tags::HOST_FLUSH => {
                self.flushes -= 1;
                let request = RequestId(u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0));
                let result = result.map(|_| None).map_err(host_error);
                answer(context, request, if self.closed { Err(HostError::NotServing) } else { result });
            }
            tags::TRACKER => self.on_marked(context, token, result.is_err()),
            _ => debug_assert!(false, "a token of somebody else"),
        }
        self.proceed(context);
    }

    /// Tries again what found the pool empty.
    pub fn on_drained<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.inflight.retry(context);
        if let Some(tracker) = self.tracker.as_mut() {
            tracker.poke(context);
        }
        self.proceed(context);
    }

    /// Map blocks were written: the writes whose bits are durable may go; all that wait fail when the map's disk did.
    fn on_marked<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, token: Token, failed: bool) {
        let Some(tracker) = self.tracker.as_mut() else { return };
        self.ready.clear();
        tracker.on_disk(context, token, failed, &mut self.ready);
        if failed {
            context.note(Note::DiskFailed { disk_is_journal: true, volume: VolumeId(0) });
        }
        while let Some(op) = self.ready.pop() {
            if self.inflight.view(op).is_none() {
                rare!(DirectGivenUp);
                // Its request was given up meanwhile.
                continue;
            }
            if failed {
                rare!(DirectUnmarked);
                self.end(context, op, Err(HostError::Io));
            } else {
                self.inflight.allow_disk(op, &mut self.steps);
            }
        }
    }

    /// Answers a request and lets it go.
    fn end<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        op: u32,
        result: Result<Option<B>, HostError>,
    ) {
        let result = if self.closed { Err(HostError::NotServing) } else { result };
        if let Some(request) = self.inflight.take_request(op) {
            answer(context, request, result);
        }
        self.inflight.leave(context, op, &mut self.steps);
    }

    fn proceed<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        while self.closed
            && let Some(op) = self.steps.join.pop().or_else(|| self.steps.disk.pop())
        {
            self.end(context, op, Err(HostError::NotServing));
        }
        loop {
            if let Some(op) = self.steps.join.pop() {
                let marked = match (self.tracker.as_mut(), self.inflight.view(op)) {
                    (Some(tracker), Some(_)) if tracker.failed() => Marked::Never,
                    (Some(tracker), Some(view)) => {
                        tracker.mark(context, op, view.volume, view.offset, view.length)
                    }
                    _ => Marked::Durable,
                };
                match marked {
                    Marked::Durable => self.inflight.allow_disk(op, &mut self.steps),
                    Marked::Waits => {}
                    Marked::Never => self.end(context, op, Err(HostError::Io)),
                }
            } else if let Some(op) = self.steps.disk.pop() {
                let durable = self.inflight.is_fua(op);
                self.inflight.start_disk(context, op, durable);
            } else {
                return;
            }
        }
    }
}

pub(super) fn answer<S: Buffers>(
    context: &mut Context<'_, S>,
    request: RequestId,
    result: Result<Option<S::Buf>, HostError>,
) {
    context.ask(Effect::Answer { request, result });
}

pub(super) fn host_error(error: DiskError) -> HostError {
    match error {
        DiskError::Failed => HostError::Io,
        DiskError::NoSpace => HostError::NoSpace,
    }
}
