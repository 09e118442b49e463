//! Telling the other site that the lanes are left, so that no takeover says that nothing is lost (I1).

use midspan_format::ids::Epoch;
use midspan_format::message::{Leaving, Message};
use midspan_format::superblock::{GroupState, PairState};

use super::{Outside, Step};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

/// Pause before the other site is told again.
const ASK_AGAIN_NS: u64 = 500_000_000;

/// Whether the other site knows that the lanes are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    No,
    /// It was told in this epoch, at this time, and has not answered.
    Asked(Epoch, u64),
    Yes,
}

impl<B: Buffer> Outside<B> {
    /// Says to the other site that the lanes are left, when everything that must be true before is durable here.
    pub(super) fn tell<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &StateStore) {
        let change = match self.step {
            Step::Leaving { change } => change,
            // Served by a word: it is told all the same, until the lane says so.
            Step::Serving => 0,
            Step::Entering { .. }
            | Step::Permitted { .. }
            | Step::Doubting { .. }
            | Step::Draining
            | Step::Flushing { .. }
            | Step::Recording { .. }
            | Step::Stuck
            | Step::Failed
            | Step::Closed => return,
        };
        let state = store.get();
        let left = matches!(state.pair, PairState::Suspended | PairState::Degraded);
        let ready = store.is_saved(change) && self.marks_are_durable() && self.site_link.is_up();
        if !left || !ready || self.told != Told::No || self.is_marked() {
            return;
        }
        // Without the journal its disks hold less than the lane may: no mark of an epoch that it had says how it stands now. Whichever it
        // takes in the lane next is a later one.
        let epoch = state.epoch.max(state.takeover_epoch);
        let leaving = Leaving { group: self.config.group, epoch, cut: state.left_cut };
        self.told = Told::Asked(epoch, context.now.mono);
        self.site_link.say(context, Message::Leaving(leaving));
    }

    /// One that could not record it then, because a takeover was looked into, does not say so.
    pub(super) fn told_again_at(&self) -> u64 {
        match (self.told, self.step) {
            (Told::Asked(_, at), Step::Leaving { .. } | Step::Serving) => at + ASK_AGAIN_NS,
            (Told::No | Told::Asked(..) | Told::Yes, _) => u64::MAX,
        }
    }

    pub(super) fn ask_again(&mut self) {
        if let Told::Asked(..) = self.told {
            self.told = Told::No;
        }
    }

    /// Whether no takeover can say that nothing is lost: the lane says that it was left, the other site has recorded it, or its cut, or the
    /// group permits none without this site's word.
    pub(super) fn is_known(&self, state: &GroupState) -> bool {
        let stands = self.comeback.ready(state).is_some();
        rare!(OutsideStoodAt if stands && !self.is_marked() && self.told != Told::Yes);
        self.is_marked() || self.told == Told::Yes || self.config.alone || self.word || stands
    }

    /// Whether the other site can be asked which lanes count, where there are several: answers in the lanes wait for that.
    pub(super) fn can_settle(&self) -> bool {
        self.config.lanes.len() < 2 || self.site_link.is_up()
    }

    /// Whether the lane says that it was left, and no takeover can read another one.
    pub(super) fn is_marked(&self) -> bool {
        self.single && self.comeback.has_left()
    }
}
