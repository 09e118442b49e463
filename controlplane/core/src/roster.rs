//! The other nodes as this one hears them: heartbeats in and out, a verdict on each node, and what it says of its groups.
//!
//! Whoever feeds it has checked that a heartbeat came from the address of the node that it names. Nothing is allocated
//! after `new`; who is not configured has no place.

use alloc::vec::Vec;

use midspan_format::heartbeat::{
    Hearing, Heartbeat, MAX_TOLD_GROUPS, MAX_TOLD_NODES, Payload, ToldGroup, ToldNode,
};
use midspan_format::ids::{Epoch, GroupId, NodeId};
use midspan_format::list::List;
use midspan_format::superblock::Role;

use crate::fault::{Detector, Level, Settings, Suspicion};
use crate::verdict::{PathFacts, Verdict};

/// What a node said of another one longer ago than this does not count any more.
const FRESH_NS: u64 = 3_000_000_000;
/// A changed verdict is announced once in so long: one that changes back at once is not announced.
const ANNOUNCE_NS: u64 = 1_000_000_000;
/// An echo of a stamp older than this is none of this process.
const LONGEST_TRIP_NS: u64 = 60_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;

/// What is configured.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node.
    pub node: NodeId,
    /// Another number at each start.
    pub incarnation: u64,
    /// For all detectors.
    pub settings: Settings,
    /// The other nodes.
    pub peers: Vec<PeerSetup>,
}

/// Another node.
#[derive(Clone, Debug, Default)]
pub struct PeerSetup {
    /// Its number.
    pub node: NodeId,
    /// The groups whose volumes it holds: it is listened to about these.
    pub groups: Vec<GroupId>,
    /// The groups it has any part in: it is told about these.
    pub shares: Vec<GroupId>,
    /// Nodes that it wants to hear about: those that have a group in common with it.
    pub asks: Vec<NodeId>,
}

/// Why a heartbeat was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// From a node that is not configured.
    Stranger,
    /// For another node.
    NotForUs,
    /// Older than one that came already.
    Old,
}

/// What a site said last of one of its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its role.
    pub role: Role,
    /// The newest epoch it knows.
    pub epoch: Epoch,
    /// It serves hosts.
    pub serving: bool,
    /// When it said so.
    pub at_ns: u64,
}

/// What a node said last of how it hears another one.
#[derive(Clone, Copy, Debug)]
struct Report {
    hearing: Hearing,
    silent_ns: u64,
    at_ns: u64,
}

#[derive(Debug)]
struct Peer {
    setup: PeerSetup,
    detector: Detector,
    incarnation: Option<u64>,
    former: Option<u64>,
    stamp: u64,
    rtt_ns: Option<u64>,
    /// As many as `setup.groups`.
    words: Vec<Option<Word>>,
    /// One for each peer.
    reports: Vec<Option<Report>>,
    announced: Verdict,
    announced_ns: u64,
    /// How many heartbeats were made for it: lists that do not fit into one go on in the next.
    made: usize,
}

/// A verdict that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Announced last.
    pub before: Verdict,
    /// Now.
    pub now: Verdict,
    /// Why.
    pub why: &'static str,
}

/// How a node is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What is thought of it.
    pub verdict: Verdict,
    /// Why.
    pub why: &'static str,
    /// Of the direct path.
    pub suspicion: Suspicion,
    /// Whether it was heard since this node started.
    pub was_heard: bool,
    /// Silence on the direct path.
    pub silent_ns: u64,
    /// Silence as told by the nodes that are heard: the shortest.
    pub silent_elsewhere_ns: Option<u64>,
    /// Time of the last way there and back.
    pub rtt_ns: Option<u64>,
}

/// All other nodes, by index in the order of the setup.
#[derive(Debug)]
pub struct Roster {
    node: NodeId,
    incarnation: u64,
    interval_ns: u64,
    peers: Vec<Peer>,
}

impl Roster {
    /// Nobody was heard so far.
    pub fn new(setup: Setup, now_ns: u64) -> Self {
        let Setup { node, incarnation, settings, peers } = setup;
        let count = peers.len();
        let peer = |setup: PeerSetup| Peer {
            words: setup.groups.iter().map(|_| None).collect(),
            setup,
            detector: Detector::new(settings, now_ns),
            incarnation: None,
            former: None,
            stamp: 0,
            rtt_ns: None,
            reports: (0..count).map(|_| None).collect(),
            announced: Verdict::Suspect,
            announced_ns: now_ns,
            made: 0,
        };
        let peers = peers.into_iter().map(peer).collect();
        Self { node, incarnation, interval_ns: settings.interval_ns, peers }
    }

    /// The index of a node.
    pub fn index(&self, node: NodeId) -> Option<usize> {
        self.peers.iter().position(|peer| peer.setup.node == node)
    }

    /// A heartbeat came from the address of the node that it names.
    ///
    /// # Errors
    /// It is not used.
    pub fn on_heartbeat(&mut self, now_ns: u64, heartbeat: &Heartbeat) -> Result<(), Ignored> {
        let index = self.sender(heartbeat.from, heartbeat.to)?;
        let payload = &heartbeat.payload;
        let Some(peer) = self.peers.get_mut(index) else { return Err(Ignored::Stranger) };
        peer.accept(payload)?;
        peer.detector.expect(u64::from(payload.interval_ms) * MILLISECOND_NS);
        peer.detector.on_heartbeat(now_ns);
        if let Some(trip_ns) = now_ns.checked_sub(payload.echo)
            && payload.echo != 0
            && trip_ns < LONGEST_TRIP_NS
        {
            peer.rtt_ns = Some(trip_ns.saturating_sub(payload.held_ns));
        }
        peer.hear(now_ns, &payload.groups);
        for told in &payload.nodes {
            let report = Report {
                hearing: told.hearing,
                silent_ns: u64::from(told.silent_ms) * MILLISECOND_NS,
                at_ns: now_ns,
            };
            let about = self.index(told.node);
            let place = about.and_then(|about| self.peers.get_mut(index)?.reports.get_mut(about));
            if let Some(place) = place {
                *place = Some(report);
            }
        }
        Ok(())
    }

    /// A heartbeat of another version came: all that can be used of it is that it came.
    ///
    /// # Errors
    /// It is not used.
    pub fn on_other_version(&mut self, now_ns: u64, from: NodeId, to: NodeId) -> Result<(), Ignored> {
        let index = self.sender(from, to)?;
        if let Some(peer) = self.peers.get_mut(index) {
            peer.detector.on_heartbeat(now_ns);
        }
        Ok(())
    }

    fn sender(&self, from: NodeId, to: NodeId) -> Result<usize, Ignored> {
        let index = self.index(from).ok_or(Ignored::Stranger)?;
        if to == self.node { Ok(index) } else { Err(Ignored::NotForUs) }
    }

    /// This node itself did not run for so long: that was nobody's silence.
    pub fn on_own_pause(&mut self, now_ns: u64, lost_ns: u64) {
        self.peers.iter_mut().for_each(|peer| peer.detector.forgive(lost_ns, now_ns));
    }

    /// The heartbeat for a peer. `groups` is how this site's groups stand.
    pub fn heartbeat(&mut self, now_ns: u64, index: usize, groups: &[ToldGroup]) -> Option<Heartbeat> {
        let (asks, made) = self.peers.get(index).map(|peer| (peer.setup.asks.len(), peer.made))?;
        let mut nodes = List::default();
        for place in turn(asks, made, MAX_TOLD_NODES) {
            let about = self.peers.get(index).and_then(|peer| peer.setup.asks.get(place)).copied();
            if let Some(told) = about.and_then(|about| self.told(now_ns, about)) {
                nodes.push(told);
            }
        }
        let node = self.node;
        let (incarnation, interval_ns) = (self.incarnation, self.interval_ns);
        let peer = self.peers.get_mut(index)?;
        let concerns = |told: &&ToldGroup| peer.setup.shares.contains(&told.group);
        let count = groups.iter().filter(concerns).count();
        let places = turn(count, made, MAX_TOLD_GROUPS);
        let groups = places.filter_map(|place| groups.iter().filter(concerns).nth(place)).copied().collect();
        peer.made = peer.made.wrapping_add(1);
        let held_ns = peer.detector.silent_ns(now_ns);
        let interval_ms = u32::try_from(interval_ns / MILLISECOND_NS).unwrap_or(u32::MAX);
        let payload =
            Payload { incarnation, stamp: now_ns, echo: peer.stamp, held_ns, interval_ms, groups, nodes };
        Some(Heartbeat { from: node, to: peer.setup.node, payload })
    }

    /// How another node is heard; `None` while that cannot be said, because this node has not waited long enough.
    fn told(&self, now_ns: u64, node: NodeId) -> Option<ToldNode> {
        let detector = &self.peers.get(self.index(node)?)?.detector;
        let hearing = match detector.level(now_ns) {
            Level::Alive => Hearing::Heard,
            Level::Suspect if !detector.was_heard() => return None,
            Level::Suspect => Hearing::Late,
            Level::Dead => Hearing::Silent,
        };
        let silent_ms = u32::try_from(detector.silent_ns(now_ns) / MILLISECOND_NS).unwrap_or(u32::MAX);
        Some(ToldNode { node, hearing, silent_ms })
    }

    /// How a node is heard; `None` beyond the last.
    pub fn heard(&self, now_ns: u64, index: usize) -> Option<Heard> {
        let peer = self.peers.get(index)?;
        let mut facts = PathFacts::of(peer.detector.level(now_ns));
        let mut silent_elsewhere_ns: Option<u64> = None;
        for (_, other) in self.peers.iter().enumerate().filter(|(other, _)| *other != index) {
            let level = other.detector.level(now_ns);
            let report = other.fresh_report(now_ns, index);
            facts.add(level, report.map(|report| level_of(report.hearing)));
            if let Some(report) = report.filter(|_| level == Level::Alive) {
                let silent = report.silent_ns.saturating_add(now_ns.saturating_sub(report.at_ns));
                silent_elsewhere_ns = Some(silent_elsewhere_ns.map_or(silent, |least| least.min(silent)));
            }
        }
        let (verdict, why) = Verdict::of(facts);
        Some(Heard {
            verdict,
            why,
            suspicion: peer.detector.suspicion(now_ns),
            was_heard: peer.detector.was_heard(),
            silent_ns: peer.detector.silent_ns(now_ns),
            silent_elsewhere_ns,
            rtt_ns: peer.rtt_ns,
        })
    }

    /// For how long a node that is heard itself has not heard another one; `None` where it does not say.
    pub fn silence_at(&self, now_ns: u64, witness: usize, about: usize) -> Option<u64> {
        let peer = self.peers.get(witness).filter(|peer| peer.detector.level(now_ns) == Level::Alive)?;
        let report = peer.fresh_report(now_ns, about)?;
        Some(report.silent_ns.saturating_add(now_ns.saturating_sub(report.at_ns)))
    }

    /// Whether the verdict on a node has changed since it was announced last.
    pub fn change(&mut self, now_ns: u64, index: usize) -> Option<Change> {
        let Heard { verdict: now, why, .. } = self.heard(now_ns, index)?;
        let peer = self.peers.get_mut(index)?;
        if now == peer.announced || now_ns.saturating_sub(peer.announced_ns) < ANNOUNCE_NS {
            return None;
        }
        let before = core::mem::replace(&mut peer.announced, now);
        peer.announced_ns = now_ns;
        Some(Change { before, now, why })
    }

    /// What a site said last of a group.
    pub fn word(&self, index: usize, group: GroupId) -> Option<Word> {
        let peer = self.peers.get(index)?;
        let place = peer.setup.groups.iter().position(|known| *known == group)?;
        peer.words.get(place).copied().flatten()
    }

    /// Asserts what always holds.
    pub fn check(&self) {
        for peer in &self.peers {
            peer.detector.check();
            assert_eq!(peer.words.len(), peer.setup.groups.len());
            assert_eq!(peer.reports.len(), self.peers.len());
        }
    }
}

impl Peer {
    /// Takes note of who sends and when; a heartbeat from before is refused. Incarnations are numbers without order, for
    /// a wall clock may have gone back.
    fn accept(&mut self, payload: &Payload) -> Result<(), Ignored> {
        if self.former == Some(payload.incarnation) {
            return Err(Ignored::Old);
        }
        if self.incarnation != Some(payload.incarnation) {
            self.former = self.incarnation.replace(payload.incarnation);
        } else if payload.stamp <= self.stamp {
            return Err(Ignored::Old);
        }
        self.stamp = payload.stamp;
        Ok(())
    }

    fn hear(&mut self, at_ns: u64, groups: &[ToldGroup]) {
        for told in groups {
            let place = self.setup.groups.iter().position(|known| *known == told.group);
            if let Some(word) = place.and_then(|place| self.words.get_mut(place)) {
                let ToldGroup { role, epoch, serving, .. } = *told;
                *word = Some(Word { role, epoch, serving, at_ns });
            }
        }
    }

    fn fresh_report(&self, now_ns: u64, about: usize) -> Option<Report> {
        let report = self.reports.get(about).copied().flatten()?;
        (now_ns.saturating_sub(report.at_ns) < FRESH_NS).then_some(report)
    }
}

const fn level_of(hearing: Hearing) -> Level {
    match hearing {
        Hearing::Heard => Level::Alive,
        Hearing::Late => Level::Suspect,
        Hearing::Silent => Level::Dead,
    }
}

/// The next places of a list of `count`, at most `most` of them, for the heartbeat number `made`.
fn turn(count: usize, made: usize, most: usize) -> impl Iterator<Item = usize> {
    let length = count.min(most);
    let first = made.wrapping_mul(length).checked_rem(count).unwrap_or(0);
    (0..length).map(move |place| (first + place) % count)
}

#[cfg(test)]
mod tests;
