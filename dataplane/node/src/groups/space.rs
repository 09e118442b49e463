//! Free space of a journal disk: whatever no area of a living group takes.

use core::ops::Range;

use midspan_format::geometry::{BLOCK_U64, round_down};
use midspan_format::superblock::AREAS_OFFSET;

use crate::boot::Journal;

/// Why areas do not fit, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// What they take, their superblocks included.
    pub needed: u64,
    /// What is free.
    pub free: u64,
    /// The largest piece of it.
    pub largest: u64,
}

/// Places for areas of these sizes on a disk of `size` bytes, each the offset of the superblock: the largest first, each in the
/// first piece that is large enough.
///
/// # Errors
/// They do not fit.
pub fn places(journal: &Journal, size: u64, areas: &[u64]) -> Result<Vec<u64>, NoRoom> {
    place(gaps(taken(journal), size), areas)
}

/// Bytes of the disk that no group takes.
pub fn free_bytes(journal: &Journal) -> u64 {
    gaps(taken(journal), journal.file().size()).iter().map(|gap| gap.end - gap.start).sum()
}

/// Whether a living group has this byte of the disk.
pub fn is_taken(journal: &Journal, offset: u64) -> bool {
    taken(journal).iter().any(|range| range.contains(&offset))
}

/// What living groups take, their areas' superblocks included, in the order of the disk.
fn taken(journal: &Journal) -> Vec<Range<u64>> {
    let living = journal.permits().iter().filter(|(_, permit)| !permit.deleted);
    let areas = living.flat_map(|(_, permit)| permit.areas());
    let mut taken: Vec<_> = areas.map(|area| area.start - BLOCK_U64..area.start + area.size).collect();
    taken.sort_by_key(|range| range.start);
    taken
}

/// What lies between.
fn gaps(taken: Vec<Range<u64>>, size: u64) -> Vec<Range<u64>> {
    let mut at = AREAS_OFFSET;
    let mut gaps = Vec::new();
    let end = round_down(size);
    for range in taken.into_iter().chain(std::iter::once(end..end)) {
        if range.start > at {
            gaps.push(at..range.start);
        }
        at = at.max(range.end);
    }
    gaps
}

fn place(mut gaps: Vec<Range<u64>>, areas: &[u64]) -> Result<Vec<u64>, NoRoom> {
    let bytes = |gap: &Range<u64>| gap.end - gap.start;
    let no_room = NoRoom {
        needed: areas.iter().fold(0, |sum: u64, area| sum.saturating_add(*area).saturating_add(BLOCK_U64)),
        free: gaps.iter().map(bytes).sum(),
        largest: gaps.iter().map(bytes).max().unwrap_or_default(),
    };
    let mut order: Vec<(usize, u64)> = areas.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, area)| std::cmp::Reverse(*area));
    let mut placed: Vec<(usize, u64)> = Vec::new();
    for (number, area) in order {
        let needed = area.saturating_add(BLOCK_U64);
        let gap = gaps.iter_mut().find(|gap| bytes(gap) >= needed).ok_or(no_room)?;
        placed.push((number, gap.start));
        gap.start += needed;
    }
    placed.sort_unstable();
    Ok(placed.into_iter().map(|(_, at)| at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn free_is_what_lies_between_areas_and_up_to_the_last_whole_block() {
        let taken = vec![AREAS_OFFSET..2 * MIB, 3 * MIB..4 * MIB];
        assert_eq!(gaps(taken, 5 * MIB + 17), [2 * MIB..3 * MIB, 4 * MIB..5 * MIB]);
        let whole = AREAS_OFFSET..2 * MIB;
        assert_eq!(gaps(Vec::new(), 2 * MIB), std::slice::from_ref(&whole));
        assert_eq!(gaps(Vec::from([whole]), 2 * MIB), []);
    }

    #[test]
    fn the_largest_area_goes_first_and_the_order_asked_for_stays() {
        let gaps = vec![MIB..2 * MIB, 4 * MIB..8 * MIB];
        let placed = place(gaps.clone(), &[MIB / 2, 3 * MIB]).unwrap();
        assert_eq!(placed, [MIB, 4 * MIB]);
        let refused = place(gaps.clone(), &[MIB / 2, 4 * MIB]);
        let needed = 4 * MIB + MIB / 2 + 2 * BLOCK_U64;
        assert_eq!(refused, Err(NoRoom { needed, free: 5 * MIB, largest: 4 * MIB }));
        assert_eq!(place(gaps, &[u64::MAX - 5]).map_err(|room| room.free), Err(5 * MIB));
    }
}
