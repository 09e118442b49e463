//! The map against a slow list of regions, its blocks, and what damage does.

use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One region; nothing; a whole block of the map and a part of a second; two whole ones.
const VOLUMES: [(VolumeId, u64); 4] = [
    (VolumeId(1), 4096),
    (VolumeId(4), 0),
    (VolumeId(2), BLOCK_COVERS + (5 << 20) + 4096),
    (VolumeId(3), 2 * BLOCK_COVERS),
];
/// The volume and the number of regions of each block of the map.
const BLOCKS: [(VolumeId, u64); 5] = [
    (VolumeId(1), 1),
    (VolumeId(2), BLOCK_REGIONS),
    (VolumeId(2), 81),
    (VolumeId(3), BLOCK_REGIONS),
    (VolumeId(3), BLOCK_REGIONS),
];

/// A range of a volume.
type Range = (VolumeId, u64, u64);

/// Whether each region is marked, one after another.
#[derive(Clone, Debug, PartialEq)]
struct Slow(Vec<(VolumeId, Vec<bool>)>);

impl Slow {
    fn new() -> Self {
        let regions = |size: u64| std::vec![false; usize::try_from(size.div_ceil(REGION_BYTES)).unwrap()];
        Self(VOLUMES.iter().map(|(id, size)| (*id, regions(*size))).collect())
    }

    fn mark(&mut self, (volume, offset, length): Range) {
        let (_, regions) = self.0.iter_mut().find(|(id, _)| *id == volume).unwrap();
        for (start, marked) in (0..).step_by(65536).zip(regions) {
            *marked |= start < offset + length && offset < start + REGION_BYTES;
        }
    }

    fn merge(&mut self, other: &Self) {
        for ((_, regions), (_, others)) in self.0.iter_mut().zip(&other.0) {
            regions.iter_mut().zip(others).for_each(|(marked, other)| *marked |= other);
        }
    }

    fn count(&self) -> u64 {
        self.0.iter().flat_map(|(_, regions)| regions).filter(|marked| **marked).count() as u64
    }

    fn runs(&self) -> Vec<RegionRun> {
        let mut runs: Vec<RegionRun> = Vec::new();
        for (id, regions) in &self.0 {
            for (region, _) in (0..).zip(regions).filter(|(_, marked)| **marked) {
                match runs.last_mut() {
                    Some(run) if run.volume == id.0 && run.first + run.count == region => run.count += 1,
                    Some(_) | None => runs.push(RegionRun { volume: id.0, first: region, count: 1 }),
                }
            }
        }
        runs
    }
}

fn agree(map: &DirtyMap, slow: &Slow) {
    assert_eq!(map.count(), slow.count());
    assert!(map.runs().eq(slow.runs()), "{:?}", map.runs().collect::<Vec<_>>());
    for (id, regions) in &slow.0 {
        for (region, marked) in (0..).zip(regions) {
            let first_byte = region * REGION_BYTES;
            assert_eq!(map.is_marked(*id, first_byte), *marked);
            assert_eq!(map.is_marked(*id, first_byte + REGION_BYTES - 1), *marked);
        }
        assert!(!map.is_marked(*id, regions.len() as u64 * REGION_BYTES));
    }
}

fn encoded(map: &DirtyMap) -> Vec<[u8; BLOCK]> {
    let one = |index| {
        let mut block = [0xEE; BLOCK];
        map.encode_block(index, &mut block);
        block
    };
    (0..map.blocks()).map(one).collect()
}

fn full() -> DirtyMap {
    let mut map = DirtyMap::new(VOLUMES);
    map.mark_all(None);
    map
}

/// A map with some marks in every block.
fn spotted() -> DirtyMap {
    let mut map = DirtyMap::new(VOLUMES);
    map.set_generation(21);
    map.mark(VolumeId(1), 0, 1);
    for offset in [REGION_BYTES, BLOCK_COVERS - 1, BLOCK_COVERS + (5 << 20)] {
        map.mark(VolumeId(2), offset, 4096);
    }
    map.mark(VolumeId(3), BLOCK_COVERS - (1 << 20), 2 << 20);
    map
}

/// Short and long ranges, many of them near the border between two blocks of the map or at the volume's end.
fn range() -> impl Strategy<Value = Range> {
    let near = |place: u64| (place.saturating_sub(3 * REGION_BYTES)..place + 3 * REGION_BYTES).boxed();
    prop::sample::select(std::vec![VOLUMES[0], VOLUMES[2], VOLUMES[3]]).prop_flat_map(move |(id, size)| {
        let offset = prop_oneof![0..size, near(BLOCK_COVERS), near(size)];
        let length =
            prop_oneof![4 => 1..3 * REGION_BYTES, 2 => 1..(64 * REGION_BYTES), 1 => 1..=BLOCK_COVERS];
        (offset, length).prop_map(move |(offset, length)| {
            let offset = offset.min(size - 1);
            (id, offset, length.min(size - offset))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_marks_what_the_slow_list_marks(ranges in vec(range(), 1..12)) {
        let (mut map, mut slow) = (DirtyMap::new(VOLUMES), Slow::new());
        for range in ranges {
            let before = encoded(&map);
            let touched = map.mark(range.0, range.1, range.2);
            slow.mark(range);
            let after = encoded(&map);
            let differs = |index: &usize| before[*index] != after[*index];
            let changed: Vec<usize> = touched.changed.into_iter().flatten().collect();
            prop_assert_eq!(&changed, &(0..BLOCKS.len()).filter(differs).collect::<Vec<_>>());
            // The blocks named are those that hold the range's first and last bit.
            let first_block = BLOCKS.iter().position(|(id, _)| *id == range.0).unwrap();
            let block = |byte: u64| first_block + usize::try_from(byte / BLOCK_COVERS).unwrap();
            prop_assert_eq!(touched.blocks, [block(range.1), block(range.1 + range.2 - 1)]);
        }
        agree(&map, &slow);
    }

    #[test]
    fn merging_is_the_union(ours in vec(range(), 0..6), theirs in vec(range(), 0..6)) {
        let (mut map, mut slow) = (DirtyMap::new(VOLUMES), Slow::new());
        let (mut other_map, mut other_slow) = (DirtyMap::new(VOLUMES), Slow::new());
        for range in ours {
            map.mark(range.0, range.1, range.2);
            slow.mark(range);
        }
        for range in theirs {
            other_map.mark(range.0, range.1, range.2);
            other_slow.mark(range);
        }
        map.merge(&other_map);
        slow.merge(&other_slow);
        agree(&map, &slow);
        agree(&other_map, &other_slow);
    }

    #[test]
    fn blocks_carry_everything(ranges in vec(range(), 0..12), generation: u64) {
        let mut map = DirtyMap::new(VOLUMES);
        map.set_generation(generation);
        for (volume, offset, length) in ranges {
            map.mark(volume, offset, length);
        }
        let mut loaded = DirtyMap::new(VOLUMES);
        for (index, block) in encoded(&map).iter().enumerate() {
            prop_assert_eq!(loaded.load_block(index, block), Ok(()));
        }
        prop_assert!(loaded.runs().eq(map.runs()));
        prop_assert_eq!(loaded.generation(), generation);
        prop_assert_eq!(encoded(&loaded), encoded(&map));
    }
}

#[test]
fn a_mark_is_of_whole_regions_and_of_one_volume() {
    let mut map = DirtyMap::new(VOLUMES);
    map.mark(VolumeId(2), 65536 + 65535, 2);
    assert!(map.runs().eq([RegionRun { volume: 2, first: 1, count: 2 }]));
    assert!(!map.is_marked(VolumeId(3), 65536) && !map.is_marked(VolumeId(9), 0));
}

#[test]
fn marking_again_changes_no_block() {
    let mut map = DirtyMap::new(VOLUMES);
    assert_eq!(map.mark(VolumeId(2), 0, BLOCK_COVERS).changed, [Some(1), None]);
    assert_eq!(map.mark(VolumeId(2), 4096, 4096), Touched { blocks: [1, 1], changed: [None, None] });
    assert_eq!(map.mark(VolumeId(2), 4096, BLOCK_COVERS).changed, [None, Some(2)]);
}

#[test]
fn an_empty_range_at_the_end_marks_nothing() {
    let mut map = DirtyMap::new(VOLUMES);
    for (volume, size) in [VOLUMES[1], VOLUMES[3]] {
        assert_eq!(map.mark(volume, size, 0).changed, [None, None]);
    }
    assert_eq!(map.count(), 0);
}

#[test]
fn everything_can_be_marked_and_cleared() {
    let regions: u64 = BLOCKS.iter().map(|(_, regions)| regions).sum();
    let mut map = full();
    assert_eq!(map.count(), regions);
    let whole = |(id, size): &(VolumeId, u64)| RegionRun {
        volume: id.0,
        first: 0,
        count: u32::try_from(size.div_ceil(REGION_BYTES)).unwrap(),
    };
    assert!(map.runs().eq(VOLUMES.iter().filter(|(_, size)| *size > 0).map(whole)));
    map.clear_all();
    assert_eq!((map.count(), map.runs().count()), (0, 0));
    map.mark_all(Some(VolumeId(2)));
    assert!(map.runs().eq([whole(&VOLUMES[2])]));
}

#[test]
fn a_map_has_as_many_blocks_as_was_said() {
    assert_eq!(blocks_for(VOLUMES.iter().map(|(_, size)| *size)), BLOCKS.len() as u64);
    assert_eq!(DirtyMap::new(VOLUMES).blocks(), BLOCKS.len());
    assert_eq!(blocks_for([0, 1, BLOCK_COVERS, BLOCK_COVERS + 1]), 4);
}

#[test]
fn the_newest_generation_of_all_blocks_counts() {
    let mut old = spotted();
    old.set_generation(20);
    let mut map = DirtyMap::new(VOLUMES);
    map.load_block(0, &encoded(&spotted())[0]).unwrap();
    map.load_block(1, &encoded(&old)[1]).unwrap();
    assert_eq!(map.generation(), 21);
}

/// The block replaced in a map without marks: what `load_block` says, and the map behind it.
fn loaded(index: usize, bytes: &[u8]) -> (Result<(), BlockError>, DirtyMap) {
    let mut map = DirtyMap::new(VOLUMES);
    let result = map.load_block(index, bytes);
    (result, map)
}

/// Refused, and all that the block covers counts as marked, and nothing else.
fn counts_as_all_marked(index: usize, bytes: &[u8], error: BlockError) {
    let (result, map) = loaded(index, bytes);
    assert_eq!(result, Err(error));
    assert_eq!(map.generation(), 0);
    let mut wanted = encoded(&DirtyMap::new(VOLUMES));
    wanted[index] = encoded(&full())[index];
    assert_eq!(map.count(), BLOCKS[index].1);
    assert!(encoded(&map) == wanted);
}

/// The block with other bytes at a place, and a checksum that fits them.
fn forged(block: &[u8; BLOCK], at: usize, bytes: &[u8]) -> [u8; BLOCK] {
    let mut block = *block;
    block[at..at + bytes.len()].copy_from_slice(bytes);
    let sum = digest(&block[..HEADER], &block[HEADER..]);
    block[CHECKSUM..HEADER].copy_from_slice(&sum.to_le_bytes());
    block
}

#[test]
fn a_damaged_block_counts_as_all_marked() {
    for (index, block) in encoded(&spotted()).iter().enumerate() {
        for bit in (0..BLOCK * 8).step_by(97) {
            let mut bytes = *block;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = if bit < 64 { BlockError::Magic } else { BlockError::Checksum };
            counts_as_all_marked(index, &bytes, error);
        }
        for length in [0, 1, HEADER, BLOCK - 1] {
            counts_as_all_marked(index, &block[..length], BlockError::Short);
        }
        counts_as_all_marked(index, &[0; BLOCK], BlockError::Magic);
    }
}

#[test]
fn a_block_that_verifies_but_is_another_one_counts_as_all_marked() {
    let blocks = encoded(&spotted());
    for (index, block) in blocks.iter().enumerate() {
        counts_as_all_marked(index, &forged(block, 8, &[99, 0]), BlockError::Version(99));
        // Reserved bytes, volume, index, reserved bytes, number of regions, reserved bytes.
        for at in [10, 12, 16, 20, 32, 40, 48] {
            counts_as_all_marked(index, &forged(block, at, &[7]), BlockError::Malformed);
        }
    }
    for (index, other) in (0..blocks.len()).flat_map(|a| (0..blocks.len()).map(move |b| (a, b))) {
        if index != other {
            counts_as_all_marked(index, &blocks[other], BlockError::Malformed);
        }
    }
}

#[test]
fn bits_behind_the_volumes_end_are_damage() {
    let blocks = encoded(&spotted());
    // Block 0 has one region: bit 1 stands for none. Block 2 has 81: bits 81 and the very last stand for none.
    for (index, at, byte) in [(0, HEADER, 0b11), (2, HEADER + 10, 0b10), (2, BLOCK - 1, 0x80)] {
        counts_as_all_marked(index, &forged(&blocks[index], at, &[byte]), BlockError::Malformed);
    }
}

#[test]
fn a_block_that_the_map_does_not_have_changes_nothing() {
    let (result, map) = loaded(BLOCKS.len(), &encoded(&spotted())[0]);
    assert_eq!((result, map.count()), (Err(BlockError::Malformed), 0));
    let mut untouched = [0xEE; BLOCK];
    map.encode_block(BLOCKS.len(), &mut untouched);
    assert_eq!(untouched, [0xEE; BLOCK]);
}

#[test]
#[should_panic(expected = "a range longer than two blocks of the map")]
fn a_mark_longer_than_can_be_marked_at_once_is_a_programmer_error() {
    DirtyMap::new(VOLUMES).mark(VolumeId(3), 0, MAX_MARK + 1);
}

#[test]
#[should_panic(expected = "a range beyond the volume's end")]
fn a_mark_beyond_the_volume_is_a_programmer_error() {
    DirtyMap::new(VOLUMES).mark(VolumeId(1), 4096, REGION_BYTES);
}

#[test]
#[should_panic(expected = "a volume that is not in the map")]
fn a_mark_of_an_unknown_volume_is_a_programmer_error() {
    DirtyMap::new(VOLUMES).mark(VolumeId(9), 0, 1);
}

#[test]
#[should_panic(expected = "maps over different volumes")]
fn maps_of_different_shape_cannot_be_merged() {
    DirtyMap::new(VOLUMES).merge(&DirtyMap::new([(VolumeId(1), 4096)]));
}
