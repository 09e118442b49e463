//! A group's permit: arbitrary bytes, and the same with the checksum repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::superblock::GroupPermit;
use midspan_fuzz::{input, repair};

fuzz_target!(|bytes: &[u8]| {
    let mut block = input::block(bytes);
    let found = look(&block);
    assert!(bytes.len() >= block.len() || GroupPermit::decode(bytes).is_err());
    let raw = block;
    repair::block(&mut block);
    let repaired = look(&block);
    // Of two slots the newer one counts; a damaged one does not stand in the way of the other.
    let newer = match (found, repaired) {
        (Some(a), Some(b)) => Some(if a.sequence >= b.sequence { a } else { b }),
        (one, other) => one.or(other),
    };
    assert_eq!(GroupPermit::choose_slot(&raw, &block).ok(), newer);
});

/// What is read is written as exactly the same bytes.
fn look(block: &[u8; 4096]) -> Option<GroupPermit> {
    let found = GroupPermit::decode(block).ok()?;
    let mut again = [0xEE; 4096];
    found.encode(&mut again);
    assert!(again == *block, "{found:?}");
    Some(found)
}
