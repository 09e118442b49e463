//! The way from one role to the next; the former role's operations settle first (design §7).

use alloc::boxed::Box;

use super::{Group, Play};
use midspan_format::mark::RoundReason;
use midspan_format::message::FenceIntent;
use midspan_format::superblock::PairState;

use crate::lane::fencer::FencerEvent;
use crate::role::facts::LaneFacts;
use crate::role::primary::{Begin, Primary, Repair};
use crate::role::start;
use crate::role::takeover::{self, Asked, Takeover};
use crate::role::unfenced::{self, Meeting};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note, StartNote, StartRefusal, StartReport};

/// How often a primary's `landed` is taken into the state at most.
const KEEP_LANDED_NS: u64 = 5_000_000_000;
/// Pause before a handover to this site is tried again.
const HANDOVER_RETRY_NS: u64 = 500_000_000;
/// How long a relay that is to give an epoch back may be silent. The site is bound to follow nobody so long.
const ABORT_NS: u64 = 5_000_000_000;

impl<B: Buffer> Group<B> {
    pub(super) fn on_start<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: start::Outcome,
    ) {
        match outcome {
            start::Outcome::Running => {}
            start::Outcome::Fenced(found) => {
                if let Play::Starting(start) = &self.play {
                    self.config.relay = start.lane_node();
                }
                context.note(Note::Fenced { ours: self.store.get().epoch, found });
                self.close_role(context);
                self.fence_off(found);
            }
            start::Outcome::Marks => self.mark_redone(context),
            start::Outcome::Ready(begin, report) => self.become_primary(context, begin, report),
        }
    }

    /// What a start has redone, where the sites differ anyway, the other one may have skipped: it is marked before the lane hears
    /// that it has landed, which no later start would read again (I6).
    fn mark_redone<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Self { store, tracker, play: Play::Starting(start), .. } = self else { return };
        let marks = start.take_marks();
        if let Some(tracker) = tracker {
            if let Some(marks) = marks {
                tracker.merge(&marks);
            }
            tracker.poke(context);
            if !tracker.is_durable() {
                return;
            }
        }
        let outcome = start.on_marked(context.now.mono, store);
        self.on_start(context, outcome);
    }

    /// So once more: marks are durable now, or had found the pool empty.
    pub(super) fn mark_again<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if matches!(&self.play, Play::Starting(start) if start.has_marked()) {
            self.mark_redone(context);
        }
    }

    pub(super) fn become_primary<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        begin: Begin,
        report: StartReport,
    ) {
        let repairs = match &self.play {
            Play::Starting(start) => {
                self.config.relay = start.lane_node();
                start.has_marked()
            }
            Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => false,
        };
        self.close_role(context);
        self.setting.asking = None;
        let mut primary = Box::new(Primary::new(self.config.clone(), begin));
        primary.remember(self.store.get());
        if repairs && self.tracker.is_some() {
            self.set_repair(&mut primary, RoundReason::Resync);
        }
        primary.on_tick(context);
        self.play = Play::Opening(primary, report);
    }

    /// Hosts are served from the first lease on: a process that was stopped since its fence was answered finds out here
    /// that it has been replaced.
    pub(super) fn look_for_lease<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.look_for_fence(context);
        self.keep_set(context);
        let Play::Opening(primary, _) = &self.play else { return };
        if !primary.has_lease(context.now.mono) {
            return;
        }
        if let Play::Opening(mut primary, report) = core::mem::replace(&mut self.play, Play::Stopped) {
            context.note(Note::Serving { epoch: report.epoch });
            context.note(Note::Start(StartNote::Done(report)));
            primary.establish();
            self.play = Play::Primary(primary);
        }
    }

    /// A primary that a lane has refused for a newer epoch leaves its role.
    pub(super) fn look_for_fence<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let (Play::Primary(primary) | Play::Opening(primary, _)) = &self.play else { return };
        self.fenced_by = primary.fenced();
        self.setting.outgrown = primary.outgrown();
        if self.fenced_by.is_none() && self.setting.outgrown.is_none() {
            return;
        }
        self.departs = false;
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
            self.finish_leaving(context);
        }
    }

    pub(super) fn finish_leaving<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let tracker = match &mut self.play {
            Play::Leaving(primary) if primary.is_idle() => primary.take_tracker(),
            Play::Outside(outside) if outside.is_closed() && outside.is_idle() => outside.take_tracker(),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => return,
        };
        self.tracker = self.tracker.take().or(tracker);
        if self.stopping {
            self.play = Play::Stopped;
            return;
        }
        let handed = self.end_handover(context);
        match self.fenced_by {
            Some(found) => self.fence_off(found),
            None if self.setting.outgrown.is_some() => self.start_anew(context),
            None if handed => self.follow(context),
            None => self.play = Play::Stopped,
        }
    }

    /// After whatever has happened to a primary: it may be fenced, its round may have ended, its role may be handed over.
    pub(super) fn look_at_primary<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.look_for_fence(context);
        self.keep_set(context);
        self.keep_landed(context);
        let Play::Primary(primary) = &mut self.play else { return };
        if primary.repair().is_some_and(Repair::has_ended) {
            self.tracker = primary.take_tracker();
            self.store.change(context, |state| {
                (state.pair, state.left, state.round) = (PairState::Paired, false, 0);
                state.answered = false;
            });
        }
        self.send_all(context);
        self.send_found(context);
        self.go_on_handing_over(context);
        self.leave_the_lanes(context);
    }

    /// Takes `landed`, and what the secondary has said, into the state now and then: a start past the journal must say from when
    /// on something may be missing, and a start while the secondary is away must know what space is free (I3).
    fn keep_landed<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Play::Primary(primary) = &self.play else { return };
        let (landed, time) = primary.landed();
        let heard = primary.received();
        let (state, now) = (self.store.get(), context.now.mono);
        let same = state.landed == landed && state.acquired >= heard.acquired;
        if same || now < self.landed_kept_at + KEEP_LANDED_NS || !self.store.is_idle() {
            return;
        }
        self.landed_kept_at = now;
        let clock = primary.clock();
        self.store.change(context, |state| {
            (state.landed, state.landed_time, state.clock) = (landed, time, state.clock.max(clock));
            state.acquired = state.acquired.max(heard.acquired);
            state.manifest = state.manifest.max(heard.manifest);
        });
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
            | Play::Fenced(_)
            | Play::Aborting(..) => Some(StartRefusal::NotSecondary),
        };
        if let Some(refusal) = refusal {
            return context.note(Note::Start(StartNote::Refused(refusal)));
        }
        self.stop_giving(context);
        let Some(tracker) = self.tracker.as_ref() else { return };
        if let Play::Secondary(mut secondary) = core::mem::replace(&mut self.play, Play::Stopped) {
            secondary.hold_lanes(true);
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
            takeover::Outcome::Taken(report) => return self.serve_taken(context, report),
            takeover::Outcome::Refused(refusal) => StartNote::Refused(refusal),
            takeover::Outcome::Probed(report) => StartNote::Probed(report),
        };
        let mut handed = None;
        if let Play::TakingOver(secondary, mut takeover) = core::mem::replace(&mut self.play, Play::Stopped) {
            takeover.close(context);
            handed = takeover.asked().handed;
            self.setting.owes = takeover.fenced_beside().or(self.setting.owes);
            self.play = if takeover.has_changed_secondary() {
                rare!(TakeoverBeginsAnew);
                // It read exactly to the fenced prefix: what runs settles, then it begins anew.
                let mut secondary = secondary;
                secondary.close(context);
                let mut ended = Box::new(self.config.fencer(FenceIntent::Probe, self.store.get().epoch));
                ended.close(context);
                Play::Aborting(secondary, ended, 0)
            } else {
                if !takeover.stays_bound() {
                    self.unbind(context);
                }
                let mut secondary = secondary;
                secondary.hold_lanes(false);
                Play::Secondary(secondary)
            };
            self.on_aborted(context, FencerEvent::Nothing);
        }
        if let Some(handed) = handed {
            // Nobody asked here: what was handed over counts no more, or is tried again. It may have been handed over once more meanwhile.
            self.handover_at = context.now.mono + HANDOVER_RETRY_NS;
            let same = self.store.get().handover_epoch == handed;
            if same && note == StartNote::Refused(StartRefusal::NotSecondary) {
                rare!(HandoverForgotten);
                self.store.change(context, |state| state.handover = false);
            }
            return;
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
            FencerEvent::Released => {
                self.close_role(context);
                self.fence_off(self.store.get().takeover_replaces);
            }
            FencerEvent::Probed(fenced) if unfenced::is_unfenced(self.store.get()) => {
                match unfenced::meet(&fenced, &self.config, self.store.get()) {
                    Meeting::Alone => fencer.fence(context),
                    Meeting::Holding => fencer.release(context),
                    Meeting::Unclear => self.resume_again(context),
                    Meeting::Both => {
                        self.close_role(context);
                        self.fence_off(fenced.epoch);
                    }
                }
            }
            FencerEvent::Probed(_) => fencer.fence(context),
            FencerEvent::Foreign(found) => {
                rare!(ResumeReplaced);
                context.note(Note::Fenced { ours: self.store.get().epoch, found });
                self.close_role(context);
                self.fence_off(found);
            }
            FencerEvent::Done(fenced)
                if unfenced::is_unfenced(self.store.get())
                    && unfenced::meet(&fenced, &self.config, self.store.get()) != Meeting::Alone =>
            {
                self.resume_again(context);
            }
            FencerEvent::Done(fenced) => {
                // By which one of two that share the data it goes is looked at when it comes back into them.
                let shares = self.store.get().set.is_striped() && !unfenced::is_unfenced(self.store.get());
                let facts = LaneFacts::new(&fenced, self.config.lane).filter(|_| !shares);
                let config = &self.config;
                self.store.change(context, |state| {
                    state.epoch = fenced.epoch;
                    unfenced::settle(state, config, fenced.epoch);
                    if let Some(facts) = &facts {
                        facts.record(state);
                    }
                });
                let report = StartReport {
                    epoch: fenced.epoch,
                    last_time: self.store.get().cut.0,
                    lost_nothing: true,
                    took_ns: context.now.mono.saturating_sub(began),
                    ..StartReport::default()
                };
                // The mark of this takeover is not there yet: an earlier process may have begun where the other site is a secondary.
                let taken = self.store.get().takeover_epoch;
                let unmarked = |facts: LaneFacts| facts.ring.last.is_none_or(|last| last.epoch < taken);
                let contested = self.store.get().pair == PairState::TakenOver && facts.is_some_and(unmarked);
                self.serve_outside(context, report, facts, None, contested);
            }
        }
    }

    /// The lane is looked at again.
    fn resume_again<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.close_role(context);
        let fencer = Box::new(unfenced::fencer(&self.config, self.store.get()));
        self.play = Play::Resuming { fencer, since: 0, flushed: true };
        self.on_tick(context);
    }

    /// The takeover has ended: hosts are served in the lanes where the other site handed over, else outside them.
    fn serve_taken<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, report: StartReport) {
        let Play::TakingOver(_, takeover) = &self.play else { return };
        self.setting.owes = None;
        let (facts, handed) = (*takeover.facts(), takeover.is_planned());
        self.config.relay = takeover.lane_node();
        if !handed {
            let contested = takeover.is_contested();
            // One of two lanes that share may have been looked at, and not fenced: nothing can be said there.
            let fenced = !unfenced::is_unfenced(self.store.get());
            return self.serve_outside(context, report, Some(facts).filter(|_| fenced), None, contested);
        }
        let last_time = facts.ring.last.map_or(facts.landed.1, |last| last.last_time);
        let begin = Begin {
            known: facts.found,
            epoch: facts.epoch,
            ring: (facts.ring.area, facts.ring.size, LaneFacts::tip(&facts.ring)),
            manifest: (facts.manifest.area, facts.manifest.size, LaneFacts::tip(&facts.manifest)),
            last: facts.ring.last,
            landed: (facts.ring.journaled, last_time),
            landed_durable: facts.landed.0,
            clock: self.store.get().clock.max(facts.clock),
        };
        self.become_primary(context, begin, report);
    }

    /// Gives back what a takeover of this site has fenced: the former primary may go on.
    pub(super) fn abort<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        match &self.play {
            Play::Secondary(_) if !self.stopping => {}
            Play::TakingOver(_, takeover) if !self.stopping && takeover.can_be_undone() => {}
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => {
                return context.note(Note::Start(StartNote::Refused(StartRefusal::NothingToAbort)));
            }
        }
        self.stop_giving(context);
        if let Play::TakingOver(_, takeover) = &self.play {
            self.setting.owes = takeover.fenced_beside().or(self.setting.owes);
        }
        // What the secondary has under way must settle: it begins anew afterwards.
        self.close_role(context);
        let mut fencer = Box::new(self.config.fencer(FenceIntent::Probe, self.store.get().epoch));
        fencer.on_tick(context);
        if let Play::Secondary(secondary) | Play::TakingOver(secondary, _) =
            core::mem::replace(&mut self.play, Play::Stopped)
        {
            self.play = Play::Aborting(secondary, fencer, context.now.mono + ABORT_NS);
        }
    }

    pub(super) fn on_aborted<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: FencerEvent,
    ) {
        let Play::Aborting(secondary, fencer, _) = &mut self.play else { return };
        let note = match event {
            FencerEvent::Nothing => None,
            FencerEvent::Probed(fenced) if fenced.epoch.node == self.config.node => {
                return fencer.release(context);
            }
            FencerEvent::Released => Some(StartNote::Aborted),
            FencerEvent::Probed(_) | FencerEvent::Done(_) | FencerEvent::Foreign(_) => {
                Some(StartNote::Refused(StartRefusal::NothingToAbort))
            }
            FencerEvent::Forgotten(_) | FencerEvent::Refused(_) => {
                Some(StartNote::Refused(StartRefusal::LaneUnreachable {
                    node: self.config.relay,
                    missing: None,
                }))
            }
        };
        if let Some(note) = note {
            fencer.close(context);
            context.note(Note::Start(note));
        }
        if fencer.has_ended() && secondary.is_settled() {
            let change = self.settle_set(context);
            self.become_secondary(context, change);
            self.go_on_taking(context);
        }
    }

    pub(super) fn stop<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.stopping = true;
        self.drop_alone(context);
        match &self.play {
            Play::Primary(_) | Play::Opening(..) => self.leave(context),
            Play::Outside(_) | Play::Leaving(_) | Play::Stopped => {}
            Play::Starting(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..) => self.close_role(context),
        }
    }

    /// Ends the sessions of the present role.
    pub(super) fn close_role<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.drop_alone(context);
        match &mut self.play {
            Play::Starting(start) => start.close(context),
            Play::Primary(primary) | Play::Opening(primary, _) => primary.close(context),
            Play::Secondary(secondary) => {
                secondary.close(context);
                self.stop_giving(context);
            }
            Play::TakingOver(secondary, takeover) => {
                secondary.close(context);
                takeover.close(context);
            }
            Play::Resuming { fencer, .. } => fencer.close(context),
            Play::Aborting(_, fencer, _) => fencer.close(context),
            Play::Fenced(rejoin) => rejoin.close(context),
            Play::Leaving(_) | Play::Outside(_) | Play::Stopped => {}
        }
    }
}
