//! What only the inside can show: flags on entries, how short results are continued.

use super::*;
use crate::op::Kind;
use crate::pool::Class;

fn ring() -> Ring {
    let pool = Pool::new(&[Class { size: 8192, count: 8 }], false).unwrap();
    Ring::new(Config { entries: 8, operations: 16, vectors: 4, descriptors: 4 }, &pool).unwrap()
}

/// A field of an entry as it goes to the kernel (`struct io_uring_sqe`, 64 bytes).
fn field<const N: usize>(entry: &squeue::Entry, at: usize) -> [u8; N] {
    // SAFETY: an entry is a `repr(C)` struct of 64 initialised bytes (the kernel's layout, asserted by io-uring itself).
    let bytes: [u8; 64] = unsafe { std::mem::transmute_copy(entry) };
    bytes[at..at + N].try_into().unwrap()
}

/// Opcodes and field positions of the kernel's interface.
const READ_FIXED: u8 = 4;
const WRITE_FIXED: u8 = 5;
const FIXED_FILE: u8 = 1;
const RW_FLAGS: usize = 28;

fn written(durable: bool) -> squeue::Entry {
    let buf = ring().pool.take(1).unwrap();
    let op = Op::new(0, 3, 4096, Work::Write { buf, start: 0, offset: 4096, durable });
    entry::file_entry(&op, &mut Vectors::new(1))
}

#[test]
fn a_durable_write_carries_the_kernels_flag() {
    assert_eq!(field(&written(true), RW_FLAGS), libc::RWF_DSYNC.to_ne_bytes());
    assert_eq!(field(&written(false), RW_FLAGS), [0; 4]);
    let mut vectors = Vectors::new(1);
    let vector = vectors.take().unwrap();
    for chunk in [None, Some(0)] {
        let op = Op::new(0, 3, 4096, Work::WriteVectored { vector, offset: 0, durable: true, chunk });
        assert_eq!(field(&entry::file_entry(&op, &mut vectors), RW_FLAGS), libc::RWF_DSYNC.to_ne_bytes());
    }
}

#[test]
fn reads_and_writes_use_registered_buffers_and_files() {
    let entry = written(true);
    assert_eq!((field(&entry, 0), field(&entry, 1)), ([WRITE_FIXED], [FIXED_FILE]));
    let buf = ring().pool.take(1).unwrap();
    let op = Op::new(0, 3, 4096, Work::Read { buf, offset: 0 });
    let entry = entry::file_entry(&op, &mut Vectors::new(1));
    assert_eq!((field(&entry, 0), field(&entry, 1)), ([READ_FIXED], [FIXED_FILE]));
    assert_eq!(field(&entry, 4), 3_u32.to_ne_bytes());
}

/// Puts an operation into the ring as if it had been submitted, and gives it one answer of the kernel after another.
/// What comes of the answers is looked at before the ring submits anything.
fn answers(ring: &mut Ring, work: Work, total: u32, results: &[i32]) -> Option<Completion> {
    let id = ring.ops.insert(Op::new(7, NONE, total, work)).unwrap();
    let mut end = None;
    for &result in results {
        assert!(end.is_none(), "ended before its last answer");
        end = ring.on_step(id, result);
        // Whatever `on_step` has queued for the kernel is not to be: the test plays the kernel.
        ring.submitted = 0;
    }
    end
}

/// The ring of these tests has entries that must never be submitted.
fn abandon(ring: Ring) {
    std::mem::forget(ring);
}

#[test]
fn short_writes_are_continued_to_the_end() {
    let mut ring = ring();
    let mut buf = ring.pool.take(1).unwrap();
    buf.set_filled(8192);
    let work = |buf| Work::Write { buf, start: 0, offset: 0, durable: true };
    let done = answers(&mut ring, work(buf.clone()), 8192, &[4096, 512, -libc::EINTR, 3584]).unwrap();
    assert_eq!((done.result, done.user, done.kind), (Ok(8192), 7, Kind::Write));
    let done = answers(&mut ring, work(buf.clone()), 8192, &[4096, -libc::ENOSPC]).unwrap();
    assert_eq!(done.result, Err(Errno::NO_SPACE));
    let done = answers(&mut ring, work(buf.clone()), 8192, &[4096, 0]).unwrap();
    assert_eq!(done.result, Err(Errno::IO));
    abandon(ring);
}

#[test]
fn a_short_write_is_not_continued_when_the_ring_ends() {
    let mut ring = ring();
    let mut buf = ring.pool.take(1).unwrap();
    buf.set_filled(8192);
    ring.draining = true;
    let done =
        answers(&mut ring, Work::Write { buf, start: 0, offset: 0, durable: true }, 8192, &[4096]).unwrap();
    assert_eq!(done.result, Err(Errno::CANCELED));
    abandon(ring);
}

#[test]
fn short_reads_are_continued_until_the_file_ends() {
    let mut ring = ring();
    for (results, expected) in [(&[4096, 4096][..], 8192), (&[4096, 0], 4096), (&[0], 0)] {
        let buf = ring.pool.take(1).unwrap();
        assert!(buf.begin_receive());
        let done = answers(&mut ring, Work::Read { buf, offset: 0 }, 8192, results).unwrap();
        assert_eq!((done.result, done.buf.unwrap().filled()), (Ok(expected), expected as usize));
    }
    abandon(ring);
}

#[test]
fn unmapping_falls_back_to_writing_zeroes() {
    let mut ring = ring();
    let zero = |unmap| Work::Zero { offset: 0, len: 4096, unmap };
    assert_eq!(answers(&mut ring, zero(true), 0, &[-libc::EOPNOTSUPP, 0]).unwrap().result, Ok(0));
    let refused = answers(&mut ring, zero(false), 0, &[-libc::EOPNOTSUPP]).unwrap();
    assert_eq!(refused.result, Err(Errno::NOT_SUPPORTED));
    abandon(ring);
}
