//! The connections between nodes on one shard: the effects that concern them, carried out on sockets.
//!
//! A machine knows a connection by its link; the engine by a slot here. A slot outlives its link until the kernel has let
//! go of the socket. Events of a link that its machine has closed are taken back, so none is delivered afterwards.

pub mod wire;
pub mod splitter;
pub mod outgoing;
mod slot;

use std::collections::VecDeque;

use midspan_format::ids::NodeId;
use midspan_format::message::{Hello, Message};
pub use midspan_protocol::role::site::LINKS_PER_GROUP;
use midspan_protocol::vocab::effect::{LinkEvent, LinkId};
use midspan_uring::socket::SocketOptions;
use midspan_uring::{Address, Completion, Ring, Socket};

use crate::buffers::{Gathered, PoolBuf, PoolBuffers};
use crate::event::{Event, Events, Owner};
use crate::slab::{Key, Slab};
use outgoing::Out;
use slot::{Phase, Slot, user};

use crate::counters::Counters;
use crate::recorder::Recorder;
use crate::tag;

/// Connections of a shard at a time.
pub const CONNECTIONS: usize = 1 << PLACE_BITS;
/// How long a closed connection is read on, so that what was sent last is not lost to a reset.
const LINGER_NS: u64 = 1_000_000_000;

const PLACE_BITS: u32 = 10;
const INBOUND: u32 = 1 << 31;

/// Where a node can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Its addresses, tried in turn.
    pub addresses: Vec<Address>,
}

/// What every call needs.
pub struct LinkContext<'a> {
    /// The shard's ring.
    pub ring: &'a mut Ring,
    /// The shard's buffers.
    pub buffers: &'a mut PoolBuffers,
    /// Where events go.
    pub events: &'a mut Events,
    /// The shard's counters.
    pub counters: &'a Counters,
    /// What writes have reached.
    pub recorder: &'a mut Recorder,
    /// Monotonic time.
    pub now: u64,
}

#[derive(Debug)]
struct KnownPeer {
    peer: Peer,
    next: usize,
}

/// All connections.
#[derive(Debug)]
pub struct Links {
    slots: Slab<Slot>,
    /// Slot of each link that a group has connected.
    outbound: Vec<Option<Key>>,
    peers: Vec<KnownPeer>,
    /// Slots with something to send that no send was started for.
    dirty: Vec<Key>,
    /// Slots that want to receive and found no buffer, the one that waits longest first.
    starved: VecDeque<Key>,
    lingering: usize,
    gathered: Gathered,
}

impl Links {
    /// No connections yet; the links of `groups` groups, and the peers that they may connect to.
    pub fn new(groups: usize, peers: &[Peer]) -> Self {
        let known = |peer: &Peer| KnownPeer { peer: peer.clone(), next: 0 };
        Self {
            slots: Slab::new(CONNECTIONS),
            outbound: vec![None; groups * LINKS_PER_GROUP as usize],
            peers: peers.iter().map(known).collect(),
            dirty: Vec::with_capacity(CONNECTIONS),
            starved: VecDeque::with_capacity(CONNECTIONS),
            lingering: 0,
            gathered: Vec::with_capacity(midspan_uring::MAX_PARTS),
        }
    }

    /// Opens a connection for a group and greets.
    pub fn connect(
        &mut self,
        context: &mut LinkContext<'_>,
        owner: Owner,
        link: LinkId,
        node: NodeId,
        hello: Hello,
    ) {
        debug_assert!(self.key(link).is_none(), "a link is connected twice");
        if self.try_connect(context, owner, link, node, hello).is_none() {
            context.events.push_back(Event::Link { owner, link, event: LinkEvent::Down });
        }
    }

    fn try_connect(
        &mut self,
        context: &mut LinkContext<'_>,
        owner: Owner,
        link: LinkId,
        node: NodeId,
        hello: Hello,
    ) -> Option<()> {
        let known = self.peers.iter_mut().find(|p| p.peer.node == node)?;
        let address = known.peer.addresses.get(known.next)?.clone();
        known.next = (known.next + 1) % known.peer.addresses.len();
        let place = self.outbound.get_mut(link.0 as usize)?;
        let scratch = context.buffers.pool().take(outgoing::SCRATCH_BYTES)?;
        let mut slot = Slot::outbound(owner, link, &hello, scratch);
        slot.outgoing.push(Out::Message(Message::Hello(hello)));
        let key = self.slots.insert(slot).ok()?;
        match context.ring.connect(&address, user(key, slot::CONNECT)) {
            Ok(op) => {
                *place = Some(key);
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.phase = Phase::Connecting(op);
                }
                Some(())
            }
            Err(_) => {
                self.slots.remove(key);
                None
            }
        }
    }

    /// Takes over a connection that was made to us and has greeted, for a machine; `false` when there is no room: it is closed.
    pub fn adopt(
        &mut self,
        context: &mut LinkContext<'_>,
        owner: Owner,
        socket: Socket,
        hello: Hello,
    ) -> bool {
        let Some(scratch) = context.buffers.pool().take(outgoing::SCRATCH_BYTES) else { return false };
        let Ok(key) = self.slots.insert(Slot::inbound(&hello, scratch)) else { return false };
        let link = inbound_link(key);
        let socket = context.ring.add_socket(socket);
        let (Some(slot), Ok(socket)) = (self.slots.get_mut(key), socket) else {
            self.slots.remove(key);
            return false;
        };
        slot.link = Some((owner, link));
        slot.phase = Phase::Open(socket);
        context.counters.links.add(1);
        context.events.push_back(Event::Hello { owner, link, hello });
        self.receive(context, key);
        true
    }

    /// Queues something to send; dropped when the connection is gone, which its machine has been told or will be.
    pub fn send(&mut self, link: LinkId, out: Out) {
        let Some(key) = self.key(link) else { return };
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.outgoing.push(out);
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push(key);
        }
    }

    /// The machine closes the link: what is queued still goes out, nothing more is delivered.
    pub fn close(&mut self, context: &mut LinkContext<'_>, link: LinkId) {
        context.events.retain(|event| !is_of_link(event, link));
        let Some(key) = self.key(link) else { return };
        self.detach(key);
        let Some(slot) = self.slots.get_mut(key) else { return };
        match slot.phase {
            Phase::Connecting(op) => {
                slot.phase = Phase::Cancelled;
                context.ring.cancel(op);
            }
            Phase::Open(socket) => {
                slot.phase = Phase::Lingering { socket, until: context.now + LINGER_NS, silent: false };
                self.lingering += 1;
                self.say_goodbye(context, key);
            }
            Phase::Cancelled | Phase::Lingering { .. } | Phase::Closing => {}
        }
    }

    /// A completion with the tag of links.
    pub fn on_completion(&mut self, context: &mut LinkContext<'_>, completion: Completion) {
        let (key, what) = slot::parse(tag::rest(completion.user));
        match what {
            slot::CONNECT => self.on_connected(context, key, completion),
            slot::RECEIVE => self.on_received(context, key, &completion),
            slot::SEND => self.on_sent(context, key, &completion),
            _ => {
                self.slots.remove(key);
            }
        }
    }

    /// Starts what the last events made possible: sends, and receives that found no buffer before. Once per pass.
    pub fn flush(&mut self, context: &mut LinkContext<'_>) {
        // In the order in which they were asked for: progress to a writer leaves before data to a reader.
        for at in 0..self.dirty.len() {
            let Some(&key) = self.dirty.get(at) else { break };
            if let Some(slot) = self.slots.get_mut(key) {
                slot.dirty = false;
            }
            self.start_send(context, key);
        }
        self.dirty.clear();
        // Each is tried: one that wants a small buffer does not wait behind one that wants a large one.
        for _ in 0..self.starved.len() {
            let Some(key) = self.starved.pop_front() else { break };
            if !self.try_receive(context, key) {
                self.starved.push_back(key);
            } else if let Some(slot) = self.slots.get_mut(key) {
                slot.starved = false;
            }
        }
    }

    /// Ends connections that lingered long enough.
    pub fn on_tick(&mut self, context: &mut LinkContext<'_>) {
        if self.lingering == 0 {
            return;
        }
        while let Some(key) = self.slots.find(|slot| slot.is_over(context.now)) {
            self.hang_up(context, key);
        }
    }

    /// When `on_tick` has something to do.
    pub fn deadline(&self) -> u64 {
        if self.lingering == 0 {
            return u64::MAX;
        }
        self.slots.values().filter_map(Slot::lingers_until).min().unwrap_or(u64::MAX)
    }

    /// Ends all connections; machines are not told.
    pub fn close_all(&mut self, context: &mut LinkContext<'_>) {
        let keys: Vec<Key> = self.slots.keys().collect();
        for key in keys {
            self.detach(key);
            self.hang_up(context, key);
        }
    }

    /// Connections that the kernel has not let go of.
    pub fn open(&self) -> usize {
        self.slots.len()
    }

    fn key(&self, link: LinkId) -> Option<Key> {
        if link.0 & INBOUND == 0 {
            return self.outbound.get(link.0 as usize).copied().flatten();
        }
        let place = (link.0 & ((1 << PLACE_BITS) - 1)) as usize;
        let key = self.slots.key_of_place(place)?;
        let of_link = self.slots.get(key).and_then(|s| s.link).is_some_and(|(_, named)| named == link);
        of_link.then_some(key)
    }

    /// The slot loses its link.
    fn detach(&mut self, key: Key) {
        let Some((_, link)) = self.slots.get_mut(key).and_then(|s| s.link.take()) else { return };
        if let Some(place) = self.outbound.get_mut(link.0 as usize) {
            *place = None;
        }
    }

    fn on_connected(&mut self, context: &mut LinkContext<'_>, key: Key, completion: Completion) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let socket = completion.socket.filter(|_| slot.link.is_some());
        let added = socket.and_then(|socket| {
            // Options are a matter of speed and of noticing silence; the protocol works without them.
            let _ = socket.tune(&SocketOptions::default());
            context.ring.add_socket(socket).ok()
        });
        let Some(socket) = added else {
            self.fail(context, key);
            self.slots.remove(key);
            return;
        };
        slot.phase = Phase::Open(socket);
        context.counters.links.add(1);
        self.start_send(context, key);
        self.receive(context, key);
    }

    fn on_received(&mut self, context: &mut LinkContext<'_>, key: Key, completion: &Completion) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.receiving = false;
        let count = match completion.result {
            Ok(count) if count > 0 => count,
            Ok(_) | Err(_) => return self.lost(context, key),
        };
        context.counters.received_bytes.add(u64::from(count));
        match slot.phase {
            Phase::Open(_) => {
                if slot.deliver(context.events, context.counters).is_err() {
                    return self.lost(context, key);
                }
                self.receive(context, key);
            }
            Phase::Lingering { .. } => {
                slot.splitter.discard();
                self.receive(context, key);
            }
            Phase::Connecting(_) | Phase::Cancelled | Phase::Closing => {}
        }
    }

    fn on_sent(&mut self, context: &mut LinkContext<'_>, key: Key, completion: &Completion) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let (datas, items) = slot.outgoing.on_sent();
        let Ok(bytes) = completion.result else { return self.lost(context, key) };
        context.counters.sent_bytes.add(u64::from(bytes));
        context.counters.messages_sent.add(u64::from(items));
        if let Some((owner, link)) = slot.link {
            for _ in 0..datas {
                context.events.push_back(Event::Link { owner, link, event: LinkEvent::Sent });
            }
        }
        match slot.phase {
            Phase::Open(_) => self.start_send(context, key),
            Phase::Lingering { .. } => self.say_goodbye(context, key),
            Phase::Connecting(_) | Phase::Cancelled | Phase::Closing => {}
        }
    }

    fn start_send(&mut self, context: &mut LinkContext<'_>, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(socket) = slot.socket() else { return };
        slot.outgoing.gather(&mut self.gathered, context.recorder);
        if self.gathered.is_empty() {
            return;
        }
        let sent = context.ring.send(socket, &self.gathered, user(key, slot::SEND));
        self.gathered.clear();
        match sent {
            Ok(_) => context.counters.sends.add(1),
            Err(_) => {
                slot.outgoing.on_sent();
                self.lost(context, key);
            }
        }
    }

    /// Receives, now or as soon as there is a buffer.
    fn receive(&mut self, context: &mut LinkContext<'_>, key: Key) {
        if self.try_receive(context, key) {
            return;
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        if !std::mem::replace(&mut slot.starved, true) {
            context.counters.starved_receives.add(1);
            self.starved.push_back(key);
        }
    }

    /// `false`: there is no buffer.
    fn try_receive(&mut self, context: &mut LinkContext<'_>, key: Key) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return true };
        let Some(socket) = slot.socket().filter(|_| !slot.receiving) else { return true };
        let moved = slot.splitter.moved;
        let target = slot.splitter.target(context.buffers);
        context.counters.moved_bytes.add(slot.splitter.moved - moved);
        let Some(target) = target else { return false };
        let user = user(key, slot::RECEIVE);
        let buf = PoolBuf::into_buf(target.buf);
        let started = match target.exactly {
            Some(length) => context.ring.recv_exact(socket, buf, length, user),
            None => context.ring.recv(socket, buf, user),
        };
        match started {
            Ok(_) => slot.receiving = true,
            Err(_) => self.lost(context, key),
        }
        true
    }

    /// The connection failed or ended: its machine is told, once.
    fn lost(&mut self, context: &mut LinkContext<'_>, key: Key) {
        self.fail(context, key);
        self.hang_up(context, key);
    }

    fn fail(&mut self, context: &mut LinkContext<'_>, key: Key) {
        if let Some((owner, link)) = self.slots.get(key).and_then(|s| s.link) {
            context.events.push_back(Event::Link { owner, link, event: LinkEvent::Down });
            self.detach(key);
        }
    }

    /// Sends what is queued on a closed link, then says that nothing more comes.
    fn say_goodbye(&mut self, context: &mut LinkContext<'_>, key: Key) {
        self.start_send(context, key);
        let Some(slot) = self.slots.get_mut(key).filter(|s| s.outgoing.is_idle()) else { return };
        let Phase::Lingering { socket, silent, .. } = &mut slot.phase else { return };
        if !std::mem::replace(silent, true) {
            let socket = *socket;
            let down = context.ring.socket(socket).map(|s| s.shutdown(std::net::Shutdown::Write));
            if !matches!(down, Some(Ok(()))) {
                return self.hang_up(context, key);
            }
            self.receive(context, key);
        }
    }

    /// Closes the socket at once; the slot goes when the kernel has let go.
    fn hang_up(&mut self, context: &mut LinkContext<'_>, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.outgoing.clear();
        match slot.phase {
            Phase::Lingering { .. } => self.lingering -= 1,
            Phase::Connecting(op) => {
                slot.phase = Phase::Cancelled;
                return context.ring.cancel(op);
            }
            Phase::Open(_) | Phase::Cancelled | Phase::Closing => {}
        }
        let Some(socket) = slot.socket() else { return };
        slot.phase = Phase::Closing;
        context.counters.links.set(context.counters.links.get().saturating_sub(1));
        if context.ring.close(socket, user(key, slot::CLOSE)).is_err() {
            self.slots.remove(key);
        }
    }
}

/// Name of a connection that was made to us: unlike any that is open, or was lately.
fn inbound_link(key: Key) -> LinkId {
    let place = u32::try_from(key.place()).unwrap_or(0);
    let generation = u32::try_from(key.generation() & ((1 << (31 - PLACE_BITS)) - 1)).unwrap_or(0);
    LinkId(INBOUND | generation << PLACE_BITS | place)
}

fn is_of_link(event: &Event, closed: LinkId) -> bool {
    match event {
        Event::Hello { link, .. } | Event::Link { link, .. } => *link == closed,
        Event::Disk { .. } => false,
    }
}

#[cfg(test)]
mod tests;
