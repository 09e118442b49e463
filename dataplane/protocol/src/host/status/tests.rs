//! Status chunks byte by byte, and their rules against every sequence of a few extents.

use alloc::vec::Vec;

use super::super::fixture::{EXPORT, both_contexts, hex};
use super::super::nbd_wire::{Reader, state};
use super::*;

const SIZE: u64 = EXPORT.size;

fn request(one: bool, length: u64) -> Request {
    let command = Command::BlockStatus { one, contexts: both_contexts() };
    Request { cookie: 0x0102_0304_0506_0708, command, offset: 0x1000, length }
}

fn chunk(mode: Mode, request: &Request, context: Context, extents: &[(u64, u32)], memory: usize) -> Vec<u8> {
    let session = Session::new(&EXPORT, mode, both_contexts());
    let mut memory = Vec::from_iter((0..memory).map(|_| 0xee));
    let mut chunk = StatusChunk::new(&session, request, context, &mut memory);
    extents.iter().for_each(|(length, flags)| chunk.push(*length, *flags));
    chunk.finish(true).to_vec()
}

/// The extents in a compact chunk.
fn extents(chunk: &[u8]) -> Vec<(u64, u32)> {
    let mut reader = Reader::new(&chunk[24..]);
    core::iter::from_fn(|| Some((u64::from(reader.u32()?), reader.u32()?))).collect()
}

#[test]
fn a_compact_chunk_has_32_bit_lengths() {
    let found = chunk(
        Mode::Structured,
        &request(false, 0x3000),
        Context::Allocation,
        &[(0x1000, 0), (0x1000, state::HOLE | state::ZERO), (0x9000, 0)],
        4096,
    );
    let transcript = hex("668e33ef 0001 0005 0102030405060708 0000001c 00000001
         00001000 00000000  00001000 00000003  00009000 00000000");
    assert_eq!(found, transcript);
}

#[test]
fn an_extended_chunk_has_64_bit_lengths() {
    let wide = request(false, 0x2_0000_0000);
    let found = chunk(
        Mode::Extended,
        &wide,
        Context::Dirty,
        &[(0x1_8000_0000, state::DIRTY), (0x1_0000_0000, 0)],
        4096,
    );
    let transcript = hex("6e8a278c 0001 0006 0102030405060708 0000000000001000 0000000000000028
         00000002 00000002  0000000180000000 0000000000000001  0000000100000000 0000000000000000");
    assert_eq!(found, transcript);
}

#[test]
fn one_extent_is_one_and_no_longer_than_the_request() {
    let found =
        chunk(Mode::Structured, &request(true, 0x3000), Context::Allocation, &[(0x1000, 3), (0x1000, 0)], 64);
    assert_eq!(extents(&found), [(0x1000, 3)]);
    let found =
        chunk(Mode::Structured, &request(true, 0x3000), Context::Allocation, &[(0x1000, 3), (0x9000, 3)], 64);
    assert_eq!(extents(&found), [(0x3000, 3)], "neighbours that agree are one extent");
}

#[test]
fn extents_that_32_bits_cannot_state_are_cut_to_whole_blocks() {
    let found = chunk(Mode::Structured, &request(false, 0x1000), Context::Dirty, &[(SIZE, 1)], 64);
    assert_eq!(extents(&found), [(0xffff_0000, 1)]);
}

#[test]
fn nothing_reaches_beyond_the_export() {
    let found = chunk(Mode::Extended, &request(false, 0x1000), Context::Dirty, &[(u64::MAX, 1)], 64);
    assert_eq!(found[40..48], (SIZE - 0x1000).to_be_bytes());
}

#[test]
fn little_memory_ends_the_chunk_early() {
    let many: Vec<(u64, u32)> = (0..100).map(|index| (512, index % 2)).collect();
    let compact = chunk(Mode::Structured, &request(false, 51200), Context::Dirty, &many, 64);
    assert_eq!((compact.len(), extents(&compact).len()), (64, 5));
    let extended = chunk(Mode::Extended, &request(false, 51200), Context::Dirty, &many, 64);
    assert_eq!(extended.len(), 56);
}

/// The slow and obvious way: every 512 bytes on their own, up to the end of the extent in which the request ends.
fn oracle(wanted: u64, extents: &[(u64, u32)]) -> Vec<u32> {
    let mut units = Vec::new();
    for (length, flags) in extents {
        if units.len() as u64 * 512 >= wanted {
            break;
        }
        (0..length / 512).for_each(|_| units.push(*flags));
    }
    units
}

#[test]
fn every_sequence_of_a_few_extents_says_what_the_units_say() {
    let choices: Vec<(u64, u32)> =
        (1..=3_u64).flat_map(|length| (0..2).map(move |flags| (length * 512, flags))).collect();
    let count = choices.len();
    for index in 0..count.pow(4) {
        let sequence: Vec<(u64, u32)> =
            (0..4).map(|place| choices[index / count.pow(place) % count]).collect();
        for wanted in [512, 1024, 2048, 4096] {
            let found =
                extents(&chunk(Mode::Structured, &request(false, wanted), Context::Dirty, &sequence, 256));
            assert!(found.windows(2).all(|pair| pair[0].1 != pair[1].1), "neighbours differ");
            let before_last: u64 = found[..found.len() - 1].iter().map(|(length, _)| length).sum();
            assert!(before_last < wanted, "only the last reaches the end of the request");
            assert_eq!(oracle(u64::MAX, &found), oracle(wanted, &sequence));
        }
    }
}
