//! What the oracle demands where several lanes hold the journal: by the sets that the sites have recorded, never by what machines believe.

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_format::superblock::{FenceSet, GroupState, PairState, Role};
use midspan_protocol::role::policy::LanePolicy;
use midspan_protocol::vocab::effect::Note;

use crate::event::NodeIndex;
use crate::history::Kind;
use crate::layout::node_id;
use crate::swarm::Lanes;
use crate::world::World;

impl World {
    /// Holds a claim of the relay about one of its areas against what is durable there.
    pub(crate) fn on_claim(&mut self, node: NodeIndex, kind: AreaKind, position: Position) {
        if kind != AreaKind::Ring && (self.swarm.rates.index_rot > 0 || self.harmed.read[NodeIndex::RELAY.0])
        {
            // What rotted there cannot be found any more: only the journal's claims are held against the disk.
            return;
        }
        let disk = self.nodes[node.0].disks[0].told();
        if self.watches.journal.is_used() {
            let watches = &mut self.watches;
            let outcome = match (kind, watches.journal.eye(node)) {
                (AreaKind::Manifest, Some(eye)) => eye.manifest.claim(disk, position),
                (AreaKind::Receipt, Some(eye)) => eye.receipt.claim(disk, position),
                (_, _) => watches.journal.claim(node, disk, position, &mut watches.ring),
            };
            return self.demand("I2", outcome.map_err(|what| format!("{kind:?} area of {node}: {what}")));
        }
        let watch = match kind {
            AreaKind::Manifest => &mut self.watches.manifest,
            AreaKind::Receipt => &mut self.watches.receipt,
            AreaKind::Ring | AreaKind::OwnRing | AreaKind::State | AreaKind::DirtyMap => {
                &mut self.watches.ring
            }
        };
        let outcome = watch.claim(disk, position);
        watch.fold(position);
        self.demand("I2", outcome.map_err(|what| format!("{kind:?} area of the relay: {what}")));
    }

    /// Something became durable on a node's journal disk: its lane may hold more.
    pub(crate) fn on_lane_durable(&mut self, node: NodeIndex, offset: usize, cleared: bool) {
        self.watches.journal.loose = self.may_lose();
        let disk = self.nodes[node.0].disks[0].told();
        let watches = &mut self.watches;
        let outcome = watches.journal.on_durable(node, disk, offset, cleared, &mut watches.ring);
        self.demand("I2", outcome);
    }

    /// All lanes are looked at.
    pub(crate) fn see_lanes(&mut self) {
        self.watches.journal.loose = self.may_lose();
        for node in self.places() {
            let disk = self.nodes[node.0].disks[0].told();
            let watches = &mut self.watches;
            let outcome = watches.journal.see(node, disk, &mut watches.ring);
            self.demand("I2", outcome);
        }
    }

    /// What a site has recorded, or begins with.
    pub(crate) fn recorded(&self, site: NodeIndex) -> GroupState {
        let disk = &self.nodes[site.0].disks[0];
        let found = self.layout.state(disk.durable());
        found.unwrap_or_else(|| self.layout.group(site, &self.swarm, disk, 0).0.first_state())
    }

    /// The node of an id.
    fn place_of(&self, id: midspan_format::ids::NodeId) -> Option<NodeIndex> {
        self.places().into_iter().find(|node| node_id(*node) == id)
    }

    /// The lanes by which a restart of the primary may go, and a takeover by the other site that says that nothing is lost.
    fn lanes_that_count(&self, primary: NodeIndex) -> Vec<NodeIndex> {
        let (own, other) = (self.recorded(primary), self.recorded(primary.other_site()));
        let restarts_by = if own.asked.is_none() { own.set } else { own.asked };
        let takes_by =
            if other.role == Role::Secondary && !other.left { other.set } else { FenceSet::default() };
        let mut lanes = Vec::new();
        for id in restarts_by.nodes.iter().chain(takes_by.nodes.iter()) {
            if let Some(node) = self.place_of(*id).filter(|node| !lanes.contains(node)) {
                lanes.push(node);
            }
        }
        lanes
    }

    /// I1, where several lanes may count: all of them hold what is answered.
    pub(crate) fn is_in_the_lanes(&mut self, site: NodeIndex, op: u64) {
        let Some(sent) = self.sent.get(&op).copied() else { return };
        if self.is_given_up(site) {
            // What it answers nobody believes, and the journal goes by the other one.
            return;
        }
        self.see_lanes();
        let volume = u32::try_from(sent.volume).unwrap_or(u32::MAX);
        let journal = &self.watches.journal;
        let place = match sent.kind {
            Kind::Read | Kind::Flush => return,
            Kind::Write => journal.place_of_op(op),
            Kind::Zero => journal.place_of_zeroes(&(volume, sent.offset, sent.length, 0)),
        };
        let Some(place) = place else {
            return self.fail("I1", format!("op {op} is answered, but no lane holds it durably: {sent:?}"));
        };
        let other = site.other_site();
        let point = self.recorded(other).lanes().first().map(|lane| lane.point.position).unwrap_or_default();
        let received = self.watches.own(other).end().max(point);
        for lane in self.lanes_that_count(site) {
            let journal = self.watches.ring.area();
            let Some(eye) = self.watches.journal.eye(lane) else { continue };
            // It held it when it was still there.
            if eye.has_lost(place) && !eye.is_of(journal) {
                continue;
            }
            if eye.is_of(journal) && eye.began() > received {
                let began = eye.began();
                let what = format!(
                    "op {op} is answered by {site}, and the lane at {lane} counts, which begins at {began}; but {other} has the \
                     journal up to {received} only"
                );
                return self.fail("I1", what);
            }
            if eye.agreed() < place {
                let (agreed, end, began) = (eye.agreed(), eye.end(), eye.began());
                let sets = [site, site.other_site()].map(|site| {
                    let state = self.recorded(site);
                    (state.set, state.asked)
                });
                let what = format!(
                    "op {op} is answered by {site}, and lies before {place}, but the lane at {lane} counts and holds the journal \
                     from {began} to {agreed} only (all of it to {end}): {sets:?}"
                );
                return self.fail("I1", what);
            }
        }
        self.has_its_data(site, op, place);
        let watches = &mut self.watches;
        watches.journal.make_firm(place, &mut watches.ring);
    }

    /// A node's disk is another one: what its lane held is gone.
    pub(crate) fn lose_lane(&mut self, node: NodeIndex) {
        let Some(areas) = self.layout.areas(node).filter(|_| self.watches.journal.is_used()) else { return };
        self.watches.journal.lose(node, areas, &self.layout.volumes);
    }

    /// Whether the lane set is of the kind that the primary was told, where that has changed; with all its lanes, if it is.
    pub(crate) fn is_of_its_kind(&self, primary: NodeIndex) -> bool {
        let changes = self.swarm.lanes.is_some_and(|lanes| lanes.then.is_some());
        let told = self.nodes[primary.0].process.as_ref().and_then(|process| process.policy);
        // A relay whose disk is another one, without areas, cannot be used.
        let wiped = NodeIndex::EVERY.into_iter().any(|node| self.harmed.wiped[node.0]);
        let Some(policy) = told.filter(|_| changes && !wiped) else { return true };
        NodeIndex::SITES.into_iter().all(|site| {
            let set = self.recorded(site).set;
            match policy {
                LanePolicy::Failover | LanePolicy::Local => set.nodes.len() == 1,
                LanePolicy::Mirror => set.nodes.len() == 2 && set.k == 2,
                LanePolicy::Stripe => set.is_striped(),
            }
        })
    }

    /// Whether the only lane that counts for a site was on a disk that is another one now: nobody needs to be served then.
    pub(crate) fn is_bereft(&self) -> bool {
        let was_wiped = |id: &midspan_format::ids::NodeId| {
            let place = self.place_of(*id);
            place.is_some_and(|node| self.harmed.wiped[node.0])
        };
        // A former primary needs the data of both lanes, also where one of them counts no more.
        let shared = self.swarm.lanes.is_some_and(Lanes::ever_share);
        if shared && NodeIndex::EVERY.into_iter().any(|node| node.is_relay() && self.harmed.wiped[node.0]) {
            return true;
        }
        self.watches.journal.is_used()
            && NodeIndex::SITES.into_iter().any(|site| {
                let state = self.recorded(site);
                let set = if state.asked.is_none() { state.set } else { state.asked };
                set.nodes.iter().any(was_wiped)
            })
    }

    /// A lane that holds nothing of the journal cannot be told from one that was lost.
    pub(crate) fn never_began(&self, note: &Note) -> bool {
        let Note::LaneLost { node, found, .. } = note else { return false };
        let eye = self.watches.journal.eyes.iter().find(|eye| node_id(eye.node) == *node);
        *found == Position(0) && eye.is_some_and(|eye| !eye.is_of(self.watches.ring.area()))
    }

    /// Whether a site has durably taken over. One that leaves the lanes records the epoch of the mark that it will put there, if it can: it
    /// has taken over from nobody by that, and until it has recorded that hosts may be answered there, none was (4101327).
    pub(crate) fn note_taken(&mut self, site: NodeIndex, state: &GroupState) {
        let leaves = matches!(state.pair, PairState::Suspended | PairState::Degraded) && !state.answered;
        if state.role == Role::Primary && state.takeover_epoch.node == node_id(site) && !leaves {
            let taken = &mut self.taken[usize::from(site == NodeIndex::B)];
            *taken = state.takeover_epoch.max(*taken);
        }
    }

    /// I5: a site that another one has durably taken over from serves no more, whatever lane it finds.
    pub(crate) fn may_serve(&mut self, node: NodeIndex, epoch: Epoch) {
        let other = node.other_site();
        let taken = self.taken[usize::from(other == NodeIndex::B)];
        let replaced =
            self.recorded(other).role == Role::Primary && taken > self.recorded(node).takeover_epoch;
        if self.watches.journal.is_used() && replaced {
            self.fail(
                "I5",
                format!("{node} serves in epoch {epoch}, but {other} has taken over in epoch {taken}"),
            );
        }
    }

    /// A secondary's disks hold everything before its cut: no start may leave that out.
    pub(crate) fn is_firm(&mut self, node: NodeIndex, cut: Position) {
        if !self.watches.journal.is_used() || self.alone || self.is_given_up(node) {
            return;
        }
        self.see_lanes();
        let end = self.watches.ring.end();
        if cut > end {
            return self.fail(
                "I4",
                format!("{node}'s cut is at {cut}, but the lanes hold the journal to {end} only"),
            );
        }
        let watches = &mut self.watches;
        watches.journal.make_firm(cut, &mut watches.ring);
    }

    /// A site says that it serves: the journal ends where its start read it to.
    pub(crate) fn opened_at(&mut self, node: NodeIndex, epoch: Epoch) -> Position {
        self.see_lanes();
        let set = self.recorded(node).set;
        let single = set.second().is_none().then(|| self.place_of(set.first())).flatten();
        let fences = || self.fences.iter().filter(|((of, _), _)| *of == epoch);
        let by_set = single.and_then(|single| fences().find(|((_, lane), _)| *lane == single));
        // Of two that share the data the one that ends first counts, of others the one that was fenced first was read.
        let first = || if set.is_striped() { fences().min_by_key(|(_, to)| *to) } else { fences().next() };
        let found = by_set.or_else(first).map(|(_, to)| *to);
        let Some(to) = found else { return self.watches.ring.end() };
        let watches = &mut self.watches;
        let outcome = watches.journal.open(epoch, to, &mut watches.ring);
        self.demand("I1", outcome.map_err(|what| format!("{node}: {what}")));
        to
    }
}
