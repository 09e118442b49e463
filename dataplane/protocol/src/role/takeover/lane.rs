//! What a takeover makes of the lane as it was found: whether it was handed over, and what may be missing.

use midspan_format::control::LossReason;
use midspan_format::frame::MAY_BE_ALONE;
use midspan_format::geometry::Position;
use midspan_format::ids::AreaId;
use midspan_format::message::Fenced;

use super::{Asked, DAMAGE_NS, Step, Takeover, UNREACHABLE_NS};
use crate::role::facts::LaneFacts;
use crate::role::secondary::Secondary;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note};

impl Takeover {
    /// Whether it waits for its lane to answer.
    pub fn waits_for_lane(&self) -> bool {
        matches!(self.step, Step::Fencing) && !self.fencer.is_up()
    }

    /// Whether nothing that it has read decides yet: it looks at what is recorded when a lane answers.
    pub fn can_hear(&self) -> bool {
        let has_looked = self.fencer.has_looked() || self.beside.is_fencing();
        matches!(self.step, Step::Fencing) && !has_looked && !self.is_planned()
    }

    /// Takes a newer epoch in the lane than any that this site knows: it may have heard of one since it asked. From when
    /// the lane is asked on, its node may give this site more than both lanes of a set hold.
    pub(super) fn fence_lane<S: Buffers>(&mut self, context: &mut Context<'_, S>, store: &StateStore) {
        self.fencer.reach_beyond(store.get().epoch);
        self.fencer.fence(context);
        self.stays_bound |= self.fencer.is_fencing();
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

    /// Whether damage may still be that of the way.
    pub(super) fn hopes(&mut self, now: u64) -> bool {
        now < *self.damaged_since.get_or_insert(now) + self.patience()
    }

    /// How long it is hoped: a lane that is away is waited for like any other.
    pub(super) fn patience(&self) -> u64 {
        if self.waits_beside && !self.asked.accept_loss { UNREACHABLE_NS } else { DAMAGE_NS }
    }

    /// Why the journal's rest is not read.
    pub(super) fn unread(&self, position: Position) -> LossReason {
        if self.waits_beside { LossReason::LaneUnreachable } else { LossReason::JournalDamaged { position } }
    }

    /// What stands in the secondary's way: damage must last, a failed disk is final.
    pub(super) fn judge<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &mut Secondary<S::Buf>,
    ) -> Option<LossReason> {
        let now = context.now.mono;
        self.waits_beside = secondary.waits_beside();
        match secondary.obstacle() {
            None => self.damaged_since = None,
            Some(Note::Damaged { position, .. }) => {
                if self.hopes(now) {
                    return None;
                }
                let why = self.unread(position);
                self.why = Some(why);
                if !self.asked.accept_loss {
                    return Some(why);
                }
                self.reads_no_more = true;
                secondary.stop_fetching(context);
            }
            Some(_) => return Some(LossReason::DiskFailed),
        }
        None
    }

    /// Whether the secondary's volumes hold the cut that is to be served, and its state says so.
    pub(super) fn is_applied<B: Buffer>(&self, secondary: &mut Secondary<B>) -> bool {
        if secondary.acquired().position >= self.facts.ring.journaled || self.reads_no_more {
            secondary.give_up_round();
        }
        let persisted = secondary.persisted().tip.position;
        let reached = match self.why {
            None => persisted == self.facts.ring.journaled,
            // With loss accepted: whatever could be acquired.
            Some(_) => {
                let at_end =
                    persisted >= self.facts.ring.journaled || self.damaged_since.is_some() || self.unfenced;
                at_end && persisted == secondary.acquired().position
            }
        };
        secondary.is_recovered() && secondary.is_idle() && reached
    }
}
