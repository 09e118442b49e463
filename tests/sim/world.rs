//! The simulated world: three nodes, the network, hosts and an operator, and the loop that lets things happen.

use std::collections::BTreeMap;

use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_protocol::role::policy::LanePolicy;
use midspan_protocol::vocab::effect::Effect;

use crate::accounts::{Comparing, Losing};
use crate::client::{Client, Reply, Sent};
use crate::disk::Owner;
use crate::drills::Sights;
use crate::event::{DiskIndex, Event, NodeIndex};
use crate::harm::Harmed;
use crate::history::History;
use crate::journal::Journal;
use crate::layout::Layout;
use crate::lies::Lie;
use crate::memory::{self, SimBuf};
use crate::moments::Strike;
use crate::node::{Inbox, Node, NodeClock};
use crate::plan::{Less, Planned};
use crate::random::Random;
use crate::schedule::Schedule;
use crate::steps::Deaths;
use crate::swarm::{MS, SECOND, Swarm};
use crate::trace;
use crate::watch::AreaWatch;
use crate::wire::Wire;

/// What the relay's tokens begin with where it clears a block to go on there.
const TAG_CLEAR: u64 = 4;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which: an invariant's number, or what else was promised.
    pub rule: &'static str,
    /// How.
    pub what: String,
    /// When, virtual nanoseconds.
    pub at: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Faults happen.
    Faults,
    /// Everything is repaired: what was asked must be answered.
    Healing,
    /// Everything is read once more.
    Reading,
    /// Nothing is asked any more: the sites must become equal.
    Settling,
    /// The roles change once more.
    GoingHome,
    /// It held.
    Done,
}

/// The oracle's eyes.
pub struct Watches {
    /// On the relay's ring; where there are several lanes, what they make together.
    pub ring: AreaWatch,
    /// On its manifest area.
    pub manifest: AreaWatch,
    /// On its receipt area.
    pub receipt: AreaWatch,
    /// On each lane, where there are several.
    pub journal: Journal,
    /// On the own rings of A and B.
    pub own: [AreaWatch; 2],
}

impl Watches {
    fn new(swarm: &Swarm, layout: &Layout) -> Self {
        let [ring, manifest, receipt] = layout.relay;
        let (journal, first) = match swarm.lanes {
            None => (Journal::default(), ring.area),
            Some(lanes) => {
                // The journal is called as the ring in which it begins, which usually is the first one's.
                let at = if lanes.policy == LanePolicy::Local { NodeIndex::A } else { NodeIndex::RELAY };
                let area = layout.areas(at).map_or(ring.area, |[ring, ..]| ring.area);
                (Journal::new(&layout.all_lanes(), &layout.volumes), area)
            }
        };
        let journal = if swarm.accepts { journal.for_losses() } else { journal };
        let watch = |entry, area| AreaWatch::new(entry, area, &layout.volumes);
        let own = || {
            let mut watch = watch(&layout.own_ring, first);
            watch.keeps_marks = true;
            watch
        };
        Self {
            ring: watch(&ring, first),
            journal,
            manifest: watch(&manifest, manifest.area),
            receipt: watch(&receipt, receipt.area),
            own: [own(), own()],
        }
    }

    /// The eye on a site's own ring.
    pub fn own(&mut self, site: NodeIndex) -> &mut AreaWatch {
        let own = &mut self.own[usize::from(site == NodeIndex::B)];
        own.call(self.ring.area());
        own
    }
}

/// What the operator wants of a takeover.
#[derive(Clone, Copy, Debug, Default)]
pub struct Takeover {
    /// By node: the operator has asked this process of it, and it does not serve yet; 0: a process is to be asked again.
    pub asked: [Option<u64>; 3],
    /// By node: nobody held the lane when it was asked. An answer that the relay gave then may be long on its way.
    pub unheld: [bool; 3],
    /// Until then an operator hesitates.
    pub asks_until: u64,
}

/// Who serves.
#[derive(Clone, Copy, Debug)]
pub struct Reign {
    /// The site.
    pub node: NodeIndex,
    /// In which epoch it began.
    pub epoch: Epoch,
    /// Since when.
    pub since: u64,
}

/// Figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that happened.
    pub events: u64,
    /// Writes answered.
    pub writes: u64,
    /// Reads answered.
    pub reads: u64,
    /// Requests whose answer never came.
    pub unanswered: u64,
    /// Processes that died or lost power.
    pub crashes: u64,
    /// Frames in the relay's ring.
    pub frames: u64,
    /// How often it wrapped.
    pub wraps: u64,
    /// Takeovers that ended.
    pub takeovers: u64,
    /// Of those: of a site that had itself taken over before.
    pub takeovers_back: u64,
    /// Starts of a primary that ended.
    pub starts: u64,
    /// Rounds that ended.
    pub rounds: u64,
    /// Times that the lanes were left.
    pub leaves: u64,
    /// Of those: because the relay was away.
    pub losses: u64,
    /// Times that the roles changed as planned.
    pub switchovers: u64,
    /// Times that a disk or the network did its worst.
    pub harms: u64,
    /// Promises that no takeover would lose anything that were held against what hosts were told.
    pub promises: u64,
    /// Runs of `verify` that ended.
    pub compared: u64,
    /// Losses that an operator accepted.
    pub accepted: u64,
    /// Virtual time, nanoseconds.
    pub time: u64,
    /// Who died within which step.
    pub deaths: Deaths,
}

impl Figures {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.writes += other.writes;
        self.reads += other.reads;
        self.unanswered += other.unanswered;
        self.crashes += other.crashes;
        self.frames += other.frames;
        self.wraps += other.wraps;
        self.takeovers += other.takeovers;
        self.takeovers_back += other.takeovers_back;
        self.starts += other.starts;
        self.rounds += other.rounds;
        self.leaves += other.leaves;
        self.losses += other.losses;
        self.switchovers += other.switchovers;
        self.harms += other.harms;
        self.promises += other.promises;
        self.compared += other.compared;
        self.accepted += other.accepted;
        self.time += other.time;
        self.deaths.add(&other.deaths);
    }
}

/// The world.
pub struct World {
    /// What the seed makes of it.
    pub swarm: Swarm,
    /// What goes wrong.
    pub plan: Vec<Planned>,
    /// A planted bug.
    pub lie: Lie,
    /// What is left out.
    pub(crate) less: Less,
    pub(crate) harmed: Harmed,
    pub(crate) comparing: Comparing,
    pub(crate) losing: Losing,
    pub(crate) schedule: Schedule<Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) wire: Wire,
    pub(crate) layout: Layout,
    pub(crate) history: History,
    pub(crate) clients: Vec<Client>,
    pub(crate) sent: BTreeMap<u64, Sent>,
    pub(crate) replies: BTreeMap<u64, Reply>,
    pub(crate) watches: Watches,
    pub(crate) takeover: Takeover,
    /// The site that took over last.
    pub(crate) taker: Option<NodeIndex>,
    pub(crate) sights: Sights,
    /// Who is struck in which moment of a change of the lane set.
    pub(crate) strikes: Vec<Strike>,
    /// What the first answer to a fence said of a lane's prefix.
    pub(crate) fences: Vec<((Epoch, NodeIndex), Position)>,
    /// The site that began to serve last.
    pub(crate) reign: Option<Reign>,
    /// Whether A and B ever served.
    pub(crate) reigned: [bool; 2],
    /// The newest epoch in which a site has durably taken over, or started, other than to leave the lanes before anybody permitted it.
    pub(crate) taken: [Epoch; 2],
    /// Hosts were answered outside the lanes, and no round has ended since: the journal is not the whole truth.
    pub(crate) alone: bool,
    /// A round in place runs: until it has ended the other site has no cut.
    pub(crate) in_place: bool,
    /// The site that has answered a write outside the lanes since.
    pub(crate) outside: Option<NodeIndex>,
    /// When promises are looked at next.
    pub(crate) promises_at: u64,
    /// The epoch of the newest fence that the relay has answered.
    pub(crate) fenced: Option<Epoch>,
    /// The epoch of the newest fence that the relay has carried out, answered or not.
    pub(crate) decided: Option<Epoch>,
    /// The last change of roles was asked for, by the site that served then.
    pub(crate) going_home: Option<NodeIndex>,
    pub(crate) phase: Phase,
    pub(crate) phase_since: u64,
    /// Requests left to the clients.
    pub(crate) quota: u64,
    /// Blocks that the last reading has not asked for, by volume.
    pub(crate) unread: Vec<u64>,
    pub(crate) disk_random: Random,
    pub(crate) host_random: Random,
    pub(crate) chance: Random,
    /// Where effects are that are being carried out.
    pub(crate) carried: Vec<Effect<SimBuf>>,
    /// The first rule that was broken.
    pub broken: Option<Broken>,
    /// Figures so far.
    pub figures: Figures,
}

/// The machines, switched on.
fn machines(swarm: &Swarm, layout: &Layout, random: &mut Random) -> Vec<Node> {
    let count = NodeIndex::ALL.len() + usize::from(swarm.lanes.is_some());
    let node = |index: NodeIndex| Node {
        index,
        powered: true,
        process: None,
        lives: 0,
        clock: NodeClock { on_since: 0, drift: swarm.drift[index.like()], wall_off: 0, rush: 1 },
        disks: layout.disks(index, random),
        slowness: 1,
        hung_until: 0,
        paused_until: 0,
        fuse: None,
        down: 0,
        boot_planned: false,
    };
    NodeIndex::EVERY[..count].iter().copied().map(node).collect()
}

impl World {
    /// A world with everything formatted and all machines switched on.
    pub fn new(seed: u64, swarm: Swarm, plan: Vec<Planned>, lie: Lie, less: Less) -> Self {
        memory::begin();
        let mut random = Random::new(seed, 3);
        let layout = Layout::new(&swarm, &mut random);
        let nodes = machines(&swarm, &layout, &mut random);
        let mut watches = Watches::new(&swarm, &layout);
        watches.ring.keeps_times = swarm.accepts;
        let cells: Vec<u64> = swarm.volumes.iter().map(|blocks| blocks * 8).collect();
        let mut wire = Wire::new(swarm.paths, Random::new(seed, 4));
        wire.rot = swarm.wire_rot;
        let mut world = Self {
            schedule: Schedule::new(0),
            nodes,
            wire,
            history: History::new(&cells),
            clients: (0..swarm.load.clients).map(|_| Client::default()).collect(),
            sent: BTreeMap::new(),
            replies: BTreeMap::new(),
            watches,
            takeover: Takeover::default(),
            taker: None,
            sights: Sights::default(),
            strikes: Vec::new(),
            fences: Vec::new(),
            reign: None,
            reigned: [false; 2],
            taken: [Epoch::NONE; 2],
            alone: swarm.initial_copy,
            in_place: false,
            promises_at: 0,
            outside: None,
            fenced: None,
            decided: None,
            going_home: None,
            phase: Phase::Faults,
            phase_since: 0,
            quota: less.requests.unwrap_or(u64::MAX).min(swarm.load.requests),
            unread: Vec::new(),
            disk_random: Random::new(seed, 5),
            host_random: Random::new(seed, 6),
            chance: Random::new(seed, 7),
            carried: Vec::new(),
            broken: None,
            figures: Figures::default(),
            layout,
            swarm,
            plan,
            lie,
            less,
            harmed: Harmed::default(),
            comparing: Comparing::default(),
            losing: Losing::default(),
        };
        world.begin();
        world
    }

    /// Plans what happens by itself, and applies the planted bug.
    fn begin(&mut self) {
        self.plant();
        for node in self.places() {
            let delay = self.chance.below(20 * MS);
            self.nodes[node.0].boot_planned = true;
            self.schedule.after(delay, Event::Boot(node));
        }
        for client in 0..self.clients.len() {
            self.schedule.after(50 * MS, Event::Client(client));
        }
        let kept = |index: &usize| !self.less.without.contains(index);
        for (index, planned) in self.plan.iter().enumerate().filter(|(index, _)| kept(index)) {
            self.schedule.at(planned.at, Event::Fault(index));
        }
        self.schedule.after(50 * MS, Event::Check);
        self.schedule.at(self.swarm.faults_for, Event::Heal);
        self.schedule.at(self.swarm.faults_for + 120 * SECOND, Event::End);
    }

    /// Lets things happen until the run is over; `Err` holds the rule that was broken.
    ///
    /// # Errors
    /// A rule was broken.
    pub fn run(&mut self) -> Result<Figures, Broken> {
        while self.phase != Phase::Done && self.broken.is_none() {
            let Some(event) = self.schedule.take() else { break };
            trace::set_now(self.schedule.now());
            self.on_event(event);
        }
        self.figures.events = self.schedule.count();
        self.figures.time = self.schedule.now();
        self.figures.writes = self.history.answered;
        self.figures.reads = self.history.read;
        self.figures.frames = self.watches.ring.frames;
        self.figures.wraps = self.watches.ring.wraps;
        self.broken.clone().map_or(Ok(self.figures), Err)
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Pass { node, life } => self.pass(node, life),
            Event::Tick { node, life } => {
                if self.nodes[node.0].process_of(life).is_some() {
                    self.wake(node);
                }
            }
            Event::Disk { node, disk, number } => self.on_disk(node, disk, number),
            Event::Arrive { conn, from } => self.on_arrive(conn, from),
            Event::Left { conn, from } => self.tell_end(conn, from, Inbox::Left(conn, from)),
            Event::Lost { conn, side } => self.tell_end(conn, side, Inbox::Lost(conn, side)),
            Event::Client(client) => self.on_client(client),
            Event::Request { op, node, life } => self.on_request(op, node, life),
            Event::Answer { op } => self.on_answer(op),
            Event::Fault(index) => self.on_fault(index),
            Event::FaultEnds(index) => self.on_fault_ends(index),
            Event::Boot(node) => self.boot(node),
            Event::Check => self.on_check(),
            Event::Heal => self.heal(),
            Event::End => {
                let text = self.describe();
                self.fail("liveness", format!("not over in {:?}: {text}", self.phase));
            }
        }
    }

    /// The nodes of this world.
    pub(crate) fn places(&self) -> Vec<NodeIndex> {
        self.nodes.iter().map(|node| node.index).collect()
    }

    /// A rule is broken; the first one counts.
    pub(crate) fn fail(&mut self, rule: &'static str, what: String) {
        if self.broken.is_none() {
            let at = self.schedule.now();
            trace::line("oracle", || format!("BROKEN {rule}: {what}"));
            self.broken = Some(Broken { rule, what, at });
        }
    }

    /// Fails unless `outcome` is good.
    pub(crate) fn demand(&mut self, rule: &'static str, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.fail(rule, what);
        }
    }

    /// Lets a process look at what has come in, soon.
    pub(crate) fn wake(&mut self, node: NodeIndex) {
        let delay = self.chance.range(500, 15_000);
        let now = self.schedule.now();
        let node = &mut self.nodes[node.0];
        let Some(process) = node.process.as_mut().filter(|process| !process.pass_planned) else { return };
        process.pass_planned = true;
        let event = Event::Pass { node: node.index, life: process.life };
        self.schedule.at((now + delay).max(node.paused_until), event);
    }

    /// Puts something into a process's inbox.
    pub(crate) fn tell(&mut self, node: NodeIndex, what: Inbox) {
        if let Some(process) = self.nodes[node.0].process.as_mut() {
            process.inbox.push_back(what);
            self.wake(node);
        }
    }

    fn on_disk(&mut self, node: NodeIndex, disk: DiskIndex, number: u64) {
        let Some(completed) = self.nodes[node.0].disks[disk.0].complete(number) else { return };
        if let Some((offset, _)) = completed.durable
            && disk.0 == 0
        {
            let cleared = completed.owner == Owner::Relay && completed.token.0 >> 56 == TAG_CLEAR;
            self.on_durable(node, offset, cleared);
        }
        let (owner, token, result) = (completed.owner, completed.token, completed.result);
        self.tell(node, Inbox::Disk { owner, token, result });
    }

    /// Something became durable on a journal disk: the oracle looks.
    fn on_durable(&mut self, node: NodeIndex, offset: usize, cleared: bool) {
        if self.watches.journal.is_used() {
            self.on_lane_durable(node, offset, cleared);
            if node.is_relay() {
                return;
            }
        }
        let bad_reads = self.harmed.read[NodeIndex::RELAY.0];
        let disk = self.nodes[node.0].disks[0].told();
        let watches = &mut self.watches;
        let outcome = match node {
            relay if relay.is_relay() => {
                let manifest = watches.manifest.on_durable(disk, offset);
                let receipt = watches.receipt.on_durable(disk, offset);
                // An index that was read wrongly begins anew where that was.
                let indexes =
                    manifest.and(receipt).or_else(|what| if bad_reads { Ok(()) } else { Err(what) });
                watches.ring.on_durable(disk, offset).and(indexes)
            }
            site => watches.own(site).on_durable(disk, offset),
        };
        self.demand("I2", outcome);
        if !node.is_relay() {
            self.see_own_ring(node);
            self.on_state_saved(node, offset);
        }
    }
}
