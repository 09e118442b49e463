//! Out of the lanes and back: serving outside them, and the return with a round to run (design §4, §7).

use alloc::boxed::Box;
use alloc::vec::Vec;

use midspan_format::ids::{Epoch, NodeId};
use midspan_format::mark::RoundReason;
use midspan_format::message::RefusedReason;
use midspan_format::superblock::{GroupState, PairState, Role};

use super::{Group, Play};
use crate::role::facts::LaneFacts;
use crate::role::outside::{self, Outside};
use crate::role::primary::{Begin, Primary, Repair};
use crate::stage::round::Round;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note, StartNote, StartRefusal, StartReport};

impl<B: Buffer> Group<B> {
    pub(super) fn on_outside<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: outside::Outcome,
    ) {
        match outcome {
            outside::Outcome::Running => {}
            outside::Outcome::Entered(report) => {
                context.note(Note::Serving { epoch: report.epoch });
                context.note(Note::Start(StartNote::Done(report)));
            }
            outside::Outcome::Fenced { found, entered } => {
                if !entered {
                    let (node, reason) = (self.config.relay, RefusedReason::OlderEpoch);
                    context.note(Note::Start(StartNote::Refused(StartRefusal::LaneRefused { node, reason })));
                }
                context.note(Note::Fenced { ours: self.store.get().epoch, found });
                if let Play::Outside(outside) = &self.play
                    && self.store.get().set.is_striped()
                {
                    self.config.relay = outside.comeback().lane_node();
                }
                self.fenced_by = Some(found);
                self.finish_leaving(context);
            }
            outside::Outcome::Return(begin) => self.return_to_the_lanes(context, begin),
        }
    }

    /// The other site is there: from now on hosts are answered in the lanes, and a round brings it what differs.
    fn return_to_the_lanes<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, begin: Begin) {
        let Play::Outside(mut outside) = core::mem::replace(&mut self.play, Play::Stopped) else { return };
        self.config.relay = outside.comeback().lane_node();
        outside.leave(context);
        self.tracker = outside.take_tracker();
        let state = self.store.get();
        let first = state.takeover_epoch == Epoch::NONE;
        let reason = if first { RoundReason::InitialCopy } else { RoundReason::Resync };
        let mut primary = Box::new(Primary::new(self.config.clone(), begin));
        primary.remember(self.store.get());
        primary.establish();
        self.set_repair(&mut primary, reason);
        self.settle_asked(context, &mut primary);
        primary.on_tick(context);
        context.note(Note::BackInTheLanes);
        self.play = Play::Primary(primary);
    }

    /// The secondary has given up what it held, or lost it: all of it is sent.
    pub(super) fn send_all<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Play::Primary(primary) = &self.play else { return };
        if !primary.lacks_all() || self.handover.is_some() || self.departs || !self.store.is_idle() {
            return;
        }
        let Some(tracker) = self.tracker.as_mut() else { return };
        rare!(SendsAll);
        tracker.mark_all();
        self.begin_resync(context);
    }

    /// What is marked is sent by a round, and hosts go on in the lanes.
    pub(super) fn begin_resync<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.drop_verify(context);
        if let Some(tracker) = self.tracker.as_mut() {
            tracker.poke(context);
        }
        self.store.change(context, |state| (state.pair, state.round) = (PairState::Resync, 0));
        let volumes = self.config.volumes.iter().map(|volume| (volume.id, volume.size)).collect();
        if let (Play::Primary(primary), Some(tracker)) = (&mut self.play, self.tracker.take()) {
            primary.set_repair(Repair::new(Round::new(volumes), tracker, RoundReason::Resync));
            primary.hold_round(self.held);
        }
    }

    pub(super) fn set_repair(&mut self, primary: &mut Primary<B>, reason: RoundReason) {
        let volumes = self.config.volumes.iter().map(|volume| (volume.id, volume.size)).collect();
        if let Some(tracker) = self.tracker.take() {
            primary.set_repair(Repair::new(Round::new(volumes), tracker, reason));
            primary.hold_round(self.held);
        }
    }

    /// The ring is full for long, or its relay away, and the group may go on without it: what is sealed ends where it belongs, then hosts are
    /// answered outside the lanes (design §4).
    pub(super) fn leave_the_lanes<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Play::Primary(primary) = &mut self.play else { return };
        if !self.departs {
            let now = context.now.mono;
            let (full, lost) = (now >= primary.leaves_at(), now >= primary.lost_at());
            if !(full || lost) || self.handover.is_some() || self.stopping {
                return;
            }
            rare!(LeavesFullRing if full);
            self.departs = true;
            rare!(LeavesLostRelay if lost);
            self.relay_lost = lost;
            primary.depart(context, lost);
        }
        if primary.disk_failed() {
            rare!(LeavingDiskFailed);
            // What was answered will never be on these disks: nothing can be answered from them.
            self.departs = false;
            return if core::mem::take(&mut self.relay_lost) { self.leave(context) } else { primary.stay() };
        }
        if self.relay_lost {
            primary.take_waiting_reads(context);
        }
        if !primary.has_departed() || !self.store.is_idle() {
            return;
        }
        // First the marks, then that the lanes are left: a restart that believes the state must find them (I6).
        if self.relay_lost && !primary.mark_unreceived(context, self.tracker.as_mut()) {
            return;
        }
        self.departs = false;
        let (cut, heard) = (primary.clock(), primary.received());
        let waiting = primary.take_requests(context);
        let tracker = primary.take_tracker().or(self.tracker.take());
        let lost = core::mem::take(&mut self.relay_lost);
        let pair = if lost { PairState::Degraded } else { PairState::Suspended };
        let node = self.config.node;
        let change = self.store.change(context, |state| {
            // Marks of this site in the lane are those of a later epoch than its journal.
            state.takeover_epoch = Epoch { number: state.epoch.number + 1, node };
            (state.pair, state.left, state.left_cut) = (pair, true, cut);
            (state.clock, state.round) = (state.clock.max(cut), 0);
            state.acquired = state.acquired.max(heard.acquired);
        });
        context.note(Note::LeftTheLanes { full: !lost });
        self.go_by_asked(true);
        let mut outside = Outside::new(self.config.clone(), tracker, None, &self.store);
        outside.paused = self.held;
        self.play = Play::Outside(Box::new(outside.leaving(change, waiting)));
        self.on_tick(context);
    }

    /// Serves outside the lanes. `word`: an operator said so, and this change records it. `contested`: the other site may be a
    /// secondary that takes over, so the lane must say first that this one has.
    pub(super) fn serve_outside<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        report: StartReport,
        facts: Option<LaneFacts>,
        word: Option<u64>,
        contested: bool,
    ) {
        self.close_role(context);
        let facts = facts.filter(|facts| facts.ring.open);
        // A lane that takes nothing more can say nothing either.
        let contested = contested && (facts.is_some() || word.is_some());
        if !contested {
            context.note(Note::Serving { epoch: report.epoch });
            context.note(Note::Start(StartNote::Done(report)));
        }
        // Marked again at every start: an earlier process may not have got to the last block of the map.
        let first = self.store.get().pair == PairState::InitialCopy;
        self.go_by_asked(facts.is_none());
        let mut tracker = self.tracker.take();
        if let Some(tracker) = tracker.as_mut().filter(|_| first) {
            // The other site never held anything.
            tracker.mark_all();
            tracker.poke(context);
        }
        if first {
            self.store.change(context, |state| (state.left, state.answered) = (true, true));
        }
        let mut outside = Outside::new(self.config.clone(), tracker, facts, &self.store);
        if matches!(self.store.get().pair, PairState::Suspended | PairState::Degraded) {
            outside = outside.leaving(word.unwrap_or(0), Vec::new());
        }
        if word.is_some() {
            outside = outside.by_word();
        }
        if contested {
            outside = outside.entering(report);
        }
        outside.paused = self.held;
        self.play = Play::Outside(Box::new(outside));
        self.on_tick(context);
    }

    /// The way back is by the lane of a change that is asked for, or by one that counts, unless the lane is known already.
    fn go_by_asked(&mut self, may_choose: bool) {
        let state = self.store.get();
        let node = comes_back_by(state).or_else(|| {
            // A start that waits for its lane may have heard that another one counts.
            let counts = state.set.is_none() || state.set.nodes.contains(&self.config.relay);
            (!counts).then(|| state.set.first())
        });
        if let Some(node) = node.filter(|_| may_choose) {
            rare!(OutsideGoesByAsked if node != self.config.relay);
            self.config.relay = node;
        }
    }

    /// Holds the round that runs or is to come, or lets it go on.
    pub(super) fn hold_round(&mut self, held: bool) {
        self.held = held;
        match &mut self.play {
            Play::Primary(primary) | Play::Opening(primary, _) => primary.hold_round(held),
            Play::Outside(outside) => outside.paused = held,
            Play::Starting(_)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => {}
        }
    }
}

/// The lane by which a process goes first, as its site's state has it.
pub(super) fn begins_with(state: &GroupState) -> Option<NodeId> {
    // What a takeover was to read to its end is read on, and where the role was handed over is gone on.
    let bound = state.set.nodes.contains(&state.bound);
    let recorded = if bound { state.bound } else { state.set.first() };
    let back = comes_back_by(state).filter(|_| is_outside(state.pair));
    back.or((!state.set.is_none()).then_some(recorded))
}

/// The lane that was to count alone when the lanes were left, if a change was asked for: the other site may have recorded it, and goes by
/// no other one then. It holds all that the former ones do: it was asked for only then.
pub(super) fn comes_back_by(state: &GroupState) -> Option<NodeId> {
    let is_it = state.role == Role::Primary && !state.asked.is_none() && state.asked.second().is_none();
    is_it.then(|| state.asked.first())
}

/// Whether a primary in this state has answered hosts outside the lanes: then no journal is redone over what its disks hold.
pub(super) fn is_outside(pair: PairState) -> bool {
    match pair {
        PairState::TakenOver | PairState::InitialCopy | PairState::Suspended | PairState::Degraded => true,
        PairState::Simplex | PairState::Paired | PairState::Resync | PairState::Split | PairState::Fenced => {
            false
        }
    }
}
