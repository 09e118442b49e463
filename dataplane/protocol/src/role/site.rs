//! What a site's machines are told about their group at boot.

#[cfg(test)]
pub mod fixture;

use alloc::vec::Vec;

use midspan_format::area::AreaKind;
use midspan_format::dirty_map::DirtyMap;
use midspan_format::frame::MAY_BE_ALONE;
use midspan_format::geometry::Ring;
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::message::{FenceIntent, Hello, SessionKind};
use midspan_format::superblock::{AreaEntry, FenceSet, GroupState, PairState, Role, StateLane, StateVolume};
use midspan_format::version::PROTOCOL_VERSION;

use crate::lane::fencer::{Fencer, Plan};
use crate::lane::reader::Reader;
use crate::lane::site_link::SiteLink;
use crate::lane::tail::{Span, Tail};
use crate::role::policy::LanePolicy;
use crate::vocab::effect::LinkId;
use crate::vocab::limits::{Limits, Pace};

/// Link names of one group.
pub const LINKS_PER_GROUP: u32 = 64;

/// Of a group's links, the one of the session that fences; those before it belong to the role that is played.
pub const FENCER_LINK: u32 = 3;
/// The link over which a start reads the ring's tail.
pub const TAIL_LINK: u32 = 4;

/// The link over which this site tells the other one what it must know.
pub const SITE_LINK: u32 = 5;
/// The link over which a primary reads again which manifests it had issued.
pub const RECALL_LINK: u32 = 6;
/// The link over which a start asks whether the other site serves by an operator's word.
pub const ASK_LINK: u32 = 7;

/// Links of a lane on its side: journal, manifests, receipts.
const SIDE_LINKS: u32 = 8;
/// The links over which a start asks several lanes.
const PROBE_LINKS: u32 = 16;
/// The links over which the lane beside the one that is read is read, where both share the data of frames: by a secondary, by a start.
const BESIDE_LINK: u32 = 12;
const BESIDE_TAIL_LINK: u32 = 13;
/// The link over which a further lane is fenced.
const SECOND_FENCER_LINK: u32 = 11;

/// Where control information travels (design §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControlPath {
    /// Both ways; whoever receives takes the maximum.
    #[default]
    Both,
    /// Through the relay's areas only (claim 3).
    Relay,
    /// From site to site only (claim 7).
    Direct,
}

impl ControlPath {
    /// Whether the relay's areas are used.
    pub const fn by_relay(self) -> bool {
        matches!(self, Self::Both | Self::Relay)
    }

    /// Whether the sites tell each other.
    pub const fn direct(self) -> bool {
        matches!(self, Self::Both | Self::Direct)
    }
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerMode {
    /// When its frame is journaled in k lanes.
    Journaled,
    /// When it is journaled and written to the local disk; FLUSH flushes that disk too.
    JournaledLocal,
}

/// A volume of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its number, the same at both sites.
    pub id: VolumeId,
    /// Bytes, a multiple of 4096.
    pub size: u64,
    /// What the device says of itself, so that a swapped disk is noticed.
    pub identity: [u8; 24],
}

/// A group as configured at this site.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// This node.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// Both sites.
    pub sites: [NodeId; 2],
    /// The role when nothing is recorded yet.
    pub initial_role: Role,
    /// When nothing is recorded yet, the sites' volumes differ: the primary's are copied to the secondary.
    pub initial_copy: bool,
    /// Whether hosts are answered outside the lanes when the ring is full, or the relay away, for long; else they wait.
    pub may_leave: bool,
    /// Whether hosts are answered outside the lanes even where no other node can be told.
    pub alone: bool,
    /// Where manifests and receipts travel.
    pub control: ControlPath,
    /// What the areas of all lanes of the group are called: they hold the same frames.
    pub lane: LaneId,
    /// The first of `lanes`.
    pub relay: NodeId,
    /// The nodes that may hold a lane of the group, those preferred first.
    pub lanes: Vec<NodeId>,
    /// Which of them hold the journal.
    pub lane_policy: LanePolicy,
    /// Whether a lane at the other site may carry hosts' writes when no relay can.
    pub direct: bool,
    /// Most bytes of frames that the other site has not received and that are kept in memory, to be sent to another lane.
    pub resend_bytes: u64,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// When writes are answered.
    pub answer: AnswerMode,
    /// The site's own ring area.
    pub own_ring: AreaEntry,
    /// Device offset of the two state slots.
    pub state_offset: u64,
    /// Device offset of the dirty map's first block.
    pub dirty_offset: u64,
    /// First of the [`LINKS_PER_GROUP`] link names that this group uses.
    pub first_link: u32,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub pace: Pace,
}

impl SiteConfig {
    /// The other site.
    pub fn other_site(&self) -> NodeId {
        let [a, b] = self.sites;
        if a == self.node { b } else { a }
    }

    /// Whether the sites tell each other manifests and receipts. Where several lanes may be read, a site may read another one than
    /// that in which the other site looks for them.
    pub fn tells(&self) -> bool {
        self.control.direct() || self.lanes.len() > 1
    }

    /// Flags of the journal frames that this site seals.
    pub fn frame_flags(&self) -> u8 {
        if self.alone { MAY_BE_ALONE } else { 0 }
    }

    /// Place of the own ring.
    pub fn own_ring_place(&self) -> Ring {
        Ring { start: self.own_ring.start, size: self.own_ring.size }
    }

    /// What a session on an area of the lane is greeted with.
    pub fn hello(&self, kind: SessionKind, area_kind: AreaKind, area: AreaId, epoch: Epoch) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            node: self.node,
            group: self.group,
            kind,
            area_kind,
            lane: self.lane,
            area,
            epoch,
            lease_ms: u32::try_from(self.pace.lease_ns / 1_000_000).unwrap_or(u32::MAX),
        }
    }

    /// What is to be fenced in the lane, and why.
    pub fn fence_plan(&self, intent: FenceIntent, known: Epoch) -> Plan {
        Plan {
            group: self.group,
            node: self.node,
            other: self.other_site(),
            intent,
            known,
            takes: None,
            beyond: Epoch::NONE,
            may_lag: false,
            was_fenced: false,
        }
    }

    /// The same group with its lane at another node.
    pub fn at(&self, relay: NodeId) -> Self {
        Self { relay, ..self.clone() }
    }

    /// A fencer of the lane.
    pub fn fencer(&self, intent: FenceIntent, known: Epoch) -> Fencer {
        let hello = self.hello(SessionKind::Control, AreaKind::Ring, AreaId::NONE, known);
        Fencer::new(self.link(FENCER_LINK), self.relay, hello, self.pace, self.fence_plan(intent, known))
    }

    /// Asks what the lane at `node` holds; `index` tells the links of several such questions apart.
    pub fn prober(&self, index: u32, node: NodeId, known: Epoch) -> Fencer {
        let hello = self.hello(SessionKind::Control, AreaKind::Ring, AreaId::NONE, known);
        let plan = Plan { may_lag: true, ..self.fence_plan(FenceIntent::Probe, known) };
        Fencer::new(self.link(PROBE_LINKS + index), node, hello, self.pace, plan)
    }

    /// A fencer of a lane of a set of several, which may not have been fenced by the newest epoch yet.
    pub fn lagging_fencer(&self, intent: FenceIntent, known: Epoch) -> Fencer {
        let hello = self.hello(SessionKind::Control, AreaKind::Ring, AreaId::NONE, known);
        let plan = Plan { may_lag: true, ..self.fence_plan(intent, known) };
        Fencer::new(self.link(FENCER_LINK), self.relay, hello, self.pace, plan)
    }

    /// So, of one that this site has left: that it was fenced in some epoch is certain.
    pub fn left_fencer(&self, known: Epoch) -> Fencer {
        let hello = self.hello(SessionKind::Control, AreaKind::Ring, AreaId::NONE, known);
        let plan = Plan { may_lag: true, was_fenced: true, ..self.fence_plan(FenceIntent::Restart, known) };
        Fencer::new(self.link(FENCER_LINK), self.relay, hello, self.pace, plan)
    }

    /// The way to tell the other site.
    pub fn site_link(&self, epoch: Epoch) -> SiteLink {
        let hello = self.hello(SessionKind::Direct, AreaKind::Manifest, AreaId::NONE, epoch);
        SiteLink::new(self.link(SITE_LINK), self.other_site(), hello, self.pace)
    }

    /// The way for a start to ask the other site.
    pub fn ask_link(&self, epoch: Epoch) -> SiteLink {
        let hello = self.hello(SessionKind::Direct, AreaKind::Manifest, AreaId::NONE, epoch);
        SiteLink::new(self.link(ASK_LINK), self.other_site(), hello, self.pace)
    }

    /// A reader of a span of the lane's ring.
    pub fn tail(&self, span: Span, epoch: Epoch) -> Tail {
        let hello = self.hello(SessionKind::Fetch, AreaKind::Ring, span.area, epoch);
        let reader = Reader::new(self.link(TAIL_LINK), self.relay, hello, self.pace, 1);
        Tail::new(reader, span, self.limits.fetch_bytes)
    }

    /// A reader of the ring at a lane beside that of `tail`, which holds the data of some of its frames.
    pub fn tail_beside(&self, node: NodeId, area: AreaId, epoch: Epoch) -> Reader {
        let hello = self.hello(SessionKind::Fetch, AreaKind::Ring, area, epoch);
        Reader::new(self.link(BESIDE_TAIL_LINK), node, hello, self.pace, 1)
    }

    /// The link over which a secondary reads the lane beside.
    pub fn beside_link(&self) -> LinkId {
        self.link(BESIDE_LINK)
    }

    /// A fencer of the lane at `node`, which shares the data of frames with one that is fenced in epoch `takes`.
    pub fn fencer_beside(&self, node: NodeId, intent: FenceIntent, known: Epoch, takes: Epoch) -> Fencer {
        let hello = self.hello(SessionKind::Control, AreaKind::Ring, AreaId::NONE, known);
        let plan = Plan { takes: Some(takes), ..self.fence_plan(intent, known) };
        Fencer::new(self.second_fencer_link(), node, hello, self.pace, plan)
    }

    /// What is recorded at the very first start.
    pub fn first_state(&self) -> GroupState {
        let lane = StateLane { lane: self.lane, node: self.relay, ..StateLane::default() };
        let volume = |v: &Volume| StateVolume { volume: v.id, size: v.size, identity: v.identity };
        GroupState {
            group: self.group,
            role: self.initial_role,
            pair: if self.initial_copy { PairState::InitialCopy } else { PairState::Paired },
            // A secondary that waits for its first copy holds nothing.
            left: self.initial_copy && self.initial_role == Role::Secondary,
            round_in_place: self.initial_copy && self.initial_role == Role::Secondary,
            set: self.first_set(),
            lanes: core::iter::once(lane).collect(),
            volumes: self.volumes.iter().map(volume).collect(),
            ..GroupState::default()
        }
    }

    /// The set that counts as long as none is recorded, the same at both sites.
    fn first_set(&self) -> FenceSet {
        let [a, b] = self.sites;
        let primary = if self.initial_role == Role::Primary { self.node } else { self.other_site() };
        let mut relays = self.lanes.iter().filter(|node| **node != a && **node != b);
        match (self.lane_policy, relays.next(), relays.next()) {
            (LanePolicy::Local, ..) => FenceSet::of(&[primary], 1),
            (LanePolicy::Mirror, Some(first), Some(second)) => FenceSet::of(&[*first, *second], 2),
            (LanePolicy::Stripe, Some(first), Some(second)) => FenceSet::of(&[*first, *second], 1),
            (_, Some(first), _) => FenceSet::of(&[*first], 1),
            (_, None, _) => FenceSet::of(&[self.relay], 1),
        }
    }

    /// Whether a range lies in a volume of the group.
    pub fn holds(&self, volume: VolumeId, offset: u64, length: u64) -> bool {
        let end = offset.checked_add(length);
        self.volumes.iter().any(|v| v.id == volume && end.is_some_and(|end| end <= v.size))
    }

    /// The link of a journal's writer; a lane that is to take the place of another uses the other side.
    pub fn ring_link(&self, side: u32) -> LinkId {
        self.link(side * SIDE_LINKS)
    }

    /// The link of the manifests' writer.
    pub fn manifest_link(&self, side: u32) -> LinkId {
        self.link(side * SIDE_LINKS + 1)
    }

    /// The link of the receipts' reader.
    pub fn receipt_link(&self, side: u32) -> LinkId {
        self.link(side * SIDE_LINKS + 2)
    }

    /// The link of the fencer of a further lane.
    pub fn second_fencer_link(&self) -> LinkId {
        self.link(SECOND_FENCER_LINK)
    }

    /// One of the group's links.
    pub fn link(&self, index: u32) -> LinkId {
        debug_assert!(index < LINKS_PER_GROUP, "a link of the next group");
        LinkId(self.first_link + index)
    }
}

/// What was found on the site's journal disk.
#[derive(Debug)]
pub struct Recovered {
    /// The recorded state; `None` at the very first start.
    pub state: Option<GroupState>,
    /// The dirty map as read; all clear at the very first start.
    pub dirty: DirtyMap,
}
