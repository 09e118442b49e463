//! What a takeover records at its end, and what it, or a probe for one, tells: what was found, and what may be missing.

use midspan_format::control::LossReason;
use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::superblock::Role;
use midspan_format::superblock::{FenceSet, PairState};
use midspan_format::time::Time;

use super::Takeover;
use crate::role::secondary::Secondary;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, StartReport};

impl Takeover {
    /// Whether the lane may have been read farther than both of a set go: an earlier takeover may, and who reads behind a fence of its own.
    pub fn stays_bound(&self) -> bool {
        self.stays_bound
    }

    /// How far the disks are, in the journal and in time; hosts were answered beyond it at other places where the lanes were left.
    pub(super) fn there<B: Buffer>(&self, secondary: &Secondary<B>, store: &StateStore) -> (Position, Time) {
        let (state, point) = (store.get(), secondary.persisted());
        let mut time = point.time;
        if self.why == Some(LossReason::LeftTheLanes) {
            time = if state.left { time.min(state.left_cut) } else { time };
            time = if state.told_left > Time::ZERO { time.min(state.told_left) } else { time };
        }
        (point.tip.position, time)
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

    /// This site is primary from now on; its disks hold everything before `landed`.
    pub(super) fn record<S: Buffers>(
        &self,
        context: &mut Context<'_, S>,
        landed: (Position, Time),
        store: &mut StateStore,
    ) -> u64 {
        let (facts, handed) = (self.facts, self.asked.handed.is_some());
        let former_landed = self.former_landed;
        let (unfenced, replaces) = (self.unfenced, self.replaces);
        let lane = self.config.relay;
        store.change(context, |state| {
            state.role = Role::Primary;
            state.epoch = facts.epoch;
            state.takeover_epoch = facts.epoch;
            if unfenced {
                // Which areas the lane consists of is as recorded.
                (state.takeover_replaces, state.by_word) = (replaces, true);
            } else {
                (state.takeover_replaces, state.by_word) = (Epoch::NONE, false);
                facts.record(state);
                if !handed {
                    // The other site has not joined: this one goes by the lane that it has read, alone (design §1).
                    let version = state.set.version + 1;
                    state.count_set(FenceSet { epoch: facts.epoch, version, ..FenceSet::of(&[lane], 1) });
                }
            }
            state.forget_asked();
            // The mark may be in this lane only, as long as the primary has not met both: no start goes by the other one alone.
            let by_mark = handed && !unfenced && state.set.second().is_some() && !state.set.is_striped();
            state.bound = if by_mark { lane } else { NodeId::NONE };
            (state.handover, state.round, state.whole_at) = (false, 0, Position(0));
            (state.landed, state.landed_time) = landed;
            // What the other site has is not known any more.
            (state.told_left, state.acquired) = (Time::ZERO, Position(0));
            state.clock = state.clock.max(facts.clock);
            if handed {
                (state.pair, state.left, state.answered) = (PairState::Paired, false, false);
                return;
            }
            state.pair = PairState::TakenOver;
            (state.former_landed, state.former_landed_time) = (former_landed, facts.landed.1);
            // From now on hosts are answered outside the lanes.
            (state.left, state.answered) = (true, true);
            state.left_cut = state.cut;
        })
    }
}
