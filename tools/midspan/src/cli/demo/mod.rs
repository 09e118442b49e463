//! `midspan demo`: real nodes on this machine, a workload, the loss of some of them, and the verdict.

mod layout;
mod node;
mod show;
mod outcome;
mod home;
mod lanes;
mod pause;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use midspan::clock::Clock;
use midspan::hammer::command::random_run_id;
use midspan::hammer::{Config, Hammer, Handle, Initial, Ledger, OnDisconnect, Snapshot, Verdict};
use midspan_daemon::api::types::{Role, TakeoverOutcome, TakeoverRequest};

use super::exit::{Exit, Failure};
use layout::{GROUP, Layout, Place, Shape};
use node::Node;
use outcome::Outcome;
use show::Show;

/// Shown by `--help`.
pub const EXAMPLES: &str = "Example:
  midspan demo
  midspan demo --seconds 30 --keep
  midspan demo --scenario failback --json
  midspan demo --scenario mirrored

Exit code 0 only if the verdict is `held`.";

/// How long nodes may take to come up.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long nodes may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long the takeover may be silent.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What happens
    #[arg(long, value_enum, default_value_t = Scenario::PrimaryLoss)]
    pub scenario: Scenario,
    /// Seconds of workload before it happens
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Connections of the workload
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub connections: u32,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub depth: u32,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep the folder with disks, configs and logs
    #[arg(long)]
    pub keep: bool,
    /// Folder in which the demo's own folder is made; by default the system's for temporary files
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// End with one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What happens in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The primary is killed in full flow, the secondary takes over.
    PrimaryLoss,
    /// The same; then hosts write at the other site, the lost one returns, gets what it lacks, and has its role back.
    Failback,
    /// Two relays, one of which holds the journal: it is killed, hosts go on with the other; then the primary is killed.
    RelayLoss,
    /// The same; the first relay comes back with an empty disk and is used again; the primary is lost, and gets its role back.
    AlternateRelay,
    /// Two relays, each write in both: one is lost and comes back; then the primary and a relay die at the same instant.
    Mirrored,
    /// Two relays that share the data: one is lost and comes back; then the primary is killed with frames under way to both.
    Striped,
    /// Both relays are killed: the lane at the other site carries until one is back; then the primary is killed.
    Direct,
    /// Hosts are answered from the primary's own disk: what a takeover could lose is told, a planned change of roles loses nothing.
    Local,
}

impl Scenario {
    const fn name(self) -> &'static str {
        match self {
            Scenario::PrimaryLoss => "primary-loss",
            Scenario::Failback => "failback",
            Scenario::RelayLoss => "relay-loss",
            Scenario::AlternateRelay => "alternate-relay",
            Scenario::Mirrored => "mirrored",
            Scenario::Striped => "striped",
            Scenario::Direct => "direct",
            Scenario::Local => "local",
        }
    }

    const fn shape(self) -> Shape {
        match self {
            Scenario::PrimaryLoss | Scenario::Failback => Shape::ONE,
            Scenario::RelayLoss | Scenario::AlternateRelay => Shape::FAILOVER,
            Scenario::Mirrored => Shape::MIRROR,
            Scenario::Striped => Shape::STRIPE,
            Scenario::Direct => Shape::DIRECT,
            Scenario::Local => Shape::LOCAL,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When a node does not come up, the takeover is refused, or the verification cannot be made.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> super::exit::Outcome {
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let show = Show::new();
    show.live("making disks and configs");
    let layout = Layout::create(&parent, arguments.scenario.shape())?;
    let played = match arguments.scenario {
        Scenario::PrimaryLoss | Scenario::Failback => play(arguments, &layout, &show),
        Scenario::RelayLoss
        | Scenario::AlternateRelay
        | Scenario::Mirrored
        | Scenario::Striped
        | Scenario::Direct
        | Scenario::Local => lanes::play(arguments, &layout, &show),
    };
    show.end();
    if arguments.keep {
        show.say(&format!("kept: {}", layout.folder().display()));
    } else if let Err(error) = std::fs::remove_dir_all(layout.folder()) {
        show.say(&format!("{} cannot be removed: {error}", layout.folder().display()));
    }
    let played = played?;
    let Played { figures, takeover, verdict, pause_ms, lane_pause_ms } = &played;
    let mut outcome = Outcome::of(arguments.scenario.name(), figures, takeover, verdict, *pause_ms);
    outcome.lane_pause_ms = *lane_pause_ms;
    let text = outcome.text(GROUP, &played.takeover, &played.verdict);
    if arguments.json {
        show.say(text.trim_end());
        let json = serde_json::to_string(&outcome).map_err(|error| Failure::other(error.to_string()))?;
        writeln!(out, "{json}")?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(if outcome.held() { Exit::Ok } else { Exit::Failure })
}

/// What came out of the scenario.
struct Played {
    figures: Snapshot,
    takeover: TakeoverOutcome,
    verdict: Verdict,
    /// How long hosts waited while the roles went home, where they did.
    pause_ms: Option<u64>,
    /// How long hosts waited while lanes were lost and came back, at most, where they did.
    lane_pause_ms: Option<u64>,
}

fn play(arguments: &Arguments, layout: &Layout, show: &Show) -> Result<Played, Failure> {
    show.live("formatting journals, starting three nodes");
    let mut nodes = Vec::new();
    for place in layout.places() {
        Node::format(layout, place)?;
        nodes.push(Node::start(layout, place)?);
    }
    let [relay, secondary, primary] = nodes.as_mut_slice() else {
        return Err(Failure::other("not three nodes"));
    };
    wait_for_all(relay, secondary, primary)?;
    show.say(&format!(
        "three nodes on this machine: primary site-a (pid {}), relay (pid {}), secondary site-b (pid {}), in {}",
        primary.pid(),
        relay.pid(),
        secondary.pid(),
        layout.folder().display()
    ));

    let config = workload(arguments, layout);
    let timeout = config.connect_timeout;
    let handle = Hammer::start(config, random_run_id()).map_err(|error| Failure::other(error.to_string()))?;
    watch(&handle, primary, Duration::from_secs(arguments.seconds), show);

    primary.kill()?;
    let figures = handle.snapshot();
    show.say(&format!("SIGKILL to the primary after {} answered writes", figures.counts.answered));
    handle.wait_finished(Duration::from_secs(2));
    handle.cut();
    let mut ledger = handle.into_ledger();

    let takeover = take_over(secondary, show)?;
    let mut pause_ms = None;
    let mut place = Place::Secondary;
    if arguments.scenario == Scenario::Failback {
        let (home, returned) = home::go_home(arguments, layout, secondary, ledger, show)?;
        (*primary, ledger) = (returned, home.ledger);
        (pause_ms, place) = (Some(home.pause_ms), Place::Primary);
    }
    let verdict = verify(&ledger, layout.uri(place), timeout, show)?;
    if pause_ms.is_some() && !primary.stop(STOP_LIMIT) {
        show.say("site-a did not end cleanly");
    }
    for (node, name) in [(secondary, "site-b"), (relay, "relay")] {
        if !node.stop(STOP_LIMIT) {
            show.say(&format!("{name} did not end cleanly"));
        }
    }
    Ok(Played { figures, takeover, verdict, pause_ms, lane_pause_ms: None })
}

/// Reads everything back where it is served now.
fn verify(ledger: &Ledger, uri: String, timeout: Duration, show: &Show) -> Result<Verdict, Failure> {
    let what = "verifying every answered write where it is served now";
    show.live(what);
    let mut percent = 0;
    let verdict = ledger.verify(&[uri], timeout, |progress| {
        let now = progress.checked_blocks * 100 / progress.total_blocks.max(1);
        if now >= percent + 25 {
            percent = now;
            show.live(&format!("{what}: {now} %"));
        }
    });
    verdict.map_err(|error| Failure::other(format!("verification: {error}")))
}

fn wait_for_all(relay: &mut Node, secondary: &mut Node, primary: &mut Node) -> Result<(), Failure> {
    relay.wait("up", START_LIMIT, |_| true)?;
    wait_for_sites(secondary, primary)
}

fn wait_for_sites(secondary: &mut Node, primary: &mut Node) -> Result<(), Failure> {
    primary.wait("serving", START_LIMIT, |status| {
        status.groups.iter().any(|group| group.role == Role::Primary && group.serving)
    })?;
    secondary.wait("following", START_LIMIT, |status| {
        status
            .groups
            .iter()
            .any(|group| group.role == Role::Secondary && group.lanes.iter().all(|lane| lane.connected))
    })?;
    Ok(())
}

fn workload(arguments: &Arguments, layout: &Layout) -> Config {
    Config {
        connections: arguments.connections,
        depth: arguments.depth,
        seed: arguments.seed,
        // Writes that overlap from several connections, so that order matters; zeroes and trims among them.
        zero_percent: 1,
        trim_percent: 1,
        initial: Initial::Zeroes,
        on_disconnect: OnDisconnect::Stop,
        ..Config::new(vec![layout.uri(Place::Primary)])
    }
}

/// Shows the workload for a while; ends early when it does.
fn watch(handle: &Handle, primary: &Node, time: Duration, show: &Show) {
    let clock = Clock::starting_at(0);
    while let Some(left) = time.checked_sub(clock.elapsed()).filter(|left| !left.is_zero()) {
        if handle.wait_finished(left.min(show.interval())) {
            return;
        }
        let left = time.saturating_sub(clock.elapsed());
        show.live(&show::workload(left, &handle.snapshot(), lag(primary)));
    }
}

/// How far the secondary is behind, as the primary sees it.
fn lag(primary: &Node) -> Option<f64> {
    let status = primary.client().status().ok()?;
    status.groups.iter().find_map(|group| group.lag.seconds)
}

fn take_over(secondary: &Node, show: &Show) -> Result<TakeoverOutcome, Failure> {
    let client = secondary.client().clone().with_silence(Some(TAKEOVER_LIMIT));
    let clock = Clock::starting_at(0);
    let mut phase = String::new();
    let last = client.takeover(GROUP, &TakeoverRequest::default(), &mut |step| {
        if phase != step.phase {
            phase.clone_from(&step.phase);
            show.live(&format!("takeover on site-b: {}: {}", step.phase, step.message));
        }
    })?;
    if let Some(error) = last.error {
        return Err(error.into());
    }
    let mut outcome = last.outcome.ok_or_else(|| Failure::other("the takeover has no outcome"))?;
    // As the operator sees it, from asking to serving.
    outcome.took_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(outcome)
}
