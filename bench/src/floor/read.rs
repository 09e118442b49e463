//! The disk's part of a read: the same requests on a file, past the page cache, with nothing in between.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use midspan::hammer::random::Seeded;
use midspan_uring::clock::boottime_ns;
use midspan_uring::file::Access;
use midspan_uring::{Class, File};

use crate::engine;
use crate::floor::append::Positions;
use crate::window::{Tally, Window};

/// Reads that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Anywhere, at multiples of their size, instead of one behind the other.
    pub is_random: bool,
    /// Bytes of a read.
    pub bytes: usize,
    /// Reads under way.
    pub depth: usize,
}

/// Keeps reads of the file under way, from a thread of its own on this core.
///
/// # Errors
/// What the kernel says.
pub fn measure(path: &Path, reads: Reads, core: usize, window: Window) -> Result<Tally> {
    let running = || run(path, reads, core, window);
    let ended = std::thread::scope(|scope| scope.spawn(running).join());
    ended.map_err(|_| anyhow::anyhow!("a measuring thread has panicked"))?
}

fn run(path: &Path, reads: Reads, core: usize, window: Window) -> Result<Tally> {
    let Reads { is_random, bytes, depth } = reads;
    let mut ring = engine::ring(core, &[Class { size: bytes, count: depth }])?;
    let file = File::open(path, Access::default())?;
    let size = file.size();
    ensure!(bytes > 0 && size >= bytes as u64, "{} is smaller than one read", path.display());
    let file = ring.add_file(file)?;
    let (mut random, mut positions) = (Seeded::new(1, 0), Positions::new(size));
    let mut offset = || {
        if is_random { random.below(size / bytes as u64) * bytes as u64 } else { positions.advance(bytes) }
    };
    let mut tally = Tally::new(window, boottime_ns())?;
    for _ in 0..depth {
        let buf = engine::take(&ring, bytes)?;
        ring.read(file, buf, bytes, offset(), boottime_ns())?;
    }
    while ring.in_flight() > 0 {
        let done = engine::next(&mut ring, "reads")?;
        let now = boottime_ns();
        done.result.with_context(|| format!("a read of {}", path.display()))?;
        tally.complete(done.user, now);
        if !tally.is_over(now) {
            let mut buf = done.buf.context("a read gives its buffer back")?;
            buf.set_filled(0);
            ring.read(file, buf, bytes, offset(), now)?;
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reads_of_a_file_are_counted_and_a_file_that_is_too_small_is_named() {
        let path = std::env::temp_dir().join(format!("midspan-floor-read-{}", std::process::id()));
        File::preallocate(&path, 1 << 20, &mut |_| {}).unwrap();
        let of = |millis| Window { warm: Duration::ZERO, measured: Duration::from_millis(millis) };
        let core = *midspan_uring::affinity::current_cores().first().unwrap();
        for is_random in [true, false] {
            let reads = Reads { is_random, bytes: 4096, depth: 4 };
            // A busy machine may give this process nothing for a while.
            let counts = |millis| measure(&path, reads, core, of(millis)).unwrap().latencies().count() > 0;
            assert!([20, 200, 2_000, 10_000].into_iter().any(counts));
        }
        let reads = Reads { is_random: true, bytes: 2 << 20, depth: 1 };
        let error = measure(&path, reads, core, of(20)).unwrap_err().to_string();
        assert!(error.contains("smaller than one read"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
