//! Writes that nobody waits for and that continue each other on the disk: given to the kernel as one.
//!
//! A host that writes one block behind the other, or a frame with several such records, costs a disk one operation then instead
//! of one each. Only what already waits is joined: nothing is held back to meet more.

use midspan_protocol::vocab::effect::DiskOp;
use midspan_uring::{Errno, MAX_PARTS, Ring};

use super::{Asked, Disks, Op, Work, has_room};
use crate::buffers::gather;
use crate::counters::Counters;
use crate::event::Events;
use crate::slab::Key;
use crate::tag;

/// Bytes of a run at most. More would make a durable write, which somebody waits for, stand behind it too long.
const RUN_BYTES: u64 = 256 * 1024;
/// Runs under way at most: each may take a vector of the ring.
pub const RUNS: usize = 64;

impl Asked {
    /// Where a write that may be joined begins and ends on the disk.
    fn extent(&self) -> Option<(u64, u64)> {
        match &self.op {
            DiskOp::Write { offset, data, durable: false } => Some((*offset, *offset + data.len() as u64)),
            DiskOp::Write { durable: true, .. }
            | DiskOp::Read { .. }
            | DiskOp::Flush
            | DiskOp::Zero { .. } => None,
        }
    }
}

impl Disks {
    /// Starts what has its turn, and with it those behind it in the line that continue it.
    pub(super) fn issue_run(&mut self, ring: &mut Ring, events: &mut Events, now: u64, first: Asked) {
        let Some((start, mut end)) = first.extent().filter(|_| self.runs < RUNS) else {
            return self.issue(ring, events, now, first);
        };
        let disk = first.disk;
        debug_assert!(self.run.is_empty(), "a run that was not given");
        self.run.push(first);
        while self.run.len() < MAX_PARTS.min(self.ops.room()) {
            let continues =
                |next: &Asked| next.extent().is_some_and(|(from, to)| from == end && to - start <= RUN_BYTES);
            let Some(next) = self.background.next_joined(disk, continues) else { break };
            end = next.extent().map_or(end, |(_, to)| to);
            self.run.push(next);
        }
        if self.run.len() > 1 {
            self.give_run(ring, events, now, start);
        } else if let Some(only) = self.run.pop() {
            self.issue(ring, events, now, only);
        }
    }

    /// Gives a run of two or more to the kernel.
    fn give_run(&mut self, ring: &mut Ring, events: &mut Events, now: u64, start: u64) {
        debug_assert!(has_room(ring, &self.ops), "asked before");
        self.gathered.clear();
        for asked in &self.run {
            if let DiskOp::Write { data, .. } = &asked.op {
                gather(&mut self.gathered, data.buffer().buf(), data.range());
            }
        }
        // From its end, so that each knows what stands behind it.
        let mut first = None;
        while let Some(asked) = self.run.pop() {
            let Some((offset, end)) = asked.extent() else { continue };
            let Asked { owner, disk, token, .. } = asked;
            let work = Work::Write { length: end - offset, durable: false };
            let turn = self.run.is_empty();
            let behind = first.map(|(key, _)| key);
            let inserted = self.ops.insert(Op { owner, token, disk, offset, since: now, work, turn, behind });
            debug_assert!(inserted.is_ok(), "room was counted");
            first = inserted.ok().map(|key| (key, disk)).or(first);
        }
        let Some((key, disk)) = first else { return };
        let Some(file) = self.open.get(disk).map(|open| open.id) else { return };
        let user = tag::user(tag::DISK, key.raw());
        let accepted = ring.write_vectored(file, &self.gathered, start, false, user);
        self.gathered.clear();
        match accepted {
            Ok(_) => self.runs += 1,
            Err(refused) => self.each_of_run(key, |disks, key| disks.on_refused(events, key, refused)),
        }
    }

    /// A write ended, and all that was written as one with it.
    pub(super) fn on_written(
        &mut self,
        events: &mut Events,
        counters: &Counters,
        now: u64,
        key: Key,
        result: Result<(), Errno>,
    ) {
        if self.ops.get(key).is_some_and(|op| op.behind.is_some()) {
            self.runs -= 1;
            counters.runs.add(1);
        }
        self.each_of_run(key, |disks, key| match result {
            Ok(()) => disks.finish(events, counters, now, key, Ok(None)),
            // Which part of it failed is not known: none of it counts as written.
            Err(errno) => disks.fail(events, counters, now, key, errno),
        });
    }

    fn each_of_run(&mut self, first: Key, mut end: impl FnMut(&mut Self, Key)) {
        let mut next = Some(first);
        while let Some(key) = next {
            next = self.ops.get(key).and_then(|op| op.behind);
            end(self, key);
        }
    }
}

#[cfg(test)]
mod tests;
