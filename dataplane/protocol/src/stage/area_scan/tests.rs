//! A disk that is wrong once, or cannot be read, while an area is scanned.

use alloc::vec;
use alloc::vec::Vec;

use midspan_format::checksum::checksum;
use midspan_format::ids::{Epoch, GroupId, LaneId, NodeId};
use midspan_format::record::{Record, RecordKind};
use midspan_format::seal::{RecordTable, seal_records};
use midspan_format::superblock::AreaHint;
use midspan_format::time::Time;

use super::*;
use crate::vocab::buffer::Buffer;
use crate::vocab::buffer::fixture::{Heap, Plain};
use crate::vocab::effect::{DiskError, Effect, Effects, Now};
use crate::vocab::tip::Tip;

const RING: u64 = 1 << 20;
const AREA: AreaId = AreaId([7; 16]);
const FRAMES: u64 = 4;
const FRAME: u64 = 2 * BLOCK as u64;
const END: Position = Position(FRAMES * FRAME);

/// What one read does.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Gives what is there.
    Well,
    /// Gives one bit that is not there, in the block at this position, if it reads that.
    Flips(Position),
    /// Fails if it reads the block at this position.
    Fails(Position),
}

/// A ring with frames of one write each; each says that all before it are journaled, so of the last one nobody else knows.
fn ring() -> Vec<u8> {
    let mut disk = vec![0; usize::try_from(RING).unwrap()];
    let mut tip = Tip::behind(Position(0), None);
    for _ in 0..FRAMES {
        let mut header = FrameHeader {
            kind: FrameKind::Journal,
            group: GroupId(1),
            lane: LaneId(0),
            area: AREA,
            epoch: Epoch { number: 1, node: NodeId(1) },
            sequence: tip.sequence,
            position: tip.position,
            chain: tip.chain,
            journaled: tip.position,
            first_time: Time(tip.sequence),
            last_time: Time(tip.sequence),
            ..FrameHeader::default()
        };
        let at = usize::try_from(tip.position.0).unwrap();
        let data = [3; BLOCK];
        let record = Record {
            time: tip.sequence,
            length: BLOCK as u64,
            checksum: checksum(&data),
            volume: 1,
            kind: RecordKind::Write as u8,
            ..Record::default()
        };
        let table = RecordTable { records: vec![record] };
        let head = seal_records(&mut header, &table, u32::try_from(BLOCK).unwrap(), &mut disk[at..]).unwrap();
        disk[at + head..at + head + BLOCK].copy_from_slice(&data);
        assert_eq!(u64::from(header.length), FRAME, "the positions of these tests");
        tip = Tip::after(&header);
    }
    disk
}

/// What a scan comes to, and the prefix, when its reads do this, one after the other, and all further ones the last of it.
fn scan(disk: &[u8], hint: AreaHint, does: &[Does]) -> (Verdict, Position) {
    let entry = AreaEntry { area: AREA, size: RING, hint, ..AreaEntry::default() };
    let mut scan = AreaScan::new(&entry, NodeId(2), Token(0), 64 << 10);
    let (mut buffers, mut effects) = (Heap, Effects::<Plain>::with_capacity(8));
    let now = Now { mono: 1, wall: 1 };
    let mut reads = 0;
    scan.poke(&mut Context { now, buffers: &mut buffers, effects: &mut effects });
    loop {
        let asked: Vec<_> = effects.drain().collect();
        let [Effect::Disk { op, .. }] = <[_; 1]>::try_from(asked).unwrap() else {
            panic!("one operation at a time")
        };
        let result = match op {
            DiskOp::Read { offset, length, at, mut into } => {
                let from = usize::try_from(offset).unwrap();
                let holds = |position: Position| (offset..offset + length as u64).contains(&position.0);
                into.bytes_mut().unwrap()[at..at + length].copy_from_slice(&disk[from..from + length]);
                let this = does.get(reads).or(does.last()).copied().unwrap_or(Does::Well);
                reads += 1;
                match this {
                    Does::Fails(position) if holds(position) => Err(DiskError::Failed),
                    Does::Flips(position) if holds(position) => {
                        let place = at + usize::try_from(position.0 - offset).unwrap();
                        into.bytes_mut().unwrap()[place + 40] ^= 4;
                        into.set_filled(at + length);
                        Ok(Some(into))
                    }
                    Does::Well | Does::Flips(_) | Does::Fails(_) => {
                        into.set_filled(at + length);
                        Ok(Some(into))
                    }
                }
            }
            DiskOp::Flush => Ok(None),
            DiskOp::Write { .. } | DiskOp::Zero { .. } => panic!("a scan writes nothing"),
        };
        assert!(reads < 2000, "a scan that does not end");
        let mut context = Context { now, buffers: &mut buffers, effects: &mut effects };
        let verdict = scan.on_disk(&mut context, result);
        if verdict != Verdict::Running {
            return (verdict, scan.prefix());
        }
    }
}

fn frame(number: u64) -> Position {
    Position(number * FRAME)
}

/// The permit knows of the first three frames.
fn hint() -> AreaHint {
    AreaHint { position: frame(2), header_checksum: 0, journaled: frame(3) }
}

#[test]
fn a_whole_ring_is_found_whole() {
    assert_eq!(scan(&ring(), AreaHint::default(), &[]), (Verdict::Prefix, END));
    assert_eq!(scan(&ring(), hint(), &[]), (Verdict::Prefix, END));
}

#[test]
fn an_empty_ring_is_empty() {
    let empty = vec![0; usize::try_from(RING).unwrap()];
    assert_eq!(scan(&empty, AreaHint::default(), &[]), (Verdict::Prefix, Position(0)));
}

#[test]
fn one_wrong_read_of_the_last_frame_is_not_the_end() {
    for number in 0..FRAMES {
        // Of the header, and of the body.
        for place in [frame(number), Position(frame(number).0 + BLOCK as u64)] {
            let found = scan(&ring(), AreaHint::default(), &[Does::Flips(place), Does::Well]);
            assert_eq!(found, (Verdict::Prefix, END), "frame {number}");
        }
    }
}

#[test]
fn one_wrong_read_of_what_is_known_to_be_there_is_no_damage() {
    assert_eq!(scan(&ring(), hint(), &[Does::Flips(frame(2)), Does::Well]), (Verdict::Prefix, END));
}

#[test]
fn what_is_read_wrongly_for_good_is_damage_where_somebody_knows_of_it() {
    let found = scan(&ring(), hint(), &[Does::Flips(frame(2))]);
    assert_eq!(found, (Verdict::Damaged { claimed: frame(3) }, frame(2)));
    // The third frame says that the second one was there.
    let found = scan(&ring(), AreaHint::default(), &[Does::Flips(frame(1))]);
    assert_eq!(found, (Verdict::Damaged { claimed: frame(3) }, frame(1)));
}

#[test]
fn one_failed_read_takes_nothing_away() {
    for number in 0..=FRAMES {
        let fails = Does::Fails(frame(number));
        assert_eq!(scan(&ring(), hint(), &[fails, Does::Well]), (Verdict::Prefix, END));
        assert_eq!(scan(&ring(), hint(), &[fails, fails, Does::Well]), (Verdict::Prefix, END));
    }
}

#[test]
fn what_cannot_be_read_is_no_end_of_a_journal() {
    let found = scan(&ring(), AreaHint::default(), &[Does::Fails(frame(3))]);
    assert_eq!(found, (Verdict::Damaged { claimed: Position(frame(3).0 + BLOCK as u64) }, frame(3)));
    // A bad block that lies farther is in nobody's way.
    let found = scan(&ring(), AreaHint::default(), &[Does::Fails(Position(END.0 + BLOCK as u64))]);
    assert_eq!(found, (Verdict::Prefix, END));
}
