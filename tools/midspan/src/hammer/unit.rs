//! The self-describing unit: 4096 (or 512) bytes that tell which write of which run they are, and whether they are whole.
//!
//! ```text
//!  byte  0  magic                     40  number of this unit in the volume
//!        8  checksum of all the rest  48  op (unique in the run; its upper 24 bits are the writer)
//!       16  run                       56  first unit of the op
//!       24  seed                      64  units of the op (32 bits), bytes of a unit (32 bits)
//!       32  volume, writer            72  pattern, a function of all the above; but every further
//!                                         512-byte sector begins with the op again: so a torn unit shows its parts
//! ```
//! All numbers are little-endian.

use super::random::mix;

/// The smallest thing that a sector device writes whole.
const SECTOR_BYTES: usize = 512;
const MAGIC: u64 = u64::from_le_bytes(*b"MSHAMMR1");
const HEADER_BYTES: usize = 72;

/// Which run the units belong to, and how long a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Run {
    /// Random: tells runs apart.
    pub run_id: u64,
    /// What the patterns derive from.
    pub seed: u64,
    /// 4096 or 512.
    pub unit_bytes: u32,
}

/// The write that a unit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// The volume's number in the run.
    pub volume: u32,
    /// The op, unique in the run; never 0.
    pub op: u64,
    /// The first unit of the op.
    pub first_unit: u64,
    /// The length of the op in units.
    pub units: u32,
}

/// What a unit holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Only zeroes.
    Zero,
    /// A whole unit of this op of our run, at its place.
    Op(u64),
    /// Nothing of our run: the digest of the bytes (never 0).
    Other(u64),
    /// Something of our run, but not as it was written; says how. With the digest of the bytes.
    Damaged(u64, String),
}

/// The writer of an op.
pub fn writer_of(op: u64) -> u64 {
    op >> 40
}

/// The first op number of a writer; its later ones follow it. Writers are numbered below 2^24.
pub fn first_op_of(writer: u32) -> u64 {
    (u64::from(writer) << 40) | 1
}

/// Fills `buffer` (`author.units` units) with the content of a whole op.
pub fn fill(run: &Run, author: &Author, buffer: &mut [u8]) {
    let unit_bytes = usize::try_from(run.unit_bytes).unwrap_or(SECTOR_BYTES);
    let numbers = author.first_unit..;
    for (number, unit) in numbers.zip(buffer.chunks_exact_mut(unit_bytes)) {
        fill_unit(run, author, number, unit);
    }
}

/// Tells what `bytes`, read from unit `number` of `volume`, are.
pub fn classify(run: &Run, volume: u32, number: u64, bytes: &[u8]) -> Content {
    if bytes.iter().all(|byte| *byte == 0) {
        return Content::Zero;
    }
    let mut words = words(bytes);
    let mut next = || words.next().unwrap_or(0);
    let (magic, sum, run_id) = (next(), next(), next());
    let digest = digest(bytes).max(1);
    if magic != MAGIC || run_id != run.run_id {
        return foreign_or_torn(run, bytes, digest);
    }
    let (_seed, place, written_number, op, first_unit, lengths) =
        (next(), next(), next(), next(), next(), next());
    if sum != checksum(bytes) {
        return Content::Damaged(digest, damage(bytes, op));
    }
    let author = Author { volume: low_half(place), op, first_unit, units: low_half(lengths) };
    if author.volume != volume || written_number != number {
        let told =
            format!("misplaced: it is unit {written_number} of volume {} ({})", author.volume, describe(op));
        return Content::Damaged(digest, told);
    }
    let mut expected = vec![0; bytes.len()];
    fill_unit(run, &author, number, &mut expected);
    if expected == bytes {
        Content::Op(op)
    } else {
        Content::Damaged(digest, "a pattern that was never written".into())
    }
}

/// A short name of an op for messages.
pub fn describe(op: u64) -> String {
    format!("op {} of writer {}", op & ((1 << 40) - 1), writer_of(op))
}

/// A digest of any bytes: every change of a single word changes it.
pub fn digest(bytes: &[u8]) -> u64 {
    words(bytes).fold(MAGIC, |sum, word| {
        let sum = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum ^ (sum >> 32)
    })
}

fn checksum(unit: &[u8]) -> u64 {
    unit.get(16..).map_or(0, digest)
}

fn fill_unit(run: &Run, author: &Author, number: u64, unit: &mut [u8]) {
    let place = u64::from(author.volume) | (writer_of(author.op) << 32);
    let lengths = u64::from(author.units) | (u64::from(run.unit_bytes) << 32);
    let header = [run.run_id, run.seed, place, number, author.op, author.first_unit, lengths];
    let mut state = header.iter().fold(MAGIC, |key, word| mix(key ^ word));
    let sector_words = SECTOR_BYTES / 8;
    for (index, slot) in unit.chunks_exact_mut(8).enumerate() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = match index {
            0 => MAGIC,
            1 => 0,
            index if index < HEADER_BYTES / 8 => header.get(index - 2).copied().unwrap_or(0),
            index if index % sector_words == 0 => author.op,
            _ => mix(state),
        };
        slot.copy_from_slice(&word.to_le_bytes());
    }
    let sum = checksum(unit);
    if let Some(slot) = unit.get_mut(8..16) {
        slot.copy_from_slice(&sum.to_le_bytes());
    }
}

/// A unit whose first sector is not ours; a later sector may be, if the unit was torn.
fn foreign_or_torn(run: &Run, bytes: &[u8], digest: u64) -> Content {
    let known_writer = |op: u64| op != 0 && writer_of(op) < (1 << 20);
    let has_parts = sector_tags(bytes).skip(1).any(known_writer);
    let starts_empty = bytes.iter().take(SECTOR_BYTES).all(|byte| *byte == 0);
    if usize::try_from(run.unit_bytes) == Ok(bytes.len()) && has_parts && starts_empty {
        return Content::Damaged(digest, damage(bytes, 0));
    }
    Content::Other(digest)
}

/// Says from the sectors' tags whether parts of several ops are mixed.
fn damage(bytes: &[u8], op: u64) -> String {
    let name = |tag: u64| if tag == 0 { "zeroes".to_owned() } else { describe(tag) };
    match sector_tags(bytes).skip(1).enumerate().find(|(_, tag)| *tag != op) {
        Some((index, tag)) => {
            format!("torn: it begins with {}, sector {} holds {}", name(op), index + 1, name(tag))
        }
        None => format!("damaged: the header says {}, the checksum does not match", name(op)),
    }
}

/// The first word of each sector.
fn sector_tags(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks(SECTOR_BYTES).map(|sector| words(sector).next().unwrap_or(0))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes))
}

fn low_half(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { run_id: 77, seed: 5, unit_bytes: 4096 };
    const AUTHOR: Author = Author { volume: 1, op: (3 << 40) | 9, first_unit: 10, units: 2 };

    fn written(op: u64) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        fill(&RUN, &Author { op, ..AUTHOR }, &mut bytes);
        bytes
    }

    #[test]
    fn a_whole_unit_names_its_op_at_its_place_only() {
        let bytes = written(AUTHOR.op);
        assert_eq!(classify(&RUN, 1, 10, &bytes[..4096]), Content::Op(AUTHOR.op));
        assert_eq!(classify(&RUN, 1, 11, &bytes[4096..]), Content::Op(AUTHOR.op));
        for (volume, number) in [(1, 11), (0, 10)] {
            let Content::Damaged(_, told) = classify(&RUN, volume, number, &bytes[..4096]) else { panic!() };
            assert!(told.starts_with("misplaced: it is unit 10 of volume 1"), "{told}");
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let bytes = written(AUTHOR.op);
        for at in 0..4096 {
            let mut flipped = bytes[..4096].to_vec();
            flipped[at] ^= 1 << (at % 8);
            assert_ne!(classify(&RUN, 1, 10, &flipped), Content::Op(AUTHOR.op), "byte {at}");
        }
    }

    #[test]
    fn a_torn_unit_is_told_from_a_damaged_one() {
        let (old, new) = (written(AUTHOR.op), written(AUTHOR.op + 1));
        let torn = [&new[..1024], &old[1024..4096]].concat();
        let Content::Damaged(_, told) = classify(&RUN, 1, 10, &torn) else { panic!() };
        assert_eq!(told, "torn: it begins with op 10 of writer 3, sector 2 holds op 9 of writer 3");
        let torn = [&[0; 512], &old[512..4096]].concat();
        let Content::Damaged(_, told) = classify(&RUN, 1, 10, &torn) else { panic!() };
        assert_eq!(told, "torn: it begins with zeroes, sector 1 holds op 9 of writer 3");
    }

    #[test]
    fn another_runs_content_is_foreign_and_has_a_digest() {
        let bytes = written(AUTHOR.op);
        let other = Run { run_id: 78, ..RUN };
        assert_eq!(classify(&other, 1, 10, &bytes[..4096]), Content::Other(digest(&bytes[..4096])));
        assert_eq!(classify(&RUN, 1, 10, &[0; 4096]), Content::Zero);
    }
}
