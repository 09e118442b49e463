//! Whole nodes in one process: a relay and two sites over loopback, on real disks.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use midspan_format::control::{GroupCommand, GroupStatus, LossReason};
use midspan_format::ids::{GroupId, NodeId, VolumeId};
use midspan_format::superblock::{PairState, Role};
use midspan_node::config::{
    Address, AnswerMode, ControlPath, ExportConfig, GroupConfig, LanePolicy, Limits, Listen, MemoryConfig,
    NodeConfig, Pace, Source, VolumeConfig,
};
use midspan_node::exports::ExportId;
use midspan_node::format::format;
use midspan_node::node::{NodeHandle, start_with};
use midspan_node::peer::Peer;
use midspan_node::port::{Command, CommandId, Note, Reply, Report, StartNote, StartRefusal};
use midspan_protocol::vocab::effect::HostError;
use rig::puppet::{Ask, Hosts};
use rig::{A, B, GROUP, LANE, MIB, RELAY, Scratch, peek, relay_group, site_group, spec};

const OTHER: GroupId = GroupId(9);
const VOLUME: u64 = 4 * MIB;
const X: ExportId = ExportId(0);
const Y: ExportId = ExportId(1);

/// Three nodes with two groups of one volume each.
struct Cluster {
    scratch: Scratch,
    groups: Vec<GroupId>,
    cores: Vec<usize>,
    /// The secondary's volumes are copied when the group is first started.
    initial_copy: bool,
    /// A ring that is full for long is left.
    may_leave: bool,
    relay: Option<NodeHandle>,
    relay_at: SocketAddr,
    sites: BTreeMap<NodeId, Site>,
}

struct Site {
    handle: NodeHandle,
    hosts: Hosts,
}

impl Cluster {
    fn new(groups: &[GroupId], cores: &[usize]) -> Self {
        let scratch = Scratch::new();
        let relayed = groups.iter().map(|group| relay_group(*group, 4 * MIB)).collect();
        let journal = scratch.disk("relay.journal", 16 * MIB);
        format(&spec(&journal, RELAY, relayed)).unwrap();
        for node in [A, B] {
            let volumes: Vec<_> = groups.iter().map(|group| volume_of(&scratch, node, *group)).collect();
            let parts = groups.iter().zip(&volumes).map(|(group, volume)| {
                scratch.disk(&file(node, *group), VOLUME);
                site_group(*group, 4 * MIB, vec![volume.clone()])
            });
            let parts = parts.collect();
            format(&spec(&scratch.disk(&journal_of(node), 16 * MIB), node, parts)).unwrap();
        }
        let at = "127.0.0.1:0".parse().unwrap();
        let relay = start_relay(&scratch, groups, cores, at);
        let relay_at = relay.listening().unwrap();
        let (groups, cores) = (groups.to_vec(), cores.to_vec());
        let (relay, sites) = (Some(relay), BTreeMap::new());
        Self { scratch, groups, cores, initial_copy: false, may_leave: false, relay, relay_at, sites }
    }

    fn start(&mut self, node: NodeId) -> &Site {
        self.start_as(node, self.config(node))
    }

    fn start_as(&mut self, node: NodeId, config: NodeConfig) -> &Site {
        let hosts = Hosts::default();
        let handle = start_with(config, hosts.front_end()).unwrap();
        self.sites.insert(node, Site { handle, hosts });
        &self.sites[&node]
    }

    fn stop(&mut self, node: NodeId) {
        self.sites.remove(&node).unwrap().handle.stop();
    }

    fn stop_relay(&mut self) {
        self.relay.take().unwrap().stop();
    }

    fn start_relay(&mut self) {
        self.relay = Some(start_relay(&self.scratch, &self.groups, &self.cores, self.relay_at));
    }

    fn config(&self, node: NodeId) -> NodeConfig {
        let mut config = NodeConfig::new(node);
        config.cores = self.cores.clone();
        config.memory = memory();
        config.journal = Some(self.scratch.path(&journal_of(node)));
        config.peers = vec![Peer { node: RELAY, addresses: vec![Address::Tcp(self.relay_at)] }];
        config.requests = 64;
        for group in &self.groups {
            config.groups.push(GroupConfig {
                group: *group,
                sites: [A, B],
                initial_role: if node == A { Role::Primary } else { Role::Secondary },
                initial_copy: self.initial_copy,
                may_leave: self.may_leave,
                alone: false,
                control: ControlPath::Both,
                lane: LANE,
                lanes: vec![RELAY],
                lane_policy: LanePolicy::Failover,
                direct: false,
                resend_bytes: 64 << 20,
                answer: AnswerMode::Journaled,
                volumes: vec![volume_of(&self.scratch, node, *group)],
                limits: Limits { requests: 64, ..Limits::default() },
                pace: Pace::default(),
            });
            config.exports.push(ExportConfig {
                name: format!("disk-{group}"),
                description: String::new(),
                source: Source::Group(*group, VolumeId(1)),
                read_only: false,
                default: false,
            });
        }
        config
    }

    fn volume(&self, node: NodeId, group: GroupId) -> Vec<u8> {
        peek(&self.scratch.path(&file(node, group)), 0, VOLUME as usize)
    }
}

fn memory() -> MemoryConfig {
    MemoryConfig { huge_pages: false, ..MemoryConfig::of_bytes(64 << 20) }
}

fn file(node: NodeId, group: GroupId) -> String {
    format!("{node}-{group}.volume")
}

fn journal_of(node: NodeId) -> String {
    format!("{node}.journal")
}

fn volume_of(scratch: &Scratch, node: NodeId, group: GroupId) -> VolumeConfig {
    rig::volume(1, &scratch.path(&file(node, group)))
}

fn start_relay(scratch: &Scratch, groups: &[GroupId], cores: &[usize], at: SocketAddr) -> NodeHandle {
    let mut config = NodeConfig::new(RELAY);
    config.cores = cores.to_vec();
    config.memory = memory();
    config.journal = Some(scratch.path("relay.journal"));
    config.listen = Some(Listen::At(Address::Tcp(at)));
    config.relay_groups = Some(groups.to_vec());
    config.recent_bytes = MIB;
    start_with(config, Hosts::default().front_end()).unwrap()
}

impl Site {
    /// The reply to a command; notes that come before it go to `notes`.
    fn command(&self, group: GroupId, command: Command, notes: &mut Vec<Note>) -> Reply {
        let shard = self.handle.shard_of(group).unwrap();
        self.handle.command(shard, CommandId(1), command).unwrap();
        self.hosts.wait_until("a reply", || self.report(group, notes))
    }

    fn report(&self, of: GroupId, notes: &mut Vec<Note>) -> Option<Reply> {
        while let Some(report) = self.handle.report() {
            match report {
                Report::Reply { reply, .. } => return Some(reply),
                Report::Note { group, note } if group == Some(of) => notes.push(note),
                Report::Note { .. } | Report::Serving { .. } => {}
                Report::Disk(failure) => panic!("{failure}"),
                Report::Ended { failure, .. } => panic!("ended: {failure:?}"),
            }
        }
        None
    }

    fn status(&self, group: GroupId) -> GroupStatus {
        let reply = self.command(group, Command::GroupStatus(group), &mut Vec::new());
        let Reply::Group(status) = reply else { panic!("{reply:?}") };
        *status
    }
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// Many overlapping writes of one host, and the content that they must leave; all answered.
fn scribble(hosts: &Hosts, export: ExportId, content: &mut [u8], random: &mut Random, writes: usize) {
    let mut waiting = std::collections::VecDeque::new();
    for _ in 0..writes {
        let length = [1, 512, 4096, 20_000, 131_072][random.below(5) as usize];
        let offset = random.below(content.len() as u64 - 200_000) / 512 * 512;
        // A piece covers at most 128 KiB of whole blocks.
        let length = length.min(131_072 - offset as usize % 4096);
        let fill = random.below(256) as u8;
        let data: Vec<u8> = (0..length).map(|i| fill.wrapping_add(i as u8)).collect();
        content[offset as usize..][..length].copy_from_slice(&data);
        waiting.push_back(hosts.ask(export, Ask::Write { offset, data, fua: false }));
        if waiting.len() > 40 {
            hosts.answer(waiting.pop_front().unwrap()).unwrap();
        }
    }
    for id in waiting {
        hosts.answer(id).unwrap();
    }
}

fn read_all(hosts: &Hosts, export: ExportId) -> Vec<u8> {
    const PIECE: usize = 128 * 1024;
    (0..VOLUME / PIECE as u64).flat_map(|piece| hosts.read(export, piece * PIECE as u64, PIECE)).collect()
}

#[test]
fn what_hosts_write_at_one_site_comes_to_the_other() {
    let groups = [GROUP, OTHER];
    let mut cluster = Cluster::new(&groups, &[0, 1]);
    cluster.start(B);
    cluster.start(A);
    let hosts = &cluster.sites[&A].hosts;
    let mut contents = [vec![0; VOLUME as usize], vec![0; VOLUME as usize]];
    let mut random = Random(1);
    for export in [X, Y] {
        hosts.wait_serving(export, true);
    }
    assert_ne!(cluster.sites[&A].handle.shard_of(GROUP), cluster.sites[&A].handle.shard_of(OTHER));
    // Several times the rings' size, so that they wrap.
    for _ in 0..4 {
        for (export, content) in [X, Y].into_iter().zip(&mut contents) {
            scribble(hosts, export, content, &mut random, 100);
        }
    }
    hosts.call(X, Ask::Zero { offset: 8192, length: 65536 }).unwrap();
    contents[0][8192..8192 + 65536].fill(0);
    for (export, content) in [X, Y].into_iter().zip(&contents) {
        hosts.call(export, Ask::Flush).unwrap();
        assert!(read_all(hosts, export) == *content, "{export:?} reads what was written");
    }
    for (group, content) in groups.into_iter().zip(&contents) {
        let same = || (cluster.volume(B, group) == *content).then_some(());
        hosts.wait_until("the secondary's disk holds it", same);
    }
    assert_eq!(cluster.sites[&A].status(GROUP).role, Role::Primary);
    let follower = &cluster.sites[&B];
    assert_eq!(follower.status(OTHER).role, Role::Secondary);
    assert_eq!(follower.hosts.call(X, Ask::Flush), Err(HostError::NotServing), "a secondary serves nobody");
    for node in [A, B] {
        cluster.stop(node);
    }
    for (group, content) in groups.into_iter().zip(&contents) {
        assert!(cluster.volume(A, group) == *content);
    }
}

#[test]
fn a_taker_serves_everything_that_was_answered() {
    let mut cluster = Cluster::new(&[GROUP], &[0]);
    cluster.start(B);
    let hosts = cluster.start(A).hosts.clone();
    hosts.wait_serving(X, true);
    let mut content = vec![0; VOLUME as usize];
    scribble(&hosts, X, &mut content, &mut Random(2), 300);
    cluster.stop(A);
    let site = &cluster.sites[&B];
    let command = GroupCommand::Takeover { accept_loss: false, dry_run: false };
    let mut notes = Vec::new();
    let reply = site.command(GROUP, Command::Group { group: GROUP, command }, &mut notes);
    assert!(matches!(reply, Reply::Taken), "{reply:?}");
    site.hosts.wait_serving(X, true);
    let report = site.hosts.wait_until("the end of the takeover", || {
        assert!(site.report(GROUP, &mut notes).is_none());
        notes.iter().find_map(|note| {
            let Note::Start(StartNote::Done(report)) = note else { return None };
            Some(*report)
        })
    });
    assert!(report.lost_nothing, "{report:?}");
    assert!(read_all(&site.hosts, X) == content);
    // What the taker writes alone is marked.
    let hosts = cluster.sites[&B].hosts.clone();
    scribble(&hosts, X, &mut content, &mut Random(7), 200);
    // The former primary finds itself replaced, follows, and is brought up by a round while hosts go on.
    let former = cluster.start(A);
    assert_eq!(former.hosts.call(X, Ask::Read { offset: 0, length: 4096 }), Err(HostError::NotServing));
    scribble(&hosts, X, &mut content, &mut Random(8), 200);
    wait_paired(&cluster);
    scribble(&hosts, X, &mut content, &mut Random(9), 100);
    // Home again, as planned: hosts wait a moment and go on at the other site.
    let command = Command::Group { group: GROUP, command: GroupCommand::Switchover };
    cluster.sites[&B].command(GROUP, command, &mut Vec::new());
    let home = cluster.sites[&A].hosts.clone();
    home.wait_serving(X, true);
    assert!(read_all(&home, X) == content);
    scribble(&home, X, &mut content, &mut Random(10), 100);
    wait_paired(&cluster);
    assert!(read_all(&home, X) == content);
    // And the same once more by a crash: everything is where it must be.
    cluster.stop(A);
    let command = GroupCommand::Takeover { accept_loss: false, dry_run: false };
    cluster.sites[&B].command(GROUP, Command::Group { group: GROUP, command }, &mut Vec::new());
    hosts.wait_serving(X, true);
    assert!(read_all(&hosts, X) == content);
}

/// What a primary may do is in its frames: a taker whose own config says otherwise believes them.
#[test]
fn a_primary_that_may_be_alone_is_not_called_lossless_by_a_site_configured_otherwise() {
    let mut cluster = Cluster::new(&[GROUP], &[0]);
    cluster.start(B);
    let mut config = cluster.config(A);
    config.groups.iter_mut().for_each(|group| (group.may_leave, group.alone) = (true, true));
    let hosts = cluster.start_as(A, config).hosts.clone();
    hosts.wait_serving(X, true);
    scribble(&hosts, X, &mut vec![0; VOLUME as usize], &mut Random(31), 20);
    cluster.stop(A);
    let site = &cluster.sites[&B];
    let command = GroupCommand::Takeover { accept_loss: false, dry_run: false };
    let mut notes = Vec::new();
    site.command(GROUP, Command::Group { group: GROUP, command }, &mut notes);
    let refusal = site.hosts.wait_until("the end of the takeover", || {
        assert!(site.report(GROUP, &mut notes).is_none());
        notes.iter().find_map(|note| {
            let Note::Start(StartNote::Refused(refusal)) = note else { return None };
            Some(*refusal)
        })
    });
    assert!(matches!(refusal, StartRefusal::MayLose { why: LossReason::MayBeAlone, .. }), "{refusal:?}");
}

/// Waits until one site serves in the lanes and the other follows it with a cut.
fn wait_paired(cluster: &Cluster) {
    let [a, b] = [A, B].map(|node| &cluster.sites[&node]);
    a.hosts.wait_until("paired", || {
        let found = [a.status(GROUP), b.status(GROUP)];
        let paired = found.iter().all(|status| status.pair == PairState::Paired && !status.no_cut);
        (paired && found.iter().any(|status| status.serving)).then_some(())
    });
}

/// History 2 and claim "overflow": hosts go on at full speed while the secondary is away, and a round follows.
#[test]
fn a_full_ring_is_left_and_the_secondary_brought_up_when_it_is_back() {
    let mut cluster = Cluster::new(&[GROUP], &[0]);
    cluster.may_leave = true;
    cluster.start(B);
    let hosts = cluster.start(A).hosts.clone();
    hosts.wait_serving(X, true);
    let mut content = vec![0; VOLUME as usize];
    scribble(&hosts, X, &mut content, &mut Random(21), 100);
    cluster.stop(B);
    let a = &cluster.sites[&A];
    let mut random = Random(22);
    // More than the ring holds: the last of it is answered outside the lanes. All in one place, so that what waits while they
    // are left overlaps: it is to keep its order.
    while a.status(GROUP).pair != PairState::Suspended {
        scribble(&hosts, X, &mut content[..300_000], &mut random, 50);
    }
    assert!(!a.status(GROUP).zero_loss);
    scribble(&hosts, X, &mut content, &mut random, 100);
    cluster.start(B);
    scribble(&hosts, X, &mut content, &mut random, 100);
    wait_paired(&cluster);
    cluster.stop(A);
    let command = GroupCommand::Takeover { accept_loss: false, dry_run: false };
    let site = &cluster.sites[&B];
    site.command(GROUP, Command::Group { group: GROUP, command }, &mut Vec::new());
    site.hosts.wait_serving(X, true);
    assert!(read_all(&site.hosts, X) == content);
}

#[test]
fn a_first_copy_brings_a_secondary_that_held_something_else_to_the_same() {
    let mut cluster = Cluster::new(&[GROUP], &[0]);
    cluster.initial_copy = true;
    let hosts = cluster.start(A).hosts.clone();
    hosts.wait_serving(X, true);
    let mut content = vec![0; VOLUME as usize];
    scribble(&hosts, X, &mut content, &mut Random(4), 300);
    cluster.start(B);
    scribble(&hosts, X, &mut content, &mut Random(5), 300);
    wait_paired(&cluster);
    cluster.stop(A);
    let command = GroupCommand::Takeover { accept_loss: false, dry_run: false };
    let site = &cluster.sites[&B];
    site.command(GROUP, Command::Group { group: GROUP, command }, &mut Vec::new());
    site.hosts.wait_serving(X, true);
    assert!(read_all(&site.hosts, X) == content);
}

#[test]
fn every_node_can_be_stopped_under_load_and_nothing_answered_is_missing() {
    let mut cluster = Cluster::new(&[GROUP], &[0]);
    cluster.start(B);
    cluster.start(A);
    let mut content = vec![0; VOLUME as usize];
    let mut random = Random(3);
    for round in 0..3 {
        let hosts = cluster.sites[&A].hosts.clone();
        hosts.wait_serving(X, true);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut answered = Vec::new();
                for _ in 0..400 {
                    // Each block once per round: what was not answered may be there or not.
                    let offset = random.below(VOLUME / 4096) * 4096;
                    let data = vec![random.below(256) as u8; 4096];
                    answered.push((offset, data[0], hosts.call(X, Ask::Write { offset, data, fua: false })));
                }
                answered
            });
            match round {
                0 => {
                    cluster.stop_relay();
                    cluster.start_relay();
                }
                1 => {
                    cluster.stop(B);
                    cluster.start(B);
                }
                _ => {
                    cluster.stop(A);
                    cluster.start(A);
                }
            }
            let mut unsure = Vec::new();
            for (offset, byte, answer) in writer.join().unwrap() {
                match answer {
                    Ok(_) => content[offset as usize..][..4096].fill(byte),
                    Err(error) => {
                        assert_eq!((error, round), (HostError::NotServing, 2));
                        unsure.push((offset, byte));
                    }
                }
            }
            let hosts = &cluster.sites[&A].hosts;
            hosts.wait_serving(X, true);
            let found = read_all(hosts, X);
            for (offset, byte) in unsure {
                let (offset, end) = (offset as usize, offset as usize + 4096);
                if found[offset..end] == [byte; 4096] {
                    content[offset..end].fill(byte);
                }
            }
            assert!(found == content, "round {round}");
        });
    }
    let hosts = &cluster.sites[&A].hosts;
    hosts.call(X, Ask::Flush).unwrap();
    hosts.wait_until("the secondary's disk holds it", || (cluster.volume(B, GROUP) == content).then_some(()));
}

#[test]
fn what_no_manifest_ever_listed_comes_to_the_secondary_too() {
    let mut cluster = Cluster::new(&[GROUP], &[0]);
    cluster.start(B);
    let mut config = cluster.config(A);
    config.groups[0].pace.manifest_ns = u64::from(u32::MAX) * 1000;
    let hosts = cluster.start_as(A, config).hosts.clone();
    hosts.wait_serving(X, true);
    let mut content = vec![0; VOLUME as usize];
    scribble(&hosts, X, &mut content, &mut Random(4), 20);
    cluster.stop(A);
    // The restart finds it in the lane, and nothing is written after it.
    let hosts = cluster.start(A).hosts.clone();
    hosts.wait_serving(X, true);
    hosts.wait_until("the secondary's disk holds it", || (cluster.volume(B, GROUP) == content).then_some(()));
}
