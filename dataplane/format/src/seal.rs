//! The write side of frames: builds the head (header, table, padding) in place, without allocating.

use core::mem::MaybeUninit;

use rkyv::Serialize;

use crate::checksum::checksum;
use crate::frame::{FrameError, FrameHeader, FrameKind, HEADER_BYTES, MAX_FRAME, MAX_FRAME_DATA, MAX_HEAD};
use crate::geometry::is_whole_blocks;
use crate::manifest::{MAX_MANIFEST_ENTRIES, ManifestTable, RegionRun};
use crate::receipt::{Difference, LaneReceipt, MAX_DIFFERENCES, MAX_RECEIPT_LANES, Receipt};
use crate::record::{MAX_RECORDS, Placement, RecordError};
use crate::table::{Archiver, archive, manifest_length, receipt_length, records_length};

pub use crate::frame::head_length;
pub use crate::table::{RecordTable, manifest_head_length, receipt_head_length, records_head_length};

/// Why a frame could not be sealed. All but [`SealError::NoSpace`] are mistakes of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The place for the head is too small.
    #[error("no space for the head")]
    NoSpace,
    /// More entries or data than a frame holds.
    #[error("more than a frame holds")]
    TooMuch,
    /// The header is of another kind than the table.
    #[error("the header's kind does not fit the table")]
    Kind,
    /// A header that no reader would accept.
    #[error("header: {0}")]
    Header(FrameError),
    /// A record that no reader would accept.
    #[error("record {index}: {error}")]
    Record {
        /// Which, from 0.
        index: usize,
        /// What.
        error: RecordError,
    },
    /// A manifest or receipt that no reader would accept.
    #[error("an entry is impossible")]
    Entry,
    /// The records have more or less data than was said.
    #[error("the records' data is not as long as was said")]
    DataLength,
}

/// Seals a journal frame whose data, `data_length` bytes, lies elsewhere in memory in record order.
///
/// Writes header, table and zeroes into `out`, sets lengths, counts and checksums in `header`, and says how long the head
/// is: [`records_head_length`] of the number of records.
///
/// # Errors
/// The place is too small, or the parts do not fit each other; `out` is then undefined.
pub fn seal_records(
    header: &mut FrameHeader,
    table: &RecordTable,
    data_length: u32,
    out: &mut [u8],
) -> Result<usize, SealError> {
    if table.records.len() > MAX_RECORDS
        || data_length > MAX_FRAME_DATA
        || !is_whole_blocks(data_length.into())
    {
        return Err(SealError::TooMuch);
    }
    let mut placement = Placement::new(data_length.into(), header.first_time.0, header.last_time.0);
    for (index, record) in table.records.iter().enumerate() {
        placement.next(record).map_err(|error| SealError::Record { index, error })?;
    }
    if !placement.is_complete() {
        return Err(SealError::DataLength);
    }
    let count = table.records.len();
    seal(header, FrameKind::Journal, table, (count, records_length(count), data_length), out)
}

/// Seals a manifest frame; as [`seal_records`], without data.
///
/// # Errors
/// As [`seal_records`].
pub fn seal_manifest(
    header: &mut FrameHeader,
    table: &ManifestTable,
    out: &mut [u8],
) -> Result<usize, SealError> {
    let (entries, runs) = (table.entries.len(), table.regions.len());
    if entries > MAX_MANIFEST_ENTRIES {
        return Err(SealError::TooMuch);
    }
    let possible = table.entries.iter().all(|entry| entry.is_possible(runs, MAX_FRAME));
    if !possible || !table.regions.iter().all(RegionRun::is_possible) {
        return Err(SealError::Entry);
    }
    seal(header, FrameKind::Manifest, table, (entries, manifest_length(entries, runs), 0), out)
}

/// Seals a receipt frame; as [`seal_records`], without data.
///
/// # Errors
/// As [`seal_records`].
pub fn seal_receipt(header: &mut FrameHeader, table: &Receipt, out: &mut [u8]) -> Result<usize, SealError> {
    let (lanes, differences) = (table.lanes.len(), table.differences.len());
    if lanes > MAX_RECEIPT_LANES || differences > MAX_DIFFERENCES {
        return Err(SealError::TooMuch);
    }
    let possible = table.lanes.iter().all(LaneReceipt::is_possible)
        && table.differences.iter().all(Difference::is_possible);
    if !possible || !Receipt::is_possible(table.cut, table.manifest, table.flags) {
        return Err(SealError::Entry);
    }
    seal(header, FrameKind::Receipt, table, (lanes, receipt_length(lanes, differences), 0), out)
}

/// Writes another header in front of a table that was sealed before: the same body in another lane.
///
/// `header` is that of the sealed frame with lane, area, place and chain changed. Sets its checksum.
///
/// # Errors
/// `head` is shorter than a header, or no reader would accept the header.
pub fn reseal(header: &mut FrameHeader, head: &mut [u8]) -> Result<(), SealError> {
    header.check().map_err(SealError::Header)?;
    let place = head.first_chunk_mut::<HEADER_BYTES>().ok_or(SealError::NoSpace)?;
    *place = header.seal();
    Ok(())
}

fn seal<T>(
    header: &mut FrameHeader,
    kind: FrameKind,
    table: &T,
    (count, table_length, data_length): (usize, usize, u32),
    out: &mut [u8],
) -> Result<usize, SealError>
where
    T: for<'a> Serialize<Archiver<'a>>,
{
    if header.kind != kind {
        return Err(SealError::Kind);
    }
    let length = head_length(table_length);
    let head = u32::try_from(length).ok().filter(|head| *head <= MAX_HEAD).ok_or(SealError::TooMuch)?;
    let body = out.get_mut(HEADER_BYTES..length).ok_or(SealError::NoSpace)?;
    let (archived, padding) = body.split_at_mut_checked(table_length).ok_or(SealError::NoSpace)?;
    let mut notes = [MaybeUninit::uninit(); 64];
    if !archive(table, archived, &mut notes) {
        return Err(SealError::TooMuch);
    }
    padding.fill(0);
    header.body_checksum = checksum(archived);
    header.head_length = head;
    header.length = head + data_length;
    header.table_length = u32::try_from(table_length).map_err(|_| SealError::TooMuch)?;
    header.records = u32::try_from(count).map_err(|_| SealError::TooMuch)?;
    reseal(header, out)?;
    Ok(length)
}
