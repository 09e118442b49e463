//! The machines of a shard, and the way an event takes to its machine and the effects take back.

use midspan_format::control::GroupCommand;
use midspan_format::dirty_map::DirtyMap;
use midspan_format::ids::GroupId;
use midspan_format::message::{Hello, SessionKind};
use midspan_protocol::role::direct::Direct;
use midspan_protocol::role::group::Group;
use midspan_protocol::role::relay::Relay;
use midspan_protocol::vocab::effect::{Context, Effect, Effects, HostError, HostRequest, Now};

use crate::buffers::{PoolBuf, PoolBuffers};
use crate::engine::Engine;
use crate::event::{Event, Owner};

/// A group of this shard.
pub struct GroupSlot {
    /// Its identity.
    pub id: GroupId,
    /// The machine.
    pub group: Group<PoolBuf>,
    /// See [`Machines::plan`].
    due: u64,
}

impl GroupSlot {
    /// A group that has not started.
    pub fn new(id: GroupId, group: Group<PoolBuf>) -> Self {
        Self { id, group, due: 0 }
    }
}

/// All machines of a shard.
pub struct Machines {
    /// The relay.
    pub relay: Option<Relay<PoolBuf>>,
    /// The groups.
    pub groups: Vec<GroupSlot>,
    /// The lone disks.
    pub lone: Vec<Direct<PoolBuf>>,
    /// See [`Machines::plan`].
    relay_due: u64,
    effects: Effects<PoolBuf>,
}

impl Machines {
    /// Room for the effects of one event is allocated here.
    pub fn new(relay: Option<Relay<PoolBuf>>, groups: Vec<GroupSlot>, lone: Vec<Direct<PoolBuf>>) -> Self {
        Self { relay, groups, lone, relay_due: 0, effects: Effects::with_capacity(1024) }
    }

    /// Lets all machines begin.
    pub fn start(&mut self, engine: &mut Engine, now: Now) {
        self.relay(engine, now, Relay::start);
        for index in 0..self.groups.len() {
            self.group(engine, now, index, Group::start);
        }
    }

    /// Gives an event to its machine and carries out what that asks.
    pub fn on_event(&mut self, engine: &mut Engine, now: Now, event: Event) {
        match event {
            Event::Hello { owner: Owner::Group(index), link, hello } => {
                self.group(engine, now, index.into(), |group, context| group.on_hello(context, link, &hello));
            }
            Event::Hello { owner: Owner::Relay | Owner::Lone(_), link, hello } => {
                if self.relay.is_none() {
                    engine.execute(now.mono, Owner::Relay, Effect::Close { link });
                }
                self.relay(engine, now, |relay, context| relay.on_hello(context, link, &hello));
            }
            Event::Link { owner, link, event } => match owner {
                Owner::Relay => self.relay(engine, now, |relay, context| relay.on_link(context, link, event)),
                Owner::Group(index) => {
                    self.group(engine, now, index.into(), |group, context| {
                        group.on_link(context, link, event)
                    });
                }
                Owner::Lone(_) => debug_assert!(false, "a lone disk has no connections"),
            },
            Event::Disk { owner, token, result } => match owner {
                Owner::Relay => {
                    self.relay(engine, now, |relay, context| relay.on_disk(context, token, result))
                }
                Owner::Group(index) => {
                    if let Some(slot) = self.groups.get(usize::from(index)) {
                        engine.recorder.on_disk(slot.id, token, &result);
                    }
                    self.group(engine, now, index.into(), |group, context| {
                        group.on_disk(context, token, result)
                    });
                }
                Owner::Lone(index) => {
                    self.lone(engine, now, index.into(), |direct, context| {
                        direct.on_disk(context, token, result)
                    });
                }
            },
        }
    }

    /// Who listens to a connection that has greeted: the group, where the other site tells it something; else the relay.
    pub fn listener(&self, hello: &Hello) -> Owner {
        let group = self.index_of(hello.group).filter(|_| hello.kind == SessionKind::Direct);
        group.and_then(|index| u16::try_from(index).ok()).map_or(Owner::Relay, Owner::Group)
    }

    /// Whether the owner of a volume takes another host request.
    pub fn has_room(&self, owner: Owner) -> bool {
        match owner {
            // Answered at once: nobody serves it.
            Owner::Relay => true,
            Owner::Group(index) => self.groups.get(usize::from(index)).is_none_or(|g| g.group.has_room()),
            Owner::Lone(index) => self.lone.get(usize::from(index)).is_none_or(Direct::has_room),
        }
    }

    /// A host request for the owner of its volume.
    pub fn on_host(&mut self, engine: &mut Engine, now: Now, owner: Owner, request: HostRequest<PoolBuf>) {
        engine.counters.get().host_requests.add(1);
        engine.unanswered += 1;
        match owner {
            Owner::Relay => {
                let effect = Effect::Answer { request: request.id, result: Err(HostError::NotServing) };
                engine.execute(now.mono, owner, effect);
            }
            Owner::Group(index) => {
                self.group(engine, now, index.into(), |group, context| group.on_host(context, request));
            }
            Owner::Lone(index) => {
                self.lone(engine, now, index.into(), |direct, context| direct.on_host(context, request));
            }
        }
    }

    /// Whether somebody's answer depends on how soon this shard sees the next event: hosts are served, or a journal is written,
    /// one frame at a time.
    pub fn is_hurried(&self) -> bool {
        let serves = !self.lone.is_empty() || self.groups.iter().any(|slot| slot.group.is_serving());
        self.relay.as_ref().and_then(Relay::is_hurried).unwrap_or(serves)
    }

    /// Whether the owner of a volume serves hosts now.
    pub fn is_serving(&self, owner: Owner) -> bool {
        match owner {
            Owner::Relay => false,
            Owner::Group(index) => self.groups.get(usize::from(index)).is_some_and(|g| g.group.is_serving()),
            Owner::Lone(_) => true,
        }
    }

    /// The dirty map of the owner of a volume, if it has one.
    pub fn map(&self, owner: Owner) -> Option<&DirtyMap> {
        match owner {
            Owner::Group(index) => self.groups.get(usize::from(index)).and_then(|g| g.group.map()),
            Owner::Relay | Owner::Lone(_) => None,
        }
    }

    /// Number of a group in this shard.
    pub fn index_of(&self, group: GroupId) -> Option<usize> {
        self.groups.iter().position(|g| g.id == group)
    }

    /// The group of an owner.
    pub fn id_of(&self, owner: Owner) -> Option<GroupId> {
        match owner {
            Owner::Group(index) => self.groups.get(usize::from(index)).map(|g| g.id),
            Owner::Relay | Owner::Lone(_) => None,
        }
    }

    /// Tells all groups to end.
    pub fn stop(&mut self, engine: &mut Engine, now: Now) {
        for index in 0..self.groups.len() {
            self.group(engine, now, index, |group, context| group.on_command(context, GroupCommand::Stop));
        }
    }

    /// Whether no machine has anything under way.
    pub fn is_idle(&self) -> bool {
        self.groups.iter().all(|g| g.group.is_idle()) && self.lone.iter().all(Direct::is_idle)
    }

    /// Timers of those machines whose time has come; says whether there were any.
    pub fn on_tick(&mut self, engine: &mut Engine, now: Now) -> bool {
        let mut ticked = false;
        if self.relay_due <= now.mono && self.relay.is_some() {
            self.relay_due = u64::MAX;
            ticked = true;
            self.relay(engine, now, Relay::on_tick);
        }
        for index in 0..self.groups.len() {
            let Some(slot) = self.groups.get_mut(index).filter(|slot| slot.due <= now.mono) else { continue };
            slot.due = u64::MAX;
            ticked = true;
            self.group(engine, now, index, Group::on_tick);
        }
        ticked
    }

    /// All events of a batch were given: open frames are sealed, what found the pool empty is tried again.
    pub fn on_drained(&mut self, engine: &mut Engine, now: Now) {
        for index in 0..self.groups.len() {
            self.group(engine, now, index, Group::on_drained);
        }
        for index in 0..self.lone.len() {
            self.lone(engine, now, index, Direct::on_drained);
        }
    }

    /// Asks the machines for their deadlines. Once per pass. A machine may count from when it was called last ("in two
    /// milliseconds"), so the earliest that it has named since its timers ran counts: a shard that never rests would put
    /// them off for ever.
    pub fn plan(&mut self) {
        if let Some(relay) = &self.relay {
            self.relay_due = self.relay_due.min(relay.deadline());
        }
        for slot in &mut self.groups {
            slot.due = slot.due.min(slot.group.deadline());
        }
    }

    /// When the first machine's timers are to run.
    pub fn due(&self) -> u64 {
        let relay = self.relay.as_ref().map_or(u64::MAX, |_| self.relay_due);
        self.groups.iter().map(|slot| slot.due).fold(relay, u64::min)
    }

    /// Gives remembered frames back until buffers are free again; says whether it gave any.
    pub fn shed(&mut self, engine: &Engine) -> bool {
        let mut shed = false;
        while engine.is_short_of_buffers() && self.relay.as_mut().is_some_and(Relay::shed) {
            shed = true;
        }
        for slot in &mut self.groups {
            while engine.is_short_of_buffers() && slot.group.shed() {
                shed = true;
            }
        }
        shed
    }

    /// Calls the relay, if there is one.
    pub fn relay(
        &mut self,
        engine: &mut Engine,
        now: Now,
        call: impl FnOnce(&mut Relay<PoolBuf>, &mut Context<'_, PoolBuffers>),
    ) {
        let Some(relay) = self.relay.as_mut() else { return };
        let mut context = Context { now, buffers: &mut engine.buffers, effects: &mut self.effects };
        call(relay, &mut context);
        carry_out(&mut self.effects, engine, now, Owner::Relay);
    }

    /// Calls a group.
    pub fn group(
        &mut self,
        engine: &mut Engine,
        now: Now,
        index: usize,
        call: impl FnOnce(&mut Group<PoolBuf>, &mut Context<'_, PoolBuffers>),
    ) {
        let Some(slot) = self.groups.get_mut(index) else { return };
        let mut context = Context { now, buffers: &mut engine.buffers, effects: &mut self.effects };
        call(&mut slot.group, &mut context);
        carry_out(&mut self.effects, engine, now, Owner::Group(u16::try_from(index).unwrap_or(u16::MAX)));
    }

    fn lone(
        &mut self,
        engine: &mut Engine,
        now: Now,
        index: usize,
        call: impl FnOnce(&mut Direct<PoolBuf>, &mut Context<'_, PoolBuffers>),
    ) {
        let Some(direct) = self.lone.get_mut(index) else { return };
        let mut context = Context { now, buffers: &mut engine.buffers, effects: &mut self.effects };
        call(direct, &mut context);
        carry_out(&mut self.effects, engine, now, Owner::Lone(u16::try_from(index).unwrap_or(u16::MAX)));
    }
}

fn carry_out(effects: &mut Effects<PoolBuf>, engine: &mut Engine, now: Now, owner: Owner) {
    engine.recorder.reached(effects);
    for effect in effects.drain() {
        engine.execute(now.mono, owner, effect);
    }
}

#[cfg(test)]
mod tests;
