//! A planned change of roles, at both ends (design §7): the primary drains and says where it ends, the other site goes on there.
//!
//! ```text
//!  primary:    hosts wait ─▶ all landed, flushed, and applied at the secondary ─▶ recorded ─▶ Handover mark ─▶ released ─▶ secondary
//!  secondary:  its cut is at the mark ─▶ fence, if nothing else is there ─▶ recorded ─▶ primary
//! ```
//! Nothing is lost wherever it stops: until the other site has fenced, a restart of the former primary goes on as primary;
//! once it has, the former one follows from the point that it had recorded.

use alloc::boxed::Box;

use midspan_format::superblock::PairState;

use super::following::narrows;
use super::{Group, Play};
use crate::role::primary::Repair;
use crate::role::takeover::{Asked, Takeover};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, HandoverNote, HandoverRefusal, Note};
use crate::vocab::tip::Tip;

/// How long hosts wait at most until everything is where it belongs; then they are served on.
const DRAIN_NS: u64 = 20_000_000_000;
/// How long the lane's answer to the release is waited for: without it the other site waits for the lease.
const RELEASE_NS: u64 = 1_000_000_000;

/// Where a handover stands at the primary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handover {
    since: u64,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Hosts wait; everything goes where it belongs.
    Draining,
    /// The point behind the mark is being recorded.
    Recording { change: u64 },
    /// The mark is on its way into the lane.
    Marking,
    /// The lane is asked to forget our lease.
    Releasing { until: u64 },
    /// It is done, and was said.
    Given,
}

impl<B: Buffer> Group<B> {
    /// An operator wants the other site to be primary.
    pub(super) fn begin_handover<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let refusal = match &self.play {
            Play::Primary(_) if self.handover.is_some() => Some(HandoverRefusal::Running),
            Play::Primary(primary) if primary.repair().is_some() => Some(HandoverRefusal::NotPaired),
            Play::Primary(_) if self.store.get().pair != PairState::Paired => {
                Some(HandoverRefusal::NotPaired)
            }
            Play::Primary(primary) if primary.disk_failed() || self.store.failed() || self.stopping => {
                Some(HandoverRefusal::Failed)
            }
            Play::Primary(_) => None,
            Play::Outside(_) => Some(HandoverRefusal::NotPaired),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => Some(HandoverRefusal::NotPrimary),
        };
        if let Some(refusal) = refusal {
            return context.note(Note::Handover(HandoverNote::Refused(refusal)));
        }
        self.drop_verify(context);
        self.handover = Some(Handover { since: context.now.mono, step: Step::Draining });
        context.note(Note::Handover(HandoverNote::Draining));
        self.go_on_handing_over(context);
    }

    /// An operator wants this site to stay primary after all: hosts that wait are served on.
    pub(super) fn cancel_handover<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        match self.handover.map(|handover| handover.step) {
            Some(Step::Draining) => self.give_up_handover(context, HandoverRefusal::Cancelled),
            // What is recorded may be in the lane: from there on the other site goes on by itself.
            Some(Step::Recording { .. } | Step::Marking | Step::Releasing { .. } | Step::Given) | None => {
                context.note(Note::Handover(HandoverNote::NotCancelled));
            }
        }
    }

    /// Goes on to the next step when the present one is complete.
    pub(super) fn go_on_handing_over<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let now = context.now.mono;
        let Some(handover) = self.handover else { return };
        let Play::Primary(primary) = &mut self.play else { return };
        let failed = primary.disk_failed() || primary.repair().is_some_and(|_: &Repair<B>| true);
        match handover.step {
            Step::Draining if failed => {
                rare!(HandoverFails);
                self.give_up_handover(context, HandoverRefusal::Failed);
            }
            // It has given up what it held, and says so meanwhile: it could never go on.
            Step::Draining if primary.lacks_all() => {
                rare!(HandoverToNoCut);
                self.give_up_handover(context, HandoverRefusal::NotPaired);
            }
            Step::Draining if now >= handover.since + DRAIN_NS => {
                rare!(HandoverSecondaryAway);
                self.give_up_handover(context, HandoverRefusal::SecondaryAway);
            }
            Step::Draining => {
                // Of another lane that was asked for nobody would know whether the other site goes by it; nor whether it shares data with one.
                let state = self.store.get();
                let widens = state.asked.second().is_some() && !state.asked.is_striped();
                let is_unknown = !state.asked.is_none() && !narrows(state) && !widens;
                if !primary.is_drained() || is_unknown {
                    return;
                }
                let Some(header) = primary.seal_handover(context) else { return };
                let change = self.store.change(context, |state| {
                    (state.handover, state.handover_epoch) = (true, header.epoch);
                    (state.cut, state.clock) = (header.last_time, state.clock.max(header.last_time));
                    if let Some(lane) = state.lanes_mut().first_mut() {
                        lane.point = Tip::after(&header).to_point();
                    }
                });
                self.set_step(Step::Recording { change });
            }
            Step::Recording { .. } if self.store.failed() => {
                primary.drop_handover();
                self.give_up_handover(context, HandoverRefusal::Failed);
            }
            Step::Recording { change } if self.store.is_saved(change) => {
                primary.send_handover(context);
                self.set_step(Step::Marking);
            }
            Step::Marking => {
                if !primary.is_handed_over(context) {
                    return;
                }
                primary.release(context);
                self.set_step(Step::Releasing { until: now + RELEASE_NS });
            }
            Step::Releasing { until } if primary.is_released() || now >= until => {
                self.say_given(context, handover);
                self.leave(context);
            }
            Step::Recording { .. } | Step::Releasing { .. } | Step::Given => {}
        }
    }

    fn say_given<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, handover: Handover) {
        self.set_step(Step::Given);
        let took_ns = context.now.mono.saturating_sub(handover.since);
        context.note(Note::Handover(HandoverNote::Given { took_ns }));
    }

    /// This site is no primary any more: whoever waits for a handover hears how it ended. The other site may have been asked
    /// to take over at the same time, or have found the mark before the lane answered.
    pub(super) fn end_handover<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) -> bool {
        let Some(handover) = self.handover else { return false };
        match handover.step {
            Step::Given => {}
            Step::Releasing { .. } => self.say_given(context, handover),
            Step::Draining | Step::Recording { .. } | Step::Marking => {
                context.note(Note::Handover(HandoverNote::Refused(HandoverRefusal::Replaced)));
            }
        }
        self.handover = None;
        true
    }

    fn set_step(&mut self, step: Step) {
        if let Some(handover) = self.handover.as_mut() {
            handover.step = step;
        }
    }

    fn give_up_handover<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        refusal: HandoverRefusal,
    ) {
        self.handover = None;
        context.note(Note::Handover(HandoverNote::Refused(refusal)));
    }

    /// The primary has handed over to this site, whose cut is at the mark: it goes on, if the lane holds nothing else.
    pub(super) fn look_for_handover<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let state = *self.store.get();
        if !state.handover || self.stopping || !self.store.is_idle() || context.now.mono < self.handover_at {
            return;
        }
        let Play::Secondary(secondary) = &self.play else { return };
        let there = secondary.is_recovered() && secondary.persisted().tip == secondary.acquired();
        if !there {
            return;
        }
        self.stop_giving(context);
        let (Play::Secondary(secondary), Some(tracker)) = (&self.play, self.tracker.as_ref()) else { return };
        let asked = Asked { accept_loss: false, dry_run: false, handed: Some(state.handover_epoch) };
        let takeover =
            Takeover::new(self.config.clone(), context.now.mono, asked, &self.store, secondary, tracker);
        if let Play::Secondary(secondary) = core::mem::replace(&mut self.play, Play::Stopped) {
            self.play = Play::TakingOver(secondary, Box::new(takeover));
            self.on_tick(context);
        }
    }
}
