//! What the planes say to each other: commands down, reports up. Plain values, with an encoding for when they part.

#![expect(missing_docs, reason = "what rkyv derives for variants with fields has no documentation")]

use alloc::vec::Vec;

use rkyv::rancor::Failure;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::area::AreaKind;
use crate::checksum::checksum;
use crate::exposure::{Exposure, OverflowStatus};
use crate::geometry::Position;
use crate::ids::{AreaId, Epoch, GroupId, LaneId, NodeId, VolumeId};
use crate::message::RefusedReason;
use crate::superblock::{PairState, Role};
use crate::time::Time;
use crate::version::CONTROL_VERSION;
use crate::wire::{Malformed, Put, Take, Wire};

/// Manifests in a [`GroupStatus`] at most.
pub const MAX_SHOWN_MANIFESTS: usize = 256;
/// An encoded message at most, bytes.
pub const MAX_CONTROL: usize = 1 << 20;

const HEADER: usize = 24;
const MAGIC: [u8; 8] = *b"MSPCTRL\0";

/// What is asked of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum GroupCommand {
    /// The secondary becomes primary.
    Takeover {
        /// Go on where it is not certain that nothing is lost.
        accept_loss: bool,
        /// Only say what would be found.
        dry_run: bool,
    },
    /// Undo a takeover that fenced the lanes and did not end: the former primary may go on.
    Abort,
    /// The primary hands its role to the other site: planned, both alive, without loss.
    Switchover,
    /// Serve although the relay cannot be read: what only it held may be missing.
    WithoutJournal,
    /// Give up what this site alone holds, because the other site replaced it: follow that one.
    Resolve,
    /// Hold the round that runs, or that is to come.
    Pause,
    /// Go on with it.
    Resume,
    /// Answer what can be answered, then end.
    Stop,
    /// Give a switchover up whose hosts still wait: this site stays primary.
    Stay,
    /// Keep what this site holds against the other site, which replaced it and holds something else: that one is replaced in turn.
    Prevail,
    /// Compare the sites, beside what hosts do.
    Verify {
        /// Only this volume.
        volume: Option<VolumeId>,
        /// At most so many bytes a second; 0: as fast as hosts leave it.
        bytes_per_s: u64,
        /// What differs is sent by a round at the end.
        repair: bool,
    },
    /// End a verify before its time.
    EndVerify,
}

/// Control plane → data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Command {
    /// Something of a group.
    Group {
        /// The group.
        group: GroupId,
        /// What.
        command: GroupCommand,
    },
    /// How a group stands.
    GroupStatus {
        /// The group.
        group: GroupId,
    },
    /// How the areas on this node's disk stand.
    AreaStatus,
    /// End in order.
    Stop,
}

/// One lane as a node sees it. Positions that the node does not know are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LaneStatus {
    /// The lane.
    pub lane: LaneId,
    /// The node that holds it.
    pub node: NodeId,
    /// Whether this node is connected to it.
    pub connected: bool,
    /// Sealed at the primary.
    pub sealed: Option<Position>,
    /// Durable in the lane.
    pub journaled: Option<Position>,
    /// Durable in the secondary's own ring.
    pub acquired: Option<Position>,
    /// On the secondary's disks.
    pub applied: Option<Position>,
    /// On the primary's disks, flushed.
    pub landed: Option<Position>,
    /// Where damage was found.
    pub damaged: Option<Position>,
    /// Bytes of the ring; 0 when not known.
    pub ring_size: u64,
    /// Bytes of it in use.
    pub ring_used: u64,
    /// Bytes of the ring that this site has read as its secondary since it began to follow there; `None` elsewhere.
    pub fetched: Option<u64>,
}

/// Why it is not certain that a takeover loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum LossReason {
    /// Fewer than n − k + 1 lanes of the fence set can be read.
    LaneUnreachable,
    /// A journal ends before a prefix that is known to have been journaled.
    JournalDamaged {
        /// Where it ends.
        position: Position,
    },
    /// Hosts were answered outside the lanes.
    LeftTheLanes,
    /// A round without a cut to return to is not finished.
    NoCut,
    /// A disk of this site failed.
    DiskFailed,
    /// The group lets a primary go on that nobody else reaches: only itself can say that it has not.
    MayBeAlone,
    /// Hosts are answered from the lane at the primary itself: it is lost with it.
    LocalLane,
}

/// A round at its source, or what the target knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RoundStatus {
    /// Its name; 0 while it has not begun.
    pub round: u64,
    /// The target holds no cut until its end.
    pub in_place: bool,
    /// An operator holds it.
    pub paused: bool,
    /// Everything was sent: the target brings it to its disks.
    pub sent: bool,
    /// Bytes of the marked regions.
    pub bytes: u64,
    /// Bytes of them that were sent.
    pub bytes_sent: u64,
    /// When it began, on the clock of the leases, ns.
    pub began_ns: u64,
}

/// A run of `verify` at its primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct VerifyStatus {
    /// Its name.
    pub run: u64,
    /// Bytes to be compared.
    pub bytes: u64,
    /// Bytes of them whose digests were sent.
    pub bytes_sent: u64,
    /// Bytes of them that the secondary is known to have compared.
    pub compared: u64,
    /// Bytes of pieces that differ, as far as known.
    pub different: u64,
    /// When it began, on the clock of the leases, ns.
    pub began_ns: u64,
}

/// How a group stands at a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// The site's role.
    pub role: Role,
    /// How the sites stand to each other.
    pub pair: PairState,
    /// Newest epoch known.
    pub epoch: Epoch,
    /// Hosts are served here.
    pub serving: bool,
    /// A start (restart or takeover) is running.
    pub starting: bool,
    /// A newer epoch that fenced this site.
    pub fenced_by: Option<Epoch>,
    /// The lease that permits reads is held.
    pub lease: bool,
    /// The lanes: those that hold the journal first, the one that is read before the others.
    pub lanes: Vec<LaneStatus>,
    /// In how many lanes a write is before it is answered; 0 outside the lanes.
    pub lanes_holding: u8,
    /// In how many it is to be.
    pub lanes_wanted: u8,
    /// Two lanes share the data: of a large frame both hold the head, and one the data.
    pub lanes_share: bool,
    /// The other site is asked to record another lane set.
    pub lanes_changing: bool,
    /// Journal bytes sealed and not applied at the secondary, as known here.
    pub lag_bytes: Option<u64>,
    /// Time between the newest record known and the newest applied at the secondary, ns.
    pub lag_ns: Option<u64>,
    /// Time of the newest record known here.
    pub last_time: Time,
    /// The persisted cut: of this site as secondary, of the receipts as primary.
    pub cut: Time,
    /// Writes answered since the start.
    pub answered: u64,
    /// Host writes wait because the ring is full.
    pub ring_full: bool,
    /// A disk failed here.
    pub disk_failed: bool,
    /// Marked regions; `None` where there is no map.
    pub dirty_regions: Option<u64>,
    /// The round that runs, or is to come.
    pub round: Option<RoundStatus>,
    /// The verify that runs.
    pub verify: Option<VerifyStatus>,
    /// This site's disks hold no cut until a round's end.
    pub no_cut: bool,
    /// Whether a takeover now would lose nothing, as far as this site knows.
    pub zero_loss: bool,
    /// Why not.
    pub why: Option<LossReason>,
    /// What of it exists at one place only.
    pub exposure: Exposure,
    /// How the ring's filling up is dealt with; `None` at a site that is no primary in the lanes.
    pub overflow: Option<OverflowStatus>,
    /// Manifests that were issued here and that no receipt covers.
    pub manifests_kept: u64,
    /// The oldest of them, [`MAX_SHOWN_MANIFESTS`] at most.
    pub manifests: Vec<ManifestStatus>,
}

/// A manifest that was issued and is not covered by a receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ManifestStatus {
    /// Its end in the manifest area.
    pub end: Position,
    /// Where in the ring the first frame it lists begins.
    pub from: Position,
    /// Where the last one ends.
    pub to: Position,
    /// How many frames it lists.
    pub frames: u32,
    /// Runs of regions that they touch.
    pub runs: u32,
    /// Time of the first record.
    pub first_time: Time,
    /// Time of the last one.
    pub last_time: Time,
}

/// How an area on this node's disk stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AreaStatus {
    /// Its group.
    pub group: GroupId,
    /// What it holds.
    pub kind: AreaKind,
    /// Its lane.
    pub lane: LaneId,
    /// Its id.
    pub area: AreaId,
    /// Bytes of its ring.
    pub size: u64,
    /// The one node that may write it.
    pub writer: NodeId,
    /// The epoch in force.
    pub epoch: Epoch,
    /// Its journaled prefix.
    pub journaled: Position,
    /// It can be read and appended to.
    pub open: bool,
}

/// Requests that a node refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// Whose.
    pub node: NodeId,
    /// Why.
    pub reason: RefusedReason,
    /// How many.
    pub count: u64,
}

/// A statement about answered writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Lost {
    /// Answered writes lost: 0.
    Zero,
    /// It cannot be said.
    Unknown {
        /// Why.
        reason: LossReason,
    },
}

/// How a takeover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TakeoverReport {
    /// The group.
    pub group: GroupId,
    /// The epoch that serves now.
    pub epoch: Epoch,
    /// Frames that were brought to the disks.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Time of the last record found.
    pub last_time: Time,
    /// Regions marked because the former primary may lack or have torn them.
    pub marked_regions: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// Whether anything answered may be missing.
    pub verdict: Lost,
}

/// What happened, as a kind with numbers; words are made where people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum EventKind {
    /// Hosts are served.
    Serving,
    /// A newer epoch replaced ours.
    Fenced,
    /// A lane is connected.
    LaneUp,
    /// A lane's connection is gone.
    LaneDown,
    /// A lane reports less than it once did.
    LaneLost,
    /// A frame does not verify.
    Damaged,
    /// A disk failed.
    DiskFailed,
    /// A request was refused.
    Refused {
        /// Why.
        reason: RefusedReason,
    },
    /// A round began.
    RoundBegan,
    /// A round ended.
    RoundEnded,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Event {
    /// The group it concerns.
    pub group: GroupId,
    /// What.
    pub kind: EventKind,
    /// The other node, if one is involved.
    pub node: NodeId,
    /// The epoch, if one is involved.
    pub epoch: Epoch,
    /// The place, if one is involved.
    pub position: Position,
}

/// Data plane → control plane.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most are the largest")]
pub enum Report {
    /// The command was taken.
    Taken,
    /// No such group here.
    UnknownGroup,
    /// How a group stands.
    Group(GroupStatus),
    /// How the areas stand, and what was refused.
    Areas(Vec<AreaStatus>, Vec<RefusedStatus>),
    /// A takeover ended.
    Takeover(TakeoverReport),
    /// Something happened.
    Event(Event),
}

/// Why bytes are not a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Something else, or cut off.
    #[error("not a control message")]
    Magic,
    /// It does not verify.
    #[error("the control message's checksum is wrong")]
    Checksum,
    /// Of another version.
    #[error("control version {0} is not known to this program")]
    Version(u16),
    /// It verifies, and is impossible.
    #[error("the control message's content is impossible")]
    Malformed,
    /// It would be longer than [`MAX_CONTROL`].
    #[error("the control message is too long")]
    TooLong,
}

impl From<Malformed> for ControlError {
    fn from(Malformed: Malformed) -> Self {
        Self::Magic
    }
}

macro_rules! coded {
    ($($type:ident = $kind:literal),*) => {$(
        impl $type {
            /// The message as bytes: magic, version, kind, checksum, archive.
            ///
            /// # Errors
            /// [`ControlError::TooLong`].
            pub fn encode(&self) -> Result<Vec<u8>, ControlError> {
                let archive = rkyv::to_bytes::<Failure>(self).map_err(|_| ControlError::TooLong)?;
                frame($kind, &archive)
            }

            /// Reads a message of exactly these bytes.
            ///
            /// # Errors
            /// It is none.
            pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
                let archive = unframe($kind, bytes)?;
                rkyv::from_bytes::<Self, Failure>(&archive).map_err(|_| ControlError::Malformed)
            }
        }
    )*};
}

coded!(Command = 1, Report = 2);

fn frame(kind: u16, archive: &[u8]) -> Result<Vec<u8>, ControlError> {
    let length = HEADER + archive.len();
    if length > MAX_CONTROL {
        return Err(ControlError::TooLong);
    }
    let mut bytes = alloc::vec![0; length];
    let mut out = Put::new(&mut bytes);
    out.bytes(&MAGIC);
    CONTROL_VERSION.put(&mut out);
    kind.put(&mut out);
    u32::try_from(archive.len()).unwrap_or(u32::MAX).put(&mut out);
    checksum(archive).put(&mut out);
    out.bytes(archive);
    Ok(bytes)
}

/// The archive, copied to where it can be read.
fn unframe(kind: u16, bytes: &[u8]) -> Result<AlignedVec, ControlError> {
    if bytes.len() > MAX_CONTROL {
        return Err(ControlError::TooLong);
    }
    let mut input = Take::new(bytes);
    if input.bytes(MAGIC.len())? != MAGIC {
        return Err(ControlError::Magic);
    }
    let version = u16::take(&mut input)?;
    if version != CONTROL_VERSION {
        return Err(ControlError::Version(version));
    }
    let found = u16::take(&mut input)?;
    let length = u32::take(&mut input)?;
    let sum = u64::take(&mut input)?;
    let archive = bytes.get(HEADER..).unwrap_or_default();
    if found != kind || archive.len() != length as usize {
        return Err(ControlError::Malformed);
    }
    if checksum(archive) != sum {
        return Err(ControlError::Checksum);
    }
    let mut aligned = AlignedVec::with_capacity(archive.len());
    aligned.extend_from_slice(archive);
    Ok(aligned)
}
