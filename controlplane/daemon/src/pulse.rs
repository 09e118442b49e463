//! Heartbeats of this node: datagrams in and out, whom they come from, and what people are shown of it.
//!
//! A machine around [`Roster`]: the socket and the clock are in [`crate::heartbeat`]. A datagram counts only when it comes
//! from the configured address of the node that it names; everything else is counted and forgotten.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use midspan_control::fault::Settings;
use midspan_control::roster::{Change, Heard, Ignored, PeerSetup, Roster, Setup, Word};
use midspan_control::verdict::Verdict;
use midspan_format::heartbeat::{HEARTBEAT_BYTES, Heartbeat, HeartbeatError, ToldGroup};
use midspan_format::ids::{Epoch as NodeEpoch, GroupId, NodeId};
use midspan_format::superblock::Role as SiteRole;

use crate::api::types::{Epoch, GroupStatus, HeartbeatsRefused, NodeStatus, PeerGroup, PeerStatus, Role};
use crate::config::{Config, Group, Id};
use crate::events::Tell;

/// How long two sites must both say that they serve before people are told: a fence takes a moment to be noticed.
const BOTH_NS: u64 = 2_000_000_000;
/// What a site said longer ago than this is no news of the present.
const FRESH_NS: u64 = 3_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;

#[derive(Debug)]
struct Peer {
    node: NodeId,
    name: String,
    address: SocketAddr,
    /// Groups whose volumes it holds.
    groups: Vec<(GroupId, String)>,
}

/// The machine.
#[derive(Debug)]
pub struct Pulse {
    roster: Roster,
    /// In the order of the roster.
    peers: Vec<Peer>,
    /// Numbers of nodes by their names, for epochs.
    numbers: BTreeMap<String, NodeId>,
    refused: BTreeMap<&'static str, u64>,
    /// Groups that two sites say they serve: since when, and whether people were told.
    both: BTreeMap<String, (u64, bool)>,
}

impl Pulse {
    /// Watches the peers of a configuration. `incarnation` is another number at each start.
    pub fn new(config: &Config, incarnation: u64, now_ns: u64) -> Self {
        let peer = |peer: &crate::config::Peer| Peer {
            node: number(peer.id),
            name: peer.name.clone(),
            address: peer.address,
            groups: of_site(config, peer.id).map(|group| (group_number(group), group.name.clone())).collect(),
        };
        let peers: Vec<Peer> = config.peers.iter().map(peer).collect();
        let setup = |peer: &Peer| PeerSetup {
            node: peer.node,
            groups: peer.groups.iter().map(|(group, _)| *group).collect(),
            shares: shared(config, peer.node).map(group_number).collect(),
            asks: neighbours(config, peer.node),
        };
        let settings = Settings {
            interval_ns: nanoseconds(config.node.heartbeat),
            pause_ns: nanoseconds(config.node.heartbeat_pause),
            ..Settings::default()
        };
        let node = number(config.node.id);
        let setup = Setup { node, incarnation, settings, peers: peers.iter().map(setup).collect() };
        let own = (config.node.name.clone(), node);
        let numbers = peers.iter().map(|peer| (peer.name.clone(), peer.node)).chain([own]).collect();
        let roster = Roster::new(setup, now_ns);
        Self { roster, peers, numbers, refused: BTreeMap::new(), both: BTreeMap::new() }
    }

    /// The other nodes as they are heard.
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Name of a peer.
    pub fn name(&self, index: usize) -> &str {
        self.peers.get(index).map_or("", |peer| &peer.name)
    }

    /// A datagram came.
    pub fn on_datagram(&mut self, now_ns: u64, from: SocketAddr, datagram: &[u8]) {
        let outcome = match Heartbeat::decode(datagram) {
            Ok(heartbeat) if !self.is_from(heartbeat.from, from) => Err("unknown_sender"),
            Ok(heartbeat) => self.roster.on_heartbeat(now_ns, &heartbeat).map_err(word),
            Err(HeartbeatError::Version { from: node, .. }) if !self.is_from(node, from) => {
                Err("unknown_sender")
            }
            Err(HeartbeatError::Version { from, to, .. }) => {
                self.roster.on_other_version(now_ns, from, to).map_err(word)
            }
            Err(HeartbeatError::Magic | HeartbeatError::Checksum | HeartbeatError::Malformed) => {
                Err("malformed")
            }
        };
        if let Err(reason) = outcome {
            self.refuse(reason);
        }
    }

    /// A heartbeat could not be given to the network.
    pub fn on_not_sent(&mut self) {
        self.refuse("not_sent");
    }

    /// This node did not run for so long.
    pub fn on_own_pause(&mut self, now_ns: u64, lost_ns: u64) {
        self.roster.on_own_pause(now_ns, lost_ns);
    }

    fn refuse(&mut self, reason: &'static str) {
        let count = self.refused.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    fn is_from(&self, node: NodeId, address: SocketAddr) -> bool {
        let same = |other: SocketAddr| {
            other.port() == address.port() && other.ip().to_canonical() == address.ip().to_canonical()
        };
        self.peers.iter().any(|peer| peer.node == node && same(peer.address))
    }

    /// The heartbeat for each peer.
    pub fn heartbeats(
        &mut self,
        now_ns: u64,
        groups: &[GroupStatus],
    ) -> Vec<(SocketAddr, [u8; HEARTBEAT_BYTES])> {
        let told: Vec<ToldGroup> = groups.iter().filter_map(|group| self.told(group)).collect();
        let peers = self.peers.iter().enumerate();
        let made = peers.filter_map(|(index, peer)| {
            let heartbeat = self.roster.heartbeat(now_ns, index, &told)?;
            Some((peer.address, heartbeat.encode()))
        });
        made.collect()
    }

    /// How a group stands here, for others; nothing while this site does not know it itself, or at a relay.
    fn told(&self, group: &GroupStatus) -> Option<ToldGroup> {
        let role = match group.role {
            Role::Primary => SiteRole::Primary,
            Role::Secondary => SiteRole::Secondary,
            Role::Relay | Role::Unknown => return None,
        };
        let node = self.numbers.get(&group.epoch.node).copied().unwrap_or_default();
        let epoch = NodeEpoch { number: group.epoch.number, node };
        let group_id = GroupId(u32::try_from(group.group_id).ok()?);
        Some(ToldGroup { group: group_id, epoch, role, serving: group.serving })
    }

    /// What has changed since it was told last.
    pub fn changes(&mut self, now_ns: u64, status: &NodeStatus) -> Vec<Tell> {
        let mut tells = Vec::new();
        for (index, peer) in self.peers.iter().enumerate() {
            if let Some(change) = self.roster.change(now_ns, index) {
                let silent_ns = self.roster.heard(now_ns, index).map_or(0, |heard| heard.silent_ns);
                tells.push(told_change(&peer.name, change, silent_ns));
            }
        }
        for group in status.groups.iter().filter(|group| group.serving) {
            let other = (0..self.peers.len()).find(|peer| self.serves_too(now_ns, *peer, group));
            let Some(other) = other else {
                self.both.remove(&group.group);
                continue;
            };
            let name = self.name(other).to_owned();
            let (since_ns, was_told) = self.both.entry(group.group.clone()).or_insert((now_ns, false));
            if now_ns.saturating_sub(*since_ns) >= BOTH_NS && !*was_told {
                *was_told = true;
                let message = format!("{name} says that it serves this group, too, in another epoch");
                tells.push(
                    Tell::error("two_sites_serve", format!("group:{}", group.group), message).hint(
                        "hosts must use one site only: `midspan status` at both sites shows the epochs",
                    ),
                );
            }
        }
        self.both.retain(|name, _| status.groups.iter().any(|group| group.serving && group.group == *name));
        tells
    }

    fn serves_too(&self, now_ns: u64, peer: usize, group: &GroupStatus) -> bool {
        let id = u32::try_from(group.group_id).map(GroupId).ok();
        let word = id.and_then(|id| self.roster.word(peer, id));
        word.is_some_and(|word| {
            let (number, node) = (word.epoch.number, self.numbers.get(&group.epoch.node).copied());
            let other = number != group.epoch.number || Some(word.epoch.node) != node;
            word.serving && other && now_ns.saturating_sub(word.at_ns) < FRESH_NS
        })
    }

    /// The other nodes, for people.
    pub fn show(&self, now_ns: u64) -> Vec<PeerStatus> {
        let shown = self.peers.iter().enumerate().filter_map(|(index, peer)| {
            let heard = self.roster.heard(now_ns, index)?;
            let group = |(id, name): &(GroupId, String)| {
                Some(self.show_word(now_ns, name, self.roster.word(index, *id)?))
            };
            Some(PeerStatus {
                groups: peer.groups.iter().filter_map(group).collect(),
                ..show_peer(peer, heard)
            })
        });
        shown.collect()
    }

    fn show_word(&self, now_ns: u64, group: &str, word: Word) -> PeerGroup {
        let node = self.numbers.iter().find(|(_, number)| **number == word.epoch.node);
        PeerGroup {
            group: group.to_owned(),
            role: match word.role {
                SiteRole::Primary => Role::Primary,
                SiteRole::Secondary => Role::Secondary,
            },
            epoch: Epoch {
                number: word.epoch.number,
                node: node.map(|(name, _)| name.clone()).unwrap_or_default(),
            },
            serving: word.serving,
            said_ms: now_ns.saturating_sub(word.at_ns) / MILLISECOND_NS,
        }
    }

    /// Heartbeats that were not used.
    pub fn refused(&self) -> Vec<HeartbeatsRefused> {
        let one = |(reason, count): (&&str, &u64)| HeartbeatsRefused {
            reason: (*reason).to_owned(),
            count: *count,
        };
        self.refused.iter().map(one).collect()
    }
}

fn show_peer(peer: &Peer, heard: Heard) -> PeerStatus {
    PeerStatus {
        node: peer.name.clone(),
        node_id: peer.node.0.into(),
        path: "direct".to_owned(),
        address: peer.address.to_string(),
        verdict: heard.verdict.word().to_owned(),
        why: heard.why.to_owned(),
        suspicion: f64::from(heard.suspicion.0) / 1_000.0,
        last_heard_ms: heard.was_heard.then_some(heard.silent_ns / MILLISECOND_NS),
        last_heard_elsewhere_ms: heard.silent_elsewhere_ns.map(|silent| silent / MILLISECOND_NS),
        rtt_ns: heard.rtt_ns,
        groups: Vec::new(),
    }
}

fn told_change(name: &str, change: Change, silent_ns: u64) -> Tell {
    let Change { before, now, why } = change;
    let silent = silent_ns / MILLISECOND_NS;
    let message = format!("{} (before: {}): {why}; heard {silent} ms ago", now.word(), before.word());
    let object = format!("node:{name}");
    match now {
        Verdict::Alive | Verdict::Suspect => Tell::info("peer_verdict", object, message),
        Verdict::PathDead | Verdict::CannotTell => {
            Tell::warn("peer_verdict", object, message).hint("check the path to that node")
        }
        Verdict::NodeDead => Tell::error("peer_verdict", object, message)
            .hint("if it held a group's primary: `midspan takeover` at this site, unless that is automatic"),
    }
}

const fn word(ignored: Ignored) -> &'static str {
    match ignored {
        Ignored::Stranger => "unknown_sender",
        Ignored::NotForUs => "not_for_us",
        Ignored::Old => "old",
    }
}

fn number(id: Id) -> NodeId {
    NodeId(id.get().into())
}

fn group_number(group: &Group) -> GroupId {
    GroupId(group.id.get().into())
}

fn nanoseconds(span: crate::config::Span) -> u64 {
    u64::try_from(span.duration().as_nanos()).unwrap_or(u64::MAX)
}

/// The groups whose volumes a node holds.
fn of_site(config: &Config, node: Id) -> impl Iterator<Item = &Group> {
    config.groups.iter().filter(move |group| group.sites.contains(&node))
}

/// The nodes that have a part in a group.
fn nodes(group: &Group) -> impl Iterator<Item = NodeId> {
    let lanes = group.lanes.iter().map(|lane| number(lane.node));
    group.sites.iter().copied().map(number).chain(lanes)
}

/// The groups that a node has a part in.
fn shared(config: &Config, node: NodeId) -> impl Iterator<Item = &Group> {
    config.groups.iter().filter(move |group| nodes(group).any(|part| part == node))
}

/// Nodes that have a group in common with a node, other than itself and this one.
fn neighbours(config: &Config, node: NodeId) -> Vec<NodeId> {
    let mut found: Vec<NodeId> = shared(config, node).flat_map(nodes).collect();
    found.sort_unstable();
    found.dedup();
    found.retain(|other| *other != node && *other != number(config.node.id));
    found
}

#[cfg(test)]
mod tests;
