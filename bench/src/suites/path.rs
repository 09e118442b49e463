//! `midspan-bench path`: each stage of a write alone, in one thread without I/O, next to copy and checksum.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use midspan_uring::affinity;
use serde::Serialize;

use crate::environment::Environment;
use crate::figures::{Spread, ratio};
use crate::machine::gibps;
use crate::proc::Noise;
use crate::report::{self, Ratio};
use crate::scene::{Scene, Settings, Stretch};
use crate::show::Show;
use crate::stages::{self, Stage};
use crate::window::Window;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench path
  midspan-bench path --repeats 5 --seconds 0.5 --core 2
  midspan-bench path --html path.html
  midspan-bench path --smoke --json | tail -n 1

No node runs and no disk is touched: disk writes complete in the moment in which they are asked for.";

/// Arguments of `path`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How often all stages are measured, in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeats: u16,
    /// Seconds that each stage is measured in each repeat
    #[arg(long, value_name = "S", default_value_t = 0.1, value_parser = super::seconds)]
    pub seconds: f64,
    /// Core to be measured on; by default the last one
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,
    /// End with one line of JSON; the tables go to the error output
    #[arg(long)]
    pub json: bool,
    /// Write a page with pictures, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Once and short: shows that it works, gives no figures
    #[arg(long)]
    pub smoke: bool,
}

/// A stage and what each repeat found, nanoseconds of one operation.
struct Measured {
    name: String,
    operation: &'static str,
    bytes: usize,
    floor: Option<(String, usize)>,
    ns: Vec<f64>,
}

/// Runs the suite.
///
/// # Errors
/// When a stage does not do what it is there for, or the core may not be used.
pub fn run(arguments: &Arguments) -> Result<Scene> {
    let (repeats, seconds) =
        if arguments.smoke { (1, 0.005) } else { (usize::from(arguments.repeats), arguments.seconds) };
    let core = arguments.core.or_else(|| affinity::current_cores().pop()).unwrap_or(0);
    let measured = Duration::from_secs_f64(seconds);
    let window = Window { warm: measured / 5, measured };
    let show = Show::new(repeats as u64);
    // A thread of its own: it is pinned, and the stages stay on it.
    let found = thread::scope(|scope| scope.spawn(|| measure(core, repeats, window, &show)).join());
    let (found, noise) = found.map_err(|_| anyhow!("the measuring thread has panicked"))??;
    show.end();
    let settings = Settings { repeats, seconds, in_memory: true, smoke: arguments.smoke, cores: None };
    report(Environment::of(&std::env::temp_dir()), settings, &found, noise)
}

fn measure(core: usize, repeats: usize, window: Window, show: &Show) -> Result<(Vec<Measured>, Vec<Noise>)> {
    affinity::pin(core)?;
    let mut stages = stages::all()?;
    let blank = |stage: &Stage| Measured {
        name: stage.name.clone(),
        operation: stage.operation,
        bytes: stage.bytes,
        floor: stage.floor.clone(),
        ns: Vec::new(),
    };
    let mut found: Vec<Measured> = stages.iter().map(blank).collect();
    let mut noise = Vec::new();
    for number in 1..=repeats {
        show.step(&format!("repeat {number}: {} stages", stages.len()));
        let stretch = Stretch::begin(None)?;
        for (stage, measured) in stages.iter_mut().zip(&mut found) {
            show.detail(&format!("repeat {number}: {}", stage.name));
            measured.ns.push(stage.measure(window)?);
        }
        noise.push(stretch.end(None)?);
    }
    Ok((found, noise))
}

/// One stage over all repeats.
#[derive(Debug, Serialize)]
struct Summary {
    /// What one operation is.
    operation: &'static str,
    /// Nanoseconds of one operation.
    ns: Option<Spread>,
    /// GiB (2^30) of data a second; `None` where none is touched.
    gibps: Option<Spread>,
    /// Times the checksum of the same bytes.
    vs_checksum: Option<Spread>,
}

/// Ratios that stand for the others.
const RATIOS: [(&str, &str, &str); 4] = [
    (
        "seal_32x4k",
        "seal_32x4k_vs_checksum",
        "a frame of 32 records of 4 KiB sealed, over their checksums alone; lower is better",
    ),
    ("verify_32x4k", "verify_32x4k_vs_checksum", "the same frame verified; lower is better"),
    ("walk_32x4k", "walk_32x4k_vs_checksum", "the same frame found along the chain; lower is better"),
    ("seal_1x128k", "seal_1x128k_vs_checksum", "a frame of one record of 128 KiB sealed; lower is better"),
];

fn report(
    environment: Environment,
    settings: Settings,
    found: &[Measured],
    noise: Vec<Noise>,
) -> Result<Scene> {
    let floor_ns = |measured: &Measured, repeat: usize| {
        let (name, times) = measured.floor.as_ref()?;
        Some(found.iter().find(|other| other.name == *name)?.ns.get(repeat)? * *times as f64)
    };
    let vs_checksum = |measured: &Measured| {
        let repeats = measured.ns.iter().enumerate();
        Spread::of(repeats.filter_map(|(number, ns)| ratio(*ns, floor_ns(measured, number)?)))
    };
    let mut table = report::table(&["stage", "ns", "GiB/s", "times checksum", "one operation is"]);
    let mut summaries = BTreeMap::new();
    for measured in found {
        let bytes = measured.bytes;
        let summary = Summary {
            operation: measured.operation,
            ns: Spread::of(measured.ns.iter().copied()),
            gibps: (bytes > 0).then(|| Spread::of(measured.ns.iter().map(|ns| gibps(bytes, *ns)))).flatten(),
            vs_checksum: vs_checksum(measured),
        };
        let mut row = report::row(&[&measured.name], &[summary.ns, summary.gibps, summary.vs_checksum]);
        row.push(measured.operation.to_owned());
        table.add_row(row);
        summaries.insert(measured.name.clone(), summary);
    }
    let ratios = RATIOS.into_iter().filter_map(|(stage, name, meaning)| {
        let measured = found.iter().find(|measured| measured.name == stage)?;
        Some(Ratio { name: name.to_owned(), meaning: meaning.to_owned(), spread: vs_checksum(measured)? })
    });
    Ok(Scene {
        suite: "path",
        environment,
        settings,
        found: BTreeMap::from([("stages", serde_json::to_value(summaries)?)]),
        tables: format!(
            "\nStages alone, in one thread; NxMk is a frame of N records of M KiB. `times checksum`: over the checksums of \
             the same records alone\n{table}"
        ),
        noise,
        ratios: ratios.collect(),
    })
}
