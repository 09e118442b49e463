//! The messages' contents: each a fixed layout, its fields in order.

use rkyv::{Archive, Deserialize, Serialize};

use crate::area::AreaKind;
use crate::frame::FrameHeader;
use crate::geometry::Position;
use crate::ids::{AreaId, Epoch, GroupId, LaneId, NodeId};
use crate::list::Few;
use crate::superblock::FenceSet;
use crate::time::Time;
use crate::wire::{wire_enum, wire_struct};

/// Areas in a [`Fenced`] at most: those of eight lanes.
pub const MAX_FENCED_LANES: usize = 8;
/// Areas in an [`Areas`] at most.
pub const MAX_LISTED_AREAS: usize = 24;

wire_enum! {
    /// What a session is for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum SessionKind {
        /// Frames go to an area.
        Append = 1,
        /// Ranges come from an area.
        Fetch = 2,
        /// Fence, release, create, delete, list.
        #[default]
        Control = 3,
        /// From site to site: manifests or receipts, and that the lanes are left.
        Direct = 4,
    }
}

wire_struct! {
    /// First word of whoever connects: small, before anything else.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Hello {
        /// [`crate::version::PROTOCOL_VERSION`] of the sender.
        pub protocol: u16,
        /// Who it is.
        pub node: NodeId,
        /// The group.
        pub group: GroupId,
        /// What the session is for.
        pub kind: SessionKind,
        /// Which kind of area; of no meaning in a control session.
        pub area_kind: AreaKind,
        /// The lane.
        pub lane: LaneId,
        /// The area it expects; [`AreaId::NONE`] while it is not known.
        pub area: AreaId,
        /// The epoch in which it means to work.
        pub epoch: Epoch,
        /// The lease it counts on, milliseconds.
        pub lease_ms: u32,
    } = 64
}

wire_struct! {
    /// The session is open.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Welcome {
        /// Who answers.
        pub node: NodeId,
        /// The area; [`AreaId::NONE`] in a control session.
        pub area: AreaId,
        /// The epoch in force.
        pub epoch: Epoch,
        /// Who may write rings and manifests.
        pub primary: NodeId,
        /// Who may write receipts. Of a site that hears the other one: the only lane that it may still go by, because it has read no other.
        pub secondary: NodeId,
        /// Bytes of the area's ring.
        pub size: u64,
        /// Its journaled prefix.
        pub journaled: Position,
        /// Everything from here up to the prefix was written to it; how much of that is still there is a matter of its size.
        pub began: Position,
        /// Header of the last journaled frame.
        pub last: Option<FrameHeader>,
    } = 344
}

wire_enum! {
    /// Why something is refused.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
    pub enum RefusedReason {
        /// Another protocol version.
        Version = 1,
        /// No such group here.
        UnknownGroup = 2,
        /// No such area here.
        UnknownArea = 3,
        /// The area has another id than the one named.
        ForeignArea = 4,
        /// The node may not do that.
        NotPermitted = 5,
        /// A newer epoch is in force.
        OlderEpoch = 6,
        /// The epoch in force is not the one that was to be replaced, or not smaller than the new one.
        EpochFound = 7,
        /// The area, or its disk, is damaged.
        Damaged = 8,
        /// The range was overwritten.
        TooOld = 9,
        /// The range lies beyond the journaled prefix.
        Beyond = 10,
        /// No space is left.
        Full = 11,
        /// The frame does not verify, or does not continue the area.
        BadFrame = 12,
        /// Not now: try again.
        #[default]
        Busy = 13,
        /// The group or area was deleted.
        Deleted = 14,
    }
}

wire_struct! {
    /// A request is refused, or (request 0) the session ends.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Refused {
        /// Which request; 0 for the session.
        pub request: u64,
        /// Why.
        pub reason: RefusedReason,
        /// The epoch found.
        pub epoch: Epoch,
        /// The area's journaled prefix.
        pub journaled: Position,
    } = 40
}

wire_struct! {
    /// Everything before this position is durable.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Progress {
        /// The position.
        pub journaled: Position,
        /// Sequence of the last frame before it.
        pub sequence: u64,
    } = 16
}

wire_struct! {
    /// Asks for a [`Pong`]. From a writer it says also what its readers may use.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Ping {
        /// Comes back unchanged.
        pub stamp: u64,
        /// What lies before it is in as many lanes as an answer needs, and may be read; [`Position::BEYOND`]: all that is
        /// journaled.
        pub answerable: Position,
    } = 16
}

wire_struct! {
    /// Answers a [`Ping`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Pong {
        /// As in the ping.
        pub stamp: u64,
    } = 8
}

wire_struct! {
    /// Asks for a range of the area's bytes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Read {
        /// Names the request in its answer.
        pub request: u64,
        /// Where it begins.
        pub position: Position,
        /// Bytes wanted at most: whole blocks, up to [`super::MAX_READ`].
        pub length: u32,
        /// How long to wait until anything is there, milliseconds.
        pub wait_ms: u32,
        /// The reader knows the frame from another lane: it is not asked whether both hold it.
        pub known: bool,
        /// A frame begins there, and the reader goes along the chain: no frame is cut off.
        pub framed: bool,
        /// So, the heads are enough of frames whose data is at this node; what follows a head is the next frame.
        pub without: NodeId,
    } = 32
}

wire_struct! {
    /// Stands in a block; the data follows it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ReadReply {
        /// Which request.
        pub request: u64,
        /// Where the data begins.
        pub position: Position,
        /// Bytes of data: whole blocks, up to [`super::MAX_READ`]; 0 when nothing is there.
        pub length: u32,
        /// The journaled prefix.
        pub journaled: Position,
    } = 32
}

wire_enum! {
    /// What a fence is for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum FenceIntent {
        /// Replaces only an epoch of the same node.
        Restart = 1,
        /// Replaces any epoch.
        Takeover = 2,
        /// Changes nothing: asks what is in force.
        #[default]
        Probe = 3,
    }
}

wire_struct! {
    /// Replaces the epoch in force, and with it the permitted writers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Fence {
        /// Names the request in its answer.
        pub request: u64,
        /// The group.
        pub group: GroupId,
        /// The epoch that must be in force.
        pub replaces: Epoch,
        /// The epoch that is taken: strictly greater.
        pub epoch: Epoch,
        /// Newest epoch that the asker has recorded: a restart may replace an older one of any node.
        pub known: Epoch,
        /// Who may write rings and manifests from now on.
        pub primary: NodeId,
        /// Who may write receipts from now on.
        pub secondary: NodeId,
        /// What it is for.
        pub intent: FenceIntent,
        /// Lease of the new writer, milliseconds.
        pub lease_ms: u32,
    } = 80
}

wire_struct! {
    /// The writer of a ring says where it goes on: what the area holds behind it is dropped, and what comes continues the
    /// journal that is named. Answered by a [`Welcome`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Begin {
        /// The journal: the id that its frames carry.
        pub journal: AreaId,
        /// Where the next frame goes.
        pub position: Position,
        /// Its sequence.
        pub sequence: u64,
        /// Checksum of the header before it.
        pub chain: u64,
        /// The frame before it, where the area holds it: what lies before is kept, and can still be read.
        pub last: Option<FrameHeader>,
    } = 296
}

wire_struct! {
    /// From the writer of a ring, in a block: the head of a frame whose data lies in another lane follows it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Head {
        /// Bytes that follow: whole blocks.
        pub length: u32,
    } = 8
}

wire_struct! {
    /// From a primary to the other site: record this fence set; answered by [`SetRecorded`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SetAsked {
        /// The group.
        pub group: GroupId,
        /// Epoch of the primary.
        pub epoch: Epoch,
        /// The set that is asked for.
        pub set: FenceSet,
        /// The lane that is to count alone holds everything that a primary of this journal ever sealed, and ends here: who has read
        /// another lane may let go of that one, if it has not read further. 0: nothing of the kind is said.
        pub holds: Position,
    } = 72
}

wire_struct! {
    /// The set of this change is recorded: a takeover goes by it from now on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SetRecorded {
        /// Epoch of the change.
        pub epoch: Epoch,
        /// Its number.
        pub version: u64,
    } = 24
}

wire_struct! {
    /// An area of the group as it stands.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FencedLane {
        /// Its lane.
        pub lane: LaneId,
        /// What it holds.
        pub kind: AreaKind,
        /// Its id.
        pub area: AreaId,
        /// Bytes of its ring.
        pub size: u64,
        /// Its journaled prefix.
        pub journaled: Position,
        /// What it holds begins there.
        pub began: Position,
        /// It can be read and appended to.
        pub open: bool,
        /// Its prefix is still being found: ask again.
        pub scanning: bool,
        /// Header of the last journaled frame.
        pub last: Option<FrameHeader>,
    } = 312
}

impl FencedLane {
    /// Whether this ring and one that ends before it, or with it, can be two that share the data of frames: the other one holds what
    /// this one says to be in both, and where both end alike, they end with the same frame.
    pub fn may_share_with(&self, shorter: &Self) -> bool {
        let said = self.last.map_or(Position(0), |last| last.journaled);
        let ends = (self.last.map(|last| last.checksum), shorter.last.map(|last| last.checksum));
        let differ = matches!(ends, (Some(one), Some(other)) if one != other);
        shorter.journaled >= said && !(self.journaled == shorter.journaled && differ)
    }
}

wire_struct! {
    /// Answers a [`Fence`].
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Fenced {
        /// Which request.
        pub request: u64,
        /// The epoch in force now.
        pub epoch: Epoch,
        /// The epoch in force before.
        pub found: Epoch,
        /// Whose epoch that was replaced last by another node.
        pub former: NodeId,
        /// The holder of the epoch in force has given it back: the former one may take a newer one.
        pub released: bool,
        /// The group's areas here.
        pub lanes: Few<FencedLane, MAX_FENCED_LANES>,
    } = 2544
}

impl Fenced {
    /// The group's areas here.
    pub fn lanes(&self) -> &[FencedLane] {
        &self.lanes
    }

    /// Adds an area; `false` when there is no room for it.
    pub fn push(&mut self, lane: FencedLane) -> bool {
        self.lanes.push(lane)
    }
}

wire_struct! {
    /// The permitted writer gives its permission back: a fence need not wait for its lease.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Release {
        /// Names the request in its answer.
        pub request: u64,
        /// The group.
        pub group: GroupId,
        /// The writer's epoch.
        pub epoch: Epoch,
    } = 24
}

wire_struct! {
    /// Answers a [`Release`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Released {
        /// Which request.
        pub request: u64,
    } = 8
}

wire_struct! {
    /// From site to site: hosts are to be answered outside the lanes. Nothing is, before this is recorded or the lane says so.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Leaving {
        /// The group.
        pub group: GroupId,
        /// Epoch of the primary that leaves.
        pub epoch: Epoch,
        /// Everything answered up to this time was in the lanes.
        pub cut: Time,
    } = 32
}

wire_struct! {
    /// Answers a [`Leaving`]: no takeover by this site says from now on that nothing is lost.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Left {
        /// As in the question.
        pub epoch: Epoch,
    } = 16
}

wire_struct! {
    /// Creates an area, and the group's permit where there is none; answered by [`Areas`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AreaCreate {
        /// Names the request in its answer.
        pub request: u64,
        /// The group.
        pub group: GroupId,
        /// The lane.
        pub lane: LaneId,
        /// What the area holds.
        pub kind: AreaKind,
        /// Its id, random; repeating the request with the same id does nothing more.
        pub area: AreaId,
        /// Its bytes.
        pub size: u64,
        /// The group's two sites.
        pub sites: [NodeId; 2],
        /// The epoch in force, or none where there is no permit yet.
        pub epoch: Epoch,
    } = 64
}

wire_struct! {
    /// Deletes an area: only the holder of the epoch in force may; answered by [`Areas`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AreaDelete {
        /// Names the request in its answer.
        pub request: u64,
        /// The group.
        pub group: GroupId,
        /// The area; [`AreaId::NONE`]: all of the group.
        pub area: AreaId,
        /// The epoch in force.
        pub epoch: Epoch,
    } = 48
}

wire_struct! {
    /// Asks for the areas of a group; answered by [`Areas`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AreaList {
        /// Names the request in its answer.
        pub request: u64,
        /// The group.
        pub group: GroupId,
        /// How many to leave out, when an answer said that there are more.
        pub skip: u32,
    } = 16
}

wire_struct! {
    /// One area of a list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AreaInfo {
        /// Its id.
        pub area: AreaId,
        /// Its lane.
        pub lane: LaneId,
        /// What it holds.
        pub kind: AreaKind,
        /// It can be read and appended to.
        pub open: bool,
        /// Its bytes.
        pub size: u64,
        /// Its journaled prefix.
        pub journaled: Position,
    } = 48
}

wire_struct! {
    /// Areas of a group.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Areas {
        /// Which request.
        pub request: u64,
        /// The epoch in force.
        pub epoch: Epoch,
        /// There are more than these.
        pub more: bool,
        /// The areas.
        pub areas: Few<AreaInfo, MAX_LISTED_AREAS>,
    } = 1184
}
