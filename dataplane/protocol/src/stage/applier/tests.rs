//! Random records on a disk that is a list, against the same records written one behind the other.

use alloc::collections::BTreeMap;
use alloc::vec;

use midspan_format::checksum::checksum;
use midspan_format::frame::FrameKind;
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId, NodeId};
use midspan_format::mark::Mark;
use midspan_format::seal::{RecordTable, records_head_length, seal_records};

use super::*;
use crate::vocab::buffer::fixture::{Heap, Plain};
use crate::vocab::effect::{Effect, Effects, Now};

const VOLUME: VolumeId = VolumeId(1);
const BLOCKS: usize = 12;

/// An applier, the disk below it, and a chain of frames.
struct Rig {
    applier: Applier<Plain>,
    effects: Effects<Plain>,
    /// Operations that the disk was given and has not ended.
    running: Vec<Running>,
    disk: [u8; BLOCKS],
    tip: Tip,
    time: u64,
    /// Block content behind each frame that was pushed.
    expected: BTreeMap<u64, [u8; BLOCKS]>,
    writes: usize,
}

struct Running {
    token: Token,
    /// First block, and the fill of each block that is written.
    first: u64,
    fills: Vec<u8>,
    /// Where to read to, and how many blocks.
    into: Option<(Plain, usize)>,
}

/// In place of a fill: the range is compared with what it reads as then.
const VERIFY: u8 = 255;
/// The same with something else, which must be found.
const DIFFERS: u8 = 254;
const RUN: u64 = 9;

impl Rig {
    fn new() -> Self {
        let tip = Tip::behind(Position(0), None);
        let size = (BLOCKS * BLOCK) as u64;
        Self {
            applier: Applier::new(vec![(VOLUME, size)], 64, 256, 1, tip, Time::ZERO),
            effects: Effects::with_capacity(64),
            running: Vec::new(),
            disk: [0; BLOCKS],
            tip,
            time: 0,
            expected: BTreeMap::from([(0, [0; BLOCKS])]),
            writes: 0,
        }
    }

    /// A frame with records (first block, blocks, fill); a fill of 0 is a range of zeroes.
    fn push(&mut self, records: &[(u64, u64, u8)]) {
        let (mut table, mut data) = (RecordTable { records: Vec::new() }, Vec::new());
        let mut expected = *self.expected.last_key_value().unwrap().1;
        let first_time = Time(self.time + 1);
        for &(first, count, fill) in records {
            self.time += 1;
            let length = count * BLOCK_U64;
            let blocks = usize::try_from(first).unwrap()..usize::try_from(first + count).unwrap();
            let (kind, bytes) = match fill {
                0 => (RecordKind::Zero, Vec::new()),
                VERIFY | DIFFERS => {
                    let mut read: Vec<u8> =
                        expected[blocks.clone()].iter().flat_map(|f| [*f; BLOCK]).collect();
                    read[0] ^= u8::from(fill == DIFFERS);
                    let mut block = vec![0; BLOCK];
                    Mark::Verify(Verify::of(RUN, &read)).encode(block.first_chunk_mut().unwrap());
                    (RecordKind::Verify, block)
                }
                _ => (RecordKind::Write, vec![fill; usize::try_from(length).unwrap()]),
            };
            table.records.push(Record {
                time: self.time,
                offset: first * BLOCK_U64,
                length,
                checksum: if fill == 0 { 0 } else { checksum(&bytes) },
                volume: VOLUME.0,
                data_block: if fill == 0 { 0 } else { u32::try_from(data.len() / BLOCK).unwrap() },
                kind: kind as u8,
                ..Record::default()
            });
            data.extend_from_slice(&bytes);
            if fill < DIFFERS {
                expected[blocks].fill(fill);
            }
        }
        let mut header = FrameHeader {
            kind: FrameKind::Journal,
            group: GroupId(1),
            lane: LaneId(0),
            area: AreaId([1; 16]),
            epoch: Epoch { number: 1, node: NodeId(1) },
            sequence: self.tip.sequence,
            position: self.tip.position,
            chain: self.tip.chain,
            first_time,
            last_time: Time(self.time),
            closed_time: Time(self.time),
            ..FrameHeader::default()
        };
        let head = records_head_length(records.len());
        let mut frame = Heap.take(head + data.len()).unwrap();
        let bytes = frame.bytes_mut().unwrap();
        let length = u32::try_from(data.len()).unwrap();
        seal_records(&mut header, &table, length, &mut bytes[..head]).unwrap();
        bytes[head..head + data.len()].copy_from_slice(&data);
        frame.set_filled(head + data.len());
        self.tip = Tip::after(&header);
        self.expected.insert(self.tip.position.0, expected);
        let frame = Slice::new(frame, 0..head + data.len());
        let mut context = Context { now: Now::default(), buffers: &mut Heap, effects: &mut self.effects };
        self.applier.push(&mut context, &header, &frame, true).unwrap();
        self.collect();
    }

    fn collect(&mut self) {
        for effect in self.effects.drain() {
            let Effect::Disk { token, op, .. } = effect else { panic!("no disk operation: {effect:?}") };
            let (offset, fills, into) = match op {
                DiskOp::Write { offset, data, .. } => {
                    (offset, data.bytes().chunks(BLOCK).map(|block| block[0]).collect(), None)
                }
                DiskOp::Zero { offset, length, .. } => {
                    (offset, vec![0; usize::try_from(length / BLOCK_U64).unwrap()], None)
                }
                DiskOp::Read { offset, length, into, .. } => {
                    (offset, Vec::new(), Some((into, length / BLOCK)))
                }
                DiskOp::Flush => panic!("nothing is flushed"),
            };
            self.writes += usize::from(into.is_none());
            self.running.push(Running { token, first: offset / BLOCK_U64, fills, into });
        }
    }

    /// One of the running operations ends. What counts as applied must be on the disk, or something newer.
    fn end(&mut self, which: usize) {
        let Running { token, first, fills, into } = self.running.swap_remove(which);
        let first = usize::try_from(first).unwrap();
        let data = into.map(|(mut into, count)| {
            for (block, bytes) in into.bytes_mut().unwrap().chunks_mut(BLOCK).take(count).enumerate() {
                bytes.fill(self.disk[first + block]);
            }
            into.set_filled(count * BLOCK);
            into
        });
        for (block, fill) in (first..).zip(fills) {
            self.disk[block] = fill;
        }
        let mut context = Context { now: Now::default(), buffers: &mut Heap, effects: &mut self.effects };
        self.applier.on_disk(&mut context, token, Ok(data));
        self.applier.compare(&mut context);
        self.collect();
        // Fills grow with time.
        let applied = self.expected[&self.applier.applied().position.0];
        let older = self.disk.iter().zip(applied).position(|(found, applied)| *found < applied);
        assert_eq!(older, None, "{:?} is older than what counts as applied, {applied:?}", self.disk);
    }

    fn settle(&mut self) {
        while !self.running.is_empty() {
            self.end(self.running.len() - 1);
        }
        assert!(self.applier.is_idle() && self.applier.is_settled());
        assert_eq!(self.applier.applied(), self.tip);
        assert_eq!(self.disk, *self.expected.last_key_value().unwrap().1);
    }
}

#[test]
fn of_records_that_wait_for_one_range_only_the_last_is_written() {
    let mut rig = Rig::new();
    for fill in 1..=20 {
        rig.push(&[(3, 2, fill)]);
    }
    assert_eq!(rig.running.len(), 1);
    rig.end(0);
    assert_eq!(rig.running.len(), 1, "the second write is the twentieth record");
    rig.settle();
    assert_eq!(rig.writes, 2);
}

#[test]
fn a_record_between_two_of_one_range_keeps_their_order() {
    let mut rig = Rig::new();
    // All wait for the first; the fourth overlaps the third by half, so that it must be written between them.
    rig.push(&[(0, 8, 1), (2, 2, 2), (2, 2, 3), (3, 2, 4), (2, 2, 5)]);
    rig.end(0);
    rig.settle();
    assert_eq!(rig.disk[..6], [1, 1, 5, 5, 4, 1]);
    assert_eq!(rig.writes, 4, "the second record is superseded by the third, no other one is");
}

#[test]
fn zeroes_supersede_writes_and_are_superseded() {
    let mut rig = Rig::new();
    rig.push(&[(1, 1, 1), (1, 1, 2), (1, 1, 0)]);
    rig.end(0);
    rig.settle();
    assert_eq!((rig.disk[1], rig.writes), (0, 2));
    rig.push(&[(1, 1, 3), (1, 1, 0), (1, 1, 4)]);
    rig.end(0);
    rig.settle();
    assert_eq!((rig.disk[1], rig.writes), (4, 4));
}

#[test]
fn whatever_order_the_disk_takes_the_end_is_that_of_one_write_behind_the_other() {
    let mut seed = 7_u64;
    let mut random = move |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % limit
    };
    let mut saved = 0;
    for _ in 0..300 {
        let mut rig = Rig::new();
        let mut fill = 0;
        while fill < 200 {
            let records: Vec<_> = (0..1 + random(4))
                .map(|_| {
                    fill += 1;
                    // Few different ranges, so that the same ones come again.
                    let (first, count) = [(0, 1), (0, 2), (1, 1), (1, 3), (4, 8), (5, 1), (5, 1)][random(7)];
                    (first, count, fill)
                })
                .collect();
            rig.push(&records);
            while !rig.running.is_empty() && random(3) == 0 {
                rig.end(random(rig.running.len()));
            }
        }
        rig.settle();
        saved += usize::from(fill) - rig.writes;
    }
    assert!(saved > 1000, "{saved}");
}

#[test]
fn a_digest_is_compared_with_what_the_range_reads_as_at_its_time() {
    let mut seed = 11_u64;
    let mut random = move |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % limit
    };
    let (mut compared, mut saved) = (0, 0);
    for round in 0..200 {
        let mut rig = Rig::new();
        let (mut fill, mut wanted, mut different, mut writes) = (0, 0, 0, 0);
        while fill < 120 {
            let records: Vec<_> = (0..1 + random(4))
                .map(|_| {
                    let (first, count) = [(0, 1), (0, 2), (1, 1), (1, 3), (4, 8), (5, 1), (5, 1)][random(7)];
                    match random(3) {
                        0 => {
                            let differs = round % 2 == 1 && random(20) == 0;
                            wanted += count * BLOCK_U64;
                            different += if differs { count * BLOCK_U64 } else { 0 };
                            (first, count, if differs { DIFFERS } else { VERIFY })
                        }
                        _ => {
                            (fill, writes) = (fill + 1, writes + 1);
                            (first, count, fill)
                        }
                    }
                })
                .collect();
            rig.push(&records);
            while !rig.running.is_empty() && random(3) == 0 {
                rig.end(random(rig.running.len()));
            }
        }
        rig.settle();
        let tally = rig.applier.tally();
        assert_eq!((tally.run, tally.compared, tally.different), (RUN, wanted, different));
        assert_eq!(tally.differences().is_empty(), different == 0);
        compared += wanted;
        saved += writes - rig.writes;
    }
    assert!(compared > 0 && saved > 100, "{saved} writes of one range were saved beside it");
}

#[test]
fn what_cannot_be_read_differs_and_the_site_goes_on() {
    let mut rig = Rig::new();
    rig.push(&[(2, 2, 7), (2, 2, VERIFY), (2, 2, 8)]);
    rig.end(0);
    let read = rig.running.remove(0);
    let mut context = Context { now: Now::default(), buffers: &mut Heap, effects: &mut rig.effects };
    rig.applier.on_disk(&mut context, read.token, Err(crate::vocab::effect::DiskError::Failed));
    rig.collect();
    assert_eq!((rig.applier.failed(), rig.applier.tally().different), (None, 2 * BLOCK_U64));
    rig.settle();
}
