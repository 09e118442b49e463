//! `midspan-bench write`: writes of all kinds on three nodes, next to the floor of the same run.

use anyhow::Result;
use clap::Args;

use super::Measuring;
use super::jobs::{Job, Wanted};
use super::nodes::Nodes;
use super::series::{self, Series};
use crate::cluster::layout::Layout;
use crate::figures::ratio;
use crate::floor::Demand;
use crate::generator::{Mix, Pattern};
use crate::report::Report;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench write
  midspan-bench write --folder /mnt/nvme --volume-mib 4096 --ring-mib 1024 --seconds 10
  midspan-bench write --ram --hdr latencies --json | tail -n 1
  midspan-bench write --smoke";

/// Arguments of `write`.
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
    let series = Series { suite: "write", layouts: vec![Layout::SINGLE], jobs: jobs(), ratios: ratios() };
    series::run(&series, &arguments.measuring, &arguments.nodes)
}

/// The loads, by their places in the list.
const QD1: usize = 0;
const QD4: usize = 1;
const QD32: usize = 2;
const QD128: usize = 3;
const SEQ_64K: usize = 4;
const SEQ_1M: usize = 5;
const FSYNC_QD1: usize = 7;
const FSYNC_QD16: usize = 8;
const RATE70: usize = 9;

fn jobs() -> Vec<Job> {
    let random = (Pattern::Random, Mix::Write);
    let sequential = (Pattern::Sequential, Mix::Write);
    let mixed = (Pattern::Random, Mix::Mixed);
    let fsync = (Pattern::Random, Mix::WriteFlush);
    vec![
        Job::closed("randwrite_4k_qd1", "4 KiB random write, depth 1", random, 4096, 1).with_floor(),
        Job::closed("randwrite_4k_qd4", "4 KiB random write, depth 4", random, 4096, 4).with_floor(),
        Job::closed("randwrite_4k_qd32", "4 KiB random write, depth 32", random, 4096, 32).with_floor(),
        Job::closed("randwrite_4k_qd128", "4 KiB random write, depth 128", random, 4096, 128).with_floor(),
        Job::closed("write_64k_qd8", "64 KiB sequential write, depth 8", sequential, 64 << 10, 8)
            .with_floor(),
        Job::closed("write_1m_qd4", "1 MiB sequential write, depth 4", sequential, 1 << 20, 4).with_floor(),
        Job::closed("mixed_4k_qd32", "4 KiB random, 70 reads to 30 writes, depth 32", mixed, 4096, 32),
        // The answer to a write is durable already: the floor of a single one is that of a write.
        Job::closed("fsync_4k_qd1", "4 KiB random write and FLUSH, depth 1", fsync, 4096, 1),
        Job {
            floor: Some(Demand { write_bytes: 4096, depth: 16 }),
            ..Job::closed("fsync_4k_qd16", "4 KiB random write and FLUSH, 16 chains", fsync, 4096, 16)
        },
        Job::closed(
            "randwrite_4k_rate70",
            "4 KiB random write at 70 % of the rate of depth 32",
            random,
            4096,
            256,
        )
        .at_percent_of(QD32, 70),
    ]
}

fn ratios() -> Vec<Wanted> {
    let rate = |name: &str, what: &str, load: usize| {
        Wanted::rate(name, &format!("{what} over the floor's; higher is better"), load, load)
    };
    vec![
        Wanted::latency(
            "answer_qd1_p50_vs_floor",
            "median latency of a single 4 KiB write over the floor's answer; lower is better",
            QD1,
            QD1,
            0.5,
        ),
        Wanted::latency(
            "answer_qd1_p99_vs_floor",
            "99th percentile of a single 4 KiB write over the floor's; lower is better",
            QD1,
            QD1,
            0.99,
        ),
        rate("qd4_iops_vs_floor", "4 KiB writes a second at depth 4", QD4),
        rate("qd32_iops_vs_floor", "4 KiB writes a second at depth 32", QD32),
        rate("qd128_iops_vs_floor", "4 KiB writes a second at depth 128", QD128),
        rate("seq_64k_mbps_vs_floor", "64 KiB writes at depth 8, MB/s", SEQ_64K),
        rate("seq_1m_mbps_vs_floor", "1 MiB writes at depth 4, MB/s", SEQ_1M),
        Wanted::latency(
            "fsync_qd1_p50_vs_floor",
            "median latency of a write and its FLUSH over the floor's answer to a write; lower is better",
            FSYNC_QD1,
            QD1,
            0.5,
        ),
        rate("fsync_qd16_iops_vs_floor", "writes with their FLUSHes a second, 16 chains", FSYNC_QD16),
        Wanted::new(
            "rate70_p99_vs_qd1_p99",
            "99th percentile at 70 % of the rate of depth 32 over that of a single write; lower is better",
            |repeat| ratio(repeat.load_us(RATE70, 0.99)?, repeat.load_us(QD1, 0.99)?),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_stand_where_their_numbers_say() {
        let jobs = jobs();
        for (index, name) in [
            (QD1, "randwrite_4k_qd1"),
            (QD4, "randwrite_4k_qd4"),
            (QD32, "randwrite_4k_qd32"),
            (QD128, "randwrite_4k_qd128"),
            (SEQ_64K, "write_64k_qd8"),
            (SEQ_1M, "write_1m_qd4"),
            (FSYNC_QD1, "fsync_4k_qd1"),
            (FSYNC_QD16, "fsync_4k_qd16"),
            (RATE70, "randwrite_4k_rate70"),
        ] {
            assert_eq!(jobs[index].name, name);
        }
        // A rate comes from a load that has run before.
        for (index, job) in jobs.iter().enumerate() {
            assert!(job.share.is_none_or(|(other, _)| other < index));
        }
    }
}
