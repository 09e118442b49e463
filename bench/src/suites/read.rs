//! `midspan-bench read`: reads from three nodes, next to the same reads from the disk itself.

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
  midspan-bench read
  midspan-bench read --folder /mnt/nvme --volume-mib 4096 --seconds 10
  midspan-bench read --ram --json | tail -n 1
  midspan-bench read --smoke";

/// Arguments of `read`.
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
    let series = Series { suite: "read", layouts: vec![Layout::SINGLE], jobs: jobs(), ratios: ratios() };
    series::run(&series, &arguments.measuring, &arguments.nodes)
}

/// The loads, by their places in the list.
const QD1: usize = 0;
const QD32: usize = 1;
const SEQ: usize = 2;

fn jobs() -> Vec<Job> {
    let random = (Pattern::Random, Mix::Read);
    let sequential = (Pattern::Sequential, Mix::Read);
    let jobs = [
        Job::closed("randread_4k_qd1", "4 KiB random read, depth 1", random, 4096, 1),
        Job::closed("randread_4k_qd32", "4 KiB random read, depth 32", random, 4096, 32),
        Job::closed("read_128k_qd8", "128 KiB sequential read, depth 8", sequential, 128 << 10, 8),
    ];
    jobs.map(Job::next_to_the_disk).into()
}

fn ratios() -> Vec<Wanted> {
    let rate = |name: &str, what: &str, load: usize| {
        Wanted::new(name, &format!("{what} over the disk's; higher is better"), move |repeat| {
            ratio(repeat.load_rate(load)?, repeat.disk(load)?.per_second())
        })
    };
    vec![
        Wanted::new(
            "read_qd1_p50_vs_disk",
            "median latency of a single 4 KiB read over the disk's; lower is better",
            |repeat| ratio(repeat.load_us(QD1, 0.5)?, repeat.disk(QD1)?.latencies().at_us(0.5)?),
        ),
        Wanted::new(
            "read_qd1_p50_vs_disk_and_host_hop",
            "the same over disk and host's hop together; lower is better",
            |repeat| {
                let hop = repeat.host_hop.latencies().at_us(0.5)?;
                ratio(repeat.load_us(QD1, 0.5)?, repeat.disk(QD1)?.latencies().at_us(0.5)? + hop)
            },
        ),
        rate("read_qd32_iops_vs_disk", "4 KiB reads a second at depth 32", QD32),
        rate("read_seq_mbps_vs_disk", "128 KiB reads at depth 8, MB/s", SEQ),
    ]
}
