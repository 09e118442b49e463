//! What the suites that stage a scene have in common: nodes that are started for them, noise, and the form of their report.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use midspan_uring::affinity;
use midspan_uring::clock::boottime_ns;
use serde::Serialize;

use crate::cluster::layout::Layout;
use crate::cluster::{self, Cluster, Cores, Plan};
use crate::environment::Environment;
use crate::figures::Spread;
use crate::floor::exchange::Hop;
use crate::proc::{self, Noise, Usage};
use crate::report::{self, Ratio};

/// Buffer memory of each node.
const MEMORY_BYTES: u64 = 256 << 20;

/// Nodes with a volume and rings of these sizes, a host over TCP, on these cores or on those that there are.
///
/// # Errors
/// When there is no program to start, or no core.
pub fn plan(volume_mib: u64, ring_mib: u64, cores: Option<Cores>) -> Result<Plan> {
    Ok(Plan {
        midspand: cluster::find_midspand()?,
        volume_bytes: volume_mib << 20,
        ring_bytes: ring_mib << 20,
        memory_bytes: MEMORY_BYTES,
        cores: cores.map_or_else(|| Cores::share_out(&affinity::current_cores()), Ok)?,
        host: Hop::Tcp,
        layout: Layout::SINGLE,
    })
}

/// Takes counters at the beginning of a stretch of measuring, and tells at its end who else was there.
#[derive(Debug)]
pub struct Stretch {
    began_ns: u64,
    cores: proc::Cores,
    ours_us: u64,
}

impl Stretch {
    /// Begins now.
    ///
    /// # Errors
    /// When a node has ended.
    pub fn begin(cluster: Option<&mut Cluster>) -> Result<Self> {
        Ok(Self { began_ns: boottime_ns(), cores: proc::Cores::now(), ours_us: ours_us(cluster)? })
    }

    /// Ends now. The same nodes must be running as at its beginning.
    ///
    /// # Errors
    /// When a node has ended.
    pub fn end(self, cluster: Option<&mut Cluster>) -> Result<Noise> {
        let ours_us = ours_us(cluster)?.saturating_sub(self.ours_us);
        let wall_ns = boottime_ns().saturating_sub(self.began_ns);
        Ok(Noise::of(self.cores, proc::Cores::now(), ours_us, wall_ns))
    }
}

fn ours_us(cluster: Option<&mut Cluster>) -> Result<u64> {
    let own = Usage::of(std::process::id()).context("this process is not in /proc")?.cpu_us;
    let nodes = cluster.map(Cluster::usage).transpose()?.unwrap_or_default();
    Ok(own + nodes.iter().map(|(_, used)| used.cpu_us).sum::<u64>())
}

/// How a scene was made.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// How often all was measured.
    pub repeats: usize,
    /// Seconds of each measured load.
    pub seconds: f64,
    /// Whether the disks were in memory.
    pub in_memory: bool,
    /// Whether the run was short, to show only that it works.
    pub smoke: bool,
    /// Who ran where; `None` where no node runs.
    pub cores: Option<Cores>,
}

/// What a scene has found. The names in its JSON are a promise to scripts; further ones may come.
#[derive(Debug)]
pub struct Scene {
    /// Name of the suite.
    pub suite: &'static str,
    /// Where it ran.
    pub environment: Environment,
    /// How.
    pub settings: Settings,
    /// The suite's own figures, by names that stand beside `ratios` in the JSON.
    pub found: BTreeMap<&'static str, serde_json::Value>,
    /// The same for people.
    pub tables: String,
    /// Who else was there, in each stretch of measuring.
    pub noise: Vec<Noise>,
    /// The ratios.
    pub ratios: Vec<Ratio>,
}

#[derive(Serialize)]
struct Line<'a> {
    suite: &'static str,
    environment: &'a Environment,
    settings: &'a Settings,
    #[serde(flatten)]
    found: &'a BTreeMap<&'static str, serde_json::Value>,
    others_cores: Option<Spread>,
    stolen_cores: Option<Spread>,
    ratios: BTreeMap<&'a str, f64>,
    ratio_ranges: BTreeMap<&'a str, Spread>,
}

impl Scene {
    /// One line of JSON with a map `ratios` of medians.
    ///
    /// # Errors
    /// Never with these types; the serializer's refusal otherwise.
    pub fn json(&self) -> Result<String> {
        let line = Line {
            suite: self.suite,
            environment: &self.environment,
            settings: &self.settings,
            found: &self.found,
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
        text += &self.settings.text();
        text += &self.tables;
        if !self.ratios.is_empty() {
            text += "\n\nRatios, each taken inside a repeat: median [min..max]\n";
            text += &report::ratio_table(&self.ratios);
        }
        text += "\n";
        text + &report::noise_line(&self.noise)
    }
}

impl Settings {
    fn text(&self) -> String {
        let disks = if self.in_memory { "loop devices over files in memory" } else { "preallocated files" };
        let plural = if self.repeats == 1 { "" } else { "s" };
        let mut text = format!("{} repeat{plural}", self.repeats);
        if self.cores.is_some() {
            text += &format!("; disks are {disks}");
        }
        text += "\n";
        if let Some(Cores { primary, relay, secondary, client }) = self.cores {
            text += &format!(
                "cores: primary {primary}, relay {relay}, secondary {secondary}, load generator {client}\n"
            );
        }
        if self.smoke {
            text += "** smoke run: too short for figures, shows only that it works **\n";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let spread = Spread { median: 1.5, min: 1.0, max: 2.0 };
        Scene {
            suite: "drain",
            environment: Environment::of(&std::env::temp_dir()),
            settings: Settings { repeats: 1, seconds: 1.0, in_memory: false, smoke: true, cores: None },
            found: BTreeMap::from([("drains", serde_json::json!({ "a": 1 }))]),
            tables: "\nbody".to_owned(),
            noise: Vec::new(),
            ratios: vec![Ratio {
                name: "drain_vs_fill".to_owned(),
                meaning: "higher is better".to_owned(),
                spread,
            }],
        }
    }

    #[test]
    fn the_json_has_the_suites_own_figures_beside_the_ratios() {
        let line = scene().json().unwrap();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["drains"]["a"], 1);
        assert_eq!(value["ratios"]["drain_vs_fill"], 1.5);
        assert_eq!(value["ratio_ranges"]["drain_vs_fill"]["max"], 2.0);
    }

    #[test]
    fn a_smoke_run_says_that_its_figures_are_none() {
        let text = scene().text();
        assert!(
            text.contains("smoke") && text.contains("1 repeat\n") && text.contains("1.50 [1.00..2.00]"),
            "{text}"
        );
    }
}
