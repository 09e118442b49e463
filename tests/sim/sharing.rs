//! What the oracle demands of lanes that share the data of frames (decision 0021): by whatever set a restart or a takeover may go, the data
//! that it may need lies in a lane of that set, whole and durable, at the moment at which the set is recorded, and at every answer.

use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;
use midspan_format::superblock::{FenceSet, GroupState, Role};

use crate::event::NodeIndex;
use crate::lane_eye::Link;
use crate::layout::node_id;
use crate::swarm::Lanes;
use crate::world::World;

/// Who goes by a set, and what its own disks hold.
#[derive(Debug)]
struct Need {
    site: NodeIndex,
    set: FenceSet,
    from: Position,
}

impl World {
    /// A site's state is durable: a set that it names holds the data of everything that anybody was answered for.
    pub(crate) fn look_at_set(&mut self, site: NodeIndex) {
        if !self.is_shared() {
            return;
        }
        let state = self.recorded(site);
        let known = &mut self.watches.journal.sets[usize::from(site == NodeIndex::B)];
        let found = (state.set, state.asked);
        if core::mem::replace(known, found) == found {
            return;
        }
        self.see_lanes();
        let Some(need) = self.need_of(site, &state) else { return };
        let firm = self.watches.journal.firm;
        let frames: Vec<_> = self.watches.journal.frames(need.from..firm).collect();
        for (position, link) in frames.into_iter().filter(|(_, link)| link.end <= firm) {
            if self.lacks(&need, position, &link) {
                let (set, from) = (need.set, need.from);
                let what = format!(
                    "{site} has recorded {set:?}, and its disks hold the journal up to {from}; but the data of the frame at {position}, \
                     which hosts know of, is in no lane of it ({:?})",
                    link.data_at
                );
                return self.fail("I1", what);
            }
        }
    }

    /// A write is answered whose frame ends at `place`: its data is in a lane of each set by which anybody may go.
    pub(crate) fn has_its_data(&mut self, site: NodeIndex, op: u64, place: Position) {
        if !self.is_shared() {
            return;
        }
        let Some((position, link)) = self.watches.journal.frame_before(place) else { return };
        for at in [site, site.other_site()] {
            let state = self.recorded(at);
            let Some(need) = self.need_of(at, &state).filter(|need| need.from < place) else { continue };
            // A lane's eye takes a frame whose data is to be there only with it.
            let is_told = link.data_at == NodeId::NONE || need.set.nodes.contains(&link.data_at);
            if !is_told && self.lacks(&need, position, &link) {
                let (set, data_at) = (need.set, link.data_at);
                let what = format!(
                    "op {op} is answered by {site}, and {at} goes by {set:?}, but the data of the frame at {position} is in no lane \
                     of it ({data_at:?})"
                );
                return self.fail("I1", what);
            }
        }
    }

    /// Whether the lanes share the data of frames.
    pub(crate) fn is_shared(&self) -> bool {
        self.swarm.lanes.is_some_and(Lanes::ever_share)
    }

    /// What a restart of this site, or a takeover by it that says that nothing is lost, may have to read.
    fn need_of(&mut self, site: NodeIndex, state: &GroupState) -> Option<Need> {
        let other = self.recorded(site.other_site());
        match state.role {
            Role::Primary if other.role == Role::Primary && other.epoch > state.epoch => None,
            Role::Primary => {
                let set = if state.asked.is_none() { state.set } else { state.asked };
                // A lane that begins in the middle says by that what the disks hold.
                let began = self.lanes_of(&set).into_iter().filter_map(|lane| {
                    let journal = self.watches.ring.area();
                    self.watches.journal.eye(lane).filter(|eye| eye.is_of(journal)).map(|eye| eye.began())
                });
                let began = began.max().unwrap_or_default();
                Some(Need { site, set, from: self.watches.ring.landed.max(state.landed).max(began) })
            }
            Role::Secondary if state.left => None,
            Role::Secondary => {
                let point = state.lanes().first().map(|lane| lane.point.position).unwrap_or_default();
                Some(Need { site, set: state.set, from: self.watches.own(site).end().max(point) })
            }
        }
    }

    fn lanes_of(&self, set: &FenceSet) -> Vec<NodeIndex> {
        let place = |id: &NodeId| self.places().into_iter().find(|node| node_id(*node) == *id);
        set.nodes.iter().filter_map(place).collect()
    }

    /// Whether no lane of a set has all of a frame, or, of a mirror, one of them does not.
    fn lacks(&mut self, need: &Need, position: Position, link: &Link) -> bool {
        let lanes = self.lanes_of(&need.set);
        let journal = &mut self.watches.journal;
        // A lane held it when its disk was still there; and who holds nothing yet is not gone by.
        let lost = lanes.iter().any(|lane| journal.eye(*lane).is_some_and(|eye| eye.has_lost(link.end)));
        let given_up = journal.given_up;
        // What was lost with a lane of two by an operator's word is judged as a cut.
        let accepted = link.end <= given_up || self.may_take_with_loss(need.site);
        if lanes.is_empty() || lost || accepted || self.is_given_up(need.site) {
            return false;
        }
        let mut has = |lane: NodeIndex| {
            let disk = self.nodes[lane.0].disks[0].told();
            self.watches.journal.eye(lane).is_some_and(|eye| eye.has_whole(position, link, disk))
        };
        // Of a mirror each lane is to have it: either may be gone by.
        let mut lanes = lanes.into_iter();
        if need.set.k > 1 { !lanes.all(&mut has) } else { !lanes.any(&mut has) }
    }
}
