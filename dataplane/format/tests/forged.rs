//! Bytes that verify and are wrong all the same: whoever sealed them was broken, or wanted us to be (I9).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]
#![allow(missing_docs, reason = "test code")]

mod samples;

use midspan_format::area::AreaSuperblock;
use midspan_format::checked::CheckedFrame;
use midspan_format::checksum::checksum;
use midspan_format::frame::{FrameError, FrameHeader, HEADER_BYTES, MAX_FRAME_DATA, MAX_HEAD};
use midspan_format::geometry::BLOCK;
use midspan_format::manifest::{MANIFEST_ENTRY_BYTES, REGION_RUN_BYTES};
use midspan_format::message::{MAX_MESSAGE, MAX_READ, Message, MessageError, Read};
use midspan_format::record::{MAX_RECORD_DATA, RECORD_BYTES, RecordError};
use midspan_format::superblock::{BlockError, GroupPermit, GroupState, NodeSuperblock};
use midspan_format::time::Time;
use samples::repair;

/// Bytes with others at a place.
fn patched(bytes: &[u8], at: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + patch.len()].copy_from_slice(patch);
    bytes
}

/// The frame with other bytes at a place, and all checksums right.
fn frame(frame: &[u8], at: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = patched(frame, at, patch);
    repair::frame(&mut bytes);
    bytes
}

fn refused(bytes: &[u8], error: FrameError) {
    assert_eq!(CheckedFrame::parse(bytes).unwrap_err(), error);
}

/// Each changed byte of a block is refused, or means something else: what is read is written as exactly these bytes.
fn each_byte_counts(name: &str, block: &[u8], again: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    assert_eq!(again(block).as_deref(), Some(block), "{name}");
    for at in 0..block.len() {
        for other in [block[at] ^ 1, block[at] ^ 0x80, !block[at]] {
            let mut bytes: [u8; BLOCK] = patched(block, at, &[other]).try_into().unwrap();
            repair::block(&mut bytes);
            if let Some(again) = again(&bytes) {
                assert!(again == bytes, "{name}: byte {at}");
            }
        }
    }
}

fn encoded(encode: impl FnOnce(&mut [u8; BLOCK])) -> Vec<u8> {
    let mut block = [0xEE; BLOCK];
    encode(&mut block);
    block.to_vec()
}

#[test]
fn no_byte_of_a_block_is_ignored() {
    each_byte_counts("area", &samples::area_block(), |b| {
        AreaSuperblock::decode(b).ok().map(|found| encoded(|block| found.encode(block)))
    });
    each_byte_counts("node", &samples::node_block(), |b| {
        NodeSuperblock::decode(b).ok().map(|found| encoded(|block| found.encode(block)))
    });
    each_byte_counts("permit", &samples::permit_block(), |b| {
        GroupPermit::decode(b).ok().map(|found| encoded(|block| found.encode(block)))
    });
    each_byte_counts("state", &samples::state_block(), |b| {
        GroupState::decode(b).ok().map(|found| encoded(|block| found.encode(block)))
    });
}

#[test]
fn a_block_that_verifies_and_is_impossible_is_refused() {
    let block = |bytes: Vec<u8>, at: usize, patch: &[u8]| -> [u8; BLOCK] {
        let mut bytes: [u8; BLOCK] = patched(&bytes, at, patch).try_into().unwrap();
        repair::block(&mut bytes);
        bytes
    };
    // The version is the same two bytes everywhere, behind the magic.
    let newer = block(samples::area_block(), 8, &[99]);
    assert_eq!(AreaSuperblock::decode(&newer), Err(BlockError::Version(99)));
    // Reserved, area's id, kind, start, size.
    for (at, patch) in [(10, &[1][..]), (16, &[0; 16]), (48, &[7]), (55, &[1]), (55, &[0; 8]), (63, &[0; 8])]
    {
        let bytes = block(samples::area_block(), at, patch);
        assert_eq!(AreaSuperblock::decode(&bytes), Err(BlockError::Malformed), "byte {at}");
    }
    // Group slots, first free byte beyond the disk's end, use.
    for (at, patch) in [(61, &[65][..]), (65, &[0xFF; 8]), (44, &[3])] {
        let bytes = block(samples::node_block(), at, patch);
        assert_eq!(NodeSuperblock::decode(&bytes), Err(BlockError::Malformed), "byte {at}");
    }
}

#[test]
fn a_header_that_verifies_and_is_impossible_is_refused() {
    let good = samples::journal_frame();
    let u32s = |number: u32| number.to_le_bytes();
    let late = (Time::MAX.0 + 1).to_le_bytes();
    let surplus = u32s(8192 + MAX_FRAME_DATA + 4096);
    let cases: [(usize, &[u8], FrameError); 17] = [
        (0, b"X", FrameError::Magic),
        (8, &[99, 0], FrameError::Version(99)),
        (10, &[4], FrameError::Kind(4)),
        (11, &[4], FrameError::Reserved),
        (152, &[1], FrameError::Reserved),
        (247, &[1], FrameError::Reserved),
        (56, &[1], FrameError::Position),
        (56, &[0x00, 0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], FrameError::Position),
        (112, &[1], FrameError::Position),
        (128, &[1], FrameError::Position),
        (64, &[1], FrameError::Length),
        (64, &surplus, FrameError::Length),
        (68, &[0, 0x20], FrameError::Length),
        (72, &u32s(MAX_HEAD), FrameError::Length),
        (76, &[65], FrameError::Length),
        (96, &[0; 8], FrameError::Time),
        (104, &late, FrameError::Time),
    ];
    for (at, patch, error) in cases {
        let mut bytes = patched(&good, at, patch);
        repair::frame_header(&mut bytes);
        assert_eq!(FrameHeader::decode(&bytes), Err(error), "byte {at}");
        refused(&bytes, error);
    }
}

#[test]
fn a_record_that_verifies_and_is_impossible_is_refused() {
    let good = samples::journal_frame();
    let at = |record: usize, field: usize| HEADER_BYTES + record * RECORD_BYTES + field;
    let too_long = u64::from(MAX_RECORD_DATA + 4096).to_le_bytes();
    let cases: [(usize, usize, &[u8], RecordError); 14] = [
        (0, 40, &[0], RecordError::Kind),
        (0, 40, &[10], RecordError::Kind),
        (0, 41, &[1], RecordError::Flags),
        (1, 41, &[4], RecordError::Flags),
        (2, 47, &[1], RecordError::Flags),
        (0, 8, &[1], RecordError::Range),
        (0, 16, &[0; 8], RecordError::Range),
        (0, 16, &too_long, RecordError::Range),
        (1, 8, &[0x00, 0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], RecordError::Range),
        (1, 24, &[1], RecordError::Place),
        (1, 36, &[1], RecordError::Place),
        (2, 36, &[1], RecordError::Place),
        (1, 0, &[0; 8], RecordError::Time),
        (2, 0, &[0xFF; 8], RecordError::Time),
    ];
    for (index, field, patch, error) in cases {
        let bytes = frame(&good, at(index, field), patch);
        refused(&bytes, FrameError::Record { index: index as u32, error });
    }
}

#[test]
fn data_that_belongs_to_no_record_is_refused() {
    let good = samples::journal_frame();
    let mut longer = good.clone();
    longer.extend_from_slice(&[0; BLOCK]);
    let length = (longer.len() as u32).to_le_bytes();
    refused(&frame(&longer, 64, &length), FrameError::Surplus);
    // Padding between table and data.
    let mut padded = patched(&good, BLOCK - 1, &[1]);
    repair::frame(&mut padded);
    refused(&padded, FrameError::Padding);
}

#[test]
fn a_mark_that_verifies_and_is_impossible_is_refused() {
    let good = samples::marks_frame();
    let checked = CheckedFrame::parse(&good).unwrap();
    let marks: Vec<_> = (0..).zip(checked.records()).filter(|(_, r)| checked.mark(r).is_some()).collect();
    assert_eq!(marks.len(), samples::marks().len());
    for (index, record) in marks {
        let block = checked.data_range(&record);
        // Behind every layout there are zeroes.
        refused(
            &frame(&good, block.end - 1, &[1]),
            FrameError::Record { index, error: RecordError::Payload },
        );
        for at in block.start..block.start + 640 {
            let bytes = frame(&good, at, &[!good[at]]);
            let Ok(found) = CheckedFrame::parse(&bytes) else { continue };
            assert_eq!(encoded(|again| found.mark(&record).unwrap().encode(again)), bytes[block.clone()]);
        }
    }
}

/// A table with other bytes at a place, behind right checksums.
fn table(good: &[u8], at: usize, patch: &[u8]) -> Vec<u8> {
    frame(good, HEADER_BYTES + at, patch)
}

#[test]
fn a_manifest_that_verifies_and_is_impossible_is_refused() {
    let good = samples::manifest_frame();
    let runs = 2 * MANIFEST_ENTRY_BYTES;
    let root = runs + 3 * REGION_RUN_BYTES;
    let cases: [(usize, &[u8]); 12] = [
        (16, &[1]),                // position
        (24, &[0xFF; 8]),          // first time behind the last
        (32, &[0xFF; 8]),          // last time
        (52, &[0; 4]),             // length
        (52, &[0, 0, 0xFF, 0xFF]), // length
        (56, &[2]),                // first run: two from 2 on are too many
        (60, &[0xFF; 4]),          // number of runs
        (runs + 8, &[0; 4]),       // a run of nothing
        (runs + 4, &[0xFF; 4]),    // a run beyond 32 bits
        (root, &[0x10]),           // where the entries lie
        (root + 4, &[3]),          // how many there are
        (root + 12, &[0xFF; 4]),   // how many runs there are
    ];
    for (at, patch) in cases {
        refused(&table(&good, at, patch), FrameError::Table);
    }
}

#[test]
fn a_receipt_that_verifies_and_is_impossible_is_refused() {
    let good = samples::receipt_frame();
    let (list, root) = (2 * 48, 2 * 48 + 2 * 32);
    let cases: [(usize, &[u8]); 16] = [
        (8, &[1]),               // position
        (24, &[1]),              // applied
        (46, &[1]),              // reserved
        (root, &[0xFF; 8]),      // cut
        (root + 8, &[1]),        // manifest position
        (root + 40, &[2]),       // a flag that is not defined
        (root + 72, &[0x10]),    // where the lanes lie
        (root + 76, &[1]),       // how many there are
        (root + 76, &[0xFF; 4]), // how many there are
        (list, &[0xFF; 8]),      // time of a difference
        (list + 8, &[1]),        // its offset
        (list + 16, &[1]),       // its length
        (list + 16, &[0; 8]),    // its length
        (list + 28, &[1]),       // reserved
        (root + 84, &[1]),       // how many differences there are
        (root + 84, &[0xFF; 4]), // how many there are
    ];
    for (at, patch) in cases {
        refused(&table(&good, at, patch), FrameError::Table);
    }
}

#[test]
fn no_byte_of_a_message_is_ignored() {
    for (name, message) in samples::messages::all() {
        let mut good = [0; MAX_MESSAGE];
        let length = message.encode(&mut good).unwrap();
        for at in 0..length {
            for other in [good[at] ^ 1, good[at] ^ 0x80, !good[at]] {
                let mut bytes = patched(&good[..length], at, &[other]);
                repair::message(&mut bytes);
                if let Ok(Some((found, _))) = Message::decode(&bytes) {
                    let mut again = [0; MAX_MESSAGE];
                    assert_eq!(found.encode(&mut again), Ok(length));
                    assert!(again[..length] == bytes, "{name}: byte {at}");
                }
            }
        }
    }
}

#[test]
fn a_message_that_verifies_and_is_impossible_is_refused() {
    let mut good = [0; MAX_MESSAGE];
    let read = Message::Read(Read { request: 1, length: 4096, ..Read::default() });
    let length = read.encode(&mut good).unwrap();
    let cases: [(usize, &[u8], MessageError); 8] = [
        (0, b"X", MessageError::Magic),
        (8, &[99], MessageError::Version(99)),
        (10, &[99], MessageError::Kind(99)),
        (10, &[9], MessageError::Length),
        (16, &[1], MessageError::Malformed),
        (48, &[1], MessageError::Malformed),
        (56, &[1], MessageError::Length),
        (56, &(MAX_READ + 4096).to_le_bytes(), MessageError::Length),
    ];
    for (at, patch, error) in cases {
        let mut bytes = patched(&good[..length], at, patch);
        repair::message(&mut bytes);
        assert_eq!(Message::decode(&bytes), Err(error), "byte {at}");
    }
    // In a block, zeroes follow.
    let mut block = [0; BLOCK];
    read.encode_block(&mut block);
    block[BLOCK - 1] = 1;
    assert_eq!(Message::decode_block(&block), Err(MessageError::Malformed));
}

#[test]
fn a_frame_at_an_odd_address_is_refused_and_not_read() {
    let good = samples::journal_frame();
    let mut memory = vec![0; good.len() + 8];
    for shift in 0..8 {
        memory[shift..shift + good.len()].copy_from_slice(&good);
        let bytes = &memory[shift..shift + good.len()];
        let is_aligned = bytes.as_ptr().addr().is_multiple_of(8);
        assert_eq!(CheckedFrame::parse(bytes).is_ok(), is_aligned);
    }
    assert_eq!(checksum(&good[..248]).to_le_bytes(), good[248..256]);
}
