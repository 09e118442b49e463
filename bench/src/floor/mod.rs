//! The floor: what loopback and disk permit on this machine, measured with the engine that the nodes use.
//!
//! The answer to a host cannot come before a frame has gone to another node and is durable there. So the floor is a
//! frame's round trip with a durable append in the middle, and nothing else. How the threads share the cores, and in how
//! many frames a queue of writes travels, is chosen by trying: the floor is the best that was found.

pub mod append;
pub mod read;
pub mod exchange;
pub mod bandwidth;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::disks::Disks;
use crate::figures::Spread;
use crate::window::{Tally, Window};
use exchange::{Exchange, Hop};
use read::Reads;

/// Bytes in front of a frame's data: its header and its record table.
const FRAME_HEAD: usize = 4096;
/// Bytes of a lane's reply.
const LANE_REPLY: usize = 64;
/// Size of the file that appends go to: like a ring, round and round.
const FILE_BYTES: u64 = 128 << 20;

/// How thoroughly the best shape is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// How long each candidate is tried in each round.
    window: Window,
    /// The best round counts: what disturbs one hardly disturbs all.
    rounds: usize,
}

impl Trial {
    /// For figures.
    pub const THOROUGH: Self = Self {
        window: Window { warm: Duration::from_millis(15), measured: Duration::from_millis(60) },
        rounds: 3,
    };
    /// For function only.
    pub const HASTY: Self = Self {
        window: Window { warm: Duration::from_millis(1), measured: Duration::from_millis(5) },
        rounds: 1,
    };
}

/// A load whose floor is wanted: so many writes of so many bytes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of a write.
    pub write_bytes: usize,
    /// Writes under way.
    pub depth: usize,
}

/// How a demand is met best: found by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Frames under way, each with an equal part of the writes.
    pub frames: usize,
    /// Writes in a frame.
    pub writes: usize,
    /// Cores of the two threads.
    pub cores: [usize; 2],
    /// Whether they wait awake rather than asleep.
    pub awake: bool,
}

impl Shape {
    fn frame_bytes(&self, demand: Demand) -> usize {
        FRAME_HEAD + self.writes * demand.write_bytes
    }
}

/// The disk that stands for the relay's.
#[derive(Debug)]
pub struct FloorFile {
    path: PathBuf,
}

impl FloorFile {
    /// Makes it beside the nodes' disks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(disks: &mut Disks) -> Result<Self> {
        Ok(Self { path: disks.add("floor", FILE_BYTES)? })
    }

    /// Reads of it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, reads: Reads, core: usize, window: Window) -> Result<Tally> {
        read::measure(&self.path, reads, core, window)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The three parts of one floor, in one repeat.
#[derive(Debug)]
pub struct Sample {
    /// The round trip with the append in the middle.
    pub answer: Tally,
    /// The round trip alone.
    pub round_trip: Tally,
    /// The append alone.
    pub append: Tally,
    writes: usize,
}

/// A demand with its shape, ready to be measured again and again.
#[derive(Debug)]
pub struct Floor {
    /// What is wanted.
    pub demand: Demand,
    /// What was found best.
    pub shape: Shape,
}

impl Floor {
    /// Tries the candidates and keeps the fastest.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(demand: Demand, file: &FloorFile, cores: &[usize], trial: Trial) -> Result<Self> {
        let shapes = candidates(demand.depth, cores);
        let mut best: Option<(f64, &Shape)> = None;
        for shape in std::iter::repeat_n(&shapes, trial.rounds).flatten() {
            let tally = exchange::measure(&lane(demand, shape, Some(file)), trial.window)?;
            let score = score(demand, shape, &tally);
            if best.is_none_or(|(found, _)| score > found) {
                best = Some((score, shape));
            }
        }
        let (_, shape) = best.context("no core may be used")?;
        Ok(Self { demand, shape: shape.clone() })
    }

    /// One repeat: the answer, then its parts.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn measure(&self, file: &FloorFile, window: Window) -> Result<Sample> {
        let [_, core] = self.shape.cores;
        let frame_bytes = self.shape.frame_bytes(self.demand);
        Ok(Sample {
            answer: exchange::measure(&lane(self.demand, &self.shape, Some(file)), window)?,
            round_trip: exchange::measure(&lane(self.demand, &self.shape, None), window)?,
            append: append::measure(&file.path, frame_bytes, self.shape.frames, core, window)?,
            writes: self.shape.writes,
        })
    }
}

impl Sample {
    /// Writes a second that one of the parts permits.
    pub fn writes_per_second(&self, part: &Tally) -> f64 {
        part.per_second() * self.writes as f64
    }
}

/// What a host's hop to the primary costs alone: a write of so many bytes and its short answer.
///
/// # Errors
/// What the kernel says.
pub fn host_hop(write_bytes: usize, hop: Hop, cores: [usize; 2], window: Window) -> Result<Tally> {
    let exchange = Exchange {
        hop,
        frame_bytes: REQUEST_HEAD + write_bytes,
        in_flight: 1,
        reply_bytes: SIMPLE_REPLY,
        cores,
        awake: false,
        append_to: None,
    };
    exchange::measure(&exchange, window)
}

/// Bytes of an NBD request in front of its data.
const REQUEST_HEAD: usize = 28;
/// Bytes of an NBD simple reply.
const SIMPLE_REPLY: usize = 16;

fn lane(demand: Demand, shape: &Shape, file: Option<&FloorFile>) -> Exchange {
    Exchange {
        hop: Hop::Tcp,
        frame_bytes: shape.frame_bytes(demand),
        in_flight: shape.frames,
        reply_bytes: LANE_REPLY,
        cores: shape.cores,
        awake: shape.awake,
        append_to: file.map(|file| file.path.clone()),
    }
}

/// How good a shape is: a single write should be answered soon, a queue should be worked off fast.
fn score(demand: Demand, shape: &Shape, tally: &Tally) -> f64 {
    if demand.depth == 1 {
        tally.latencies().at_us(0.5).map_or(0.0, |p50_us| 1.0 / p50_us)
    } else {
        tally.per_second() * shape.writes as f64
    }
}

/// The shapes worth a try: the queue in one frame, or in up to eight; both threads on one core, or on two;
/// for a single write also awake, since a thread that sleeps must be woken.
fn candidates(depth: usize, cores: &[usize]) -> Vec<Shape> {
    let Some((&first, others)) = cores.split_first() else { return Vec::new() };
    let mut pairs = vec![[first, first]];
    pairs.extend(others.last().map(|&last| [first, last]));
    let mut shapes = Vec::new();
    for frames in [1, 2, 4, 8] {
        if frames <= depth && depth.is_multiple_of(frames) {
            for awake in [false, true].into_iter().take(if depth == 1 { 2 } else { 1 }) {
                shapes.extend(pairs.iter().map(|&cores| Shape {
                    frames,
                    writes: depth / frames,
                    cores,
                    awake,
                }));
            }
        }
    }
    shapes
}

/// A floor's figures over all repeats.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Bytes of a write.
    pub write_bytes: usize,
    /// Writes under way.
    pub depth: usize,
    /// How the floor was reached.
    pub shape: Shape,
    /// The answer: round trip with the durable append in the middle.
    pub answer: Part,
    /// The round trip alone.
    pub round_trip: Part,
    /// The append alone.
    pub append: Part,
}

/// One part of a floor over all repeats.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Writes a second.
    pub iops: Option<Spread>,
    /// Megabytes (10^6) a second.
    pub mbps: Option<Spread>,
    /// Latency of a frame that half of all do not exceed, microseconds.
    pub p50_us: Option<Spread>,
    /// Of 99 in 100.
    pub p99_us: Option<Spread>,
    /// Of 999 in 1000.
    pub p999_us: Option<Spread>,
}

impl Part {
    /// Of tallies, one each repeat, whose completions stand for so many writes of so many bytes.
    pub fn of<'a>(
        tallies: impl Iterator<Item = &'a Tally> + Clone,
        writes: usize,
        write_bytes: usize,
    ) -> Self {
        let over = |take: &dyn Fn(&Tally) -> Option<f64>| Spread::of(tallies.clone().filter_map(take));
        let rate = |tally: &Tally| Some(tally.per_second() * writes as f64);
        Self {
            iops: over(&rate),
            mbps: over(&|tally| rate(tally).map(|rate| rate * write_bytes as f64 / 1e6)),
            p50_us: over(&|tally| tally.latencies().at_us(0.5)),
            p99_us: over(&|tally| tally.latencies().at_us(0.99)),
            p999_us: over(&|tally| tally.latencies().at_us(0.999)),
        }
    }
}

impl Summary {
    /// Of all repeats.
    pub fn of(floor: &Floor, samples: &[Sample]) -> Self {
        let Floor { demand, shape } = floor;
        let part = |take: fn(&Sample) -> &Tally| {
            Part::of(samples.iter().map(take), shape.writes, demand.write_bytes)
        };
        Self {
            write_bytes: demand.write_bytes,
            depth: demand.depth,
            shape: shape.clone(),
            answer: part(|sample| &sample.answer),
            round_trip: part(|sample| &sample.round_trip),
            append: part(|sample| &sample.append),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_write_is_tried_on_one_core_and_on_two_asleep_and_awake() {
        let tried: Vec<_> = candidates(1, &[3, 5, 7]).into_iter().map(|s| (s.cores, s.awake)).collect();
        assert_eq!(tried, [([3, 3], false), ([3, 7], false), ([3, 3], true), ([3, 7], true)]);
        assert_eq!(candidates(1, &[3]).len(), 2);
        assert!(candidates(1, &[]).is_empty());
    }

    #[test]
    fn every_candidate_carries_the_whole_queue() {
        for depth in [1, 8, 32] {
            for shape in candidates(depth, &[0, 1]) {
                assert_eq!(shape.frames * shape.writes, depth);
            }
        }
        assert_eq!(candidates(8, &[0]).len(), 4);
    }

    #[test]
    fn a_single_write_is_judged_by_its_latency_and_a_queue_by_its_rate() {
        let shape = Shape { frames: 1, writes: 8, cores: [0, 1], awake: false };
        let tally = |count, latency_ns| {
            let window = Window { warm: Duration::ZERO, measured: Duration::from_secs(1) };
            let mut tally = Tally::new(window, 0).unwrap();
            (0..count).for_each(|_| tally.complete(0, latency_ns));
            tally
        };
        let (fewer_sooner, more_later) = (tally(5, 1000), tally(50, 2000));
        let better = |depth| {
            let demand = Demand { write_bytes: 4096, depth };
            score(demand, &shape, &more_later) > score(demand, &shape, &fewer_sooner)
        };
        assert!(!better(1) && better(8));
        assert_eq!(score(Demand { write_bytes: 4096, depth: 1 }, &shape, &tally(0, 0)), 0.0);
    }

    #[test]
    fn a_frame_is_its_head_and_its_writes() {
        let shape = Shape { frames: 4, writes: 8, cores: [0, 1], awake: false };
        assert_eq!(shape.frame_bytes(Demand { write_bytes: 4096, depth: 32 }), 4096 + 8 * 4096);
        let shape = Shape { frames: 1, writes: 1, cores: [0, 0], awake: false };
        assert_eq!(shape.frame_bytes(Demand { write_bytes: 4096, depth: 1 }), 8192);
    }
}
