//! What the other site tells past the relay: receipts, manifests, and that it leaves the lanes (claims 7, 17; design §4, §6).
//!
//! Nothing that is heard here moves a role by itself: receipts and manifests are merged with what the relay says; and a
//! secondary that has recorded that the lanes are left says so in every takeover from then on (I1).

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::message::{
    Hello, Leaving, Left, Message, Pong, Progress, Refused, RefusedReason, SetRecorded, Welcome,
};
use midspan_format::time::Time;
use midspan_format::version::PROTOCOL_VERSION;

use super::{Group, Play};
use crate::role::unfenced;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Effect, LinkEvent, LinkId};

/// The session that the other site has opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hearing {
    link: LinkId,
    /// The epoch that it was told.
    epoch: Epoch,
    /// And the lane that this site is bound to.
    bound: NodeId,
    /// The one in which it greeted.
    greeted: Epoch,
    /// It asked this to be recorded; answered when that change is durable.
    leaving: Option<(Epoch, u64)>,
    /// It asked for this set, of an epoch and a number, to be recorded; answered when that change is durable.
    set: Option<(SetRecorded, u64)>,
}

impl<B: Buffer> Group<B> {
    /// The other site has greeted, to tell what it must not lose with the relay. A new session closes the older one.
    pub fn on_hello<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        hello: &Hello,
    ) {
        let config = &self.config;
        let reason = match hello {
            _ if hello.protocol != PROTOCOL_VERSION => Some(RefusedReason::Version),
            _ if hello.group != config.group => Some(RefusedReason::UnknownGroup),
            _ if hello.node != config.other_site() => Some(RefusedReason::NotPermitted),
            _ if self.stopping => Some(RefusedReason::Busy),
            _ => None,
        };
        if let Some(reason) = reason {
            let epoch = self.store.get().epoch;
            let refused = Refused { request: 0, reason, epoch, journaled: Position(0) };
            context.ask(Effect::Send { link, message: Message::Refused(refused) });
            return context.ask(Effect::Close { link });
        }
        if let Some(former) = self.hearing.take() {
            rare!(HearsAnew);
            context.ask(Effect::Close { link: former.link });
        }
        let epoch = self.told_epoch();
        let (greeted, bound) = (hello.epoch, self.store.get().bound);
        self.hearing = Some(Hearing { link, epoch, bound, greeted, leaving: None, set: None });
        self.welcome(context, link, epoch);
    }

    /// Whether this site goes on by an operator's word, and nobody has seen another history. Once one was seen, this site has
    /// stopped, and does not keep the other one from serving.
    fn is_unfenced(&self) -> bool {
        matches!(self.play, Play::Outside(_) | Play::Resuming { .. })
            && unfenced::is_unfenced(self.store.get())
    }

    /// The epoch that the other site is welcomed with. One that was taken without a fence replaces nothing yet.
    fn told_epoch(&self) -> Epoch {
        let state = self.store.get();
        if unfenced::is_unfenced(state) { state.takeover_replaces } else { state.epoch }
    }

    fn welcome<S: Buffers<Buf = B>>(&self, context: &mut Context<'_, S>, link: LinkId, epoch: Epoch) {
        let acquired = match &self.play {
            Play::Secondary(secondary) | Play::TakingOver(secondary, _) | Play::Aborting(secondary, ..) => {
                secondary.acquired().position
            }
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Stopped => Position(0),
        };
        let welcome = Welcome {
            node: self.config.node,
            area: AreaId::NONE,
            epoch,
            primary: if self.is_unfenced() { self.config.node } else { NodeId::NONE },
            secondary: self.store.get().bound,
            size: 0,
            journaled: acquired,
            began: Position(0),
            last: None,
        };
        context.ask(Effect::Send { link, message: Message::Welcome(welcome) });
    }

    /// Whether the link is that of the other site's telling.
    pub(super) fn hears(&self, link: LinkId) -> bool {
        self.hearing.is_some_and(|hearing| hearing.link == link)
    }

    pub(super) fn on_heard<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
    ) {
        let understood = match event {
            LinkEvent::Down => {
                self.hearing = None;
                return;
            }
            LinkEvent::Sent => true,
            LinkEvent::Message(_) => false,
            LinkEvent::Unit(unit) => self.on_unit(context, &unit),
        };
        if !understood {
            rare!(HeardNotUnderstood);
            self.stop_hearing(context);
        }
    }

    /// Tells the other site when this one has gone on to another epoch, is bound to another lane, and what it asked to be recorded.
    pub(super) fn go_on_hearing<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(mut hearing) = self.hearing else { return };
        let epoch = self.told_epoch();
        // A takeover that is under way may end well.
        let bound =
            if matches!(self.play, Play::Secondary(_)) { self.store.get().bound } else { hearing.bound };
        if (hearing.epoch, hearing.bound) != (epoch, bound) {
            (hearing.epoch, hearing.bound) = (epoch, bound);
            self.welcome(context, hearing.link, epoch);
        }
        if let Some((leaves, change)) = hearing.leaving
            && self.store.is_saved(change)
        {
            hearing.leaving = None;
            let left = Message::Left(Left { epoch: leaves });
            context.ask(Effect::Send { link: hearing.link, message: left });
        }
        if let Some((recorded, change)) = hearing.set
            && self.store.is_saved(change)
        {
            hearing.set = None;
            context.ask(Effect::Send { link: hearing.link, message: Message::SetRecorded(recorded) });
        }
        self.hearing = Some(hearing);
    }

    /// Nothing more is heard on this session; the other site comes again.
    pub(super) fn stop_hearing<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(hearing) = self.hearing.take() {
            context.ask(Effect::Close { link: hearing.link });
        }
    }

    /// A frame or a block message. `false`: the other end does not speak this protocol.
    fn on_unit<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, unit: &Slice<B>) -> bool {
        let Some(link) = self.hearing.map(|hearing| hearing.link) else { return true };
        match Message::decode_block(unit.bytes()) {
            Ok(Message::Ping(ping)) => {
                let pong = Message::Pong(Pong { stamp: ping.stamp });
                context.ask(Effect::Send { link, message: pong });
                return true;
            }
            Ok(Message::Leaving(leaving)) => {
                self.on_leaving(context, &leaving);
                return true;
            }
            Ok(Message::SetAsked(asked)) => {
                if self.is_bound_elsewhere(&asked) {
                    // The other site may ask for that one.
                    rare!(SaysToBeBound);
                    self.welcome(context, link, self.told_epoch());
                } else if let Some(change) = self.on_set_asked(context, &asked)
                    && let Some(hearing) = self.hearing.as_mut()
                {
                    let recorded = SetRecorded { epoch: asked.set.epoch, version: asked.set.version };
                    hearing.set = Some((recorded, change));
                }
                self.go_on_hearing(context);
                return true;
            }
            Ok(_) => return false,
            Err(_) => {}
        }
        // I9: what does not verify is not used, and its sender begins anew.
        let Ok(checked) = CheckedFrame::parse(unit.bytes()) else { return false };
        let header = *checked.header();
        if header.group != self.config.group || header.lane != self.config.lane {
            return false;
        }
        let progress = Progress { journaled: header.end(), sequence: header.sequence };
        context.ask(Effect::Send { link, message: Message::Progress(progress) });
        let Self { play, store, .. } = self;
        match (play, header.kind) {
            (Play::Primary(primary) | Play::Opening(primary, _), FrameKind::Receipt) => {
                primary.on_told(context, unit.bytes());
                self.look_at_primary(context);
            }
            (Play::Outside(outside), FrameKind::Receipt) => {
                let outcome = outside.on_told(context, unit.bytes(), store);
                self.on_outside(context, outcome);
            }
            (Play::Secondary(secondary), FrameKind::Manifest) => {
                secondary.on_told(context, unit.bytes(), store);
                self.look_for_handover(context);
            }
            (_, FrameKind::Journal) => return false,
            // Of another role: it comes again, or does not matter any more.
            (_, FrameKind::Receipt | FrameKind::Manifest) => {}
        }
        true
    }

    /// The primary is to answer hosts outside the lanes. A secondary whose takeover has begun does not record that: it may
    /// say already that nothing is lost. One that only waits for a lane has read nothing yet, and will look at what is recorded here:
    /// it must, for who goes on by an operator's word does not wait for an answer.
    fn on_leaving<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, leaving: &Leaving) {
        let secondary = match &self.play {
            Play::Secondary(secondary) => secondary,
            Play::TakingOver(secondary, takeover) if takeover.can_hear() => {
                rare!(LeavingBeforeTaken);
                secondary
            }
            Play::TakingOver(..)
            | Play::Aborting(..)
            | Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Stopped => return,
        };
        let state = self.store.get();
        // One of an epoch that was left behind already comes too late to mean anything.
        let known = state.epoch.max(secondary.acquired().epoch);
        // As does one of a time that the lane has gone beyond; not so where a newer epoch goes on by what its disks hold, without the journal.
        let is_current = leaving.epoch.node == self.config.other_site()
            && leaving.epoch >= known
            && (leaving.epoch > known || leaving.cut >= secondary.status().applied_time);
        if !is_current || leaving.group != self.config.group || state.handover {
            return rare!(LeavingTooLate);
        }
        let from = if state.told_left > Time::ZERO { state.told_from } else { 0 };
        let from = from.max(leaving.epoch.number);
        // Who goes on without the journal names an epoch that no lane knows.
        let epoch = self.hearing.map_or(known, |hearing| hearing.greeted.min(leaving.epoch)).max(state.epoch);
        let change = self.store.change(context, |state| {
            (state.told_left, state.told_from, state.epoch) = (leaving.cut.max(Time(1)), from, epoch);
            state.clock = state.clock.max(leaving.cut);
        });
        if let Some(hearing) = self.hearing.as_mut() {
            hearing.leaving = Some((leaving.epoch, change));
        }
        self.go_on_hearing(context);
    }
}
