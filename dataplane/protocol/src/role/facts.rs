//! What a fenced lane holds, as a start needs it: prefix, tip, and the newest `landed` that any durable header knows.

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, LaneId, NodeId};
use midspan_format::message::{Fenced, FencedLane};
use midspan_format::superblock::GroupState;
use midspan_format::time::Time;

use crate::lane::tail::Span;
use crate::vocab::tip::Tip;

/// What a fenced lane holds, as a start needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneFacts {
    /// The epoch in force.
    pub epoch: Epoch,
    /// The epoch that it replaced.
    pub found: Epoch,
    /// The ring.
    pub ring: FencedLane,
    /// The manifest area.
    pub manifest: FencedLane,
    /// The receipt area's identity.
    pub receipt: AreaId,
    /// Newest `landed` in any durable header, and its time: the primary's disks hold everything before.
    pub landed: (Position, Time),
    /// Newest time in any header.
    pub clock: Time,
}

impl LaneFacts {
    /// What was said of a lane; `None` when its ring or manifest area is missing.
    pub fn new(fenced: &Fenced, lane: LaneId) -> Option<Self> {
        let find = |kind| fenced.lanes().iter().find(|area| area.lane == lane && area.kind == kind).copied();
        let (ring, manifest) = (find(AreaKind::Ring)?, find(AreaKind::Manifest)?);
        let receipt = find(AreaKind::Receipt).map_or(AreaId::NONE, |area| area.area);
        let headers = [ring.last, manifest.last];
        let landed = headers
            .iter()
            .flatten()
            .map(|header| (header.landed, header.landed_time))
            .max()
            .unwrap_or_default();
        // A lane begins only where the primary's disks hold everything before.
        let landed = if landed.0 < ring.began { (ring.began, landed.1) } else { landed };
        let times = headers.iter().flatten().map(|header| header.last_time.max(header.closed_time));
        let clock = times.max().unwrap_or_default();
        Some(Self { epoch: fenced.epoch, found: fenced.found, ring, manifest, receipt, landed, clock })
    }

    /// Records which areas the lane consists of, so that others at their place are noticed.
    pub fn record(&self, state: &mut GroupState) {
        if let Some(lane) = state.lanes_mut().first_mut() {
            (lane.ring, lane.manifest, lane.receipt) = (self.ring.area, self.manifest.area, self.receipt);
        }
    }

    /// The part of the ring that the primary's disks may lack; `None` when that is nothing. `landed`: what they are known to hold besides.
    pub fn tail(&self, landed: Position) -> Option<Span> {
        let from = if landed <= self.ring.journaled { self.landed.0.max(landed) } else { self.landed.0 };
        let last = self.ring.last.filter(|_| from < self.ring.journaled)?;
        Some(Span { area: self.ring.area, from, to: self.ring.journaled, last_checksum: last.checksum })
    }

    /// Where an area of the lane goes on.
    pub fn tip(area: &FencedLane) -> Tip {
        Tip::behind(area.journaled, area.last.as_ref())
    }
}

/// The newest epoch of the other site that this one's state says for sure to be left behind: a lane that has no newer one may be taken. That a process of
/// its own took a higher number in some lane says nothing: the other site may have taken over by another lane since.
pub fn recorded_behind(state: &GroupState, me: NodeId) -> Epoch {
    let replaces = state.takeover_replaces;
    let replaces = if replaces.node == me { Epoch::NONE } else { replaces };
    // The other site has recorded the set in its epoch, and takes none from then on that is not greater.
    replaces.max(state.handover_epoch).max(state.set.epoch)
}
