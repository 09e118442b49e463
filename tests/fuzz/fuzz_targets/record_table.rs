//! The record table behind right checksums: reader and sealer must accept the same records and agree on every byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameKind, MAX_FRAME_DATA};
use midspan_format::record::{MAX_RECORDS, Record};
use midspan_format::seal::{RecordTable, records_head_length, seal_records};
use midspan_fuzz::input::Input;
use midspan_fuzz::repair::RECORD;
use midspan_fuzz::{frames, repair};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mut header = frames::header(FrameKind::Journal, &mut input);
    let surplus_blocks = usize::from(input.byte() & 1);
    let has_odd_root = input.byte() & 7 == 7;
    let entries: Vec<[u8; RECORD]> = {
        let count = (input.rest().len() / RECORD).min(MAX_RECORDS + 1);
        (0..count).map(|_| input.array()).collect()
    };
    let records: Vec<Record> = entries.iter().map(frames::record).collect();
    let data_length = records.iter().map(Record::data_length).fold(0, u64::saturating_add);
    let data_length = data_length.min(u64::from(MAX_FRAME_DATA)).next_multiple_of(4096) as usize;
    let data = vec![0xA5; data_length + surplus_blocks * 4096];

    let mut table = entries.concat();
    let root = frames::list(table.len(), records.len());
    // An odd one: other numbers stand where the list's place and length do.
    table.extend_from_slice(&if has_odd_root { input.array() } else { root });
    let bytes = frames::assemble(header, &table, records.len(), &data);
    let parsed = CheckedFrame::parse_head(&bytes);
    if let Ok(frame) = &parsed {
        frames::holds(frame, &bytes);
    }
    if !has_odd_root {
        let mut out = vec![0xEE; records_head_length(records.len())];
        let table = RecordTable { records: records.clone() };
        let sealed = seal_records(&mut header, &table, data.len() as u32, &mut out);
        assert_eq!(sealed.is_ok(), parsed.is_ok(), "{sealed:?} {:?}", parsed.map(|_| ()));
        if sealed.is_ok() {
            assert!(out == bytes[..out.len()], "sealed and assembled frames differ");
        }
    }

    let mut bytes = bytes;
    repair::frame(&mut bytes);
    if let Ok(frame) = CheckedFrame::parse(&bytes) {
        frames::holds(&frame, &bytes);
        frames::holds_with_data(&frame);
        frames::reseals(&frame, &bytes);
    }
});
