//! The fence set as both sites record it (design §5, decision 0020): the primary asks, the secondary records first, and follows.

use alloc::boxed::Box;

use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::message::{FenceIntent, SetAsked};
use midspan_format::superblock::FenceSet;
use midspan_format::time::Time;

use super::{Group, Play};
use crate::lane::fencer::FencerEvent;
use crate::role::primary::Primary;
use crate::role::rejoin::Rejoin;
use crate::role::secondary::Secondary;
use crate::role::start::Start;
use crate::role::takeover::Asked;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

/// How long the lane that is read may be away before another one of the set is.
const TURN_NS: u64 = 2_000_000_000;
/// How long a site that was replaced looks at one lane before it looks at the next.
const LOOK_NS: u64 = 3_000_000_000;

/// What is under way with the set.
#[derive(Debug, Default)]
pub(super) struct Setting {
    /// The set that the other site is to be asked for, and the change that says so here.
    pub(super) asking: Option<(FenceSet, u64)>,
    /// A secondary begins anew, with another lane, when its operations have settled.
    moves: bool,
    /// A takeover that begins then.
    takeover: Option<Asked>,
    /// A lane that a takeover may have fenced before it turned to another one: it is given back, unless that one ends well.
    pub(super) owes: Option<NodeId>,
    /// A lane that does not count has this epoch, which is newer than the primary's: that one starts anew, with one that is newer still.
    pub(super) outgrown: Option<Epoch>,
    /// Of two lanes that share the data, the one that is not read is given back next.
    pub(super) gives_beside: bool,
    /// Since when the lane that is read is away.
    away_since: Option<u64>,
    /// When a site that was replaced began to look at the present lane.
    looks_since: u64,
}

impl<B: Buffer> Group<B> {
    /// Memory runs low: lets go of the oldest frame that is kept for another lane. `false` when there is none.
    pub fn shed(&mut self) -> bool {
        match &mut self.play {
            Play::Primary(primary) | Play::Opening(primary, _) => primary.shed(),
            Play::Starting(_)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => false,
        }
    }

    /// The primary starts anew, as its next process would: by the set that counts, in a newer epoch than any lane was found to have.
    pub(super) fn start_anew<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let beyond = self.setting.outgrown.take().unwrap_or(Epoch::NONE);
        let start = Start::new(self.config.clone(), &self.store).beyond(beyond);
        self.play = Play::Starting(Box::new(start));
        self.on_tick(context);
    }

    /// A primary's wishes for its set are recorded, told to the other site, and take effect when that has recorded them.
    pub(super) fn keep_set<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let (Play::Primary(primary) | Play::Opening(primary, _)) = &mut self.play else { return };
        if let Some(set) = primary.take_recorded() {
            primary.adopt_set(context, set);
            self.config.relay = set.first();
            self.setting.asking = None;
            self.store.change(context, |state| {
                state.count_set(set);
                state.forget_asked();
            });
            return;
        }
        if primary.has_met_both() {
            self.unbind(context);
        }
        let (Play::Primary(primary) | Play::Opening(primary, _)) = &mut self.play else { return };
        if let Some((set, change)) = self.setting.asking {
            if self.store.is_saved(change) {
                primary.ask_set(context, set, true);
                self.setting.asking = None;
            }
            return;
        }
        // A role is handed over in the lanes that there are; one that is lost may go.
        let hands_over = self.handover.is_some() && primary.lane_set().second().is_none();
        let departs = self.departs && self.relay_lost;
        if hands_over || departs || self.stopping || !self.store.is_idle() {
            return;
        }
        if let Some(set) = primary.wishes(context.now.mono, self.handover.is_some()) {
            rare!(AsksSet);
            primary.ask_set(context, set, false);
            let (landed, clock) = (primary.landed(), primary.clock());
            let change = self.store.change(context, |state| {
                state.asked = set;
                // A lane that is to count alone may not have the data of what this site's disks hold: no start needs that any more.
                (state.landed, state.landed_time) = landed;
                state.clock = state.clock.max(clock);
            });
            self.setting.asking = Some((set, change));
        }
    }

    /// This site is no primary any more: what it was about to ask for is not what it asks for when it is one again.
    pub(super) fn forget_asking(&mut self) {
        self.setting.asking = None;
    }

    /// Before anything is answered after a return, the other site records that this lane alone counts: a change may have been under
    /// way when the lanes were left, and a taker has chosen its lane alone.
    pub(super) fn settle_asked<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        primary: &mut Primary<B>,
    ) {
        let state = self.store.get();
        if self.config.lanes.len() < 2 {
            return;
        }
        primary.await_record();
        rare!(SettlesAsked);
        let (epoch, version) = (state.epoch, state.asked.version.max(state.set.version) + 1);
        let set = FenceSet { epoch, version, ..FenceSet::of(&[self.config.relay], 1) };
        primary.ask_set(context, set, false);
        let change = self.store.change(context, |state| state.asked = set);
        self.setting.asking = Some((set, change));
    }

    /// The primary asks this site to record a set. One whose takeover has begun does not, nor does one that is asked by an epoch
    /// which it has left behind. The change that records it.
    pub(super) fn on_set_asked<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        asked: &SetAsked,
    ) -> Option<u64> {
        let Play::Secondary(secondary) = &self.play else { return None };
        let state = self.store.get();
        let known = state.epoch.max(secondary.acquired().epoch);
        let set = asked.set;
        let is_current = asked.group == self.config.group
            // None: the very first start, of which nothing is recorded yet.
            && (asked.epoch.node == self.config.other_site() || !asked.epoch.is_held())
            && asked.epoch >= known
            && !state.handover;
        let mine = set.nodes.iter().all(|node| self.config.lanes.contains(node));
        let newer = (set.epoch, set.version) >= (state.set.epoch, state.set.version);
        if !is_current || !mine || !newer || self.is_bound_elsewhere(asked) || set.is_none() {
            rare!(SetAskedTooLate);
            return None;
        }
        let moves = !set.nodes.contains(&self.config.relay);
        let change = self.store.change(context, |state| {
            rare!(BoundLaneLeft if set.second().is_none() && state.bound != NodeId::NONE && !set.nodes.contains(&state.bound));
            state.count_set(set);
            state.epoch = asked.epoch;
            if moves {
                // The manifests of another lane are others, for the next process, too.
                state.manifest = Position(0);
            }
        });
        if moves {
            self.read_from(context, set.first());
        } else if let Play::Secondary(secondary) = &mut self.play {
            secondary.follow_set(context, &self.store);
        }
        Some(change)
    }

    /// Whether a takeover that was given back has read a lane that this set would leave out, or where the shorter one of two would count:
    /// it must not, unless the one that is asked for alone holds as much (I5, I6).
    pub(super) fn is_bound_elsewhere(&self, asked: &SetAsked) -> bool {
        let bound = self.store.get().bound;
        let goes_by_it = asked.set.nodes.contains(&bound) && !asked.set.is_striped();
        bound != NodeId::NONE && !goes_by_it && !self.may_let_go(asked)
    }

    /// Whether all that this site has of the lane that it is bound to stands in the one that is asked for. What an earlier process has
    /// left in the own ring, behind what it acquired, was sealed before this was said, and stands there, too.
    fn may_let_go(&self, asked: &SetAsked) -> bool {
        let Play::Secondary(secondary) = &self.play else { return false };
        let is_said = asked.holds > Position(0);
        rare!(BoundLaneKept if is_said && secondary.taken() > asked.holds);
        is_said && secondary.is_recovered() && secondary.taken() <= asked.holds
    }

    /// The secondary reads another lane from now on: what it has under way settles first.
    fn read_from<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, node: NodeId) {
        self.stop_giving(context);
        self.setting.away_since = None;
        let (Play::Secondary(mut secondary) | Play::TakingOver(mut secondary, _)) =
            core::mem::replace(&mut self.play, Play::Stopped)
        else {
            return;
        };
        rare!(ReadsOtherLane);
        secondary.close(context);
        let mut ended = Box::new(self.config.fencer(FenceIntent::Probe, self.store.get().epoch));
        ended.close(context);
        self.config.relay = node;
        self.setting.moves = true;
        self.play = Play::Aborting(secondary, ended, 0);
        self.on_aborted(context, FencerEvent::Nothing);
    }

    /// The change that a secondary which begins anew must wait for: with another lane, its manifests are others.
    pub(super) fn settle_set<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) -> u64 {
        if core::mem::take(&mut self.setting.moves) {
            return self.store.change(context, |state| state.manifest = Position(0));
        }
        0
    }

    /// A takeover has ended before it read the lane, or both lanes hold what was read in one: either one may be read again.
    pub(super) fn unbind<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if self.store.get().bound != NodeId::NONE {
            self.store.change(context, |state| state.bound = NodeId::NONE);
        }
    }

    /// A secondary that has begun anew may have a takeover to begin.
    pub(super) fn go_on_taking<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if matches!(self.play, Play::Secondary(_))
            && let Some(asked) = self.setting.takeover.take()
        {
            self.begin_takeover(context, asked);
        }
    }

    /// Where two lanes hold the journal either can be read: the other one, when the present one is away.
    pub(super) fn turn_to_other_lane<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let now = context.now.mono;
        let state = self.store.get();
        let set = state.set;
        // One that has left the lanes says what it does in the first of them.
        let has_left = state.left || state.told_left > Time::ZERO;
        if let Play::Secondary(secondary) = &self.play
            && let Some(node) = secondary.stands_beside()
        {
            rare!(FollowsLeave);
            return self.read_from(context, node);
        }
        // Who was handed the role may have read the other one, and says it there: what was told and is not read is looked for in both.
        let is_read = state.left || state.told_left == Time::ZERO;
        if has_left && is_read && !set.is_striped() && set.first() == self.config.relay {
            self.setting.away_since = None;
            return;
        }
        // Nor is it left while it gives more.
        let catches_up = |secondary: &Secondary<B>| secondary.acquired().position < secondary.heard();
        let looks = matches!(&self.play, Play::Secondary(secondary) if secondary.has_lane())
            && !is_read
            && set.first() == self.config.relay;
        let is_fed = matches!(&self.play, Play::Secondary(secondary) if looks && catches_up(secondary));
        if state.bound == self.config.relay || is_fed {
            self.setting.away_since = None;
            return;
        }
        let others = set.nodes.iter().copied().find(|node| *node != self.config.relay);
        let Some(other) = others.filter(|_| set.second().is_some()) else { return };
        let asked = match &self.play {
            Play::Secondary(secondary) if !secondary.has_lane() => None,
            // What is said is said elsewhere: by one that has left in the first lane, by one that was taken over by in the lane that it fenced.
            Play::Secondary(secondary)
                if !set.is_striped()
                    && (secondary.is_named_primary()
                        || has_left && (set.first() != self.config.relay || !is_read)) =>
            {
                rare!(TurnsToWhereItIsSaid);
                None
            }
            // Where lanes share the data, it takes both.
            Play::TakingOver(_, takeover) if takeover.waits_for_lane() && !set.is_striped() => {
                Some(takeover.asked())
            }
            Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => {
                self.setting.away_since = None;
                return;
            }
        };
        // What an earlier takeover fenced there is given back first.
        let gives = matches!(&self.play, Play::Secondary(secondary) if self.is_left_over(secondary));
        let patience = if gives || looks { 3 * TURN_NS } else { TURN_NS };
        if now < *self.setting.away_since.get_or_insert(now) + patience {
            return;
        }
        if let Play::TakingOver(_, takeover) = &mut self.play {
            takeover.close(context);
            // Its fence may have been decided there.
            self.setting.owes = Some(self.config.relay);
        }
        self.setting.takeover = asked;
        self.read_from(context, other);
    }

    /// A site that was replaced looks at the lanes one after the other: it does not know in which one it was.
    pub(super) fn look_at_next_lane<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let now = context.now.mono;
        let Play::Fenced(rejoin) = &mut self.play else {
            self.setting.looks_since = 0;
            return;
        };
        if self.config.lanes.len() < 2 || rejoin.is_reading() || self.split {
            self.setting.looks_since = now;
            return;
        }
        if self.setting.looks_since == 0 {
            self.setting.looks_since = now;
        }
        if now < self.setting.looks_since + LOOK_NS {
            return;
        }
        let lanes = &self.config.lanes;
        let at = lanes.iter().position(|node| *node == self.config.relay).map_or(0, |at| at + 1);
        let Some(next) = lanes.get(at % lanes.len()).copied() else { return };
        rare!(LooksAtNextLane);
        rejoin.close(context);
        let ends_there = rejoin.ends_there();
        self.config.relay = next;
        self.setting.looks_since = now;
        let point = crate::recovery::lineage::handed_at(self.store.get());
        let rejoin = Rejoin::new(self.config.clone(), point).behind(self.fenced_by);
        self.play = Play::Fenced(Box::new(rejoin.of_set(&self.store.get().set, ends_there)));
    }

    /// When one of these has something to do next.
    pub(super) fn set_due(&self) -> u64 {
        let away = self.setting.away_since.map_or(u64::MAX, |since| since + TURN_NS);
        match &self.play {
            Play::Fenced(_) if self.config.lanes.len() > 1 && !self.split => {
                self.setting.looks_since.saturating_add(LOOK_NS)
            }
            Play::Secondary(_) | Play::TakingOver(..) => away,
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => u64::MAX,
        }
    }
}
