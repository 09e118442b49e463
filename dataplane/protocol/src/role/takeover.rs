//! The secondary becomes primary (claims 5 and 15): the same start as a restart, on the other side.
//!
//! ```text
//!  probe ─▶ fence ─▶ the secondary applies exactly the prefix ─▶ its cut is persisted ─▶ mark the tail ─▶ record ─▶ serve
//! ```
//! Upholds I5 (the lane is fenced before anything is served), I4 (what is served is the cut at the fenced prefix), I6 (what
//! the former primary may lack or have torn, everything behind its newest `landed`, is durably marked first) and I8 (where
//! the journal does not verify up to its prefix, nobody says that nothing is lost).

mod beside;
mod lane;
mod marking;
mod missing;
mod report;
mod unfenced;

use midspan_format::control::LossReason;
use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::message::{FenceIntent, Fenced};
use midspan_format::superblock::LanePoint;
use midspan_format::time::Time;

use crate::lane::fencer::{Fencer, FencerEvent};
use crate::role::facts::LaneFacts;
use crate::role::secondary::Secondary;
use crate::role::site::SiteConfig;
use crate::stage::state_store::StateStore;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, LinkId, Note, StartNote, StartRefusal, StartReport};

use beside::Beside;
use marking::Marking;

/// How long the lane's node may be silent before the takeover is refused.
const UNREACHABLE_NS: u64 = 30_000_000_000;
/// How long it may be silent when an operator accepts a loss: then the takeover goes on without it.
const UNFENCED_NS: u64 = 5_000_000_000;
/// How long it may be silent when nothing but an answer is wanted.
const UNHEARD_PROBE_NS: u64 = 3_000_000_000;
/// How long a place of the journal may fail to verify before it counts as damaged: what was damaged on its way only is
/// intact when it is read again.
const DAMAGE_NS: u64 = 5_000_000_000;

/// How a takeover stands.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Under way.
    Running,
    /// This site stays secondary.
    Refused(StartRefusal),
    /// The answer to a dry run; this site stays secondary.
    Probed(StartReport),
    /// This site is primary, durably: it may serve once the secondary's operations have settled.
    Taken(StartReport),
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each group")]
enum Step {
    Fencing,
    /// The secondary brings the volumes to the prefix.
    Applying,
    /// What is marked is read along the chain.
    Marking(Marking),
    /// The marks are on their way to the disk.
    SavingMarks,
    Recording {
        change: u64,
    },
}

/// Whether the primary has said, in the lane or past it, that it answers outside the lanes.
fn has_left(store: &StateStore) -> bool {
    store.get().left || store.get().told_left > Time::ZERO
}

/// What an operator asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Go on where it is not certain that nothing is lost.
    pub accept_loss: bool,
    /// Only say what would be found.
    pub dry_run: bool,
    /// The primary of this epoch hands over: nothing but its mark is there to be read.
    pub handed: Option<Epoch>,
}

/// The takeover.
#[derive(Debug)]
pub struct Takeover {
    config: SiteConfig,
    asked: Asked,
    fencer: Fencer,
    /// The lane that shares the data of frames with that one, if one does.
    beside: Beside,
    step: Step,
    facts: LaneFacts,
    began: u64,
    /// Last time at which the lane's node answered.
    heard: u64,
    damaged_since: Option<u64>,
    /// It is no damage: the lane that shares the data is away.
    waits_beside: bool,
    /// Both lanes that share the data hold the same before this position.
    agreed: Position,
    /// Where the volumes stood when it began.
    from: Position,
    /// Where the own ring ended when it began: the lane has that much, or has lost it.
    acquired_before: Position,
    frames_before: u64,
    /// Why it cannot be said that nothing is lost.
    why: Option<LossReason>,
    /// So, because of the lane beside.
    beside_why: Option<LossReason>,
    marked_before: u64,
    /// What the former primary's disks hold for sure.
    former_landed: LanePoint,
    /// The rest of the journal does not verify, and loss is accepted.
    reads_no_more: bool,
    /// The lane could not be fenced, and loss is accepted.
    unfenced: bool,
    /// The epoch that it replaces without a fence.
    replaces: Epoch,
    /// The other site may be a secondary, too: it was not the one who was fenced, or had handed its role over.
    contested: bool,
    /// The lane is bound, or what was handed over to this site counts no more, once this change is recorded, because the other site has gone on since: only
    /// then the lane is fenced. A start that found the handover behind this fence would go on as if nothing had happened in between.
    forgets: Option<u64>,
    stays_bound: bool,
}

impl Takeover {
    /// A takeover by the site whose recorded state is in `store`.
    pub fn new<B: Buffer>(
        config: SiteConfig,
        now: u64,
        asked: Asked,
        store: &StateStore,
        secondary: &Secondary<B>,
        tracker: &Tracker,
    ) -> Self {
        // What was answered is in each lane of a set of two, whichever epoch fenced it last.
        let (intent, known) = (FenceIntent::Takeover, store.get().epoch);
        let either = store.get().set.second().is_some();
        let fencer = if either { config.lagging_fencer(intent, known) } else { config.fencer(intent, known) };
        let persisted = secondary.persisted().tip;
        let beside = Beside::of(&config, store);
        Self {
            config,
            asked,
            fencer,
            beside,
            step: Step::Fencing,
            facts: LaneFacts::default(),
            began: now,
            heard: now,
            damaged_since: None,
            waits_beside: false,
            agreed: Position(0),
            from: persisted.position,
            acquired_before: secondary.acquired().position,
            frames_before: persisted.sequence,
            why: None,
            beside_why: None,
            marked_before: tracker.map().count(),
            former_landed: LanePoint::default(),
            reads_no_more: false,
            unfenced: false,
            replaces: Epoch::NONE,
            contested: false,
            forgets: None,
            stays_bound: store.get().bound != NodeId::NONE,
        }
    }

    /// Whether it can be undone: nothing of it is recorded.
    pub fn can_be_undone(&self) -> bool {
        !matches!(self.step, Step::Recording { .. })
    }

    /// Whether the former primary handed over.
    pub fn is_planned(&self) -> bool {
        self.asked.handed.is_some()
    }

    /// Whether the other site may take over, too.
    pub fn is_contested(&self) -> bool {
        self.contested
    }

    /// The lane as it was found.
    pub fn facts(&self) -> &LaneFacts {
        &self.facts
    }

    /// An event of one of the takeover's own links.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<S::Buf>,
        secondary: &mut Secondary<S::Buf>,
        store: &mut StateStore,
        tracker: &mut Tracker,
    ) -> Outcome {
        if self.beside.owns(link) {
            return self.on_beside(context, event, secondary, store);
        }
        if link != self.fencer.id() {
            if let Step::Marking(marking) = &mut self.step {
                let event = marking.tail.on_link(context, link, event);
                self.on_tail(context, event, tracker);
            }
            return self.advance(context, secondary, store, tracker);
        }
        match self.fencer.on_link(context, event) {
            FencerEvent::Probed(fenced) => self.on_probed(context, &fenced, secondary, store, tracker),
            FencerEvent::Done(fenced) => self.on_fenced(context, &fenced, secondary, store),
            FencerEvent::Refused(reason) => {
                Outcome::Refused(StartRefusal::LaneRefused { node: self.config.relay, reason })
            }
            FencerEvent::Forgotten(_) if self.asked.accept_loss => Outcome::Running,
            FencerEvent::Forgotten(_) => self.may_lose(LossReason::LaneUnreachable, secondary, store),
            FencerEvent::Nothing | FencerEvent::Foreign(_) | FencerEvent::Released => Outcome::Running,
        }
    }

    /// Anything else happened that may let it go on: a tick, a completion, something of the secondary.
    pub fn on_progress<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &mut Secondary<S::Buf>,
        store: &mut StateStore,
        tracker: &mut Tracker,
    ) -> Outcome {
        let now = context.now.mono;
        match &mut self.step {
            Step::Fencing => {
                if self.forgets.is_some() && store.failed() {
                    return self.may_lose(LossReason::DiskFailed, secondary, store);
                }
                if self.forgets.is_some_and(|change| store.is_saved(change)) {
                    self.forgets = None;
                    self.fence_lane(context, store);
                }
                self.fencer.on_tick(context);
                if let Some(outcome) = self.keep_beside(context, secondary, store) {
                    return outcome;
                }
                if self.fencer.is_up() || self.beside.is_fencing() {
                    self.heard = now;
                }
                if now >= self.heard + UNFENCED_NS && self.may_go_unfenced() {
                    return self.go_unfenced(context, secondary, store, tracker);
                }
                if now >= self.heard + UNHEARD_PROBE_NS && self.asked.dry_run {
                    return self.probe_unfenced(context, secondary, store, tracker);
                }
                if now >= self.heard + UNREACHABLE_NS {
                    let missing = Some(self.missing(LossReason::LaneUnreachable, secondary, store));
                    return Outcome::Refused(StartRefusal::LaneUnreachable {
                        node: self.config.relay,
                        missing,
                    });
                }
            }
            Step::Marking(marking) => {
                marking.tail.on_tick(context);
                if marking.is_late(now) {
                    self.mark_everything(context, tracker);
                }
            }
            Step::Applying | Step::SavingMarks | Step::Recording { .. } => {}
        }
        self.advance(context, secondary, store, tracker)
    }

    /// When [`Takeover::on_progress`] has something to do next.
    pub fn deadline(&self) -> u64 {
        match &self.step {
            Step::Fencing if self.beside.is_fencing() => self.beside.deadline(),
            Step::Fencing if self.may_go_unfenced() => self.fencer.deadline().min(self.heard + UNFENCED_NS),
            Step::Fencing if self.asked.dry_run => self.fencer.deadline().min(self.heard + UNHEARD_PROBE_NS),
            Step::Fencing => {
                self.fencer.deadline().min(self.heard + UNREACHABLE_NS).min(self.beside.deadline())
            }
            // Once nothing more is read, there is nothing to wait for.
            Step::Applying if self.reads_no_more => u64::MAX,
            Step::Applying => self.damaged_since.map_or(u64::MAX, |since| since + self.patience()),
            Step::Marking(marking) => marking.deadline(),
            Step::SavingMarks | Step::Recording { .. } => u64::MAX,
        }
    }

    /// Ends the sessions.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.fencer.close(context);
        self.beside.close(context);
        if let Step::Marking(marking) = &mut self.step {
            marking.tail.close(context);
        }
    }

    /// Whether the secondary was told to read to a prefix, or its sessions were closed: it cannot go on as it is.
    pub fn has_changed_secondary(&self) -> bool {
        !matches!(self.step, Step::Fencing)
    }

    fn on_probed<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        fenced: &Fenced,
        secondary: &Secondary<S::Buf>,
        store: &mut StateStore,
        tracker: &Tracker,
    ) -> Outcome {
        if self.forgets.is_some() {
            return Outcome::Running;
        }
        self.look(fenced, store);
        if self.asked.handed.is_some() && !self.is_handed(secondary) {
            return self.wait_for_mark(context.now.mono);
        }
        if store.get().round_in_place {
            return Outcome::Refused(StartRefusal::NoCut);
        }
        if has_left(store) {
            self.why = self.why.or(Some(LossReason::LeftTheLanes));
        }
        self.why = self.why.or(self.may_be_alone());
        match self.see_beside(context.now.mono) {
            Ok(true) => {}
            Ok(false) => {
                self.fencer.look_again(context.now.mono);
                return Outcome::Running;
            }
            Err(refusal) => return Outcome::Refused(refusal),
        }
        // What would end the takeover behind the fence must end it before: a living primary goes on then.
        let now = context.now.mono;
        let disk_failed = store.failed() || tracker.failed();
        self.waits_beside = secondary.waits_beside();
        match secondary.obstacle() {
            // What flipped on its way is read again in a moment: only damage that lasts ends a takeover.
            Some(Note::Damaged { .. })
                if !self.asked.accept_loss && !self.asked.dry_run && self.hopes(now) =>
            {
                self.fencer.look_again(now);
                return Outcome::Running;
            }
            Some(Note::Damaged { position, .. }) => self.why = self.why.or(Some(self.unread(position))),
            Some(_) => self.why = Some(LossReason::DiskFailed),
            None if disk_failed => self.why = Some(LossReason::DiskFailed),
            None => self.damaged_since = None,
        }
        if self.asked.dry_run {
            self.fencer.close(context);
            let there = self.there(secondary, store);
            return Outcome::Probed(self.report(context.now.mono, 0, there));
        }
        if let Some(why) = self.why.filter(|why| !self.asked.accept_loss || *why == LossReason::DiskFailed) {
            return self.may_lose(why, secondary, store);
        }
        context.note(Note::Start(StartNote::Fencing));
        let was_handed = self.asked.handed.is_none() && store.get().handover;
        self.contested |= was_handed;
        // The other site has taken its lane back meanwhile: it is that one which is replaced.
        let back =
            fenced.epoch.node == self.config.other_site() && fenced.epoch != store.get().handover_epoch;
        let (state, lane) = (store.get(), self.config.relay);
        let binds = state.set.second().is_some() && !state.set.is_striped() && state.bound != lane;
        if was_handed && back || binds {
            self.forgets = Some(store.change(context, |state| {
                state.handover &= !(was_handed && back);
                if binds {
                    state.bound = lane;
                }
            }));
            return Outcome::Running;
        }
        self.fence_lane(context, store);
        Outcome::Running
    }

    fn on_fenced<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        fenced: &Fenced,
        secondary: &mut Secondary<S::Buf>,
        store: &StateStore,
    ) -> Outcome {
        self.look(fenced, store);
        if self.fence_beside(context, store) {
            return Outcome::Running;
        }
        self.on_all_fenced(context, secondary, store)
    }

    /// The lanes are this site's: where the journal ends is final.
    fn on_all_fenced<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &mut Secondary<S::Buf>,
        store: &StateStore,
    ) -> Outcome {
        // The other site was primary in the epoch that is replaced, and said so last: else it may be a secondary, too.
        let found = self.facts.found;
        let served = self.facts.ring.last.is_some_and(|last| last.epoch == found);
        self.contested |=
            !served || found.node != self.config.other_site() || found == store.get().handover_epoch;
        self.why = self.why.or(self.may_be_alone());
        // A lane that holds less than was fetched from it has lost what it once acknowledged. Only now its prefix is final.
        let position = self.facts.ring.journaled;
        // Of two that share the data, one may have told of what the other has not.
        let heard = if self.beside.is_none() { secondary.heard() } else { Position(0) };
        if self.why.is_none() && position < secondary.acquired().position.max(heard) {
            self.why = Some(LossReason::JournalDamaged { position });
        }
        if let Some(why) = self.why.filter(|_| !self.asked.accept_loss) {
            return self.may_lose(why, secondary, store);
        }
        self.read_to_end(context, secondary, store);
        Outcome::Running
    }

    /// Goes on to the next step when the present one is complete.
    fn advance<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &mut Secondary<S::Buf>,
        store: &mut StateStore,
        tracker: &mut Tracker,
    ) -> Outcome {
        loop {
            match &mut self.step {
                Step::Fencing => return Outcome::Running,
                Step::Applying => {
                    if let Some(why) = self.judge(context, secondary) {
                        return self.may_lose(why, secondary, store);
                    }
                    if !self.is_applied(secondary) {
                        return Outcome::Running;
                    }
                    // Only now the whole journal is known: whether the primary left it, or came back into it.
                    match (self.why, has_left(store)) {
                        (None, true) => self.why = Some(LossReason::LeftTheLanes),
                        (Some(LossReason::LeftTheLanes), false) => self.why = self.may_be_alone(),
                        (None | Some(_), _) => {}
                    }
                    if store.get().round_in_place {
                        return Outcome::Refused(StartRefusal::NoCut);
                    }
                    if let Some(why) = self.why.filter(|_| !self.asked.accept_loss) {
                        return self.may_lose(why, secondary, store);
                    }
                    // The last that was read may be that the other site hands over: then it is a secondary, too.
                    self.contested |= self.asked.handed.is_none() && store.get().handover;
                    secondary.close(context);
                    self.mark(context, tracker);
                }
                Step::Marking(marking) => {
                    if !marking.tail.is_done() {
                        marking.poke(context);
                        return Outcome::Running;
                    }
                    marking.tail.close(context);
                    self.step = Step::SavingMarks;
                }
                Step::SavingMarks => {
                    tracker.poke(context);
                    if tracker.failed() {
                        return self.may_lose(LossReason::DiskFailed, secondary, store);
                    }
                    if !tracker.is_durable() {
                        return Outcome::Running;
                    }
                    let cut = secondary.persisted();
                    let landed = if cut.time > Time::ZERO { cut.tip.position } else { Position(0) };
                    let change = self.record(context, (landed, cut.time), store);
                    self.step = Step::Recording { change };
                }
                Step::Recording { change } => {
                    if store.failed() {
                        return self.may_lose(LossReason::DiskFailed, secondary, store);
                    }
                    if !store.is_saved(*change) {
                        return Outcome::Running;
                    }
                    let marked = tracker.map().count().saturating_sub(self.marked_before);
                    let there = self.there(secondary, store);
                    return Outcome::Taken(self.report(context.now.mono, marked, there));
                }
            }
        }
    }
}
