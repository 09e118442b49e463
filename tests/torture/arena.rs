//! A cluster with hosts on it, and the trouble that is made for it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use midspan::hammer::random::Seeded;
use midspan::hammer::{Config, Initial, OnDisconnect, SizeMix};
use rig::{Background, Cluster, Folder, LIMIT, Load, Network, Place, Shape, pause};

use crate::diary;
use crate::plan::{Lasts, Order, Trouble};
use crate::scenario::Scenario;
use crate::tally::Tally;

/// How long hosts go on looking for a site that does not answer.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long a ring may take to fill.
const FILLS: Duration = Duration::from_secs(120);
/// What groups say of themselves beside the usual.
const MODES: [&str; 4] = [
    "",
    "mode = \"max-availability\"\n",
    "takeover = \"automatic\"\ntakeover_after = \"4s\"\n",
    "mode = \"max-availability\"\ntakeover = \"automatic\"\ntakeover_after = \"4s\"\n",
];

/// The same where losses are to be accepted: with the other site's knowledge, or without anybody's.
const LOSSY: [&str; 2] =
    ["mode = \"max-availability\"\n", "mode = \"max-availability\"\nisolated = \"continue\"\n"];

/// Lane sets of groups with a second relay, and where their lanes are.
const SETS: [(&[Place], &str); 4] = [
    (&[Place::Relay, Place::Alternate], "lane_set = \"failover\"\nresend = \"64MiB\"\n"),
    (&[Place::Relay, Place::Alternate], "lane_set = \"mirror\"\nresend = \"64MiB\"\n"),
    (&[Place::Relay, Place::Alternate], "lane_set = \"stripe\"\nresend = \"64MiB\"\n"),
    (
        &[Place::Relay, Place::Alternate, Place::Secondary, Place::Primary],
        "lane_set = \"failover\"\nresend = \"64MiB\"\ndirect = \"allow\"\n",
    ),
];

/// Something that an operator has asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) order: Order,
    pub(crate) program: Background,
    pub(crate) log: PathBuf,
}

/// The cluster, its hosts and what is wrong with it now.
pub struct Arena<'a> {
    // Hosts and operators go before their nodes, and nodes before their network.
    pub(crate) load: Load,
    pub(crate) asked: Vec<Asked>,
    pub(crate) cluster: Cluster,
    network: Option<Network>,
    pub(crate) tally: &'a mut Tally,
    /// Where hosts are.
    pub(crate) serves: Place,
    /// Hosts may be at a site that was replaced.
    pub(crate) unsure: bool,
    pub(crate) automatic: bool,
    /// The group goes on where nobody reaches it.
    pub(crate) alone: bool,
    down: Vec<Place>,
    stopped: Vec<Place>,
    orders: u64,
}

/// The other site.
pub fn other(site: Place) -> Place {
    if site == Place::Primary { Place::Secondary } else { Place::Primary }
}

impl<'a> Arena<'a> {
    /// A new cluster under load: sizes, mode and pace are the dice's.
    pub fn open(
        folder: Folder,
        on_network: bool,
        scenario: Scenario,
        dice: &mut Seeded,
        tally: &'a mut Tally,
    ) -> Self {
        let modes = if scenario == Scenario::AcceptLoss { &LOSSY[..] } else { &MODES };
        let mode = modes[usize::try_from(dice.below(modes.len() as u64)).unwrap()];
        let rings = [8, 8, 16, 64];
        let volumes = 1 + u16::try_from(dice.below(2)).unwrap();
        let mut shape = Shape {
            ring_mib: rings[usize::try_from(dice.below(rings.len() as u64)).unwrap()],
            site_keys: mode,
            ..Shape::new(volumes, 8 + 8 * dice.below(3))
        };
        if scenario == Scenario::Lanes {
            (shape.lanes, shape.keys) = SETS[usize::try_from(dice.below(SETS.len() as u64)).unwrap()];
        }
        let rate = dice.percent(50).then_some(800);
        tally.say(format_args!(
            "a new cluster: {volumes} volumes of {} MiB, rings of {} MiB, {}{}, {}",
            shape.volume_bytes >> 20,
            shape.ring_mib,
            if mode.is_empty() { "nothing special".into() } else { mode.trim().replace('\n', ", ") },
            shape
                .keys
                .trim()
                .split('\n')
                .filter(|key| !key.is_empty())
                .map(|key| format!(", {key}"))
                .collect::<String>(),
            rate.map_or("hosts in a hurry".into(), |rate| format!("{rate} requests a second"))
        ));
        let network = on_network.then(|| Network::of(shape.places()));
        let shape = network.as_ref().map_or(shape.clone(), |network| network.with(shape));
        let mut cluster = Cluster::within(folder, shape);
        cluster.run();
        cluster.wait_following();
        let load = Load::start(Config {
            connections: 3,
            seed: dice.next_word(),
            // The rest is the diary's.
            span_bytes: Some(cluster.shape().volume_bytes - diary::BYTES),
            hot_bytes: 2 << 20,
            hot_percent: 50,
            zero_percent: 3,
            trim_percent: 2,
            sizes: SizeMix::parse("4k:60,8k:10,16k:10,64k:10,256k:8,1m:2").unwrap(),
            rate,
            on_disconnect: OnDisconnect::Reconnect { give_up_after: PATIENCE },
            initial: Initial::Zeroes,
            ..Config::new(cluster.uris(Place::Primary))
        });
        load.wait_for_answers();
        tally.figures.clusters += 1;
        Self {
            load,
            asked: Vec::new(),
            cluster,
            network,
            tally,
            serves: Place::Primary,
            unsure: false,
            automatic: mode.contains("automatic"),
            alone: mode.contains("isolated"),
            down: Vec::new(),
            stopped: Vec::new(),
            orders: 0,
        }
    }

    /// Makes trouble.
    pub fn strike(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Kill(places, lasts) => self.kill(places, *lasts),
            Trouble::Stop(place, lasts) => self.stop(*place, *lasts),
            Trouble::Cut(one, other) => self.cut(*one, *other),
            Trouble::Isolate(place) => self.isolate(*place),
            Trouble::Mend => self.mend(),
            Trouble::Fill { dead } => self.fill(*dead),
            Trouble::Wipe { restart, anew } => self.wipe(*restart, *anew),
            Trouble::Ask(order) => self.ask(*order),
            Trouble::Lose { in_lanes, outside, dead } => self.lose(*in_lanes, *outside, *dead),
        }
        self.nobody_ends_by_itself();
    }

    /// Ends every fault that goes on: paths are open, nobody stands still, all nodes run.
    pub fn heal(&mut self) {
        self.mend();
        for place in std::mem::take(&mut self.stopped) {
            self.cluster.node(place).signal("CONT");
        }
        for place in std::mem::take(&mut self.down) {
            self.cluster.start(place);
        }
    }

    /// A node that ends although nobody killed it has failed.
    pub fn nobody_ends_by_itself(&mut self) {
        let up = self.cluster.shape().places().iter().filter(|place| !self.down.contains(place));
        for place in up {
            let ended = self.cluster.node(*place).ended();
            assert!(ended.is_none(), "{} has ended by itself: {ended:?}", place.name());
        }
    }

    /// Whether a node runs and does not stand still.
    pub fn is_awake(&self, place: Place) -> bool {
        !self.down.contains(&place) && !self.stopped.contains(&place)
    }

    pub(crate) fn kill(&mut self, places: &[Place], lasts: Lasts) {
        let alive: Vec<Place> = places.iter().copied().filter(|place| !self.down.contains(place)).collect();
        for place in &alive {
            self.cluster.kill(*place);
            self.stopped.retain(|stopped| stopped != place);
            self.tally.figures.kills += 1;
        }
        let names: Vec<_> = alive.iter().map(|place| place.name()).collect();
        match lasts {
            Lasts::For(time) => {
                self.tally.say(format_args!("SIGKILL {names:?}, started after {} ms", time.as_millis()));
                pause(time);
                alive.iter().for_each(|place| self.cluster.start(*place));
            }
            Lasts::Round => {
                self.tally.say(format_args!("SIGKILL {names:?}"));
                self.down.extend(alive);
            }
        }
    }

    fn stop(&mut self, place: Place, lasts: Lasts) {
        if !self.is_awake(place) {
            return;
        }
        self.cluster.node(place).signal("STOP");
        self.tally.figures.stops += 1;
        match lasts {
            Lasts::For(time) => {
                self.tally.say(format_args!("SIGSTOP {} for {} ms", place.name(), time.as_millis()));
                pause(time);
                self.cluster.node(place).signal("CONT");
            }
            Lasts::Round => {
                self.tally.say(format_args!("SIGSTOP {}", place.name()));
                self.stopped.push(place);
            }
        }
    }

    fn cut(&mut self, one: Place, other: Place) {
        let Some(network) = &self.network else { return };
        network.cut(one, other);
        self.tally.figures.cuts += 1;
        self.tally.say(format_args!("nothing passes between {} and {}", one.name(), other.name()));
    }

    pub(crate) fn isolate(&mut self, place: Place) {
        for other in self.cluster.shape().places().iter().filter(|other| **other != place) {
            self.cut(place, *other);
        }
    }

    pub(crate) fn mend(&mut self) {
        if let Some(network) = &self.network {
            network.heal();
        }
    }

    /// Hosts write until the ring is full, because the other site follows no more.
    fn fill(&mut self, dead: bool) {
        let (serves, idle) = (self.serves, other(self.serves));
        if dead {
            self.kill(&[idle], Lasts::Round);
        } else {
            self.stop(idle, Lasts::Round);
        }
        let full = self.cluster.node(serves).wait("full, or to have left the ring", FILLS, |group| {
            group.lanes.iter().any(|lane| lane.ring.full) || group.state == "suspended"
        });
        self.tally.figures.fills += 1;
        self.tally.say(format_args!("the ring is full, {} is {}", serves.name(), full.state));
    }

    /// An operator asks for something, and does not wait for its end.
    fn ask(&mut self, order: Order) {
        let place = match order {
            Order::TakeOver | Order::Abort => other(self.serves),
            Order::SwitchOver | Order::FailBack | Order::Pause | Order::Resume => self.serves,
        };
        if !self.is_awake(place) {
            self.tally.say(format_args!("{} is away: nobody asks it for a {}", place.name(), order.word()));
            return;
        }
        self.ask_at(place, order);
    }

    pub(crate) fn ask_at(&mut self, place: Place, order: Order) {
        let mut arguments: Vec<&str> = order.word().split(' ').collect();
        arguments.insert(1, rig::GROUP);
        match order {
            Order::TakeOver | Order::SwitchOver | Order::FailBack | Order::Abort => {
                arguments.extend(["--yes", "--wait", "30"]);
            }
            Order::Pause => self.tally.figures.pauses += 1,
            Order::Resume => {}
        }
        self.orders += 1;
        self.unsure |= order.moves_hosts();
        let log = self.cluster.folder().file(&format!("order-{}", self.orders));
        let program = self.cluster.ask_midspan(place, &arguments).start(&log);
        self.tally.say(format_args!("`midspan {}` at {}", arguments.join(" "), place.name()));
        self.asked.push(Asked { order, program, log });
    }

    /// Writes a node's config as it was made, for a group that begins anew.
    pub(crate) fn begin_anew(&mut self, place: Place) {
        self.cluster.write_config(place, |text| text.replace("initial = \"equal\"", "initial = \"copy\""));
        self.cluster.format_anew(place).well();
    }

    /// Takes the relay's disk away, and puts an empty one in its place.
    pub(crate) fn swap_relay_disk(&mut self) -> PathBuf {
        let journal = self.cluster.journal(Place::Relay);
        let away = journal.with_extension("right");
        fs::rename(&journal, &away).unwrap();
        rig::create_disk(&journal, self.cluster.shape().journal_bytes());
        self.cluster.format(Place::Relay).well();
        self.tally.figures.wipes += 1;
        away
    }

    /// Hosts have nothing to write any more: everything was taken to its end.
    pub(crate) fn stop_nodes_in_order(&mut self) {
        self.cluster.stop_all();
    }

    /// Starts all nodes.
    pub(crate) fn start_all(&mut self) {
        self.cluster.shape().places().iter().for_each(|place| self.cluster.start(*place));
    }

    /// Exports of the volumes where hosts are.
    pub(crate) fn uris(&self) -> Vec<String> {
        self.cluster.uris(self.serves)
    }

    /// Waits until a site says that its lane is lost or refused, after what it has said before.
    pub(crate) fn wait_lane_refused(&mut self, place: Place, after: u64) -> String {
        let what = format!("{} should say that its lane is lost", place.name());
        rig::wait_for(&what, LIMIT, || {
            self.cluster.node(place).status()?;
            let events = self.cluster.events(place).into_iter().filter(|event| event.seq > after);
            let mut told =
                events.filter(|event| ["lane_lost", "lane_refused"].contains(&event.kind.as_str()));
            told.next().map(|event| event.message)
        })
    }
}
