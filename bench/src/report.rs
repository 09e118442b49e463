//! The end of a run: tables for people, and all of it as one line of JSON.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::calls;
use crate::cluster::Place;
use crate::environment::Environment;
use crate::figures::{Spread, digits};
use crate::finding::{Apart, Costs, Finding, Open, Summary};
use crate::floor;
use crate::generator::Mix;
use crate::machine;
use crate::proc::Noise;

/// How a run was made.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// Repeats, each with all floors and all loads.
    pub repeats: usize,
    /// Seconds that each load was measured in each repeat.
    pub seconds: f64,
    /// Whether it was a run for function only, whose figures mean nothing.
    pub smoke: bool,
    /// Whether the disks were in memory.
    pub in_memory: bool,
    /// How the host reaches the primary; empty where no node runs.
    pub host: &'static str,
    /// Who ran where; `None` where no node runs.
    pub cores: Option<crate::cluster::Cores>,
}

/// One ratio: a figure of the path over its floor, taken inside each repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Its name in the JSON.
    pub name: String,
    /// What it says.
    pub meaning: String,
    /// Over all repeats.
    pub spread: Spread,
}

/// Everything that one run has found.
#[derive(Debug)]
pub struct Report {
    /// Name of the suite.
    pub suite: &'static str,
    /// Where it ran.
    pub environment: Environment,
    /// How.
    pub settings: Settings,
    /// Floors by the name of their load.
    pub floors: Vec<(String, floor::Summary)>,
    /// Reads from the disk itself, by the name of their load.
    pub disk_reads: Vec<(String, floor::Part)>,
    /// The host's hop alone.
    pub host_hop: Option<floor::Part>,
    /// Memory and raw device alone.
    pub machine: Option<machine::Summary>,
    /// Loads on the nodes.
    pub loads: Vec<Finding>,
    /// CPU use of the idle nodes, percent of one core.
    pub idle_percent: BTreeMap<&'static str, Spread>,
    /// Who else was there, in each stretch of measuring.
    pub noise: Vec<Noise>,
    /// The ratios.
    pub ratios: Vec<Ratio>,
}

/// The JSON. Its names are a promise to scripts; further ones may come.
#[derive(Serialize)]
struct Line<'a> {
    suite: &'static str,
    environment: &'a Environment,
    settings: &'a Settings,
    floor: BTreeMap<&'a str, &'a floor::Summary>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    disk_reads: BTreeMap<&'a str, &'a floor::Part>,
    host_hop: &'a Option<floor::Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: &'a Option<machine::Summary>,
    /// Loads by name, figures alone.
    path: BTreeMap<&'a str, &'a Summary>,
    /// Loads in order, with all that is known of them.
    loads: &'a [Finding],
    idle_percent: &'a BTreeMap<&'static str, Spread>,
    others_cores: Option<Spread>,
    stolen_cores: Option<Spread>,
    ratios: BTreeMap<&'a str, f64>,
    ratio_ranges: BTreeMap<&'a str, Spread>,
}

impl Report {
    /// One line of JSON with a map `ratios` of medians.
    ///
    /// # Errors
    /// Never with these types; the serializer's refusal otherwise.
    pub fn json(&self) -> anyhow::Result<String> {
        let line = Line {
            suite: self.suite,
            environment: &self.environment,
            settings: &self.settings,
            floor: self.floors.iter().map(|(name, floor)| (name.as_str(), floor)).collect(),
            disk_reads: self.disk_reads.iter().map(|(name, part)| (name.as_str(), part)).collect(),
            host_hop: &self.host_hop,
            machine: &self.machine,
            path: self.loads.iter().map(|load| (load.name.as_str(), &load.summary)).collect(),
            loads: &self.loads,
            idle_percent: &self.idle_percent,
            others_cores: Spread::over(&self.noise, |noise| Some(noise.others)),
            stolen_cores: Spread::over(&self.noise, |noise| Some(noise.stolen)),
            ratios: self.ratios.iter().map(|ratio| (ratio.name.as_str(), ratio.spread.median)).collect(),
            ratio_ranges: self.ratios.iter().map(|ratio| (ratio.name.as_str(), ratio.spread)).collect(),
        };
        Ok(serde_json::to_string(&line)?)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("midspan-bench {}\n{}", self.suite, self.environment.text());
        text += &self.settings_text();
        if !self.floors.is_empty() {
            text += "\nFloor: a frame goes to another thread over loopback TCP, which appends it durably and replies\n";
            text += &self.floor_table();
        } else if self.host_hop.is_some() {
            text += "\nFloor: the same reads from the disk itself, past the page cache\n";
            text += &self.floor_table();
        }
        if let Some(machine) = &self.machine {
            text += &machine_text(machine);
        }
        if !self.loads.is_empty() {
            text += "\n\nPath: host, primary, relay and secondary\n";
            text += &self.path_table();
            let are_counted = self.loads.iter().any(|load| !load.syscalls.is_empty());
            text +=
                &format!("\n\nWhat each operation costs, and the secondary; {}\n", calls::how(are_counted));
            text += &self.cost_table();
        }
        if !self.ratios.is_empty() {
            text += "\n\nRatios, each taken inside a repeat: median [min..max]\n";
            text += &ratio_table(&self.ratios);
        }
        text += "\n";
        text + &self.idle_text() + &noise_line(&self.noise)
    }

    fn settings_text(&self) -> String {
        let Settings { repeats, seconds, smoke, in_memory, host, cores } = &self.settings;
        let disks = if *in_memory { "loop devices over files in memory" } else { "preallocated files" };
        let mut text =
            format!("{repeats} repeats of {seconds} s, floor and path in turn; disks are {disks}\n");
        if *smoke {
            text += "** a smoke run: it shows that things work, its figures mean nothing **\n";
        }
        if let Some(cores) = cores {
            let crate::cluster::Cores { primary, relay, secondary, client } = cores;
            text += &format!(
                "cores: primary {primary}, relay {relay}, secondary {secondary}, load generator {client}; host over {host}\n"
            );
        }
        text
    }

    fn floor_table(&self) -> String {
        let mut table = table(&["load", "part", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us"]);
        for (name, floor) in &self.floors {
            let floor::Shape { frames, writes, cores: [near, far], awake } = &floor.shape;
            let place = if near == far { "one core" } else { "two cores" };
            let plural = if *frames == 1 { "" } else { "s" };
            let awake = if *awake { ", awake" } else { "" };
            let shape = format!("  {frames} frame{plural} of {writes}, {place}{awake}");
            for (load, part, figures) in [
                (name.as_str(), "answer: both together", &floor.answer),
                (shape.as_str(), "round trip alone", &floor.round_trip),
                ("", "append alone", &floor.append),
            ] {
                table.add_row(row(&[load, part], &part_figures(figures)));
            }
        }
        for (name, part) in &self.disk_reads {
            table.add_row(row(&[name, "the disk alone"], &part_figures(part)));
        }
        if let Some(hop) = &self.host_hop {
            table.add_row(row(&["", "a host's hop alone, 4 KiB"], &part_figures(hop)));
        }
        table.to_string()
    }

    fn path_table(&self) -> String {
        let mut table = table(&["load", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us"]);
        for Finding { name, summary, .. } in &self.loads {
            let Summary { iops, mbps, p50_us, p99_us, p999_us, .. } = summary;
            table.add_row(row(&[name], &[*iops, *mbps, *p50_us, *p99_us, *p999_us]));
            for (what, apart) in [("  its reads", &summary.reads), ("  its writes", &summary.writes)] {
                if let Some(Apart { iops, p50_us, p99_us }) = apart {
                    table.add_row(row(&[what], &[*iops, None, *p50_us, *p99_us, None]));
                }
            }
        }
        let mut text = table.to_string();
        for Finding { name, summary, .. } in &self.loads {
            if let Some(open) = &summary.open {
                text += &format!("\n{name}: {}", open_text(open));
            }
        }
        text
    }

    fn cost_table(&self) -> String {
        let mut table = table(&["load", "", "primary", "relay", "secondary", "load generator"]);
        for Finding { name, summary: Summary { cpu_us, switches, .. }, syscalls, .. } in &self.loads {
            for (load, what, costs) in [(name.as_str(), "CPU us", cpu_us), ("", "switches", switches)] {
                let Costs { primary, relay, secondary, client } = costs;
                table.add_row(row(&[load, what], &[*primary, *relay, *secondary, *client]));
            }
            let calls = |place: Place| syscalls.get(place.name()).and_then(|calls| Spread::of([*calls]));
            let [primary, relay, secondary] = [Place::Primary, Place::Relay, Place::Secondary].map(calls);
            table.add_row(row(&["", "system calls"], &[primary, relay, secondary, None]));
        }
        let mut text = table.to_string();
        for Finding { name, summary, .. } in self.loads.iter().filter(|load| load.mix != Mix::Read) {
            text += &format!("\n{name}: {}", behind_text(summary));
        }
        text
    }

    fn idle_text(&self) -> String {
        if self.idle_percent.is_empty() {
            return String::new();
        }
        let nodes = self.idle_percent.iter();
        let nodes: Vec<String> =
            nodes.map(|(node, percent)| format!("{node} {} %", digits(percent.median))).collect();
        format!("idle nodes use of one core: {}\n", nodes.join(", "))
    }
}

/// Ratios, one a line.
pub fn ratio_table(ratios: &[Ratio]) -> String {
    let mut table = table(&["ratio", "", "what"]);
    for ratio in ratios {
        table.add_row(vec![ratio.name.clone(), ratio.spread.text(), ratio.meaning.clone()]);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table.to_string()
}

/// More cores than this, used by others, bend the figures.
const NOISY_CORES: f64 = 0.3;

/// Whether a fixed rate was kept.
fn open_text(open: &Open) -> String {
    let shown = |figure: &Option<Spread>| figure.map_or_else(|| "-".to_owned(), |figure| figure.text());
    let mut text = format!(
        "{} a second were due, latencies count from then; 99 in 100 were started at most {} us later",
        shown(&open.offered_iops),
        shown(&open.late_p99_us)
    );
    if open.not_reached > 0 {
        text += &format!(
            "; RATE NOT REACHED in {} repeats ({} of it, {} given up): the latencies are those of an overload",
            open.not_reached,
            shown(&open.reached),
            shown(&open.missed)
        );
    }
    text
}

/// How much of the machine others had.
pub fn noise_line(noise: &[Noise]) -> String {
    let others = Spread::over(noise, |noise| Some(noise.others));
    let stolen = Spread::over(noise, |noise| Some(noise.stolen));
    let (Some(others), Some(stolen)) = (others, stolen) else {
        return String::new();
    };
    let is_noisy = others.median + stolen.median > NOISY_CORES;
    format!(
        "cores busy with others {}, kept back by the hypervisor {}{}\n",
        others.text(),
        stolen.text(),
        if is_noisy { "  ** noisy: trust ratios rather than figures **" } else { "" }
    )
}

fn behind_text(load: &Summary) -> String {
    let mib = |bytes: &Option<Spread>| {
        bytes.map_or_else(
            || "an unknown amount".to_owned(),
            |bytes| format!("{} MiB", digits(bytes.median / 1048576.0)),
        )
    };
    let mut text = format!(
        "at the end the secondary lacked {} of journal and had not applied {}",
        mib(&load.behind_acquired_bytes),
        mib(&load.behind_applied_bytes)
    );
    if let Some(seconds) = load.behind_seconds {
        text += &format!(" ({} ms)", digits(seconds.median * 1e3));
    }
    if let Some(caught_up) = load.caught_up_ms {
        text += &format!("; caught up after {} ms", digits(caught_up.median));
    }
    if load.never_caught_up > 0 {
        text += &format!("; NOT caught up in time in {} repeats", load.never_caught_up);
    }
    text
}

/// The machine's own figures.
fn machine_text(machine: &machine::Summary) -> String {
    let mut device = table(&["raw durable writes", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us"]);
    for (name, part) in &machine.device {
        device.add_row(row(&[name], &part_figures(part)));
    }
    let mut memory = table(&["memory", "GiB/s"]);
    for (name, gibps) in &machine.memory_gibps {
        memory.add_row(row(&[name], &[Some(*gibps)]));
    }
    format!(
        "\n\nThe machine alone: 4 KiB past the page cache, each durable (O_DIRECT, RWF_DSYNC)\n{device}\n\n{memory}"
    )
}

fn part_figures(part: &floor::Part) -> [Option<Spread>; 5] {
    [part.iops, part.mbps, part.p50_us, part.p99_us, part.p999_us]
}

/// An empty table: the first column to the left, figures to the right.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head.iter().copied());
    for (number, column) in table.column_iter_mut().enumerate() {
        let alignment = if number == 0 { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(alignment);
    }
    table
}

/// A row of names, then of figures; a missing one is a dash.
pub fn row(names: &[&str], figures: &[Option<Spread>]) -> Vec<String> {
    let shown = figures.iter().map(|figure| figure.map_or_else(|| "-".to_owned(), |figure| figure.text()));
    names.iter().map(|name| (*name).to_owned()).chain(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ratios: Vec<Ratio>) -> Report {
        Report {
            suite: "quick",
            environment: Environment::of(&std::env::temp_dir()),
            settings: Settings {
                repeats: 3,
                seconds: 1.0,
                smoke: false,
                in_memory: false,
                host: "tcp",
                cores: None,
            },
            floors: Vec::new(),
            disk_reads: Vec::new(),
            host_hop: None,
            machine: None,
            loads: Vec::new(),
            idle_percent: BTreeMap::new(),
            noise: vec![Noise { others: 1.5, stolen: 0.0 }],
            ratios,
        }
    }

    fn ratio(median: f64) -> Ratio {
        let spread = Spread { median, min: 1.0, max: 2.0 };
        let (name, meaning) = ("answer_qd1_p50_vs_floor".to_owned(), "lower is better".to_owned());
        Ratio { name, meaning, spread }
    }

    #[test]
    fn the_json_is_one_line_with_the_medians_of_the_ratios() {
        let line = report(vec![ratio(1.25)]).json().unwrap();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["ratios"]["answer_qd1_p50_vs_floor"], 1.25);
        assert_eq!(value["ratio_ranges"]["answer_qd1_p50_vs_floor"]["max"], 2.0);
        assert_eq!(value["suite"], "quick");
        assert!(value["environment"]["kernel"].is_string());
    }

    #[test]
    fn the_table_shows_a_ratio_with_its_range_and_direction() {
        let text = report(vec![ratio(1.25)]).text();
        assert!(text.contains("1.25 [1.00..2.00]") && text.contains("lower is better"), "{text}");
        assert!(text.contains("noisy"), "{text}");
        assert!(!report(Vec::new()).text().contains("Ratios"));
    }

    #[test]
    fn a_missing_figure_is_a_dash() {
        assert_eq!(row(&["a"], &[None, Spread::of([2.0])]), ["a", "-", "2.00"]);
    }
}
