//! A heartbeat with something in every field.

use midspan_format::heartbeat::{Hearing, Heartbeat, Payload, ToldGroup, ToldNode};
use midspan_format::ids::{GroupId, NodeId};
use midspan_format::superblock::Role;

use super::{CUT, EPOCH};

pub fn heartbeat() -> Heartbeat {
    let group = |group, role, serving| ToldGroup { group: GroupId(group), epoch: EPOCH, role, serving };
    let node = |node, hearing, silent_ms| ToldNode { node: NodeId(node), hearing, silent_ms };
    let payload = Payload {
        incarnation: CUT.0,
        stamp: 12_345_678_901,
        echo: 98_765_432_109,
        held_ns: 43_210,
        interval_ms: 100,
        groups: [group(1, Role::Primary, true), group(2, Role::Secondary, false)].into_iter().collect(),
        nodes: [node(2, Hearing::Heard, 31), node(3, Hearing::Late, 1_900), node(4, Hearing::Silent, 70_000)]
            .into_iter()
            .collect(),
    };
    Heartbeat { from: NodeId(1), to: NodeId(2), payload }
}
