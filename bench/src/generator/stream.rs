//! The stream of requests of one connection: read or write, and where.

use anyhow::{Result, ensure};
use midspan::hammer::random::Seeded;

use super::load::{Mix, Pattern, Work};

/// Of 100 requests of a mixed load these are reads.
const MIXED_READS: u64 = 70;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Read,
    /// Writes.
    Write,
}

/// One request after the other.
#[derive(Debug)]
pub struct Stream {
    pattern: Pattern,
    mix: Mix,
    bytes: u64,
    places: u64,
    next: u64,
    random: Seeded,
}

impl Stream {
    /// The `index`th of `count` streams on an export of `size` bytes.
    ///
    /// # Errors
    /// When a request does not fit on the export.
    pub fn new(work: &Work, size: u64, seed: u64, index: usize, count: usize) -> Result<Self> {
        let bytes = work.bytes as u64;
        ensure!(
            bytes > 0 && size >= bytes,
            "requests of {bytes} bytes do not fit on an export of {size} bytes"
        );
        let places = size / bytes;
        let next = places * index as u64 / count.max(1) as u64;
        // Streams with even numbers: content has the odd one.
        let random = Seeded::new(seed, 2 * index as u64);
        Ok(Self { pattern: work.pattern, mix: work.mix, bytes, places, next, random })
    }

    /// The next request's verb and offset.
    pub fn advance(&mut self) -> (Verb, u64) {
        let verb = match self.mix {
            Mix::Write | Mix::WriteFlush => Verb::Write,
            Mix::Read => Verb::Read,
            Mix::Mixed if self.random.below(100) < MIXED_READS => Verb::Read,
            Mix::Mixed => Verb::Write,
        };
        let place = match self.pattern {
            Pattern::Random => self.random.below(self.places),
            Pattern::Sequential => {
                let place = self.next;
                self.next = (self.next + 1) % self.places;
                place
            }
        };
        (verb, place * self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Arrival;
    use super::*;

    fn work(pattern: Pattern, mix: Mix) -> Work {
        Work { pattern, mix, bytes: 4096, depth: 1, arrival: Arrival::Closed }
    }

    #[test]
    fn requests_larger_than_the_export_are_refused() {
        let work = work(Pattern::Random, Mix::Write);
        assert!(Stream::new(&work, 4095, 1, 0, 1).is_err());
        let mut stream = Stream::new(&work, 8191, 1, 0, 1).unwrap();
        assert_eq!((stream.advance(), stream.advance()), ((Verb::Write, 0), (Verb::Write, 0)));
    }

    #[test]
    fn seven_of_ten_mixed_requests_are_reads() {
        let mut stream = Stream::new(&work(Pattern::Random, Mix::Mixed), 1 << 20, 1, 0, 1).unwrap();
        let reads = (0..10_000).filter(|_| stream.advance().0 == Verb::Read).count();
        assert!((6700..7300).contains(&reads), "{reads}");
    }

    #[test]
    fn sequential_streams_begin_at_different_places_and_go_round() {
        let work = work(Pattern::Sequential, Mix::Read);
        let offsets = |index| {
            let mut stream = Stream::new(&work, 4 * 4096, 1, index, 2).unwrap();
            let found: Vec<u64> = (0..5).map(|_| stream.advance().1 / 4096).collect();
            found
        };
        assert_eq!(offsets(0), [0, 1, 2, 3, 0]);
        assert_eq!(offsets(1), [2, 3, 0, 1, 2]);
    }

    #[test]
    fn random_streams_differ() {
        let work = work(Pattern::Random, Mix::Write);
        let offsets = |index| {
            let mut stream = Stream::new(&work, 1 << 30, 1, index, 2).unwrap();
            let found: Vec<u64> = (0..8).map(|_| stream.advance().1).collect();
            found
        };
        assert_ne!(offsets(0), offsets(1));
    }
}
