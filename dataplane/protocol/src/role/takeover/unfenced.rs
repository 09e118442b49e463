//! A takeover whose lane cannot be reached at all, where an operator accepts a loss: it goes on with what is acquired, and meets
//! the lane later (see [`crate::role::unfenced`]).

use midspan_format::control::LossReason;
use midspan_format::ids::Epoch;

use super::{Outcome, Step, Takeover};
use crate::role::secondary::Secondary;
use crate::stage::state_store::StateStore;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note, StartRefusal, StartReport};

impl Takeover {
    /// Whether the lane's silence does not end it.
    pub(super) fn may_go_unfenced(&self) -> bool {
        self.asked.accept_loss && !self.asked.dry_run && self.asked.handed.is_none()
    }

    /// Why this site's copy is of no use, with or without the lane.
    fn useless<B: Buffer>(
        &self,
        secondary: &Secondary<B>,
        store: &StateStore,
        tracker: &Tracker,
    ) -> Option<Outcome> {
        if store.get().round_in_place {
            return Some(Outcome::Refused(StartRefusal::NoCut));
        }
        // Damage in the lane is no matter where the lane is not read.
        let readable = matches!(secondary.obstacle(), Some(Note::Damaged { .. }) | None);
        let failed = !readable || store.failed() || tracker.failed();
        failed.then(|| self.may_lose(LossReason::DiskFailed, secondary, store))
    }

    /// Goes on without the lane. What would make this site's copy useless still ends it.
    pub(super) fn go_unfenced<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &mut Secondary<S::Buf>,
        store: &mut StateStore,
        tracker: &mut Tracker,
    ) -> Outcome {
        if let Some(refused) = self.useless(secondary, store, tracker) {
            return refused;
        }
        self.fencer.close(context);
        rare!(TakeoverUnfenced);
        secondary.stop_fetching(context);
        (self.unfenced, self.reads_no_more) = (true, true);
        self.why = Some(LossReason::LaneUnreachable);
        let replaced = store.get().epoch.max(secondary.acquired().epoch);
        self.facts.epoch = Epoch { number: replaced.number + 1, node: self.config.node };
        // What is known to have been there, and cannot be read.
        self.facts.ring.journaled = secondary.heard().max(secondary.acquired().position);
        // A site that has heard of no epoch replaces whichever is the other one's: that it replaces one is what tells it from others.
        let heard = replaced != Epoch::NONE;
        self.replaces = if heard { replaced } else { Epoch { number: 0, node: self.config.other_site() } };
        self.step = Step::Applying;
        self.advance(context, secondary, store, tracker)
    }

    /// Says what a takeover would find that goes on without the lane. Nothing is changed.
    pub(super) fn probe_unfenced<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &Secondary<S::Buf>,
        store: &StateStore,
        tracker: &Tracker,
    ) -> Outcome {
        if let Some(refused) = self.useless(secondary, store, tracker) {
            return refused;
        }
        self.fencer.close(context);
        let why = LossReason::LaneUnreachable;
        self.why = Some(why);
        self.facts.epoch = store.get().epoch.max(secondary.acquired().epoch);
        let missing = self.missing(why, secondary, store);
        let acquired = secondary.acquired().position.max(self.from);
        self.facts.ring.journaled = acquired;
        let report = self.report(context.now.mono, 0, (acquired, secondary.persisted().time));
        Outcome::Probed(StartReport { kept_to: missing.kept_to, missing_bytes: missing.bytes, ..report })
    }
}
