//! What a takeover, or a probe for one, tells: what was found, and what may be missing.

use midspan_format::control::LossReason;
use midspan_format::geometry::Position;
use midspan_format::time::Time;

use super::Takeover;
use crate::role::secondary::Secondary;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::Buffer;
use crate::vocab::effect::StartReport;

impl Takeover {
    /// How far the disks are, in the journal and in time; hosts were answered beyond it at other places where the lanes were left.
    pub(super) fn there<B: Buffer>(&self, secondary: &Secondary<B>, store: &StateStore) -> (Position, Time) {
        let (state, point) = (store.get(), secondary.persisted());
        let left = state.left && self.why == Some(LossReason::LeftTheLanes);
        (point.tip.position, if left { state.left_cut.min(point.time) } else { point.time })
    }

    pub(super) fn report(&self, now: u64, marked_regions: u64, there: (Position, Time)) -> StartReport {
        let ring = &self.facts.ring;
        let sequence = ring.last.map_or(0, |last| last.sequence + 1);
        StartReport {
            epoch: self.facts.epoch,
            frames: sequence.saturating_sub(self.frames_before.max(1)),
            bytes: ring.journaled.0.saturating_sub(self.from.0),
            last_time: ring.last.map_or(0, |last| last.last_time.0),
            marked_regions,
            lost_nothing: self.why.is_none(),
            why: self.why,
            kept_to: there.1.0,
            missing_bytes: if self.asked.dry_run && self.why.is_none() {
                0
            } else {
                ring.journaled.0.saturating_sub(there.0.0)
            },
            took_ns: now.saturating_sub(self.began),
        }
    }
}
