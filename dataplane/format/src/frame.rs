//! The header of a frame: what a sealed batch is, where it stands, and what it links to.

use core::mem::offset_of;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::checksum;
use crate::geometry::{BLOCK, Position, is_whole_blocks};
use crate::ids::{AreaId, Epoch, GroupId, LaneId, NodeId};
use crate::manifest::MAX_MANIFEST_ENTRIES;
use crate::receipt::MAX_RECEIPT_LANES;
use crate::record::{MAX_RECORDS, RecordError};
use crate::time::Time;
use crate::version::FRAME_VERSION;
use crate::wire::{Malformed, Put, Take, Wire, is_zero, wire_enum};

/// Size of the header; the table follows directly.
pub const HEADER_BYTES: usize = 256;
/// Data of all records of a frame at most, bytes.
pub const MAX_FRAME_DATA: u32 = 512 * 1024;
/// Header, table and padding at most, bytes.
pub const MAX_HEAD: u32 = 64 * 1024;
/// A whole frame at most, bytes.
pub const MAX_FRAME: u32 = MAX_HEAD + MAX_FRAME_DATA;

const MAGIC: [u8; 8] = *b"MSPFRAME";

wire_enum! {
    /// What a frame holds, and so in which kind of area it stands.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum FrameKind {
        /// Records and their data.
        #[default]
        Journal = 1,
        /// A manifest.
        Manifest = 2,
        /// A receipt.
        Receipt = 3,
    }
}

impl FrameKind {
    /// Table entries at most.
    pub const fn max_records(self) -> usize {
        match self {
            Self::Journal => MAX_RECORDS,
            Self::Manifest => MAX_MANIFEST_ENTRIES,
            Self::Receipt => MAX_RECEIPT_LANES,
        }
    }
}

/// Flag of a journal frame: its sealer may answer hosts where it reaches nobody, so what came behind nobody else can know.
pub const MAY_BE_ALONE: u8 = 1;
/// Flag of a journal frame: two lanes must hold it, or are to, so a reader of one of them uses only what lies before a
/// prefix that is said to be in both.
pub const IN_TWO_LANES: u8 = 2;

/// The decoded header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame holds.
    pub kind: FrameKind,
    /// [`MAY_BE_ALONE`], [`IN_TWO_LANES`], or 0.
    pub flags: u8,
    /// The group.
    pub group: GroupId,
    /// The lane in which this copy travels.
    pub lane: LaneId,
    /// The lane in which it was first sent.
    pub origin_lane: LaneId,
    /// The area it was sealed for.
    pub area: AreaId,
    /// Epoch of the sealer; never decreases along the chain.
    pub epoch: Epoch,
    /// Counts the frames of the area, from 1.
    pub sequence: u64,
    /// Where it begins in the ring.
    pub position: Position,
    /// Bytes of the whole frame.
    pub length: u32,
    /// Bytes of the table behind the header.
    pub table_length: u32,
    /// Bytes of header, table and padding: the data begins there.
    pub head_length: u32,
    /// Entries of the table: records, manifest entries or lanes.
    pub records: u32,
    /// Checksum of the header before it in this lane; 0 for the very first.
    pub chain: u64,
    /// Time of the first record.
    pub first_time: Time,
    /// Time of the last record.
    pub last_time: Time,
    /// Promise: no later frame with this origin lane carries a time up to it, in whatever lane it travels.
    pub closed_time: Time,
    /// The primary's disks hold everything before, flushed.
    pub landed: Position,
    /// Time of the last record before `landed`.
    pub landed_time: Time,
    /// The journaled prefix of the ring as known to the sealer.
    pub journaled: Position,
    /// The one node whose lane holds its data, where lanes are striped; none: each lane that holds the frame holds all of it.
    pub data_at: NodeId,
    /// Checksum of the table.
    pub body_checksum: u64,
    /// Checksum of this header; set by decoding and sealing.
    pub checksum: u64,
}

/// What is wrong with bytes that should be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("the bytes end before the frame does")]
    Short,
    /// The bytes go on behind the frame's end.
    #[error("there are bytes behind the frame's end")]
    Long,
    /// Something else stands there, or nothing.
    #[error("no frame begins there")]
    Magic,
    /// The header does not verify.
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    /// Sealed by another version of Midspan.
    #[error("frame version {0} is not known to this program")]
    Version(u16),
    /// A kind that does not exist.
    #[error("frame kind {0} is not known")]
    Kind(u8),
    /// Flags that do not exist, or reserved bytes that are not zero.
    #[error("reserved bits are set in the header")]
    Reserved,
    /// Not whole blocks, beyond the limits, or not fitting each other.
    #[error("the header's lengths are impossible")]
    Length,
    /// Not whole blocks, or beyond 64 bits.
    #[error("the header's positions are impossible")]
    Position,
    /// The last before the first, or too far in the future.
    #[error("the header's times are impossible")]
    Time,
    /// The frame does not lie at an address that its table can be read at.
    #[error("the frame does not lie at a multiple of 8 in memory")]
    Unaligned,
    /// The table does not verify.
    #[error("the table's checksum is wrong")]
    TableChecksum,
    /// The table verifies, and is impossible.
    #[error("the table is impossible")]
    Table,
    /// A record is impossible or its data does not verify.
    #[error("record {index}: {error}")]
    Record {
        /// Which, from 0.
        index: u32,
        /// What.
        error: RecordError,
    },
    /// Data that belongs to no record.
    #[error("data that belongs to no record")]
    Surplus,
    /// The bytes between table and data are not zero.
    #[error("padding is not zero")]
    Padding,
}

/// ```text
///   0 ┌────────────────────────────────────────────────┐
///     │ magic "MSPFRAME"                               │
///   8 ├───────────┬─────┬─────┬────────────────────────┤
///     │ version   │kind │flags│ group                  │
///  16 ├───────────┼─────┴─────┼────────────────────────┤
///     │ lane      │ origin    │ epoch.node             │
///  24 ├───────────┴───────────┴────────────────────────┤
///     │ epoch.number                                   │
///  32 ├────────────────────────────────────────────────┤
///     │ area                                           │
///     │                                                │
///  48 ├────────────────────────────────────────────────┤
///     │ sequence                                       │
///  56 ├────────────────────────────────────────────────┤
///     │ position                                       │
///  64 ├───────────────────────┬────────────────────────┤
///     │ length                │ head_length            │
///  72 ├───────────────────────┼────────────────────────┤
///     │ table_length          │ records                │
///  80 ├───────────────────────┴────────────────────────┤
///     │ chain                                          │
///  88 ├────────────────────────────────────────────────┤
///     │ first_time, last_time, closed_time             │
/// 112 ├────────────────────────────────────────────────┤
///     │ landed, landed_time, journaled                 │
/// 136 ├────────────────────────────────────────────────┤
///     │ data_at               │ zero                   │
/// 144 ├────────────────────────────────────────────────┤
///     │ body_checksum                                  │
/// 152 ├────────────────────────────────────────────────┤
///     │ zero                                           │
/// 248 ├────────────────────────────────────────────────┤
///     │ checksum of bytes 0..248                       │
/// 256 └────────────────────────────────────────────────┘
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    version: U16,
    kind: u8,
    flags: u8,
    group: U32,
    lane: U16,
    origin_lane: U16,
    epoch_node: U32,
    epoch_number: U64,
    area: [u8; 16],
    sequence: U64,
    position: U64,
    length: U32,
    head_length: U32,
    table_length: U32,
    records: U32,
    chain: U64,
    first_time: U64,
    last_time: U64,
    closed_time: U64,
    landed: U64,
    landed_time: U64,
    journaled: U64,
    data_at: U32,
    zero: [u8; 4],
    body_checksum: U64,
    reserved: [u8; 96],
    checksum: U64,
}

const _: () = {
    assert!(size_of::<Layout>() == HEADER_BYTES && align_of::<Layout>() == 1);
    assert!(offset_of!(Layout, version) == 8);
    assert!(offset_of!(Layout, group) == 12);
    assert!(offset_of!(Layout, lane) == 16);
    assert!(offset_of!(Layout, epoch_node) == 20);
    assert!(offset_of!(Layout, epoch_number) == 24);
    assert!(offset_of!(Layout, area) == 32);
    assert!(offset_of!(Layout, sequence) == 48);
    assert!(offset_of!(Layout, position) == 56);
    assert!(offset_of!(Layout, length) == 64);
    assert!(offset_of!(Layout, table_length) == 72);
    assert!(offset_of!(Layout, chain) == 80);
    assert!(offset_of!(Layout, first_time) == 88);
    assert!(offset_of!(Layout, landed) == 112);
    assert!(offset_of!(Layout, data_at) == 136);
    assert!(offset_of!(Layout, body_checksum) == 144);
    assert!(offset_of!(Layout, reserved) == 152);
    assert!(offset_of!(Layout, checksum) == HEADER_BYTES - 8);
    assert!(is_whole_blocks(MAX_FRAME as u64));
};

/// Bytes of header, table and padding, for a table of so many bytes.
pub const fn head_length(table_length: usize) -> usize {
    (HEADER_BYTES + table_length).next_multiple_of(BLOCK)
}

impl FrameHeader {
    /// Behind the frame.
    pub const fn end(&self) -> Position {
        self.position.add(self.length as u64)
    }

    /// Whether the lane at `node` need not hold more of it than its head: its data lies in another one.
    pub fn is_head_only_at(&self, node: NodeId) -> bool {
        self.data_at != NodeId::NONE && self.data_at != node
    }

    /// Bytes of data behind the head.
    pub const fn data_length(&self) -> u32 {
        self.length.saturating_sub(self.head_length)
    }

    /// The header's bytes, with their checksum computed anew: `self.checksum` is not looked at.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(self.layout().as_bytes());
        if let Some((covered, end)) = bytes.split_last_chunk_mut::<8>() {
            *end = checksum(covered).to_le_bytes();
        }
        bytes
    }

    /// [`FrameHeader::encode`], and takes the checksum over.
    pub(crate) fn seal(&mut self) -> [u8; HEADER_BYTES] {
        let bytes = self.encode();
        self.checksum = bytes.last_chunk::<8>().map_or(0, |end| u64::from_le_bytes(*end));
        bytes
    }

    /// Reads the header at the front of `bytes` and checks everything that can be said without the rest of the frame.
    ///
    /// # Errors
    /// What is wrong; [`FrameError::Short`] when there are fewer than [`HEADER_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>().ok_or(FrameError::Short)?;
        let layout = Layout::ref_from_bytes(bytes).map_err(|_| FrameError::Short)?;
        if layout.magic != MAGIC {
            return Err(FrameError::Magic);
        }
        let covered = bytes.split_last_chunk::<8>().map_or(&[][..], |(covered, _)| covered);
        if checksum(covered) != layout.checksum.get() {
            return Err(FrameError::HeaderChecksum);
        }
        if layout.version.get() != FRAME_VERSION {
            return Err(FrameError::Version(layout.version.get()));
        }
        let kind = FrameKind::from_u8(layout.kind).ok_or(FrameError::Kind(layout.kind))?;
        if layout.flags & !(MAY_BE_ALONE | IN_TWO_LANES) != 0
            || !is_zero(&layout.reserved)
            || !is_zero(&layout.zero)
        {
            return Err(FrameError::Reserved);
        }
        let header = Self::from_layout(layout, kind);
        header.check()?;
        Ok(header)
    }

    /// Whether lengths, positions and times are possible.
    pub(crate) fn check(&self) -> Result<(), FrameError> {
        let head = head_length(self.table_length as usize) as u64;
        let data = u64::from(self.length).checked_sub(head).ok_or(FrameError::Length)?;
        let data_fits = match self.kind {
            FrameKind::Journal => data <= u64::from(MAX_FRAME_DATA),
            FrameKind::Manifest | FrameKind::Receipt => data == 0,
        };
        let fits = u64::from(self.head_length) == head && head <= u64::from(MAX_HEAD) && data_fits;
        if !fits || !is_whole_blocks(self.length.into()) || self.records as usize > self.kind.max_records() {
            return Err(FrameError::Length);
        }
        let positions = [self.position, self.landed, self.journaled];
        let whole = positions.iter().all(|position| is_whole_blocks(position.0));
        if !whole || self.position.0.checked_add(self.length.into()).is_none() {
            return Err(FrameError::Position);
        }
        let newest = self.last_time.max(self.closed_time).max(self.landed_time);
        if self.first_time > self.last_time || newest > Time::MAX {
            return Err(FrameError::Time);
        }
        Ok(())
    }

    fn layout(&self) -> Layout {
        Layout {
            magic: MAGIC,
            version: U16::new(FRAME_VERSION),
            kind: self.kind as u8,
            flags: self.flags,
            group: U32::new(self.group.0),
            lane: U16::new(self.lane.0),
            origin_lane: U16::new(self.origin_lane.0),
            epoch_node: U32::new(self.epoch.node.0),
            epoch_number: U64::new(self.epoch.number),
            area: self.area.0,
            sequence: U64::new(self.sequence),
            position: U64::new(self.position.0),
            length: U32::new(self.length),
            head_length: U32::new(self.head_length),
            table_length: U32::new(self.table_length),
            records: U32::new(self.records),
            chain: U64::new(self.chain),
            first_time: U64::new(self.first_time.0),
            last_time: U64::new(self.last_time.0),
            closed_time: U64::new(self.closed_time.0),
            landed: U64::new(self.landed.0),
            landed_time: U64::new(self.landed_time.0),
            journaled: U64::new(self.journaled.0),
            data_at: U32::new(self.data_at.0),
            zero: [0; 4],
            body_checksum: U64::new(self.body_checksum),
            reserved: [0; 96],
            checksum: U64::new(0),
        }
    }

    fn from_layout(layout: &Layout, kind: FrameKind) -> Self {
        Self {
            kind,
            flags: layout.flags,
            group: GroupId(layout.group.get()),
            lane: LaneId(layout.lane.get()),
            origin_lane: LaneId(layout.origin_lane.get()),
            area: AreaId(layout.area),
            epoch: Epoch { number: layout.epoch_number.get(), node: NodeId(layout.epoch_node.get()) },
            sequence: layout.sequence.get(),
            position: Position(layout.position.get()),
            length: layout.length.get(),
            table_length: layout.table_length.get(),
            head_length: layout.head_length.get(),
            records: layout.records.get(),
            chain: layout.chain.get(),
            first_time: Time(layout.first_time.get()),
            last_time: Time(layout.last_time.get()),
            closed_time: Time(layout.closed_time.get()),
            landed: Position(layout.landed.get()),
            landed_time: Time(layout.landed_time.get()),
            journaled: Position(layout.journaled.get()),
            data_at: NodeId(layout.data_at.get()),
            body_checksum: layout.body_checksum.get(),
            checksum: layout.checksum.get(),
        }
    }
}

/// Inside messages: as it stands in front of its frame; all zero when there is none.
impl Wire for Option<FrameHeader> {
    const BYTES: usize = HEADER_BYTES;
    fn put(&self, out: &mut Put<'_>) {
        match self {
            Some(header) => out.bytes(&header.encode()),
            None => out.zeroes(HEADER_BYTES),
        }
    }
    fn take(input: &mut Take<'_>) -> Result<Self, Malformed> {
        let bytes = input.bytes(HEADER_BYTES)?;
        if is_zero(bytes) {
            return Ok(None);
        }
        FrameHeader::decode(bytes).map(Some).map_err(|_| Malformed)
    }
}
