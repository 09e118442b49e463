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

/// Has a load `run`, which says how many operations have ended, and counts; `None` where `perf` is not there or may not.
///
/// # Errors
/// What the server says.
pub fn count(processes: &[Process], run: impl FnOnce() -> Result<u64> + Send) -> Result<Option<Calls>> {
    let Ok(counting) = Counting::start(processes.iter().map(|process| process.pid)) else { return Ok(None) };
    // A thread of its own: a generator pins its thread, this one is not pinned.
    let ran = thread::scope(|scope| scope.spawn(run).join());
    let operations = ran.map_err(|_| anyhow!("the load generator has panicked"))??;
    let counts = counting.finish()?;
    let each = processes
        .iter()
        .zip(counts)
        .map(|(process, calls)| Some((process.part, ratio(calls? as f64, operations as f64)?)));
    Ok(each.collect())
}

/// The same with the generator of this program.
///
/// # Errors
/// What the server says.
pub fn count_load(load: &Load, processes: &[Process]) -> Result<Option<Calls>> {
    count(processes, || {
        let gauge = Gauge::default();
        generator::run(load, &gauge)?;
        Ok(gauge.answered())
    })
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
