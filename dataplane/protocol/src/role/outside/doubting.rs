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

/// How long hosts wait for the answer of the lane. One that is silent can have been taken from this site no more than before it was told, and
/// where one lane counts nothing else replaces it.
const DOUBT_NS: u64 = 2_000_000_000;

impl<B: Buffer> Outside<B> {
    /// Whether the lane that this site goes by knows better than the other site whether that has replaced this one.
    pub(super) fn can_doubt(&self, state: &GroupState) -> bool {
        let taken = state.pair == PairState::TakenOver && !is_unfenced(state);
        // One that has taken over without a fence goes by one lane since it has met that.
        let single = state.set.second().is_none() && state.asked.is_none();
        single && taken && self.config.lanes.len() > 1
    }

    /// The lane is asked; hosts wait meanwhile.
    pub(super) fn doubt<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        told: Epoch,
        store: &mut StateStore,
    ) -> Outcome {
        match self.step {
            Step::Serving | Step::Draining | Step::Flushing { .. } | Step::Doubting { .. } => {
                if told <= self.doubted {
                    return Outcome::Running;
                }
                rare!(OutsideDoubts);
                self.doubted = told;
                self.step = Step::Doubting { told, until: context.now.mono + DOUBT_NS };
            }
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

    /// Hosts do not wait for a lane that is silent; it is asked on.
    pub(super) fn doubt_no_longer(&mut self, now: u64) {
        if now >= self.doubts_until() {
            rare!(OutsideDoubtsOn);
            self.step = Step::Serving;
        }
    }

    /// Until when hosts wait.
    pub(super) fn doubts_until(&self) -> u64 {
        if let Step::Doubting { until, .. } = self.step { until } else { u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use midspan_format::ids::NodeId;
    use midspan_format::superblock::{FenceSet, Role};

    use super::*;
    use crate::role::site::SiteConfig;
    use crate::role::site::fixture::config;
    use crate::vocab::buffer::fixture::{Heap, Plain};
    use crate::vocab::effect::{Effects, Now};

    #[test]
    fn hosts_wait_for_the_lane_that_is_asked_whether_this_site_was_replaced_but_not_for_ever() {
        let config = SiteConfig { lanes: Vec::from([NodeId(2), NodeId(4)]), ..config() };
        let state = GroupState {
            role: Role::Primary,
            pair: PairState::TakenOver,
            epoch: Epoch { number: 7, node: NodeId(3) },
            set: FenceSet { version: 1, ..FenceSet::of(&[NodeId(2)], 1) },
            ..GroupState::default()
        };
        let mut store = StateStore::new(state, 0);
        let mut outside: Outside<Plain> = Outside::new(config, None, None, &store);
        let (mut buffers, mut effects) = (Heap, Effects::with_capacity(64));
        let mut at = |mono, outside: &mut Outside<Plain>, told: Option<u64>| {
            effects.drain().for_each(drop);
            let now = Now { mono, wall: 1 };
            let mut context = Context { now, buffers: &mut buffers, effects: &mut effects };
            if let Some(number) = told {
                assert!(outside.can_doubt(store.get()));
                outside.doubt(&mut context, Epoch { number, node: NodeId(1) }, &mut store);
            }
            outside.on_tick(&mut context, &mut store);
            outside.has_room()
        };
        assert!(at(1_000, &mut outside, None));
        assert!(!at(2_000, &mut outside, Some(8)), "the lane is asked");
        assert!(!at(DOUBT_NS, &mut outside, Some(8)));
        assert!(at(2_000 + DOUBT_NS, &mut outside, None), "it is silent");
        assert!(at(3_000 + DOUBT_NS, &mut outside, Some(8)), "hosts have waited for that epoch");
        assert!(!at(4_000 + DOUBT_NS, &mut outside, Some(9)), "another one");
    }
}
