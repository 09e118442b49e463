//! Self-describing data: each cell of a volume says which write put it there, and whether it is whole and at its place.
//!
//! ```text
//!  byte 0  op (never 0)        16  a function of op and place, word by word, to the cell's end
//!       8  place: volume, cell
//! ```

use crate::random::mix;

/// Bytes of a cell: what a host's writes are multiples of.
pub const CELL: usize = 512;
/// Cells of a block.
pub const CELLS_PER_BLOCK: usize = 4096 / CELL;

const ZEROES: [u8; CELL] = [0; CELL];

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// Zeroes.
    Zero,
    /// What this op wrote there.
    Op(u64),
    /// Nothing that any op wrote there: damaged, torn or misplaced; with the op that it names.
    Foreign(u64),
}

/// A cell's number in a run: volume and cell of the volume.
pub fn place(volume: u32, cell: u64) -> u64 {
    u64::from(volume) << 40 | cell
}

/// All of a cell, word by word.
fn words(op: u64, place: u64) -> [u64; CELL / 8] {
    let step = 0xD6E8_FEB8_6659_FD93_u64;
    let mut next = mix(op.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ place).wrapping_add(step);
    let mut words = [0; CELL / 8];
    for word in &mut words[2..] {
        next = next.wrapping_add(step);
        *word = next;
    }
    (words[0], words[1]) = (op, place);
    words
}

/// Fills whole cells from `first_cell` on with what `op` writes there.
pub fn fill(op: u64, volume: u32, first_cell: u64, bytes: &mut [u8]) {
    for (cell, bytes) in (first_cell..).zip(bytes.chunks_exact_mut(CELL)) {
        let place = place(volume, cell);
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words(op, place)) {
            *bytes = word.to_le_bytes();
        }
    }
}

/// What a cell holds.
pub fn classify(volume: u32, cell: u64, bytes: &[u8]) -> Held {
    if bytes == &ZEROES[..bytes.len()] {
        return Held::Zero;
    }
    let place = place(volume, cell);
    let found = bytes.as_chunks::<8>().0;
    let op = found.first().map_or(0, |word| u64::from_le_bytes(*word));
    let differing = found.iter().zip(words(op, place)).map(|(found, word)| u64::from_le_bytes(*found) ^ word);
    let whole = differing.fold(0, |all, bits| all | bits) == 0;
    if whole { Held::Op(op) } else { Held::Foreign(op) }
}

/// What the cells of a block of a volume hold.
pub fn cells(volume: u32, block: u64, bytes: &[u8]) -> [Held; CELLS_PER_BLOCK] {
    let mut held = [Held::Zero; CELLS_PER_BLOCK];
    let first = block * CELLS_PER_BLOCK as u64;
    for (cell, (held, bytes)) in (first..).zip(held.iter_mut().zip(bytes.chunks_exact(CELL))) {
        *held = classify(volume, cell, bytes);
    }
    held
}

/// The ops that the cells of some bytes name, without looking at more; 0 where a cell is zero.
pub fn named(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(CELL).map(|cell| cell[..8].try_into().map_or(0, u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_its_writer_and_every_change_is_seen() {
        let mut bytes = vec![0; 2 * CELL];
        assert_eq!(classify(1, 7, &bytes[..CELL]), Held::Zero);
        fill(42, 1, 7, &mut bytes);
        assert_eq!(classify(1, 8, &bytes[CELL..]), Held::Op(42));
        assert_eq!(classify(1, 7, &bytes[CELL..]), Held::Foreign(42));
        assert_eq!(classify(0, 7, &bytes[..CELL]), Held::Foreign(42));
        bytes[300] ^= 1;
        assert_eq!(classify(1, 7, &bytes[..CELL]), Held::Foreign(42));
        assert_eq!(named(&bytes).collect::<Vec<_>>(), [42, 42]);
    }
}
