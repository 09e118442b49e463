//! What a node is told at its start: plain data, read and checked by whoever starts it.

use std::path::PathBuf;

use midspan_format::ids::{GroupId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::Role;

pub use midspan_protocol::role::policy::LanePolicy;
pub use midspan_protocol::role::site::{AnswerMode, ControlPath};
pub use midspan_protocol::vocab::limits::{Limits, Pace};
pub use midspan_uring::file::FileError;
pub use midspan_uring::{Address, Class, Listener};

use crate::peer::Peer;

/// A node.
#[derive(Debug)]
pub struct NodeConfig {
    /// Its identity; the journal disk must be formatted for it.
    pub node: NodeId,
    /// One shard is pinned to each of these cores.
    pub cores: Vec<usize>,
    /// Buffers of each shard.
    pub memory: MemoryConfig,
    /// The disk with the node's superblock and areas; none at a node with lone disks only.
    pub journal: Option<PathBuf>,
    /// Where other nodes connect to; none when nobody does.
    pub listen: Option<Listen>,
    /// Other nodes.
    pub peers: Vec<Peer>,
    /// Groups whose volumes this node holds.
    pub groups: Vec<GroupConfig>,
    /// Groups whose areas this node holds as a relay; `None` means all on the journal disk that are not in `groups`. Those in
    /// `groups` with a lane at this node are held in any case.
    pub relay_groups: Option<Vec<GroupId>>,
    /// Disks that are served without replication.
    pub lone: Vec<LoneConfig>,
    /// What hosts can open.
    pub exports: Vec<ExportConfig>,
    /// Where hosts connect to.
    pub front: Vec<Listen>,
    /// How long a shard without work looks for more before it sleeps, nanoseconds; 0: it sleeps at once.
    pub spin_ns: u64,
    /// Bytes of recent frames that a relay keeps in memory, per area.
    pub recent_bytes: u64,
    /// Host requests that may wait or run on each shard.
    pub requests: usize,
    /// Memory of each shard's flight recorder, bytes; 0: nothing is recorded.
    pub recorder_bytes: usize,
}

impl NodeConfig {
    /// A node with nothing, to be filled in.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            cores: Vec::new(),
            memory: MemoryConfig::default(),
            journal: None,
            listen: None,
            peers: Vec::new(),
            groups: Vec::new(),
            relay_groups: None,
            lone: Vec::new(),
            exports: Vec::new(),
            front: Vec::new(),
            spin_ns: 500_000,
            recent_bytes: 16 << 20,
            requests: 1024,
            recorder_bytes: 2 << 20,
        }
    }
}

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// At an address.
    At(Address),
    /// With a socket that listens already, as systemd passes it.
    With(Listener),
}

/// Buffers of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Buffers of one shard, by size. Sizes that the data path asks for: 4 KiB (map and state blocks), 16 KiB (sending),
    /// 64 KiB and 1 MiB (receiving), up to 132 KiB (host requests).
    pub classes: Vec<Class>,
    /// Whether to use huge pages.
    pub huge_pages: bool,
}

impl MemoryConfig {
    /// Shares `bytes` out: half of it large buffers.
    pub fn of_bytes(bytes: usize) -> Self {
        let class = |size: usize, share: usize| Class { size, count: (bytes / 64 * share / size).max(8) };
        let classes = vec![
            class(4096, 6),
            class(16 * 1024, 6),
            class(64 * 1024, 8),
            class(132 * 1024, 12),
            class(1 << 20, 32),
        ];
        Self { classes, huge_pages: true }
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self::of_bytes(128 << 20)
    }
}

/// A group whose volumes this node holds.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// Both sites.
    pub sites: [NodeId; 2],
    /// The role when nothing is recorded yet.
    pub initial_role: Role,
    /// When nothing is recorded yet: the primary's volumes are copied to the secondary; else they hold the same already.
    pub initial_copy: bool,
    /// Whether hosts are answered outside the lanes when the ring is full, or the relay away, for long.
    pub may_leave: bool,
    /// Whether they are even where no other node can be told.
    pub alone: bool,
    /// Where manifests and receipts travel.
    pub control: ControlPath,
    /// What the areas of all lanes of the group are called: they hold the same frames.
    pub lane: LaneId,
    /// The nodes that may hold a lane of the group, those preferred first: relays, then sites.
    pub lanes: Vec<NodeId>,
    /// Which of them hold the journal.
    pub lane_policy: LanePolicy,
    /// Whether a lane at the other site may carry hosts' writes when no relay can.
    pub direct: bool,
    /// Most bytes of frames that the other site has not received and that are kept in memory, to be sent to another lane.
    pub resend_bytes: u64,
    /// When writes are answered.
    pub answer: AnswerMode,
    /// The volumes.
    pub volumes: Vec<VolumeConfig>,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub pace: Pace,
}

/// A volume of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Its number, the same at both sites.
    pub id: VolumeId,
    /// The disk or file.
    pub path: PathBuf,
    /// Bytes that hosts see, of a disk that has at least as many; `None`: as the disk is.
    pub size: Option<u64>,
}

/// A disk that is served without replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoneConfig {
    /// Its number among the lone disks of this node.
    pub id: VolumeId,
    /// The disk or file.
    pub path: PathBuf,
}

/// What an export serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A volume of a group.
    Group(GroupId, VolumeId),
    /// A lone disk.
    Lone(VolumeId),
}

/// Something that hosts can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// The name that hosts use.
    pub name: String,
    /// A sentence for humans; may be empty.
    pub description: String,
    /// What it serves.
    pub source: Source,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether hosts that name none get this one.
    pub default: bool,
}
