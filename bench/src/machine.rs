//! What the machine itself can do: copy, sum, and write durably anywhere.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use midspan::hammer::random::Seeded;
use midspan_format::checksum::checksum;
use midspan_uring::clock::boottime_ns;
use serde::Serialize;

use crate::figures::Spread;
use crate::floor::{Part, append};
use crate::window::{Tally, Window};

/// Stretches that are gone through in turn: more than the first cache holds, less than the last, as buffers in use are.
const WORKING_SET: usize = 4 << 20;
/// A batch of steps between two looks at the clock lasts at least so long, nanoseconds, and has at most so many.
const BATCH_NS: u64 = 50_000;
const MOST_STEPS: u64 = 1 << 20;

/// Copies from one stretch of memory to another.
#[derive(Debug)]
pub struct Copying {
    from: Vec<u8>,
    to: Vec<u8>,
    bytes: usize,
    at: usize,
}

impl Copying {
    /// Of so many bytes each time.
    pub fn new(bytes: usize) -> Self {
        Self { from: content(), to: vec![0; WORKING_SET], bytes, at: 0 }
    }

    /// One copy.
    pub fn step(&mut self) {
        let range = next(&mut self.at, self.bytes);
        if let (Some(from), Some(to)) = (self.from.get(range.clone()), self.to.get_mut(range)) {
            to.copy_from_slice(black_box(from));
            black_box(to);
        }
    }
}

/// Takes the format's checksum of a stretch of memory.
#[derive(Debug)]
pub struct Summing {
    content: Vec<u8>,
    bytes: usize,
    at: usize,
}

impl Summing {
    /// Of so many bytes each time.
    pub fn new(bytes: usize) -> Self {
        Self { content: content(), bytes, at: 0 }
    }

    /// One checksum.
    pub fn step(&mut self) {
        let range = next(&mut self.at, self.bytes);
        black_box(checksum(black_box(self.content.get(range).unwrap_or_default())));
    }
}

fn next(at: &mut usize, bytes: usize) -> std::ops::Range<usize> {
    let start = if *at + bytes > WORKING_SET { 0 } else { *at };
    *at = start + bytes;
    start..start + bytes
}

fn content() -> Vec<u8> {
    let mut random = Seeded::new(1, 3);
    (0..WORKING_SET / 8).flat_map(|_| random.next_word().to_le_bytes()).collect()
}

/// Durable writes of 4 KiB: one behind the other and anywhere, so many under way.
const DEVICE: [(&str, append::Order, usize); 4] = [
    ("append_4k_qd1", append::Order::Sequential, 1),
    ("random_4k_qd1", append::Order::Random, 1),
    ("append_4k_qd32", append::Order::Sequential, 32),
    ("random_4k_qd32", append::Order::Random, 32),
];
/// Their size.
const DEVICE_BYTES: usize = 4096;

/// One repeat of [`DEVICE`], on the calling thread, which is pinned.
///
/// # Errors
/// What the kernel says.
fn device(path: &Path, core: usize, window: Window) -> Result<Vec<Tally>> {
    let measured = DEVICE.into_iter().map(|(_, order, in_flight)| {
        append::measure_ordered(path, DEVICE_BYTES, in_flight, core, window, order)
    });
    measured.collect()
}

/// Memory and device in all repeats so far.
#[derive(Debug, Default)]
pub struct Repeats {
    /// GiB a second by name.
    memory: BTreeMap<String, Vec<f64>>,
    /// By repeat, then in the order of [`DEVICE`].
    device: Vec<Vec<Tally>>,
}

impl Repeats {
    /// One more repeat, on a thread that is pinned to this core.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn measure(&mut self, path: &Path, core: usize, window: Window) -> Result<()> {
        let measured = thread::scope(|scope| {
            let running = scope.spawn(|| -> Result<_> {
                let tallies = device(path, core, window)?;
                Ok((tallies, memory(window.measured / 4)?))
            });
            running.join().map_err(|_| anyhow!("a measuring thread has panicked"))?
        });
        let (tallies, memory) = measured?;
        self.device.push(tallies);
        for (name, gibps) in memory {
            self.memory.entry(name).or_default().push(gibps);
        }
        Ok(())
    }

    /// Over all repeats.
    pub fn summary(&self) -> Summary {
        let memory = self.memory.iter();
        let memory =
            memory.filter_map(|(name, found)| Some((name.clone(), Spread::of(found.iter().copied())?)));
        let part = |(number, (name, _, _)): (usize, (&'static str, append::Order, usize))| {
            (name, Part::of(self.device.iter().filter_map(move |found| found.get(number)), 1, DEVICE_BYTES))
        };
        Summary { memory_gibps: memory.collect(), device: DEVICE.into_iter().enumerate().map(part).collect() }
    }
}

/// GiB a second of copies and checksums of 4 and 128 KiB, on the calling thread.
fn memory(time: Duration) -> Result<Vec<(String, f64)>> {
    let window = Window { warm: time / 5, measured: time };
    let mut found = Vec::new();
    for bytes in [4096, 128 << 10] {
        let (mut copying, mut summing) = (Copying::new(bytes), Summing::new(bytes));
        let mut rate = |name: &str, step: &mut dyn FnMut()| -> Result<()> {
            let ns = step_ns(window, &mut |steps| {
                (0..steps).for_each(|_| step());
                Ok(())
            })?;
            found.push((format!("{name}_{}k", bytes >> 10), gibps(bytes, ns)));
            Ok(())
        };
        rate("memcpy", &mut || copying.step())?;
        rate("checksum", &mut || summing.step())?;
    }
    Ok(found)
}

/// How long one of many steps takes, nanoseconds: the median over batches, so that being interrupted does not count.
///
/// # Errors
/// What a step says.
pub fn step_ns(window: Window, run: &mut dyn FnMut(u64) -> Result<()>) -> Result<f64> {
    let length = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let warm_ns = boottime_ns().saturating_add(length(window.warm));
    let until_ns = warm_ns.saturating_add(length(window.measured));
    let mut steps: u64 = 1;
    let mut found = Vec::new();
    loop {
        let before_ns = boottime_ns();
        run(steps)?;
        let now_ns = boottime_ns();
        let took_ns = now_ns.saturating_sub(before_ns);
        let is_long = took_ns >= BATCH_NS || steps >= MOST_STEPS;
        if now_ns >= warm_ns && is_long {
            found.push(took_ns as f64 / steps as f64);
        }
        if now_ns >= until_ns && !found.is_empty() {
            return Spread::of(found).map(|found| found.median).context("a batch was measured");
        }
        if !is_long {
            steps *= 2;
        }
    }
}

/// Memory and device over all repeats.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// GiB (2^30) a second of copies and checksums, by name.
    pub memory_gibps: BTreeMap<String, Spread>,
    /// Raw durable writes of 4 KiB, by name.
    pub device: BTreeMap<&'static str, Part>,
}

/// GiB a second, of so many bytes in so many nanoseconds.
pub fn gibps(bytes: usize, ns: f64) -> f64 {
    bytes as f64 / ns * 1e9 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_never_reach_beyond_the_end() {
        let mut at = WORKING_SET - 5000;
        assert_eq!(next(&mut at, 4096), WORKING_SET - 5000..WORKING_SET - 904);
        assert_eq!(next(&mut at, 4096), 0..4096);
    }

    #[test]
    fn the_time_of_a_step_is_that_of_many() {
        let mut done = 0;
        let window = Window { warm: Duration::ZERO, measured: Duration::from_millis(2) };
        let ns = step_ns(window, &mut |steps| {
            done += steps;
            Ok(())
        });
        assert!(ns.unwrap() >= 0.0 && done > 1000);
        assert!(step_ns(window, &mut |_| anyhow::bail!("no")).is_err());
    }

    #[test]
    fn a_copy_arrives() {
        let mut copying = Copying::new(4096);
        copying.step();
        assert!(copying.to[..4096] == copying.from[..4096] && copying.to[4096..] != copying.from[4096..]);
        assert!((gibps(1 << 30, 1e9) - 1.0).abs() < 1e-9);
    }
}
