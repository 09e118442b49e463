//! From the configuration to what the data plane is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;

use midspan_format::ids::{GroupId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::Role as InitialRole;
use midspan_node::config::{
    Address, AnswerMode, ControlPath as Way, ExportConfig, GroupConfig, LanePolicy, Limits, Listen, Listener,
    LoneConfig, MemoryConfig, NodeConfig, Pace, Source, VolumeConfig,
};
use midspan_node::peer::Peer;

use crate::config::{
    Answer, Config, ControlPath, Direct, Group, Id, Initial, Isolated, LaneSet, Mode, NbdListen, Role, Size,
    Span,
};
use crate::cores;

/// The lone disk's number.
const LONE: VolumeId = VolumeId(0);
/// The number of a node that no other node knows.
pub const LONE_NODE: NodeId = NodeId(1);

/// One disk to be served without replication.
#[derive(Clone, Debug)]
pub struct Lone {
    /// The file or block device.
    pub disk: PathBuf,
    /// Name of its export.
    pub export: String,
    /// Unix socket to listen on.
    pub socket: Option<PathBuf>,
    /// TCP address to listen on.
    pub listen: Option<SocketAddr>,
    /// Writes are refused.
    pub read_only: bool,
}

/// The node's number in the data plane's words.
pub fn node_id(id: Id) -> NodeId {
    NodeId(id.get().into())
}

/// The group's number in the data plane's words.
pub fn group_id(id: Id) -> GroupId {
    GroupId(id.get().into())
}

/// A node as configured. Sockets passed by systemd are taken here.
pub fn node(config: &Config) -> NodeConfig {
    let holds = |role: Role| {
        config.groups.iter().filter(move |group| (group.role == Role::Relay) == (role == Role::Relay))
    };
    let mut node = NodeConfig::new(node_id(config.node.id));
    node.cores = match &config.node.cores {
        Some(cores) => cores.iter().copied().map(usize::from).collect(),
        None => vec![cores::of_node(config.node.id.get())],
    };
    node.memory = memory(config);
    node.spin_ns = u64::try_from(config.node.spin.duration().as_nanos()).unwrap_or(u64::MAX);
    node.recorder_bytes = usize::try_from(config.node.recorder.bytes()).unwrap_or(usize::MAX);
    node.journal = Some(config.node.journal.clone());
    node.listen = Some(Listen::At(Address::Tcp(config.node.listen)));
    let peer = |peer: &crate::config::Peer| Peer {
        node: node_id(peer.id),
        addresses: vec![Address::Tcp(peer.address)],
    };
    node.peers = config.peers.iter().map(peer).collect();
    node.groups = holds(Role::Primary).filter_map(group).collect();
    node.relay_groups = Some(holds(Role::Relay).map(|group| group_id(group.id)).collect());
    node.exports = config.exports.iter().filter_map(|export| exported(config, export)).collect();
    node.front = config.nbd.listen.iter().map(listen).collect();
    if config.nbd.systemd {
        node.front.extend(Listener::from_systemd().into_iter().map(|(_, listener)| Listen::With(listener)));
    }
    node
}

/// A node that only serves one disk.
pub fn lone(lone: &Lone) -> NodeConfig {
    let mut node = NodeConfig::new(LONE_NODE);
    node.cores = vec![cores::first()];
    node.memory = MemoryConfig::default();
    node.lone = vec![LoneConfig { id: LONE, path: lone.disk.clone() }];
    node.exports = vec![ExportConfig {
        name: lone.export.clone(),
        description: String::new(),
        source: Source::Lone(LONE),
        read_only: lone.read_only,
        default: true,
    }];
    let addresses = lone.listen.iter().map(|address| Address::Tcp(*address));
    let sockets = lone.socket.iter().map(|path| Address::Unix(path.clone()));
    node.front = addresses.chain(sockets).map(Listen::At).collect();
    node.front.extend(Listener::from_systemd().into_iter().map(|(_, listener)| Listen::With(listener)));
    node
}

fn memory(config: &Config) -> MemoryConfig {
    let shards = config.node.cores.as_ref().map_or(1, |cores| cores.len().max(1));
    let bytes = usize::try_from(config.node.memory.bytes()).unwrap_or(usize::MAX) / shards;
    MemoryConfig { huge_pages: config.node.huge_pages, ..MemoryConfig::of_bytes(bytes) }
}

/// A group whose volumes are here. The check has made sure that it has two sites and a lane.
fn group(group: &Group) -> Option<GroupConfig> {
    let [first, second] = group.sites.as_slice() else { return None };
    let lease_ns = nanoseconds(group.lease);
    Some(GroupConfig {
        group: group_id(group.id),
        sites: [node_id(*first), node_id(*second)],
        initial_role: match group.role {
            Role::Primary => InitialRole::Primary,
            Role::Secondary | Role::Relay => InitialRole::Secondary,
        },
        initial_copy: group.initial == Initial::Copy,
        may_leave: group.mode == Mode::MaxAvailability,
        alone: group.isolated == Isolated::Continue,
        control: match group.control_path {
            ControlPath::Both => Way::Both,
            ControlPath::Relay => Way::Relay,
            ControlPath::Direct => Way::Direct,
        },
        lane: lane(group)?,
        lanes: lane_nodes(group),
        lane_policy: lane_policy(group),
        direct: group.direct == Direct::Allow,
        resend_bytes: group.resend.bytes(),
        answer: match group.answer {
            Answer::Journaled => AnswerMode::Journaled,
            Answer::JournaledAndLocal => AnswerMode::JournaledLocal,
        },
        volumes: volumes(group),
        limits: Limits::default(),
        pace: Pace {
            lease_ns,
            round_bytes_per_s: group.round_rate.map_or(0, Size::bytes),
            overflow_percent: group.overflow_threshold.into(),
            throttle_ns: group.throttle().map_or(0, nanoseconds),
            ..Pace::default()
        },
    })
}

fn nanoseconds(span: Span) -> u64 {
    u64::try_from(span.duration().as_nanos()).unwrap_or(u64::MAX)
}

/// The site that is the group's primary by configuration; a relay's configuration does not say it.
pub fn home(own: Id, group: &Group) -> Option<NodeId> {
    match group.role {
        Role::Primary => Some(node_id(own)),
        Role::Secondary => group.sites.iter().copied().find(|site| *site != own).map(node_id),
        Role::Relay => None,
    }
}

/// What the areas of all the group's lanes are called.
pub fn lane(group: &Group) -> Option<LaneId> {
    group.lane_id().map(|id| LaneId(id.into()))
}

/// The nodes that may hold a lane, those preferred first: a site holds the journal only where no relay can.
fn lane_nodes(group: &Group) -> Vec<NodeId> {
    let (sites, relays): (Vec<Id>, Vec<Id>) =
        group.lanes.iter().map(|lane| lane.node).partition(|node| group.sites.contains(node));
    relays.into_iter().chain(sites).map(node_id).collect()
}

fn lane_policy(group: &Group) -> LanePolicy {
    match (group.mode, group.lane_set) {
        (Mode::MaxPerformance, _) => LanePolicy::Local,
        (Mode::MaxProtection | Mode::MaxAvailability, LaneSet::Failover) => LanePolicy::Failover,
        (Mode::MaxProtection | Mode::MaxAvailability, LaneSet::Mirror) => LanePolicy::Mirror,
        (Mode::MaxProtection | Mode::MaxAvailability, LaneSet::Stripe) => LanePolicy::Stripe,
    }
}

/// The group's volumes here.
pub fn volumes(group: &Group) -> Vec<VolumeConfig> {
    let volume = |volume: &crate::config::Volume| VolumeConfig {
        id: volume_id(volume.id),
        path: volume.path.clone(),
        size: volume.size.map(crate::config::Size::bytes),
    };
    group.volumes.iter().map(volume).collect()
}

fn volume_id(id: Id) -> VolumeId {
    VolumeId(id.get().into())
}

fn exported(config: &Config, export: &crate::config::Export) -> Option<ExportConfig> {
    let (group, volume) = config.volume(&export.volume)?;
    Some(ExportConfig {
        name: export.name.clone(),
        description: format!("volume {} of group {}", volume.name, group.name),
        source: Source::Group(group_id(group.id), volume_id(volume.id)),
        read_only: export.read_only,
        default: config.exports.len() == 1,
    })
}

fn listen(listen: &NbdListen) -> Listen {
    Listen::At(match listen {
        NbdListen::Tcp(address) => Address::Tcp(*address),
        NbdListen::Unix(path) => Address::Unix(path.clone()),
    })
}
