//! One connection between nodes: its phase, what came, what goes.

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_format::message::{Hello, Message, Refused, RefusedReason, SessionKind};
use midspan_protocol::vocab::effect::{LinkEvent, LinkId};
use midspan_uring::{Buf, OpId, SocketId};

use crate::counters::Counters;
use crate::event::{Event, Events, Owner};
use crate::peer::outgoing::Outgoing;
use crate::peer::splitter::{Item, Mode, Splitter};
use crate::peer::wire::BadStream;
use crate::slab::Key;
use crate::tag;

/// Bytes of a receive buffer for small messages.
const SMALL_CHUNK: usize = 4096;
/// For bulk units of the areas that carry little.
const SIDE_CHUNK: usize = 64 * 1024;
/// For bulk units of a journal ring.
const RING_CHUNK: usize = 1 << 20;

pub(super) const CONNECT: u64 = 0;
pub(super) const RECEIVE: u64 = 1;
pub(super) const SEND: u64 = 2;
pub(super) const CLOSE: u64 = 3;

/// User data of a slot's operation.
pub(super) fn user(key: Key, what: u64) -> u64 {
    tag::user(tag::LINK, what << 48 | key.raw())
}

/// The slot and operation of a completion.
pub(super) fn parse(rest: u64) -> (Key, u64) {
    (Key::from_raw(rest), rest >> 48)
}

/// How far a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// On its way.
    Connecting(OpId),
    /// On its way, and not wanted any more.
    Cancelled,
    /// Both directions run.
    Open(SocketId),
    /// Closed by its machine: what was queued goes out, what comes is thrown away. `silent`: we have said our last.
    Lingering { socket: SocketId, until: u64, silent: bool },
    /// The kernel is asked to let go.
    Closing,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    /// Who hears of it, and by which name; `None` when nobody wants to.
    pub(super) link: Option<(Owner, LinkId)>,
    pub(super) splitter: Splitter,
    pub(super) outgoing: Outgoing,
    /// Mode and chunk of what comes behind the greeting.
    after_greeting: (Mode, usize),
    pub(super) receiving: bool,
    pub(super) dirty: bool,
    pub(super) starved: bool,
}

impl Slot {
    /// A connection to be made; the other end greets back first.
    pub(super) fn outbound(owner: Owner, link: LinkId, hello: &Hello, scratch: Buf) -> Self {
        let bulk = hello.kind == SessionKind::Fetch;
        let splitter = Splitter::new(Mode::Greeting, SMALL_CHUNK);
        Self { link: Some((owner, link)), ..Self::new(splitter, incoming(hello, bulk), scratch) }
    }

    /// A connection whose greeting was received.
    pub(super) fn inbound(hello: &Hello, scratch: Buf) -> Self {
        let bulk = matches!(hello.kind, SessionKind::Append | SessionKind::Direct);
        let (mode, chunk) = incoming(hello, bulk);
        Self::new(Splitter::new(mode, chunk), (mode, chunk), scratch)
    }

    fn new(splitter: Splitter, after_greeting: (Mode, usize), scratch: Buf) -> Self {
        Self {
            phase: Phase::Cancelled,
            link: None,
            splitter,
            outgoing: Outgoing::new(scratch),
            after_greeting,
            receiving: false,
            dirty: false,
            starved: false,
        }
    }

    /// The socket, while it may be operated on.
    pub(super) fn socket(&self) -> Option<SocketId> {
        match self.phase {
            Phase::Open(socket) | Phase::Lingering { socket, .. } => Some(socket),
            Phase::Connecting(_) | Phase::Cancelled | Phase::Closing => None,
        }
    }

    /// Until when it lingers, if it does.
    pub(super) fn lingers_until(&self) -> Option<u64> {
        match self.phase {
            Phase::Lingering { until, .. } => Some(until),
            Phase::Connecting(_) | Phase::Cancelled | Phase::Open(_) | Phase::Closing => None,
        }
    }

    /// Whether it has lingered long enough.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.lingers_until().is_some_and(|until| now >= until)
    }

    /// Turns what was received into events. An answer in another version of the protocol is a refusal for that reason,
    /// whatever it says.
    pub(super) fn deliver(&mut self, events: &mut Events, counters: &Counters) -> Result<(), BadStream> {
        while let Some(item) = self.splitter.take_item().inspect_err(|bad| self.note_version(events, *bad))? {
            counters.messages_received.add(1);
            let event = match item {
                Item::Message(message) => LinkEvent::Message(message),
                Item::Unit(unit) => LinkEvent::Unit(unit),
            };
            if let Some((owner, link)) = self.link {
                events.push_back(Event::Link { owner, link, event });
            }
            if self.splitter.mode() == Mode::Greeting {
                let (mode, chunk) = self.after_greeting;
                self.splitter.set_mode(mode, chunk);
            }
        }
        Ok(())
    }

    fn note_version(&self, events: &mut Events, bad: BadStream) {
        if let (BadStream::Version, Some((owner, link))) = (bad, self.link) {
            let (reason, epoch) = (RefusedReason::Version, Epoch::NONE);
            let refused = Message::Refused(Refused { request: 0, reason, epoch, journaled: Position(0) });
            events.push_back(Event::Link { owner, link, event: LinkEvent::Message(refused) });
        }
    }
}

/// How the bytes behind a greeting come in.
fn incoming(hello: &Hello, bulk: bool) -> (Mode, usize) {
    match (bulk, hello.area_kind) {
        (false, _) => (Mode::Small, SMALL_CHUNK),
        (true, AreaKind::Ring) => (Mode::Bulk, RING_CHUNK),
        (
            true,
            AreaKind::Manifest | AreaKind::Receipt | AreaKind::State | AreaKind::DirtyMap | AreaKind::OwnRing,
        ) => (Mode::Bulk, SIDE_CHUNK),
    }
}
