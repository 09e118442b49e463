//! Reading a volume from its beginning to the end of the span, fast and with every unreadable unit named.

use std::collections::BTreeMap;
use std::time::Duration;

use super::unit::digest;
use crate::nbd_client::{Client, NbdError};

/// Bytes of one read; a multiple of every unit.
const CHUNK_BYTES: u32 = 256 << 10;
/// Reads under way. Their requests are so short that sending them cannot block on the server's replies.
const DEPTH: usize = 8;

/// Why a volume cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The connection failed.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// The export is too small.
    #[error("the export has {size} bytes, but {span} are in use")]
    TooSmall {
        /// Bytes of the export.
        size: u64,
        /// Bytes in use.
        span: u64,
    },
    /// A unit cannot be read where it has to be.
    #[error("the unit at byte {offset} cannot be read: {told}")]
    Unreadable {
        /// Byte offset.
        offset: u64,
        /// The server's error.
        told: String,
    },
}

/// Reads `span` bytes and gives them to `visit` as (byte offset, bytes of some units) in any order; what cannot be read is given
/// as an error with the length of one unit.
pub(super) fn read_all(
    client: Client,
    timeout: Duration,
    span: u64,
    unit_bytes: u32,
    mut visit: impl FnMut(u64, Result<&[u8], String>),
) -> Result<(), SourceError> {
    if client.size() < span {
        return Err(SourceError::TooSmall { size: client.size(), span });
    }
    let largest = client.info().max_payload_bytes().min(CHUNK_BYTES) / unit_bytes * unit_bytes;
    let largest = largest.max(unit_bytes);
    let (mut sender, mut receiver) = client.split_limited(timeout)?;
    let mut next = 0;
    let mut again: Vec<u64> = Vec::new();
    let mut flying: BTreeMap<u64, u32> = BTreeMap::new();
    loop {
        while flying.len() < DEPTH {
            let (offset, length) = if let Some(offset) = again.pop() {
                (offset, unit_bytes)
            } else if next < span {
                let length = u32::try_from(span - next).unwrap_or(u32::MAX).min(largest);
                let offset = next;
                next += u64::from(length);
                (offset, length)
            } else {
                break;
            };
            // Offsets are unique among the reads under way, so they serve as cookies.
            sender.submit_read(offset, offset, length)?;
            flying.insert(offset, length);
        }
        if flying.is_empty() {
            return Ok(());
        }
        let reply = receiver.next_reply()?;
        let offset = reply.cookie;
        let length = flying.remove(&offset).unwrap_or(0);
        match reply.into_result() {
            Ok(data) => visit(offset, Ok(&data)),
            Err(error) if length <= unit_bytes => visit(offset, Err(error.to_string())),
            // Find out which of its units cannot be read.
            Err(_) => {
                again.extend((0..length / unit_bytes).map(|unit| offset + u64::from(unit * unit_bytes)))
            }
        }
    }
}

/// The digests of all units of the span: 0 for zeroes.
pub(super) fn scan(
    client: Client,
    timeout: Duration,
    span: u64,
    unit_bytes: u32,
) -> Result<Vec<u64>, SourceError> {
    let unit = usize::try_from(unit_bytes).unwrap_or(4096);
    let units = usize::try_from(span / u64::from(unit_bytes)).unwrap_or(0);
    let mut digests = vec![0; units];
    let mut unreadable = None;
    read_all(client, timeout, span, unit_bytes, |offset, bytes| match bytes {
        Ok(bytes) => {
            let first = usize::try_from(offset / u64::from(unit_bytes)).unwrap_or(usize::MAX);
            for (slot, bytes) in digests.iter_mut().skip(first).zip(bytes.chunks_exact(unit)) {
                let is_zero = bytes.iter().all(|byte| *byte == 0);
                *slot = if is_zero { 0 } else { digest(bytes).max(1) };
            }
        }
        Err(told) => unreadable = Some(SourceError::Unreadable { offset, told }),
    })?;
    unreadable.map_or(Ok(digests), Err)
}
