//! The scenarios with several lanes: they are lost and come back under load, and at the end every answered write is verified.

use std::time::Duration;

use midspan::clock::{Clock, Signal};
use midspan::hammer::command::random_run_id;
use midspan::hammer::{Hammer, Handle};
use midspan_daemon::api::types::{Change, GroupStatus, TakeoverOutcome, TakeoverRequest};

use super::layout::{GROUP, Layout, Place};
use super::node::Node;
use super::show::Show;
use super::{
    Arguments, Failure, Played, START_LIMIT, STOP_LIMIT, Scenario, TAKEOVER_LIMIT, home, pause, take_over,
    verify, wait_for_sites, watch, workload,
};
use crate::cli::size;

/// How long a change of lanes may take: one that is preferred is tried some seconds after it is there.
const CHANGE_LIMIT: Duration = Duration::from_secs(45);

/// How long it may take until a site that was handed the role uses its own lane.
const OWN_LANE_LIMIT: Duration = Duration::from_secs(6);

/// Plays a scenario.
///
/// # Errors
/// When a node does not come up, a change does not come, or the takeover is refused.
pub fn play(arguments: &Arguments, layout: &Layout, show: &Show) -> Result<Played, Failure> {
    let mut nodes = Nodes::start(layout, show)?;
    let config = workload(arguments, layout);
    let timeout = config.connect_timeout;
    let handle = Hammer::start(config, random_run_id()).map_err(|error| Failure::other(error.to_string()))?;
    let part = Duration::from_secs(arguments.seconds).div_f64(3.0);
    watch(&handle, nodes.get(Place::Primary)?, part, show);
    let figures = handle.snapshot();

    let mut scene = Scene {
        layout,
        nodes: &mut nodes,
        handle: &handle,
        part,
        show,
        scenario: arguments.scenario,
        pause_ms: 0,
    };
    match arguments.scenario {
        Scenario::AlternateRelay => scene.alternate()?,
        Scenario::Mirrored | Scenario::Striped => scene.mirrored()?,
        Scenario::Direct => scene.direct()?,
        Scenario::Local => scene.local()?,
        Scenario::RelayLoss | Scenario::PrimaryLoss | Scenario::Failback => scene.relay_loss()?,
    }
    let lane_pause_ms = (arguments.scenario != Scenario::Local).then_some(scene.pause_ms);

    let takeover = if arguments.scenario == Scenario::Local {
        let outcome = hand_over(nodes.get(Place::Primary)?, show)?;
        handle.wait_finished(Duration::from_secs(2));
        handle.cut();
        outcome
    } else {
        lose_primary(arguments, &mut nodes, &handle, show)?
    };
    let mut ledger = handle.into_ledger();
    let (mut place, mut pause_ms) = (Place::Secondary, None);
    if arguments.scenario == Scenario::AlternateRelay {
        let (home, returned) = home::go_home(arguments, layout, nodes.get(Place::Secondary)?, ledger, show)?;
        nodes.put(Place::Primary, returned);
        ledger = home.ledger;
        (place, pause_ms) = (Place::Primary, Some(home.pause_ms));
    }
    let verdict = verify(&ledger, layout.uri(place), timeout, show)?;
    if arguments.scenario == Scenario::Local && has_own_lane(nodes.get(Place::Secondary)?, show) {
        nodes.kill(Place::Secondary)?;
        show.say("SIGKILL to site-b, which serves now; what an unplanned takeover on site-a would say:");
        show.say(&format!("  {}", ask_takeover(nodes.get(Place::Primary)?)?));
    }
    nodes.stop(show);
    Ok(Played { figures, takeover, verdict, pause_ms, lane_pause_ms })
}

/// The primary is killed, in `mirrored` with the lane that is read, and the other site takes over.
fn lose_primary(
    arguments: &Arguments,
    nodes: &mut Nodes,
    handle: &Handle,
    show: &Show,
) -> Result<TakeoverOutcome, Failure> {
    let mut lost = vec![Place::Primary];
    if arguments.scenario == Scenario::Mirrored {
        let read = nodes.lane()?;
        lost.extend([Place::Relay, Place::Relay2].into_iter().filter(|place| place.name() == read));
    }
    for place in &lost {
        nodes.kill(*place)?;
    }
    let names: Vec<&str> = lost.iter().map(|place| place.name()).collect();
    let answered = handle.snapshot().counts.answered;
    show.say(&format!("SIGKILL to {} after {answered} answered writes", names.join(" and ")));
    handle.wait_finished(Duration::from_secs(2));
    handle.cut();
    take_over(nodes.get(Place::Secondary)?, show)
}

/// A planned change of roles under load.
fn hand_over(primary: &Node, show: &Show) -> Result<TakeoverOutcome, Failure> {
    show.live("switchover: hosts wait until site-b has everything");
    let client = primary.client().clone().with_silence(Some(TAKEOVER_LIMIT));
    let last = client.change(GROUP, Change::Switchover, &mut |_| {})?;
    if let Some(error) = last.error {
        return Err(error.into());
    }
    let outcome = last.outcome.ok_or_else(|| Failure::other("the switchover has no outcome"))?;
    let waited = outcome.host_pause_ms.unwrap_or(0);
    show.say(&format!("a planned switchover: {}; hosts waited {waited} ms", outcome.statement));
    let statement = outcome.statement;
    Ok(TakeoverOutcome {
        lost_nothing: true,
        statement,
        took_ms: outcome.took_ms,
        ..TakeoverOutcome::default()
    })
}

/// Waits until site-b, which serves now, uses its own lane: only from then on a takeover on the other site may lose something.
fn has_own_lane(secondary: &Node, show: &Show) -> bool {
    let clock = Clock::starting_at(0);
    let is_own = |group: &GroupStatus| {
        let first = group.lanes.first().is_some_and(|lane| lane.node == Place::Secondary.name());
        first && group.lanes_holding == Some(1) && !group.lanes_changing
    };
    while clock.elapsed() < OWN_LANE_LIMIT {
        if pause::group(secondary).is_some_and(|group| is_own(&group)) {
            return true;
        }
        show.live("waiting until site-b, which serves now, uses its own lane");
        Signal::default().wait(show.interval());
    }
    show.say("site-b still uses the lane at site-a: nothing would be lost with it");
    false
}

/// What a takeover would find, without one.
fn ask_takeover(node: &Node) -> Result<String, Failure> {
    let request = TakeoverRequest { dry_run: true, ..TakeoverRequest::default() };
    let client = node.client().clone().with_silence(Some(TAKEOVER_LIMIT));
    let last = client.takeover(GROUP, &request, &mut |_| {})?;
    let said = last.outcome.map(|outcome| outcome.statement);
    Ok(said.or(last.error.map(|error| error.message)).unwrap_or_default())
}

/// What happens before the end.
struct Scene<'a> {
    layout: &'a Layout,
    nodes: &'a mut Nodes,
    handle: &'a Handle,
    /// A third of the workload's time.
    part: Duration,
    show: &'a Show,
    scenario: Scenario,
    /// The longest pause of hosts so far.
    pause_ms: u64,
}

impl Scene<'_> {
    fn relay_loss(&mut self) -> Result<(), Failure> {
        self.kill(&[Place::Relay])?;
        self.wait_lane(Place::Relay2, "the journal is in the lane at relay-2")?;
        self.write_on(self.part * 2)
    }

    fn alternate(&mut self) -> Result<(), Failure> {
        self.kill(&[Place::Relay])?;
        self.wait_lane(Place::Relay2, "the journal is in the lane at relay-2")?;
        self.write_on(self.part / 2)?;
        self.layout.wipe(Place::Relay)?;
        Node::format(self.layout, Place::Relay)?;
        self.start(Place::Relay, "relay comes back with an empty disk: nothing that it held is used")?;
        self.wait_lane(Place::Relay, "the journal is at relay again, the lane that is preferred")?;
        self.write_on(self.part / 2)
    }

    fn mirrored(&mut self) -> Result<(), Failure> {
        let shares = self.scenario == Scenario::Striped;
        let how =
            if shares { "the journal is spread over both lanes" } else { "each write is in both lanes" };
        self.wait(how, is_mirrored)?;
        self.kill(&[Place::Relay])?;
        let alone = |group: &GroupStatus| group.lanes_holding == Some(1) && !group.lanes_changing;
        let what = if shares { "" } else { ": exposed, single relay" };
        self.wait(&format!("the lane at relay-2 counts alone{what}"), alone)?;
        self.write_on(self.part / 2)?;
        self.start(Place::Relay, "relay comes back: its lane is filled, then counts")?;
        self.wait(&format!("{how} again"), is_mirrored)?;
        self.write_on(self.part / 2)
    }

    fn direct(&mut self) -> Result<(), Failure> {
        self.kill(&[Place::Relay, Place::Relay2])?;
        self.wait_lane(Place::Secondary, "the lane at site-b carries: each write waits for the far path")?;
        self.write_on(self.part / 2)?;
        self.start(Place::Relay2, "relay-2 comes back")?;
        self.wait_lane(Place::Relay2, "the journal is in the lane at relay-2")?;
        self.write_on(self.part / 2)
    }

    /// Says what would be lost with the primary, while hosts write.
    fn local(&mut self) -> Result<(), Failure> {
        let behind = pause::group(self.nodes.get(Place::Primary)?).and_then(|group| group.lag.applied_bytes);
        let told = pause::group(self.nodes.get(Place::Secondary)?).map(|group| group.zero_loss_why);
        let (behind, why) = (size::show(behind.unwrap_or(0)), told.unwrap_or_default());
        self.show
            .say(&format!("asynchronous: site-b is {behind} behind; a takeover may lose something: {why}"));
        self.write_on(self.part * 2)
    }

    fn kill(&mut self, places: &[Place]) -> Result<(), Failure> {
        for place in places {
            self.nodes.kill(*place)?;
        }
        let names: Vec<&str> = places.iter().map(|place| place.name()).collect();
        self.show.say(&format!("SIGKILL to {} under load", names.join(" and ")));
        Ok(())
    }

    fn start(&mut self, place: Place, what: &str) -> Result<(), Failure> {
        let mut node = Node::start(self.layout, place)?;
        node.wait("up", START_LIMIT, |_| true)?;
        self.nodes.put(place, node);
        self.show.say(what);
        Ok(())
    }

    /// The journal is in one lane, there, and no change is under way.
    fn wait_lane(&mut self, place: Place, what: &str) -> Result<(), Failure> {
        let first = |group: &GroupStatus| group.lanes.first().is_some_and(|lane| lane.node == place.name());
        self.wait(what, |group| first(group) && group.lanes_holding == Some(1) && !group.lanes_changing)
    }

    fn wait(&mut self, what: &str, wanted: impl Fn(&GroupStatus) -> bool) -> Result<(), Failure> {
        let primary = self.nodes.get(Place::Primary)?;
        let pause = pause::watch(self.handle, primary, what, CHANGE_LIMIT, self.show, wanted)?;
        self.pause_ms = self.pause_ms.max(pause);
        self.show.say(&format!("{what}; hosts waited {pause} ms at most"));
        Ok(())
    }

    fn write_on(&mut self, time: Duration) -> Result<(), Failure> {
        watch(self.handle, self.nodes.get(Place::Primary)?, time, self.show);
        Ok(())
    }
}

fn is_mirrored(group: &GroupStatus) -> bool {
    let both = group.lanes.len() == 2 && group.lanes.iter().all(|lane| lane.connected);
    both && group.lanes_holding == Some(2) && !group.lanes_changing
}

/// The running nodes.
struct Nodes(Vec<(Place, Node)>);

impl Nodes {
    fn start(layout: &Layout, show: &Show) -> Result<Self, Failure> {
        show.live("formatting journals, starting the nodes");
        let mut nodes = Self(Vec::new());
        for place in layout.places() {
            Node::format(layout, place)?;
            nodes.put(place, Node::start(layout, place)?);
        }
        for (place, node) in &mut nodes.0 {
            if [Place::Relay, Place::Relay2].contains(place) {
                node.wait("up", START_LIMIT, |_| true)?;
            }
        }
        let [.., (_, secondary), (_, primary)] = nodes.0.as_mut_slice() else {
            return Err(Failure::other("not two sites"));
        };
        wait_for_sites(secondary, primary)?;
        let told: Vec<String> =
            nodes.0.iter().map(|(place, node)| format!("{} (pid {})", place.name(), node.pid())).collect();
        let (told, folder) = (told.join(", "), layout.folder().display());
        show.say(&format!("nodes on this machine: {told}, in {folder}"));
        Ok(nodes)
    }

    fn get(&self, place: Place) -> Result<&Node, Failure> {
        let node = self.0.iter().find(|(held, _)| *held == place).map(|(_, node)| node);
        node.ok_or_else(|| Failure::other(format!("{} does not run", place.name())))
    }

    fn put(&mut self, place: Place, node: Node) {
        self.0.retain(|(held, _)| *held != place);
        self.0.push((place, node));
    }

    fn kill(&mut self, place: Place) -> Result<(), Failure> {
        let at = self.0.iter().position(|(held, _)| *held == place);
        let Some(at) = at else { return Err(Failure::other(format!("{} does not run", place.name()))) };
        self.0.remove(at).1.kill()
    }

    /// The node whose lane is read.
    fn lane(&self) -> Result<String, Failure> {
        let group = pause::group(self.get(Place::Primary)?);
        let first = group.and_then(|group| group.lanes.into_iter().next());
        first.map(|lane| lane.node).ok_or_else(|| Failure::other("the primary names no lane"))
    }

    /// Sites first: a relay that ends before them would be missed.
    fn stop(mut self, show: &Show) {
        self.0.sort_by_key(|(place, _)| match place {
            Place::Primary => 0,
            Place::Secondary => 1,
            Place::Relay | Place::Relay2 => 2,
        });
        for (place, node) in &mut self.0 {
            if !node.stop(STOP_LIMIT) {
                show.say(&format!("{} did not end cleanly", place.name()));
            }
        }
    }
}
