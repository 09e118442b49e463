//! The reading end of an area: range reads in flight on one connection, answered in order.

use alloc::collections::VecDeque;

use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{AreaId, GroupId, NodeId};
use midspan_format::message::{Hello, Message, Read, Refused, Welcome};

use crate::lane::link::Link;
use crate::vocab::buffer::{Buffers, Slice};
use crate::vocab::effect::{Context, Effect, LinkEvent, LinkId};
use crate::vocab::limits::Pace;

/// What an event meant for the owner.
#[derive(Debug)]
pub enum ReaderEvent<B> {
    /// Nothing to act on.
    Nothing,
    /// The session is open; reads can be sent.
    Up(Welcome),
    /// The oldest read is answered: bytes from its position on, at most as many as asked, none after a long poll's end.
    Data {
        /// Where the bytes lie in the area.
        position: Position,
        /// What was asked for.
        asked: u32,
        /// The bytes.
        data: Option<Slice<B>>,
        /// The area's journaled prefix.
        journaled: Position,
    },
    /// The oldest read, or the session, was refused.
    Refused(Refused),
    /// The connection is gone: all reads are forgotten.
    Down,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    request: u64,
    position: Position,
    length: u32,
}

/// The reader.
#[derive(Debug)]
pub struct Reader {
    link: Link,
    pending: VecDeque<Pending>,
    requests: u64,
    /// Bytes of the area that came.
    fetched: u64,
    told: Position,
}

impl Reader {
    /// A reader for the area that `hello` names, with at most `capacity` reads in flight.
    pub fn new(id: LinkId, node: NodeId, hello: Hello, pace: Pace, capacity: usize) -> Self {
        Self {
            link: Link::new(id, node, hello, pace),
            pending: VecDeque::with_capacity(capacity),
            requests: 0,
            fetched: 0,
            told: Position(0),
        }
    }

    /// The link's name.
    pub fn id(&self) -> LinkId {
        self.link.id
    }

    /// The node that holds the area.
    pub fn node(&self) -> NodeId {
        self.link.node
    }

    /// The group whose area it is.
    pub fn group(&self) -> GroupId {
        self.link.group()
    }

    /// Whether reads can be sent.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// The largest prefix that this very area has told.
    pub fn told(&self) -> Position {
        self.told
    }

    /// Reads in flight.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of the area that came, whatever became of them.
    pub fn fetched(&self) -> u64 {
        self.fetched
    }

    /// Asks for `length` bytes from `position`; waits up to `wait_ms` for the first of them.
    pub fn read<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        position: Position,
        length: u32,
        wait_ms: u32,
    ) {
        self.ask(context, Read { position, length, wait_ms, ..Read::default() });
    }

    /// Asks for a frame that is known from another lane, whatever else both are known to hold.
    pub fn read_known<S: Buffers>(&mut self, context: &mut Context<'_, S>, position: Position, length: u32) {
        self.ask(context, Read { position, length, known: true, ..Read::default() });
    }

    /// Asks for whole frames from `position`, where one begins; of those whose data is at `without`, for the heads.
    pub fn read_frames<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        position: Position,
        length: u32,
        without: NodeId,
    ) {
        self.ask(context, Read { position, length, framed: true, without, ..Read::default() });
    }

    fn ask<S: Buffers>(&mut self, context: &mut Context<'_, S>, read: Read) {
        self.requests += 1;
        let request = self.requests;
        self.pending.push_back(Pending { request, position: read.position, length: read.length });
        self.link.on_asked(context.now.mono);
        let message = Message::Read(Read { request, ..read });
        context.ask(Effect::Send { link: self.link.id, message });
    }

    /// An event of this reader's link.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<S::Buf>,
    ) -> ReaderEvent<S::Buf> {
        let now = context.now.mono;
        match event {
            LinkEvent::Down => {
                self.pending.clear();
                self.link.on_down(now);
                ReaderEvent::Down
            }
            LinkEvent::Message(Message::Welcome(welcome)) => {
                self.link.on_welcome(now);
                self.link.hello_mut().area = welcome.area;
                self.told = self.told.max(welcome.journaled);
                ReaderEvent::Up(welcome)
            }
            LinkEvent::Message(Message::Refused(refused)) => {
                rare!(ReaderRefused);
                self.pending.clear();
                self.link.drop_connection(context);
                ReaderEvent::Refused(refused)
            }
            LinkEvent::Unit(unit) => self.on_unit(context, unit),
            LinkEvent::Sent => ReaderEvent::Nothing,
            LinkEvent::Message(_) => self.start_over(context),
        }
    }

    /// Connects, drops a silent session.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) -> ReaderEvent<S::Buf> {
        if self.link.on_tick(context) {
            rare!(ReaderSilent);
            self.pending.clear();
            return ReaderEvent::Down;
        }
        ReaderEvent::Nothing
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        self.link.deadline()
    }

    /// The next session is for this area.
    pub fn expect(&mut self, area: AreaId) {
        self.link.hello_mut().area = area;
    }

    /// Forgets the session and connects anew.
    pub fn restart<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.pending.clear();
        self.link.drop_connection(context);
    }

    /// The next session may be with another area.
    pub fn forget_area(&mut self) {
        self.link.hello_mut().area = AreaId::NONE;
    }

    /// Ends the session for good.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.pending.clear();
        self.link.close(context);
    }

    fn start_over<S: Buffers>(&mut self, context: &mut Context<'_, S>) -> ReaderEvent<S::Buf> {
        rare!(ReaderStartsOver);
        self.restart(context);
        ReaderEvent::Down
    }

    fn on_unit<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        unit: Slice<S::Buf>,
    ) -> ReaderEvent<S::Buf> {
        let reply = match Message::decode_block(unit.bytes()) {
            Ok(Message::ReadReply(reply)) => reply,
            Ok(Message::Refused(refused)) => {
                self.pending.pop_front();
                self.link.on_heard(context.now.mono, self.pending.is_empty());
                return ReaderEvent::Refused(refused);
            }
            Ok(_) | Err(_) => return self.start_over(context),
        };
        let Some(asked) = self.pending.pop_front() else { return self.start_over(context) };
        let length = reply.length as usize;
        let fits = reply.length <= asked.length && unit.len() == BLOCK + length;
        if asked.request != reply.request || asked.position != reply.position || !fits {
            return self.start_over(context);
        }
        self.link.on_heard(context.now.mono, self.pending.is_empty());
        self.fetched += u64::from(reply.length);
        let data = (length > 0).then(|| unit.part(BLOCK..BLOCK + length));
        let (position, asked, journaled) = (asked.position, asked.length, reply.journaled);
        self.told = self.told.max(journaled);
        ReaderEvent::Data { position, asked, data, journaled }
    }
}
