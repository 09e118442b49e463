//! What a run of `verify` has found so far: at the secondary as it compares, at the primary as receipts tell it.
//!
//! It only grows while a run lasts, so the newest receipt says all that lost ones said. It lies in memory: after a restart of
//! the secondary less is compared than was sent, and the primary says so.

use alloc::vec::Vec;

use midspan_format::checked::ReceiptView;
use midspan_format::receipt::{Difference, MAX_DIFFERENCES};

/// The tally.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Names the run; a later one has a greater name.
    pub run: u64,
    /// Bytes that were compared.
    pub compared: u64,
    /// Of them, bytes of records that do not match.
    pub different: u64,
    list: Vec<Difference>,
}

impl Tally {
    /// Nothing was compared.
    pub fn new() -> Self {
        Self { run: 0, compared: 0, different: 0, list: Vec::with_capacity(MAX_DIFFERENCES) }
    }

    /// Where the differences lie, as far as there was room; ranges that touch are one.
    pub fn differences(&self) -> &[Difference] {
        &self.list
    }

    /// A range was compared.
    pub fn on_compared(&mut self, run: u64, range: Difference, same: bool) {
        if !self.is_of(run) {
            return;
        }
        self.compared += range.length;
        if !same {
            self.different += range.length;
            self.add(range);
        }
    }

    /// A receipt tells of it.
    pub fn on_told(&mut self, receipt: &ReceiptView<'_>) {
        if receipt.run == 0 || !self.is_of(receipt.run) {
            return;
        }
        self.compared = self.compared.max(receipt.compared);
        self.different = self.different.max(receipt.different);
        for found in receipt.differences.iter() {
            self.add(found);
        }
    }

    /// Whether something belongs to the newest run, which begins with it if it is newer.
    fn is_of(&mut self, run: u64) -> bool {
        if run > self.run {
            (self.run, self.compared, self.different) = (run, 0, 0);
            self.list.clear();
        }
        run == self.run
    }

    /// Adds a range, one with all that it touches.
    fn add(&mut self, mut range: Difference) {
        while let Some(at) = self.list.iter().position(|known| touches(known, &range)) {
            let known = self.list.swap_remove(at);
            let end = range.end().max(known.end());
            range.offset = range.offset.min(known.offset);
            range.length = end - range.offset;
            range.time = range.time.max(known.time);
        }
        if self.list.len() < MAX_DIFFERENCES {
            self.list.push(range);
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

fn touches(one: &Difference, other: &Difference) -> bool {
    one.volume == other.volume && one.offset <= other.end() && other.offset <= one.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 1 << 17;

    fn piece(volume: u32, number: u64) -> Difference {
        Difference { time: 10 + number, offset: number * PIECE, length: PIECE, volume, reserved: 0 }
    }

    #[test]
    fn ranges_that_touch_are_one_in_whatever_order_they_are_found() {
        let mut tally = Tally::new();
        for number in [0, 2, 5, 1] {
            tally.on_compared(7, piece(1, number), false);
        }
        tally.on_compared(7, piece(2, 3), false);
        tally.on_compared(7, piece(1, 3), true);
        let mut found: Vec<_> =
            tally.differences().iter().map(|d| (d.volume, d.offset / PIECE, d.length / PIECE)).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 0, 3), (1, 5, 1), (2, 3, 1)]);
        assert_eq!((tally.compared, tally.different), (6 * PIECE, 5 * PIECE));
    }

    #[test]
    fn a_newer_run_begins_anew_and_an_older_one_says_nothing_more() {
        let mut tally = Tally::new();
        tally.on_compared(7, piece(1, 0), false);
        tally.on_compared(8, piece(1, 1), true);
        tally.on_compared(7, piece(1, 2), false);
        assert_eq!((tally.run, tally.compared, tally.different), (8, PIECE, 0));
        assert!(tally.differences().is_empty());
    }

    #[test]
    fn what_finds_no_room_in_the_list_still_counts() {
        let mut tally = Tally::new();
        let many = MAX_DIFFERENCES as u64 + 5;
        for number in 0..many {
            tally.on_compared(7, piece(1, number * 2), false);
        }
        assert_eq!(tally.differences().len(), MAX_DIFFERENCES);
        assert_eq!(tally.different, many * PIECE);
    }
}
