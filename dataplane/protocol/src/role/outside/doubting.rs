//! A site that has taken over hears of a newer epoch of the other one: whether that has replaced it, the lane says (I5).
//!
//! A takeover of a set of two lanes fences the one that it reads. A restart of the former primary may fence the other one, by an epoch of a
//! higher number, which replaces nobody: it never gets the lane that was taken. Where one lane counts, whoever takes over has fenced
//! that one; so it is asked for an epoch that is newer still, and by that the other site finds that it was replaced.

use midspan_format::ids::Epoch;
use midspan_format::superblock::{GroupState, PairState};

use super::{Outcome, Outside, Step};
use crate::role::unfenced::is_unfenced;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

impl<B: Buffer> Outside<B> {
    /// Whether the lane that this site goes by knows better than the other site whether that has replaced this one.
    pub(super) fn can_doubt(&self, state: &GroupState) -> bool {
        let taken = state.pair == PairState::TakenOver && !is_unfenced(state);
        self.single && taken && self.config.lanes.len() > 1
    }

    /// The lane is asked; hosts wait meanwhile.
    pub(super) fn doubt<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        told: Epoch,
        store: &mut StateStore,
    ) -> Outcome {
        match self.step {
            Step::Serving | Step::Draining | Step::Flushing { .. } => {
                rare!(OutsideDoubts);
                self.step = Step::Doubting { told };
            }
            Step::Doubting { told: former } => self.step = Step::Doubting { told: told.max(former) },
            Step::Entering { .. } | Step::Stuck => {}
            Step::Leaving { .. }
            | Step::Permitted { .. }
            | Step::Recording { .. }
            | Step::Failed
            | Step::Closed => return Outcome::Running,
        }
        self.comeback.doubt(context, told);
        self.advance(context, store)
    }
}
