//! What happens to lanes, in words.

use midspan_format::ids::NodeId;
use midspan_format::superblock::FenceSet;

use super::Names;
use crate::events::Tell;

impl Names {
    pub(super) fn lane_up(&self, object: &str, node: NodeId, journaled: u64) -> Tell {
        let message = format!("the lane at {} is connected, journaled up to {journaled}", self.node(node));
        Tell::info("lane_up", object, message)
    }

    pub(super) fn lane_down(&self, object: &str, node: NodeId) -> Tell {
        Tell::warn("lane_down", object, format!("the lane at {} is away", self.node(node)))
            .hint("it is tried again by itself; check that node and the path to it")
    }

    pub(super) fn lane_lost(&self, object: &str, node: NodeId, had: u64, found: u64) -> Tell {
        let node = self.node(node);
        let message =
            format!("the lane at {node} is lost: it held everything up to {had}, now it reports {found}");
        Tell::error("lane_lost", object, message)
            .hint("its disk was replaced, wiped or damaged: `midspan journal dump` of it shows what is there")
    }

    pub(super) fn lane_set(&self, object: &str, set: &FenceSet) -> Tell {
        let nodes: Vec<_> = set.nodes.iter().map(|node| self.node(*node)).collect();
        let message = match &nodes[..] {
            [node] => format!("the journal is in the lane at {node}, and in no other"),
            nodes if set.is_striped() => {
                format!("the journal is spread over the lanes at {}", nodes.join(" and "))
            }
            nodes => format!("the journal is in the lanes at {}: each write is in both", nodes.join(" and ")),
        };
        Tell::info("lane_set", object, message)
    }
}
