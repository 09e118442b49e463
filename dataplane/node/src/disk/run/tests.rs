//! Neighbours on a real file with direct I/O: one operation, every token answered, every byte in its place.

use std::path::PathBuf;
use std::time::Duration;

use midspan_format::ids::VolumeId;
use midspan_protocol::vocab::buffer::{Buffer, Buffers, Slice};
use midspan_protocol::vocab::effect::{Disk, Token};
use midspan_uring::file::Access;
use midspan_uring::{Class, Config, File, Pool, Ring};

use super::*;
use crate::buffers::{PoolBuf, PoolBuffers};
use crate::disk::Request;
use crate::event::{Event, Owner};

const BLOCK: usize = 4096;
const BLOCKS: usize = 256;

struct Rig {
    ring: Ring,
    buffers: PoolBuffers,
    disks: Disks,
    events: Events,
    counters: Counters,
    path: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn rig(name: &str, capacity: usize, access: Access) -> Rig {
    let path = std::env::temp_dir().join(format!("midspan-run-{name}-{}", std::process::id()));
    std::fs::write(&path, vec![0; BLOCKS * BLOCK]).unwrap();
    let pool = Pool::new(&[Class { size: BLOCK, count: 512 }], false).unwrap();
    let config = Config { entries: 64, operations: 512, vectors: 64, descriptors: 8 };
    let mut ring = Ring::new(config, &pool).unwrap();
    let mut disks = Disks::new(capacity);
    let file = File::open(&path, access).unwrap();
    let disk = disks.add(&mut ring, file).unwrap();
    disks.set_volume(Owner::Group(0), VolumeId(1), disk);
    let buffers = PoolBuffers::new(pool);
    Rig { ring, buffers, disks, events: Events::new(), counters: Counters::default(), path }
}

impl Rig {
    /// A block full of `fill` at block `at`, which nobody waits for; its token is `fill`.
    fn write(&mut self, at: usize, fill: u8) {
        let mut buf = self.buffers.take(BLOCK).unwrap();
        buf.bytes_mut().unwrap().fill(fill);
        buf.set_filled(BLOCK);
        let data: Slice<PoolBuf> = Slice::new(buf, 0..BLOCK);
        let op = DiskOp::Write { offset: (at * BLOCK) as u64, data, durable: false };
        let (owner, disk, token) = (Owner::Group(0), Disk::Volume(VolumeId(1)), Token(u64::from(fill)));
        let request = Request { owner, disk, token, op, awaited: false };
        self.disks.start(&mut self.ring, &mut self.events, 0, request);
    }

    /// Runs until nothing is under way; the tokens that ended, in order.
    fn settle(&mut self, succeeds: bool) -> Vec<u64> {
        let mut ended = Vec::new();
        while self.disks.in_flight() > 0 {
            self.disks.retry(&mut self.ring, &mut self.buffers, &mut self.events, 0);
            self.ring.wait(1, Some(Duration::from_secs(10))).unwrap();
            while let Some(completion) = self.ring.next_completion() {
                let Rig { ring, buffers, disks, events, counters, .. } = self;
                disks.on_completion(ring, buffers, events, counters, 0, completion);
            }
            while let Some(event) = self.events.pop_front() {
                let Event::Disk { token, result, .. } = event else { panic!("no disk event: {event:?}") };
                assert_eq!(matches!(result, Ok(None)), succeeds, "{result:?}");
                ended.push(token.0);
            }
        }
        ended
    }

    /// First byte of each of these blocks of the file.
    fn blocks(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        let bytes = std::fs::read(&self.path).unwrap();
        range.map(|at| bytes[at * BLOCK]).collect()
    }
}

#[test]
fn neighbours_are_written_as_one_and_each_is_told() {
    let mut rig = rig("neighbours", 256, Access::default());
    for fill in 1..=16 {
        rig.write(usize::from(fill), fill);
    }
    let ended = rig.settle(true);
    assert_eq!(ended, (1..=16).collect::<Vec<u64>>());
    assert_eq!(rig.blocks(0..18), [&[0][..], &(1..=16).collect::<Vec<u8>>(), &[0]].concat());
    assert_eq!(rig.counters.runs.get(), 1);
    assert_eq!((rig.disks.runs, rig.disks.background.waiting()), (0, 0));
}

#[test]
fn a_gap_and_the_longest_run_end_a_run() {
    let mut rig = rig("gap", 256, Access::default());
    let most = u8::try_from(RUN_BYTES / BLOCK as u64).unwrap();
    // One more than fits, then a gap, then one that goes backwards.
    for fill in 1..=most + 1 {
        rig.write(usize::from(fill), fill);
    }
    rig.write(100, 101);
    rig.write(99, 102);
    assert_eq!(rig.settle(true).len(), usize::from(most) + 3);
    assert_eq!(rig.counters.runs.get(), 1, "what stands alone is no run");
    assert_eq!(rig.blocks(1..66), (1..=65).collect::<Vec<u8>>());
    assert_eq!(rig.blocks(98..102), [0, 102, 101, 0]);
}

#[test]
fn a_full_table_of_operations_shortens_runs_and_loses_nothing() {
    let mut rig = rig("full", 5, Access::default());
    for fill in 1..=5 {
        rig.write(usize::from(fill), fill);
    }
    assert_eq!(rig.settle(true), [1, 2, 3, 4, 5]);
    assert_eq!(rig.blocks(1..6), [1, 2, 3, 4, 5]);
}

#[test]
fn a_run_that_fails_fails_whole_and_is_reported_once() {
    let mut rig = rig("fails", 256, Access { write: false, ..Access::default() });
    (1..=4).for_each(|fill| rig.write(usize::from(fill), fill));
    assert_eq!(rig.settle(false), [1, 2, 3, 4]);
    assert!(rig.disks.take_failure().is_some_and(|failure| failure.offset == BLOCK as u64));
    assert!(rig.disks.take_failure().is_none());
    assert_eq!((rig.disks.runs, rig.counters.disk_failures.get()), (0, 4));
}
