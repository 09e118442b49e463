//! A record: one host write, zeroes, or a mark, with the place of its data in the frame.

use rkyv::{Archive, Serialize};

use crate::geometry::{BLOCK, BLOCK_U64, is_whole_blocks};
use crate::wire::wire_enum;

/// Records in a frame at most.
pub const MAX_RECORDS: usize = 64;
/// Data of one record at most, bytes.
pub const MAX_RECORD_DATA: u32 = 128 * 1024;

/// Flag of a Zero: a disk may be told to discard, where it guarantees that discarded blocks read as zeroes.
pub const MAY_UNMAP: u8 = 1;
/// Flag of a Zero: it belongs to the round that runs, as RoundData of zeroes; else a host asked for it.
pub const OF_ROUND: u8 = 2;

wire_enum! {
    /// What a record is. Numbers are for ever; 0 is never one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum RecordKind {
        /// A host's data.
        Write = 1,
        /// The range reads as zeroes from now on; no data.
        Zero = 2,
        /// Digest of a range at this time, to be compared at the other site; see [`crate::mark::Verify`].
        Verify = 3,
        /// A round begins; see [`crate::mark::RoundBegin`].
        RoundBegin = 4,
        /// A range as read from the source's disk during a round.
        RoundData = 5,
        /// The round has ended; see [`crate::mark::RoundEnd`].
        RoundEnd = 6,
        /// The lane set changes; see [`crate::mark::LaneSet`].
        LaneSet = 7,
        /// Writes are answered outside the lanes from now on; see [`crate::mark::Leave`].
        Leave = 8,
        /// The primary has stopped, and the other site is to go on; see [`crate::mark::Handover`].
        Handover = 9,
    }
}

/// Where a record's range and data come from, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A range of a volume, and as much data.
    RangeWithData,
    /// A range of a volume without data.
    Range,
    /// A range of a volume, and one block with a typed payload.
    RangeWithPayload,
    /// One block with a typed payload; volume, offset and length are 0.
    Payload,
}

impl RecordKind {
    /// What the record consists of.
    pub const fn shape(self) -> Shape {
        match self {
            Self::Write | Self::RoundData => Shape::RangeWithData,
            Self::Zero => Shape::Range,
            Self::Verify => Shape::RangeWithPayload,
            Self::RoundBegin | Self::RoundEnd | Self::LaneSet | Self::Leave | Self::Handover => {
                Shape::Payload
            }
        }
    }

    /// Whether bytes of the frame belong to such a record.
    pub const fn has_data(self) -> bool {
        match self.shape() {
            Shape::RangeWithData | Shape::RangeWithPayload | Shape::Payload => true,
            Shape::Range => false,
        }
    }

    /// Whether a disk changes by such a record.
    pub const fn changes_disk(self) -> bool {
        match self {
            Self::Write | Self::Zero | Self::RoundData => true,
            Self::Verify
            | Self::RoundBegin
            | Self::RoundEnd
            | Self::LaneSet
            | Self::Leave
            | Self::Handover => false,
        }
    }

    const fn flags(self) -> u8 {
        match self {
            Self::Zero => MAY_UNMAP | OF_ROUND,
            Self::Write
            | Self::Verify
            | Self::RoundBegin
            | Self::RoundData
            | Self::RoundEnd
            | Self::LaneSet
            | Self::Leave
            | Self::Handover => 0,
        }
    }
}

/// One entry of a frame's record table.
///
/// ```text
///  0      8        16       24         32       36           40     41      42         48
///  ┌──────┬────────┬────────┬──────────┬────────┬────────────┬──────┬───────┬──────────┐
///  │ time │ offset │ length │ checksum │ volume │ data_block │ kind │ flags │ reserved │
///  └──────┴────────┴────────┴──────────┴────────┴────────────┴──────┴───────┴──────────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct Record {
    /// Its place in the group's total order ([`crate::time::Time`]).
    pub time: u64,
    /// First byte of the range in the volume, a multiple of 4096.
    pub offset: u64,
    /// Bytes of the range, a multiple of 4096.
    pub length: u64,
    /// Checksum of its data; 0 without data.
    pub checksum: u64,
    /// The volume.
    pub volume: u32,
    /// Block of its data, counted from the end of the head; 0 without data.
    pub data_block: u32,
    /// A [`RecordKind`].
    pub kind: u8,
    /// [`MAY_UNMAP`], [`OF_ROUND`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// Size of an archived record, bytes.
pub const RECORD_BYTES: usize = 48;

const _: () = {
    assert!(size_of::<ArchivedRecord>() == RECORD_BYTES && align_of::<ArchivedRecord>() == 8);
    assert!(core::mem::offset_of!(ArchivedRecord, time) == 0);
    assert!(core::mem::offset_of!(ArchivedRecord, offset) == 8);
    assert!(core::mem::offset_of!(ArchivedRecord, length) == 16);
    assert!(core::mem::offset_of!(ArchivedRecord, checksum) == 24);
    assert!(core::mem::offset_of!(ArchivedRecord, volume) == 32);
    assert!(core::mem::offset_of!(ArchivedRecord, data_block) == 36);
    assert!(core::mem::offset_of!(ArchivedRecord, kind) == 40);
    assert!(core::mem::offset_of!(ArchivedRecord, flags) == 41);
    assert!(core::mem::offset_of!(ArchivedRecord, reserved) == 42);
};

/// What is impossible about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No such kind.
    #[error("its kind is not known")]
    Kind,
    /// Flags that its kind does not have, or reserved bytes.
    #[error("its flags or reserved bytes are not those of its kind")]
    Flags,
    /// Not whole blocks, empty, too long, or beyond 64 bits.
    #[error("its range is impossible")]
    Range,
    /// Earlier than the record before it, or outside the header's span.
    #[error("its time is out of order")]
    Time,
    /// Not directly behind the data before it, or beyond the frame's end.
    #[error("its data is not where it should be")]
    Place,
    /// Its data does not verify.
    #[error("its data's checksum is wrong")]
    Checksum,
    /// Its typed payload is impossible.
    #[error("its payload is impossible")]
    Payload,
}

impl Record {
    /// Its kind, if that is known.
    pub const fn kind(&self) -> Option<RecordKind> {
        RecordKind::from_u8(self.kind)
    }

    /// Bytes of its data in the frame; 0 for an unknown kind.
    pub const fn data_length(&self) -> u64 {
        match self.kind() {
            None => 0,
            Some(kind) => match kind.shape() {
                Shape::RangeWithData => self.length,
                Shape::Range => 0,
                Shape::RangeWithPayload | Shape::Payload => BLOCK_U64,
            },
        }
    }

    /// Judges everything that can be said of it alone.
    ///
    /// # Errors
    /// What is impossible.
    pub fn check(&self) -> Result<RecordKind, RecordError> {
        let kind = self.kind().ok_or(RecordError::Kind)?;
        if self.flags & !kind.flags() != 0 || self.reserved != [0; 6] {
            return Err(RecordError::Flags);
        }
        let whole = is_whole_blocks(self.offset)
            && is_whole_blocks(self.length)
            && self.length > 0
            && self.offset.checked_add(self.length).is_some();
        let right = match kind.shape() {
            Shape::RangeWithData => whole && self.length <= u64::from(MAX_RECORD_DATA),
            Shape::Range | Shape::RangeWithPayload => whole,
            Shape::Payload => (self.volume, self.offset, self.length) == (0, 0, 0),
        };
        if !right {
            return Err(RecordError::Range);
        }
        if !kind.has_data() && (self.data_block, self.checksum) != (0, 0) {
            return Err(RecordError::Place);
        }
        Ok(kind)
    }
}

impl From<&ArchivedRecord> for Record {
    fn from(archived: &ArchivedRecord) -> Self {
        Self {
            time: archived.time.to_native(),
            offset: archived.offset.to_native(),
            length: archived.length.to_native(),
            checksum: archived.checksum.to_native(),
            volume: archived.volume.to_native(),
            data_block: archived.data_block.to_native(),
            kind: archived.kind,
            flags: archived.flags,
            reserved: archived.reserved,
        }
    }
}

/// Walks a table's records in order and says where the data of each lies.
#[derive(Debug)]
pub(crate) struct Placement {
    last_time: u64,
    end_time: u64,
    next_block: u64,
    blocks: u64,
}

impl Placement {
    /// For a frame with so many bytes of data whose records lie in a span of times.
    pub(crate) fn new(data_length: u64, first_time: u64, last_time: u64) -> Self {
        Self { last_time: first_time, end_time: last_time, next_block: 0, blocks: data_length / BLOCK as u64 }
    }

    /// The next record.
    pub(crate) fn next(&mut self, record: &Record) -> Result<(), RecordError> {
        let kind = record.check()?;
        if record.time < self.last_time || record.time > self.end_time {
            return Err(RecordError::Time);
        }
        self.last_time = record.time;
        if kind.has_data() {
            let end = self.next_block + record.data_length() / BLOCK_U64;
            if u64::from(record.data_block) != self.next_block || end > self.blocks {
                return Err(RecordError::Place);
            }
            self.next_block = end;
        }
        Ok(())
    }

    /// Whether all data belongs to a record.
    pub(crate) fn is_complete(&self) -> bool {
        self.next_block == self.blocks
    }
}
