//! Heartbeats: arbitrary datagrams, and the same with the checksum repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::heartbeat::Heartbeat;
use midspan_fuzz::repair;

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    let mut bytes = bytes.to_vec();
    repair::heartbeat(&mut bytes);
    look(&bytes);
});

/// What was read is written as the same bytes.
fn look(bytes: &[u8]) {
    if let Ok(heartbeat) = Heartbeat::decode(bytes) {
        assert_eq!(heartbeat.encode(), bytes);
    }
}
