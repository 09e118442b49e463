//! What goes wrong is carried out: processes die and come back, machines lose power, paths are cut; and in the end all is repaired.

use midspan_format::control::GroupCommand;
use midspan_format::ids::Epoch;
use midspan_format::superblock::{PairState, Role};
use midspan_protocol::role::group::Group;
use midspan_protocol::role::relay::Relay;

use crate::drills::DrillState;
use crate::event::{Event, NodeIndex};
use crate::memory::Pool;
use crate::node::{Inbox, Process};
use crate::plan::{Asking, Fault, How, Planned};
use crate::random::Random;
use crate::swarm::{MS, SECOND};
use crate::trace;
use crate::world::{Phase, World};

/// Requests that clients still ask when everything is repaired, at least.
const LAST_REQUESTS: u64 = 40;
/// How long what waits for the sites to be paired waits before it looks again.
const PATIENCE: u64 = 20 * MS;
/// How often in a million a starving pool looks empty.
const STARVING: u32 = 200_000;

impl World {
    /// A fault of the plan begins.
    pub(crate) fn on_fault(&mut self, index: usize) {
        if self.phase != Phase::Faults {
            return;
        }
        let fault = self.plan[index].fault;
        if matches!(fault, Fault::Swap | Fault::Lose { patient: true, .. }) && !self.is_calm() {
            return self.schedule.after(PATIENCE, Event::Fault(index));
        }
        trace::line("fault", || format!("{fault:?}"));
        match fault {
            Fault::Kill { node, fuse, down } => {
                let node = &mut self.nodes[node.0];
                if node.process.is_some() && node.fuse.is_none() {
                    (node.fuse, node.down) = (Some(fuse), down);
                }
            }
            Fault::Power { node, down } => self.power_off(node, down),
            Fault::Pause { node, time } => {
                let until = self.schedule.now() + time;
                let paused = &mut self.nodes[node.0].paused_until;
                *paused = until.max(*paused);
            }
            Fault::Cut { from, to, both, time } => {
                self.wire.cut(from, to);
                if both {
                    self.wire.cut(to, from);
                }
                self.schedule.after(time, Event::FaultEnds(index));
            }
            Fault::Reset { a, b } => self.wire.reset(&mut self.schedule, a, b),
            Fault::SlowWire { factor, time } => {
                self.wire.slowness = factor;
                self.schedule.after(time, Event::FaultEnds(index));
            }
            Fault::SlowDisk { node, factor, time } => {
                self.nodes[node.0].slowness = factor;
                self.schedule.after(time, Event::FaultEnds(index));
            }
            Fault::Jump { node, by } => self.nodes[node.0].clock.wall_off += by,
            Fault::Starve { node, time } => {
                if let Some(process) = self.nodes[node.0].process.as_ref() {
                    process.pool.set_starving(STARVING);
                    self.schedule.after(time, Event::FaultEnds(index));
                }
            }
            Fault::Rot { area, place } => {
                let entry = self.layout.relay[area];
                let watch = if area == 1 { &self.watches.manifest } else { &self.watches.receipt };
                let offset = entry.start + place % watch.end().0.clamp(4096, entry.size);
                self.nodes[NodeIndex::RELAY.0].disks[0].rot(usize::try_from(offset).unwrap_or(0));
            }
            Fault::Harm(harm) => self.do_harm(index, harm),
            Fault::Strike(strike) => self.strikes.push(strike),
            Fault::Word(word) => self.say(word),
            Fault::Abort => self.undo_takeovers(),
            Fault::Lose { how, back, delay, asking, .. } => self.lose_primary(how, back, delay, asking),
            Fault::TakeoverAt(site) => self.ask_takeover(site, false),
            Fault::Within(drill) => self.sights.drills.push((drill, DrillState::Waiting(drill.skip))),
            Fault::Swap | Fault::Switchover => {
                for site in [NodeIndex::A, NodeIndex::B] {
                    self.tell(site, Inbox::Command(GroupCommand::Switchover));
                    // Now and then the operator has second thoughts, in time or not.
                    if index % 4 == 3 {
                        self.tell(site, Inbox::Command(GroupCommand::Stay));
                    }
                }
            }
            Fault::Takeover { accept_loss } => {
                let site = self.reign.map_or(NodeIndex::B, |reign| reign.node.other_site());
                self.ask_takeover(site, accept_loss);
            }
        }
    }

    /// A fault of the plan ends.
    pub(crate) fn on_fault_ends(&mut self, index: usize) {
        if self.phase != Phase::Faults {
            return;
        }
        match self.plan[index].fault {
            Fault::Cut { from, to, both, .. } => {
                self.wire.mend(&mut self.schedule, from, to);
                if both {
                    self.wire.mend(&mut self.schedule, to, from);
                }
            }
            Fault::SlowWire { .. } => self.wire.slowness = 1,
            Fault::SlowDisk { node, .. } => self.nodes[node.0].slowness = 1,
            Fault::Starve { node, .. } => self.end_starving(node),
            Fault::Harm(harm) => self.end_harm(harm),
            Fault::Kill { .. }
            | Fault::Power { .. }
            | Fault::Pause { .. }
            | Fault::Reset { .. }
            | Fault::Jump { .. }
            | Fault::Rot { .. }
            | Fault::Abort
            | Fault::Switchover
            | Fault::Takeover { .. }
            | Fault::TakeoverAt(_)
            | Fault::Swap
            | Fault::Lose { .. }
            | Fault::Within(_)
            | Fault::Strike(_)
            | Fault::Word(_) => {}
        }
    }

    /// The operator at a site asks for the takeover; an operator tries again when the process dies over it.
    pub(crate) fn ask_takeover(&mut self, site: NodeIndex, accept_loss: bool) {
        let life = self.nodes[site.0].process.as_ref().map_or(0, |process| process.life);
        self.takeover.asked[site.0] = Some(life);
        if std::mem::take(&mut self.losing.over[site.0]) {
            self.losing.answered[site.0] = None;
        }
        self.takeover.unheld[site.0] = self.watches.ring.epoch() == Epoch::NONE;
        self.tell(site, Inbox::Command(GroupCommand::Takeover { accept_loss, dry_run: false }));
    }

    /// The operator undoes what was asked for.
    fn undo_takeovers(&mut self) {
        for site in [NodeIndex::A, NodeIndex::B] {
            if self.takeover.asked[site.0].is_some() {
                self.tell(site, Inbox::Command(GroupCommand::Abort));
            }
        }
    }

    /// The operator did not get what was asked for, and asks again.
    pub(crate) fn ask_again(&mut self, site: NodeIndex) {
        if let Some(asked) = self.takeover.asked[site.0].as_mut() {
            *asked = 0;
        }
    }

    /// Whether the sites are paired, and no operator has asked for anything or is about to.
    fn is_calm(&self) -> bool {
        let asks = self.schedule.now() <= self.takeover.asks_until;
        self.is_whole() && !asks && self.takeover.asked.iter().all(Option::is_none)
    }

    /// Whoever serves is lost: what that means is planned now, and so is what the operator asks.
    fn lose_primary(&mut self, how: How, back: u64, delay: u64, asking: Asking) {
        let site = self.reign.map_or(NodeIndex::A, |reign| reign.node);
        let cut = |to| Fault::Cut { from: site, to, both: true, time: back };
        let lost = match how {
            How::Killed => vec![Fault::Kill { node: site, fuse: 3, down: back }],
            How::Powerless => vec![Fault::Power { node: site, down: back }],
            How::Paused => vec![Fault::Pause { node: site, time: back }],
            // An operator is needed only where no other relay takes its place.
            How::CutFromRelay if self.swarm.lanes.is_some() && self.swarm.accepts => {
                vec![cut(NodeIndex::RELAY), cut(NodeIndex::RELAY2)]
            }
            How::CutFromRelay => vec![cut(NodeIndex::RELAY)],
            How::CutOff if self.swarm.lanes.is_some() => {
                vec![cut(NodeIndex::RELAY), cut(NodeIndex::RELAY2), cut(site.other_site())]
            }
            How::CutOff => vec![cut(NodeIndex::RELAY), cut(site.other_site())],
            How::Well => Vec::new(),
        };
        let (here, there) = (Fault::TakeoverAt(site), Fault::TakeoverAt(site.other_site()));
        let asked = match asking {
            Asking::Nobody => Vec::new(),
            Asking::Once => vec![there],
            Asking::Twice => vec![there, there],
            Asking::Both => vec![here, there],
        };
        let now = self.schedule.now();
        self.takeover.asks_until = now + delay;
        self.plan_more(now, lost);
        self.plan_more(now + delay, asked);
    }

    pub(crate) fn plan_more(&mut self, at: u64, faults: Vec<Fault>) {
        for fault in faults {
            self.schedule.at(at, Event::Fault(self.plan.len()));
            self.plan.push(Planned { at, fault });
        }
    }

    /// A process dies: its memory is gone, the kernel lives on.
    pub(crate) fn kill(&mut self, index: NodeIndex, down: u64) {
        let node = &mut self.nodes[index.0];
        node.fuse = None;
        let Some(process) = node.process.take() else { return };
        trace::line(index, || "is killed".to_owned());
        node.disks.iter_mut().for_each(crate::disk::FakeDisk::on_killed);
        self.wire.on_killed(&mut self.schedule, index, process.life);
        self.bury(index, &process, down);
    }

    /// A machine loses power.
    pub(crate) fn power_off(&mut self, index: NodeIndex, down: u64) {
        // Outside the lanes what was not flushed may be lost, as on any disk: nothing could be held against it.
        let recorded =
            self.layout.state(self.nodes[index.0].disks[0].durable()).filter(|_| !index.is_relay());
        let outside = self.is_outside(index)
            || recorded.is_some_and(|state| {
                state.role == Role::Primary
                    && matches!(
                        state.pair,
                        PairState::TakenOver
                            | PairState::InitialCopy
                            | PairState::Suspended
                            | PairState::Degraded
                    )
            });
        let node = &mut self.nodes[index.0];
        if !node.powered || outside {
            return;
        }
        trace::line(index, || "loses power".to_owned());
        node.powered = false;
        node.fuse = None;
        node.disks.iter_mut().for_each(crate::disk::FakeDisk::on_power_lost);
        let process = node.process.take();
        if let Some(process) = process {
            self.wire.on_power_lost(&mut self.schedule, index, process.life);
            self.bury(index, &process, down);
        } else {
            self.plan_boot(index, down);
        }
    }

    /// What hosts had asked of a dead process is never answered.
    fn bury(&mut self, index: NodeIndex, process: &Process, down: u64) {
        self.figures.crashes += 1;
        self.count_death(index);
        for op in process.waiting.iter().chain(process.requests.values()) {
            self.lose(*op);
        }
        self.plan_boot(index, down);
    }

    fn plan_boot(&mut self, index: NodeIndex, down: u64) {
        if !self.nodes[index.0].boot_planned {
            self.nodes[index.0].boot_planned = true;
            self.schedule.after(down, Event::Boot(index));
        }
    }

    /// A node's process begins; if its machine was off, that too.
    pub(crate) fn boot(&mut self, index: NodeIndex) {
        let now = self.schedule.now();
        let node = &mut self.nodes[index.0];
        node.boot_planned = false;
        if node.process.is_some() || self.harmed.dead_journal[index.0] {
            return;
        }
        if !node.powered {
            node.powered = true;
            node.clock.on_since = now;
        }
        node.lives += 1;
        let life = node.lives;
        trace::line(index, || format!("begins its life {life}"));
        let pool = Pool::new(self.swarm.pool[index.like()], Random::new(self.chance.draw(), life));
        let mono = node.now(now).mono;
        let holds_lane = self.layout.areas(index).is_some();
        let relay =
            holds_lane.then(|| Relay::new(self.layout.relay(index, &node.disks[0], self.swarm.recent, mono)));
        let mut policy = None;
        let group = (!index.is_relay()).then(|| {
            let (config, recovered) = self.layout.group(index, &self.swarm, &node.disks[0], now);
            policy = Some(config.lane_policy);
            Group::new(config, recovered)
        });
        node.process = Some(Process { policy, ..Process::new(life, relay, group, pool) });
        if !index.is_relay() {
            self.follow_own_ring(index);
            self.see_boot(index);
        }
        self.with_relay(index, Relay::start);
        self.with_group(index, Group::start);
        self.wake(index);
    }

    /// Faults stop: paths are mended, machines switched on, and soon everybody must get an answer.
    pub(crate) fn heal(&mut self) {
        trace::line("fault", || "all is repaired".to_owned());
        self.phase = Phase::Healing;
        self.phase_since = self.schedule.now();
        self.quota = self.quota.min(LAST_REQUESTS) + LAST_REQUESTS;
        self.wire.slowness = 1;
        self.wire.rot = 0;
        self.wire.mend_all(&mut self.schedule);
        self.repair_harm();
        for index in self.places() {
            self.end_starving(index);
            let node = &mut self.nodes[index.0];
            node.slowness = 1;
            node.fuse = None;
            if node.paused_until > self.schedule.now() {
                node.paused_until = self.schedule.now();
                if let Some(process) = node.process.as_mut() {
                    process.pass_planned = false;
                }
                self.wake(index);
            }
            if self.nodes[index.0].process.is_none() {
                let delay = self.chance.range(MS, SECOND);
                self.schedule.after(delay, Event::Boot(index));
            }
        }
        for client in 0..self.clients.len() {
            self.plan_client(client, MS);
        }
    }

    fn end_starving(&mut self, node: NodeIndex) {
        if let Some(process) = self.nodes[node.0].process.as_ref() {
            process.pool.set_starving(0);
        }
    }
}
