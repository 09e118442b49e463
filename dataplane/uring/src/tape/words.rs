//! The shared words of a tape: every one an atomic, so a race can tear a record and nothing else. Model-checked by
//! `tests/tape_model.rs`.
//!
//! Why no torn record gets out: record `n` overwrites record `n - size`. The writer publishes that it has completed
//! `n - 1` (the count becomes `n`), then passes a release fence, then writes the words of `n`. A reader that has loaded any
//! of those words passes an acquire fence and loads the count again: the fences synchronise, so it sees at least `n`, and
//! gives up all records up to `n - size`. That a record it keeps is complete, it knows from the first load of the count.

use super::atomic::{AtomicU64, Ordering, fence};

/// Words of a record.
pub const RECORD_WORDS: usize = 5;

/// One record.
pub type Record = [u64; RECORD_WORDS];

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Where the next copy goes on.
    pub next: u64,
    /// Records that were overwritten before they could be copied.
    pub lost: u64,
}

/// See the module.
pub(super) struct Words {
    cells: Box<[[AtomicU64; RECORD_WORDS]]>,
    /// Records completed.
    count: AtomicU64,
}

impl Words {
    pub(super) fn new(records: usize) -> Words {
        let cell = |_| std::array::from_fn(|_| AtomicU64::new(0));
        Words { cells: (0..records).map(cell).collect(), count: AtomicU64::new(0) }
    }

    pub(super) fn written(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Writes record `number`. Called by one thread, with numbers that count up from 0.
    pub(super) fn push(&self, number: u64, record: Record) {
        fence(Ordering::Release);
        if let Some(cell) = self.cells.get(self.place(number)) {
            for (word, value) in cell.iter().zip(record) {
                word.store(value, Ordering::Relaxed);
            }
        }
        self.count.store(number + 1, Ordering::Release);
    }

    pub(super) fn copy(&self, from: u64, limit: usize, into: &mut Vec<Record>) -> Copied {
        let size = self.cells.len() as u64;
        let count = self.count.load(Ordering::Acquire);
        let oldest = count.saturating_sub(size);
        let from = if from > count { oldest } else { from };
        let first = from.max(oldest);
        let end = count.min(first.saturating_add(limit as u64));
        let before = into.len();
        for number in first..end {
            let Some(cell) = self.cells.get(self.place(number)) else { break };
            into.push(std::array::from_fn(|at| cell.get(at).map_or(0, |word| word.load(Ordering::Relaxed))));
        }
        fence(Ordering::Acquire);
        let now = self.count.load(Ordering::Relaxed);
        // The writer may be at record `now` already, over `now - size`.
        let intact = (now + 1).saturating_sub(size).clamp(first, end);
        let torn = usize::try_from(intact - first).unwrap_or(usize::MAX).min(into.len() - before);
        into.drain(before..before + torn);
        Copied { next: end, lost: intact - from }
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number % self.cells.len() as u64).unwrap_or(0)
    }
}
