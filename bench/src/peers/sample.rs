//! One load on one server, with what each of the server's processes used for it.

use std::thread;

use anyhow::{Context, Result, anyhow};
use midspan::clock::Signal;
use midspan_uring::clock::boottime_ns;

use crate::calls::Process;
use crate::generator::{self, Gauge, Load};
use crate::path::Cost;
use crate::proc::{Cores, Noise, Usage};
use crate::window::Tally;

/// One load in one repeat.
#[derive(Debug)]
pub struct Sample {
    /// What was answered.
    pub tally: Tally,
    /// Each process's cost.
    pub costs: Vec<(&'static str, Cost)>,
    /// The load generator's cost.
    pub client: Option<Cost>,
    /// Who else was there.
    pub noise: Noise,
}

/// Counters at one moment.
struct Moment {
    now_ns: u64,
    answered: u64,
    used: Vec<Usage>,
    own: Usage,
    cores: Cores,
}

impl Moment {
    fn now(processes: &[Process], gauge: &Gauge) -> Result<Self> {
        let usage = |process: &Process| {
            Usage::of(process.pid).with_context(|| format!("the {} has ended", process.part))
        };
        Ok(Self {
            now_ns: boottime_ns(),
            answered: gauge.answered(),
            used: processes.iter().map(usage).collect::<Result<_>>()?,
            own: Usage::of(std::process::id()).context("this process is not in /proc")?,
            cores: Cores::now(),
        })
    }
}

/// Runs the load.
///
/// # Errors
/// What the server says, or that one of its processes has ended.
pub fn measure(load: &Load, processes: &[Process]) -> Result<Sample> {
    let gauge = Gauge::default();
    let (outcome, moments) = thread::scope(|scope| {
        let running = scope.spawn(|| generator::run(load, &gauge));
        let moments = watch(load, processes, &gauge);
        let outcome = running.join().map_err(|_| anyhow!("the load generator has panicked"));
        (outcome.flatten(), moments)
    });
    // A process that has ended explains a load that has failed.
    let (first, last) = moments?;
    let tally = outcome?.tally;
    let answered = last.answered.saturating_sub(first.answered);
    let pairs = last.used.iter().zip(&first.used);
    let used: Vec<Usage> = pairs.map(|(last, first)| last.since(*first)).collect();
    let own = last.own.since(first.own);
    let ours: u64 = used.iter().map(|used| used.cpu_us).sum::<u64>() + own.cpu_us;
    let parts = processes.iter().zip(&used);
    Ok(Sample {
        tally,
        costs: parts.filter_map(|(process, used)| Some((process.part, Cost::of(*used, answered)?))).collect(),
        client: Cost::of(own, answered),
        noise: Noise::of(first.cores, last.cores, ours, last.now_ns.saturating_sub(first.now_ns)),
    })
}

/// Counters at the beginning of the load's window, and a little before its end: its thread takes its counters with it.
fn watch(load: &Load, processes: &[Process], gauge: &Gauge) -> Result<(Moment, Moment)> {
    Signal::default().wait(load.window.warm);
    let first = Moment::now(processes, gauge)?;
    Signal::default().wait(load.window.measured.mul_f64(0.95));
    Ok((first, Moment::now(processes, gauge)?))
}
