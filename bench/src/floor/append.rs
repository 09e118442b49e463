//! The disk's part of the floor: durable writes to one file, past the page cache, one behind the other or anywhere.

use anyhow::{Context, Result};
use midspan::hammer::random::Seeded;
use midspan_uring::clock::boottime_ns;
use midspan_uring::file::Access;
use midspan_uring::{Class, File, FileId, Ring};
use std::path::Path;

use crate::engine;
use crate::window::{Tally, Window};

/// Where writes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One behind the other, round and round, as in a ring.
    Sequential,
    /// Anywhere, at multiples of a write's size.
    Random,
}

/// Positions of one write after the other.
#[derive(Debug)]
pub struct Positions {
    size: u64,
    next: u64,
    random: Option<Seeded>,
}

impl Positions {
    /// From the start of a file of this size.
    pub fn new(size: u64) -> Self {
        Self { size, next: 0, random: None }
    }

    /// Anywhere in a file of this size.
    pub fn anywhere(size: u64) -> Self {
        Self { random: Some(Seeded::new(1, 4)), ..Self::new(size) }
    }

    /// Where the next `len` bytes go: behind the last ones, or at the start again if they do not fit there.
    pub fn advance(&mut self, len: usize) -> u64 {
        let len = len as u64;
        if let Some(random) = &mut self.random {
            return random.below((self.size / len.max(1)).max(1)) * len;
        }
        let at = if self.next + len > self.size { 0 } else { self.next };
        self.next = at + len;
        at
    }
}

/// Opens the file for a ring: directly and exclusively, as a node opens its journal disk.
///
/// # Errors
/// What the kernel says, or that the file is smaller than one append.
pub fn open(ring: &mut Ring, path: &Path, append_bytes: usize) -> Result<(FileId, Positions)> {
    let file = File::open(path, Access::default())?;
    let size = file.size();
    anyhow::ensure!(size >= append_bytes as u64, "{} is smaller than one append", path.display());
    Ok((ring.add_file(file)?, Positions::new(size)))
}

/// Keeps `in_flight` durable appends of `append_bytes` under way. Runs on the calling thread, which is pinned.
///
/// # Errors
/// What the kernel says.
pub fn measure(
    path: &Path,
    append_bytes: usize,
    in_flight: usize,
    core: usize,
    window: Window,
) -> Result<Tally> {
    measure_ordered(path, append_bytes, in_flight, core, window, Order::Sequential)
}

/// As [`measure`], of writes in any order.
///
/// # Errors
/// What the kernel says.
pub fn measure_ordered(
    path: &Path,
    append_bytes: usize,
    in_flight: usize,
    core: usize,
    window: Window,
    order: Order,
) -> Result<Tally> {
    let mut ring = engine::ring(core, &[Class { size: append_bytes, count: in_flight }])?;
    let (file, mut positions) = open(&mut ring, path, append_bytes)?;
    if order == Order::Random {
        positions = Positions::anywhere(positions.size);
    }
    let mut tally = Tally::new(window, boottime_ns())?;
    for _ in 0..in_flight {
        let mut buf = engine::take(&ring, append_bytes)?;
        buf.set_filled(append_bytes);
        ring.write(file, buf, 0..append_bytes, positions.advance(append_bytes), true, boottime_ns())?;
    }
    while ring.in_flight() > 0 {
        let done = engine::next(&mut ring, "appends")?;
        let now = boottime_ns();
        done.result.with_context(|| format!("a durable write to {}", path.display()))?;
        tally.complete(done.user, now);
        if !tally.is_over(now) {
            let buf = done.buf.context("a write gives its buffer back")?;
            ring.write(file, buf, 0..append_bytes, positions.advance(append_bytes), true, now)?;
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_round_and_never_beyond_the_end() {
        let mut positions = Positions::new(10_000);
        let found: Vec<u64> = (0..4).map(|_| positions.advance(4096)).collect();
        assert_eq!(found, [0, 4096, 0, 4096]);
        assert_eq!(Positions::new(4096).advance(4096), 0);
    }

    #[test]
    fn anywhere_is_within_the_file_aligned_and_not_one_place() {
        let mut positions = Positions::anywhere(1 << 20);
        let found: std::collections::BTreeSet<u64> = (0..1000).map(|_| positions.advance(4096)).collect();
        assert!(found.iter().all(|at| at.is_multiple_of(4096) && at + 4096 <= 1 << 20) && found.len() > 200);
    }
}
