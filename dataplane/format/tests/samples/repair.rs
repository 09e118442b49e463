//! Computes the checksums of every format anew, at the offsets that `docs/formats.md` gives.

use midspan_format::checksum::{Digest, checksum};

/// Records are this long in their table.
pub const RECORD: usize = 48;
const HEADER: usize = 256;

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

fn put(bytes: &mut [u8], at: usize, sum: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Of a frame header: bytes 248 to 255 cover those before.
pub fn frame_header(bytes: &mut [u8]) {
    if let Some(covered) = bytes.get(..248) {
        put(bytes, 248, checksum(covered));
    }
}

/// Of a whole frame: each record's data (where the table lies as it usually does), the table, the header.
pub fn frame(bytes: &mut [u8]) {
    let lengths = (u32_at(bytes, 68), u32_at(bytes, 72), u32_at(bytes, 76));
    let (Some(head), Some(table), Some(records)) = lengths else { return };
    if bytes.get(10) == Some(&1) {
        for index in 0..records.min(64) {
            record_data(bytes, HEADER + index * RECORD, head);
        }
    }
    if let Some(table) = bytes.get(HEADER..HEADER.saturating_add(table)) {
        put(bytes, 144, checksum(table));
    }
    frame_header(bytes);
}

/// The checksum in the record at `at`, of the data behind the head that it names.
fn record_data(bytes: &mut [u8], at: usize, head: usize) {
    let fields = (u32_at(bytes, at + 16), u32_at(bytes, at + 36), bytes.get(at + 40));
    let (Some(length), Some(block), Some(kind)) = fields else { return };
    let length = match kind {
        1 | 5 => length,
        3 | 4 | 6..=9 => 4096,
        _ => return,
    };
    let start = head.saturating_add(block.saturating_mul(4096));
    if let Some(data) = bytes.get(start..start.saturating_add(length)).filter(|data| !data.is_empty()) {
        put(bytes, at + 24, checksum(data));
    }
}

/// Of a single block on a disk (superblocks, permit, group state): the last 8 bytes cover those before.
pub fn block(bytes: &mut [u8; 4096]) {
    let sum = checksum(&bytes[..4088]);
    put(bytes, 4088, sum);
}

/// Of a block of the dirty map: bytes 56 to 63 cover those before and the bits.
pub fn dirty_block(bytes: &mut [u8; 4096]) {
    let mut digest = Digest::new();
    digest.update(&bytes[..56]);
    digest.update(&bytes[64..]);
    put(bytes, 56, digest.finish());
}

/// Of the message at the front: payload (as long as the header says), then header.
pub fn message(bytes: &mut [u8]) {
    let Some(length) = u32_at(bytes, 12) else { return };
    if let Some(payload) = bytes.get(40..40_usize.saturating_add(length)) {
        put(bytes, 24, checksum(payload));
    }
    if let Some(covered) = bytes.get(..32) {
        put(bytes, 32, checksum(covered));
    }
}

/// Of a message between the planes, and its length: the archive is everything behind the first 24 bytes.
pub fn control(bytes: &mut [u8]) {
    let Some(archive) = bytes.get(24..) else { return };
    let (sum, length) = (checksum(archive), archive.len() as u32);
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    put(bytes, 16, sum);
}

/// Of a heartbeat: the last 8 bytes cover those before.
pub fn heartbeat(bytes: &mut [u8]) {
    let Some(covered) = bytes.len().checked_sub(8) else { return };
    put(bytes, covered, checksum(&bytes[..covered]));
}
