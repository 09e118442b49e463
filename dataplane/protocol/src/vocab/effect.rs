//! All verbs on one screen: what a machine can ask of its driver, and what a driver can tell a machine.

#![expect(missing_docs, reason = "a variant's sentence says what its fields are")]

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::control::LossReason;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::{BLOCK, BLOCK_U64, Position};
use midspan_format::ids::{Epoch, NodeId, VolumeId};
use midspan_format::message::{Hello, Message};
use midspan_format::receipt::Difference;
use midspan_format::time::Time;

use super::buffer::{Buffers, Slice};
use super::milestone::Milestone;
use super::overflow::OverflowNote;

/// The two clocks as read by the driver for one event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Monotonic time that also counts suspension (CLOCK_BOOTTIME), nanoseconds: leases, timeouts.
    pub mono: u64,
    /// Wall time, nanoseconds since 1970: only the group clock uses it, and never trusts it to be monotonic.
    pub wall: u64,
}

/// A connection, named by the machine that asked for it (outbound) or by the driver (inbound, at a relay).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// One host request (a piece of at most 128 KiB), named by the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub u32);

/// Names a disk operation towards its machine; comes back with the completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// A disk of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// The disk that holds superblocks and areas.
    Journal,
    /// A volume of the group.
    Volume(VolumeId),
}

/// A sealed frame as it lies in memory: gathered on the way out without a copy.
#[derive(Debug)]
pub struct Frame<B> {
    /// The decoded header.
    pub header: FrameHeader,
    /// The head block (header and table), then the data of the records, in order.
    pub parts: Vec<Slice<B>>,
}

/// How many separate memory ranges one bulk reply can gather.
pub const MAX_PARTS: usize = 16;

/// Memory ranges that travel behind a block message, in order.
pub type Parts<B> = [Option<Slice<B>>; MAX_PARTS];

/// A disk operation. Offsets and lengths are multiples of 4096 bytes.
#[derive(Debug)]
pub enum DiskOp<B> {
    /// Writes the slice; `durable` means that the completion says it is on stable media.
    Write { offset: u64, data: Slice<B>, durable: bool },
    /// Reads `length` bytes to `at` of a uniquely owned buffer, which comes back filled up to `at + length`.
    Read { offset: u64, length: usize, at: usize, into: B },
    /// Makes all completed writes durable.
    Flush,
    /// Makes the range read as zeroes; `unmap` permits (does not ask) that the space is given back.
    Zero { offset: u64, length: u64, unmap: bool, durable: bool },
}

/// Why a disk operation failed, as far as machines care; the driver logs the error itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The device refused or lost it (EIO and the like). The disk is not trusted any more.
    Failed,
    /// No space is left behind a thin device.
    NoSpace,
}

/// Outcome of a disk operation; a read gives its buffer back.
pub type DiskResult<B> = Result<Option<B>, DiskError>;

/// What happens on a link, in order. After `Down` nothing more comes until the machine connects again.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a message in a box would be an allocation on the data path")]
pub enum LinkEvent<B> {
    /// A message of the small direction (also Welcome and Refused).
    Message(Message),
    /// One unit of the bulk direction: a whole frame, or a block message with its data; contiguous.
    Unit(Slice<B>),
    /// A `SendData` of this link has left; its memory is free again.
    Sent,
    /// The connection failed or ended.
    Down,
}

/// What a host asks. Offsets and lengths are bytes; the front end splits larger requests and rounds reads to blocks.
#[derive(Debug)]
pub enum HostOp<B> {
    /// Reads whole blocks into the start of a uniquely owned buffer.
    Read { offset: u64, length: usize, into: B },
    /// Writes `length` bytes at any offset. `data` starts at the block that holds `offset`: the payload lies at
    /// `offset % 4096` in it, and its capacity covers the block-rounded range.
    Write { offset: u64, length: usize, data: B, fua: bool },
    /// Makes whole blocks read as zeroes.
    Zero { offset: u64, length: u64, unmap: bool, fua: bool },
    /// Everything answered before is durable when this is answered.
    Flush,
}

impl<B> HostOp<B> {
    /// Whether it cannot be done without what the disk holds: a read, or a write of parts of blocks.
    pub fn needs_old_bytes(&self) -> bool {
        match self {
            HostOp::Read { .. } => true,
            HostOp::Write { offset, length, .. } => {
                !offset.is_multiple_of(BLOCK_U64) || !length.is_multiple_of(BLOCK)
            }
            HostOp::Zero { .. } | HostOp::Flush => false,
        }
    }
}

/// A host request on one volume.
#[derive(Debug)]
pub struct HostRequest<B> {
    /// Names the request in its answer.
    pub id: RequestId,
    /// The volume; must be one of the group.
    pub volume: VolumeId,
    /// What is asked.
    pub op: HostOp<B>,
}

/// Why a host request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// The local disk failed.
    Io,
    /// The local disk has no space.
    NoSpace,
    /// This node does not serve the volume (any more): the front end drops the connection.
    NotServing,
}

/// One thing a machine asks of its driver.
#[derive(Debug)]
pub enum Effect<B> {
    /// Open a connection to a node and send this greeting. Its outcome comes as link events.
    Connect { link: LinkId, node: NodeId, hello: Hello },
    /// Close a connection; no event of it is delivered afterwards.
    Close { link: LinkId },
    /// Send a message in the small direction.
    Send { link: LinkId, message: Message },
    /// Send a 4096-byte block message in the bulk direction.
    SendBlock { link: LinkId, message: Message },
    /// Send a sealed frame in the bulk direction.
    SendFrame { link: LinkId, frame: Rc<Frame<B>> },
    /// Send a block message and data behind it in the bulk direction.
    SendData { link: LinkId, message: Message, parts: Parts<B> },
    /// Start a disk operation; its completion comes back with the token. One that nobody's answer waits for (`awaited` is
    /// not set) may be held back for those that somebody waits for.
    Disk { disk: Disk, token: Token, op: DiskOp<B>, awaited: bool },
    /// Answer a host request; a read's data is the filled part of its buffer.
    Answer { request: RequestId, result: Result<Option<B>, HostError> },
    /// Tell the control plane and the log.
    Note(Note),
}

/// What machines report to people. Drivers turn notes into log lines and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// This node serves the group's volumes to hosts in the given epoch.
    Serving { epoch: Epoch },
    /// A newer epoch than ours exists: nothing is served any more (I5).
    Fenced { ours: Epoch, found: Epoch },
    /// A lane is connected and reports this prefix.
    LaneUp { node: NodeId, journaled: Position },
    /// A lane's connection is gone; it is tried again.
    LaneDown { node: NodeId },
    /// A lane lost what it had acknowledged, or is another area than the recorded one.
    LaneLost { node: NodeId, had: Position, found: Position },
    /// Another lane set counts from now on.
    LaneSet { set: midspan_format::superblock::FenceSet },
    /// The other site serves by an operator's word: this one does not take the lane before that site has met it.
    OtherServes { node: NodeId },
    /// A peer refused us.
    LaneRefused { node: NodeId, reason: midspan_format::message::RefusedReason },
    /// A frame did not verify; it is not used.
    Damaged { node: NodeId, position: Position },
    /// A disk operation failed.
    DiskFailed { disk_is_journal: bool, volume: VolumeId },
    /// A relay refused a request of a node without permission.
    Refused { node: NodeId, reason: midspan_format::message::RefusedReason },
    /// A fence was carried out.
    FenceDone { former: Epoch, epoch: Epoch, waited_ns: u64 },
    /// A takeover or start made progress or ended.
    Start(StartNote),
    /// A planned change of roles made progress or ended.
    Handover(HandoverNote),
    /// A round made progress or ended.
    Round(RoundNote),
    /// A run of `verify` made progress or ended.
    Verify(VerifyNote),
    /// The ring was full, or the relay away, for long: hosts are answered outside the lanes, and changes are marked.
    LeftTheLanes { full: bool },
    /// Hosts are answered in the lanes again; a round brings the other site what differs.
    BackInTheLanes,
    /// The ring fills up, or has room again.
    Overflow(OverflowNote),
    /// This site was primary; it follows the one that replaced it from now on. Whether its disks hold a cut.
    Rejoined { epoch: Epoch, has_cut: bool },
}

/// Progress and outcome of a switchover, at the site that hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverNote {
    /// Hosts wait; what was answered goes to the disks and to the secondary.
    Draining,
    /// The lane says that the other site is to go on; hosts were held for so long until here, ns.
    Given { took_ns: u64 },
    /// It did not happen; this site goes on as what it was.
    Refused(HandoverRefusal),
    /// It was to be cancelled, and none runs whose hosts only wait: what is recorded is not taken back.
    NotCancelled,
}

/// Why a switchover did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverRefusal {
    /// This site is not a primary in the lanes.
    NotPrimary,
    /// One is running already.
    Running,
    /// A round has not ended, or hosts are answered outside the lanes.
    NotPaired,
    /// The secondary did not follow in time.
    SecondaryAway,
    /// A disk of this site failed, or the node ends.
    Failed,
    /// An operator has cancelled it.
    Cancelled,
    /// The other site was asked to take over meanwhile, and has.
    Replaced,
}

/// Progress and outcome of a round at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundNote {
    /// It began: its name, the bytes to send, and whether the target gives up its cut until the end.
    Began { round: u64, bytes: u64, in_place: bool },
    /// Everything is sent.
    Sent { round: u64, bytes: u64 },
    /// The target's cut is at its end: the sites are equal but for what is in the lanes.
    Ended { round: u64, took_ns: u64 },
    /// It was given up; what it had marked stays marked.
    Cancelled { round: u64 },
}

/// Progress and outcome of a run of `verify`, at the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyNote {
    /// It began: so many bytes are to be compared.
    Began { bytes: u64 },
    /// Every digest is in the lane; the secondary compares the rest.
    Sent,
    /// It ended, by itself or before its time.
    Ended(Box<VerifyReport>),
    /// It did not begin, or none runs that could be ended.
    Refused(VerifyRefusal),
}

/// What a run of `verify` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes that were to be compared.
    pub bytes: u64,
    /// Bytes that were.
    pub compared: u64,
    /// Of them, bytes of pieces that differ.
    pub different: u64,
    /// Where they lie, as far as there is room.
    pub differences: Vec<Difference>,
    /// A round sends them now.
    pub repairs: bool,
    /// Why it ended before its time, if it did.
    pub stopped: Option<VerifyStop>,
    /// How long it took, ns.
    pub took_ns: u64,
}

/// Why a run of `verify` ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyStop {
    /// An operator asked.
    Asked,
    /// The group left the state in which both sites hold the same, or this site's role ends.
    NotPaired,
    /// A part of a volume cannot be read here.
    Unreadable { volume: VolumeId },
}

/// Why a run of `verify` did not begin, or was not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyRefusal {
    /// This site is not a primary in the lanes.
    NotPrimary,
    /// The sites do not hold the same, or a change of roles runs.
    NotPaired,
    /// One is running already.
    Running,
    /// None runs.
    NotRunning,
    /// The group has no such volume.
    UnknownVolume,
}

/// Progress and outcome of a start (restart or takeover).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartNote {
    /// Fencing the lanes.
    Fencing,
    /// Reading and verifying the tail: from, to.
    Reading { from: Position, to: Position },
    /// Writing what the disks lack.
    Redoing,
    /// By an operator's word the journal is not read: what was answered behind `landed`, until the last run ended (at `last` or
    /// later), may be missing.
    Skipping { landed: Time, last: Time },
    /// Done: hosts are served; what was found, and whether anything answered may be missing.
    Done(StartReport),
    /// The answer to a dry run: what a takeover would find. The epoch is the one in force.
    Probed(StartReport),
    /// The takeover ended, and this site did not become primary.
    Refused(StartRefusal),
    /// What it had fenced was given back: the former primary may go on.
    Aborted,
}

/// What a takeover might not have, as far as this site knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// What was answered later than this may be missing, ns; 0: this site holds nothing.
    pub kept_to: u64,
    /// And journal bytes that are known to have been there and could not be served.
    pub bytes: u64,
}

/// Why a takeover did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRefusal {
    /// This site is not the group's secondary.
    NotSecondary,
    /// One is running already.
    Running,
    /// The node ends.
    Stopping,
    /// The lane's node did not answer in time.
    LaneUnreachable { node: NodeId, missing: Option<Missing> },
    /// The lane's node refuses this site.
    LaneRefused { node: NodeId, reason: midspan_format::message::RefusedReason },
    /// Something answered may be missing: only with loss accepted.
    MayLose { why: LossReason, missing: Option<Missing> },
    /// Nothing consistent to serve: a copy to this site has not ended.
    NoCut,
    /// There is no takeover to be undone.
    NothingToAbort,
    /// This site holds nothing alone that it could give up.
    NotSplit,
    /// The disks here do not hold all that was answered, or it cannot be said where the other site stands.
    NotToBeKept,
    /// No start waits for a lane here.
    NotStarting,
    /// The lane's node answers: the start needs nobody's word.
    LaneReachable { node: NodeId },
    /// The other site is a secondary that has acquired more than this site's disks hold for sure.
    SecondaryAhead,
    /// The other site has taken over.
    OtherServes,
}

/// What a start found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartReport {
    /// The epoch that serves now.
    pub epoch: Epoch,
    /// Frames read from the lanes and brought to the disks.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Time of the last record found, ns.
    pub last_time: u64,
    /// Regions marked because the former primary may lack or have torn them.
    pub marked_regions: u64,
    /// Whether it is certain that no answered write is missing.
    pub lost_nothing: bool,
    /// Why it is not.
    pub why: Option<LossReason>,
    /// Where it is not certain: what was answered later than this may be missing, ns.
    pub kept_to: u64,
    /// And journal bytes that are known to have been there and are not on the disks.
    pub missing_bytes: u64,
    /// Duration, nanoseconds.
    pub took_ns: u64,
}

/// Effects of one event, in the order in which they must be carried out. Allocated once, drained by the driver.
#[derive(Debug)]
pub struct Effects<B> {
    list: Vec<Effect<B>>,
    /// Bounded by its capacity: what finds no room is not recorded.
    milestones: Vec<Milestone>,
}

impl<B> Effects<B> {
    /// Room for `capacity` effects before the list would have to grow.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), milestones: Vec::with_capacity(capacity) }
    }

    /// Appends an effect.
    pub fn push(&mut self, effect: Effect<B>) {
        self.list.push(effect);
    }

    /// Takes all effects, oldest first; the memory stays.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect<B>> + '_ {
        self.list.drain(..)
    }

    /// Notes what was reached, for whoever records it.
    pub fn reach(&mut self, milestone: Milestone) {
        if self.milestones.len() < self.milestones.capacity() {
            self.milestones.push(milestone);
        }
    }

    /// Takes all milestones, oldest first; the memory stays.
    pub fn drain_milestones(&mut self) -> impl Iterator<Item = Milestone> + '_ {
        self.milestones.drain(..)
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What every handler gets: the time, a source of buffers, and where effects go.
#[derive(Debug)]
pub struct Context<'a, S: Buffers> {
    /// The time of this event.
    pub now: Now,
    /// The pool.
    pub buffers: &'a mut S,
    /// Where effects go.
    pub effects: &'a mut Effects<S::Buf>,
}

impl<S: Buffers> Context<'_, S> {
    /// Appends an effect.
    pub fn ask(&mut self, effect: Effect<S::Buf>) {
        self.effects.push(effect);
    }

    /// Starts a disk operation.
    pub fn disk(&mut self, disk: Disk, token: Token, op: DiskOp<S::Buf>) {
        self.effects.push(Effect::Disk { disk, token, op, awaited: true });
    }

    /// Starts a disk operation that nobody's answer waits for.
    pub fn disk_unawaited(&mut self, disk: Disk, token: Token, op: DiskOp<S::Buf>) {
        self.effects.push(Effect::Disk { disk, token, op, awaited: false });
    }

    /// Notes what was reached, for tracers.
    pub fn reach(&mut self, milestone: Milestone) {
        self.effects.reach(milestone);
    }

    /// Reports to people.
    pub fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }
}
