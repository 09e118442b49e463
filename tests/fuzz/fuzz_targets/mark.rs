//! Typed payloads of records: a kind, then the block, which is read only if it is what would be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::mark::Mark;
use midspan_format::record::RecordKind;
use midspan_fuzz::{frames, input};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, payload)) = bytes.split_first() else { return };
    let Some(kind) = RecordKind::from_u8(*kind) else { return };
    let block = input::block(payload);
    for data in [payload, &block] {
        match Mark::decode(kind, data) {
            Ok(Some(mark)) => frames::same_mark(&mark, kind, data),
            Ok(None) => assert!(matches!(kind, RecordKind::Write | RecordKind::Zero | RecordKind::RoundData)),
            Err(_) => {}
        }
    }
});
