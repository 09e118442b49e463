//! What the comparison has found: tables for people, one line of JSON for scripts.

use std::collections::BTreeMap;

use anyhow::Result;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::contender::{Contender, Found, JOBS, Job};
use super::goals::{self, Verdict};
use super::host::HostProgram;
use super::program::{Peer, Program};
use super::ratios::{self, PeerRatio};
use super::sample::Sample;
use crate::calls::{self, Calls};
use crate::environment::Environment;
use crate::figures::Latencies;
use crate::figures::Spread;
use crate::finding;
use crate::generator::{Mix, Pattern, Work};
use crate::proc::Noise;
use crate::report::{noise_line, row, table};

/// How the comparison was made.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// Repeats, each with all loads on all who take part.
    pub repeats: usize,
    /// Seconds that each load was measured in each repeat.
    pub seconds: f64,
    /// Whether it was a run for function only, whose figures mean nothing.
    pub smoke: bool,
    /// Whether the disks were in memory.
    pub in_memory: bool,
    /// Whether the mirror's far node makes a write durable before it answers.
    pub durable: bool,
    /// Whose program the host was.
    pub host: HostProgram,
    /// Who of Midspan ran where; the peers ran where the kernel put them.
    pub cores: crate::cluster::Cores,
    /// Size of each volume and disk.
    pub volume_bytes: u64,
    /// Size of each ring.
    pub ring_bytes: u64,
}

/// A peer that did not take part.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Missing {
    /// Its name.
    pub peer: &'static str,
    /// What it lacks.
    pub program: Program,
}

impl Missing {
    /// Of all peers, those that lack a program.
    pub fn find() -> Vec<Self> {
        let missing = Peer::ALL.iter().filter_map(|peer| Some((peer.name(), peer.missing()?)));
        missing.map(|(peer, program)| Self { peer, program }).collect()
    }
}

/// Everything that one run has found.
#[derive(Debug)]
pub struct Outcome {
    /// Where it ran.
    pub environment: Environment,
    /// How.
    pub settings: Settings,
    /// Who could not take part.
    pub missing: Vec<Missing>,
    /// The samples.
    pub found: Found,
    /// Journal that the following secondary had not applied when each load ended, by load.
    pub behind_bytes: BTreeMap<&'static str, Spread>,
    /// System calls for each operation, by load and contender.
    pub syscalls: BTreeMap<(usize, Contender), Calls>,
    /// What makes a figure doubtful.
    pub warnings: Vec<String>,
}

/// One load on one contender over all repeats.
#[derive(Debug, Serialize)]
struct Summary {
    name: &'static str,
    title: &'static str,
    /// Who served it.
    on: &'static str,
    pattern: Pattern,
    mix: Mix,
    bytes: usize,
    depth: usize,
    connections: usize,
    iops: Option<Spread>,
    mbps: Option<Spread>,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    p999_us: Option<Spread>,
    /// CPU time for each operation, by process.
    cpu_us: BTreeMap<&'static str, Spread>,
    /// Context switches for each operation, by process.
    switches: BTreeMap<&'static str, Spread>,
    client_cpu_us: Option<Spread>,
    /// System calls for each operation, by process; empty where nobody may count them.
    syscalls: BTreeMap<&'static str, f64>,
    /// The distribution over all repeats: percentile and microseconds.
    percentiles: Vec<[f64; 2]>,
    /// The course of the repeat in the middle: seconds since its beginning, and operations a second.
    timeline: Vec<[f64; 2]>,
}

impl Summary {
    fn of(job: &Job, contender: Contender, samples: &[Sample], syscalls: Calls) -> Self {
        let Work { pattern, mix, bytes, depth, .. } = job.work;
        let all = Latencies::merged(samples.iter().map(|sample| sample.tally.latencies()));
        let at = |part: f64| Spread::over(samples, |sample| sample.tally.latencies().at_us(part));
        let parts = samples.first().map(|sample| sample.costs.iter().map(|(part, _)| *part));
        let parts: Vec<&'static str> = parts.map(Iterator::collect).unwrap_or_default();
        let by_part = |take: fn(&crate::path::Cost) -> f64| {
            let of_part = |part: &'static str| {
                let find = |sample: &Sample| {
                    sample.costs.iter().find(|(found, _)| *found == part).map(|(_, cost)| take(cost))
                };
                Some((part, Spread::over(samples, find)?))
            };
            parts.iter().filter_map(|part| of_part(part)).collect()
        };
        Self {
            name: job.name,
            title: job.title,
            on: contender.name(),
            pattern,
            mix,
            bytes,
            depth,
            connections: 1,
            iops: Spread::over(samples, |sample| Some(sample.tally.per_second())),
            mbps: Spread::over(samples, |sample| Some(sample.tally.per_second() * bytes as f64 / 1e6)),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            cpu_us: by_part(|cost| cost.cpu_us),
            switches: by_part(|cost| cost.switches),
            client_cpu_us: Spread::over(samples, |sample| sample.client.map(|cost| cost.cpu_us)),
            syscalls,
            percentiles: all.map(|all| all.percentiles()).unwrap_or_default(),
            timeline: finding::middle(samples, |sample| &sample.tally)
                .map(finding::timeline)
                .unwrap_or_default(),
        }
    }
}

/// The JSON. Its names are a promise to scripts; further ones may come.
#[derive(Serialize)]
struct Line<'a> {
    suite: &'static str,
    environment: &'a Environment,
    settings: &'a Settings,
    missing: &'a [Missing],
    loads: Vec<Summary>,
    behind_bytes: &'a BTreeMap<&'static str, Spread>,
    warnings: &'a [String],
    others_cores: Option<Spread>,
    stolen_cores: Option<Spread>,
    goals: Vec<Verdict>,
    ratios: BTreeMap<String, f64>,
    ratio_ranges: BTreeMap<String, Spread>,
}

impl Outcome {
    /// One line of JSON with a map `ratios` of medians.
    ///
    /// # Errors
    /// Never with these types; the serializer's refusal otherwise.
    pub fn json(&self) -> Result<String> {
        let ratios = ratios::ratios(&self.found);
        let noise = self.noise();
        Ok(serde_json::to_string(&Line {
            suite: "peers",
            environment: &self.environment,
            settings: &self.settings,
            missing: &self.missing,
            loads: self.summaries().collect(),
            behind_bytes: &self.behind_bytes,
            warnings: &self.warnings,
            others_cores: Spread::over(&noise, |noise| Some(noise.others)),
            stolen_cores: Spread::over(&noise, |noise| Some(noise.stolen)),
            goals: goals::judge(&ratios, self.settings.in_memory),
            ratios: ratios.iter().map(|ratio| (ratio.name.clone(), ratio.spread.median)).collect(),
            ratio_ranges: ratios.into_iter().map(|ratio| (ratio.name, ratio.spread)).collect(),
        })?)
    }

    /// For people.
    pub fn text(&self) -> String {
        let ratios = ratios::ratios(&self.found);
        let mut text = format!("midspan-bench peers\n{}{}", self.environment.text(), self.settings.text());
        for Missing { peer, program } in &self.missing {
            text += &format!(
                "{peer} did not take part: {} is not installed (Debian: apt install {})\n",
                program.name, program.package
            );
        }
        text += &format!("\nLoads: median [min..max] over the repeats\n{}", self.load_table());
        text += &format!(
            "\n\nWhat each operation costs; {}\n{}",
            calls::how(!self.syscalls.is_empty()),
            self.cost_table()
        );
        text += &format!("\n\nRatios, each taken inside a repeat\n{}", ratio_table(&ratios));
        text += &format!("\n\nGoals\n{}\n", goal_table(&goals::judge(&ratios, self.settings.in_memory)));
        for warning in &self.warnings {
            text += &format!("** {warning} **\n");
        }
        text + &noise_line(&self.noise())
    }

    /// In the order of the loads.
    fn summaries(&self) -> impl Iterator<Item = Summary> {
        self.found.iter().filter_map(|((number, contender), samples)| {
            let calls = self.syscalls.get(&(*number, *contender)).cloned().unwrap_or_default();
            Some(Summary::of(JOBS.get(*number)?, *contender, samples, calls))
        })
    }

    fn noise(&self) -> Vec<Noise> {
        self.found.values().flatten().map(|sample| sample.noise).collect()
    }

    fn load_table(&self) -> Table {
        let mut shown = table(&["load", "on", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us"]);
        let mut last = "";
        for load in self.summaries() {
            let name = if load.name == last { "" } else { load.name };
            last = load.name;
            let figures = [load.iops, load.mbps, load.p50_us, load.p99_us, load.p999_us];
            shown.add_row(row(&[name, load.on], &figures));
        }
        align_left(&mut shown, 1);
        shown
    }

    fn cost_table(&self) -> Table {
        let mut shown = table(&["load", "on", "process", "CPU us", "switches", "system calls"]);
        let mut last = ("", "");
        for load in self.summaries() {
            for (part, cpu_us) in &load.cpu_us {
                let name = if load.name == last.0 { "" } else { load.name };
                let on = if (load.name, load.on) == last { "" } else { load.on };
                last = (load.name, load.on);
                let switches = load.switches.get(part).copied();
                let calls = load.syscalls.get(part).and_then(|calls| Spread::of([*calls]));
                shown.add_row(row(&[name, on, part], &[Some(*cpu_us), switches, calls]));
            }
        }
        align_left(&mut shown, 1);
        align_left(&mut shown, 2);
        shown
    }
}

impl Settings {
    fn text(&self) -> String {
        let disks = if self.in_memory { "loop devices over files in memory" } else { "preallocated files" };
        let far = if self.durable {
            "flushes before it answers (cache=directsync), as the relay does"
        } else {
            "does NOT flush before it answers: the relay does"
        };
        let smoke = if self.smoke {
            "** a smoke run: it shows that things work, its figures mean nothing **\n"
        } else {
            ""
        };
        let crate::cluster::Cores { primary, relay, secondary, client } = self.cores;
        format!(
            "{smoke}{} repeats of {} s, all in turn; disks of {} MiB are {disks}\n\
             midspan: the secondary's process is stopped while the load runs; midspan_attached: it follows\n\
             host: {}\n\
             cores: primary {primary}, relay {relay}, secondary {secondary}, load generator {client}; peers anywhere\n\
             quorum: the mirror's far node {far}\n\
             nbdkit writes into the kernel's cache: only its loads with FLUSH are comparable\n",
            self.repeats,
            self.seconds,
            self.volume_bytes >> 20,
            self.host.name(),
        )
    }
}

fn ratio_table(ratios: &[PeerRatio]) -> Table {
    let mut shown = table(&["ratio", "median [min..max]", "good is"]);
    for ratio in ratios {
        let good = if ratio.is_low_good { "low" } else { "high" };
        shown.add_row(vec![ratio.name.clone(), ratio.spread.text(), good.to_owned()]);
    }
    align_left(&mut shown, 2);
    shown
}

fn goal_table(verdicts: &[Verdict]) -> Table {
    let mut shown = table(&["goal", "wanted", "found", ""]);
    for verdict in verdicts {
        let found = verdict.found.map_or_else(|| "-".to_owned(), crate::figures::digits);
        shown.add_row(vec![verdict.what.to_owned(), verdict.goal_text(), found, verdict.text()]);
    }
    align_left(&mut shown, 3);
    shown
}

fn align_left(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Left);
    }
}
