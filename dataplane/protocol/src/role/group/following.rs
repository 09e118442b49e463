//! A site that was replaced, or handed over: whose history counts, and from where it follows (see [`crate::recovery::lineage`]).

use alloc::boxed::Box;

use midspan_format::control::LossReason;
use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_format::superblock::{FenceSet, GroupState, LanePoint, PairState, Role};
use midspan_format::time::Time;

use super::lanes::is_outside;
use super::{Group, Play};
use crate::recovery::lineage::{self, Decision, Facts, Past};
use crate::role::rejoin::{self, Rejoin};
use crate::role::secondary::Secondary;
use crate::role::start::Start;
use crate::role::unfenced;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note, StartNote, StartRefusal, StartReport};

/// Whether one lane of those that count was asked for, to count alone.
pub(super) fn narrows(state: &GroupState) -> bool {
    let alone = !state.asked.is_none() && state.asked.second().is_none() && !state.set.is_striped();
    alone && state.set.nodes.contains(&state.asked.first())
}

impl<B: Buffer> Group<B> {
    /// A newer epoch exists: nothing is served, and where to follow is looked for; unless this site has answered hosts alone.
    pub(super) fn fence_off(&mut self, found: Epoch) {
        self.forget_asking();
        self.fenced_by = Some(found);
        // What was taken without a fence is a history of its own: nobody but an operator can choose.
        self.split = unfenced::is_unfenced(self.store.get());
        let point = lineage::handed_at(self.store.get());
        let rejoin = Rejoin::new(self.config.clone(), point).behind(Some(found));
        self.play = Play::Fenced(Box::new(rejoin.of_set(&self.store.get().set, None)));
    }

    /// This site handed over: it follows from the point that it had recorded.
    pub(super) fn follow<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.fenced_by = None;
        let change = self.store.change(context, |state| {
            (state.role, state.pair) = (Role::Secondary, PairState::Paired);
            (state.handover, state.manifest) = (false, Position(0));
            // Whether the other site has recorded that one lane of a mirror counts alone is not known: by that one a takeover is right in any case.
            if narrows(state) {
                rare!(FollowsNarrowed);
                state.count_set(state.asked);
            }
            state.forget_asked();
        });
        let set = self.store.get().set;
        if !set.is_none() && !set.nodes.contains(&self.config.relay) {
            self.config.relay = set.first();
        }
        self.become_secondary(context, change);
    }

    /// What this site took without a fence is given up: its disks are of no use any more, and all of them is sent anew by the
    /// other site, which hears that there is no cut here.
    fn follow_anew<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let epoch = self.fenced_by.take().unwrap_or(self.store.get().takeover_replaces);
        self.close_role(context);
        context.note(Note::Rejoined { epoch, has_cut: false });
        let change = self.store.change(context, |state| {
            (state.role, state.pair, state.epoch) = (Role::Secondary, PairState::Resync, epoch);
            (state.left, state.round, state.round_in_place) = (true, 0, true);
            (state.takeover_replaces, state.by_word, state.answered) = (Epoch::NONE, false, false);
            (state.whole_at, state.cut, state.manifest) = (Position(0), Time::ZERO, Position(0));
            // What was recorded of the set in an epoch that no lane ever had is not newer than what the other site asks for.
            state.count_set(FenceSet { epoch, version: 0, ..state.set });
            state.forget_asked();
        });
        self.become_secondary(context, change);
    }

    pub(super) fn become_secondary<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        change: u64,
    ) {
        self.forget_asking();
        let mut secondary = Box::new(Secondary::new(self.config.clone(), &self.store));
        secondary.wait_for(change);
        secondary.start(context);
        self.play = Play::Secondary(secondary);
        self.on_tick(context);
    }

    pub(super) fn on_rejoin<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: rejoin::Outcome,
    ) {
        let (seen, found) = match outcome {
            rejoin::Outcome::Running => return,
            rejoin::Outcome::Seen(seen, found) => (seen, found),
        };
        let state = self.store.get();
        let past = Past::of(state, is_outside(state.pair));
        let (decision, _) = Decision::of(&Facts { past, seen, resolved: self.resolved });
        match decision {
            // The search ends only when there is more to say.
            Decision::Wait => return,
            Decision::GoOn => {
                rare!(ReturnGoesOn);
                self.fenced_by = None;
                let fencer = Box::new(unfenced::fencer(&self.config, state));
                self.play = Play::Resuming { fencer, since: 0, flushed: true };
                self.on_tick(context);
            }
            Decision::Redo => {
                rare!(ReturnRedoes);
                self.fenced_by = None;
                // By the lane that counts, whichever it has looked at meanwhile.
                if let Some(node) = state.set.nodes.first() {
                    self.config.relay = *node;
                }
                self.play = Play::Starting(Box::new(Start::new(self.config.clone(), &self.store)));
                self.on_tick(context);
            }
            Decision::Follow => self.follow(context),
            Decision::Round => {
                rare!(ReturnByRound);
                self.follow_found(context, found, true);
            }
            Decision::Full => {
                rare!(ReturnByFullRound);
                self.follow_found(context, found, false);
            }
            Decision::Split => {
                rare!(ReturnSplit);
                self.split = true;
                // What only this site holds is read from its disk: marks that nobody waited for go there, too.
                if let Some(tracker) = self.tracker.as_mut() {
                    tracker.poke(context);
                }
                if self.prevails {
                    return self.go_on_prevailing(context, found);
                }
            }
        }
        // What an operator gave up was given up once: the next split is another one.
        self.resolved = false;
    }

    /// The other site has replaced this one: it follows from where the mark in the lane says.
    fn follow_found<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        found: Option<rejoin::Found>,
        with_cut: bool,
    ) {
        let Some(found) = found else { return self.follow_anew(context) };
        let (epoch, has_cut) = (found.epoch(), with_cut && found.has_cut());
        context.note(Note::Rejoined { epoch, has_cut });
        self.fenced_by = None;
        let change = self.store.change(context, |state| found.follow(state, with_cut));
        self.become_secondary(context, change);
    }

    /// An operator keeps what this site holds, against the one that replaced it: the lane is looked at anew, and everything is
    /// marked, for what the other site has written is not known here. Only where the disks hold all that was answered: what
    /// was answered in the lanes after a return to them may still be on its way to the disks.
    pub(super) fn prevail<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let state = self.store.get();
        let may = self.split && is_outside(state.pair) && !unfenced::is_unfenced(state);
        if !may || self.stopping || self.tracker.is_none() {
            return context.note(Note::Start(StartNote::Refused(StartRefusal::NotToBeKept)));
        }
        if let (false, Some(tracker)) = (core::mem::replace(&mut self.prevails, true), self.tracker.as_mut())
        {
            tracker.mark_all();
        }
        self.look_anew(context);
    }

    /// Serves once everything is durably marked, so that a restart which believes the state finds the marks (I6), and once the lane
    /// says that this site has taken over: what was read there last is replaced as by a taker that met no fence
    /// ([`crate::role::unfenced`]), if nothing has come behind it.
    fn go_on_prevailing<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        found: Option<rejoin::Found>,
    ) {
        let failed = self.tracker.as_ref().is_none_or(Tracker::failed);
        let Some(found) = found.filter(|_| !failed) else {
            self.prevails = false;
            return context.note(Note::Start(StartNote::Refused(StartRefusal::NotToBeKept)));
        };
        if !self.tracker.as_ref().is_some_and(Tracker::is_durable) {
            return self.look_anew(context);
        }
        self.close_role(context);
        (self.split, self.prevails, self.fenced_by) = (false, false, None);
        let (replaced, end) = (found.epoch(), found.end());
        let epoch = Epoch { number: replaced.number + 1, node: self.config.node };
        let (lane, several) = (self.config.relay, self.config.lanes.len() > 1);
        let change = self.store.change(context, |state| {
            (state.epoch, state.takeover_epoch, state.takeover_replaces) = (epoch, epoch, replaced);
            (state.role, state.pair, state.handover) = (Role::Primary, PairState::TakenOver, false);
            (state.left, state.answered, state.by_word) = (true, true, true);
            (state.round, state.whole_at, state.acquired) = (0, Position(0), Position(0));
            (state.told_left, state.former_landed_time) = (Time::ZERO, Time::ZERO);
            state.former_landed = LanePoint::default();
            if let Some(lane) = state.lanes_mut().first_mut() {
                lane.point = end;
            }
            if several {
                // It goes by the lane in which it has found that, alone, like any taker.
                let version = state.set.version + 1;
                state.count_set(FenceSet { epoch, version, ..FenceSet::of(&[lane], 1) });
                state.forget_asked();
            }
        });
        let why = Some(LossReason::MayBeAlone);
        let report = StartReport { epoch, lost_nothing: false, why, ..StartReport::default() };
        self.serve_outside(context, report, None, Some(change), true);
    }

    /// A split looks at the lane again only when it is asked to.
    fn look_anew<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Play::Fenced(rejoin) = &mut self.play {
            rejoin.close(context);
            **rejoin = Rejoin::new(self.config.clone(), None).behind(self.fenced_by);
        }
        self.on_tick(context);
    }

    /// An operator gives up what this site alone holds: it follows the one that replaced it.
    pub(super) fn resolve<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if self.split && unfenced::is_unfenced(self.store.get()) {
            self.split = false;
            return self.follow_anew(context);
        }
        if core::mem::take(&mut self.split) {
            (self.resolved, self.prevails) = (true, false);
            self.look_anew(context);
        } else {
            context.note(Note::Start(StartNote::Refused(StartRefusal::NotSplit)));
        }
    }

    /// A secondary that holds an exact cut needs no marks of an earlier time as primary.
    pub(super) fn forget_marks<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let state = self.store.get();
        let equal = state.pair == PairState::Paired && !state.left && self.store.is_idle();
        if let Some(tracker) = self.tracker.as_mut().filter(|tracker| equal && tracker.map().count() > 0) {
            tracker.clear_all();
            tracker.poke(context);
        }
    }
}
