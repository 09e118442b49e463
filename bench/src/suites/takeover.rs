//! `midspan-bench takeover`: the primary is killed under load, the secondary takes over with a backlog of a given size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use midspan::clock::Signal;
use serde::Serialize;

use super::Measuring;
use super::scenes;
use crate::cluster::layout::GROUP;
use crate::cluster::{Cluster, Cores, Place, Plan};
use crate::disks::Disks;
use crate::environment::Environment;
use crate::figures::{Spread, ratio};
use crate::floor::bandwidth::Bandwidth;
use crate::generator::{self, Gauge, Load};
use crate::hold::Hold;
use crate::proc::Noise;
use crate::report::{self, Ratio};
use crate::scene::{self, Scene, Settings, Stretch};
use crate::show::Show;
use crate::takeover::{self, Takeover};
use crate::window::Window;
use crate::wires::Wires;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan-bench takeover
  midspan-bench takeover --backlog-mib 0,512 --ring-mib 1024 --folder /mnt/nvme
  midspan-bench takeover --far-ms 100 --repeats 1
  midspan-bench takeover --smoke --json | tail -n 1

The time runs from the command to the secondary's node until a read of its export is answered. The goal is 1 s and what
the disk needs for the backlog's bytes, by durable appends of 128 KiB measured in the same run.";

/// Arguments of `takeover`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub measuring: Measuring,
    /// Data that the secondary lacks when the primary is killed, MiB; 0: it follows until then
    #[arg(long, value_name = "MIB,..", value_delimiter = ',', default_values_t = [0, 64, 256], value_parser = clap::value_parser!(u64).range(0..=1 << 20))]
    pub backlog_mib: Vec<u64>,
    /// Round trip to the secondary's site, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub far_ms: u64,
    /// Size of the volume, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub volume_mib: u64,
    /// Size of each ring, MiB; a backlog may fill two thirds of it
    #[arg(long, value_name = "MIB", default_value_t = 448, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub ring_mib: u64,
    /// Cores of primary, relay, secondary and load generator, for example 0,1,1,0
    #[arg(long, value_name = "P,R,S,L")]
    pub cores: Option<Cores>,
}

/// How long a load runs at least before the primary is killed.
const FLOW: Duration = Duration::from_millis(500);
/// Longer does no load need for its backlog.
const LOAD_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at the load.
const GLANCE: Duration = Duration::from_millis(2);
/// What the goal grants besides the backlog, seconds.
const GRANTED_S: f64 = 1.0;

/// One takeover.
struct Found {
    /// Bytes of journal that the secondary lacked.
    backlog_bytes: f64,
    /// Of durable appends, bytes a second.
    bandwidth: f64,
    takeover: Takeover,
    noise: Noise,
}

impl Found {
    fn goal_s(&self) -> f64 {
        GRANTED_S + self.backlog_bytes / self.bandwidth
    }
}

/// Runs the suite.
///
/// # Errors
/// What the kernel, the file system or a node says, and a takeover that is refused or loses something.
pub fn run(arguments: &Arguments) -> Result<Scene> {
    let measuring = &arguments.measuring;
    let (backlogs, volume_mib, ring_mib) = if measuring.smoke {
        (vec![0, 8], 32, 64)
    } else {
        (arguments.backlog_mib.clone(), arguments.volume_mib, arguments.ring_mib)
    };
    let repeats = measuring.repeats();
    if let Some(large) = backlogs.iter().find(|backlog| **backlog > ring_mib * 2 / 3) {
        bail!(
            "a backlog of {large} MiB does not fit into two thirds of a ring of {ring_mib} MiB: say --ring-mib"
        );
    }
    let environment = Environment::of(&measuring.folder());
    let plan = scene::plan(volume_mib, ring_mib, arguments.cores)?;
    let show = Show::new((repeats * backlogs.len() * 4) as u64);
    let mut found: Vec<Vec<Found>> = backlogs.iter().map(|_| Vec::new()).collect();
    for number in 1..=repeats {
        for (backlog, list) in backlogs.iter().zip(&mut found) {
            let title = format!("repeat {number}, backlog {backlog} MiB");
            list.push(once(arguments, &plan, *backlog << 20, &title, &show)?);
        }
    }
    show.end();
    let settings = scenes::settings(measuring, plan.cores);
    report(environment, settings, arguments.far_ms, &backlogs, &found)
}

/// New nodes, a load, a death, a takeover.
fn once(arguments: &Arguments, plan: &Plan, backlog_bytes: u64, title: &str, show: &Show) -> Result<Found> {
    let measuring = &arguments.measuring;
    let step = |what: &str| show.step(&format!("{title}: {what}"));
    let mut disks = Disks::create(&measuring.folder(), measuring.ram, false)?;
    let bandwidth = Bandwidth::create(&mut disks)?.of_disk(plan.cores.relay)?;
    let mut wires = Wires::default();
    wires.far.set_round_trip(Duration::from_millis(arguments.far_ms));
    // A proxy costs something even where it delays nothing.
    let mut route =
        |from, to, address| if arguments.far_ms == 0 { Ok(address) } else { wires.route(from, to, address) };
    let mut cluster = Cluster::start_routed(plan, &mut disks, &mut route, &step)?;
    step("load, death of the primary, takeover");
    let held = lose_primary(plan, &mut cluster, backlog_bytes)?;
    let stretch = Stretch::begin(Some(&mut cluster))?;
    // A secondary that was held goes on at the very moment of the command.
    drop(held);
    let taken = takeover::take_over(cluster.api(Place::Secondary)?, GROUP, cluster.uri_after_takeover());
    let takeover = taken.with_context(|| cluster.logs())?;
    let noise = stretch.end(Some(&mut cluster))?;
    // One that followed lacked nothing to speak of; what it had applied and not yet recorded is no backlog.
    let backlog_bytes = if backlog_bytes == 0 { 0.0 } else { takeover.journal_bytes };
    Ok(Found { backlog_bytes, bandwidth, takeover, noise })
}

/// Kills the primary in full flow, once so much was answered that the secondary, which is held then, has not got.
fn lose_primary(plan: &Plan, cluster: &mut Cluster, backlog_bytes: u64) -> Result<Option<Hold>> {
    let job = if backlog_bytes == 0 { scenes::queue() } else { scenes::stream() };
    let load = Load {
        uris: vec![cluster.uri()?.to_owned()],
        work: job.work,
        core: plan.cores.client,
        seed: 1,
        window: Window { warm: Duration::ZERO, measured: LOAD_LIMIT },
    };
    let held = (backlog_bytes > 0).then(|| cluster.hold(Place::Secondary)).transpose()?;
    let gauge = Arc::new(Gauge::default());
    let running = {
        let gauge = Arc::clone(&gauge);
        thread::spawn(move || generator::run(&load, &gauge))
    };
    let enough = || gauge.answered() * job.work.bytes as u64 >= backlog_bytes;
    if backlog_bytes == 0 {
        Signal::default().wait(FLOW);
    }
    while !enough() && !running.is_finished() {
        Signal::default().wait(GLANCE);
    }
    let was_running = !running.is_finished();
    cluster.kill(Place::Primary);
    let ended = running.join().map_err(|_| anyhow::anyhow!("the load generator has panicked"))?;
    match ended {
        // The connection broke with the primary, as it should.
        Err(_) if was_running => Ok(held),
        Err(error) => Err(error.context(cluster.logs())),
        Ok(_) => bail!("the load has ended before the primary was killed"),
    }
}

/// Takeovers with one backlog over all repeats.
#[derive(Debug, Serialize)]
struct Summary {
    /// Bytes of journal that the secondary lacked.
    backlog_bytes: Option<Spread>,
    /// Durable appends of 128 KiB, megabytes (10^6) a second.
    disk_mbps: Option<Spread>,
    /// From the command until the export answered a read, seconds.
    served_s: Option<Spread>,
    /// 1 s and the backlog over the disk's bandwidth, seconds.
    goal_s: Option<Spread>,
    /// The node's own figure, seconds.
    told_s: Option<Spread>,
    /// How long each step took, seconds; a step that was too short to be told is missing.
    steps_s: BTreeMap<&'static str, Spread>,
}

/// Steps of a takeover in the node's words.
const STEPS: [&str; 5] = ["starting", "probing", "fencing", "reading", "redoing"];

fn report(
    environment: Environment,
    settings: Settings,
    far_ms: u64,
    backlogs: &[u64],
    found: &[Vec<Found>],
) -> Result<Scene> {
    let mut head = vec!["backlog", "journal MB", "disk MB/s", "served s", "goal s"];
    head.extend(STEPS.map(|step| match step {
        "starting" => "starting ms",
        "probing" => "probing ms",
        "fencing" => "fencing ms",
        "reading" => "reading ms",
        _ => "redoing ms",
    }));
    let mut table = report::table(&head);
    let mut summaries = BTreeMap::new();
    for (backlog, found) in backlogs.iter().zip(found) {
        let over = |take: &dyn Fn(&Found) -> Option<f64>| Spread::over(found, take);
        let step = |name: &str, scale: f64| over(&|one| Some(one.takeover.step_s(name)? * scale));
        let summary = Summary {
            backlog_bytes: over(&|one| Some(one.backlog_bytes)),
            disk_mbps: over(&|one| Some(one.bandwidth / 1e6)),
            served_s: over(&|one| Some(one.takeover.served_s)),
            goal_s: over(&|one| Some(one.goal_s())),
            told_s: over(&|one| one.takeover.told_s),
            steps_s: STEPS.into_iter().filter_map(|name| Some((name, step(name, 1.0)?))).collect(),
        };
        let mut figures = vec![over(&|one| Some(one.backlog_bytes / 1e6))];
        figures.extend([summary.disk_mbps, summary.served_s, summary.goal_s]);
        figures.extend(STEPS.map(|name| step(name, 1e3)));
        let name = format!("{backlog} MiB");
        table.add_row(report::row(&[&name], &figures));
        summaries.insert(format!("backlog_{backlog}mib"), summary);
    }
    Ok(Scene {
        suite: "takeover",
        environment,
        settings,
        found: BTreeMap::from([("far_ms", far_ms.into()), ("takeovers", serde_json::to_value(summaries)?)]),
        tables: format!(
            "\nTakeover: primary killed under load, far site at {far_ms} ms; from the command until a read is answered\n{table}"
        ),
        noise: found.iter().flatten().map(|one| one.noise).collect(),
        ratios: ratios(found).into_iter().collect(),
    })
}

/// The worst of each repeat's backlogs.
fn ratios(found: &[Vec<Found>]) -> Option<Ratio> {
    let repeats = found.iter().map(Vec::len).max()?;
    let worst = (0..repeats).filter_map(|number| {
        let of_repeat = found.iter().filter_map(|list| list.get(number));
        of_repeat.filter_map(|one| ratio(one.takeover.served_s, one.goal_s())).max_by(f64::total_cmp)
    });
    Some(Ratio {
        name: "takeover_s_vs_goal".to_owned(),
        meaning: "time to serve over 1 s + backlog over disk bandwidth, the worst backlog; lower is better"
            .to_owned(),
        spread: Spread::of(worst)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(backlog_bytes: f64, served_s: f64) -> Found {
        let takeover = Takeover { served_s, ..Takeover::default() };
        Found { backlog_bytes, bandwidth: 100e6, takeover, noise: Noise::default() }
    }

    #[test]
    fn the_goal_grows_with_the_backlog_and_the_worst_backlog_counts() {
        let ratio =
            ratios(&[vec![found(0.0, 0.5), found(0.0, 3.0)], vec![found(200e6, 2.4), found(200e6, 3.0)]]);
        // 0.5 / 1 and 2.4 / 3; 3 / 1 and 3 / 3.
        let spread = ratio.unwrap().spread;
        assert!((spread.min - 0.8).abs() < 1e-9 && (spread.max - 3.0).abs() < 1e-9, "{spread:?}");
        assert!(ratios(&[]).is_none());
    }
}
