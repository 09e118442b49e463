//! What the file can say: the tables and keys of a node's configuration, as plain types.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::text::{self, Id, NbdListen, Size, Span, VolumeName};

/// The configuration of one node, a site or a relay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[node]`: this node itself.
    pub node: Node,
    /// `[[peer]]`: the other nodes.
    #[serde(default, rename = "peer")]
    pub peers: Vec<Peer>,
    /// `[[group]]`: the groups this node has a part in.
    #[serde(default, rename = "group")]
    pub groups: Vec<Group>,
    /// `[nbd]`: where hosts connect.
    #[serde(default)]
    pub nbd: Nbd,
    /// `[[export]]`: volumes that hosts see.
    #[serde(default, rename = "export")]
    pub exports: Vec<Export>,
    #[serde(skip)]
    source: Source,
}

/// Where a configuration came from, so that findings can name the line.
#[derive(Clone, Debug, Default)]
struct Source {
    path: PathBuf,
    text: String,
}

/// `[node]`: this node itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Number of the node, unique among all nodes that talk to each other.
    pub id: Id,
    /// Name of the node in messages and metrics.
    #[serde(deserialize_with = "text::name")]
    pub name: String,
    /// Where other nodes connect to this one.
    #[serde(deserialize_with = "text::address")]
    pub listen: SocketAddr,
    /// Unix socket of the operator's API.
    pub api: PathBuf,
    /// The journal disk: a block device or a preallocated file, formatted beforehand.
    pub journal: PathBuf,
    /// Cores that the data path is pinned to, one shard each; without them one, chosen by the node's number.
    #[serde(default)]
    pub cores: Option<Vec<u16>>,
    /// Allows plain TCP on other addresses than loopback.
    #[serde(default)]
    pub insecure: bool,
    /// Buffer memory of all shards together.
    #[serde(default = "default_memory")]
    pub memory: Size,
    /// Takes the buffer memory from huge pages.
    #[serde(default)]
    pub huge_pages: bool,
    /// How long a shard without work looks for more before it sleeps.
    #[serde(default = "default_spin")]
    pub spin: Span,
    /// File that keeps events and operations; by default in systemd's state directory, else beside the API's socket.
    pub state: Option<PathBuf>,
    /// Memory of each shard's flight recorder; `0B` records nothing.
    #[serde(default = "default_recorder")]
    pub recorder: Size,
    /// How often a heartbeat goes to each peer.
    #[serde(default = "default_heartbeat")]
    pub heartbeat: Span,
    /// Silence that is never held against a peer.
    #[serde(default = "default_heartbeat_pause")]
    pub heartbeat_pause: Span,
}

/// `[[peer]]`: another node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Number of that node.
    pub id: Id,
    /// Name of that node.
    #[serde(deserialize_with = "text::name")]
    pub name: String,
    /// Where that node listens for nodes.
    #[serde(deserialize_with = "text::address")]
    pub address: SocketAddr,
}

/// `[[group]]`: this node's part in a consistency group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Number of the group, the same at all its nodes.
    pub id: Id,
    /// Name of the group, the same at all its nodes.
    #[serde(deserialize_with = "text::name")]
    pub name: String,
    /// What this node is in the group until its disk says otherwise.
    pub role: Role,
    /// The two nodes that hold the group's volumes.
    pub sites: Vec<Id>,
    /// Where the group's journal may be kept: relays in this order, then the sites.
    pub lanes: Vec<Lane>,
    /// How many of the lanes hold it at a time.
    #[serde(default)]
    pub lane_set: LaneSet,
    /// Whether a lane at the other site may carry hosts' writes when no relay can.
    #[serde(default)]
    pub direct: Direct,
    /// Memory for frames that the other site has not received, from which what a lost lane held is sent to another one.
    #[serde(default = "default_resend")]
    pub resend: Size,
    /// What a write must have reached before the host is answered.
    #[serde(default)]
    pub answer: Answer,
    /// What the primary does when the lanes are gone.
    #[serde(default)]
    pub mode: Mode,
    /// What the primary does while the ring fills up.
    #[serde(default)]
    pub overflow: Overflow,
    /// Percent of the ring from which on it counts as filling up.
    #[serde(default = "default_overflow_threshold")]
    pub overflow_threshold: u8,
    /// How long one write is held back at most; 200 ms where it is not given.
    pub throttle_max_delay: Option<Span>,
    /// Who begins a takeover when the primary is dead.
    #[serde(default)]
    pub takeover: Takeover,
    /// How long the primary must have been dead for an automatic one.
    #[serde(default = "default_takeover_after")]
    pub takeover_after: Span,
    /// What a primary does that reaches no other node.
    #[serde(default)]
    pub isolated: Isolated,
    /// Where control information (manifests and receipts) travels.
    #[serde(default)]
    pub control_path: ControlPath,
    /// Whether the volumes hold the same when the group is first started.
    #[serde(default)]
    pub initial: Initial,
    /// Bytes in a second that a round sends at most; as many as hosts leave room for where it is not given.
    pub round_rate: Option<Size>,
    /// How long an answer of a lane permits the primary to answer reads.
    #[serde(default = "default_lease")]
    pub lease: Span,
    /// Size of each ring area of the group on this node's journal disk.
    #[serde(default = "default_ring")]
    pub ring: Size,
    /// Size of each manifest area of the group on this node's journal disk.
    #[serde(default = "default_manifest")]
    pub manifest: Size,
    /// Size of each receipt area of the group on this node's journal disk.
    #[serde(default = "default_receipt")]
    pub receipt: Size,
    /// `[[group.volume]]`: the group's volumes on this site.
    #[serde(default, rename = "volume")]
    pub volumes: Vec<Volume>,
}

/// One lane: a ring at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// Number of the lane in its group, from 0.
    pub id: u8,
    /// The node that holds the ring.
    pub node: Id,
}

/// `[[group.volume]]`: a disk or preallocated file that hosts use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Number of the volume in its group, the same at both sites.
    pub id: Id,
    /// Name of the volume in its group.
    #[serde(deserialize_with = "text::name")]
    pub name: String,
    /// Block device or file on this site.
    pub path: PathBuf,
    /// Size that hosts see; the device's own where it is not given.
    pub size: Option<Size>,
}

/// `[nbd]`: where hosts connect; every listener serves all exports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nbd {
    /// Addresses and unix sockets.
    #[serde(default)]
    pub listen: Vec<NbdListen>,
    /// Takes further listening sockets from systemd (`LISTEN_FDS`).
    #[serde(default)]
    pub systemd: bool,
}

/// `[[export]]`: a volume under the name by which hosts ask for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The export's name.
    pub name: String,
    /// The volume.
    pub volume: VolumeName,
    /// Refuses writes.
    #[serde(default)]
    pub read_only: bool,
}

/// What a node is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Answers hosts.
    Primary,
    /// Follows, ready to take over.
    Secondary,
    /// Holds journal areas only.
    Relay,
}

/// What a write must have reached before the host is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Its frame is durable in the lanes.
    #[default]
    #[serde(rename = "journaled")]
    Journaled,
    /// And its data is on the primary's own disk.
    #[serde(rename = "journaled+local")]
    JournaledAndLocal,
}

/// What the volumes hold when the group is first started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// Nobody knows: the primary's are copied to the secondary.
    #[default]
    Copy,
    /// The same at both sites, as new disks do: nothing is copied.
    Equal,
}

/// How many of a group's lanes hold its journal at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneSet {
    /// One; when it is lost another takes its place.
    #[default]
    Failover,
    /// Two, and a write is answered when both hold it.
    Mirror,
    /// Two, each of which holds a part of the data: they carry more together than one does.
    Stripe,
}

impl LaneSet {
    /// As it is written in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Mirror => "mirror",
            Self::Stripe => "stripe",
        }
    }
}

/// Whether a lane at the other site may carry hosts' writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direct {
    /// When no relay can: hosts then wait for the way to the other site.
    Allow,
    /// Never.
    #[default]
    Never,
}

/// What the primary does when the lanes are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Stalls.
    #[default]
    MaxProtection,
    /// Goes on outside the lanes when the ring is full, or the relay away, once that is recorded where a takeover must see it.
    MaxAvailability,
    /// Never waits for another node: the lane at the primary itself is used, alone.
    MaxPerformance,
}

/// What the primary does while the ring fills up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Paces hosts from the threshold on; when the ring is full all the same, `mode` decides.
    #[default]
    Throttle,
    /// Hosts write at full speed, and outside the lanes when it is full.
    Suspend,
    /// Hosts write at full speed, and wait when it is full.
    Stall,
}

/// Who begins a takeover when the primary is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    /// An operator.
    #[default]
    Manual,
    /// The secondary itself, where nothing answered can be lost.
    Automatic,
}

/// What a primary does that reaches no other node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolated {
    /// Hosts wait.
    #[default]
    Stall,
    /// Hosts are answered outside the lanes; then only the primary's own word makes a takeover loss-free.
    Continue,
}

/// Where control information travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlPath {
    /// Through the relay and from site to site: whoever receives takes what says more.
    #[default]
    Both,
    /// Through the relay's areas only.
    Relay,
    /// From site to site only.
    Direct,
}

fn default_memory() -> Size {
    Size::from_mib(256)
}

fn default_spin() -> Span {
    Span::from_us(500)
}

fn default_recorder() -> Size {
    Size::from_mib(2)
}

fn default_heartbeat() -> Span {
    Span::from_ms(100)
}

fn default_heartbeat_pause() -> Span {
    Span::from_ms(1_000)
}

fn default_overflow_threshold() -> u8 {
    80
}

fn default_takeover_after() -> Span {
    Span::from_ms(10_000)
}

fn default_lease() -> Span {
    Span::from_ms(500)
}

fn default_resend() -> Size {
    Size::from_mib(256)
}

fn default_ring() -> Size {
    Size::from_mib(256)
}

fn default_manifest() -> Size {
    Size::from_mib(16)
}

fn default_receipt() -> Size {
    Size::from_mib(4)
}

impl Group {
    /// What the areas of all lanes are called. They hold the same frames, so it is one for all of them: the least id, whatever
    /// the order in the file.
    pub fn lane_id(&self) -> Option<u8> {
        self.lanes.iter().map(|lane| lane.id).min()
    }

    /// Whether a lane of the group may stand at this node.
    pub fn has_lane_at(&self, node: Id) -> bool {
        self.lanes.iter().any(|lane| lane.node == node)
    }

    /// How long one write is held back at most while the ring fills; `None`: none is.
    pub fn throttle(&self) -> Option<Span> {
        match self.overflow {
            Overflow::Throttle => Some(self.throttle_max_delay.unwrap_or(Span::from_ms(200))),
            Overflow::Suspend | Overflow::Stall => None,
        }
    }
}

impl Config {
    /// The file this configuration was read from.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// The text of that file.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The peer with this id.
    pub fn peer(&self, id: Id) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    /// The group and the volume with this name.
    pub fn volume(&self, name: &VolumeName) -> Option<(&Group, &Volume)> {
        let group = self.groups.iter().find(|group| group.name == name.group)?;
        let volume = group.volumes.iter().find(|volume| volume.name == name.volume)?;
        Some((group, volume))
    }

    /// Remembers the source and takes relative paths from its folder.
    pub(super) fn set_source(&mut self, path: &Path, text: &str) {
        self.source = Source { path: path.to_owned(), text: text.to_owned() };
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut paths = vec![&mut self.node.api, &mut self.node.journal];
        paths.extend(&mut self.node.state);
        paths.extend(
            self.groups.iter_mut().flat_map(|group| &mut group.volumes).map(|volume| &mut volume.path),
        );
        for listen in &mut self.nbd.listen {
            match listen {
                NbdListen::Tcp(_) => {}
                NbdListen::Unix(path) => paths.push(path),
            }
        }
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}
