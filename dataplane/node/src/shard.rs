//! The pinned thread's loop: completions become events, events become effects, effects are submitted, then it sleeps.
//!
//! ```text
//!  reap ─▶ queues ─▶ timers ─▶ events ⇄ machines ─▶ answers ─▶ front end ─▶ its requests ─▶ drained (frames are sealed)
//!    ▲                                                                                              │
//!    └──────────────────── submit; look for more a little while, else sleep until a deadline ◀──────┘
//! ```
//! Everything a pass brings about leaves in one submission: batching comes from load.

use std::sync::Arc;
use std::time::Duration;

use midspan_format::geometry::REGION_BYTES;
use midspan_protocol::vocab::effect::Now;
use midspan_uring::Errno;

use crate::clock;
use crate::engine::{Engine, Routed};
use crate::event::Owner;
use crate::exports::{Export, ExportId, Exports};
use crate::frontend::{Asked, FrontEnd, Host, Marks};
use crate::idle::Idle;
use crate::inbound::Greeted;
use crate::machines::Machines;
use crate::mesh::{Handed, Mesh};
use crate::port::{Command, Reply, Report, ShardPort};
use crate::status::RelayStatus;

/// A sleeping shard looks around at least this often.
const LONGEST_SLEEP_NS: u64 = 1_000_000_000;
/// And this often while replies wait for room: who takes them does not wake it.
const STUCK_SLEEP_NS: u64 = 10_000_000;
/// How often a pass lets answers bring about new requests before it submits.
const ROUNDS: usize = 4;
/// With more unanswered host requests than this, throughput counts: a shard that sleeps meets more at once when it wakes.
const FEW_UNANSWERED: usize = 4;
/// How long a stopping shard waits for what is in flight.
const STOP_NS: u64 = 5_000_000_000;

/// What a shard is made of.
pub struct Parts {
    /// Its number.
    pub number: usize,
    /// Ring, buffers, disks, connections.
    pub engine: Engine,
    /// Its machines.
    pub machines: Machines,
    /// Its front end.
    pub front: Box<dyn FrontEnd>,
    /// All exports of the node.
    pub exports: Arc<Exports>,
    /// Owner of each export, by its number; `None` for those of other shards.
    pub owners: Vec<Option<Owner>>,
    /// The other shards.
    pub mesh: Mesh,
    /// The control plane.
    pub port: ShardPort,
    /// How long it looks for more work before it sleeps, nanoseconds.
    pub spin_ns: u64,
    /// Host requests that may wait for their machines.
    pub requests: usize,
}

/// The shard.
pub struct Shard {
    parts: Parts,
    asked: Asked,
    idle: Idle,
    stopping: Stopping,
    /// Whose requests wait for room.
    blocked: Vec<Owner>,
    /// Number of different owners of this shard's exports.
    owner_count: usize,
    /// The last pass left something to do.
    more: bool,
}

/// How far a stop has come. The time is when the shard ends at the latest.
#[derive(Clone, Copy, Debug)]
enum Stopping {
    No,
    /// Hosts are closed, groups answer what can be answered.
    Settling {
        until: u64,
    },
    /// Connections are closed, disk operations end.
    Closing {
        until: u64,
    },
}

impl Stopping {
    fn until(self) -> u64 {
        match self {
            Self::No => u64::MAX,
            Self::Settling { until } | Self::Closing { until } => until,
        }
    }
}

impl Shard {
    /// A shard that has not started.
    pub fn new(parts: Parts) -> Self {
        let asked = Asked::new(parts.requests);
        let mut owners: Vec<Owner> = parts.owners.iter().copied().flatten().collect();
        owners.sort_unstable();
        owners.dedup();
        // One more: requests for exports of nobody here, which are answered at once.
        let (owner_count, blocked) = (owners.len(), Vec::with_capacity(owners.len() + 1));
        let idle = Idle::new(parts.spin_ns);
        Self { parts, asked, idle, stopping: Stopping::No, blocked, owner_count, more: false }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// The ring is broken: nothing can be done any more.
    pub fn run(mut self) -> Result<(), Errno> {
        let now = clock::now();
        self.parts.machines.start(&mut self.parts.engine, now);
        loop {
            let now = clock::now();
            let worked = self.pass(now);
            if self.is_over(now.mono) {
                return Ok(());
            }
            self.rest(now.mono, worked)?;
        }
    }

    /// One pass; says whether there was anything to do.
    fn pass(&mut self, now: Now) -> bool {
        let mut worked = self.reap(now);
        worked |= self.take_handed(now);
        worked |= self.take_commands(now);
        worked |= self.tick(now);
        self.drain(now);
        self.more |= self.note_serving(now);
        self.give_handovers();
        self.report();
        let Parts { machines, engine, .. } = &mut self.parts;
        // Whoever found the pool empty in this pass shall look again.
        self.more |= engine.is_short_of_buffers() && machines.shed(engine);
        engine.flush(now.mono);
        self.more |= !engine.events.is_empty() || !engine.answers.is_empty();
        machines.plan();
        engine.counters.get().passes.add(1);
        worked
    }

    /// Takes all completions; machines are given what they mean at once.
    fn reap(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Some(completion) = self.parts.engine.ring.next_completion() {
            worked = true;
            match self.parts.engine.on_completion(now.mono, completion) {
                Routed::Done => {}
                Routed::Greeted(greeted) => self.route(now, greeted),
                Routed::Front(completion) => {
                    let rest = crate::tag::rest(completion.user);
                    self.with_front(now, |front, host| front.on_completion(host, rest, completion));
                }
            }
            self.events(now);
        }
        worked
    }

    /// Gives machines all events, and those that come of it.
    fn events(&mut self, now: Now) {
        let Parts { machines, engine, .. } = &mut self.parts;
        while let Some(event) = engine.events.pop_front() {
            machines.on_event(engine, now, event);
        }
    }

    /// Gives events and answers until nothing new comes of them.
    fn settle(&mut self, now: Now) {
        loop {
            self.events(now);
            let Some((request, result)) = self.parts.engine.answers.pop_front() else { return };
            self.with_front(now, |front, host| front.on_answer(host, request, result));
        }
    }

    /// Answers reach the front end, its requests their machines, and frames are sealed, until nothing new comes of it.
    fn drain(&mut self, now: Now) {
        for _ in 0..ROUNDS {
            self.settle(now);
            self.with_front(now, |front, host| front.on_drained(host));
            self.more = self.give_requests(now);
            let Parts { machines, engine, .. } = &mut self.parts;
            machines.on_drained(engine, now);
            self.more |= !engine.events.is_empty() || !engine.answers.is_empty();
            self.more |= self.blocked.iter().any(|owner| machines.has_room(*owner));
            if !self.more {
                return;
            }
        }
    }

    /// A connection that has greeted goes to the shard that holds its group.
    fn route(&mut self, now: Now, greeted: Greeted) {
        let shard = self.parts.mesh.shard_of(&greeted.hello);
        if shard == self.parts.number {
            self.adopt(now, greeted);
        } else {
            // A full queue closes the connection: its node comes again.
            drop(self.parts.mesh.give(shard, Handed::Greeted(greeted)));
        }
    }

    fn adopt(&mut self, now: Now, greeted: Greeted) {
        let owner = self.parts.machines.listener(&greeted.hello);
        self.parts.engine.adopt(now.mono, owner, greeted);
    }

    fn take_handed(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Some(handed) = self.parts.mesh.take() {
            worked = true;
            match handed {
                Handed::Greeted(greeted) => self.adopt(now, greeted),
                Handed::Front(handover) => {
                    self.with_front(now, |front, host| front.on_handover(host, handover));
                }
            }
        }
        worked
    }

    fn give_handovers(&mut self) {
        while let Some(handover) = self.asked.handovers.pop() {
            let shard = self.parts.exports.get(handover.export).map_or(0, |e| e.shard);
            drop(self.parts.mesh.give(shard, Handed::Front(handover)));
        }
    }

    fn take_commands(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Some((id, command)) = self.parts.port.take() {
            worked = true;
            let reply = self.on_command(now, command);
            self.parts.port.reply(Report::Reply { id, reply });
        }
        worked
    }

    fn on_command(&mut self, now: Now, command: Command) -> Reply {
        let Parts { machines, engine, .. } = &mut self.parts;
        match command {
            Command::Group { group, command } => match machines.index_of(group) {
                Some(index) => {
                    machines.group(engine, now, index, |group, context| group.on_command(context, command));
                    Reply::Taken
                }
                None => Reply::UnknownGroup,
            },
            Command::GroupStatus(group) => {
                match machines.index_of(group).and_then(|i| machines.groups.get(i)) {
                    Some(slot) => Reply::Group(Box::new(slot.group.status(now))),
                    None => Reply::UnknownGroup,
                }
            }
            Command::RelayStatus => {
                let status = machines.relay.as_ref().map(RelayStatus::of);
                Reply::Relay(Box::new(status.unwrap_or_default()))
            }
            Command::Stop => {
                self.stop(now);
                Reply::Taken
            }
        }
    }

    fn stop(&mut self, now: Now) {
        if !matches!(self.stopping, Stopping::No) {
            return;
        }
        self.stopping = Stopping::Settling { until: now.mono + STOP_NS };
        self.with_front(now, |front, host| front.stop(host));
        let Parts { machines, engine, .. } = &mut self.parts;
        engine.stop_accepting();
        machines.stop(engine, now);
    }

    /// Goes on with a stop; says whether the shard may end: everything is answered and written, or it took too long.
    fn is_over(&mut self, now: u64) -> bool {
        let Parts { machines, engine, front, .. } = &mut self.parts;
        match self.stopping {
            Stopping::No => false,
            Stopping::Settling { until } | Stopping::Closing { until } if now >= until => true,
            Stopping::Settling { until } => {
                if front.is_closed() && machines.is_idle() {
                    // From here on nothing new comes in, so that what is under way comes to an end.
                    engine.close_links(now);
                    self.stopping = Stopping::Closing { until };
                }
                false
            }
            Stopping::Closing { .. } => engine.links.open() == 0 && engine.disks.in_flight() == 0,
        }
    }

    fn tick(&mut self, now: Now) -> bool {
        let Parts { machines, engine, .. } = &mut self.parts;
        let mut ticked = engine.on_tick(now.mono);
        ticked |= machines.on_tick(engine, now);
        if self.parts.front.deadline() <= now.mono {
            self.with_front(now, |front, host| front.on_tick(host));
            ticked = true;
        }
        ticked
    }

    fn deadline(&self) -> u64 {
        let Parts { machines, engine, front, .. } = &self.parts;
        machines.due().min(engine.deadline()).min(front.deadline()).min(self.stopping.until())
    }

    /// Gives the front end's requests to their machines, as far as those have room; says whether it gave any. The order of
    /// each owner's requests stays.
    fn give_requests(&mut self, now: Now) -> bool {
        self.blocked.clear();
        let (mut gave, mut kept) = (false, 0);
        for _ in 0..self.asked.requests.len() {
            if self.blocked.len() == self.owner_count {
                // Nobody has room: what was passed over is older than the rest.
                self.asked.requests.rotate_right(kept);
                break;
            }
            let Some((export, request)) = self.asked.requests.pop_front() else { break };
            let owner = self.owner(export);
            let is_blocked = self.blocked.contains(&owner);
            if is_blocked || !self.parts.machines.has_room(owner) {
                if !is_blocked {
                    self.blocked.push(owner);
                }
                self.asked.requests.push_back((export, request));
                kept += 1;
                continue;
            }
            let Parts { machines, engine, .. } = &mut self.parts;
            machines.on_host(engine, now, owner, request);
            gave = true;
        }
        gave
    }

    fn owner(&self, export: ExportId) -> Owner {
        self.parts.owners.get(export.0 as usize).copied().flatten().unwrap_or(Owner::Relay)
    }

    /// Tells the front end and the control plane which exports started or stopped being served; says whether any did.
    fn note_serving(&mut self, now: Now) -> bool {
        let mut changed = false;
        for index in 0..self.parts.owners.len() {
            let Some(owner) = self.parts.owners.get(index).copied().flatten() else { continue };
            let serving = matches!(self.stopping, Stopping::No) && self.parts.machines.is_serving(owner);
            let export = ExportId(u32::try_from(index).unwrap_or(u32::MAX));
            if self.parts.exports.get(export).is_some_and(|e| e.set_serving(serving)) {
                self.with_front(now, |front, host| front.on_export(host, export));
                self.parts.port.tell(Report::Serving { export, serving });
                changed = true;
            }
        }
        changed
    }

    fn report(&mut self) {
        let Parts { engine, machines, port, .. } = &mut self.parts;
        while let Some((owner, note)) = engine.notes.pop_front() {
            port.tell(Report::Note { group: machines.id_of(owner), note });
        }
        while let Some(failure) = engine.disks.take_failure() {
            port.tell(Report::Disk(failure));
        }
    }

    fn with_front(&mut self, now: Now, call: impl FnOnce(&mut dyn FrontEnd, &mut Host<'_>)) {
        let Parts { engine, front, exports, number, machines, owners, .. } = &mut self.parts;
        let mut host = Host {
            ring: &mut engine.ring,
            buffers: &mut engine.buffers,
            exports,
            marks: &ShardMarks { machines, owners, exports },
            now,
            shard: *number,
            asked: &mut self.asked,
            recorder: &mut engine.recorder,
        };
        call(front.as_mut(), &mut host);
    }

    /// Submits; then looks for more at once, or sleeps until something happens or is due.
    fn rest(&mut self, now: u64, worked: bool) -> Result<(), Errno> {
        if worked {
            self.idle.on_work(now);
        }
        if self.more {
            return self.parts.engine.ring.wait(0, None);
        }
        let Parts { engine, machines, .. } = &mut self.parts;
        if engine.unanswered <= FEW_UNANSWERED && machines.is_hurried() && self.idle.looks(now) {
            engine.ring.wait(0, None)?;
            std::thread::yield_now();
            return Ok(());
        }
        self.idle.sleeps();
        let longest = if self.parts.port.is_stuck() { STUCK_SLEEP_NS } else { LONGEST_SLEEP_NS };
        let wake_at = self.deadline().min(now + longest);
        let pause = Duration::from_nanos(wake_at.saturating_sub(now).max(1));
        self.parts.engine.counters.get().sleeps.add(1);
        self.parts.engine.ring.wait(1, Some(pause))
    }
}

#[cfg(test)]
mod tests;

/// Regions that one look at a map goes over at most: a look must not hold up the shard.
const LOOK_REGIONS: u64 = 1 << 16;

/// The dirty maps of the shard's groups, by export.
struct ShardMarks<'a> {
    machines: &'a Machines,
    owners: &'a [Option<Owner>],
    exports: &'a Exports,
}

impl Marks for ShardMarks<'_> {
    fn extent(&self, export: ExportId, offset: u64) -> Option<(bool, u64)> {
        let owner = self.owners.get(export.0 as usize).copied().flatten()?;
        let map = self.machines.map(owner)?;
        let Export { volume, size, .. } = self.exports.get(export)?;
        let marked = map.is_marked(*volume, offset);
        let region = offset / REGION_BYTES;
        let differs = (region + 1..region + LOOK_REGIONS)
            .map(|region| region * REGION_BYTES)
            .find(|at| at >= size || map.is_marked(*volume, *at) != marked);
        let end = differs.unwrap_or((region + LOOK_REGIONS) * REGION_BYTES).min(*size);
        (end > offset).then_some((marked, end))
    }
}
