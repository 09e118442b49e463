//! Whole frames: arbitrary bytes, and the same with all checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::checked::CheckedFrame;
use midspan_fuzz::{frames, repair};

fuzz_target!(|bytes: &[u8]| {
    // On the heap: a frame's table is read where it lies, at a multiple of 8.
    let mut frame = bytes.to_vec();
    look(&frame);
    repair::frame(&mut frame);
    look(&frame);
});

fn look(bytes: &[u8]) {
    if let Ok(frame) = CheckedFrame::parse_head(bytes) {
        frames::holds(&frame, bytes);
    }
    if let Ok(frame) = CheckedFrame::parse(bytes) {
        frames::holds(&frame, bytes);
        frames::holds_with_data(&frame);
        frames::reseals(&frame, bytes);
    }
}
