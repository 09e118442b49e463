//! The way from one role to the next; the former role's operations settle first (design §7).

use alloc::boxed::Box;

use super::{Group, Play};
use crate::lane::fencer::FencerEvent;
use crate::role::direct::Direct;
use crate::role::primary::{Begin, Primary};
use crate::role::secondary::Secondary;
use crate::role::start;
use crate::role::takeover::{self, Asked, Takeover};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{
    Context, HandoverNote, HandoverRefusal, Note, StartNote, StartRefusal, StartReport,
};

impl<B: Buffer> Group<B> {
    pub(super) fn on_start<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: start::Outcome,
    ) {
        match outcome {
            start::Outcome::Running => {}
            start::Outcome::Fenced(found) => {
                context.note(Note::Fenced { ours: self.store.get().epoch, found });
                self.close_role(context);
                self.fenced_by = Some(found);
                self.play = Play::Fenced;
            }
            start::Outcome::Ready(begin, report) => self.become_primary(context, begin, report),
        }
    }

    pub(super) fn become_primary<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        begin: Begin,
        report: StartReport,
    ) {
        self.close_role(context);
        let mut primary = Box::new(Primary::new(self.config.clone(), begin));
        primary.on_tick(context);
        self.play = Play::Opening(primary, report);
    }

    /// Hosts are served from the first lease on: a process that was stopped since its fence was answered finds out here
    /// that it has been replaced.
    pub(super) fn look_for_lease<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.look_for_fence(context);
        let Play::Opening(primary, _) = &self.play else { return };
        if !primary.has_lease(context.now.mono) {
            return;
        }
        if let Play::Opening(primary, report) = core::mem::replace(&mut self.play, Play::Stopped) {
            context.note(Note::Serving { epoch: report.epoch });
            context.note(Note::Start(StartNote::Done(report)));
            self.play = Play::Primary(primary);
        }
    }

    /// A primary that a lane has refused for a newer epoch leaves its role.
    pub(super) fn look_for_fence<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let (Play::Primary(primary) | Play::Opening(primary, _)) = &self.play else { return };
        let Some(found) = primary.fenced() else { return };
        self.fenced_by = Some(found);
        self.leave(context);
    }

    pub(super) fn leave<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if !matches!(self.play, Play::Primary(_) | Play::Opening(..)) {
            return;
        }
        if let Play::Primary(mut primary) | Play::Opening(mut primary, _) =
            core::mem::replace(&mut self.play, Play::Stopped)
        {
            primary.close(context);
            self.play = Play::Leaving(primary);
            self.finish_leaving();
        }
    }

    pub(super) fn finish_leaving(&mut self) {
        if let Play::Leaving(primary) = &self.play
            && primary.is_idle()
        {
            self.play = if self.fenced_by.is_some() { Play::Fenced } else { Play::Stopped };
        }
    }

    pub(super) fn begin_takeover<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, asked: Asked) {
        let refusal = match &self.play {
            Play::Secondary(_) if self.stopping => Some(StartRefusal::Stopping),
            Play::Secondary(_) => None,
            Play::TakingOver(..) => Some(StartRefusal::Running),
            Play::Stopped | Play::Leaving(_) => Some(StartRefusal::Stopping),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced => Some(StartRefusal::NotSecondary),
        };
        if let Some(refusal) = refusal {
            return context.note(Note::Start(StartNote::Refused(refusal)));
        }
        let Some(tracker) = self.tracker.as_ref() else { return };
        if let Play::Secondary(secondary) = core::mem::replace(&mut self.play, Play::Stopped) {
            let config = self.config.clone();
            let takeover = Takeover::new(config, context.now.mono, asked, &self.store, &secondary, tracker);
            self.play = Play::TakingOver(secondary, Box::new(takeover));
            self.on_tick(context);
        }
    }

    pub(super) fn on_takeover<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: takeover::Outcome,
    ) {
        let note = match outcome {
            takeover::Outcome::Running => return,
            takeover::Outcome::Taken(report) => return self.serve_outside(context, report),
            takeover::Outcome::Refused(refusal) => StartNote::Refused(refusal),
            takeover::Outcome::Probed(report) => StartNote::Probed(report),
        };
        if let Play::TakingOver(secondary, mut takeover) = core::mem::replace(&mut self.play, Play::Stopped) {
            takeover.close(context);
            self.play = Play::Secondary(if takeover.has_closed_secondary() {
                let mut anew = Box::new(Secondary::new(self.config.clone(), &self.store));
                anew.start(context);
                anew
            } else {
                secondary
            });
        }
        context.note(Note::Start(note));
    }

    pub(super) fn on_resumed<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: FencerEvent,
    ) {
        let Play::Resuming { fencer, since, .. } = &mut self.play else { return };
        let began = *since;
        match event {
            FencerEvent::Nothing | FencerEvent::Forgotten(_) | FencerEvent::Refused(_) => {}
            FencerEvent::Probed(_) => fencer.fence(context),
            FencerEvent::Foreign(found) => {
                context.note(Note::Fenced { ours: self.store.get().epoch, found });
                self.fenced_by = Some(found);
                self.play = Play::Fenced;
            }
            FencerEvent::Done(fenced) => {
                self.store.change(context, |state| state.epoch = fenced.epoch);
                let report = StartReport {
                    epoch: fenced.epoch,
                    last_time: self.store.get().cut.0,
                    lost_nothing: true,
                    took_ns: context.now.mono.saturating_sub(began),
                    ..StartReport::default()
                };
                self.serve_outside(context, report);
            }
        }
    }

    pub(super) fn serve_outside<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        report: StartReport,
    ) {
        self.close_role(context);
        context.note(Note::Serving { epoch: report.epoch });
        context.note(Note::Start(StartNote::Done(report)));
        self.play = Play::Outside(Box::new(Direct::new(self.config.limits.requests, self.tracker.take())));
    }

    pub(super) fn abort<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        context.note(Note::Start(StartNote::Refused(StartRefusal::NothingToAbort)));
    }

    pub(super) fn begin_handover<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        context.note(Note::Handover(HandoverNote::Refused(HandoverRefusal::NotPrimary)));
    }

    pub(super) fn resolve<S: Buffers<Buf = B>>(&mut self, _context: &mut Context<'_, S>) {}

    pub(super) fn hold_round(&mut self, _held: bool) {}

    pub(super) fn stop<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.stopping = true;
        match &self.play {
            Play::Primary(_) | Play::Opening(..) => self.leave(context),
            Play::Outside(_) | Play::Leaving(_) | Play::Stopped => {}
            Play::Starting(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced => self.close_role(context),
        }
    }

    /// Ends the sessions of the present role.
    pub(super) fn close_role<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        match &mut self.play {
            Play::Starting(start) => start.close(context),
            Play::Primary(primary) | Play::Opening(primary, _) => primary.close(context),
            Play::Secondary(secondary) => secondary.close(context),
            Play::TakingOver(secondary, takeover) => {
                secondary.close(context);
                takeover.close(context);
            }
            Play::Resuming { fencer, .. } => fencer.close(context),
            Play::Leaving(_) | Play::Outside(_) | Play::Fenced | Play::Stopped => {}
        }
    }
}
