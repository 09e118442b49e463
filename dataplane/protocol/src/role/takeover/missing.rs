//! What may be missing where a takeover cannot say that nothing is: told with the refusal, so that an operator knows what accepting
//! a loss would mean.

use midspan_format::control::LossReason;
use midspan_format::time::Time;

use super::{Outcome, Takeover};
use crate::role::secondary::Secondary;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::Buffer;
use crate::vocab::effect::{Missing, StartRefusal};

impl Takeover {
    /// It is refused for this reason.
    pub(super) fn may_lose<B: Buffer>(
        &self,
        why: LossReason,
        secondary: &Secondary<B>,
        store: &StateStore,
    ) -> Outcome {
        rare!(TakeoverMayLose);
        let missing = Some(self.missing(why, secondary, store));
        Outcome::Refused(StartRefusal::MayLose { why, missing })
    }

    /// What may be missing for this reason, as far as this site knows.
    pub(super) fn missing<B: Buffer>(
        &self,
        why: LossReason,
        secondary: &Secondary<B>,
        store: &StateStore,
    ) -> Missing {
        let (state, point, ring) = (store.get(), secondary.persisted(), &self.facts.ring);
        let here = secondary.acquired().position.max(point.tip.position);
        let known = ring.journaled.max(secondary.heard()).max(here);
        let in_lane = ring.last.map_or(point.time, |last| last.last_time.max(point.time));
        let (kept_to, served) = match why {
            LossReason::LaneUnreachable | LossReason::DiskFailed | LossReason::NoCut => (point.time, here),
            LossReason::JournalDamaged { position } => (point.time, position.max(here).min(known)),
            // What is in the lane can be read; what else was answered is nowhere that this site could look.
            LossReason::LeftTheLanes if state.left => (state.left_cut, known),
            LossReason::LeftTheLanes if state.told_left > Time::ZERO => (state.told_left, known),
            LossReason::LeftTheLanes | LossReason::MayBeAlone | LossReason::LocalLane => (in_lane, known),
        };
        Missing { kept_to: kept_to.0, bytes: known.0.saturating_sub(served.0) }
    }
}
