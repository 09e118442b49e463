//! The read side of frames: bytes become a frame only when every bit of them is checked (I9).

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use rkyv::Portable;
use rkyv::api::low::LowValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::vec::ArchivedVec;

use crate::checksum::checksum;
use crate::frame::{FrameError, FrameHeader, FrameKind, HEADER_BYTES, MAX_FRAME};
use crate::geometry::BLOCK_U64;
use crate::manifest::{
    ArchivedManifestEntry, ArchivedManifestTable, ArchivedRegionRun, ManifestEntry, RegionRun,
};
use crate::mark::Mark;
use crate::receipt::{
    ArchivedDifference, ArchivedLaneReceipt, ArchivedReceipt, Difference, LaneReceipt, MAX_DIFFERENCES,
    Receipt,
};
use crate::record::{ArchivedRecord, Placement, Record, RecordError};
use crate::table::{ArchivedRecordTable, manifest_length, receipt_length, records_length};
use crate::wire::is_zero;

/// A table's entries as they lie in the frame; converted one at a time when looked at.
pub struct Rows<'a, A, T> {
    rows: &'a [A],
    native: PhantomData<T>,
}

impl<'a, A, T: From<&'a A>> Rows<'a, A, T> {
    fn new(rows: &'a [A]) -> Self {
        Self { rows, native: PhantomData }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<T> {
        self.rows.get(index).map(T::from)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + use<'a, A, T> {
        self.rows.iter().map(T::from)
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self::new(self.rows.get(range).unwrap_or_default())
    }
}

impl<A, T> Clone for Rows<'_, A, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, T> Copy for Rows<'_, A, T> {}

impl<A, T> fmt::Debug for Rows<'_, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.rows.len())
    }
}

/// Records of a frame.
pub type Records<'a> = Rows<'a, ArchivedRecord, Record>;
/// Entries of a manifest.
pub type Entries<'a> = Rows<'a, ArchivedManifestEntry, ManifestEntry>;
/// Region runs of a manifest.
pub type Runs<'a> = Rows<'a, ArchivedRegionRun, RegionRun>;
/// Lanes of a receipt.
pub type ReceiptLanes<'a> = Rows<'a, ArchivedLaneReceipt, LaneReceipt>;
/// Differences of a receipt.
pub type Differences<'a> = Rows<'a, ArchivedDifference, Difference>;

/// A checked manifest.
#[derive(Clone, Copy, Debug)]
pub struct ManifestView<'a> {
    /// Frames, in order of their position.
    pub entries: Entries<'a>,
    /// The regions of all of them.
    pub regions: Runs<'a>,
}

impl<'a> ManifestView<'a> {
    /// The regions that a frame touches.
    pub fn regions_of(&self, entry: &ManifestEntry) -> Runs<'a> {
        let first = entry.first_region as usize;
        self.regions.part(first..first.saturating_add(entry.regions as usize))
    }
}

/// A checked receipt; fields as in [`Receipt`].
#[derive(Clone, Copy, Debug)]
pub struct ReceiptView<'a> {
    /// The persisted cut.
    pub cut: u64,
    /// Manifests before this position are consumed.
    pub manifest: u64,
    /// Version of the recorded lane set.
    pub fence_version: u64,
    /// The round whose staged data is whole.
    pub round: u64,
    /// Bytes of the own ring.
    pub staging: u64,
    /// [`crate::receipt::NO_CUT`].
    pub flags: u64,
    /// The run of `verify`.
    pub run: u64,
    /// Bytes of it that were compared.
    pub compared: u64,
    /// Of them, bytes that do not match.
    pub different: u64,
    /// One entry for each lane.
    pub lanes: ReceiptLanes<'a>,
    /// Where they lie.
    pub differences: Differences<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Table<'a> {
    Journal(Records<'a>),
    Manifest(ManifestView<'a>),
    Receipt(ReceiptView<'a>),
}

/// A frame whose bytes verify.
#[derive(Clone, Copy, Debug)]
pub struct CheckedFrame<'a> {
    header: FrameHeader,
    table: Table<'a>,
    bytes: &'a [u8],
}

impl<'a> CheckedFrame<'a> {
    /// Checks all of exactly one frame.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let frame = Self::parse_head(bytes)?;
        match bytes.len().cmp(&(frame.header.length as usize)) {
            core::cmp::Ordering::Less => return Err(FrameError::Short),
            core::cmp::Ordering::Greater => return Err(FrameError::Long),
            core::cmp::Ordering::Equal => {}
        }
        for (index, record) in (0..).zip(frame.records()) {
            let data = frame.data(&record);
            let error = if record.data_length() > 0 && checksum(data) != record.checksum {
                RecordError::Checksum
            } else if let Err(error) = record.kind().map_or(Ok(None), |kind| Mark::decode(kind, data)) {
                error
            } else {
                continue;
            };
            return Err(FrameError::Record { index, error });
        }
        Ok(frame)
    }

    /// Checks header, table and padding, and that every record's data has its place; not the data itself, which need not
    /// be there.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse_head(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let header = FrameHeader::decode(bytes)?;
        let body = bytes.get(HEADER_BYTES..header.head_length as usize).ok_or(FrameError::Short)?;
        let (archived, padding) =
            body.split_at_checked(header.table_length as usize).ok_or(FrameError::Length)?;
        if checksum(archived) != header.body_checksum {
            return Err(FrameError::TableChecksum);
        }
        if !is_zero(padding) {
            return Err(FrameError::Padding);
        }
        let table = match header.kind {
            FrameKind::Journal => Table::Journal(check_records(&header, archived)?),
            FrameKind::Manifest => Table::Manifest(check_manifest(&header, archived)?),
            FrameKind::Receipt => Table::Receipt(check_receipt(&header, archived)?),
        };
        Ok(Self { header, table, bytes })
    }

    /// The header.
    pub const fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The records; none in a manifest or receipt.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record> + ExactSizeIterator + use<'a> {
        let records = match self.table {
            Table::Journal(records) => records,
            Table::Manifest(_) | Table::Receipt(_) => Rows::new(&[]),
        };
        records.iter()
    }

    /// Where the data of one of its records lies in the frame; empty for a record without data.
    pub fn data_range(&self, record: &Record) -> Range<usize> {
        let start = u64::from(self.header.head_length) + u64::from(record.data_block) * BLOCK_U64;
        let end = start + record.data_length().min(u64::from(MAX_FRAME));
        usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0)
    }

    /// The data of one of its records; empty where the bytes given end before it, after [`CheckedFrame::parse_head`].
    pub fn data(&self, record: &Record) -> &'a [u8] {
        self.bytes.get(self.data_range(record)).unwrap_or_default()
    }

    /// The typed payload of one of its records, if that has one.
    pub fn mark(&self, record: &Record) -> Option<Mark> {
        record.kind().and_then(|kind| Mark::decode(kind, self.data(record)).ok().flatten())
    }

    /// The manifest, if it is one.
    pub const fn manifest(&self) -> Option<ManifestView<'a>> {
        match self.table {
            Table::Manifest(manifest) => Some(manifest),
            Table::Journal(_) | Table::Receipt(_) => None,
        }
    }

    /// The receipt, if it is one.
    pub const fn receipt(&self) -> Option<ReceiptView<'a>> {
        match self.table {
            Table::Receipt(receipt) => Some(receipt),
            Table::Journal(_) | Table::Manifest(_) => None,
        }
    }
}

impl ReceiptView<'_> {
    /// A copy that stands on its own.
    pub fn to_receipt(&self) -> Receipt {
        Receipt {
            cut: self.cut,
            manifest: self.manifest,
            fence_version: self.fence_version,
            round: self.round,
            staging: self.staging,
            flags: self.flags,
            run: self.run,
            compared: self.compared,
            different: self.different,
            lanes: self.lanes.iter().collect(),
            differences: self.differences.iter().collect(),
        }
    }
}

/// The archive's root, which stands at the end of exactly these bytes.
fn root<'a, T>(archived: &'a [u8]) -> Result<&'a T, FrameError>
where
    T: Portable + for<'v> CheckBytes<LowValidator<'v, Failure>>,
{
    if !archived.as_ptr().cast::<u64>().is_aligned() {
        return Err(FrameError::Unaligned);
    }
    rkyv::api::low::access::<T, Failure>(archived).map_err(|_| FrameError::Table)
}

fn is_exactly<T>(header: &FrameHeader, rows: &ArchivedVec<T>, table_length: usize) -> Result<(), FrameError> {
    let fits = rows.len() == header.records as usize && table_length == header.table_length as usize;
    if fits { Ok(()) } else { Err(FrameError::Table) }
}

fn check_records<'a>(header: &FrameHeader, archived: &'a [u8]) -> Result<Records<'a>, FrameError> {
    let table: &ArchivedRecordTable = root(archived)?;
    is_exactly(header, &table.records, records_length(table.records.len()))?;
    let records = Records::new(&table.records);
    let mut placement = Placement::new(header.data_length().into(), header.first_time.0, header.last_time.0);
    for (index, record) in (0..).zip(records.iter()) {
        placement.next(&record).map_err(|error| FrameError::Record { index, error })?;
    }
    if placement.is_complete() { Ok(records) } else { Err(FrameError::Surplus) }
}

fn check_manifest<'a>(header: &FrameHeader, archived: &'a [u8]) -> Result<ManifestView<'a>, FrameError> {
    let table: &ArchivedManifestTable = root(archived)?;
    let runs = table.regions.len();
    is_exactly(header, &table.entries, manifest_length(table.entries.len(), runs))?;
    let manifest = ManifestView { entries: Rows::new(&table.entries), regions: Rows::new(&table.regions) };
    let possible = manifest.entries.iter().all(|entry| entry.is_possible(runs, MAX_FRAME));
    if !possible || !manifest.regions.iter().all(|run| run.is_possible()) {
        return Err(FrameError::Table);
    }
    Ok(manifest)
}

fn check_receipt<'a>(header: &FrameHeader, archived: &'a [u8]) -> Result<ReceiptView<'a>, FrameError> {
    let table: &ArchivedReceipt = root(archived)?;
    let differences = table.differences.len();
    is_exactly(header, &table.lanes, receipt_length(table.lanes.len(), differences))?;
    let receipt = ReceiptView {
        cut: table.cut.to_native(),
        manifest: table.manifest.to_native(),
        fence_version: table.fence_version.to_native(),
        round: table.round.to_native(),
        staging: table.staging.to_native(),
        flags: table.flags.to_native(),
        run: table.run.to_native(),
        compared: table.compared.to_native(),
        different: table.different.to_native(),
        lanes: Rows::new(&table.lanes),
        differences: Rows::new(&table.differences),
    };
    let possible = differences <= MAX_DIFFERENCES
        && receipt.lanes.iter().all(|lane| lane.is_possible())
        && receipt.differences.iter().all(|difference| difference.is_possible());
    if !possible || !Receipt::is_possible(receipt.cut, receipt.manifest, receipt.flags) {
        return Err(FrameError::Table);
    }
    Ok(receipt)
}
