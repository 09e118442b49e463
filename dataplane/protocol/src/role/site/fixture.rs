//! What tests of roles are configured as: the second site of a group with one relay.

use alloc::vec::Vec;

use midspan_format::ids::{GroupId, LaneId, NodeId};
use midspan_format::superblock::{AreaEntry, Role};

use super::{AnswerMode, ControlPath, SiteConfig};
use crate::role::policy::LanePolicy;
use crate::vocab::limits::{Limits, Pace};

/// Bytes of the own ring.
pub const RING: u64 = 1 << 20;

/// That site.
pub fn config() -> SiteConfig {
    SiteConfig {
        node: NodeId(3),
        group: GroupId(1),
        sites: [NodeId(1), NodeId(3)],
        initial_role: Role::Secondary,
        initial_copy: false,
        may_leave: false,
        alone: false,
        control: ControlPath::Both,
        lane: LaneId(0),
        relay: NodeId(2),
        lanes: Vec::from([NodeId(2)]),
        lane_policy: LanePolicy::Failover,
        direct: false,
        resend_bytes: 64 << 20,
        volumes: Vec::new(),
        answer: AnswerMode::Journaled,
        own_ring: AreaEntry { size: RING, ..AreaEntry::default() },
        state_offset: 0,
        dirty_offset: 8192,
        first_link: 0,
        limits: Limits::default(),
        pace: Pace::default(),
    }
}
