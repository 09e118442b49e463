//! What the oracle looks at every now and then, when a site begins to serve, and at the end.

use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::Epoch;
use midspan_format::superblock::STATE_BYTES;

use crate::event::{Event, NodeIndex};
use crate::layout::{node_id, volume_id};
use crate::swarm::{MS, SECOND};
use crate::trace;
use crate::world::{Phase, World};

/// How long answers may take when everything is repaired.
const PATIENCE: u64 = 60 * SECOND;

impl World {
    /// Every now and then.
    pub(crate) fn on_check(&mut self) {
        self.schedule.after(50 * MS, Event::Check);
        let now = self.schedule.now();
        if self.phase != Phase::Faults && now > self.phase_since + PATIENCE {
            let text = self.describe();
            return self.fail("liveness", format!("{:?} for {} s: {text}", self.phase, PATIENCE / SECOND));
        }
        self.repeat_takeover();
        match self.phase {
            Phase::Faults | Phase::Done => {}
            Phase::Healing if self.hosts_are_done() && self.takeover_is_over() => {
                self.enter(Phase::Reading);
                self.unread = self.swarm.volumes.clone();
                for client in 0..self.clients.len() {
                    self.plan_client(client, MS);
                }
            }
            Phase::Reading if self.hosts_are_done() => self.enter(Phase::Settling),
            Phase::Healing | Phase::Reading => {}
            Phase::Settling if self.takeover.asked => {
                self.check_marks();
                self.check_former_primary();
                self.enter(Phase::Done);
            }
            Phase::Settling => {
                if self.has_settled() {
                    self.check_equal();
                    self.enter(Phase::Done);
                }
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        trace::line("oracle", || format!("{phase:?}"));
        self.phase = phase;
        self.phase_since = self.schedule.now();
    }

    fn takeover_is_over(&self) -> bool {
        !self.takeover.asked || self.takeover.serving_since.is_some()
    }

    fn repeat_takeover(&mut self) {
        let life = self.nodes[NodeIndex::B.0].process.as_ref().map(|process| process.life);
        let unheard = life.is_some_and(|life| life != self.takeover.asked_life);
        if self.takeover.asked && self.takeover.serving_since.is_none() && unheard {
            self.ask_takeover(false);
        }
    }

    /// A site says that it serves: its volumes hold exactly what the journal says (I4), and one who was replaced never does (I5).
    pub(crate) fn on_serving(&mut self, node: NodeIndex, epoch: Epoch) {
        if epoch.node != node_id(node) {
            self.fail("I5", format!("{node} serves in epoch {epoch}, which is not its own"));
        }
        if self.takeover.serving_since.is_some() {
            if node == NodeIndex::A {
                self.fail("I5", format!("A serves in epoch {epoch} after B has taken over"));
            }
            // B again: what it wrote outside the lanes is in no journal.
            return;
        }
        let to = self.watches.ring.claimed();
        self.compare(node, to, "I4", "when it begins to serve");
        if node == NodeIndex::B {
            self.takeover.serving_since = Some(self.schedule.now());
            self.figures.takeovers += 1;
            self.check_marks();
        }
    }

    /// The group state of B was saved: its volumes hold the cut that it names, and nothing torn (I4).
    pub(crate) fn on_state_saved(&mut self, offset: usize) {
        let start = usize::try_from(self.layout.state_offset).unwrap_or(usize::MAX);
        let is_state = (start..start + 2 * STATE_BYTES).contains(&offset);
        if !is_state || self.takeover.serving_since.is_some() {
            return;
        }
        let disks = &self.nodes[NodeIndex::B.0].disks;
        let Some(state) = self.layout.state(disks[0].durable()) else { return };
        let cut = state.lanes().first().map_or(Position(0), |lane| lane.point.position);
        let own = &mut self.watches.own;
        if cut > own.end() {
            let end = own.end();
            return self.fail("I4", format!("B's cut is at {cut}, but its own ring holds only {end}"));
        }
        own.fold(cut);
        let (image, newer) = own.folded();
        for (volume, (wanted, disk)) in image.iter().zip(&disks[1..]).enumerate() {
            let number = u32::try_from(volume).unwrap_or(u32::MAX);
            let blocks = wanted.chunks_exact(BLOCK).zip(disk.durable().chunks_exact(BLOCK));
            let wrong = (0..)
                .zip(blocks)
                .find(|(block, (wanted, found))| wanted != found && !newer.contains(&(number, *block)));
            if let Some((block, _)) = wrong {
                let what =
                    format!("B's cut is at {cut}, but block {block} of volume {volume} is not durably so");
                return self.fail("I4", what);
            }
        }
    }

    /// A node's volumes hold exactly what the journal before `to` says.
    fn compare(&mut self, node: NodeIndex, to: Position, rule: &'static str, when: &str) {
        let Some(image) = self.watches.ring.replay(to) else { return };
        for (volume, wanted) in image.iter().enumerate() {
            let found = self.nodes[node.0].disks[volume + 1].seen();
            if let Some(block) = first_difference(wanted, found) {
                let text = self.describe_block(volume, block, wanted, found);
                return self
                    .fail(rule, format!("{node} does not hold the journal up to {to} {when}: {text}"));
            }
        }
    }

    /// I6: what differs between the sites is marked at the one that serves.
    fn check_marks(&mut self) {
        if let Some(text) = self.unmarked() {
            self.fail("I6", format!("the sites differ and B has no mark (A, B): {text}"));
        }
    }

    /// A block that differs between the sites, and is not marked.
    fn unmarked(&self) -> Option<String> {
        let [a, _, b] = self.nodes.as_slice() else { return None };
        let map = self.layout.map(b.disks[0].durable());
        for volume in 0..self.swarm.volumes.len() {
            let (a, b) = (&a.disks[volume + 1], &b.disks[volume + 1]);
            for former in [a.seen(), a.durable()] {
                let blocks = former.chunks_exact(BLOCK).zip(b.seen().chunks_exact(BLOCK));
                let differ =
                    (0..).zip(blocks).filter(|(_, (former, new))| former != new).map(|(block, _)| block);
                let unmarked =
                    differ.into_iter().find(|block| !map.is_marked(volume_id(volume), block * 4096));
                if let Some(block) = unmarked {
                    return Some(self.describe_block(volume, usize::try_from(block).ok()?, former, b.seen()));
                }
            }
        }
        None
    }

    fn check_former_primary(&mut self) {
        if self.nodes[NodeIndex::A.0].process.as_ref().is_some_and(|process| process.is_serving()) {
            self.fail("I5", "A still serves when everything is repaired, and B serves too".to_owned());
        }
    }

    /// Whether the secondary has everything, and nothing is on its way to any disk.
    fn has_settled(&self) -> bool {
        let end = self.watches.ring.end();
        let b = &self.nodes[NodeIndex::B.0].disks[0];
        let cut =
            self.layout.state(b.durable()).and_then(|s| s.lanes().first().map(|lane| lane.point.position));
        let volumes =
            |node: NodeIndex| self.nodes[node.0].disks.iter().skip(1).all(|disk| disk.in_flight() == 0);
        self.watches.own.end() == end
            && cut.unwrap_or_default() == end
            && volumes(NodeIndex::A)
            && volumes(NodeIndex::B)
    }

    fn check_equal(&mut self) {
        let end = self.watches.ring.end();
        self.compare(NodeIndex::A, end, "I4", "at the end");
        self.compare(NodeIndex::B, end, "I4", "at the end");
    }

    fn describe_block(&self, volume: usize, block: usize, first: &[u8], second: &[u8]) -> String {
        let number = u32::try_from(volume).unwrap_or(u32::MAX);
        let range = block * BLOCK..(block + 1) * BLOCK;
        let ops = |bytes: &[u8]| -> Vec<String> {
            let cells = (block as u64 * 8..).zip(bytes[range.clone()].chunks_exact(crate::content::CELL));
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
        let (ring, own) = (self.watches.ring.end(), self.watches.own.end());
        words.push(format!("hosts wait for {in_flight}, quota {}, ring {ring}, own ring {own}", self.quota));
        words.join("; ")
    }
}

fn first_difference(first: &[u8], second: &[u8]) -> Option<usize> {
    first.chunks_exact(BLOCK).zip(second.chunks_exact(BLOCK)).position(|(first, second)| first != second)
}
