//! The bulk direction: block messages and frame headers, as they are and with checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::frame::{FrameHeader, HEADER_BYTES as FRAME_HEADER_BYTES};
use midspan_format::geometry::BLOCK;
use midspan_format::message::{MAX_READ, Message, bulk_unit_length};
use midspan_fuzz::{input, repair};

fuzz_target!(|bytes: &[u8]| {
    let mut block = input::block(bytes);
    look(&block);
    assert!(bytes.len() >= FRAME_HEADER_BYTES || bulk_unit_length(bytes) == Ok(None));
    assert!(bytes.len() >= BLOCK || Message::decode_block(bytes).is_err());
    if block.starts_with(b"MSPFRAME") {
        repair::frame_header(&mut block);
    } else {
        repair::message(&mut block);
    }
    look(&block);
});

fn look(block: &[u8; BLOCK]) {
    let length = bulk_unit_length(block);
    if let Ok(length) = length {
        let length = length.expect("a whole block is there");
        assert!(length % BLOCK == 0 && (BLOCK..=BLOCK + MAX_READ as usize).contains(&length));
    }
    // What the first 256 bytes say does not change when the rest comes.
    assert_eq!(bulk_unit_length(&block[..FRAME_HEADER_BYTES]), length);
    if let Ok(header) = FrameHeader::decode(block) {
        assert_eq!(length, Ok(Some(header.length as usize)));
    }
    if let Ok(message) = Message::decode_block(block) {
        let mut again = [0xEE; BLOCK];
        message.encode_block(&mut again);
        assert!(again == *block, "{message:?}");
        let data = match message {
            Message::ReadReply(reply) => reply.length as usize,
            Message::Head(head) => head.length as usize,
            _ => 0,
        };
        assert_eq!(length, Ok(Some(BLOCK + data)));
    }
}
