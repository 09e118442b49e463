//! The loads of `quick`, and the floor of each.

use anyhow::Result;

use crate::client::Pattern;
use crate::floor::{self, Demand, Floor, FloorFile};
use crate::show::Show;

/// One load.
#[derive(Debug)]
pub struct Job {
    /// Its name in the JSON.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Where writes go.
    pub pattern: Pattern,
    /// How large, how many.
    pub demand: Demand,
}

/// A single small write: its latency is the answer's.
pub const SINGLE: usize = 0;
/// A queue of small writes.
pub const QUEUE: usize = 1;
/// A stream of large writes.
pub const STREAM: usize = 2;

/// The loads, in the order of the three numbers above.
pub const JOBS: [Job; 3] = [
    Job {
        name: "randwrite_4k_qd1",
        title: "4 KiB random write, depth 1",
        pattern: Pattern::Random,
        demand: Demand { write_bytes: 4096, depth: 1 },
    },
    Job {
        name: "randwrite_4k_qd32",
        title: "4 KiB random write, depth 32",
        pattern: Pattern::Random,
        demand: Demand { write_bytes: 4096, depth: 32 },
    },
    Job {
        name: "write_128k_qd8",
        title: "128 KiB sequential write, depth 8",
        pattern: Pattern::Sequential,
        demand: Demand { write_bytes: 128 << 10, depth: 8 },
    },
];

/// The best shape for each load.
///
/// # Errors
/// What the kernel says.
pub fn find_floors(file: &FloorFile, cores: &[usize], show: &Show) -> Result<Vec<Floor>> {
    let find = |job: &Job| {
        show.step(&format!("looking for the floor of {}", job.title));
        Floor::find(job.demand, file, cores)
    };
    JOBS.iter().map(find).collect()
}

/// Floors by the name of their load; `samples` are by repeat, then by load.
pub fn floor_summaries(
    floors: &[Floor],
    samples: Vec<Vec<floor::Sample>>,
) -> Vec<(&'static str, floor::Summary)> {
    let mut of_load: Vec<Vec<floor::Sample>> = floors.iter().map(|_| Vec::new()).collect();
    for repeat in samples {
        for (list, sample) in of_load.iter_mut().zip(repeat) {
            list.push(sample);
        }
    }
    let named = JOBS.iter().zip(floors).zip(&of_load);
    named.map(|((job, floor), samples)| (job.name, floor::Summary::of(floor, samples))).collect()
}
