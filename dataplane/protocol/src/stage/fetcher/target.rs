//! A takeover has fenced the lanes: what is read from now on ends where the journal does, and goes along one chain.

use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;

use super::{Fetcher, Range};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

/// Where a takeover stops reading. Of two lanes that share the data of frames the other one may hold something else behind what both are
/// known to hold: what was on its way when the primary left both, and said so in this one.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where the journal ends.
    pub end: Position,
    /// The lane that ends there.
    pub by: NodeId,
    /// Both lanes hold the same before this position.
    pub agreed: Position,
}

impl<B: Buffer> Fetcher<B> {
    /// From now on read exactly to the target, along the chain.
    pub fn set_target<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, target: Target) {
        self.target = Some(target);
        self.scans_beside = self.beside() == Some(target.by);
        self.close_manifests(context);
        if self.peeks && self.asked.len() == 1 {
            self.plan.clear();
            self.fill_plan();
        } else {
            self.rescan_all(context);
        }
    }

    /// Where a takeover stops reading, once it has fenced the lane.
    pub fn target(&self) -> Option<Position> {
        self.target.map(|target| target.end)
    }

    /// Plans a scan from `start` to `end`; where a takeover reads, along the chain by which it goes.
    pub(super) fn plan_scan(&mut self, start: Position, end: Position) {
        let beside = self.scans_beside && self.shares;
        let by_beside = self.target.map(|target| (target, self.beside() == Some(target.by)));
        let mut scan = |start, end, beside| {
            if end > start {
                self.plan.push_back(Range { start, end, scan: true, has_rest: false, beside });
            }
        };
        let Some((target, by_beside)) = by_beside else { return scan(start, end, beside) };
        let agreed = target.agreed.clamp(start, end);
        scan(start, agreed, beside);
        if by_beside || self.ring.node() == target.by {
            scan(agreed, end, by_beside);
        } else if agreed == start {
            // The lane beside is read for old data.
            rare!(FetcherTurnsBack);
            self.wants_beside = Some(target.by);
        }
    }
}
