//! Model check of the tape: in every interleaving and every permitted reordering, what a reader gets was written so.
#![allow(missing_docs, dead_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::sync::Arc;

use loom::thread;

/// What `words.rs` finds as its `super::atomic`: loom's in place of the standard library's.
mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[path = "../src/tape/words.rs"]
mod words;

use words::{RECORD_WORDS, Words};

/// A writer that goes around a tape of `size` records while a reader copies `copies` times.
fn nothing_torn_gets_out(size: usize, records: u64, copies: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let words = Arc::new(Words::new(size));
        let writer = {
            let words = Arc::clone(&words);
            thread::spawn(move || (0..records).for_each(|n| words.push(n, [100 + n; RECORD_WORDS])))
        };
        let (mut next, mut seen) = (0, Vec::new());
        for _ in 0..copies {
            let (before, from) = (seen.len(), next);
            let copied = words.copy(from, 8, &mut seen);
            next = copied.next;
            assert_eq!((seen.len() - before) as u64, next - from - copied.lost);
            for (record, number) in seen[before..].iter().zip(from + copied.lost..) {
                assert_eq!(*record, [100 + number; RECORD_WORDS], "torn, or not the record of that number");
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn no_torn_record_is_copied_from_a_tape_that_wraps() {
    nothing_torn_gets_out(2, 3, 1);
}

#[test]
fn a_reader_that_goes_on_gets_each_record_at_most_once() {
    nothing_torn_gets_out(2, 2, 2);
}
