//! Blocks of a dirty map: arbitrary bytes, and the same with the checksum repaired; a wrong one counts as all marked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::dirty_map::{BLOCK_COVERS, BLOCK_REGIONS, DirtyMap};
use midspan_format::ids::VolumeId;
use midspan_fuzz::{input, repair};

/// The first has one region, the second a whole block of them and then 80.
const VOLUMES: [(VolumeId, u64); 2] = [(VolumeId(1), 4096), (VolumeId(2), BLOCK_COVERS + (5 << 20))];
const REGIONS: [u64; 3] = [1, BLOCK_REGIONS, 80];

fuzz_target!(|bytes: &[u8]| {
    let Some((index, bytes)) = bytes.split_first() else { return };
    // One more than there are.
    let index = usize::from(*index) % (REGIONS.len() + 1);
    let mut block = input::block(bytes);
    look(index, &block);
    repair::dirty_block(&mut block);
    look(index, &block);
});

fn look(index: usize, block: &[u8; 4096]) {
    let mut map = DirtyMap::new(VOLUMES);
    let loaded = map.load_block(index, block);
    let regions = REGIONS.get(index).copied().unwrap_or(0);
    let in_runs: u64 = map.runs().map(|run| u64::from(run.count)).sum();
    assert_eq!(in_runs, map.count());
    assert!(map.count() <= regions);
    if loaded.is_err() {
        assert_eq!((map.count(), map.generation()), (regions, 0));
        return;
    }
    let mut again = [0xEE; 4096];
    map.encode_block(index, &mut again);
    assert!(again == *block);
}
