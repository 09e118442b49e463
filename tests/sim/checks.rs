//! What the oracle looks at every now and then, when a site begins to serve, and at the end.

use midspan_format::checked::CheckedFrame;
use midspan_format::control::{GroupCommand, GroupStatus};
use midspan_format::geometry::{BLOCK, BLOCK_U64, Position};
use midspan_format::ids::Epoch;
use midspan_format::superblock::{PairState, Role, STATE_BYTES};
use midspan_protocol::vocab::effect::Frame;

use crate::accounts::Said;
use crate::disk::FakeDisk;
use crate::effects::frame_bytes;
use crate::event::{Event, NodeIndex};
use crate::layout::{node_id, volume_id};
use crate::memory::SimBuf;
use crate::node::{Inbox, Stand};
use crate::pages::Pages;
use crate::swarm::{MS, SECOND};
use crate::trace;
use crate::world::{Phase, Reign, World};

/// Requests that hosts still ask after the last change of roles.
const HOME_REQUESTS: u64 = 60;
/// How long answers may take when everything is repaired.
const PATIENCE: u64 = 60 * SECOND;

impl World {
    /// Every now and then.
    pub(crate) fn on_check(&mut self) {
        self.schedule.after(50 * MS, Event::Check);
        let now = self.schedule.now();
        if self.phase != Phase::Faults && now > self.phase_since + PATIENCE && !self.is_broken_for_good() {
            let text = self.describe();
            return self.fail("liveness", format!("{:?} for {} s: {text}", self.phase, PATIENCE / SECOND));
        }
        self.check_promises();
        self.operate();
        self.repeat_takeover();
        if self.gives_up() {
            return self.enter(Phase::Done);
        }
        match self.phase {
            Phase::Faults | Phase::Done => {}
            Phase::Healing if self.hosts_are_done() && self.takeover_is_over() => {
                self.enter(Phase::Reading);
                self.unread = (0..self.swarm.volumes.len()).map(|volume| self.host_blocks(volume)).collect();
                for client in 0..self.clients.len() {
                    self.plan_client(client, MS);
                }
            }
            Phase::Reading if self.hosts_are_done() => self.enter(Phase::Settling),
            Phase::Healing | Phase::Reading => {}
            Phase::Settling => {
                if self.has_settled() && self.is_compared() {
                    self.check_equal();
                    let goes_home = core::mem::take(&mut self.swarm.goes_home);
                    self.enter(if goes_home { Phase::GoingHome } else { Phase::Done });
                }
            }
            Phase::GoingHome => self.go_home(),
        }
    }

    fn enter(&mut self, phase: Phase) {
        trace::line("oracle", || format!("{phase:?}"));
        self.phase = phase;
        self.phase_since = self.schedule.now();
    }

    fn takeover_is_over(&self) -> bool {
        self.takeover.asked.iter().all(Option::is_none)
    }

    fn repeat_takeover(&mut self) {
        for site in [NodeIndex::A, NodeIndex::B] {
            let Some(asked) = self.takeover.asked[site.0] else { continue };
            let life = self.nodes[site.0].process.as_ref().map(|process| process.life);
            if life.is_some_and(|life| life != asked) {
                let accepts = self.losing.pending[site.0] == Some(Said::Takeover);
                self.ask_takeover(site, accepts);
            }
        }
    }

    /// When everything is repaired the operator changes the roles once more; hosts go on at the other site.
    fn go_home(&mut self) {
        let Some(reign) = self.reign else { return };
        match self.going_home {
            None => {
                self.going_home = Some(reign.node);
                self.tell(reign.node, Inbox::Command(GroupCommand::Switchover));
            }
            Some(before) if before != reign.node => {
                self.figures.switchovers += 1;
                self.quota = HOME_REQUESTS;
                self.enter(Phase::Healing);
                for client in 0..self.clients.len() {
                    self.plan_client(client, MS);
                }
            }
            Some(_) => {}
        }
    }

    /// What a site is, as its machine says.
    pub(crate) fn role_of(&self, node: NodeIndex) -> Option<Role> {
        self.stand(node).map(|stand| stand.role)
    }

    /// Whether a site is a primary outside the lanes.
    pub(crate) fn is_outside(&self, node: NodeIndex) -> bool {
        self.stand(node).is_some_and(|stand| {
            let outside = matches!(
                stand.pair,
                PairState::TakenOver | PairState::InitialCopy | PairState::Suspended | PairState::Degraded
            );
            // With a dead journal disk it cannot record that it goes back, and serves on where it is: nothing is sealed there.
            let mute = self.harmed.dead_journal[node.0] && !stand.seals;
            stand.role == Role::Primary && (outside || mute)
        })
    }

    /// A site's role, how the sites stand, and whether it serves, as its machine says.
    pub(crate) fn stands(&self, node: NodeIndex) -> Option<(Role, PairState, bool)> {
        self.stand(node).map(|stand| (stand.role, stand.pair, stand.serving))
    }

    /// Whether one site serves, the other follows, and nothing is to be repaired.
    pub(crate) fn is_whole(&self) -> bool {
        let stands = [NodeIndex::A, NodeIndex::B].map(|site| self.stands(site));
        let paired =
            |role| stands.iter().flatten().any(|(r, pair, _)| *r == role && *pair == PairState::Paired);
        let serves = stands.iter().flatten().any(|(_, _, serves)| *serves);
        !self.alone && serves && paired(Role::Primary) && paired(Role::Secondary)
    }

    fn stand(&self, node: NodeIndex) -> Option<Stand> {
        let now = self.nodes[node.0].now(self.schedule.now());
        self.nodes[node.0].process.as_ref()?.stand(now)
    }

    pub(crate) fn standing(&self, node: NodeIndex) -> Option<GroupStatus> {
        let now = self.nodes[node.0].now(self.schedule.now());
        let group = self.nodes[node.0].process.as_ref()?.group.as_ref()?;
        Some(group.status(now))
    }

    /// A site says that it serves: its volumes hold exactly what the journal says (I4), and one who was replaced never does (I5).
    pub(crate) fn on_serving(&mut self, node: NodeIndex, epoch: Epoch) {
        if epoch.node != node_id(node) {
            self.fail("I5", format!("{node} serves in epoch {epoch}, which is not its own"));
        }
        if self.waits_to_leave(node) {
            return;
        }
        self.serves_beside(node);
        let of_two = self.has_two_histories() || self.losing.pending[node.0].is_some();
        let before = |reign: &Reign| epoch <= reign.epoch && reign.node != node && !of_two;
        if let Some(reign) = self.reign.filter(before) {
            let what =
                format!("{node} serves in epoch {epoch} after {} in epoch {}", reign.node, reign.epoch);
            self.fail("I5", what);
        }
        if !of_two {
            self.may_serve(node, epoch);
        }
        // It died before it could record that it leaves, or before a host was answered: it is in the lanes after all.
        let paired = self.stand(node).is_some_and(|stand| stand.pair == PairState::Paired);
        if paired && self.outside.is_none() {
            self.alone = false;
        }
        // It died when it had recorded that it leaves them, before it could tell: what no host was told of may be in the journal only.
        let left = self
            .stands(node)
            .is_some_and(|(_, pair, _)| matches!(pair, PairState::Suspended | PairState::Degraded));
        self.alone |= left;
        if !self.alone && !of_two {
            let to = if self.watches.journal.is_used() {
                self.opened_at(node, epoch)
            } else {
                self.watches.ring.claimed()
            };
            self.compare(node, to, "I4", "when it begins to serve");
        }
        self.reigned[usize::from(node == NodeIndex::B)] = true;
        let is_new = self.reign.is_none_or(|reign| reign.node != node);
        if is_new {
            self.reign = Some(Reign { node, epoch, since: self.schedule.now() });
        }
        if self.takeover.asked[node.0].take().is_some() {
            self.figures.takeovers += 1;
            let former = self.taker.replace(node);
            self.figures.takeovers_back += u64::from(former == Some(node.other_site()));
        }
        if self.is_outside(node) {
            self.alone = true;
            // Elsewhere the journal holds what the other site has not fetched.
            if !of_two && self.stand(node).is_some_and(|stand| stand.pair == PairState::TakenOver) {
                self.check_marks(node);
            }
        }
    }

    /// Whether another site serves, and this one has recorded only that it leaves several lanes: it answers nobody before that is known (I1), and
    /// hears of the other one first.
    pub(crate) fn waits_to_leave(&self, node: NodeIndex) -> bool {
        let state = self.recorded(node);
        let leaves = matches!(state.pair, PairState::Suspended | PairState::Degraded) && !state.answered;
        let other_reigns = self.reign.is_some_and(|reign| reign.node != node);
        self.watches.journal.is_used() && leaves && state.role == Role::Primary && other_reigns
    }

    /// Once a site was primary, its own ring goes on elsewhere: where the first state says that it records as a secondary again, and never
    /// behind that. Also when a process that was killed had it written.
    pub(crate) fn follow_own_ring(&mut self, node: NodeIndex) {
        let disks = &self.nodes[node.0].disks;
        let Some(state) = self.layout.state(disks[0].seen()) else { return };
        let reigned = &mut self.reigned[usize::from(node == NodeIndex::B)];
        if state.role != Role::Secondary {
            *reigned = true;
            return;
        }
        let Some(lane) = state.lanes().first() else { return };
        let may_move = std::mem::take(reigned);
        let own = self.watches.own(node);
        own.advance(disks[0].durable());
        let returns = std::mem::take(&mut own.returns);
        let goes_back = lane.point.position < own.end() && returns;
        // Whoever looks anew where to follow had recorded that it took over, though it may have died before it served.
        // So does one whose own ring ends in a history that is given up, at the same place by chance.
        let beside = lane.point.position == own.end() && !own.ends_at(&lane.point) && returns;
        if lane.point.position > own.end() && (may_move || returns) || goes_back || beside {
            own.rebase(&lane.point);
            own.advance(disks[0].durable());
        }
    }

    /// The group state of a site was saved: as a secondary its volumes hold the cut that it names, and nothing torn (I4).
    pub(crate) fn on_state_saved(&mut self, node: NodeIndex, offset: usize) {
        let start = usize::try_from(self.layout.state_offset).unwrap_or(usize::MAX);
        let is_state = (start..start + 2 * STATE_BYTES).contains(&offset);
        if !is_state {
            return;
        }
        let disks = &self.nodes[node.0].disks;
        let Some(state) = self.layout.state(disks[0].durable()) else { return };
        let cut = state.lanes().first().map_or(Position(0), |lane| lane.point.position);
        self.look_at_set(node);
        self.look_at_what_is_known(node, &state);
        self.note_taken(node, &state);
        self.follow_own_ring(node);
        if state.role != Role::Secondary {
            return self.look_at_landed(state.landed.0);
        }
        let own = self.watches.own(node);
        if cut > own.end() {
            let end = own.end();
            return self.fail("I4", format!("{node}'s cut is at {cut}, but its own ring holds only {end}"));
        }
        if !state.left {
            self.is_firm(node, cut);
        }
        let flipped = self.comparing.flipped;
        let sizes: Vec<u64> = (0..self.swarm.volumes.len()).map(|volume| self.host_blocks(volume)).collect();
        let disks = &self.nodes[node.0].disks;
        let own = self.watches.own(node);
        if !own.is_whole() || state.left {
            return;
        }
        own.fold(cut);
        let volumes = disks[1..].iter().map(FakeDisk::durable);
        let wrong = own.differs(volumes, |volume, block| !flipped || block < sizes[volume]);
        if let Some((volume, block)) = wrong {
            let what =
                format!("{node}'s cut is at {cut}, but block {block} of volume {volume} is not durably so");
            self.fail("I4", what);
        }
    }

    /// A secondary says what it has acquired and applied: its own ring holds that durably, and its cut is recorded (I3).
    pub(crate) fn on_receipt_sent(&mut self, node: NodeIndex, frame: &Frame<SimBuf>) {
        let bytes = frame_bytes(frame);
        let Ok(checked) = CheckedFrame::parse(&bytes) else { return };
        let Some(lane) = checked.receipt().and_then(|receipt| receipt.lanes.iter().next()) else { return };
        if lane.epoch() == Epoch::NONE {
            // It has just begun to follow, and says where: the primary waits for what it acquires behind that.
            return;
        }
        self.follow_own_ring(node);
        let state = self.layout.state(self.nodes[node.0].disks[0].durable());
        let recorded = state.and_then(|state| state.lanes().first().map(|lane| lane.point.position));
        let recorded = recorded.unwrap_or_default();
        let held = self.watches.own(node).end().max(recorded);
        if lane.position > held.0 || lane.applied > recorded.0 {
            let what =
                format!("{node} tells {lane:?}, but its own ring holds {held} and its cut is at {recorded}");
            self.fail("I3", what);
        }
    }

    /// A node's volumes hold exactly what the journal before `to` says.
    fn compare(&mut self, node: NodeIndex, to: Position, rule: &'static str, when: &str) {
        let Some(image) = self.watches.ring.replay(to) else { return };
        for (volume, wanted) in image.iter().enumerate() {
            let found = self.nodes[node.0].disks[volume + 1].seen();
            let first = differences(wanted, found).find(|block| !self.is_cold(volume, *block));
            if let Some(block) = first {
                let text = self.describe_block(volume, block, wanted, found);
                return self
                    .fail(rule, format!("{node} does not hold the journal up to {to} {when}: {text}"));
            }
        }
    }

    /// I6: what differs between the sites is marked at the one that serves.
    fn check_marks(&mut self, node: NodeIndex) {
        if let Some(text) = self.unmarked(node) {
            self.fail("I6", format!("the sites differ and {node} has no mark (the other, it): {text}"));
        }
    }

    /// A block that differs between the sites, and is not marked.
    fn unmarked(&self, node: NodeIndex) -> Option<String> {
        let (a, b) = (&self.nodes[node.other_site().0], &self.nodes[node.0]);
        let map = self.layout.map(b.disks[0].durable());
        for volume in 0..self.swarm.volumes.len() {
            let (a, b) = (&a.disks[volume + 1], &b.disks[volume + 1]);
            for former in [a.seen(), a.durable()] {
                let unmarked = differences(former, b.seen()).find(|block| {
                    !self.is_cold(volume, *block)
                        && !map.is_marked(volume_id(volume), *block as u64 * BLOCK_U64)
                });
                if let Some(block) = unmarked {
                    return Some(self.describe_block(volume, block, former, b.seen()));
                }
            }
        }
        None
    }

    /// Whether the sites are paired, the secondary has everything, and nothing is on its way to any disk.
    fn has_settled(&self) -> bool {
        let end = self.watches.ring.end();
        let standings = [NodeIndex::A, NodeIndex::B].map(|site| (site, self.standing(site)));
        let paired = standings
            .iter()
            .all(|(_, status)| status.as_ref().is_some_and(|status| status.pair == PairState::Paired));
        let follower = standings
            .iter()
            .find(|(_, status)| status.as_ref().is_some_and(|status| status.role == Role::Secondary));
        let Some((follower, _)) = follower.filter(|_| paired && !self.alone) else { return false };
        if !self.is_of_its_kind(follower.other_site()) {
            return false;
        }
        let state = self.layout.state(self.nodes[follower.0].disks[0].durable());
        let cut = state.and_then(|s| s.lanes().first().map(|lane| lane.point.position));
        let volumes =
            |node: NodeIndex| self.nodes[node.0].disks.iter().skip(1).all(|disk| disk.in_flight() == 0);
        cut.unwrap_or_default() == end && volumes(NodeIndex::A) && volumes(NodeIndex::B)
    }

    fn check_equal(&mut self) {
        let end = self.watches.ring.end();
        self.compare(NodeIndex::A, end, "I4", "at the end");
        self.compare(NodeIndex::B, end, "I4", "at the end");
    }

    fn describe_block(&self, volume: usize, block: usize, first: &Pages, second: &Pages) -> String {
        let number = u32::try_from(volume).unwrap_or(u32::MAX);
        let ops = |pages: &Pages| -> Vec<String> {
            let bytes = pages.at(block * BLOCK);
            let cells = (block as u64 * 8..).zip(bytes.chunks_exact(crate::content::CELL));
            cells
                .map(|(cell, bytes)| format!("{:?}", crate::content::classify(number, cell, bytes)))
                .collect()
        };
        format!("block {block} of volume {volume}: {:?} and {:?}", ops(first), ops(second))
    }

    /// How everything stands, in a few words.
    pub(crate) fn describe(&self) -> String {
        let mut words = Vec::new();
        let now = self.schedule.now();
        for node in &self.nodes {
            let Some(process) = &node.process else {
                words.push(format!("{} is down", node.index.name()));
                continue;
            };
            let group = process.group.as_ref().map(|group| format!("{:?}", group.status(node.now(now))));
            words.push(format!(
                "{}: {} waiting, {} asked, pool {}/{}, {}",
                node.index.name(),
                process.waiting.len(),
                process.requests.len(),
                process.pool.available(),
                process.pool.limit(),
                group.unwrap_or_default()
            ));
        }
        let in_flight: usize = self.clients.iter().map(|client| client.in_flight).sum();
        let ring = self.watches.ring.end();
        let own = [&self.watches.own[0], &self.watches.own[1]].map(|own| own.end().0);
        words.push(format!(
            "hosts wait for {in_flight}, quota {}, ring {ring}, own rings {own:?}",
            self.quota
        ));
        words.join("; ")
    }
}

fn differences(first: &Pages, second: &Pages) -> impl Iterator<Item = usize> {
    let blocks = first.pages().iter().zip(second.pages());
    blocks.enumerate().filter(|(_, (first, second))| first != second).map(|(block, _)| block)
}
