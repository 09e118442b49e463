//! The order of requests in the table, on plain memory.

use super::*;
use crate::vocab::buffer::fixture::{Heap, Plain};
use crate::vocab::effect::{Effect, Effects, Now};

/// A table and what it asked for.
struct Rig {
    table: Inflight<Plain>,
    steps: Steps,
    effects: Effects<Plain>,
    requests: u32,
}

impl Rig {
    fn new() -> Self {
        Self {
            table: Inflight::new(16, 1),
            steps: Steps::new(16),
            effects: Effects::with_capacity(16),
            requests: 0,
        }
    }

    fn enter(&mut self, op: HostOp<Plain>) -> u32 {
        self.requests += 1;
        let request = HostRequest { id: RequestId(self.requests), volume: VolumeId(1), op };
        let mut context = Context { now: Now::default(), buffers: &mut Heap, effects: &mut self.effects };
        self.table.enter(&mut context, request, &mut self.steps).unwrap()
    }

    fn write(&mut self, offset: u64, length: usize) -> u32 {
        let data = Heap.take(length + 4096).unwrap();
        self.enter(HostOp::Write { offset, length, data, fua: false })
    }

    fn read(&mut self, offset: u64, length: usize) -> u32 {
        let into = Heap.take(length).unwrap();
        self.enter(HostOp::Read { offset, length, into })
    }

    /// The frame of a write is answerable, and its disk write ends at once, if it may start.
    fn land(&mut self, id: u32) {
        self.table.allow_disk(id, &mut self.steps);
        if !self.steps.disk.contains(&id) {
            return;
        }
        self.leave(id);
    }

    fn leave(&mut self, id: u32) {
        self.steps.disk.retain(|other| *other != id);
        let mut context = Context { now: Now::default(), buffers: &mut Heap, effects: &mut self.effects };
        self.table.leave(&mut context, id, &mut self.steps);
    }

    fn disk_reads(&mut self) -> usize {
        self.effects.drain().filter(|e| matches!(e, Effect::Disk { op: DiskOp::Read { .. }, .. })).count()
    }
}

#[test]
fn an_overlapping_write_takes_its_time_at_once_and_waits_for_the_disk_only() {
    let mut rig = Rig::new();
    let (first, second) = (rig.write(0, 8192), rig.write(4096, 4096));
    assert_eq!(rig.steps.join, [first, second]);
    rig.land(second);
    assert!(rig.steps.disk.is_empty(), "the later write must not reach the disk first");
    rig.land(first);
    assert_eq!(rig.steps.disk, [second]);
}

#[test]
fn a_read_waits_for_the_write_that_it_overlaps() {
    let mut rig = Rig::new();
    let write = rig.write(0, 4096);
    let read = rig.read(0, 4096);
    assert!(rig.steps.disk.is_empty());
    rig.land(write);
    assert_eq!(rig.steps.disk, [read]);
}

/// A write whose disk has failed never leaves: what waits for it is let go before it.
#[test]
fn what_waits_without_a_time_is_found_and_may_leave_first() {
    let mut rig = Rig::new();
    let whole = rig.write(0, 4096);
    let (read, part, behind) = (rig.read(0, 8192), rig.write(100, 50), rig.write(0, 4096));
    let (_free, timed) = (rig.read(65_536, 4096), rig.write(4096, 4096));
    let mut found = Vec::new();
    while let Some(next) = rig.table.next_waiting(found.last().map_or(0, |last| last + 1)) {
        found.push(next);
    }
    found.sort_unstable();
    let mut waiting = [read, part, behind];
    waiting.sort_unstable();
    assert_eq!(found, waiting, "neither what waits for nothing nor what has its time");
    waiting.iter().for_each(|id| rig.leave(*id));
    rig.land(timed);
    assert_eq!(rig.table.next_waiting(0), None);
    assert!(!rig.steps.join.contains(&behind) && !rig.table.is_empty());
    rig.land(whole);
}

#[test]
fn a_partial_write_reads_its_block_when_it_stands_alone() {
    let mut rig = Rig::new();
    let whole = rig.write(0, 4096);
    let part = rig.write(100, 50);
    assert_eq!(rig.steps.join, [whole]);
    assert_eq!(rig.disk_reads(), 0);
    rig.land(whole);
    assert_eq!(rig.disk_reads(), 1);
    assert!(!rig.steps.join.contains(&part), "it has no data yet");
}

/// Decision 0007: else the last write could be journaled before the partial one, and the ring could never be freed.
#[test]
fn a_write_behind_a_read_behind_an_untimed_write_takes_no_time_before_it() {
    let mut rig = Rig::new();
    let whole = rig.write(0, 4096);
    rig.write(100, 50);
    let read = rig.read(0, 40_960);
    let last = rig.write(32_768, 4096);
    assert_eq!(
        rig.steps.join,
        [whole],
        "the last write overlaps the read only, which waits for the partial write"
    );
    let free = rig.write(65_536, 4096);
    assert_eq!(rig.steps.join, [whole, free]);
    let _ = (read, last);
}

#[test]
fn a_request_is_answered_once() {
    let mut rig = Rig::new();
    let write = rig.write(0, 4096);
    assert!(rig.table.take_request(write).is_some());
    assert_eq!(rig.table.take_request(write), None);
    let mut reported = 0;
    rig.table.abandon(|_| reported += 1);
    assert_eq!((reported, rig.table.len()), (0, 0));
}

/// Places in the table are used again in another order than hosts ask: of two writes of one range, the earlier one would win.
#[test]
fn what_another_role_takes_comes_in_the_order_in_which_hosts_asked() {
    let mut rig = Rig::new();
    let before = [0, 4096, 8192].map(|offset| rig.write(offset, 4096));
    before.iter().for_each(|id| rig.land(*id));
    let (whole, part, read, last) =
        (rig.write(0, 8192), rig.write(100, 50), rig.read(0, 4096), rig.write(4096, 4096));
    assert!(part < whole || last < read, "their places say nothing of their order");
    let taken = rig.table.take_requests();
    assert_eq!(taken.iter().map(|request| request.id.0).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert!(rig.table.is_empty());
}

#[test]
fn what_is_copied_is_read_when_earlier_writes_have_landed_and_before_later_ones_take_their_time() {
    for digest in [false, true] {
        let mut rig = Rig::new();
        let first = rig.write(0, 8192);
        let mut context = Context { now: Now::default(), buffers: &mut Heap, effects: &mut rig.effects };
        let into = Heap.take(8192).unwrap();
        let place = (4096, 8192);
        let copy = rig.table.enter_copy(&mut context, VolumeId(1), place, digest, into, &mut rig.steps);
        let copy = copy.unwrap();
        let later = rig.write(8192, 4096);
        assert_eq!(
            (rig.disk_reads(), &rig.steps.join[..]),
            (0, &[first][..]),
            "an earlier write has not landed"
        );
        rig.steps.join.clear();
        rig.land(first);
        assert_eq!((rig.disk_reads(), rig.steps.join.len()), (1, 0));
        let mut read = Heap.take(8192).unwrap();
        read.set_filled(8192);
        let token = Token(1 << 56 | SIDE_COPY << SIDE_SHIFT | u64::from(copy));
        assert!(rig.table.on_disk(token, Ok(Some(read)), &mut rig.steps).is_none());
        assert_eq!(rig.steps.join, [copy], "it takes its time before what comes later");
        assert_eq!(rig.table.view(copy).map(|view| view.kind), Some(OpKind::Copy { digest }));
        rig.leave(copy);
        assert_eq!(rig.steps.join, [copy, later]);
    }
}
