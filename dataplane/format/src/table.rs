//! The table of a frame: an rkyv archive directly behind the header, of exactly the length that its entries need.

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use rkyv::api::low::{LowSerializer, to_bytes_in_with_alloc};
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

use crate::frame::head_length;
use crate::manifest::{ArchivedManifestTable, MANIFEST_ENTRY_BYTES, REGION_RUN_BYTES};
use crate::receipt::{ArchivedReceipt, DIFFERENCE_BYTES, LANE_RECEIPT_BYTES};
use crate::record::{RECORD_BYTES, Record};

/// The table of a journal frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Archive, Serialize)]
pub struct RecordTable {
    /// The records, in order of their time.
    pub records: Vec<Record>,
}

const _: () = assert!(size_of::<ArchivedRecordTable>() == 8);

/// Bytes of the table of `records` records.
pub const fn records_length(records: usize) -> usize {
    records * RECORD_BYTES + size_of::<ArchivedRecordTable>()
}

/// Bytes of the table of a manifest with so many entries and region runs.
pub const fn manifest_length(entries: usize, runs: usize) -> usize {
    entries * MANIFEST_ENTRY_BYTES + runs * REGION_RUN_BYTES + size_of::<ArchivedManifestTable>()
}

/// Bytes of the table of a receipt over so many lanes, with so many differences.
pub const fn receipt_length(lanes: usize, differences: usize) -> usize {
    lanes * LANE_RECEIPT_BYTES + differences * DIFFERENCE_BYTES + size_of::<ArchivedReceipt>()
}

/// Bytes from the beginning of a journal frame with `records` records to its data.
pub const fn records_head_length(records: usize) -> usize {
    head_length(records_length(records))
}

/// Bytes of a manifest frame.
pub const fn manifest_head_length(entries: usize, runs: usize) -> usize {
    head_length(manifest_length(entries, runs))
}

/// Bytes of a receipt frame.
pub const fn receipt_head_length(lanes: usize, differences: usize) -> usize {
    head_length(receipt_length(lanes, differences))
}

/// What rkyv needs to archive a table: the place it goes to, and room for its own notes (these types need none).
pub(crate) type Archiver<'a> = LowSerializer<Buffer<'a>, SubAllocator<'a>, Failure>;

/// Archives a table into `out`, which it fills exactly; `false` when it does not.
pub(crate) fn archive<'a, T: Serialize<Archiver<'a>>>(
    table: &T,
    out: &'a mut [u8],
    notes: &'a mut [MaybeUninit<u8>],
) -> bool {
    let length = out.len();
    to_bytes_in_with_alloc::<_, _, Failure>(table, Buffer::from(out), SubAllocator::new(notes))
        .is_ok_and(|written| written.len() == length)
}
