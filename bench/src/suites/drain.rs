//! `midspan-bench drain`: the secondary is held, the host fills a backlog, then the secondary works it off.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::Measuring;
use super::jobs::Job;
use super::scenes;
use crate::backlog::{Drain, Filling};
use crate::cluster::{Cluster, Cores};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::figures::{Spread, ratio};
use crate::proc::Noise;
use crate::report::{self, Ratio};
use crate::scene::{self, Scene, Settings, Stretch};
use crate::show::Show;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench drain
  midspan-bench drain --backlog-mib 1024 --ring-mib 2048 --volume-mib 1024 --folder /mnt/nvme
  midspan-bench drain --smoke --json | tail -n 1

The secondary is stopped (SIGSTOP), a host writes, then the secondary goes on (SIGCONT). The drain's time runs from
there until everything is on its disk, reconnecting included; a node measures itself every 100 ms, so it is that coarse.";

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    /// Data that the host writes while the secondary is held, MiB
    #[arg(long, value_name = "MIB", default_value_t = 448, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub backlog_mib: u64,
    /// Size of the volume, MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub volume_mib: u64,
    /// Size of each ring, MiB; the backlog may fill two thirds of it
    #[arg(long, value_name = "MIB", default_value_t = 768, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub ring_mib: u64,
    /// Cores of primary, relay, secondary and load generator, for example 0,1,1,0
    #[arg(long, value_name = "P,R,S,L")]
    pub cores: Option<Cores>,
}

/// How the host fills, in the order of [`Repeat::drains`].
fn fills() -> [Job; 2] {
    [scenes::stream(), scenes::queue()]
}

struct Repeat {
    drains: Vec<Drain>,
    noise: Noise,
}

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says.
pub fn run(arguments: &Arguments) -> Result<Scene> {
    let measuring = &arguments.measuring;
    let (backlog_mib, volume_mib, ring_mib) = if measuring.smoke {
        // A fast machine writes much more than the backlog before it is told to stop; a full ring would hold it up.
        (16, 64, 384)
    } else {
        (arguments.backlog_mib, arguments.volume_mib, arguments.ring_mib)
    };
    let (repeats, fills) = (measuring.repeats(), fills());
    ensure!(
        backlog_mib <= ring_mib * 2 / 3,
        "a backlog of {backlog_mib} MiB does not fit into two thirds of a ring of {ring_mib} MiB: say --ring-mib"
    );
    let folder = measuring.folder();
    let environment = Environment::of(&folder);
    let plan = scene::plan(volume_mib, ring_mib, arguments.cores)?;
    let show = Show::new((2 + repeats * fills.len()) as u64);
    let mut disks = Disks::create(&folder, measuring.ram, false)?;
    let mut cluster = Cluster::start(&plan, &mut disks, &|what| show.step(what))?;
    let mut found = Vec::new();
    for number in 1..=repeats {
        let stretch = Stretch::begin(Some(&mut cluster))?;
        let mut drains = Vec::new();
        for job in &fills {
            show.step(&format!("repeat {number}: backlog of {}", job.title));
            let filling = Filling {
                work: job.work,
                backlog_bytes: backlog_mib << 20,
                core: plan.cores.client,
                seed: number as u64,
            };
            drains.push(filling.drain(&cluster).with_context(|| cluster.logs())?);
        }
        found.push(Repeat { drains, noise: stretch.end(Some(&mut cluster))? });
    }
    show.end();
    let settings = scenes::settings(measuring, plan.cores);
    report(environment, settings, &found)
}

/// One kind of backlog over all repeats.
#[derive(Debug, Serialize)]
struct Summary {
    /// Data of the backlog, bytes.
    data_bytes: Option<Spread>,
    /// The same in the journal, bytes.
    journal_bytes: Option<Spread>,
    /// The host's rate while the secondary was held, megabytes (10^6) a second.
    fill_mbps: Option<Spread>,
    /// The drain's rate from letting go until all was applied, megabytes a second.
    drain_mbps: Option<Spread>,
    /// From the first tenth applied to the last.
    steady_mbps: Option<Spread>,
    /// From letting go until all stood in the secondary's own ring, seconds.
    acquired_s: Option<Spread>,
    /// From letting go until all was on its disk, seconds.
    applied_s: Option<Spread>,
}

fn report(environment: Environment, settings: Settings, repeats: &[Repeat]) -> Result<Scene> {
    let over = |number: usize, take: &dyn Fn(&Drain) -> Option<f64>| {
        Spread::over(repeats, |repeat: &Repeat| repeat.drains.get(number).and_then(take))
    };
    let mut table = report::table(&[
        "backlog",
        "data MB",
        "fill MB/s",
        "drain MB/s",
        "steady MB/s",
        "acquired s",
        "applied s",
    ]);
    let mut summaries = BTreeMap::new();
    for (number, job) in fills().into_iter().enumerate() {
        let summary = Summary {
            data_bytes: over(number, &|drain| Some(drain.data_bytes)),
            journal_bytes: over(number, &|drain| Some(drain.journal_bytes)),
            fill_mbps: over(number, &|drain| Some(drain.fill / 1e6)),
            drain_mbps: over(number, &|drain| Some(drain.rate() / 1e6)),
            steady_mbps: over(number, &|drain| drain.steady.map(|rate| rate / 1e6)),
            acquired_s: over(number, &|drain| Some(drain.acquired_s)),
            applied_s: over(number, &|drain| Some(drain.applied_s)),
        };
        let data_mb = over(number, &|drain| Some(drain.data_bytes / 1e6));
        let Summary { fill_mbps, drain_mbps, steady_mbps, acquired_s, applied_s, .. } = summary;
        table.add_row(report::row(
            &[&job.name],
            &[data_mb, fill_mbps, drain_mbps, steady_mbps, acquired_s, applied_s],
        ));
        summaries.insert(job.name, summary);
    }
    let ratios = [
        (
            "drain_vs_fill",
            "128 KiB writes: rate of the drain, reconnecting included, over the host's; higher is better",
        ),
        ("drain_vs_fill_randwrite_4k", "the same of random 4 KiB writes; higher is better"),
    ];
    let ratios = ratios.into_iter().enumerate().filter_map(|(number, (name, meaning))| {
        let spread = over(number, &|drain| ratio(drain.rate(), drain.fill))?;
        Some(Ratio { name: name.to_owned(), meaning: meaning.to_owned(), spread })
    });
    Ok(Scene {
        suite: "drain",
        environment,
        settings,
        found: BTreeMap::from([("drains", serde_json::to_value(summaries)?)]),
        tables: format!(
            "\nDrain: the host fills while the secondary is held, then the secondary works it off\n{table}"
        ),
        noise: repeats.iter().map(|repeat| repeat.noise).collect(),
        ratios: ratios.collect(),
    })
}
