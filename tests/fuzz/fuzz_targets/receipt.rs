//! Receipt tables behind right checksums: reader and sealer must accept the same and agree on every byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameKind;
use midspan_format::receipt::{
    DIFFERENCE_BYTES, Difference, LANE_RECEIPT_BYTES, LaneReceipt, MAX_RECEIPT_LANES, Receipt,
};
use midspan_format::seal::{receipt_head_length, seal_receipt};
use midspan_fuzz::frames;
use midspan_fuzz::input::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mut header = frames::header(FrameKind::Receipt, &mut input);
    let has_odd_root = input.byte() & 7 == 7;
    let numbers: [u8; 72] = input.array();
    let found: Vec<[u8; DIFFERENCE_BYTES]> = (0..input.byte() % 4).map(|_| input.array()).collect();
    let count = (input.rest().len() / LANE_RECEIPT_BYTES).min(MAX_RECEIPT_LANES + 1);
    let lanes: Vec<[u8; LANE_RECEIPT_BYTES]> = (0..count).map(|_| input.array()).collect();
    let mut fields = Input::new(&numbers);
    let wanted = Receipt {
        cut: fields.u64(),
        manifest: fields.u64(),
        fence_version: fields.u64(),
        round: fields.u64(),
        staging: fields.u64(),
        flags: fields.u64(),
        run: fields.u64(),
        compared: fields.u64(),
        different: fields.u64(),
        lanes: lanes.iter().map(lane).collect(),
        differences: found.iter().map(difference).collect(),
    };

    let mut table = lanes.concat();
    table.extend_from_slice(&found.concat());
    // A list's place is counted from its own in the root, behind the nine numbers.
    let root = frames::list(table.len() + numbers.len(), lanes.len());
    let differences = frames::list(found.len() * DIFFERENCE_BYTES + numbers.len() + 8, found.len());
    table.extend_from_slice(&numbers);
    table.extend_from_slice(&if has_odd_root { input.array() } else { root });
    table.extend_from_slice(&differences);
    let bytes = frames::assemble(header, &table, lanes.len(), &[]);
    let parsed = CheckedFrame::parse(&bytes);
    if let Ok(frame) = &parsed {
        frames::holds(frame, &bytes);
        frames::reseals(frame, &bytes);
    }
    if has_odd_root {
        return;
    }
    if let Ok(frame) = &parsed {
        assert_eq!(frame.receipt().expect("a receipt").to_receipt(), wanted);
    }
    let mut out = vec![0xEE; receipt_head_length(lanes.len(), found.len())];
    let sealed = seal_receipt(&mut header, &wanted, &mut out);
    assert_eq!(sealed.is_ok(), parsed.is_ok(), "{sealed:?} {:?}", parsed.map(|_| ()));
    if sealed.is_ok() && !lanes.is_empty() && !found.is_empty() {
        assert!(out == bytes, "sealed and assembled receipts differ");
    }
});

fn lane(bytes: &[u8; LANE_RECEIPT_BYTES]) -> LaneReceipt {
    let mut input = Input::new(bytes);
    LaneReceipt {
        epoch_number: input.u64(),
        position: input.u64(),
        header_checksum: input.u64(),
        applied: input.u64(),
        sequence: input.u64(),
        epoch_node: input.u32(),
        lane: input.u16(),
        reserved: input.array(),
    }
}

fn difference(bytes: &[u8; DIFFERENCE_BYTES]) -> Difference {
    let mut input = Input::new(bytes);
    Difference {
        time: input.u64(),
        offset: input.u64(),
        length: input.u64(),
        volume: input.u32(),
        reserved: input.u32(),
    }
}
