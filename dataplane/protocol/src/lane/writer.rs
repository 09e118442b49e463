//! The writing end of an area: positions, chain and sequence of its next frame, what is sent and not yet journaled.
//!
//! Upholds the primary's half of I2 and I5: a lane that reports less than it once acknowledged, or is refused for a newer
//! epoch, is said so and never silently used; frames go again, in order, from memory after every reconnect.

mod joining;
mod striping;

use alloc::collections::VecDeque;
use alloc::rc::Rc;

use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::message::{Hello, Message, Ping, Refused, RefusedReason, Release, Welcome};

use self::joining::Joined;
use self::striping::Filling;
use crate::lane::link::Link;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Effect, Frame, LinkEvent, LinkId};
use crate::vocab::limits::Pace;
use crate::vocab::tip::Tip;

#[derive(Debug)]
struct Sent<B> {
    frame: Rc<Frame<B>>,
    at: u64,
    /// Bytes that it takes on the way.
    cost: u64,
}

/// What an event meant for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterEvent {
    /// Nothing to act on.
    Nothing,
    /// The session is open, and everything un-journaled is on its way again.
    Up,
    /// `journaled` has moved, or a request was confirmed.
    Progress,
    /// The area's holder refused us; the connection is closed.
    Refused(Refused),
    /// The area, an index or a copy, began anew: what was not journaled in it is forgotten.
    Restarted,
    /// The area has less than it had acknowledged, or is another one.
    Lost {
        /// What it had acknowledged.
        had: Position,
        /// What it reports now.
        found: Position,
    },
    /// The connection is gone and will be tried again.
    Down,
}

/// The writer.
#[derive(Debug)]
pub struct Writer<B> {
    link: Link,
    pace: Pace,
    /// Taken from the first welcome when not set before.
    tip: Option<Tip>,
    area: AreaId,
    /// The area is not the journal: it may begin anew.
    is_index: bool,
    /// What the area holds is not known to be of this chain: it is told where to go on.
    joins: bool,
    /// It may be told so: what it holds is not needed.
    may_begin: bool,
    /// It must be told so, wherever it ends.
    anew: bool,
    /// It was told, in this session.
    begun: bool,
    /// What the area holds begins there.
    began: Position,
    /// What the area's readers may use; see [`Ping::answerable`].
    answerable: Position,
    /// It begins anew; the owner is told with the next welcome.
    restarted: bool,
    epoch: Epoch,
    size: u64,
    journaled: Position,
    unjournaled: VecDeque<Sent<B>>,
    /// Sending time of the newest request that was answered.
    confirmed_at: u64,
    last_sent: u64,
    /// The area's holder has taken our permission back, as asked.
    released: bool,
    /// Bytes that are not journaled.
    owed: u64,
    /// Frames go whole to it, also those whose data another lane holds.
    whole: bool,
    /// It shares the data of frames with another lane: where it goes on it keeps what lies before.
    keeps: bool,
    /// The last frame before its first one of this role.
    behind: Option<FrameHeader>,
    /// Data that it gets of frames of which it holds the head.
    filling: Option<Filling<B>>,
}

impl<B: Buffer> Writer<B> {
    /// A writer for the area that `hello` names. With `tip`, the area must report at least that position; without, the
    /// first welcome says where to go on. `capacity` bounds the frames kept for a re-send.
    pub fn new(
        id: LinkId,
        node: NodeId,
        hello: Hello,
        pace: Pace,
        tip: Option<Tip>,
        capacity: usize,
    ) -> Self {
        let (area, epoch) = (hello.area, hello.epoch);
        Self {
            link: Link::new(id, node, hello, pace),
            pace,
            tip,
            area,
            joins: false,
            may_begin: true,
            anew: false,
            begun: false,
            began: Position(0),
            answerable: Position::BEYOND,
            restarted: false,
            is_index: hello.area_kind != AreaKind::Ring,
            epoch,
            size: 0,
            journaled: tip.map_or(Position(0), |t| t.position),
            unjournaled: VecDeque::with_capacity(capacity),
            confirmed_at: 0,
            last_sent: 0,
            released: false,
            owed: 0,
            whole: false,
            keeps: false,
            behind: None,
            filling: None,
        }
    }

    /// A writer for a further lane of a journal that is being written: the area goes on at `base`, whatever it holds. What
    /// was sealed since is appended before anything new.
    pub fn joining(
        id: LinkId,
        node: NodeId,
        hello: Hello,
        pace: Pace,
        journal: AreaId,
        base: Tip,
        capacity: usize,
    ) -> Self {
        Self {
            area: journal,
            joins: true,
            whole: true,
            ..Self::new(id, node, hello, pace, Some(base), capacity)
        }
    }

    /// The area counts as it is: it goes on where it stands in this chain, or not at all.
    pub fn must_continue(&mut self) {
        self.may_begin = false;
    }

    /// Says what the area's readers may use: now, if the session is open, and with every ping from now on.
    pub fn tell_answerable<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        answerable: Position,
    ) {
        let told = core::mem::replace(&mut self.answerable, answerable);
        if told != answerable && self.is_up() {
            self.ping(context);
        }
    }

    /// What readers may use before anything is told.
    pub fn preset_answerable(&mut self, answerable: Position) {
        self.answerable = answerable;
    }

    /// Gives the permission back: whoever fences need not wait for our lease.
    pub fn release<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if self.link.is_up() {
            let release = Release { request: 1, group: self.link.group(), epoch: self.epoch };
            context.ask(Effect::SendBlock { link: self.link.id, message: Message::Release(release) });
        }
    }

    /// Whether the session has ended for good.
    pub fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Whether the permission was taken back.
    pub fn is_released(&self) -> bool {
        self.released
    }

    /// The link's name.
    pub fn id(&self) -> LinkId {
        self.link.id
    }

    /// The node that holds the area.
    pub fn node(&self) -> NodeId {
        self.link.node
    }

    /// Whether the session is open.
    pub fn is_up(&self) -> bool {
        self.link.is_up() && !self.joins
    }

    fn drop_session<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.begun = false;
        self.link.drop_connection(context);
    }

    /// Where the next frame goes; `None` before the first welcome of a writer without a recorded tip.
    pub fn tip(&self) -> Option<Tip> {
        self.tip
    }

    /// The area's identity; `NONE` until known.
    pub fn area(&self) -> AreaId {
        self.area
    }

    /// The epoch in which the area's holder takes our frames.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Ring bytes of the area; 0 until known.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where what the area holds begins; of no meaning until its size is known.
    pub fn began(&self) -> Position {
        self.began
    }

    /// Everything before this position is durable in the area.
    pub fn journaled(&self) -> Position {
        self.journaled
    }

    /// Frames that are sent or wait for a connection, and are not journaled.
    pub fn pending(&self) -> usize {
        self.unjournaled.len()
    }

    /// Sending time of the newest answered request: I11's lease counts from here.
    pub fn confirmed_at(&self) -> u64 {
        self.confirmed_at
    }

    /// Takes a sealed frame that stands at the tip, and sends it if the session is open.
    ///
    /// # Panics
    /// When the frame does not continue the area: a programmer error.
    pub fn append<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, frame: Rc<Frame<B>>) {
        let header = &frame.header;
        if let Some(tip) = self.tip.as_mut() {
            assert!(tip.position == header.position && tip.chain == header.chain, "frame off its place");
            *tip = Tip {
                position: header.end(),
                sequence: header.sequence + 1,
                chain: header.checksum,
                epoch: header.epoch,
            };
        }
        let at = context.now.mono;
        if self.is_up() {
            self.send(context, &frame);
            self.link.on_asked(at);
            self.last_sent = at;
        }
        let cost = self.cost(&frame.header);
        self.owed += cost;
        self.unjournaled.push_back(Sent { frame, at, cost });
    }

    /// An event of this writer's link.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
    ) -> WriterEvent {
        let now = context.now.mono;
        match event {
            LinkEvent::Down => {
                let was_up = self.link.is_up();
                self.begun = false;
                self.link.on_down(now);
                if was_up { WriterEvent::Down } else { WriterEvent::Nothing }
            }
            LinkEvent::Message(Message::Welcome(welcome)) => self.on_welcome(context, &welcome),
            LinkEvent::Message(Message::Progress(progress)) => {
                if self.advance(progress.journaled) {
                    self.link.on_heard(now, self.unjournaled.is_empty());
                    self.fill_on(context);
                    WriterEvent::Progress
                } else {
                    self.drop_session(context);
                    WriterEvent::Down
                }
            }
            LinkEvent::Message(Message::Pong(pong)) if pong.stamp <= self.last_sent => {
                self.confirmed_at = self.confirmed_at.max(pong.stamp);
                self.link.on_heard(now, self.unjournaled.is_empty());
                self.fill_on(context);
                WriterEvent::Progress
            }
            LinkEvent::Message(Message::Refused(refused)) => {
                if refused.reason == RefusedReason::Busy {
                    rare!(WriterPutOff);
                    self.drop_session(context);
                } else {
                    self.begun = false;
                    self.link.on_refused(context);
                }
                WriterEvent::Refused(refused)
            }
            LinkEvent::Message(Message::Released(_)) => {
                self.released = true;
                WriterEvent::Progress
            }
            LinkEvent::Sent => WriterEvent::Nothing,
            LinkEvent::Message(_) | LinkEvent::Unit(_) => {
                // A peer that says what does not belong here is not understood: start over.
                self.drop_session(context);
                WriterEvent::Down
            }
        }
    }

    /// Connects, pings an idle session, drops a silent one.
    pub fn on_tick<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) -> WriterEvent {
        let now = context.now.mono;
        if self.link.on_tick(context) {
            rare!(WriterSilent);
            self.begun = false;
            return WriterEvent::Down;
        }
        // One that was never welcomed, because it was to begin first, is a new session, too.
        self.begun &= !self.link.is_down();
        if self.is_up() && now >= self.last_sent + self.pace.heartbeat_ns {
            self.ping(context);
        }
        WriterEvent::Nothing
    }

    fn ping<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let now = context.now.mono;
        self.last_sent = now;
        self.link.on_asked(now);
        let ping = Ping { stamp: now, answerable: self.answerable };
        context.ask(Effect::SendBlock { link: self.link.id, message: Message::Ping(ping) });
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        let ping = if self.is_up() { self.last_sent + self.pace.heartbeat_ns } else { u64::MAX };
        self.link.deadline().min(ping)
    }

    /// Ends the session for good.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.link.close(context);
    }

    fn on_welcome<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        welcome: &Welcome,
    ) -> WriterEvent {
        let found = welcome.journaled;
        if self.joins {
            match self.join(context, welcome) {
                Joined::Yes => {}
                Joined::Begins => return WriterEvent::Nothing,
                Joined::Never => {
                    rare!(WriterCannotContinue);
                    let had = self.journaled;
                    self.drop_session(context);
                    return WriterEvent::Lost { had, found };
                }
            }
        }
        let other_area = self.area != AreaId::NONE && self.area != welcome.area;
        let began_anew = self.is_index && welcome.last.is_none() && found > Position(0);
        let began_anew = began_anew || self.is_index && self.stands_apart(welcome);
        if let Some(tip) = self.tip
            && (other_area || found < self.journaled || found > tip.position || began_anew)
        {
            if other_area || !self.is_index {
                rare!(WriterLaneLost);
                let had = self.journaled;
                self.drop_session(context);
                return WriterEvent::Lost { had, found };
            }
            rare!(WriterIndexAnew);
            self.begin_anew();
        }
        self.began = welcome.began;
        self.area = welcome.area;
        self.size = welcome.size;
        self.link.hello_mut().area = welcome.area;
        if self.tip.is_none() {
            self.tip = Some(Tip::behind(found, welcome.last.as_ref()));
            self.journaled = found;
        }
        self.epoch = welcome.epoch;
        let now = context.now.mono;
        self.confirmed_at = self.confirmed_at.max(self.link.greeted_at().unwrap_or(0));
        self.link.on_welcome(now);
        if !self.advance(found) {
            if self.is_index {
                // It ends inside what was sent: the next welcome begins anew.
                rare!(WriterIndexEndsInside);
                self.begin_anew();
                self.drop_session(context);
                return WriterEvent::Down;
            }
            let had = self.journaled;
            self.drop_session(context);
            return WriterEvent::Lost { had, found };
        }
        if self.must_begin(welcome) {
            rare!(WriterBeginsAgain);
            self.joins = true;
            self.begin(context, welcome.area);
            self.link.on_asked(now);
            return WriterEvent::Nothing;
        }
        self.fill_again(context, found);
        self.send_again(context);
        self.last_sent = now;
        if !self.unjournaled.is_empty() {
            rare!(WriterResends);
            self.link.on_asked(now);
        }
        if core::mem::take(&mut self.restarted) { WriterEvent::Restarted } else { WriterEvent::Up }
    }

    fn send_again<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        for sent in &mut self.unjournaled {
            sent.at = context.now.mono;
        }
        for sent in &self.unjournaled {
            self.send(context, &sent.frame);
        }
    }

    /// Whether the area ends where this chain does, or a part of it, with another frame: after damage at a start it had begun anew,
    /// and at the next one the same bytes were read well.
    fn stands_apart(&self, welcome: &Welcome) -> bool {
        let found = Tip::behind(welcome.journaled, welcome.last.as_ref());
        let mut places = self.unjournaled.iter().map(|sent| Tip::before(&sent.frame.header)).chain(self.tip);
        let here = places.find(|tip| tip.position == found.position);
        here.is_some_and(|tip| (tip.sequence, tip.chain) != (found.sequence, found.chain))
    }

    fn begin_anew(&mut self) {
        self.unjournaled.clear();
        self.owed = 0;
        self.tip = None;
        self.restarted = true;
    }

    /// Moves `journaled`; `false` when the report is not the end of a frame we sent.
    fn advance(&mut self, journaled: Position) -> bool {
        while let Some(sent) = self.unjournaled.front() {
            if sent.frame.header.end() > journaled {
                break;
            }
            self.confirmed_at = self.confirmed_at.max(sent.at);
            self.journaled = sent.frame.header.end();
            self.owed -= sent.cost;
            self.unjournaled.pop_front();
        }
        self.journaled == journaled
    }
}

#[cfg(test)]
mod tests;
