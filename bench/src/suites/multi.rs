//! `midspan-bench multi`: volumes, connections and cores: what more of each gives.

use anyhow::Result;
use clap::Args;
use midspan_uring::affinity;

use super::Measuring;
use super::jobs::{Job, Wanted};
use super::nodes::Nodes;
use super::series::{self, Series};
use crate::cluster::layout::Layout;
use crate::generator::{Mix, Pattern};
use crate::report::Report;
use crate::show;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench multi
  midspan-bench multi --folder /mnt/nvme --volume-mib 4096 --ring-mib 2048 --seconds 5
  midspan-bench multi --ram --json | tail -n 1
  midspan-bench multi --smoke

All loads are 4 KiB random writes with 64 under way altogether. Names say what there is: v4c2 has four volumes with two connections
to each. In this version a group with all its volumes is the work of one core: with one group a second core stays idle.";

/// Arguments of `multi`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    #[command(flatten)]
    pub nodes: Nodes,
}

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let usable = affinity::current_cores();
    if usable.len() < 2 {
        show::say("one core alone may be used: loads on two cores are left out");
    }
    let series = series(&usable);
    series::run(&series, &arguments.measuring, &arguments.nodes)
}

/// Operations under way, over all connections.
const UNDER_WAY: usize = 64;
/// Volumes where there are several.
const VOLUMES: usize = 4;

/// The loads, by their places in the list.
const V1C1: usize = 0;
const V1C4: usize = 1;
const V4C1: usize = 2;
const V4C4: usize = 3;
const TWO_CORES: usize = 4;
const TWO_CORES_TWO_GROUPS: usize = 5;

fn series(usable: &[usize]) -> Series {
    let mut layouts = vec![Layout::SINGLE, Layout { volumes: VOLUMES, ..Layout::SINGLE }];
    let mut jobs = vec![
        job("v1c1", "1 volume, 1 connection", (0, 1), 1).with_floor(),
        job("v1c4", "1 volume, 4 connections", (0, 4), 1),
        job("v4c1", "4 volumes, 1 connection each", (1, 1), VOLUMES),
        job("v4c4", "4 volumes, 4 connections each", (1, 4), VOLUMES),
    ];
    let mut ratios = vec![
        Wanted::rate(
            "multi_v1c1_iops_vs_floor",
            "writes a second to one volume over the floor's; higher is better",
            V1C1,
            V1C1,
        ),
        between("multi_v1c4_vs_v1c1", "4 connections to one volume over one", V1C4, V1C1),
        between("multi_v4c1_vs_v1c1", "4 volumes over one", V4C1, V1C1),
        between("multi_v4c4_vs_v4c1", "4 connections to each of 4 volumes over one", V4C4, V4C1),
    ];
    // The same two cores for every node where there are no more; they are shared with the load generator then.
    if let [first, second, ..] = *usable {
        let cores = vec![first, second];
        layouts.push(Layout { volumes: VOLUMES, cores: cores.clone(), ..Layout::SINGLE });
        layouts.push(Layout { groups: 2, volumes: VOLUMES / 2, cores, ..Layout::SINGLE });
        jobs.push(job("v4c4_two_cores", "4 volumes of one group, every node on two cores", (2, 4), VOLUMES));
        let title = "4 volumes of two groups, every node on two cores";
        jobs.push(job("v4c4_two_cores_two_groups", title, (3, 4), VOLUMES));
        ratios.extend([
            between(
                "multi_two_cores_vs_one",
                "one group on two cores, of which it uses one, over each node on its own",
                TWO_CORES,
                V4C4,
            ),
            between(
                "multi_two_cores_two_groups_vs_one",
                "two groups on two cores over one group, each node on its own core",
                TWO_CORES_TWO_GROUPS,
                V4C4,
            ),
        ]);
    }
    Series { suite: "multi", layouts, jobs, ratios }
}

/// A load on this layout, with so many connections to each export.
fn job(name: &str, title: &str, (layout, connections): (usize, usize), exports: usize) -> Job {
    let depth = UNDER_WAY / (connections * exports);
    let random = (Pattern::Random, Mix::Write);
    let name = format!("randwrite_4k_{name}");
    Job::closed(&name, &format!("4 KiB random write, {title}"), random, 4096, depth).on(layout, connections)
}

fn between(name: &str, meaning: &str, load: usize, other: usize) -> Wanted {
    Wanted::between(name, &format!("{meaning}, writes a second; higher is better"), load, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_has_as_much_under_way_on_a_layout_that_is_there() {
        for (usable, count) in [(&[0, 1, 2][..], 6), (&[5], 4)] {
            let series = series(usable);
            assert_eq!(series.jobs.len(), count);
            for job in &series.jobs {
                let (layout, connections) = job.place;
                let exports = series.layouts[layout].all_volumes();
                assert_eq!(job.work.depth * exports * connections, UNDER_WAY, "{}", job.name);
            }
        }
    }

    #[test]
    fn loads_stand_where_their_numbers_say() {
        let series = series(&[0, 1]);
        for (index, name) in [
            (V1C1, "v1c1"),
            (V1C4, "v1c4"),
            (V4C1, "v4c1"),
            (V4C4, "v4c4"),
            (TWO_CORES, "v4c4_two_cores"),
            (TWO_CORES_TWO_GROUPS, "v4c4_two_cores_two_groups"),
        ] {
            assert_eq!(series.jobs[index].name, format!("randwrite_4k_{name}"));
        }
    }
}
