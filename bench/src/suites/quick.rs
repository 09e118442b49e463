//! `midspan-bench quick`: three nodes on this machine under three loads, next to the floor of the same run.

use anyhow::Result;
use clap::Args;

use super::Measuring;
use super::jobs::{Job, Wanted};
use super::nodes::Nodes;
use super::series::{self, Series};
use crate::cluster::layout::Layout;
use crate::figures::ratio;
use crate::generator::{Mix, Pattern};
use crate::report::Report;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench quick
  midspan-bench quick --folder /mnt/nvme --repeats 5 --seconds 5
  midspan-bench quick --ram --json | tail -n 1
  midspan-bench quick --smoke";

/// Arguments of `quick`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    #[command(flatten)]
    pub nodes: Nodes,
}

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let series = Series { suite: "quick", layouts: vec![Layout::SINGLE], jobs: jobs(), ratios: ratios() };
    series::run(&series, &arguments.measuring, &arguments.nodes)
}

/// A single small write: its latency is the answer's.
const SINGLE: usize = 0;
/// A queue of small writes.
const QUEUE: usize = 1;
/// A stream of large writes.
const STREAM: usize = 2;

/// The loads, in the order of the three numbers above. `floor` looks for their floors, too.
pub fn jobs() -> Vec<Job> {
    let random = (Pattern::Random, Mix::Write);
    let sequential = (Pattern::Sequential, Mix::Write);
    let jobs = [
        Job::closed("randwrite_4k_qd1", "4 KiB random write, depth 1", random, 4096, 1),
        Job::closed("randwrite_4k_qd32", "4 KiB random write, depth 32", random, 4096, 32),
        Job::closed("write_128k_qd8", "128 KiB sequential write, depth 8", sequential, 128 << 10, 8),
    ];
    jobs.map(Job::with_floor).into()
}

fn ratios() -> Vec<Wanted> {
    vec![
        Wanted::latency(
            "answer_qd1_p50_vs_floor",
            "median latency of a single 4 KiB write over the floor's answer; lower is better",
            SINGLE,
            SINGLE,
            0.5,
        ),
        Wanted::new(
            "answer_qd1_p50_vs_floor_and_host_hop",
            "the same over floor and host's hop together; lower is better",
            |repeat| {
                let hop = repeat.host_hop.latencies().at_us(0.5)?;
                ratio(repeat.load_us(SINGLE, 0.5)?, repeat.floor_us(SINGLE, 0.5)? + hop)
            },
        ),
        Wanted::latency(
            "answer_qd1_p99_vs_floor",
            "99th percentile of a single 4 KiB write over the floor's; lower is better",
            SINGLE,
            SINGLE,
            0.99,
        ),
        Wanted::rate(
            "qd32_iops_vs_floor",
            "4 KiB writes a second at depth 32 over the floor's; higher is better",
            QUEUE,
            QUEUE,
        ),
        Wanted::rate(
            "seq_mbps_vs_floor",
            "128 KiB writes at depth 8, MB/s over the floor's; higher is better",
            STREAM,
            STREAM,
        ),
    ]
}
