//! A primary that serves outside the lanes, on its way back into them: takes its epoch in the lane, says there that it left,
//! and waits until the other site stands at that place (design §4 and §7).
//!
//! ```text
//!  fence ─▶ Leave mark ─▶ the other site's receipt names it ─▶ ready
//! ```
//! Upholds I5 (a refusal for a newer epoch is told: nothing is served any more) and I8 (the other site proves by the chain
//! where it stands).

mod survey;

use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::mark::{Leave, LeaveReason, Mark};
use midspan_format::message::SessionKind;
use midspan_format::superblock::{GroupState, PairState};
use midspan_format::time::GroupClock;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::lane::fencer::{Fencer, FencerEvent};
use crate::lane::reader::Reader;
use crate::lane::writer::{Writer, WriterEvent};
use crate::role::facts::{LaneFacts, recorded_behind};
use crate::role::primary::Begin;
use crate::role::site::SiteConfig;
use crate::role::unfenced::{self, Meeting, is_unfenced, meet};
use crate::stage::receipts::{Receipts, Received};
use crate::stage::sealer::{Known, LaneIdentity, Sealer};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, LinkId, Note};

use self::survey::Survey;

/// Pause before a lane that cannot be used is asked again.
const RETRY_NS: u64 = 1_000_000_000;
/// Bytes of a frame with one mark.
const MARK_BYTES: u64 = 2 * BLOCK as u64;

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Under way.
    Running,
    /// A newer epoch of the other site exists.
    Fenced(Epoch),
}

#[derive(Debug)]
enum Step<B> {
    /// The lane cannot be used; it is asked again.
    Waiting {
        until: u64,
    },
    /// Two lanes share the data of frames: by which one it goes is looked at.
    Surveying(Box<Survey>),
    Fencing(Box<Fencer>),
    /// In the lane, where a Leave mark stands or is on its way.
    Inside(Box<Inside<B>>),
}

#[derive(Debug)]
struct Inside<B> {
    facts: LaneFacts,
    writer: Writer<B>,
    receipts: Receipts,
    /// The frame with the Leave mark.
    leave: Option<FrameHeader>,
}

/// The way back.
#[derive(Debug)]
pub struct Comeback<B> {
    config: SiteConfig,
    step: Step<B>,
    /// The end of the lane that shares data with the one that it goes by, as it was seen.
    beside_end: Option<Position>,
    /// The epoch that it takes in the lane is to be greater than this one.
    beyond: Epoch,
}

impl<B: Buffer> Comeback<B> {
    /// On the way, from what the lane was found to hold when this site took its epoch there, if that is known.
    pub fn new(config: SiteConfig, facts: Option<LaneFacts>, state: &GroupState) -> Self {
        let step = match facts {
            Some(facts) => Step::Inside(Box::new(Inside::new(&config, facts, state))),
            None => Step::Waiting { until: 0 },
        };
        Self { config, step, beside_end: None, beyond: Epoch::NONE }
    }

    /// Whether the lane is connected.
    pub fn is_up(&self) -> bool {
        match &self.step {
            Step::Inside(inside) => inside.writer.is_up(),
            Step::Surveying(survey) => survey.is_up(),
            Step::Fencing(fencer) => fencer.is_up(),
            Step::Waiting { .. } => false,
        }
    }

    /// What the other site has said since this one is in the lane.
    pub fn received(&self) -> Option<Received> {
        match &self.step {
            Step::Inside(inside) => Some(inside.receipts.newest),
            Step::Surveying(_) | Step::Fencing(_) | Step::Waiting { .. } => None,
        }
    }

    /// An event of one of the links.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
        store: &mut StateStore,
    ) -> Outcome {
        match &mut self.step {
            Step::Waiting { .. } => {}
            Step::Surveying(survey) => {
                let found = survey.on_link(context, link, event, &self.config);
                if let Some((node, found)) = survey.replaced().filter(|_| !is_unfenced(store.get())) {
                    rare!(ComebackReplacedBeside);
                    // Only there is it said whether that has become anything.
                    self.config.relay = node;
                    return Outcome::Fenced(found);
                }
                if let Some((node, other_end)) = found {
                    survey.close(context);
                    (self.config.relay, self.beside_end) = (node, Some(other_end));
                    self.fence(context, store);
                }
            }
            Step::Fencing(fencer) if link == fencer.id() => match fencer.on_link(context, event) {
                FencerEvent::Nothing | FencerEvent::Refused(_) => {}
                // What was taken without a fence is given back: the other site has gone on.
                FencerEvent::Released => return Outcome::Fenced(store.get().takeover_replaces),
                FencerEvent::Probed(fenced) if is_unfenced(store.get()) => {
                    match meet(&fenced, &self.config, store.get()) {
                        Meeting::Alone => fencer.fence(context),
                        Meeting::Holding => fencer.release(context),
                        Meeting::Unclear => self.wait(context),
                        Meeting::Both => return Outcome::Fenced(fenced.epoch),
                    }
                }
                // A journal that cannot be appended to is of no use, and an epoch less.
                FencerEvent::Probed(fenced)
                    if !LaneFacts::new(&fenced, self.config.lane).is_some_and(|facts| facts.ring.open) =>
                {
                    self.wait(context);
                }
                FencerEvent::Probed(_) => fencer.fence(context),
                FencerEvent::Foreign(found) => return Outcome::Fenced(found),
                FencerEvent::Forgotten(_) => self.wait(context),
                // Something came between the look and the fence.
                FencerEvent::Done(fenced)
                    if is_unfenced(store.get())
                        && meet(&fenced, &self.config, store.get()) != Meeting::Alone =>
                {
                    self.wait(context);
                }
                FencerEvent::Done(fenced) => match LaneFacts::new(&fenced, self.config.lane) {
                    // What was on its way has come: the other one may end first now.
                    Some(facts) if self.beside_end.is_some_and(|end| end < facts.ring.journaled) => {
                        rare!(ComebackTurnsToShorter);
                        self.wait(context);
                    }
                    Some(facts) if facts.ring.open => {
                        store.change(context, |state| {
                            state.epoch = facts.epoch;
                            unfenced::settle(state, &self.config, facts.epoch);
                            facts.record(state);
                        });
                        let inside = Inside::new(&self.config, facts, store.get());
                        self.step = Step::Inside(Box::new(inside));
                    }
                    Some(_) | None => self.wait(context),
                },
            },
            Step::Fencing(_) => {}
            Step::Inside(inside) if link == inside.writer.id() => {
                let event = inside.writer.on_link(context, event);
                return self.on_writer(context, event);
            }
            Step::Inside(inside) if inside.receipts.owns(link) => {
                inside.receipts.on_link(context, event);
            }
            Step::Inside(_) => {}
        }
        Outcome::Running
    }

    /// The other site has told this epoch, which is newer: whether it has replaced this one only the lane can say, which takes one that is
    /// newer still, or refuses it.
    pub fn doubt<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, told: Epoch) {
        if told > self.beyond {
            self.close(context);
            (self.step, self.beyond) = (Step::Waiting { until: 0 }, told);
        }
    }

    /// The other site has told a receipt, past the relay.
    pub fn on_told(&mut self, frame: &[u8]) {
        if let Step::Inside(inside) = &mut self.step
            && self.config.tells()
        {
            inside.receipts.take_told(frame, inside.facts.epoch);
        }
    }

    /// Timers, and what found the pool empty.
    pub fn on_tick<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &StateStore,
    ) -> Outcome {
        match &mut self.step {
            Step::Waiting { until } if context.now.mono >= *until => {
                match Survey::of(&self.config, store.get()).filter(|_| !is_unfenced(store.get())) {
                    Some(mut survey) => {
                        survey.on_tick(context);
                        self.step = Step::Surveying(Box::new(survey));
                    }
                    None => self.fence(context, store),
                }
            }
            Step::Surveying(survey) => survey.on_tick(context),
            Step::Waiting { .. } => {}
            Step::Fencing(fencer) => fencer.on_tick(context),
            Step::Inside(inside) => {
                inside.receipts.on_tick(context);
                // A mark whose epoch is not recorded would be another one's to the next process.
                if store.is_idle() && !store.wants_to_write() && !store.failed() {
                    inside.say_leave(context, &self.config, store.get());
                }
                let event = inside.writer.on_tick(context);
                return self.on_writer(context, event);
            }
        }
        Outcome::Running
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self, soon: u64) -> u64 {
        match &self.step {
            Step::Waiting { until } => (*until).max(soon),
            Step::Surveying(survey) => survey.deadline(),
            Step::Fencing(fencer) => fencer.deadline(),
            Step::Inside(inside) => {
                let starved = if inside.wants_to_say() { soon } else { u64::MAX };
                inside.receipts.deadline().min(inside.writer.deadline()).min(starved)
            }
        }
    }

    /// Whether the lane says that this site left it.
    pub fn has_left(&self) -> bool {
        let Step::Inside(inside) = &self.step else { return false };
        inside.leave.is_some_and(|leave| inside.writer.journaled() >= leave.end())
    }

    /// Where a primary in the lane would begin: once the other site stands at the Leave mark.
    pub fn ready(&self, state: &GroupState) -> Option<Begin> {
        let Step::Inside(inside) = &self.step else { return None };
        let leave = inside.leave.filter(|leave| inside.writer.journaled() >= leave.end())?;
        let heard = inside.receipts.newest;
        let stands = heard.acquired == leave.end()
            && heard.header_checksum == leave.checksum
            && heard.applied == leave.end();
        let facts = &inside.facts;
        stands.then_some(Begin {
            known: facts.found,
            epoch: facts.epoch,
            ring: (facts.ring.area, facts.ring.size, inside.writer.tip()?),
            manifest: (facts.manifest.area, facts.manifest.size, LaneFacts::tip(&facts.manifest)),
            last: Some(leave),
            landed: (leave.end(), leave.last_time),
            landed_durable: leave.landed,
            clock: state.clock.max(facts.clock).max(leave.last_time),
        })
    }

    /// Ends the sessions.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        match &mut self.step {
            Step::Waiting { .. } => {}
            Step::Surveying(survey) => survey.close(context),
            Step::Fencing(fencer) => fencer.close(context),
            Step::Inside(inside) => {
                inside.writer.close(context);
                inside.receipts.close(context);
            }
        }
        self.step = Step::Waiting { until: u64::MAX };
    }

    /// The node of the lane that it goes by.
    pub fn lane_node(&self) -> NodeId {
        self.config.relay
    }

    fn fence<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &StateStore) {
        let state = store.get();
        let behind = recorded_behind(state, self.config.node);
        // Of two lanes the one that it goes by may not have been fenced by the newest epoch.
        let fencer = match self.beside_end {
            Some(_) => self.config.left_fencer(behind).beyond(state.epoch),
            None => unfenced::fencer(&self.config, state),
        };
        let mut fencer = Box::new(fencer.beyond(self.beyond));
        fencer.on_tick(context);
        self.step = Step::Fencing(fencer);
    }

    fn wait<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        rare!(ComebackWaits);
        self.close(context);
        self.step = Step::Waiting { until: context.now.mono + RETRY_NS };
        self.beside_end = None;
    }

    fn on_writer<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: WriterEvent,
    ) -> Outcome {
        let Step::Inside(inside) = &mut self.step else { return Outcome::Running };
        let node = self.config.relay;
        match event {
            WriterEvent::Nothing | WriterEvent::Progress | WriterEvent::Restarted | WriterEvent::Down => {}
            WriterEvent::Up => {
                context.note(Note::LaneUp { node, journaled: inside.writer.journaled() });
            }
            WriterEvent::Refused(refused) if refused.epoch > inside.facts.epoch => {
                // A newer epoch of this very site is an earlier request's: it is taken anew.
                if refused.epoch.node != self.config.node {
                    rare!(ComebackReplaced);
                    return Outcome::Fenced(refused.epoch);
                }
                self.wait(context);
            }
            WriterEvent::Refused(_) => {}
            WriterEvent::Lost { had, found } => {
                rare!(ComebackLaneLost);
                context.note(Note::LaneLost { node, had, found });
                self.wait(context);
            }
        }
        Outcome::Running
    }
}

impl<B: Buffer> Inside<B> {
    fn new(config: &SiteConfig, facts: LaneFacts, state: &GroupState) -> Self {
        let pace = config.pace;
        let hello = config.hello(SessionKind::Append, AreaKind::Ring, facts.ring.area, facts.epoch);
        let tip = LaneFacts::tip(&facts.ring);
        let hello_receipts = config.hello(SessionKind::Fetch, AreaKind::Receipt, AreaId::NONE, facts.epoch);
        let reader = || Reader::new(config.link(2), config.relay, hello_receipts, pace, 4);
        let reader = config.control.by_relay().then(reader);
        // Since it left the lanes this site has put nothing there but Leave marks: an old one does.
        let own = |last: &FrameHeader| last.epoch.node == config.node && last.epoch >= state.takeover_epoch;
        let mut receipts = Receipts::new(reader, config.lane, pace.poll_ms);
        receipts.newest.acquired = state.acquired;
        Self {
            writer: Writer::new(config.link(0), config.relay, hello, pace, Some(tip), 4),
            receipts,
            leave: facts.ring.last.filter(own),
            facts,
        }
    }

    fn wants_to_say(&self) -> bool {
        self.leave.is_none() && self.writer.is_up()
    }

    /// Puts the Leave mark into the lane, where there is room for it (I3).
    fn say_leave<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        config: &SiteConfig,
        state: &GroupState,
    ) {
        let Some(tip) = self.writer.tip().filter(|_| self.wants_to_say()) else { return };
        let suspended = state.pair == PairState::Suspended;
        let left = suspended || state.pair == PairState::Degraded;
        // After a takeover there is nobody who follows; else the secondary still needs what it has not acquired.
        let needed = if left { self.receipts.newest.acquired } else { tip.position };
        let kept = self.facts.landed.0.min(tip.position).min(needed);
        if tip.position.0 - kept.0 + MARK_BYTES > self.writer.size() {
            rare!(LeaveFindsNoRoom);
            return;
        }
        let Some(block) = context.buffers.take(BLOCK) else { return };
        let taken = state.pair == PairState::TakenOver;
        let mark = Leave {
            epoch: self.facts.epoch,
            reason: match (taken, suspended, left) {
                (true, ..) => LeaveReason::TakenOver,
                (false, true, _) => LeaveReason::Suspended,
                (false, false, true) => LeaveReason::Degraded,
                (false, false, false) => LeaveReason::InitialCopy,
            },
            cut: state.left_cut,
            map_generation: 0,
            former: if taken { config.other_site() } else { NodeId::NONE },
            former_landed: state.former_landed,
            former_landed_time: state.former_landed_time,
        };
        let ring = &self.facts.ring;
        let identity = LaneIdentity {
            group: config.group,
            lane: config.lane,
            area: ring.area,
            epoch: self.facts.epoch,
            flags: config.frame_flags(),
        };
        let newest = state.clock.max(self.facts.clock);
        let time = GroupClock::new(newest).next(context.now.wall);
        let mut sealer = Sealer::new(identity, 1, newest);
        sealer.join_mark(block, time, &Mark::Leave(mark));
        // Everything before is on this site's disks, flushed: it was when this site became primary.
        let journaled = self.writer.journaled();
        let known = Known { landed: tip.position, landed_time: newest, journaled, ..Known::default() };
        if let Some(frame) = sealer.seal(context.buffers, tip, known, &mut Vec::new()) {
            self.leave = Some(frame.header);
            self.writer.append(context, frame);
        }
    }
}
