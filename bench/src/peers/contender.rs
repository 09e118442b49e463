//! Who takes part in the comparison, and what each has shown in all repeats.

use std::collections::BTreeMap;

use super::program::Peer;
use super::sample::Sample;
use crate::generator::{Arrival, Mix, Pattern, Work};

/// One of those who are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// Primary and relay; the secondary is stopped, so that both sides of the comparison are two nodes.
    Held,
    /// The same nodes with the secondary following.
    Attached,
    /// Somebody else.
    Peer(Peer),
}

impl Contender {
    /// Its name in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Contender::Held => "midspan",
            Contender::Attached => "midspan_attached",
            Contender::Peer(peer) => peer.name(),
        }
    }
}

/// Which figure of a load is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Operations a second.
    Rate,
    /// Median latency.
    Median,
}

/// A load of the comparison.
#[derive(Debug)]
pub struct Job {
    /// Its name in the JSON.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What is asked for.
    pub work: Work,
    /// What its ratios are called.
    pub ratio: &'static str,
    /// What is compared.
    pub figure: Figure,
}

/// The load whose CPU time is compared, too.
pub const QUEUE: usize = 1;

const fn work(pattern: Pattern, mix: Mix, bytes: usize, depth: usize) -> Work {
    Work { pattern, mix, bytes, depth, arrival: Arrival::Closed }
}

/// The loads.
pub const JOBS: [Job; 6] = [
    Job {
        name: "randwrite_4k_qd1",
        title: "4 KiB random write, depth 1",
        work: work(Pattern::Random, Mix::Write, 4096, 1),
        ratio: "randwrite_4k_qd1_p50",
        figure: Figure::Median,
    },
    Job {
        name: "randwrite_4k_qd32",
        title: "4 KiB random write, depth 32",
        work: work(Pattern::Random, Mix::Write, 4096, 32),
        ratio: "randwrite_4k_qd32",
        figure: Figure::Rate,
    },
    Job {
        name: "write_128k_qd8",
        title: "128 KiB sequential write, depth 8",
        work: work(Pattern::Sequential, Mix::Write, 128 << 10, 8),
        ratio: "write_128k_qd8",
        figure: Figure::Rate,
    },
    Job {
        name: "fsync_4k_qd1",
        title: "4 KiB random write and FLUSH, depth 1",
        work: work(Pattern::Random, Mix::WriteFlush, 4096, 1),
        ratio: "fsync_4k",
        figure: Figure::Rate,
    },
    Job {
        name: "fsync_4k_qd16",
        title: "4 KiB random write and FLUSH, 16 chains",
        work: work(Pattern::Random, Mix::WriteFlush, 4096, 16),
        ratio: "fsync_4k_qd16",
        figure: Figure::Rate,
    },
    Job {
        name: "randread_4k_qd1",
        title: "4 KiB random read, depth 1",
        work: work(Pattern::Random, Mix::Read, 4096, 1),
        ratio: "randread_4k_qd1_p50",
        figure: Figure::Median,
    },
];

/// Samples by load (its place in [`JOBS`]) and contender, one for each repeat.
pub type Found = BTreeMap<(usize, Contender), Vec<Sample>>;
