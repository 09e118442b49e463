//! What the staged suites have alike: the loads under which something happens, and how a run was made.

use crate::generator::{Mix, Pattern};
use crate::scene::Settings;

use super::Measuring;
use super::jobs::Job;
use crate::cluster::Cores;

/// A single small write: its latency is the answer's.
pub fn single() -> Job {
    Job::closed("randwrite_4k_qd1", "4 KiB random write, depth 1", (Pattern::Random, Mix::Write), 4096, 1)
}

/// A queue of small writes.
pub fn queue() -> Job {
    Job::closed("randwrite_4k_qd32", "4 KiB random write, depth 32", (Pattern::Random, Mix::Write), 4096, 32)
}

/// A stream of large writes.
pub fn stream() -> Job {
    let how = (Pattern::Sequential, Mix::Write);
    Job::closed("write_128k_qd8", "128 KiB sequential write, depth 8", how, 128 << 10, 8)
}

/// How a run is made that was asked for so, on these cores.
pub fn settings(measuring: &Measuring, cores: Cores) -> Settings {
    Settings {
        repeats: measuring.repeats(),
        seconds: measuring.seconds(),
        in_memory: measuring.ram,
        smoke: measuring.smoke,
        cores: Some(cores),
    }
}
