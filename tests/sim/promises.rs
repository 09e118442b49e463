//! What a status promises, held against what hosts were told: where a site says that a takeover now would lose nothing, the lane
//! alone must give every answered write (I1, I4).
//!
//! The lane is what the oracle's own eye sees durable in the relay's ring, brought to volumes that were empty at first; what hosts
//! were told is the history, which knows of no lane. So the check shares nothing with what computes the promise. The lane at the
//! primary itself, alone, is lost with that site: there nothing may be promised, whatever it holds.

use midspan_format::control::GroupStatus;
use midspan_format::superblock::{GroupState, Role};

use crate::event::NodeIndex;
use crate::layout::node_id;
use crate::lies::Lie;
use crate::swarm::MS;
use crate::world::World;

/// So much virtual time lies between two looks: bringing a whole journal to volumes takes a while.
const EVERY: u64 = 400 * MS;

impl World {
    /// Every now and then.
    pub(crate) fn check_promises(&mut self) {
        let now = self.schedule.now();
        // What was damaged may be promised until somebody reads it.
        if now < self.promises_at || self.harmed.may_see_damage() {
            return;
        }
        self.promises_at = now + EVERY;
        for site in [NodeIndex::A, NodeIndex::B] {
            if self.is_given_up(site) {
                continue;
            }
            let promised = self.standing(site).is_some_and(|status| self.promises(site, &status));
            if !promised {
                continue;
            }
            if self.goes_by_its_own_lane(site) {
                let what =
                    format!("{site} says that no takeover loses anything, and its own lane is the only one");
                return self.fail("zero_loss (I1, I4)", what);
            }
            let end = self.watches.ring.end();
            let Some(image) = self.watches.ring.replay(end) else { continue };
            let image = self.without_cold(image);
            self.figures.promises += 1;
            let outcome = self.history.holds(&image);
            let outcome =
                outcome.map_err(|lost| format!("{site} says that no takeover loses anything: {lost}"));
            self.demand("zero_loss (I1, I4)", outcome);
        }
    }

    /// Whether both sites have recorded that the lane at the one that serves counts alone: it is lost with that site, whatever it holds.
    fn goes_by_its_own_lane(&self, site: NodeIndex) -> bool {
        let sites = [self.recorded(site), self.recorded(site.other_site())];
        let alone = |state: &GroupState| state.set.second().is_none() && state.set.first() == node_id(site);
        sites[0].role == Role::Primary && sites.iter().all(alone)
    }

    /// Whether a site promises that a takeover now would lose nothing, and can know it: the one that serves does; the other one when it
    /// has brought everything that is in the lane to its own cut.
    fn promises(&self, site: NodeIndex, status: &GroupStatus) -> bool {
        let lies = self.lie == Lie::PromisesOutside && status.serving;
        let knows = match status.role {
            Role::Primary => status.serving && self.reign.is_some_and(|reign| reign.node == site),
            Role::Secondary => {
                let end = self.watches.ring.end();
                status.lanes.iter().all(|lane| lane.connected && lane.applied == Some(end))
            }
        };
        knows && (status.zero_loss || lies)
    }
}
