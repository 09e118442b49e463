//! Messages between the planes: arbitrary bytes, and the same with length and checksum repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::control::{Command, Report};
use midspan_fuzz::repair;

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    let mut bytes = bytes.to_vec();
    repair::control(&mut bytes);
    look(&bytes);
});

/// What was read means the same when it is written and read once more.
fn look(bytes: &[u8]) {
    if let Ok(command) = Command::decode(bytes) {
        assert_eq!(Command::decode(&command.encode().expect("it was short enough")), Ok(command));
        assert!(Report::decode(bytes).is_err());
    }
    if let Ok(report) = Report::decode(bytes) {
        let again = report.encode().expect("it was short enough");
        assert!(again.len() <= bytes.len(), "what is read is no larger than what was sent");
        assert_eq!(Report::decode(&again), Ok(report));
    }
}
