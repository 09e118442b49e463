//! What a group does with its lanes: all of a set hold one chain of frames, the same bytes at the same positions.

use midspan_format::ids::NodeId;

use crate::role::site::SiteConfig;

/// Which lanes hold the group's journal, and how many of them before a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LanePolicy {
    /// One lane at a time; another takes its place when it is lost (claims 8 and 9).
    #[default]
    Failover,
    /// Two lanes at a time, and both hold a write before it is answered.
    Mirror,
    /// Two lanes at a time, each of which holds a part of the data (claim 10).
    Stripe,
    /// The lane at the primary itself, alone: nothing is waited for, and a takeover without the primary loses what is in it.
    Local,
}

impl LanePolicy {
    /// In how many lanes all of a write is to be before it is answered.
    pub const fn lanes_wanted(self) -> u8 {
        match self {
            LanePolicy::Mirror => 2,
            LanePolicy::Failover | LanePolicy::Stripe | LanePolicy::Local => 1,
        }
    }
}

/// A further lane that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its node.
    pub node: NodeId,
    /// Beside the present one; else in its place.
    pub beside: bool,
}

/// Which further lane a primary wants whose journal is in the lane at `first`. `lost`: that one is away; `settled`: the set has
/// not changed for a while; `tried`: how many lanes were tried in vain since.
pub fn wanted(config: &SiteConfig, first: NodeId, lost: bool, settled: bool, tried: usize) -> Option<Wanted> {
    if config.lane_policy == LanePolicy::Local {
        // Each primary has its own.
        let moves = first != config.node && config.lanes.contains(&config.node);
        return moves.then_some(Wanted { node: config.node, beside: false });
    }
    let is_relay = |node: &&NodeId| !config.sites.contains(node);
    let relays = config.lanes.iter().filter(is_relay);
    let direct = config.lanes.iter().filter(|node| config.direct && **node == config.other_site());
    let others = relays.clone().chain(direct).copied().filter(|node| *node != first);
    let count = others.clone().count();
    if lost {
        let node = others.clone().nth(tried.checked_rem(count)?)?;
        return Some(Wanted { node, beside: false });
    }
    match config.lane_policy {
        LanePolicy::Mirror | LanePolicy::Stripe => {
            let others = relays.filter(|node| **node != first);
            let node = *others.clone().nth(tried.checked_rem(others.count())?)?;
            // A site's lane is left for a relay first.
            Some(Wanted { node, beside: !config.sites.contains(&first) })
        }
        // A site's lane is left for any relay, and as soon as one is there.
        LanePolicy::Failover if config.sites.contains(&first) => {
            let node = *relays.clone().nth(tried.checked_rem(relays.count())?)?;
            Some(Wanted { node, beside: false })
        }
        LanePolicy::Failover => {
            let node = *relays.clone().next()?;
            (settled && node != first).then_some(Wanted { node, beside: false })
        }
        LanePolicy::Local => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::role::site::fixture;

    #[test]
    fn from_a_sites_lane_a_mirror_tries_each_relay() {
        let lanes = Vec::from([2, 4, 3].map(NodeId));
        let config = SiteConfig { lanes, lane_policy: LanePolicy::Mirror, direct: true, ..fixture::config() };
        for (tried, node) in [(0, 2), (1, 4), (2, 2)] {
            let found = wanted(&config, NodeId(3), false, true, tried);
            assert_eq!(found, Some(Wanted { node: NodeId(node), beside: false }), "{tried} tried");
        }
        let beside = wanted(&config, NodeId(4), false, true, 0);
        assert_eq!(beside, Some(Wanted { node: NodeId(2), beside: true }));
    }
}
