//! System calls for each operation of a load, by process: counted in a run of its own that is not timed.

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Result, anyhow};

use crate::cluster::{Cluster, Place};
use crate::figures::ratio;
use crate::generator::{self, Gauge, Load};
use crate::syscalls::Counting;

/// A process whose use counts.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// What it does there.
    pub part: &'static str,
    /// Its number.
    pub pid: u32,
}

/// Those of the three nodes.
pub fn nodes(cluster: &Cluster) -> Vec<Process> {
    let node = |place: Place| Some(Process { part: place.name(), pid: cluster.pid(place)? });
    Place::ALL.into_iter().filter_map(node).collect()
}

/// System calls for each operation, by process; empty where they were not counted.
pub type Calls = BTreeMap<&'static str, f64>;

/// Runs the load and counts; `None` where `perf` is not there or may not.
///
/// # Errors
/// What the server says.
pub fn count(load: &Load, processes: &[Process]) -> Result<Option<Calls>> {
    let Ok(counting) = Counting::start(processes.iter().map(|process| process.pid)) else { return Ok(None) };
    let gauge = Gauge::default();
    // A thread of its own: it is pinned, this one is not.
    let ran = thread::scope(|scope| scope.spawn(|| generator::run(load, &gauge)).join());
    ran.map_err(|_| anyhow!("the load generator has panicked"))??;
    let counts = counting.finish()?;
    let each = processes
        .iter()
        .zip(counts)
        .map(|(process, calls)| Some((process.part, ratio(calls? as f64, gauge.answered() as f64)?)));
    Ok(each.collect())
}

/// What a report says of how they were counted.
pub const fn how(are_counted: bool) -> &'static str {
    if are_counted {
        "system calls were counted by perf in a run of their own, which is not timed"
    } else {
        "system calls were not counted: that takes perf (Debian: apt install linux-perf), the right to use it, and more than a \
         smoke run"
    }
}
