//! Typed payloads of records that are not host data: one block each, the layout first, then zeroes.
//!
//! The record's checksum covers the whole block.

use crate::geometry::BLOCK;
use crate::ids::{AreaId, Epoch, LaneId, NodeId};
use crate::list::List;
use crate::point::LanePoint;
use crate::record::{RecordError, RecordKind};
use crate::time::Time;
use crate::wire::{Put, Take, Wire, wire_enum, wire_struct};

/// Lanes in a lane set at most.
pub const MAX_LANES: usize = 8;

wire_enum! {
    /// Why a round is run.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum RoundReason {
        /// The target never held anything.
        #[default]
        InitialCopy = 1,
        /// Regions were marked while the lanes were left, lost or full.
        Resync = 2,
        /// The former primary is brought up to the new one.
        Failback = 3,
    }
}

wire_struct! {
    /// A round begins: its RoundData and Zero records follow, live writes between them in time order.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RoundBegin {
        /// Names the round; an End and a resumption must name the same.
        pub round: u64,
        /// Epoch of the source.
        pub epoch: Epoch,
        /// Why.
        pub reason: RoundReason,
        /// The target may give up its last cut: from here to End it has none.
        pub in_place: bool,
        /// Generation of the source's dirty map that was frozen for this round.
        pub map_generation: u64,
        /// Regions to be sent.
        pub regions: u64,
        /// The cut that the target must hold for the round to lead to a cut.
        pub from_cut: Time,
    } = 64
}

wire_enum! {
    /// How a round ended.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum RoundOutcome {
        /// Everything was sent: with this record applied, the target holds a cut.
        #[default]
        Complete = 1,
        /// Given up: the staged data is dropped, the frozen marks stay.
        Cancelled = 2,
    }
}

wire_struct! {
    /// A round ends.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RoundEnd {
        /// The round that began under this name.
        pub round: u64,
        /// How it ended.
        pub outcome: RoundOutcome,
        /// Generation of the dirty map that was frozen.
        pub map_generation: u64,
        /// Regions that were sent.
        pub regions: u64,
        /// Time of the RoundBegin.
        pub began: Time,
    } = 64
}

wire_enum! {
    /// What a lane of a set is for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum LaneUse {
        /// Takes frames.
        #[default]
        Open = 1,
        /// Configured and reachable; takes none now.
        Standby = 2,
        /// Takes no frame with a time beyond its `resent_until`.
        Closed = 3,
    }
}

wire_struct! {
    /// One lane of a lane set.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LaneMember {
        /// The lane.
        pub lane: LaneId,
        /// The node that holds it.
        pub node: NodeId,
        /// What it is for.
        pub usage: LaneUse,
        /// Its ring there.
        pub ring: AreaId,
        /// Its manifest area there.
        pub manifest: AreaId,
        /// Its receipt area there.
        pub receipt: AreaId,
        /// Of a closed lane: everything of it with a time up to this one was re-sent in others.
        pub resent_until: Time,
    } = 64
}

wire_struct! {
    /// The lane set changes to n lanes, of which k must hold a frame before an answer.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LaneSet {
        /// Counts the changes; a secondary records the newest.
        pub version: u64,
        /// Epoch of the primary that asks for the change.
        pub epoch: Epoch,
        /// Lanes that count, by node.
        pub n: u8,
        /// How many of them must hold a frame.
        pub k: u8,
        /// The lanes.
        pub lanes: List<LaneMember, MAX_LANES>,
    } = 544
}

wire_enum! {
    /// Why the lanes are left.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum LeaveReason {
        /// Fewer than k lanes hold frames.
        #[default]
        Degraded = 1,
        /// The ring fills faster than the secondary reads.
        Suspended = 2,
        /// An operator asked.
        Asked = 3,
        /// The other site was taken over from, and is away.
        TakenOver = 4,
        /// The other site never held anything.
        InitialCopy = 5,
    }
}

wire_struct! {
    /// From now on writes are answered outside the lanes, marked in the dirty map: no takeover that finds this says that
    /// nothing is lost, until an End of a later time is answerable.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Leave {
        /// Epoch of the primary that leaves.
        pub epoch: Epoch,
        /// Why.
        pub reason: LeaveReason,
        /// Everything answered up to this time is in the lanes.
        pub cut: Time,
        /// Generation of the dirty map that records what comes.
        pub map_generation: u64,
        /// The former primary, after a takeover; else none.
        pub former: NodeId,
        /// Its disks hold everything before this point: behind it, up to this mark, they may lack or have torn anything. At
        /// position 0 with a former primary: nobody knows.
        pub former_landed: LanePoint,
        /// Time of the last record before that.
        pub former_landed_time: Time,
    } = 96
}

wire_struct! {
    /// A planned change of roles: the primary has stopped, everything before this mark is on its disks, and the other site is
    /// to go on. Counts only as long as the epoch that is named is in force and nothing follows it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Handover {
        /// Epoch of the primary that hands over.
        pub epoch: Epoch,
        /// The site that is to go on.
        pub to: NodeId,
    } = 64
}

wire_enum! {
    /// How a range's digest is computed.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum DigestKind {
        /// BLAKE3, 32 bytes.
        #[default]
        Blake3 = 1,
    }
}

wire_struct! {
    /// What a range reads as at the record's time.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Verify {
        /// Names the run of `verify` that this belongs to.
        pub run: u64,
        /// How the digest is computed.
        pub kind: DigestKind,
        /// The digest.
        pub digest: [u8; 32],
    } = 64
}

impl Verify {
    /// Of bytes that were read.
    pub fn of(run: u64, bytes: &[u8]) -> Self {
        Self { run, kind: DigestKind::Blake3, digest: *blake3::hash(bytes).as_bytes() }
    }

    /// Whether these bytes are the same.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        match self.kind {
            DigestKind::Blake3 => *blake3::hash(bytes).as_bytes() == self.digest,
        }
    }
}

/// The typed payload of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack, and rare")]
pub enum Mark {
    /// Of a RoundBegin.
    RoundBegin(RoundBegin),
    /// Of a RoundEnd.
    RoundEnd(RoundEnd),
    /// Of a LaneSet.
    LaneSet(LaneSet),
    /// Of a Leave.
    Leave(Leave),
    /// Of a Handover.
    Handover(Handover),
    /// Of a Verify.
    Verify(Verify),
}

impl Mark {
    /// The kind of its record.
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::RoundBegin(_) => RecordKind::RoundBegin,
            Self::RoundEnd(_) => RecordKind::RoundEnd,
            Self::LaneSet(_) => RecordKind::LaneSet,
            Self::Leave(_) => RecordKind::Leave,
            Self::Handover(_) => RecordKind::Handover,
            Self::Verify(_) => RecordKind::Verify,
        }
    }

    /// Writes the block.
    pub fn encode(&self, block: &mut [u8; BLOCK]) {
        block.fill(0);
        let mut out = Put::new(block);
        match self {
            Self::RoundBegin(mark) => mark.put(&mut out),
            Self::RoundEnd(mark) => mark.put(&mut out),
            Self::LaneSet(mark) => mark.put(&mut out),
            Self::Leave(mark) => mark.put(&mut out),
            Self::Handover(mark) => mark.put(&mut out),
            Self::Verify(mark) => mark.put(&mut out),
        }
    }

    /// Reads the data of a record of the given kind; `None` when such records have no typed payload.
    ///
    /// # Errors
    /// The block is not what [`Mark::encode`] writes.
    pub fn decode(kind: RecordKind, data: &[u8]) -> Result<Option<Self>, RecordError> {
        let mut input = Take::new(data);
        let mark = match kind {
            RecordKind::Write | RecordKind::Zero | RecordKind::RoundData => return Ok(None),
            RecordKind::RoundBegin => RoundBegin::take(&mut input).map(Self::RoundBegin),
            RecordKind::RoundEnd => RoundEnd::take(&mut input).map(Self::RoundEnd),
            RecordKind::LaneSet => LaneSet::take(&mut input).map(Self::LaneSet),
            RecordKind::Leave => Leave::take(&mut input).map(Self::Leave),
            RecordKind::Handover => Handover::take(&mut input).map(Self::Handover),
            RecordKind::Verify => Verify::take(&mut input).map(Self::Verify),
        };
        let whole = data.len() == BLOCK && input.finish().is_ok();
        mark.ok().filter(|_| whole).map(Some).ok_or(RecordError::Payload)
    }
}
