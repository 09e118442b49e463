//! What all single blocks on a disk share: magic, version, content, zeroes, and the checksum of it all at the end.
//!
//! ```text
//!  0        8        10       16                                4088       4096
//!  ┌────────┬────────┬────────┬────────── ─ ─ ──────────┬───────┬──────────┐
//!  │ magic  │version │ zero   │ content                 │ zero  │ checksum │
//!  └────────┴────────┴────────┴────────── ─ ─ ──────────┴───────┴──────────┘
//! ```
//! A block is written in one piece and replaced by writing the other slot of its pair: a torn one does not verify.

use crate::checksum::checksum;
use crate::geometry::BLOCK;
use crate::version::DISK_VERSION;
use crate::wire::{Put, Take, Wire};

const CONTENT: usize = 16;
const CHECKSUM: usize = BLOCK - 8;

/// Why a block is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Fewer than 4096 bytes.
    #[error("shorter than a block")]
    Short,
    /// Something else stands there, or nothing.
    #[error("no block of this kind stands there")]
    Magic,
    /// It does not verify.
    #[error("the block's checksum is wrong: it is damaged or torn")]
    Checksum,
    /// Written by another version of Midspan.
    #[error("format version {0} is not known to this program")]
    Version(u16),
    /// It verifies, and its content is impossible.
    #[error("the block's content is impossible")]
    Malformed,
}

/// Writes a block.
pub(crate) fn encode<T: Wire>(magic: [u8; 8], content: &T, block: &mut [u8; BLOCK]) {
    const { assert!(CONTENT + T::BYTES <= CHECKSUM, "the content does not fit a block") }
    block.fill(0);
    let mut out = Put::new(block);
    out.bytes(&magic);
    DISK_VERSION.put(&mut out);
    out.zeroes(6);
    content.put(&mut out);
    if let Some((body, end)) = block.split_last_chunk_mut::<8>() {
        *end = checksum(body).to_le_bytes();
    }
}

/// Reads a block; bytes behind the first 4096 are not looked at.
pub(crate) fn decode<T: Wire>(magic: [u8; 8], bytes: &[u8]) -> Result<T, BlockError> {
    let block = bytes.first_chunk::<BLOCK>().ok_or(BlockError::Short)?;
    if !block.starts_with(&magic) {
        return Err(BlockError::Magic);
    }
    let (body, end) = block.split_last_chunk::<8>().ok_or(BlockError::Short)?;
    if checksum(body) != u64::from_le_bytes(*end) {
        return Err(BlockError::Checksum);
    }
    let mut input = Take::new(body);
    let content = (|| {
        input.bytes(magic.len())?;
        let version = u16::take(&mut input)?;
        if version != DISK_VERSION {
            return Ok(Err(BlockError::Version(version)));
        }
        input.zeroes(6)?;
        let content = T::take(&mut input)?;
        input.finish()?;
        Ok(Ok(content))
    })();
    content.unwrap_or_else(|crate::wire::Malformed| Err(BlockError::Malformed))
}

/// Of two slots that are written in turn, the valid one with the higher sequence.
pub(crate) fn newer<T>(
    a: Result<T, BlockError>,
    b: Result<T, BlockError>,
    sequence: impl Fn(&T) -> u64,
) -> Result<T, BlockError> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok(if sequence(&a) >= sequence(&b) { a } else { b }),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        // A slot that says more than "nothing here" explains more.
        (Err(BlockError::Magic), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}
