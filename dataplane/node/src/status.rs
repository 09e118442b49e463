//! How a relay stands, as plain data for people.

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId, NodeId};
use midspan_protocol::role::relay::Relay;

pub use midspan_protocol::role::relay::RefusedCount;
pub use midspan_protocol::stage::area::Health;

use crate::buffers::PoolBuf;

/// One area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AreaStatus {
    /// Its group.
    pub group: GroupId,
    /// Its lane.
    pub lane: LaneId,
    /// What it holds.
    pub kind: AreaKind,
    /// Its identity.
    pub area: AreaId,
    /// Ring bytes.
    pub size: u64,
    /// Whether it can be used.
    pub health: Health,
    /// Everything before is durable.
    pub journaled: Position,
    /// Behind everything received.
    pub received: Position,
    /// Whether a writer's session is open.
    pub has_writer: bool,
    /// The epoch of the group's permit.
    pub epoch: Epoch,
    /// Who may write rings and manifests.
    pub primary: NodeId,
    /// Who may write receipts.
    pub secondary: NodeId,
}

/// A relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// Its areas.
    pub areas: Vec<AreaStatus>,
    /// Requests that were refused.
    pub refused: Vec<RefusedCount>,
}

impl RelayStatus {
    /// How the relay stands now.
    pub fn of(relay: &Relay<PoolBuf>) -> Self {
        let areas = relay.areas().iter().map(|area| {
            let permit = relay.permit(area.group);
            AreaStatus {
                group: area.group,
                lane: area.entry.lane,
                kind: area.entry.kind,
                area: area.entry.area,
                size: area.entry.size,
                health: area.health,
                journaled: area.journaled(),
                received: area.received(),
                has_writer: area.session_open,
                epoch: permit.map_or(Epoch::NONE, |p| p.epoch),
                primary: permit.map_or(NodeId::NONE, |p| p.primary),
                secondary: permit.map_or(NodeId::NONE, |p| p.secondary),
            }
        });
        Self { areas: areas.collect(), refused: relay.refused().to_vec() }
    }
}
