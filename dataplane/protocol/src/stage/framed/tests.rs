//! A ring's bytes as frames, heads and holes.

use alloc::vec;
use alloc::vec::Vec;

use midspan_format::checksum::checksum;
use midspan_format::frame::FrameKind;
use midspan_format::geometry::BLOCK;
use midspan_format::record::{Record, RecordKind};
use midspan_format::seal::{RecordTable, seal_records};

use super::*;
use crate::vocab::buffer::Buffers;
use crate::vocab::buffer::fixture::{Heap, Plain};

const HERE: NodeId = NodeId(2);
const THERE: NodeId = NodeId(4);
const NOWHERE: NodeId = NodeId::NONE;
const FRAME: usize = 2 * BLOCK;

/// A ring that holds frames of two blocks, whose data is at these nodes; where it is not here there is a hole.
fn ring(at: &[NodeId]) -> Slice<Plain> {
    let mut bytes = vec![0; at.len() * FRAME];
    for (index, data_at) in at.iter().enumerate() {
        let place = index * FRAME;
        let mut header = FrameHeader {
            kind: FrameKind::Journal,
            position: Position(place as u64),
            data_at: *data_at,
            ..FrameHeader::default()
        };
        let data = [7; BLOCK];
        let record = Record {
            length: BLOCK as u64,
            checksum: checksum(&data),
            volume: 1,
            kind: RecordKind::Write as u8,
            ..Record::default()
        };
        let table = RecordTable { records: vec![record] };
        let head = seal_records(&mut header, &table, u32::try_from(BLOCK).unwrap(), &mut bytes[place..]);
        assert_eq!(head.unwrap(), BLOCK);
        if *data_at != THERE {
            bytes[place + BLOCK..place + FRAME].copy_from_slice(&data);
        }
    }
    let mut buffer = Heap.take(bytes.len()).unwrap();
    buffer.bytes_mut().unwrap()[..bytes.len()].copy_from_slice(&bytes);
    buffer.set_filled(bytes.len());
    Slice::new(buffer, 0..bytes.len())
}

/// Where the parts lie in the ring, in blocks.
fn blocks(framed: Framed<Plain>) -> Vec<(usize, usize)> {
    let Some((parts, length)) = framed.parts() else { return Vec::new() };
    let spans: Vec<_> = parts.into_iter().flatten().map(|part| part.range()).collect();
    assert_eq!(spans.iter().map(|span| span.len()).sum::<usize>(), length as usize);
    spans.into_iter().map(|span| (span.start / BLOCK, span.end / BLOCK)).collect()
}

fn end(frames: usize) -> Position {
    Position((frames * FRAME) as u64)
}

#[test]
fn holes_are_left_out_and_each_frame_follows_the_head_before() {
    let ring = ring(&[NOWHERE, THERE, HERE, NOWHERE, THERE, THERE]);
    let mut framed = Framed::new(Position(0), end(6), THERE);
    assert!(framed.add(Position(0), &ring));
    assert_eq!(framed.next(), end(6));
    assert_eq!(blocks(framed), [(0, 3), (4, 9), (10, 11)]);
}

#[test]
fn a_range_that_ends_inside_a_frame_brings_nothing_of_it() {
    let ring = ring(&[HERE, HERE, HERE]);
    let mut framed = Framed::new(Position(0), Position(end(3).0 - BLOCK as u64), NOWHERE);
    framed.add(Position(0), &ring);
    assert_eq!((framed.next(), blocks(framed)), (end(2), vec![(0, 4)]));
    // The data of it has not come.
    let mut framed = Framed::new(end(1), end(3), NOWHERE);
    assert!(!framed.add(end(1), &ring.part(FRAME..3 * FRAME - BLOCK)));
    assert_eq!((framed.next(), blocks(framed)), (end(2), vec![(2, 4)]));
}

#[test]
fn memory_that_holds_heads_alone_is_gathered_piece_by_piece() {
    let ring = ring(&[HERE, THERE, HERE, THERE]);
    let mut framed = Framed::new(Position(0), end(4), THERE);
    for (from, to) in [(0, 3), (4, 7)] {
        let start = Position((from * BLOCK) as u64);
        assert!(framed.add(start, &ring.part(from * BLOCK..to * BLOCK)));
    }
    assert_eq!((framed.next(), blocks(framed)), (end(4), vec![(0, 3), (4, 7)]));
}

#[test]
fn where_no_frame_begins_there_is_nothing() {
    let ring = ring(&[HERE, HERE]);
    let mut framed = Framed::new(Position(BLOCK as u64), end(2), NOWHERE);
    assert!(!framed.add(Position(0), &ring));
    assert!(framed.parts().is_none());
}

#[test]
fn no_more_is_gathered_than_one_answer_takes() {
    let ring = ring(&[THERE; 2 * MAX_PARTS]);
    let mut framed = Framed::new(Position(0), end(2 * MAX_PARTS), THERE);
    assert!(!framed.add(Position(0), &ring));
    assert_eq!(framed.next(), end(MAX_PARTS));
    assert_eq!(blocks(framed).len(), MAX_PARTS);
}
