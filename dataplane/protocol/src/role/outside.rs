//! A primary outside the lanes: after a takeover, or before the other site ever held anything. Hosts are answered by the local
//! disks, what changes is marked (I6), and the way back is prepared.
//!
//! ```text
//!  entering, or leaving ─▶ serving ─▶ draining (hosts wait a moment) ─▶ flushing ─▶ recording ─▶ a primary in the lanes, with a round to run
//! ```

mod asking;
mod doubting;
mod telling;

use alloc::vec::Vec;

use midspan_format::ids::{Epoch, VolumeId};
use midspan_format::superblock::{FenceSet, PairState};

use self::telling::Told;
use crate::lane::site_link::{SiteEvent, SiteLink};
use crate::role::comeback::{self, Comeback};
use crate::role::direct::{Direct, answer};
use crate::role::facts::LaneFacts;
use crate::role::primary::Begin;
use crate::role::site::SiteConfig;
use crate::stage::state_store::StateStore;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{
    Context, Disk, DiskOp, DiskResult, HostError, HostRequest, LinkEvent, LinkId, Note, StartReport, Token,
};
use crate::vocab::tags;

/// What came of an event.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it ends once")]
pub enum Outcome {
    /// It goes on.
    Running,
    /// A newer epoch exists: hosts were told, and what runs settles.
    Fenced {
        /// That epoch.
        found: Epoch,
        /// Hosts were served before.
        entered: bool,
    },
    /// The lane says that this site has taken over: from now on hosts are served.
    Entered(StartReport),
    /// Nothing is under way, everything is flushed and recorded: a primary in the lanes can begin.
    Return(Begin),
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each group")]
enum Step {
    /// Hosts are not served until the lane says that this site has taken over.
    Entering {
        report: StartReport,
    },
    /// Hosts wait until the state, and the lane or the other site, say that it was left.
    Leaving {
        change: u64,
    },
    /// A disk that must say that the lanes are left failed: nothing can be answered outside them.
    Failed,
    /// It is known; that hosts are answered from now on is being recorded.
    Permitted {
        change: u64,
    },
    Serving,
    /// Hosts wait until the lane says whether the other site, which told this epoch, has replaced this one; not for a lane that is silent.
    Doubting {
        told: Epoch,
        until: u64,
    },
    Draining,
    Flushing {
        left: usize,
    },
    Recording {
        change: u64,
        begin: Begin,
    },
    /// A disk failed on the way: hosts are served on, and nothing is tried again.
    Stuck,
    /// Hosts are not served any more.
    Closed,
}

/// The machine.
#[derive(Debug)]
pub struct Outside<B> {
    config: SiteConfig,
    direct: Direct<B>,
    comeback: Comeback<B>,
    /// To the other site, past the relay.
    site_link: SiteLink,
    /// Whether that one has recorded that the lanes are left.
    told: Told,
    /// One lane holds the journal: a mark there is read by every takeover.
    single: bool,
    /// An operator has said that hosts are to be served whoever knows of it.
    word: bool,
    step: Step,
    /// An operator holds the round that is to come.
    pub paused: bool,
    /// What hosts asked before the lanes were left.
    waiting: Vec<HostRequest<B>>,
    /// Flushes of this role that run, whatever step it is in meanwhile.
    flushes: usize,
    /// The newest epoch that hosts have waited for.
    doubted: Epoch,
    /// When the other site is asked to read the lane in which it is said that the lanes are left.
    asks_at: u64,
}

impl<B: Buffer> Outside<B> {
    /// A primary outside the lanes. `facts`: the lane as it was when this site took its epoch there.
    pub fn new(
        config: SiteConfig,
        tracker: Option<Tracker>,
        facts: Option<LaneFacts>,
        store: &StateStore,
    ) -> Self {
        let direct = Direct::new(config.limits.requests, tracker);
        let comeback = Comeback::new(config.clone(), facts, store.get());
        let site_link = config.site_link(store.get().epoch);
        Self {
            config,
            direct,
            comeback,
            site_link,
            told: Told::No,
            single: store.get().set.second().is_none() && store.get().asked.is_none(),
            word: false,
            step: Step::Serving,
            paused: false,
            waiting: Vec::new(),
            flushes: 0,
            doubted: Epoch::NONE,
            asks_at: u64::MAX,
        }
    }

    /// Hosts are served only when `change` is recorded and the lane holds the Leave mark, or the other site has recorded it (I1):
    /// no takeover that does not know of it says that nothing is lost. `waiting`: what they have asked already.
    pub fn leaving(mut self, change: u64, waiting: Vec<HostRequest<B>>) -> Self {
        self.step = Step::Leaving { change };
        self.waiting = waiting;
        self
    }

    /// Hosts are served only when the lane holds the Leave mark (I4, I5): the other site may be a secondary, and a takeover there
    /// that does not find the mark would say that nothing is lost.
    pub fn entering(mut self, report: StartReport) -> Self {
        self.step = Step::Entering { report };
        self
    }

    /// Whether hosts are not served yet.
    pub fn is_entering(&self) -> bool {
        matches!(self.step, Step::Entering { .. })
    }

    /// An operator has said that hosts are to be served whoever knows of it.
    pub fn by_word(mut self) -> Self {
        self.word = true;
        self
    }

    /// The requests and the map.
    pub fn direct(&self) -> &Direct<B> {
        &self.direct
    }

    /// The way back.
    pub fn comeback(&self) -> &Comeback<B> {
        &self.comeback
    }

    /// The map, for whoever plays the next role.
    pub fn take_tracker(&mut self) -> Option<Tracker> {
        self.direct.take_tracker()
    }

    /// Whether another request can be taken: while the role changes, hosts wait.
    pub fn has_room(&self) -> bool {
        match self.step {
            Step::Serving | Step::Stuck => self.direct.has_room(),
            Step::Leaving { .. }
            | Step::Permitted { .. }
            | Step::Doubting { .. }
            | Step::Draining
            | Step::Flushing { .. }
            | Step::Recording { .. } => false,
            Step::Entering { .. } | Step::Closed | Step::Failed => true,
        }
    }

    /// Whether hosts are not served any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.step, Step::Closed)
    }

    /// The next role begins: only the sessions end.
    pub fn leave<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.comeback.close(context);
        self.site_link.close(context);
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.direct.is_idle() && self.flushes == 0
    }

    /// A host request.
    pub fn on_host<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, request: HostRequest<B>) {
        let failed = matches!(self.step, Step::Failed).then_some(HostError::Io);
        match failed.or(self.is_entering().then_some(HostError::NotServing)) {
            Some(error) => answer(context, request.id, Err(error)),
            None => self.direct.on_host(context, request),
        }
    }

    /// A disk operation completed.
    pub fn on_disk<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        result: DiskResult<B>,
        store: &mut StateStore,
    ) -> Outcome {
        if tags::of(token) != tags::LAND {
            self.direct.on_disk(context, token, result);
            return self.advance(context, store);
        }
        self.flushes = self.flushes.saturating_sub(1);
        if result.is_err() && !self.is_closed() {
            let volume = VolumeId(u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0));
            context.note(Note::DiskFailed { disk_is_journal: false, volume });
            self.step = Step::Stuck;
        }
        if let Step::Flushing { left } = &mut self.step {
            *left = left.saturating_sub(1);
        }
        self.advance(context, store)
    }

    /// An event of one of the links.
    pub fn on_link<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
        store: &mut StateStore,
    ) -> Outcome {
        if link == self.site_link.id() {
            match self.site_link.on_link(context, event) {
                SiteEvent::Left(left) if matches!(self.told, Told::Asked(epoch, _) if epoch == left.epoch) => {
                    self.told = Told::Yes;
                    return self.advance(context, store);
                }
                SiteEvent::Up | SiteEvent::Down => self.ask_again(),
                SiteEvent::Nothing | SiteEvent::Left(_) | SiteEvent::Recorded(_) => {}
            }
            let told = self.site_link.epoch();
            if told > store.get().epoch && told.node == self.config.other_site() {
                // It has replaced this one, and says so before a lane can.
                if self.can_doubt(store.get()) {
                    return self.doubt(context, told, store);
                }
                return self.on_comeback(context, comeback::Outcome::Fenced(told), store);
            }
            self.tell(context, store);
            return Outcome::Running;
        }
        let outcome = self.comeback.on_link(context, link, event, store);
        self.on_comeback(context, outcome, store)
    }

    /// The other site has told a receipt, past the relay.
    pub fn on_told<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        frame: &[u8],
        store: &mut StateStore,
    ) -> Outcome {
        self.comeback.on_told(frame);
        self.advance(context, store)
    }

    /// The state was written.
    pub fn on_saved<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) -> Outcome {
        self.tell(context, store);
        self.advance(context, store)
    }

    /// A batch of events was delivered.
    pub fn on_drained<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.direct.on_drained(context);
    }

    /// Timers.
    pub fn on_tick<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) -> Outcome {
        self.direct.on_drained(context);
        if !self.is_closed() && self.site_link.on_tick(context) == SiteEvent::Down
            || context.now.mono >= self.told_again_at()
        {
            self.ask_again();
        }
        self.doubt_no_longer(context.now.mono);
        self.tell(context, store);
        self.ask_to_follow(context, store);
        let outcome = match self.step {
            Step::Closed | Step::Failed => comeback::Outcome::Running,
            Step::Entering { .. }
            | Step::Leaving { .. }
            | Step::Permitted { .. }
            | Step::Serving
            | Step::Doubting { .. }
            | Step::Draining
            | Step::Flushing { .. }
            | Step::Recording { .. }
            | Step::Stuck => self.comeback.on_tick(context, store),
        };
        self.on_comeback(context, outcome, store)
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self, soon: u64) -> u64 {
        let starved = if self.direct.is_starved() { soon } else { u64::MAX };
        let site = match self.step {
            Step::Closed | Step::Failed => return starved,
            Step::Entering { .. }
            | Step::Leaving { .. }
            | Step::Permitted { .. }
            | Step::Serving
            | Step::Doubting { .. }
            | Step::Draining
            | Step::Flushing { .. }
            | Step::Recording { .. }
            | Step::Stuck => self.site_link.deadline(),
        };
        self.comeback
            .deadline(soon)
            .min(starved)
            .min(site)
            .min(self.told_again_at().min(self.doubts_until()).min(self.asks_at).max(soon))
    }

    /// Hosts are not served any more: what waits is told so, what runs settles.
    pub fn close<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.step = Step::Closed;
        self.comeback.close(context);
        self.site_link.close(context);
        self.direct.close(context);
        // The requests machine tells them that nobody serves any more.
        for request in core::mem::take(&mut self.waiting) {
            self.direct.on_host(context, request);
        }
    }

    fn on_comeback<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: comeback::Outcome,
        store: &mut StateStore,
    ) -> Outcome {
        match outcome {
            comeback::Outcome::Running => self.advance(context, store),
            comeback::Outcome::Fenced(found) => {
                let entered = !self.is_entering();
                self.close(context);
                Outcome::Fenced { found, entered }
            }
        }
    }

    /// Goes on to the next step when the present one is complete.
    fn advance<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) -> Outcome {
        loop {
            match self.step {
                Step::Entering { report } if self.comeback.has_left() => {
                    self.step = Step::Serving;
                    return Outcome::Entered(report);
                }
                // What cannot be recorded cannot be answered for.
                Step::Leaving { .. } | Step::Permitted { .. } if store.failed() || self.marks_failed() => {
                    self.step = Step::Failed;
                    for request in core::mem::take(&mut self.waiting) {
                        answer(context, request.id, Err(HostError::Io));
                    }
                }
                Step::Leaving { change }
                    if store.is_saved(change) && self.marks_are_durable() && self.is_known(store.get()) =>
                {
                    let stands = self.comeback.ready(store.get()).is_some();
                    let by_word = !self.is_marked() && self.told != Told::Yes && !stands;
                    let change = store.change(context, |state| {
                        (state.answered, state.by_word) = (true, state.by_word || by_word);
                    });
                    self.step = Step::Permitted { change };
                }
                Step::Permitted { change } if store.is_saved(change) => {
                    self.step = Step::Serving;
                    for request in core::mem::take(&mut self.waiting) {
                        self.direct.on_host(context, request);
                    }
                }
                // The lane has taken a newer one still: nobody has replaced this site there.
                Step::Doubting { told, .. } if store.get().epoch > told => self.step = Step::Serving,
                Step::Serving
                    if !self.paused && self.can_settle() && self.comeback.ready(store.get()).is_some() =>
                {
                    self.step = Step::Draining;
                }
                Step::Draining if self.direct.is_idle() && self.marks_are_durable() => self.flush(context),
                Step::Flushing { left: 0 } => {
                    let Some(begin) = self.comeback.ready(store.get()) else {
                        self.step = Step::Serving;
                        return Outcome::Running;
                    };
                    let (lane, known, several) =
                        (self.comeback.lane_node(), store.get(), self.config.lanes.len() > 1);
                    let version = known.asked.version.max(known.set.version) + 1;
                    let change = store.change(context, |state| {
                        // The other site stands at the Leave mark: it knows.
                        (state.pair, state.by_word, state.handover) = (PairState::Resync, false, false);
                        // A start that finds no more than this goes by the lane in which it was said, once the other site has
                        // recorded that: it may still look into another one.
                        if several {
                            state.asked =
                                FenceSet { epoch: state.epoch, version, ..FenceSet::of(&[lane], 1) };
                        }
                    });
                    self.step = Step::Recording { change, begin };
                }
                // Hosts are served on; the disk that keeps the state is reported.
                Step::Recording { .. } if store.failed() => self.step = Step::Stuck,
                Step::Recording { change, begin } if store.is_saved(change) => {
                    return Outcome::Return(begin);
                }
                Step::Entering { .. }
                | Step::Leaving { .. }
                | Step::Permitted { .. }
                | Step::Serving
                | Step::Doubting { .. }
                | Step::Draining
                | Step::Flushing { .. }
                | Step::Recording { .. }
                | Step::Stuck
                | Step::Failed
                | Step::Closed => return Outcome::Running,
            }
        }
    }

    fn marks_failed(&self) -> bool {
        self.direct.tracker().is_some_and(Tracker::failed)
    }

    /// A crash behind the next step trusts the map on the disk.
    fn marks_are_durable(&self) -> bool {
        self.direct.tracker().is_none_or(Tracker::is_durable)
    }

    /// What a round reads from the disks must not be undone by a loss of power: it is on stable media first.
    fn flush<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.flushes += self.config.volumes.len();
        self.step = Step::Flushing { left: self.config.volumes.len() };
        for volume in &self.config.volumes {
            let token = tags::token(tags::LAND, u64::from(volume.id.0));
            context.disk(Disk::Volume(volume.id), token, DiskOp::Flush);
        }
    }
}
