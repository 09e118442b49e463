//! `midspan-bench floor`: what loopback and disk permit, without any node.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use midspan_uring::affinity;
use midspan_uring::clock::boottime_ns;

use super::Measuring;
use super::jobs::{self, JOBS};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::floor::exchange::Hop;
use crate::floor::{self, FloorFile};
use crate::proc::{Cores, Noise, Usage};
use crate::report::{Report, Settings};
use crate::show::Show;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench floor --folder /mnt/nvme
  midspan-bench floor --ram --json";

/// Arguments of `floor`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
}

/// Runs the suite.
///
/// # Errors
/// What the kernel or the file system says.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let measuring = &arguments.measuring;
    let folder = measuring.folder();
    let environment = Environment::of(&folder);
    let cores = affinity::current_cores();
    let repeats = usize::from(measuring.repeats);
    let show = Show::new((repeats * (JOBS.len() + 1) + JOBS.len()) as u64);
    let mut disks = Disks::create(&folder, measuring.ram, false)?;
    let file = FloorFile::create(&mut disks)?;
    let floors = jobs::find_floors(&file, &cores, &show)?;
    let window = measuring.window(1.0 / 3.0);
    let pair = [*cores.first().unwrap_or(&0), *cores.last().unwrap_or(&0)];
    let (mut samples, mut hops, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 1..=repeats {
        let before = (boottime_ns(), Cores::now(), own_cpu_us());
        let mut found = Vec::new();
        for (job, floor) in JOBS.iter().zip(&floors) {
            show.step(&format!("repeat {repeat}: floor of {}", job.title));
            found.push(floor.measure(&file, window)?);
        }
        show.step(&format!("repeat {repeat}: a host's hop"));
        hops.push(floor::host_hop(4096, Hop::Tcp, pair, window)?);
        samples.push(found);
        let (ours_us, wall_ns) =
            (own_cpu_us().saturating_sub(before.2), boottime_ns().saturating_sub(before.0));
        noise.push(Noise::of(before.1, Cores::now(), ours_us, wall_ns));
    }
    show.end();
    Ok(Report {
        suite: "floor",
        environment,
        settings: Settings {
            repeats,
            seconds: measuring.seconds,
            in_memory: measuring.ram,
            host: "",
            cores: None,
        },
        floors: jobs::floor_summaries(&floors, samples),
        host_hop: Some(floor::Part::of(hops.iter(), 1, 4096)),
        loads: Vec::new(),
        idle_percent: BTreeMap::new(),
        noise,
        ratios: Vec::new(),
    })
}

fn own_cpu_us() -> u64 {
    Usage::of(std::process::id()).unwrap_or_default().cpu_us
}
