//! What a site knows durably about a group: role, epoch, cut, fence set, volumes. One block, written to slots in turn.

use rkyv::{Archive, Deserialize, Serialize};

use crate::block::{self, BlockError};
use crate::geometry::{BLOCK, BLOCK_U64, Position, is_whole_blocks};
use crate::ids::{AreaId, Epoch, GroupId, LaneId, NodeId, VolumeId};
use crate::list::List;
use crate::mark::{LaneUse, MAX_LANES};
use crate::point::LanePoint;
use crate::time::Time;
use crate::wire::{wire_enum, wire_struct};

/// Volumes of a group at most.
pub const MAX_VOLUMES: usize = 64;
/// Bytes of one slot.
pub const STATE_BYTES: usize = BLOCK;

const MAGIC: [u8; 8] = *b"MSPSTATE";

/// Device offset of the slot for a state of this sequence, in a state area that begins at `start`.
pub const fn state_offset(start: u64, sequence: u64) -> u64 {
    start + sequence % 2 * BLOCK_U64
}

wire_enum! {
    /// What a site is for a group.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
    pub enum Role {
        /// Serves the hosts.
        Primary = 1,
        /// Follows the primary.
        #[default]
        Secondary = 2,
    }
}

wire_enum! {
    /// How the two sites stand to each other.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
    pub enum PairState {
        /// No replication.
        #[default]
        Simplex = 1,
        /// The secondary never held a cut; a round brings it one.
        InitialCopy = 2,
        /// In the lanes.
        Paired = 3,
        /// The lanes were left because the ring filled.
        Suspended = 4,
        /// A round runs.
        Resync = 5,
        /// The lanes were left because too few of them hold frames.
        Degraded = 6,
        /// This site was the secondary and serves now, outside the lanes.
        TakenOver = 7,
        /// Both sites wrote.
        Split = 8,
        /// A newer epoch exists: this site answers nothing.
        Fenced = 9,
    }
}

wire_struct! {
    /// A lane of the fence set, and how far this site has come in it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StateLane {
        /// The lane.
        pub lane: LaneId,
        /// The node that holds it.
        pub node: NodeId,
        /// What it is for.
        pub usage: LaneUse,
        /// Its ring there; [`AreaId::NONE`] until it was seen.
        pub ring: AreaId,
        /// Its manifest area there.
        pub manifest: AreaId,
        /// Its receipt area there.
        pub receipt: AreaId,
        /// Everything before is applied and flushed, and the cut says so.
        pub point: LanePoint,
    } = 96
}

/// Lanes of a fence set at most.
pub const MAX_FENCED: usize = 4;

wire_struct! {
    /// The lanes that count (design §5): all hold the same chain at the same positions.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FenceSet {
        /// Epoch of the change that led to it; none for the configured set.
        pub epoch: Epoch,
        /// Counts the changes; 0 for the configured set, or where there is none.
        pub version: u64,
        /// How many lanes hold the data of a frame before it is answered; 0: no set. One of two: they are striped.
        pub k: u8,
        /// The nodes of its lanes; the first is the one that is read.
        pub nodes: List<NodeId, MAX_FENCED>,
    } = 48
}

impl FenceSet {
    /// The configured set: `k` of `nodes`.
    pub fn of(nodes: &[NodeId], k: u8) -> Self {
        Self { k, nodes: nodes.iter().copied().take(MAX_FENCED).collect(), ..Self::default() }
    }

    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.k == 0
    }

    /// The lane that is read; no node where there is no set.
    pub fn first(&self) -> NodeId {
        self.nodes.first().copied().unwrap_or(NodeId::NONE)
    }

    /// The lane beside it, where two must hold a frame, or its head.
    pub fn second(&self) -> Option<NodeId> {
        self.nodes.get(1).copied()
    }

    /// Whether its lanes share the data of frames: both hold each head, one of them the data.
    pub fn is_striped(&self) -> bool {
        self.k == 1 && self.nodes.len() > 1
    }

    /// Whether it is the outcome of that change.
    pub fn is_of(&self, epoch: Epoch, version: u64) -> bool {
        (self.epoch, self.version) == (epoch, version)
    }
}

wire_struct! {
    /// A volume as it was when it joined the group.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StateVolume {
        /// Its number.
        pub volume: VolumeId,
        /// Its bytes.
        pub size: u64,
        /// What its device says of itself.
        pub identity: [u8; 24],
    } = 40
}

wire_struct! {
    /// The state of a group at a site.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GroupState {
        /// Counts the changes of this block; the slot with the higher one counts.
        pub sequence: u64,
        /// The group.
        pub group: GroupId,
        /// The site's role.
        pub role: Role,
        /// How the sites stand to each other.
        pub pair: PairState,
        /// Newest epoch this site has taken or followed.
        pub epoch: Epoch,
        /// The persisted cut: this site's disks hold exactly the writes up to it.
        pub cut: Time,
        /// Newest time ever seen: a clock must go on beyond it.
        pub clock: Time,
        /// Manifests before this position are consumed; at a primary: as the secondary has said.
        pub manifest: Position,
        /// The fence set.
        pub set: FenceSet,
        /// At a primary: the set that the other site is asked to record, as long as it is not known that it has; else none.
        pub asked: FenceSet,
        /// A Leave mark stands: hosts were answered outside the lanes.
        pub left: bool,
        /// Everything answered up to this time was in the lanes when they were left.
        pub left_cut: Time,
        /// Step of a takeover in progress; 0 when there is none.
        pub takeover_step: u8,
        /// The takeover was asked for with loss accepted.
        pub accept_loss: bool,
        /// After a takeover that could not fence the lane: the epoch that it is to replace there.
        pub takeover_replaces: Epoch,
        /// Epoch that it takes.
        pub takeover_epoch: Epoch,
        /// Generation of the dirty map.
        pub dirty_generation: u64,
        /// The round that runs; 0 when there is none.
        pub round: u64,
        /// With [`GroupState::told_left`]: only a mark of the other site's epoch of this number, or of a later one, takes the place of
        /// what it has told. (This was the time of a round's begin, which nothing ever wrote.)
        pub told_from: u64,
        /// The round runs in place: this site holds no cut until its End.
        pub round_in_place: bool,
        /// The journal, and how far this site has come in it.
        pub lanes: List<StateLane, MAX_LANES>,
        /// The volumes.
        pub volumes: List<StateVolume, MAX_VOLUMES>,
        /// After a takeover: the former primary's disks hold everything before this point; position 0: nobody knows.
        pub former_landed: LanePoint,
        /// Time of the last record before that.
        pub former_landed_time: Time,
        /// This site was primary: its disks hold a cut from this position of the lane on; 0: only from a round's end on.
        pub whole_at: Position,
        /// A planned change of roles is under way: the site that hands over has recorded where it ends, the one that goes on
        /// that it has got there.
        pub handover: bool,
        /// Epoch that it replaces.
        pub handover_epoch: Epoch,
        /// The primary has said, past the lanes, that it answers outside them what comes after this time; no later mark of the
        /// lane has come here. Zero: it has not.
        pub told_left: Time,
        /// Of a primary: its disks hold everything before this place of the lane, flushed; taken now and then.
        pub landed: Position,
        /// Time of the last record before that.
        pub landed_time: Time,
        /// Of a primary: the secondary has acquired everything before it, as it has said; taken now and then.
        pub acquired: Position,
        /// Hosts are answered outside the lanes by an operator's word: no lane, and no other site, need know of it.
        pub by_word: bool,
        /// Hosts may have been answered outside the lanes since they were left.
        pub answered: bool,
        /// A takeover of this site was to read this lane to its end, where two hold the journal: this site may hold what the other
        /// lane lacks, so no set without this one is recorded.
        pub bound: NodeId,
        /// Lanes of this group have shared the data of frames: one that is in no set may hold heads without it.
        pub shared: bool,
    } = 4072
}

impl GroupState {
    /// Writes the slot; it belongs at [`state_offset`].
    pub fn encode(&self, slot: &mut [u8; STATE_BYTES]) {
        block::encode(MAGIC, self, slot);
    }

    /// Reads the slot at the front of `bytes`.
    ///
    /// # Errors
    /// It is none, or damaged, or impossible.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let state: Self = block::decode(MAGIC, bytes)?;
        if state.volumes.iter().all(|volume| is_whole_blocks(volume.size)) {
            Ok(state)
        } else {
            Err(BlockError::Malformed)
        }
    }

    /// The newer of two slots.
    ///
    /// # Errors
    /// Neither is valid.
    pub fn choose_slot(a: &[u8], b: &[u8]) -> Result<Self, BlockError> {
        block::newer(Self::decode(a), Self::decode(b), |state| state.sequence)
    }

    /// Another set counts from now on. Only a mirror's site is bound to one of its lanes.
    pub fn count_set(&mut self, set: FenceSet) {
        self.shared = self.has_shared() || set.is_striped();
        self.set = set;
        if set.second().is_none() {
            self.bound = NodeId::NONE;
        }
    }

    /// Nothing is asked for any more. What was may have counted for a while.
    pub fn forget_asked(&mut self) {
        self.shared = self.has_shared();
        self.asked = FenceSet::default();
    }

    /// Whether a lane that is in no set may hold heads without data.
    pub fn has_shared(&self) -> bool {
        self.shared || self.set.is_striped() || self.asked.is_striped()
    }

    /// The lanes of the fence set.
    pub fn lanes(&self) -> &[StateLane] {
        &self.lanes
    }

    /// The lanes of the fence set, to be changed.
    pub fn lanes_mut(&mut self) -> &mut [StateLane] {
        &mut self.lanes
    }

    /// The volumes.
    pub fn volumes(&self) -> &[StateVolume] {
        &self.volumes
    }
}
