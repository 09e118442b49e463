//! A primary's restart: a takeover of one's own group (design §7, "one start"), step by step.
//!
//! ```text
//!  probe ─▶ ask the other site ─▶ fence ─▶ record ─▶ verify the tail ─▶ redo it ─▶ flush ─▶ ready
//! ```
//! Upholds I5 (a restart replaces only epochs of its own node), I8 (the chain is the truth) and the one rule: the whole tail
//! behind the newest `landed` is verified before the first block of it is written, so a redo is never half done.

mod asking;
mod beside;
mod preparing;
mod redo;

use alloc::boxed::Box;

use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId, VolumeId};
use midspan_format::message::{Fenced, RefusedReason};
use midspan_format::superblock::{PairState, Role};

use self::asking::Asking;
use self::preparing::Preparing;
use self::redo::Redo;
use crate::lane::fencer::{Fencer, FencerEvent};
use crate::lane::tail::{Tail, TailEvent};
use crate::role::facts::LaneFacts;
use crate::role::primary::Begin;
use crate::role::site::{ASK_LINK, SiteConfig};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, DiskResult, LinkEvent, LinkId, Note, StartReport, Token};

/// Pause before a lane that cannot be used is asked again.
const RETRY_NS: u64 = 1_000_000_000;

/// How a start stands.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and a start ends once")]
pub enum Outcome {
    /// Under way.
    Running,
    /// Another node holds a newer epoch.
    Fenced(Epoch),
    /// The disks hold everything; what the tail touched is to be marked, durably, before the lane hears that it has landed.
    Marks,
    /// The disks hold everything; a primary can begin.
    Ready(Begin, StartReport),
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each group")]
enum Step<B> {
    /// Which lane it goes by is not certain; see [`preparing`].
    Preparing(Preparing),
    Fencing,
    /// The lane can be taken; see [`asking`].
    Asking(Asking),
    /// The lane cannot be used as it is; it is asked again.
    Waiting {
        until: u64,
    },
    Recording {
        change: u64,
    },
    /// The lane that shares the data is fenced, too; see [`beside`].
    FencingBeside(Box<Fencer>),
    Verifying(Tail),
    Redoing(Redo<B>),
    Flushing {
        left: usize,
    },
    Done,
    /// A disk failed: nothing goes on until a restart.
    Failed,
}

/// The restart.
#[derive(Debug)]
pub struct Start<B> {
    config: SiteConfig,
    fencer: Fencer,
    step: Step<B>,
    facts: LaneFacts,
    began: Option<u64>,
    report: StartReport,
    /// What stands in the way, told once.
    obstacle: Option<Note>,
    damaged: Option<Position>,
    /// Where the other site differs anyway: what the tail touched, which it may lack, too.
    marks: Option<DirtyMap>,
    has_marked: bool,
    was_prepared: bool,
    /// The epoch that it takes is to be greater than this one, too.
    beyond: Epoch,
}

impl<B: Buffer> Start<B> {
    /// A restart of a primary whose newest epoch is recorded in `store`.
    pub fn new(config: SiteConfig, store: &StateStore) -> Self {
        let fencer = preparing::first_fencer(&config, store, false);
        let step = Preparing::new(&config, store).map_or(Step::Fencing, Step::Preparing);
        Self {
            config,
            fencer,
            step,
            facts: LaneFacts::default(),
            began: None,
            report: StartReport::default(),
            obstacle: None,
            damaged: None,
            marks: None,
            has_marked: false,
            was_prepared: false,
            beyond: Epoch::NONE,
        }
    }

    /// It takes a greater epoch than this one, which is in a lane that does not count.
    pub fn beyond(self, beyond: Epoch) -> Self {
        Self { fencer: self.fencer.beyond(beyond), beyond, ..self }
    }

    /// Where the journal does not verify, as long as it does not.
    pub fn damaged(&self) -> Option<Position> {
        self.damaged
    }

    /// Whether nothing is under way but waiting for a lane that does not answer, or is not what it was.
    pub fn can_be_skipped(&self) -> bool {
        match &self.step {
            Step::Fencing => !self.fencer.is_up(),
            Step::Waiting { .. } => true,
            Step::Preparing(preparing) => preparing.is_cut_off(),
            Step::Asking(_)
            | Step::Recording { .. }
            | Step::FencingBeside(_)
            | Step::Verifying(_)
            | Step::Redoing(_)
            | Step::Flushing { .. }
            | Step::Done
            | Step::Failed => false,
        }
    }

    /// The node of the lane that it goes by.
    pub fn lane_node(&self) -> NodeId {
        self.config.relay
    }

    /// Whether a disk failed.
    pub fn failed(&self) -> bool {
        matches!(self.step, Step::Failed)
    }

    /// Whether the lane's node answers, or did when it was last asked.
    pub fn is_connected(&self) -> bool {
        let answered = matches!(self.obstacle, Some(Note::OtherServes { .. }));
        let prepares = matches!(&self.step, Step::Preparing(preparing) if preparing.is_up());
        prepares || self.fencer.is_up() || self.facts.epoch != Epoch::NONE || answered
    }

    /// The lane as it was found.
    pub fn facts(&self) -> &LaneFacts {
        &self.facts
    }

    /// Whether no disk operation runs.
    pub fn is_idle(&self) -> bool {
        match &self.step {
            Step::Redoing(redo) => redo.applier.is_idle(),
            Step::Flushing { left } => *left == 0,
            Step::Preparing(_)
            | Step::Fencing
            | Step::Asking(_)
            | Step::Waiting { .. }
            | Step::Recording { .. }
            | Step::FencingBeside(_)
            | Step::Verifying(_)
            | Step::Done
            | Step::Failed => true,
        }
    }

    /// An event of one of the start's links.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
        store: &mut StateStore,
    ) -> Outcome {
        if self.prepares_by(link) {
            return self.on_preparing(context, link, event, store);
        }
        if link == self.fencer.id() {
            return match self.fencer.on_link(context, event) {
                FencerEvent::Nothing => Outcome::Running,
                FencerEvent::Probed(fenced) => self.on_probed(context, &fenced, store),
                FencerEvent::Done(fenced) => self.on_fenced(context, &fenced, store),
                FencerEvent::Foreign(epoch) => Outcome::Fenced(epoch),
                FencerEvent::Forgotten(_) => {
                    let (had, found) =
                        (store.get().lanes().first().map_or(Position(0), |l| l.point.position), Position(0));
                    self.wait(context, Note::LaneLost { node: self.config.relay, had, found });
                    Outcome::Running
                }
                FencerEvent::Refused(_) | FencerEvent::Released => Outcome::Running,
            };
        }
        if link == self.config.second_fencer_link() {
            return self.on_beside(context, event, store);
        }
        if link == self.config.link(ASK_LINK) {
            self.on_answer(context, event);
            return Outcome::Running;
        }
        let Some(tail) = self.tail() else { return Outcome::Running };
        match tail.on_link(context, link, event) {
            TailEvent::Nothing => {}
            TailEvent::Up(found) if found > self.facts.epoch && found.node == self.config.other_site() => {
                return self.on_replaced(context, found);
            }
            TailEvent::Up(_) => {}
            TailEvent::Damaged(position) => self.on_damaged(context, position),
            TailEvent::Frames(frames) => {
                self.damaged = None;
                if let Step::Redoing(redo) = &mut self.step {
                    redo.waiting.extend(frames);
                }
            }
        }
        self.advance(context, store)
    }

    /// A disk operation completed.
    pub fn on_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
        store: &mut StateStore,
    ) -> Outcome {
        let failed = result.is_err();
        match &mut self.step {
            Step::Redoing(redo) => {
                redo.applier.on_disk(context, token, result);
                if let Some(volume) = redo.applier.failed() {
                    self.on_disk_failed(context, volume);
                }
            }
            Step::Flushing { left } => {
                *left = left.saturating_sub(1);
                if failed {
                    self.on_disk_failed(context, VolumeId(u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0)));
                }
            }
            Step::Preparing(_)
            | Step::Fencing
            | Step::Asking(_)
            | Step::Waiting { .. }
            | Step::Recording { .. }
            | Step::FencingBeside(_)
            | Step::Verifying(_)
            | Step::Done
            | Step::Failed => {}
        }
        self.advance(context, store)
    }

    /// The state was written.
    pub fn on_saved<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) -> Outcome {
        if let Step::Preparing(_) = self.step {
            return self.go_on_preparing(context, store);
        }
        self.advance(context, store)
    }

    /// Timers, and what found the pool empty.
    pub fn on_tick<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) -> Outcome {
        self.began.get_or_insert(context.now.mono);
        if let Step::Preparing(_) = self.step {
            return self.go_on_preparing(context, store);
        }
        match &mut self.step {
            Step::Fencing => self.fencer.on_tick(context),
            Step::Asking(_) => self.go_on_asking(context),
            Step::Waiting { until } if context.now.mono >= *until => {
                self.fencer = self.new_fencer(store);
                self.step = Step::Fencing;
                self.fencer.on_tick(context);
            }
            Step::FencingBeside(fencer) => fencer.on_tick(context),
            Step::Verifying(tail) => tail.on_tick(context),
            Step::Redoing(redo) => redo.tail.on_tick(context),
            Step::Preparing(_)
            | Step::Waiting { .. }
            | Step::Recording { .. }
            | Step::Flushing { .. }
            | Step::Done
            | Step::Failed => {}
        }
        self.advance(context, store)
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        match &self.step {
            Step::Preparing(preparing) => preparing.deadline(),
            Step::Fencing => self.fencer.deadline(),
            Step::Asking(asking) => asking.deadline().min(self.fencer.deadline()),
            Step::Waiting { until } => *until,
            Step::FencingBeside(fencer) => fencer.deadline(),
            Step::Verifying(tail) => tail.deadline(),
            Step::Redoing(redo) => redo.tail.deadline(),
            Step::Recording { .. } | Step::Flushing { .. } | Step::Done | Step::Failed => u64::MAX,
        }
    }

    /// Ends the sessions.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Step::Preparing(preparing) = &mut self.step {
            preparing.close(context);
        }
        if let Step::FencingBeside(fencer) = &mut self.step {
            fencer.close(context);
        }
        self.fencer.close(context);
        self.stop_asking(context);
        if let Some(tail) = self.tail() {
            tail.close(context);
        }
    }

    fn on_probed<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        fenced: &Fenced,
        store: &StateStore,
    ) -> Outcome {
        match self.usable(fenced, store) {
            Ok(_) => self.ask(context, store),
            Err(why) => self.wait(context, why),
        }
        Outcome::Running
    }

    fn on_fenced<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        fenced: &Fenced,
        store: &mut StateStore,
    ) -> Outcome {
        let facts = match self.usable(fenced, store) {
            Ok(facts) => facts,
            Err(why) => {
                self.wait(context, why);
                return Outcome::Running;
            }
        };
        self.facts = facts;
        self.obstacle = None;
        let change = store.change(context, |state| {
            state.role = Role::Primary;
            if state.pair != PairState::Resync {
                state.pair = PairState::Paired;
            }
            // What was being handed over is not: this site goes on.
            state.handover = false;
            state.epoch = facts.epoch;
            state.clock = state.clock.max(facts.clock);
            facts.record(state);
        });
        if store.get().pair == PairState::Resync {
            self.marks = Some(DirtyMap::new(self.config.volumes.iter().map(|v| (v.id, v.size))));
        }
        self.step = Step::Recording { change };
        self.advance(context, store)
    }

    /// Whether the lane is the recorded one, whole, and knows nothing that this site should know and does not.
    fn usable(&self, fenced: &Fenced, store: &StateStore) -> Result<LaneFacts, Note> {
        let node = self.config.relay;
        let Some(facts) = LaneFacts::new(fenced, self.config.lane) else {
            return Err(Note::LaneRefused { node, reason: RefusedReason::UnknownArea });
        };
        let lane = store.get().lanes().first().copied().unwrap_or_default();
        let (had, found) = (lane.point.position, facts.ring.journaled);
        let foreign = lane.ring != AreaId::NONE && lane.ring != facts.ring.area;
        let unknown = lane.ring == AreaId::NONE && found > Position(0);
        if foreign || unknown {
            return Err(Note::LaneLost { node, had, found });
        }
        // Manifests are an index, receipts a copy: the ring is what counts.
        if !facts.ring.open {
            return Err(Note::Damaged { node, position: found });
        }
        Ok(facts)
    }

    fn wait<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, why: Note) {
        rare!(StartWaits);
        self.fencer.close(context);
        self.stop_asking(context);
        self.step = Step::Waiting { until: context.now.mono + RETRY_NS };
        if let Note::Damaged { position, .. } | Note::LaneLost { found: position, .. } = &why {
            self.damaged = Some(*position);
        }
        self.say_once(context, why);
    }

    /// Says what it waits for, unless that was said last.
    fn say_once<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, why: Note) {
        if self.obstacle.as_ref() != Some(&why) {
            self.obstacle = Some(why.clone());
            context.note(why);
        }
    }

    /// Goes on to the next step when the present one is complete.
    fn advance<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) -> Outcome {
        loop {
            match &mut self.step {
                Step::Recording { change } if store.is_saved(*change) => match self.beside_of(store) {
                    Some(node) => {
                        self.fence_beside(node, store.get());
                        return self.on_tick(context, store);
                    }
                    None => self.read_tail(context, None, store),
                },
                Step::Verifying(tail) => {
                    if !tail.is_done() {
                        tail.poke(context);
                        return Outcome::Running;
                    }
                    self.redo(context);
                }
                Step::Redoing(_) => {
                    if !self.apply(context) {
                        return self.replaced().map_or(Outcome::Running, Outcome::Fenced);
                    }
                    self.flush(context);
                }
                Step::Flushing { left: 0 } if self.marks.is_some() => return Outcome::Marks,
                // Until the marks are durable.
                Step::Flushing { left: 0 } if self.has_marked => return Outcome::Running,
                Step::Flushing { left: 0 } => return self.done(context.now.mono, store),
                Step::Preparing(_)
                | Step::Fencing
                | Step::Asking(_)
                | Step::Waiting { .. }
                | Step::Recording { .. }
                | Step::FencingBeside(_)
                | Step::Flushing { .. }
                | Step::Done
                | Step::Failed => return Outcome::Running,
            }
        }
    }

    fn done(&mut self, now: u64, store: &StateStore) -> Outcome {
        self.step = Step::Done;
        let facts = &self.facts;
        let last_time = facts.ring.last.map_or(facts.landed.1, |last| last.last_time);
        let begin = Begin {
            known: preparing::left_behind(facts, store.get(), self.config.node),
            epoch: facts.epoch,
            ring: (facts.ring.area, facts.ring.size, LaneFacts::tip(&facts.ring)),
            manifest: (facts.manifest.area, facts.manifest.size, LaneFacts::tip(&facts.manifest)),
            last: facts.ring.last,
            landed: (facts.ring.journaled, last_time),
            landed_durable: facts.landed.0,
            clock: store.get().clock.max(facts.clock),
        };
        let report = StartReport {
            epoch: facts.epoch,
            last_time: last_time.0,
            lost_nothing: true,
            took_ns: now.saturating_sub(self.began.unwrap_or(now)),
            ..self.report
        };
        Outcome::Ready(begin, report)
    }
}
