//! The direct path from one site to the other: what it tells without the relay (claims 7, 17; design §6).
//!
//! Frames of the control areas travel as they are, and each is confirmed. What finds no room is not told: manifests and
//! receipts are monotone, so the next one says all that a lost one said.

use alloc::rc::Rc;

use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::message::{Hello, Left, Message, Ping, RefusedReason, SetRecorded};

use crate::lane::link::Link;
use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, Effect, Frame, LinkEvent, LinkId};
use crate::vocab::limits::Pace;

/// Frames that were told and not confirmed at most.
const UNCONFIRMED: usize = 16;

/// What an event meant for the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteEvent {
    /// Nothing to act on.
    Nothing,
    /// The other site listens; it is in this epoch.
    Up,
    /// It has recorded that the lanes are left.
    Left(Left),
    /// It has recorded a lane set.
    Recorded(SetRecorded),
    /// It does not listen any more.
    Down,
}

/// The telling end.
#[derive(Debug)]
pub struct SiteLink {
    link: Link,
    pace: Pace,
    unconfirmed: usize,
    last_sent: u64,
    /// The epoch that the other site named in its welcome.
    epoch: Epoch,
    /// And how far its own ring reached then.
    acquired: Position,
    /// It has taken over without a fence, and not met the lane since.
    unfenced: bool,
    bound: NodeId,
}

impl SiteLink {
    /// A link that connects at the first tick.
    pub fn new(id: LinkId, node: NodeId, hello: Hello, pace: Pace) -> Self {
        Self {
            link: Link::new(id, node, hello, pace),
            pace,
            unconfirmed: 0,
            last_sent: 0,
            epoch: Epoch::NONE,
            acquired: Position(0),
            unfenced: false,
            bound: NodeId::NONE,
        }
    }

    /// The link's name.
    pub fn id(&self) -> LinkId {
        self.link.id
    }

    /// Whether the other site listens.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// The epoch that the other site knew when it last welcomed this one.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How far the other site's own ring reached when it last welcomed this one; 0 where it is no secondary.
    pub fn acquired(&self) -> Position {
        self.acquired
    }

    /// The only lane that the other site may still go by, as it last said; none where either will do.
    pub fn bound(&self) -> NodeId {
        self.bound
    }

    /// Whether the other site, when it last welcomed this one, had taken over without a fence, and not met the lane since.
    pub fn is_unfenced(&self) -> bool {
        self.unfenced
    }

    /// Whether another frame can be told.
    pub fn has_room(&self) -> bool {
        self.is_up() && self.unconfirmed < UNCONFIRMED
    }

    /// Tells a frame, if there is room for it.
    pub fn tell<S: Buffers>(&mut self, context: &mut Context<'_, S>, frame: &Rc<Frame<S::Buf>>) {
        if self.has_room() {
            self.unconfirmed += 1;
            self.sent(context.now.mono);
            context.ask(Effect::SendFrame { link: self.link.id, frame: Rc::clone(frame) });
        }
    }

    /// Says something that is answered.
    pub fn say<S: Buffers>(&mut self, context: &mut Context<'_, S>, message: Message) {
        if self.is_up() {
            self.sent(context.now.mono);
            context.ask(Effect::SendBlock { link: self.link.id, message });
        }
    }

    /// An event of the link.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<S::Buf>,
    ) -> SiteEvent {
        let now = context.now.mono;
        match event {
            LinkEvent::Down => {
                self.link.on_down(now);
                self.unconfirmed = 0;
                SiteEvent::Down
            }
            LinkEvent::Message(Message::Welcome(welcome)) => {
                (self.epoch, self.acquired) = (welcome.epoch, welcome.journaled);
                (self.unfenced, self.bound) = (welcome.primary == welcome.node, welcome.secondary);
                if self.link.is_up() {
                    // It has gone on to another epoch.
                    rare!(SiteMovesOn);
                    self.link.on_heard(now, self.unconfirmed == 0);
                    return SiteEvent::Nothing;
                }
                self.link.on_welcome(now);
                (self.unconfirmed, self.last_sent) = (0, now);
                SiteEvent::Up
            }
            LinkEvent::Message(Message::Progress(_)) => {
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                self.link.on_heard(now, self.unconfirmed == 0);
                SiteEvent::Nothing
            }
            LinkEvent::Message(Message::Pong(_)) => {
                self.link.on_heard(now, self.unconfirmed == 0);
                SiteEvent::Nothing
            }
            LinkEvent::Message(Message::Left(left)) => {
                self.link.on_heard(now, self.unconfirmed == 0);
                SiteEvent::Left(left)
            }
            LinkEvent::Message(Message::SetRecorded(recorded)) => {
                self.link.on_heard(now, self.unconfirmed == 0);
                SiteEvent::Recorded(recorded)
            }
            LinkEvent::Message(Message::Refused(refused)) => {
                match refused.reason {
                    RefusedReason::Busy => self.link.drop_connection(context),
                    RefusedReason::Version
                    | RefusedReason::UnknownGroup
                    | RefusedReason::UnknownArea
                    | RefusedReason::ForeignArea
                    | RefusedReason::NotPermitted
                    | RefusedReason::OlderEpoch
                    | RefusedReason::EpochFound
                    | RefusedReason::Damaged
                    | RefusedReason::TooOld
                    | RefusedReason::Beyond
                    | RefusedReason::Full
                    | RefusedReason::BadFrame
                    | RefusedReason::Deleted => self.link.on_refused(context),
                }
                self.unconfirmed = 0;
                SiteEvent::Down
            }
            LinkEvent::Sent => SiteEvent::Nothing,
            LinkEvent::Message(_) | LinkEvent::Unit(_) => {
                // A peer that says what does not belong here is not understood: start over.
                self.link.drop_connection(context);
                self.unconfirmed = 0;
                SiteEvent::Down
            }
        }
    }

    /// Connects, pings an idle session, drops a silent one.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) -> SiteEvent {
        let now = context.now.mono;
        if self.link.on_tick(context) {
            rare!(SiteSilent);
            self.unconfirmed = 0;
            return SiteEvent::Down;
        }
        if self.link.is_up() && now >= self.ping_at() {
            self.say(context, Message::Ping(Ping { stamp: now, answerable: Position::BEYOND }));
        }
        SiteEvent::Nothing
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        let ping = if self.link.is_up() { self.ping_at() } else { u64::MAX };
        self.link.deadline().min(ping)
    }

    /// Ends the session for good.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.link.close(context);
    }

    /// Nobody's answer waits for this path: it is asked less often than a lane.
    fn ping_at(&self) -> u64 {
        self.last_sent + self.pace.silence_ns / 3
    }

    fn sent(&mut self, now: u64) {
        self.last_sent = now;
        self.link.on_asked(now);
    }
}
