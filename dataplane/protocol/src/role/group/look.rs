//! What a driver asks of a group between events.

use midspan_format::control::GroupStatus;
use midspan_format::dirty_map::DirtyMap;

use super::{Group, Play, STARVED_NS};
use crate::role::standing;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::Buffer;
use crate::vocab::effect::Now;

impl<B: Buffer> Group<B> {
    /// Whether hosts are served.
    pub fn is_serving(&self) -> bool {
        match &self.play {
            Play::Primary(_) => true,
            Play::Outside(outside) => !outside.is_closed() && !outside.is_entering(),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => false,
        }
    }

    /// Whether another host request can be taken. What is not served is answered at once.
    pub fn has_room(&self) -> bool {
        match &self.play {
            // Hosts wait while the role is handed over.
            Play::Primary(primary) => primary.has_room() && self.handover.is_none() && !self.departs,
            Play::Outside(outside) => outside.has_room(),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => true,
        }
    }

    /// Whether no disk operation runs.
    pub fn is_idle(&self) -> bool {
        let roles = match &self.play {
            Play::Starting(start) => start.is_idle(),
            Play::Primary(primary) | Play::Opening(primary, _) | Play::Leaving(primary) => primary.is_idle(),
            Play::Secondary(secondary) | Play::TakingOver(secondary, _) | Play::Aborting(secondary, ..) => {
                secondary.is_settled()
            }
            Play::Outside(outside) => outside.is_idle(),
            Play::Resuming { .. } | Play::Fenced(_) | Play::Stopped => true,
        };
        roles && self.store.is_idle()
    }

    /// What may differ at the other site.
    pub fn map(&self) -> Option<&DirtyMap> {
        let tracker = match &self.play {
            Play::Outside(outside) => outside.direct().tracker(),
            Play::Primary(primary) | Play::Opening(primary, _) | Play::Leaving(primary) => {
                primary.repair().map(|repair| repair.tracker()).or(self.tracker.as_ref())
            }
            Play::Starting(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => self.tracker.as_ref(),
        };
        tracker.map(Tracker::map)
    }

    /// How the group stands.
    pub fn status(&self, now: Now) -> GroupStatus {
        standing::status(self, now)
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        let soon = self.seen + STARVED_NS;
        let store = if self.store.wants_to_write() { soon } else { u64::MAX };
        let role = match &self.play {
            Play::Starting(start) if start.has_marked() => {
                // The marks may have found the pool empty.
                let waits = self.tracker.as_ref().is_some_and(|t| !t.is_durable() && !t.failed());
                if waits { soon } else { start.deadline() }
            }
            Play::Starting(start) => start.deadline(),
            Play::Primary(primary) | Play::Opening(primary, _) => {
                let changes = self.handover.is_some() || self.departs;
                let changes = if changes || self.stopping {
                    soon
                } else {
                    primary.leaves_at().min(primary.lost_at()).max(soon)
                };
                primary.deadline(soon).min(changes)
            }
            Play::Leaving(_) => soon,
            Play::Secondary(secondary) => {
                let handover = if self.store.get().handover { self.handover_at.max(soon) } else { u64::MAX };
                secondary.deadline(soon).min(handover).min(self.gives_at(secondary, soon))
            }
            Play::TakingOver(secondary, takeover) => {
                let marks = self.tracker.as_ref().is_some_and(|t| !t.is_durable());
                let retry = if marks { soon } else { u64::MAX };
                secondary.deadline(soon).min(takeover.deadline()).min(retry)
            }
            Play::Resuming { fencer, flushed: true, .. } => fencer.deadline(),
            Play::Resuming { flushed: false, .. } => u64::MAX,
            Play::Outside(outside) if outside.is_closed() => soon,
            Play::Outside(outside) => outside.deadline(soon),
            Play::Fenced(_) if self.split && !self.prevails => u64::MAX,
            Play::Fenced(rejoin) => rejoin.deadline(),
            Play::Aborting(_, fencer, until) if !fencer.has_ended() => {
                fencer.deadline().min(soon).min(*until)
            }
            Play::Aborting(..) => soon,
            Play::Stopped => u64::MAX,
        };
        role.min(store).min(self.alone_at()).min(self.set_due().max(soon))
    }
}
