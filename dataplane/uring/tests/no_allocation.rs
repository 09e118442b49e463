//! After warm-up the engine allocates nothing: ten thousand operations of every common kind under a counting allocator.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use midspan_uring::{Config, Kind, Ring};
use rig::{Scratch, add, filled, next, tcp_pair};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One turn of ten operations: durable, vectored and plain writes, a read, and a message both ways.
fn turn(ring: &mut Ring, file: midspan_uring::FileId, sockets: [midspan_uring::SocketId; 2], number: u64) {
    let offset = number % 64 * 65536;
    let buf = filled(ring, 65536, 1);
    ring.write(file, buf.clone(), 0..4096, offset, true, 0).unwrap();
    ring.write(file, buf.clone(), 0..65536, offset, false, 0).unwrap();
    let parts = [(buf.clone(), 0..4096), (buf.clone(), 8192..16384)];
    ring.write_vectored(file, &parts, offset, true, 0).unwrap();
    ring.read(file, ring.pool().take(4096).unwrap(), 4096, offset, 0).unwrap();
    for (from, to) in [(0, 1), (1, 0)] {
        ring.send(sockets[from], &parts, 0).unwrap();
        ring.send(sockets[from], &[(buf.clone(), 0..40)], 0).unwrap();
        ring.recv_exact(sockets[to], ring.pool().take(12328).unwrap(), 12328, 0).unwrap();
    }
    for _ in 0..10 {
        let done = next(ring);
        assert!(done.result.is_ok(), "{done:?}");
        assert_eq!(done.buf.is_some(), !matches!(done.kind, Kind::Send) && (done.result != Ok(12288)));
    }
}

#[test]
fn ten_thousand_operations_allocate_nothing() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 8 << 20);
    let config = Config { entries: 8, operations: 64, vectors: 16, descriptors: 8 };
    let mut ring = Ring::new(config, &rig::pool()).unwrap();
    let file = add(&mut ring, &path);
    let (peer, left) = tcp_pair(&mut ring);
    let right = ring.add_socket(midspan_uring::Socket::adopt(peer.into()).unwrap()).unwrap();
    turn(&mut ring, file, [left, right], 0);
    let before = ALLOCATIONS.with(Cell::get);
    for number in 0..1000 {
        turn(&mut ring, file, [left, right], number);
    }
    let after = ALLOCATIONS.with(Cell::get);
    assert_eq!(after - before, 0, "allocations in 10000 operations");
    assert!(before > 0, "the allocator counts");
}
