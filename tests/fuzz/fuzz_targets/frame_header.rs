//! Frame headers: arbitrary bytes, and the same with the header's checksum repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::frame::{FrameError, FrameHeader, HEADER_BYTES, MAX_FRAME, MAX_FRAME_DATA, MAX_HEAD};
use midspan_format::time::Time;
use midspan_fuzz::repair;

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    let mut bytes = bytes.to_vec();
    repair::frame_header(&mut bytes);
    look(&bytes);
});

fn look(bytes: &[u8]) {
    let found = FrameHeader::decode(bytes);
    assert_eq!(bytes.len() < HEADER_BYTES, found == Err(FrameError::Short));
    let Ok(header) = found else { return };
    assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
    assert!(header.length <= MAX_FRAME && header.head_length <= MAX_HEAD);
    assert!(header.data_length() <= MAX_FRAME_DATA);
    assert_eq!(header.head_length + header.data_length(), header.length);
    assert!(header.table_length as usize + HEADER_BYTES <= header.head_length as usize);
    assert!(header.records as usize <= header.kind.max_records());
    assert!(header.end() > header.position);
    let times = [header.first_time, header.last_time, header.closed_time, header.landed_time];
    assert!(times.iter().all(|time| *time <= Time::MAX) && header.first_time <= header.last_time);
}
