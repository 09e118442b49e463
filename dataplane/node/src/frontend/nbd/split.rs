//! Cuts a host's byte range into the pieces that an owner takes: block-rounded, bounded, in order.
//!
//! ```text
//!  blocks    |        |        |        |        |
//!  request        xxxxxxxxxxxxxxxxxxxxxxxxxx
//!  data           └─ piece ────────┘└ piece ┘      the first ends where its blocks are MAX_PIECE bytes
//!  zeroes         └──┘└── blocks ──────┘└───┘      partial blocks are written, whole ones are said to be zero
//!  trim               └── blocks ──────┘           partial blocks stay as they are
//! ```

use std::ops::Range;

use midspan_format::geometry::{BLOCK, BLOCK_U64, round_down, round_up};
use midspan_protocol::vocab::limits::{MAX_PIECE, MAX_ZERO_PIECE};

/// A piece of data: at any byte offset, its blocks at most [`MAX_PIECE`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First byte.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: usize,
}

impl Span {
    /// The first piece of a range that has at least one byte.
    pub(super) fn first(offset: u64, left: u64) -> Self {
        let most = MAX_PIECE - skew(offset);
        let length = usize::try_from(left).map_or(most, |left| left.min(most));
        Self { offset, length }
    }

    /// Bytes between the start of its first block and its first byte.
    pub(super) fn skew(self) -> usize {
        skew(self.offset)
    }

    /// First byte of its first block.
    pub(super) fn start(self) -> u64 {
        round_down(self.offset)
    }

    /// Bytes of its blocks.
    pub(super) fn bytes(self) -> usize {
        (self.skew() + self.length).next_multiple_of(BLOCK)
    }
}

/// The first piece of a range that shall read as zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZeroPiece {
    /// Whole blocks.
    Blocks {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// A part of one block.
    Part(Span),
}

impl ZeroPiece {
    /// The first piece of a range that has at least one byte.
    pub(super) fn first(offset: u64, left: u64) -> Self {
        if !offset.is_multiple_of(BLOCK_U64) || left < BLOCK_U64 {
            let span = Span::first(offset, left);
            return Self::Part(Span { length: span.length.min(BLOCK - span.skew()), ..span });
        }
        Self::Blocks { offset, length: round_down(left).min(MAX_ZERO_PIECE) }
    }
}

/// The whole blocks inside a range; empty when there is none.
pub(super) fn whole_blocks(offset: u64, length: u64) -> Range<u64> {
    let end = round_down(offset.saturating_add(length));
    if length < BLOCK_U64 { end..end } else { round_up(offset).min(end)..end }
}

fn skew(offset: u64) -> usize {
    usize::try_from(offset % BLOCK_U64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::numbers;
    use super::*;

    fn ranges() -> impl Iterator<Item = (u64, u64)> {
        let mut random = numbers(1);
        let edges = [0, 1, 511, 4095, 4096, 4097, 8191, 8192, 131_071, 131_072, 131_073, 135_168, 32 << 20];
        let exact = edges.into_iter().flat_map(move |offset| edges.map(|length| (offset, length)));
        let random = (0..2000).map(move |_| (random(1 << 40), random(1 << 20)));
        exact.chain(random).filter(|(_, length)| *length > 0)
    }

    /// Walks blocks one by one and starts a piece when the present one is full.
    fn slow_pieces(offset: u64, length: u64) -> Vec<(u64, u64)> {
        let mut pieces: Vec<(u64, u64)> = Vec::new();
        let mut blocks = 0;
        let mut at = offset;
        while at < offset + length {
            let end = (at / 4096 * 4096 + 4096).min(offset + length);
            if pieces.is_empty() || blocks == 32 {
                pieces.push((at, 0));
                blocks = 0;
            }
            pieces.last_mut().unwrap().1 += end - at;
            blocks += 1;
            at = end;
        }
        pieces
    }

    #[test]
    fn data_is_cut_where_a_walk_over_its_blocks_cuts_it() {
        for (offset, length) in ranges() {
            let (mut at, mut left) = (offset, length);
            for (from, bytes) in slow_pieces(offset, length) {
                let span = Span::first(at, left);
                assert_eq!((span.offset, span.length as u64), (from, bytes), "{offset}+{length}");
                assert!(span.bytes() <= MAX_PIECE && span.start() + span.skew() as u64 == span.offset);
                assert!(span.skew() + span.length <= span.bytes());
                at += bytes;
                left -= bytes;
            }
            assert_eq!(left, 0, "{offset}+{length}");
        }
    }

    #[test]
    fn zeroes_cover_each_byte_once_and_whole_blocks_are_not_written() {
        for (offset, length) in ranges() {
            let (mut at, mut left, mut parts) = (offset, length, 0);
            while left > 0 {
                let done = match ZeroPiece::first(at, left) {
                    ZeroPiece::Blocks { offset, length } => {
                        assert!(offset == at && offset % 4096 == 0 && length % 4096 == 0);
                        assert!((1..=MAX_ZERO_PIECE).contains(&length));
                        length
                    }
                    ZeroPiece::Part(span) => {
                        parts += 1;
                        assert!(span.offset == at && span.length > 0 && span.bytes() == 4096);
                        assert!(span.length < 4096, "a whole block was written");
                        span.length as u64
                    }
                };
                at += done;
                left -= done;
            }
            assert!(parts <= 2 && at == offset + length, "{offset}+{length}");
        }
        let large = ZeroPiece::first(4096, u64::from(u32::MAX));
        assert_eq!(large, ZeroPiece::Blocks { offset: 4096, length: 1 << 30 });
    }

    #[test]
    fn a_trim_touches_exactly_the_blocks_that_lie_inside() {
        for (offset, length) in ranges() {
            let inside = whole_blocks(offset, length);
            let first = (offset / 4096..).find(|block| block * 4096 >= offset).unwrap() * 4096;
            let last = (offset + length) / 4096 * 4096;
            if first < last {
                assert_eq!(inside, first..last, "{offset}+{length}");
            } else {
                assert!(inside.is_empty(), "{offset}+{length}");
            }
        }
    }
}
