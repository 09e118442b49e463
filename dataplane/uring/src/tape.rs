//! A ring of fixed-size records that one thread writes for ever and others copy without stopping it.
//!
//! The writer pays a few plain stores for a record and waits for nobody. A reader takes what is whole, and is told how many
//! records it came too late for. `words` explains why no torn record gets out; a loom model checks it.

use std::sync::Arc;

/// What the loom model replaces.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

mod words;

use words::Words;
pub use words::{Copied, RECORD_WORDS, Record};

/// The writing end: one thread's.
pub struct Writer {
    words: Arc<Words>,
    written: u64,
}

/// The reading end. Any number of clones, on any thread.
#[derive(Clone)]
pub struct Reader {
    words: Arc<Words>,
}

/// A tape that keeps the last `records` records, at least one.
#[must_use]
pub fn tape(records: usize) -> (Writer, Reader) {
    let words = Arc::new(Words::new(records.max(1)));
    (Writer { words: Arc::clone(&words), written: 0 }, Reader { words })
}

impl Writer {
    /// Writes a record over the oldest one.
    pub fn push(&mut self, record: Record) {
        self.words.push(self.written, record);
        self.written += 1;
    }
}

impl Reader {
    /// Appends the records from number `from` on (counted from the first ever written), at most `limit` of them, to `into`.
    /// A number beyond what was written starts at the oldest record that is kept.
    pub fn copy(&self, from: u64, limit: usize, into: &mut Vec<Record>) -> Copied {
        self.words.copy(from, limit, into)
    }

    /// Number of records ever written: a reader that wants only what comes from now on begins there.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.words.written()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("written", &self.written()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: u64) -> Record {
        [number; RECORD_WORDS]
    }

    #[test]
    fn a_reader_that_comes_in_time_gets_every_record_once() {
        let (mut writer, reader) = tape(8);
        let (mut next, mut seen) = (0, Vec::new());
        for number in 0..100 {
            writer.push(numbered(number));
            if number % 5 == 4 {
                let copied = reader.copy(next, 100, &mut seen);
                assert_eq!(copied.lost, 0);
                next = copied.next;
            }
        }
        assert_eq!(seen, (0..100).map(numbered).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_comes_late_is_told_what_it_missed() {
        let (mut writer, reader) = tape(8);
        (0..20).for_each(|number| writer.push(numbered(number)));
        let mut seen = Vec::new();
        let copied = reader.copy(3, 100, &mut seen);
        // The place that the next record goes to could be written at any moment: it is not trusted.
        assert_eq!((copied.next, copied.lost), (20, 10));
        assert_eq!(seen, (13..20).map(numbered).collect::<Vec<_>>());
    }

    #[test]
    fn a_limit_leaves_the_rest_for_the_next_copy() {
        let (mut writer, reader) = tape(8);
        (0..6).for_each(|number| writer.push(numbered(number)));
        let mut seen = Vec::new();
        let first = reader.copy(0, 4, &mut seen);
        let second = reader.copy(first.next, 4, &mut seen);
        assert_eq!((first.next, second.next, seen.len()), (4, 6, 6));
    }

    #[test]
    fn a_number_from_another_life_begins_at_the_oldest_record() {
        let (mut writer, reader) = tape(8);
        (0..3).for_each(|number| writer.push(numbered(number)));
        let mut seen = Vec::new();
        let copied = reader.copy(1000, 100, &mut seen);
        assert_eq!((copied.next, copied.lost, seen.len()), (3, 0, 3));
    }
}
