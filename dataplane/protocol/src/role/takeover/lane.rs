//! What a takeover makes of the lane as it was found: whether it was handed over, and what may be missing.

use midspan_format::control::LossReason;
use midspan_format::frame::MAY_BE_ALONE;
use midspan_format::ids::AreaId;
use midspan_format::message::Fenced;

use super::{Asked, Step, Takeover};
use crate::role::facts::LaneFacts;
use crate::role::secondary::Secondary;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::Buffer;

impl Takeover {
    /// Whether it waits for its lane to answer.
    pub fn waits_for_lane(&self) -> bool {
        matches!(self.step, Step::Fencing) && !self.fencer.is_up()
    }

    /// What was asked for.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Whether the lane holds nothing but what the primary that hands over had put there, and this site has all of it.
    pub(super) fn is_handed<B: Buffer>(&self, secondary: &Secondary<B>) -> bool {
        let ring = &self.facts.ring;
        // The lane may have been fenced for it already, by a process of this site that did not get to record it.
        let untaken =
            Some(self.facts.epoch) == self.asked.handed || self.facts.epoch.node == self.config.node;
        untaken
            && ring.last.map(|last| last.epoch) == self.asked.handed
            && ring.journaled == secondary.persisted().tip.position
    }

    /// The group lets its primary go on where nobody reaches it, by this site's config or by what the primary said itself: only
    /// its own word says that it has not.
    pub(super) fn may_be_alone(&self) -> Option<LossReason> {
        let said = self.facts.ring.last.is_some_and(|last| last.flags & MAY_BE_ALONE != 0);
        ((self.config.alone || said) && self.asked.handed.is_none()).then_some(LossReason::MayBeAlone)
    }

    /// What the lane's facts permit to say.
    pub(super) fn look(&mut self, fenced: &Fenced, store: &StateStore) {
        let recorded = store.get().lanes().first().map_or(AreaId::NONE, |lane| lane.ring);
        self.why = match LaneFacts::new(fenced, self.config.lane) {
            None => Some(LossReason::LaneUnreachable),
            Some(facts) => {
                self.facts = facts;
                let ring = facts.ring;
                let foreign = recorded != AreaId::NONE && recorded != ring.area;
                // Of a lane that no primary ever held, or that lost what this site has, nobody knows what was in it.
                let unheld = !fenced.found.is_held();
                let damaged = !ring.open || ring.journaled < self.acquired_before;
                if foreign || unheld {
                    rare!(TakeoverLaneUnknown);
                    Some(LossReason::LaneUnreachable)
                } else if damaged {
                    rare!(TakeoverLaneDamaged);
                    Some(LossReason::JournalDamaged { position: ring.journaled })
                } else {
                    None
                }
            }
        };
    }
}
