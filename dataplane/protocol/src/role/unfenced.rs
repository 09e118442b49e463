//! A takeover that could not fence the lane, by an operator's word: what its site does when it meets the lane again.
//!
//! Two histories may have gone on from the point where the volumes stood. The lane tells: while its epoch is the one that
//! was to be replaced, and its journal ends at that point, the other site has answered nothing that is not here. In any other
//! case both sites hold what the other has not, and an operator decides.

use midspan_format::ids::{Epoch, NodeId};
use midspan_format::message::{FenceIntent, Fenced};
use midspan_format::superblock::{FenceSet, GroupState, Role};

use crate::lane::fencer::Fencer;
use crate::role::facts::{LaneFacts, recorded_behind};
use crate::role::site::SiteConfig;

/// What the lane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// It cannot be read now.
    Unclear,
    /// Nothing was answered in it that is not here: its epoch may be replaced.
    Alone,
    /// It was replaced by this site, and holds what is not here: that epoch is given back.
    Holding,
    /// The other site has gone on.
    Both,
}

/// Whether a primary in this state has taken over without a fence, and has not met the lane since.
pub fn is_unfenced(state: &GroupState) -> bool {
    state.role == Role::Primary && state.by_word && state.takeover_replaces != Epoch::NONE
}

/// The lane is taken: nothing is left of a takeover without a fence, and its site goes by that lane alone, as after one that has fenced it. What
/// the epoch that it replaces may still have elsewhere is left behind.
pub fn settle(state: &mut GroupState, config: &SiteConfig, epoch: Epoch) {
    if is_unfenced(state) && config.lanes.len() > 1 {
        rare!(UnfencedSettles);
        let version = state.set.version + 1;
        state.count_set(FenceSet { epoch, version, ..FenceSet::of(&[config.relay], 1) });
    }
    state.takeover_replaces = Epoch::NONE;
}

/// A fencer for a primary outside the lanes: it replaces a foreign epoch only where an operator has said so.
pub fn fencer(config: &SiteConfig, state: &GroupState) -> Fencer {
    if is_unfenced(state) {
        config.fencer(FenceIntent::Takeover, known(state))
    } else if config.lanes.len() > 1 {
        // Who has left two says so in one of them, in an epoch that the other one has not; nor need a lane have it that was to count alone.
        config.left_fencer(recorded_behind(state, config.node)).beyond(state.epoch)
    } else {
        config.fencer(FenceIntent::Restart, state.epoch)
    }
}

/// The newest epoch that the lane may be asked to know. A site that had heard of none has recorded whose it replaces, and no lane
/// ever held that one: one that was never held has not forgotten it.
fn known(state: &GroupState) -> Epoch {
    let replaces = state.takeover_replaces;
    if replaces.number == 0 { Epoch::NONE } else { replaces }
}

/// What the lane shows to a site that took over without a fence.
pub fn meet(fenced: &Fenced, config: &SiteConfig, state: &GroupState) -> Meeting {
    let Some(facts) = LaneFacts::new(fenced, config.lane).filter(|facts| facts.ring.open) else {
        return Meeting::Unclear;
    };
    let point = state.lanes().first().map(|lane| lane.point).unwrap_or_default();
    let last = facts.ring.last.map_or(0, |last| last.checksum);
    let same_end = facts.ring.journaled == point.position && last == point.header_checksum;
    match (whose(fenced, config.node, state), same_end) {
        (Whose::Replaced | Whose::Own, true) => {
            rare!(MeetAlone);
            Meeting::Alone
        }
        (Whose::Own, false) => Meeting::Holding,
        (Whose::Replaced, false) | (Whose::Other, _) => {
            rare!(MeetBoth);
            Meeting::Both
        }
    }
}

enum Whose {
    /// The epoch that was to be replaced.
    Replaced,
    /// This site's, by an earlier request.
    Own,
    Other,
}

fn whose(fenced: &Fenced, me: NodeId, state: &GroupState) -> Whose {
    let never_held = fenced.epoch == Epoch::NONE && state.takeover_replaces.number == 0;
    if fenced.epoch == state.takeover_replaces || never_held {
        Whose::Replaced
    } else if fenced.epoch.node == me && !fenced.released {
        Whose::Own
    } else {
        Whose::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_nobody_ever_held_has_not_forgotten_the_epoch_that_is_replaced() {
        let replaces = |number| GroupState {
            takeover_replaces: Epoch { number, node: NodeId(1) },
            ..GroupState::default()
        };
        assert_eq!(known(&replaces(0)), Epoch::NONE);
        assert_eq!(known(&replaces(3)), Epoch { number: 3, node: NodeId(1) });
    }
}
