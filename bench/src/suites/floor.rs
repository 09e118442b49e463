//! `midspan-bench floor`: what loopback and disk permit, without any node.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use midspan_uring::affinity;
use midspan_uring::clock::boottime_ns;

use super::Measuring;
use super::quick;
use crate::disks::Disks;
use crate::environment::Environment;
use crate::floor::exchange::Hop;
use crate::floor::{self, Floor, FloorFile};
use crate::machine;
use crate::proc::{Cores, Noise, Usage};
use crate::report::{Report, Settings};
use crate::show::Show;
use crate::window::Tally;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench floor --folder /mnt/nvme
  midspan-bench floor --ram --json
  midspan-bench floor --smoke";

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
    let hdr = measuring.hdr()?;
    let cores = affinity::current_cores();
    let (repeats, jobs) = (measuring.repeats(), quick::jobs());
    let show = Show::new((repeats * (jobs.len() + 2) + jobs.len()) as u64);
    let mut disks = Disks::create(&folder, measuring.ram, false)?;
    let file = FloorFile::create(&mut disks)?;
    let mut floors = Vec::new();
    for job in &jobs {
        show.step(&format!("looking for the floor of {}", job.title));
        if let Some(demand) = job.floor {
            floors.push((job, Floor::find(demand, &file, &cores, measuring.trial())?, Vec::new()));
        }
    }
    let window = measuring.window(1.0 / 3.0);
    let pair = [*cores.first().unwrap_or(&0), *cores.last().unwrap_or(&0)];
    let (mut hops, mut noise) = (Vec::new(), Vec::new());
    let mut raw = machine::Repeats::default();
    for repeat in 1..=repeats {
        let before = (boottime_ns(), Cores::now(), own_cpu_us());
        for (job, floor, samples) in &mut floors {
            show.step(&format!("repeat {repeat}: floor of {}", job.title));
            samples.push(floor.measure(&file, window)?);
        }
        show.step(&format!("repeat {repeat}: a host's hop"));
        hops.push(floor::host_hop(4096, Hop::Tcp, pair, window)?);
        show.step(&format!("repeat {repeat}: raw durable writes, memory"));
        raw.measure(file.path(), *cores.last().unwrap_or(&0), window)?;
        let (ours_us, wall_ns) =
            (own_cpu_us().saturating_sub(before.2), boottime_ns().saturating_sub(before.0));
        noise.push(Noise::of(before.1, Cores::now(), ours_us, wall_ns));
    }
    if let Some(hdr) = hdr {
        for (job, _, samples) in &floors {
            let tallies: Vec<&Tally> = samples.iter().map(|sample| &sample.answer).collect();
            hdr.write(&format!("floor_{}", job.name), &tallies)?;
        }
    }
    show.end();
    Ok(Report {
        suite: "floor",
        environment,
        settings: Settings {
            repeats,
            seconds: measuring.seconds(),
            smoke: measuring.smoke,
            in_memory: measuring.ram,
            host: "",
            cores: None,
        },
        floors: floors
            .iter()
            .map(|(job, floor, samples)| (job.name.clone(), floor::Summary::of(floor, samples)))
            .collect(),
        disk_reads: Vec::new(),
        host_hop: Some(floor::Part::of(hops.iter(), 1, 4096)),
        machine: Some(raw.summary()),
        loads: Vec::new(),
        idle_percent: BTreeMap::new(),
        noise,
        ratios: Vec::new(),
    })
}

fn own_cpu_us() -> u64 {
    Usage::of(std::process::id()).unwrap_or_default().cpu_us
}
