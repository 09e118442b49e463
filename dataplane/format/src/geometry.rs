//! Blocks, regions, and where an absolute ring position lies on the device.

use core::fmt;
use core::ops::Add;

use rkyv::{Archive, Deserialize, Serialize};

/// The unit of all I/O, bytes: O_DIRECT, frames, volumes.
pub const BLOCK: usize = 4096;
/// [`BLOCK`] for 64-bit arithmetic.
pub const BLOCK_U64: u64 = BLOCK as u64;
/// The unit of dirty maps and manifests, bytes.
pub const REGION_BYTES: u64 = 65536;

/// Bytes rounded up to whole blocks.
///
/// # Panics
/// Within a block of `u64::MAX`.
pub const fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_U64)
}

/// Bytes rounded down to whole blocks.
pub const fn round_down(bytes: u64) -> u64 {
    bytes - bytes % BLOCK_U64
}

/// Whether it is a whole number of blocks.
pub const fn is_whole_blocks(bytes: u64) -> bool {
    bytes.is_multiple_of(BLOCK_U64)
}

/// Place in a ring's endless sequence of bytes: absolute, never modulo the ring's size; a multiple of [`BLOCK`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
)]
pub struct Position(pub u64);

impl Position {
    /// The beginning of every ring.
    pub const ZERO: Self = Self(0);
    /// Beyond every place that a ring ever reaches.
    pub const BEYOND: Self = Self(u64::MAX - (BLOCK_U64 - 1));

    /// So many bytes further on.
    ///
    /// # Panics
    /// Beyond 64 bits: a programmer error, decoders refuse such positions.
    pub const fn add(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// Bytes from `earlier` to here; 0 if it is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Position {
    type Output = Self;

    fn add(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Contiguous bytes of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Device offset, bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The bytes of a device over which positions wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Device offset of its first byte.
    pub start: u64,
    /// Bytes: a multiple of [`BLOCK`], more than 0.
    pub size: u64,
}

impl Ring {
    /// Device offset of a position.
    ///
    /// # Panics
    /// When the ring has no bytes: a programmer error.
    pub const fn offset_of(&self, position: Position) -> u64 {
        self.start + position.0 % self.size
    }

    /// Where `length` bytes from a position lie: in one piece, or in two where they wrap at the ring's end.
    ///
    /// # Panics
    /// When `length` is more than the ring holds: a programmer error.
    pub const fn split(&self, position: Position, length: u64) -> (Extent, Option<Extent>) {
        assert!(length <= self.size, "more than the ring holds");
        let offset = position.0 % self.size;
        let room = self.size - offset;
        if length <= room {
            return (Extent { offset: self.start + offset, length }, None);
        }
        let first = Extent { offset: self.start + offset, length: room };
        (first, Some(Extent { offset: self.start, length: length - room }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: Ring = Ring { start: 1_000_000, size: 4 * BLOCK_U64 };

    #[test]
    fn a_range_inside_the_ring_is_one_piece() {
        let (first, second) = RING.split(Position(5 * BLOCK_U64), 3 * BLOCK_U64);
        assert_eq!(first, Extent { offset: 1_000_000 + BLOCK_U64, length: 3 * BLOCK_U64 });
        assert_eq!(second, None);
    }

    #[test]
    fn a_range_over_the_end_is_two_pieces() {
        let (first, second) = RING.split(Position(7 * BLOCK_U64), 3 * BLOCK_U64);
        assert_eq!(first, Extent { offset: 1_000_000 + 3 * BLOCK_U64, length: BLOCK_U64 });
        assert_eq!(second, Some(Extent { offset: 1_000_000, length: 2 * BLOCK_U64 }));
    }

    #[test]
    fn every_byte_of_a_split_lies_where_its_position_says() {
        for start in 0..9 {
            for blocks in 1..=4 {
                let (first, second) = RING.split(Position(start * BLOCK_U64), blocks * BLOCK_U64);
                let pieces = [Some(first), second];
                let offsets = pieces
                    .iter()
                    .flatten()
                    .flat_map(|e| (0..e.length / BLOCK_U64).map(|i| e.offset + i * BLOCK_U64));
                let wanted = (0..blocks).map(|i| RING.offset_of(Position((start + i) * BLOCK_U64)));
                assert!(offsets.eq(wanted));
            }
        }
    }

    #[test]
    #[should_panic(expected = "more than the ring holds")]
    fn a_range_longer_than_the_ring_is_a_programmer_error() {
        let _ = RING.split(Position(0), 5 * BLOCK_U64);
    }

    #[test]
    fn rounding_is_to_whole_blocks() {
        assert_eq!((round_up(0), round_up(1), round_up(4096), round_up(4097)), (0, 4096, 4096, 8192));
        assert_eq!((round_down(4095), round_down(4096), round_down(8191)), (0, 4096, 4096));
        assert!(is_whole_blocks(8192) && !is_whole_blocks(8191));
    }
}
