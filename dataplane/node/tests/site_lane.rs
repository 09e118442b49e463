//! A site that holds a lane of its own group: its relay beside the group, on one disk, asked by the other site and by itself.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::geometry::{BLOCK, BLOCK_U64};
use midspan_format::ids::{AreaId, Epoch, GroupId, NodeId, VolumeId};
use midspan_format::message::{
    Fence, FenceIntent, Fenced, Hello, Message, RefusedReason, SessionKind, message_length,
};
use midspan_format::superblock::{GroupPermit, Role, permit_offset};
use midspan_format::version::PROTOCOL_VERSION;
use midspan_node::boot::{BootError, Journal};
use midspan_node::config::{
    Address, AnswerMode, ControlPath, ExportConfig, GroupConfig, LanePolicy, Limits, Listen, MemoryConfig,
    NodeConfig, Pace, Source, VolumeConfig,
};
use midspan_node::exports::ExportId;
use midspan_node::format::{DiskUse, Formatted, format};
use midspan_node::groups::{create, delete};
use midspan_node::node::{NodeHandle, StartError, start, start_with};
use midspan_node::peer::Peer;
use midspan_node::port::{Command, CommandId, Reply, Report};
use midspan_node::status::RelayStatus;
use rig::puppet::{Ask, Hosts};
use rig::{A, B, GROUP, LANE, MIB, Scratch, peek, poke, relay_group, site_group, site_group_with_lane, spec};

const OTHER: GroupId = GroupId(9);
const VOLUME: u64 = 2 * MIB;
const X: ExportId = ExportId(0);
const LANE_KINDS: [AreaKind; 3] = [AreaKind::Ring, AreaKind::Manifest, AreaKind::Receipt];

fn file(node: NodeId, what: &str) -> String {
    format!("{node}.{what}")
}

fn volumes(scratch: &Scratch, node: NodeId) -> Vec<VolumeConfig> {
    vec![rig::volume(1, &scratch.path(&file(node, "volume")))]
}

/// A site's disks, with a lane; behind the areas of another group's lane where that is wanted.
fn formatted(scratch: &Scratch, node: NodeId, behind: bool) -> Formatted {
    scratch.disk(&file(node, "volume"), VOLUME);
    let journal = scratch.disk(&file(node, "journal"), 32 * MIB);
    let mut groups = vec![site_group_with_lane(GROUP, 4 * MIB, volumes(scratch, node))];
    if behind {
        groups.insert(0, relay_group(OTHER, 4 * MIB));
    }
    format(&spec(&journal, node, groups)).unwrap()
}

/// A site whose group has its lanes at these nodes; both sites listen where `at` says.
fn config(scratch: &Scratch, node: NodeId, lanes: &[NodeId], at: [SocketAddr; 2]) -> NodeConfig {
    let mut config = NodeConfig::new(node);
    let (own, other, of_other) = if node == A { (at[0], B, at[1]) } else { (at[1], A, at[0]) };
    config.cores = vec![0];
    config.memory = MemoryConfig { huge_pages: false, ..MemoryConfig::of_bytes(64 << 20) };
    config.journal = Some(scratch.path(&file(node, "journal")));
    config.listen = Some(Listen::At(Address::Tcp(own)));
    config.peers = vec![Peer { node: other, addresses: vec![Address::Tcp(of_other)] }];
    config.relay_groups = Some(Vec::new());
    config.requests = 64;
    config.groups = vec![GroupConfig {
        group: GROUP,
        sites: [A, B],
        initial_role: if node == A { Role::Primary } else { Role::Secondary },
        initial_copy: false,
        may_leave: false,
        alone: false,
        control: ControlPath::Both,
        lane: LANE,
        lanes: lanes.to_vec(),
        lane_policy: LanePolicy::Failover,
        direct: true,
        resend_bytes: 64 << 20,
        answer: AnswerMode::Journaled,
        volumes: volumes(scratch, node),
        limits: Limits { requests: 64, ..Limits::default() },
        pace: Pace::default(),
    }];
    config.exports = vec![ExportConfig {
        name: "disk".into(),
        description: String::new(),
        source: Source::Group(GROUP, VolumeId(1)),
        read_only: false,
        default: false,
    }];
    config
}

/// Two addresses that nobody listens at.
fn free_addresses() -> [SocketAddr; 2] {
    let taken = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap())
}

/// A connection that greets as `node`.
struct Caller(TcpStream);

impl Caller {
    fn greet(at: SocketAddr, node: NodeId, kind: SessionKind, area_kind: AreaKind) -> (Self, Message) {
        let mut caller = Self(TcpStream::connect(at).unwrap());
        let (group, lane) = (GROUP, LANE);
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            node,
            group,
            kind,
            area_kind,
            lane,
            area: AreaId::NONE,
            epoch: Epoch::NONE,
            lease_ms: 500,
        };
        let answer = caller.say(&Message::Hello(hello));
        (caller, answer)
    }

    /// Says something, and returns what is answered.
    fn say(&mut self, message: &Message) -> Message {
        let mut bytes = [0; 4096];
        let length = message.encode(&mut bytes).unwrap();
        self.0.write_all(&bytes[..length]).unwrap();
        let mut answer = vec![0; 40];
        self.0.read_exact(&mut answer).unwrap();
        answer.resize(message_length(&answer).unwrap().unwrap(), 0);
        self.0.read_exact(&mut answer[40..]).unwrap();
        Message::decode(&answer).unwrap().unwrap().0
    }

    fn probe(&mut self) -> Fenced {
        let (group, intent) = (GROUP, FenceIntent::Probe);
        let answer = self.say(&Message::Fence(Fence { request: 1, group, intent, ..Fence::default() }));
        let Message::Fenced(fenced) = answer else { panic!("{answer:?}") };
        fenced
    }
}

/// What a node says of the group's lane there, once its ends are found.
fn probe(at: SocketAddr, from: NodeId) -> Fenced {
    let (mut caller, answer) = Caller::greet(at, from, SessionKind::Control, AreaKind::Ring);
    assert!(matches!(answer, Message::Welcome(_)), "{answer:?}");
    Hosts::default().wait_until("the lane's end", || {
        Some(caller.probe()).filter(|fenced| fenced.lanes().iter().all(|area| area.open))
    })
}

fn kinds(fenced: &Fenced) -> Vec<AreaKind> {
    fenced.lanes().iter().map(|area| area.kind).collect()
}

fn relay_status(node: &NodeHandle, shard: usize) -> RelayStatus {
    node.command(shard, CommandId(1), Command::RelayStatus).unwrap();
    Hosts::default().wait_until("a reply", || match node.report() {
        Some(Report::Reply { reply: Reply::Relay(status), .. }) => Some(*status),
        _ => None,
    })
}

fn refusal(config: NodeConfig) -> StartError {
    match start(config) {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[test]
fn a_sites_disk_has_the_lanes_areas_beside_its_own() {
    let scratch = Scratch::new();
    let made = formatted(&scratch, A, false);
    assert_eq!(made.usage, DiskUse::Site);
    let kinds: Vec<AreaKind> = made.areas.iter().map(|(_, area)| area.kind).collect();
    let own = [AreaKind::State, AreaKind::DirtyMap, AreaKind::OwnRing];
    assert_eq!(kinds, [own, LANE_KINDS].concat());
    let journal = Journal::open(&scratch.path(&file(A, "journal")), A).unwrap();
    let areas = journal.site_areas(GROUP, [A, B], LANE).unwrap();
    assert_eq!(areas.own_ring.kind, AreaKind::OwnRing);
    // With the lane in the config its relay serves it; without, the site's areas are nobody's.
    assert_eq!(journal.relay_permits(Some(&[]), &[GROUP], &[GROUP]).unwrap().len(), 1);
    assert_eq!(journal.relay_permits(None, &[GROUP], &[GROUP]).unwrap().len(), 1);
    assert!(journal.relay_permits(Some(&[]), &[GROUP], &[]).unwrap().is_empty());
}

#[test]
fn a_site_with_a_lane_is_probed_by_the_other_site_and_by_itself_also_after_a_restart() {
    let scratch = Scratch::new();
    formatted(&scratch, A, false);
    let at = free_addresses();
    let mut found = Vec::new();
    for _ in 0..2 {
        let mut following = config(&scratch, A, &[rig::RELAY, B, A], at);
        following.groups[0].initial_role = Role::Secondary;
        let node = start_with(following, Hosts::default().front_end()).unwrap();
        let (by_other, by_itself) = (probe(at[0], B), probe(at[0], A));
        assert_eq!((kinds(&by_other), kinds(&by_itself)), (LANE_KINDS.to_vec(), LANE_KINDS.to_vec()));
        // A node that is no site of the group has nothing to ask here.
        let (_, stranger) = Caller::greet(at[0], NodeId(8), SessionKind::Control, AreaKind::Ring);
        assert!(
            matches!(stranger, Message::Refused(r) if r.reason == RefusedReason::NotPermitted),
            "{stranger:?}"
        );
        // The site's own areas are not for anybody else.
        for kind in [AreaKind::OwnRing, AreaKind::State, AreaKind::DirtyMap] {
            let (_, own) = Caller::greet(at[0], B, SessionKind::Fetch, kind);
            assert!(matches!(own, Message::Refused(r) if r.reason == RefusedReason::UnknownArea), "{own:?}");
        }
        found.push(by_other.lanes().iter().map(|area| area.area).collect::<Vec<_>>());
        node.stop();
    }
    assert_eq!(found[0], found[1], "the areas stay the same");
}

#[test]
fn a_primary_is_its_own_relay_and_the_other_site_follows_from_there() {
    let scratch = Scratch::new();
    formatted(&scratch, A, false);
    formatted(&scratch, B, false);
    let at = free_addresses();
    let start_site = |node| {
        let hosts = Hosts::default();
        let handle = start_with(config(&scratch, node, &[A, B], at), hosts.front_end()).unwrap();
        (handle, hosts)
    };
    let (mut a, mut hosts) = start_site(A);
    let (b, _) = start_site(B);
    hosts.wait_serving(X, true);
    for round in 0..3_u8 {
        for piece in 0..40 {
            hosts.write(X, piece * 50_000, vec![round + piece as u8; 50_000]);
        }
        hosts.call(X, Ask::Flush).unwrap();
        let status = relay_status(&a, 0);
        assert_eq!(status.areas.iter().map(|area| area.kind).collect::<Vec<_>>(), LANE_KINDS);
        assert!(status.areas[0].has_writer && status.areas[0].primary == A, "{:?}", status.areas[0]);
        // A restart reads its own lane.
        a.stop();
        (a, hosts) = start_site(A);
        hosts.wait_serving(X, true);
    }
    let volume = |node| peek(&scratch.path(&file(node, "volume")), 0, VOLUME as usize);
    let content = hosts.wait_until("the same content", || Some(volume(B)).filter(|b| *b == volume(A)));
    assert!((0..40).all(|piece| content[piece * 50_000] == 2 + piece as u8));
    assert!(relay_status(&b, 0).areas.iter().all(|area| area.journaled.0 == 0), "B's own lane is not used");
    a.stop();
    b.stop();
}

#[test]
fn the_lane_and_the_group_are_found_each_on_its_own_shard() {
    let scratch = Scratch::new();
    // The other group's lane comes first on the disk and takes the first shard's relay.
    formatted(&scratch, A, true);
    formatted(&scratch, B, true);
    let at = free_addresses();
    let start_site = |node| {
        let hosts = Hosts::default();
        let mut config = config(&scratch, node, &[A, B], at);
        config.cores = vec![0, 1];
        config.relay_groups = Some(vec![OTHER]);
        (start_with(config, hosts.front_end()).unwrap(), hosts)
    };
    let ((a, hosts), (b, _)) = (start_site(A), start_site(B));
    hosts.wait_serving(X, true);
    hosts.write(X, 4096, vec![7; 9000]);
    assert_eq!(a.shard_of(GROUP), Some(0));
    assert!(relay_status(&a, 0).areas.iter().all(|area| area.group == OTHER));
    assert!(relay_status(&a, 1).areas.iter().all(|area| area.group == GROUP));
    // What the sites tell each other past the lanes reaches the group.
    let (_, direct) = Caller::greet(at[0], B, SessionKind::Direct, AreaKind::Manifest);
    assert!(matches!(direct, Message::Welcome(_)), "{direct:?}");
    let there = || peek(&scratch.path(&file(B, "volume")), 4096, 9000);
    hosts.wait_until("the same content", || (there() == vec![7; 9000]).then_some(()));
    a.stop();
    b.stop();
}

#[test]
fn a_lane_in_the_config_needs_areas_on_the_disk() {
    let scratch = Scratch::new();
    scratch.disk(&file(A, "volume"), VOLUME);
    let path = scratch.disk(&file(A, "journal"), 16 * MIB);
    format(&spec(&path, A, vec![site_group(GROUP, 4 * MIB, volumes(&scratch, A))])).unwrap();
    let error = refusal(config(&scratch, A, &[rig::RELAY, A, B], free_addresses()));
    assert!(matches!(&error, StartError::Boot(BootError::NoLane { group: GROUP, .. })), "{error}");
    assert!(
        error.to_string().contains("has a lane at this node in the config, and no areas for it"),
        "{error}"
    );
}

#[test]
fn an_own_ring_that_was_called_a_ring_is_still_the_sites_own() {
    let scratch = Scratch::new();
    scratch.disk(&file(A, "volume"), VOLUME);
    let path = scratch.disk(&file(A, "journal"), 16 * MIB);
    let made = format(&spec(&path, A, vec![site_group(GROUP, 4 * MIB, volumes(&scratch, A))])).unwrap();
    let own = made.areas.iter().map(|(_, area)| *area).find(|area| area.kind == AreaKind::OwnRing).unwrap();
    let mut block = [0; BLOCK];
    let mut superblock = AreaSuperblock::decode(&peek(&path, own.start - BLOCK_U64, BLOCK)).unwrap();
    superblock.kind = AreaKind::Ring;
    superblock.encode(&mut block);
    poke(&path, own.start - BLOCK_U64, &block);
    for slot in [0, 1] {
        let mut permit = GroupPermit::decode(&peek(&path, permit_offset(0, slot), BLOCK)).unwrap();
        permit
            .areas_mut()
            .iter_mut()
            .filter(|area| area.area == own.area)
            .for_each(|area| area.kind = AreaKind::Ring);
        permit.encode(&mut block);
        poke(&path, permit_offset(0, slot), &block);
    }
    let journal = Journal::open(&path, A).unwrap();
    assert_eq!(journal.site_areas(GROUP, [A, B], LANE).unwrap().own_ring.area, own.area);
    let refused = journal.relay_permits(None, &[GROUP], &[GROUP]).unwrap_err();
    assert!(
        matches!(refused, BootError::NoLane { .. }),
        "nobody else may write the site's own ring: {refused}"
    );
}

#[test]
fn a_deleted_group_with_a_lane_at_a_site_leaves_its_epoch_behind() {
    let scratch = Scratch::new();
    formatted(&scratch, A, false);
    let at = free_addresses();
    let hosts = Hosts::default();
    let node = start_with(config(&scratch, A, &[A, B], at), hosts.front_end()).unwrap();
    hosts.wait_serving(X, true);
    node.stop();
    let path = scratch.path(&file(A, "journal"));
    let open = || Journal::open(&path, A).unwrap();
    let journal = open();
    let taken = journal.permits()[0].1.epoch;
    assert!(taken.is_held());
    let change = delete(&journal, GROUP).unwrap();
    assert_eq!(change.left_behind, Some(taken));
    change.carry_out(&journal).unwrap();
    drop(journal);
    // Another group takes another place; the group itself begins beyond its former epoch.
    let journal = open();
    let second = vec![rig::volume(1, &scratch.disk("second", VOLUME))];
    create(&journal, &site_group(OTHER, MIB, second)).unwrap().carry_out(&journal).unwrap();
    drop(journal);
    let journal = open();
    let again = site_group_with_lane(GROUP, 4 * MIB, volumes(&scratch, A));
    let change = create(&journal, &again).unwrap();
    assert_eq!(change.left_behind, Some(taken));
    change.carry_out(&journal).unwrap();
    drop(journal);
    let journal = open();
    let found = journal.permits().iter().find(|(_, permit)| permit.group == GROUP).unwrap().1;
    assert!(found.epoch > taken && found.holds_lane() && !found.deleted);
}
