//! Counts a thread's allocations, so that a suite can show that a path makes none.
//!
//! Nothing is counted unless a program installs [`Counting`] as its allocator, which only suites do:
//!
//! ```
//! use midspan_uring::allocation::{Counting, count};
//!
//! #[global_allocator]
//! static COUNTING: Counting = Counting;
//!
//! let before = count();
//! drop(Box::new(1));
//! assert!(count() > before);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
#[derive(Debug)]
pub struct Counting;

/// Allocations and growths of the calling thread so far.
#[must_use]
pub fn count() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
