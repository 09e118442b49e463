//! The block in front of an area: arbitrary bytes, and the same with the checksum repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::area::AreaSuperblock;
use midspan_fuzz::{input, repair};

fuzz_target!(|bytes: &[u8]| {
    let mut block = input::block(bytes);
    let found = look(&block);
    assert!(bytes.len() >= block.len() || AreaSuperblock::decode(bytes).is_err());
    repair::block(&mut block);
    let repaired = look(&block);
    assert!(found.is_none() || repaired == found, "a repair changes only what is broken");
});

/// What is read is written as exactly the same bytes.
fn look(block: &[u8; 4096]) -> Option<AreaSuperblock> {
    let found = AreaSuperblock::decode(block).ok()?;
    let mut again = [0xEE; 4096];
    found.encode(&mut again);
    assert!(again == *block, "{found:?}");
    Some(found)
}
