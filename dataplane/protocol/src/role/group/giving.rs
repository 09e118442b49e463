//! A takeover that has fenced the lane and did not end leaves two sites of which none serves: unless it goes on, what it took is
//! given back, so that a former primary that lives may go on (design §5).

use alloc::boxed::Box;

use midspan_format::ids::Epoch;
use midspan_format::message::FenceIntent;

use super::{Group, Play};
use crate::lane::fencer::FencerEvent;
use crate::role::secondary::Secondary;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, Note, StartNote, StartRefusal};

/// Pause before it is looked at again: an operator may go on meanwhile, a relay may forget.
const AGAIN_NS: u64 = 2_000_000_000;

impl<B: Buffer> Group<B> {
    /// Whether this site is a mere secondary, and the relay says that it is primary.
    pub(super) fn is_left_over(&self, secondary: &Secondary<B>) -> bool {
        let fenced =
            secondary.is_named_primary() || secondary.named_beside().is_some() || self.setting.owes.is_some();
        fenced && !self.store.get().handover && !self.stopping
    }

    /// Asks the relay what it knows, when it is time.
    pub(super) fn give_back<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Play::Secondary(secondary) = &self.play else { return };
        if !self.is_left_over(secondary) {
            return self.stop_giving(context);
        }
        if let Some(giver) = self.giver.as_mut() {
            return giver.on_tick(context);
        }
        if self.give_at == 0 {
            self.give_at = context.now.mono + AGAIN_NS;
        } else if context.now.mono >= self.give_at {
            // One lane after the other: each goes on to name this site when it was given back.
            self.setting.gives_beside = !self.setting.gives_beside;
            if let Some(beside) = secondary.named_beside().filter(|_| self.setting.gives_beside) {
                self.setting.owes.get_or_insert(beside);
            }
            // First the lane that a takeover may have fenced before it turned to another one.
            let lane = self.setting.owes.unwrap_or(self.config.relay);
            // An epoch that was heard of in another lane this one has not forgotten.
            let several = self.config.lanes.len() > 1;
            let known = if several { Epoch::NONE } else { self.store.get().epoch };
            let mut giver = Box::new(self.config.at(lane).fencer(FenceIntent::Probe, known));
            giver.on_tick(context);
            self.giver = Some(giver);
        }
    }

    /// When [`Group::give_back`] has something to do next.
    pub(super) fn gives_at(&self, secondary: &Secondary<B>, soon: u64) -> u64 {
        match &self.giver {
            Some(giver) => giver.deadline(),
            None if self.is_left_over(secondary) => self.give_at.max(soon),
            None => u64::MAX,
        }
    }

    pub(super) fn on_giver<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
    ) {
        let Some(giver) = self.giver.as_mut() else { return };
        match giver.on_link(context, event) {
            FencerEvent::Nothing => return,
            FencerEvent::Probed(fenced) if fenced.epoch.node == self.config.node && !fenced.released => {
                rare!(GivesBack);
                return giver.release(context);
            }
            FencerEvent::Released => {
                self.setting.owes = None;
                context.note(Note::Start(StartNote::Aborted));
            }
            FencerEvent::Probed(_) => self.setting.owes = None,
            FencerEvent::Done(_)
            | FencerEvent::Foreign(_)
            | FencerEvent::Forgotten(_)
            | FencerEvent::Refused(_) => {}
        }
        self.stop_giving(context);
        self.give_at = context.now.mono + AGAIN_NS;
    }

    /// An operator's abort goes on; a relay that is silent for too long ends it, and the site is a secondary again. What was
    /// fenced is given back, then, as soon as the relay says that this site is primary.
    pub(super) fn go_on_aborting<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Play::Aborting(_, fencer, until) = &mut self.play else { return };
        if context.now.mono < *until {
            fencer.on_tick(context);
        } else if !fencer.has_ended() {
            rare!(AbortUnanswered);
            let refusal = StartRefusal::LaneUnreachable { node: self.config.relay, missing: None };
            context.note(Note::Start(StartNote::Refused(refusal)));
            fencer.close(context);
        }
        self.on_aborted(context, FencerEvent::Nothing);
    }

    /// Another role begins, or nothing is left to be given back.
    pub(super) fn stop_giving<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.give_at = 0;
        if let Some(mut giver) = self.giver.take() {
            giver.close(context);
        }
    }
}
