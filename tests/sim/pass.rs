//! Passes of a process: it takes what has come in, gives it to its machines, and what they ask is carried out.
//!
//! As the real shard does: everything that has come in, then deadlines, then requests of hosts, then the batch is drained. A
//! fuse may burn between any two effects: then the process is dead, and what it had not carried out never happens.

use midspan_format::message::{Hello, Message, SessionKind, bulk_unit_length};
use midspan_protocol::role::group::Group;
use midspan_protocol::role::relay::Relay;
use midspan_protocol::vocab::buffer::{Buffer, Buffers, Slice};
use midspan_protocol::vocab::effect::{Context, LinkEvent, LinkId};

use crate::disk::Owner;
use crate::event::{ConnId, Event, NodeIndex, Side};
use crate::lies::Lie;
use crate::memory::{Pool, SimBuf};
use crate::node::Inbox;
use crate::swarm::{MS, SECOND, US};
use crate::trace;
use crate::wire::{EndState, Payload};
use crate::words::{INBOUND, describe_event, name};
use crate::world::World;

/// Bytes of a receive buffer, unless one unit is longer.
const CHUNK: usize = 1 << 20;
/// Passes in a row that a deadline may ask for at once.
const RESTLESS: u32 = 20_000;
/// How often a pass lets answers bring about new requests.
const ROUNDS: usize = 4;

impl World {
    /// One pass of a process.
    pub(crate) fn pass(&mut self, node: NodeIndex, life: u64) {
        let now = self.schedule.now();
        let paused_until = self.nodes[node.0].paused_until;
        let Some(process) = self.nodes[node.0].process_of(life) else { return };
        if now < paused_until {
            return self.schedule.at(paused_until, Event::Pass { node, life });
        }
        process.pass_planned = false;
        let starved = std::mem::take(&mut process.starved);
        for (conn, side) in starved {
            self.on_arrived(node, conn, side);
        }
        while let Some(item) = self.nodes[node.0].process_of(life).and_then(|p| p.inbox.pop_front()) {
            self.on_inbox(node, item);
        }
        let mono = self.nodes[node.0].now(now).mono;
        if self.nodes[node.0]
            .process_of(life)
            .is_some_and(|p| p.relay.as_ref().is_some_and(|r| r.deadline() <= mono))
        {
            self.with_relay(node, Relay::on_tick);
        }
        if self.nodes[node.0]
            .process_of(life)
            .is_some_and(|p| p.group.as_ref().is_some_and(|g| g.deadline() <= mono))
        {
            self.with_group(node, Group::on_tick);
        }
        for _ in 0..ROUNDS {
            let gave = self.give_requests(node);
            self.with_group(node, Group::on_drained);
            if !gave {
                break;
            }
        }
        self.shed(node);
        self.plan_tick(node, life);
    }

    fn on_inbox(&mut self, node: NodeIndex, item: Inbox) {
        match item {
            Inbox::Disk { owner, token, result } => {
                trace::line(node, || {
                    format!("disk done {owner:?} {token:?} {}", if result.is_ok() { "ok" } else { "FAILED" })
                });
                match owner {
                    Owner::Relay => {
                        self.with_relay(node, |relay, context| relay.on_disk(context, token, result))
                    }
                    Owner::Group => {
                        self.with_group(node, |group, context| group.on_disk(context, token, result))
                    }
                }
            }
            Inbox::Arrived(conn, side) => self.on_arrived(node, conn, side),
            Inbox::Left(conn, side) => {
                if let Some(EndState::Open(link)) = self.wire.end(conn, side).map(|end| end.state) {
                    self.on_link(node, side, link, LinkEvent::Sent);
                }
            }
            Inbox::Lost(conn, side) => self.on_lost(node, conn, side),
            Inbox::Command(command) => {
                self.see_command(node, command);
                self.with_group(node, |group, context| group.on_command(context, command))
            }
        }
    }

    /// Something of a connection reaches an end: tells the process there.
    pub(crate) fn tell_end(&mut self, conn: ConnId, side: Side, what: Inbox) {
        let Some(end) = self.wire.end(conn, side) else { return };
        let is_open = matches!(end.state, EndState::Open(_));
        if is_open && self.nodes[end.node.0].process_of(end.life).is_some() {
            self.tell(end.node, what);
        }
    }

    /// Something arrives at a machine.
    pub(crate) fn on_arrive(&mut self, conn: ConnId, from: Side) {
        let Some(node) = self.wire.arrive(self.schedule.now(), conn, from) else { return };
        let Some(end) = self.wire.end(conn, 1 - from) else { return };
        match end.state {
            EndState::Open(_) => self.tell_end(conn, 1 - from, Inbox::Arrived(conn, 1 - from)),
            EndState::Waiting if self.nodes[node.0].process.is_some() => {
                self.tell(node, Inbox::Arrived(conn, 1 - from));
            }
            EndState::Waiting => {
                // Nobody listens: a machine that is on says so at once, one that is off says nothing.
                self.wire.forget(conn, 1 - from);
                if self.nodes[node.0].powered {
                    self.schedule.after(MS, Event::Lost { conn, side: from });
                }
            }
            EndState::Gone => {}
        }
    }

    fn on_lost(&mut self, node: NodeIndex, conn: ConnId, side: Side) {
        let Some(EndState::Open(link)) = self.wire.end(conn, side).map(|end| end.state) else { return };
        self.wire.forget(conn, side);
        if let Some(process) = self.nodes[node.0].process.as_mut() {
            process.links.remove(&link);
        }
        self.on_link(node, side, link, LinkEvent::Down);
    }

    fn on_link(&mut self, node: NodeIndex, side: Side, link: LinkId, event: LinkEvent<SimBuf>) {
        trace::line(node, || format!("{} {}", name(link), describe_event(&event)));
        let process = self.nodes[node.0].process.as_ref();
        if side == 0 || !process.is_some_and(|process| process.relay_links.contains(&link)) {
            self.look_for_news(node, link, &event);
            self.with_group(node, |group, context| group.on_link(context, link, event));
        } else {
            self.with_relay(node, |relay, context| relay.on_link(context, link, event));
        }
    }

    /// Takes everything that has arrived at an end.
    fn on_arrived(&mut self, node: NodeIndex, conn: ConnId, side: Side) {
        loop {
            let state = self.wire.end(conn, side).map(|end| end.state);
            match (state, self.wire.peek(conn, side)) {
                (None | Some(EndState::Gone), _) | (_, None) => return,
                (Some(EndState::Waiting), Some(_)) => self.on_greeting(node, conn),
                (Some(EndState::Open(link)), Some(Payload::Small(_))) => {
                    let Some(Payload::Small(bytes)) = self.wire.take(&mut self.schedule, conn, side) else {
                        return;
                    };
                    match Message::decode(&bytes) {
                        Ok(Some((message, length))) if length == bytes.len() => {
                            self.on_link(node, side, link, LinkEvent::Message(message));
                        }
                        Ok(_) | Err(_) => self.hang_up(node, conn, side),
                    }
                }
                (Some(EndState::Open(_)), Some(Payload::Bulk(_))) => {
                    if !self.on_units(node, conn, side) {
                        return;
                    }
                }
                (Some(EndState::Open(_)), Some(Payload::End)) => {
                    self.wire.take(&mut self.schedule, conn, side);
                    self.on_lost(node, conn, side);
                }
            }
        }
    }

    /// The stream cannot be read: the connection ends.
    fn hang_up(&mut self, node: NodeIndex, conn: ConnId, side: Side) {
        trace::line(node, || format!("{conn:?} is not understood"));
        let Some(EndState::Open(link)) = self.wire.end(conn, side).map(|end| end.state) else { return };
        self.wire.close(&mut self.schedule, conn, side);
        if let Some(process) = self.nodes[node.0].process.as_mut() {
            process.links.remove(&link);
        }
        self.on_link(node, side, link, LinkEvent::Down);
    }

    fn on_greeting(&mut self, node: NodeIndex, conn: ConnId) {
        let greeting = self.wire.take(&mut self.schedule, conn, 1);
        let hello = match greeting {
            Some(Payload::Small(bytes)) => match Message::decode(&bytes) {
                Ok(Some((Message::Hello(hello), _))) => Some(hello),
                Ok(_) | Err(_) => None,
            },
            Some(Payload::Bulk(_) | Payload::End) | None => None,
        };
        let Some(process) = self.nodes[node.0].process.as_mut() else { return };
        let listens = |hello: &Hello| match hello.kind {
            SessionKind::Direct => process.group.is_some(),
            SessionKind::Append | SessionKind::Fetch | SessionKind::Control => process.relay.is_some(),
        };
        let Some(hello) = hello.filter(listens) else {
            return self.wire.close(&mut self.schedule, conn, 1);
        };
        process.inbound_count += 1;
        let link = LinkId(INBOUND | process.inbound_count);
        process.links.insert(link, (conn, 1));
        if hello.kind != SessionKind::Direct {
            process.relay_links.insert(link);
        }
        self.wire.accept(conn, process.life, link);
        trace::line(node, || {
            format!(
                "{} hello {:?} {:?} from {} epoch {}",
                name(link),
                hello.kind,
                hello.area_kind,
                hello.node,
                hello.epoch
            )
        });
        if hello.kind == SessionKind::Direct {
            self.with_group(node, |group, context| group.on_hello(context, link, &hello));
        } else {
            self.with_relay(node, |relay, context| relay.on_hello(context, link, &hello));
        }
    }

    /// Receives units that lie in a row into one buffer, as a socket does. `false`: no buffer.
    fn on_units(&mut self, node: NodeIndex, conn: ConnId, side: Side) -> bool {
        let sizes = self.wire.units(conn, side);
        let mut total = 0;
        let limit = if self.chance.percent(30) { 0 } else { CHUNK };
        let count = sizes.iter().take_while(|size| {
            total += **size;
            total <= limit.max(sizes[0])
        });
        let count = count.count().max(1);
        let total: usize = sizes[..count].iter().sum();
        let Some(process) = self.nodes[node.0].process.as_mut() else { return false };
        let Some(mut chunk) = process.pool.take(total) else {
            process.starved.push((conn, side));
            return false;
        };
        let mut ranges = Vec::with_capacity(count);
        let mut at = 0;
        for _ in 0..count {
            let Some(Payload::Bulk(bytes)) = self.wire.take(&mut self.schedule, conn, side) else { break };
            let end = at + bytes.len();
            // Nobody else has the chunk yet.
            let _ = if count == 1 { chunk.hold(bytes) } else { chunk.take_over(at, bytes) };
            ranges.push(at..end);
            at = end;
        }
        chunk.set_filled(at);
        for range in ranges {
            // The machine may have closed the connection meanwhile: then nothing more of it is delivered.
            let Some(EndState::Open(link)) = self.wire.end(conn, side).map(|end| end.state) else { break };
            let unit = Slice::new(chunk.clone(), range);
            if bulk_unit_length(unit.bytes()) != Ok(Some(unit.len())) {
                self.hang_up(node, conn, side);
                break;
            }
            if self.lie == Lie::ProgressTooEarly {
                self.lie_about_progress(node, conn, side, &unit);
            }
            self.on_link(node, side, link, LinkEvent::Unit(unit));
        }
        true
    }

    /// Calls the relay of a node, and carries out what it asks.
    pub(crate) fn with_relay(
        &mut self,
        node: NodeIndex,
        call: impl FnOnce(&mut Relay<SimBuf>, &mut Context<'_, Pool>),
    ) {
        let now = self.nodes[node.0].now(self.schedule.now());
        let Some(process) = self.nodes[node.0].process.as_mut() else { return };
        let Some(relay) = process.relay.as_mut() else { return };
        call(relay, &mut Context { now, buffers: &mut process.pool, effects: &mut process.effects });
        self.carry_out(node, Owner::Relay);
    }

    /// Calls the group of a node, and carries out what it asks.
    pub(crate) fn with_group(
        &mut self,
        node: NodeIndex,
        call: impl FnOnce(&mut Group<SimBuf>, &mut Context<'_, Pool>),
    ) {
        let now = self.nodes[node.0].now(self.schedule.now());
        let Some(process) = self.nodes[node.0].process.as_mut() else { return };
        let Some(group) = process.group.as_mut() else { return };
        process.stand.set(None);
        call(group, &mut Context { now, buffers: &mut process.pool, effects: &mut process.effects });
        self.carry_out(node, Owner::Group);
    }

    fn carry_out(&mut self, node: NodeIndex, owner: Owner) {
        let Some(process) = self.nodes[node.0].process.as_mut() else { return };
        let life = process.life;
        let mut effects = std::mem::take(&mut self.carried);
        effects.extend(process.effects.drain());
        if effects.len() > 20_000 {
            self.fail("I10", format!("one event had {} effects", effects.len()));
        }
        for effect in effects.drain(..) {
            if self.burn(node) || self.nodes[node.0].process_of(life).is_none() {
                break;
            }
            if owner == Owner::Group {
                self.foresee(node, &effect);
                self.look_for_moment(node, &effect);
            }
            if self.nodes[node.0].process_of(life).is_none() {
                break;
            }
            self.execute(node, owner, effect);
        }
        self.carried = effects;
    }

    /// The fuse burns down by one effect. `true` when the process died.
    fn burn(&mut self, node: NodeIndex) -> bool {
        let Some(fuse) = self.nodes[node.0].fuse.as_mut() else { return false };
        if *fuse > 0 {
            *fuse -= 1;
            return false;
        }
        let down = self.nodes[node.0].down;
        self.kill(node, down);
        true
    }

    /// Gives hosts' requests to the group, as far as it has room and there is memory for their data.
    fn give_requests(&mut self, node: NodeIndex) -> bool {
        let mut gave = false;
        loop {
            let Some(process) = self.nodes[node.0].process.as_mut() else { return gave };
            let Some(group) = process.group.as_ref() else { return gave };
            let Some(op) = process.waiting.front().copied().filter(|_| group.has_room()) else { return gave };
            let Some(sent) = self.sent.get(&op).copied() else {
                process.waiting.pop_front();
                continue;
            };
            let Some(request) = self.request(node, op, &sent) else { return gave };
            gave = true;
            if let Some(process) = self.nodes[node.0].process.as_mut() {
                process.waiting.pop_front();
                process.requests.insert(request.id.0, op);
            }
            trace::line(node, || {
                let (kind, volume, offset, length) = (sent.kind, sent.volume, sent.offset, sent.length);
                format!(
                    "op {op} {kind:?} volume {volume} offset {offset} length {length} as {:?}",
                    request.id
                )
            });
            self.with_group(node, |group, context| group.on_host(context, request));
        }
    }

    fn shed(&mut self, node: NodeIndex) {
        let Some(process) = self.nodes[node.0].process.as_mut() else { return };
        while process.pool.is_short() && process.relay.as_mut().is_some_and(Relay::shed) {}
        process.stand.set(None);
        while process.pool.is_short() && process.group.as_mut().is_some_and(Group::shed) {}
    }

    fn plan_tick(&mut self, node: NodeIndex, life: u64) {
        let now = self.schedule.now();
        let mono = self.nodes[node.0].now(now).mono;
        let clock = self.nodes[node.0].clock;
        let Some(process) = self.nodes[node.0].process_of(life) else { return };
        let deadline = process.deadline();
        let mut at = clock.when(deadline).min(now + SECOND).max(now + 5 * US);
        if !process.starved.is_empty() || !process.waiting.is_empty() {
            at = at.min(now + MS);
        }
        process.restless = if deadline <= mono { process.restless + 1 } else { 0 };
        if process.restless > RESTLESS {
            let text = self.describe();
            return self.fail("I10", format!("{node} spins: its deadline is always now: {text}"));
        }
        self.schedule.set(node.0, at, Event::Tick { node, life });
    }
}
