//! Which lane a start goes by, where the recorded set leaves that open (decision 0020).
//!
//! Two cases. A change of the set was asked for, and whether the other site has recorded it is not known: it is asked again.
//! Or two lanes must hold a frame: where both end alike, either will do; where they do not, or one is away, frames may be in one of
//! them only, so the other site records first that this one alone counts (I5), and only then anything of it reaches a disk.

use alloc::vec::Vec;

use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::message::{FenceIntent, Fenced, FencedLane, Message, SetAsked};
use midspan_format::superblock::{FenceSet, GroupState};

use super::{Outcome, Start, Step};
use crate::lane::fencer::{Fencer, FencerEvent};
use crate::lane::site_link::{SiteEvent, SiteLink};
use crate::role::facts::{LaneFacts, recorded_behind};
use crate::role::site::SiteConfig;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, LinkId, Note};

/// How long a lane may take to answer, where the other one has.
const PROBE_NS: u64 = 2_000_000_000;
/// Pause before the other site is asked again.
const ASK_AGAIN_NS: u64 = 500_000_000;

/// The preparation.
#[derive(Debug)]
pub(super) struct Preparing {
    /// What the other site is asked to record, and the change that says so here; none while nothing is asked.
    asked: FenceSet,
    change: u64,
    said_at: u64,
    site_link: SiteLink,
    probes: Vec<Probe>,
    began: Option<u64>,
    /// Who had not answered when it was last looked at is away.
    was_late: bool,
    /// The change that made its outcome the set in force.
    recorded: Option<u64>,
    /// Both lanes share the data of frames: none will do without the other.
    shares: bool,
    /// The lane of a mirror in which the role was handed to this site, if the other one may end before that.
    bound: Option<NodeId>,
}

#[derive(Debug)]
struct Probe {
    fencer: Fencer,
    ring: Option<FencedLane>,
    /// It is not of the recorded journal, and holds nothing.
    is_new: bool,
}

impl Preparing {
    /// What must be settled first; `None` when the recorded set says it all.
    pub(super) fn new(config: &SiteConfig, store: &StateStore) -> Option<Self> {
        let state = store.get();
        if state.asked.is_none() && state.set.second().is_none() {
            return None;
        }
        let probe = |(index, node): (usize, &NodeId)| Probe {
            fencer: config.prober(u32::try_from(index).unwrap_or(0), *node, state.epoch),
            ring: None,
            is_new: false,
        };
        let nodes = if state.asked.is_none() { &state.set.nodes[..] } else { &[] };
        Some(Self {
            asked: state.asked,
            // A start of the same process may find it on its way to the disk (decision 0019, rule 5).
            change: store.newest(),
            said_at: 0,
            site_link: config.ask_link(state.epoch),
            probes: nodes.iter().enumerate().map(probe).collect(),
            began: None,
            was_late: false,
            recorded: None,
            shares: state.asked.is_none() && state.set.is_striped(),
            bound: state.set.nodes.contains(&state.bound).then_some(state.bound),
        })
    }

    /// When it must be looked at.
    pub(super) fn deadline(&self) -> u64 {
        let probes = self.probes.iter().map(|probe| probe.fencer.deadline()).min().unwrap_or(u64::MAX);
        let again = if self.said_at == 0 { u64::MAX } else { self.said_at + ASK_AGAIN_NS };
        let late = self.began.map_or(u64::MAX, |began| began + PROBE_NS);
        // Who is late is away, and stays so until something happens.
        let late = if self.asked.is_none() && !self.was_late { late } else { u64::MAX };
        probes.min(again).min(self.site_link.deadline()).min(late)
    }

    /// Whether the other site, which alone can say which lanes count, is away, or a lane that nothing goes on without.
    pub(super) fn is_cut_off(&self) -> bool {
        let away = !self.site_link.is_up() && self.recorded.is_none();
        away || self.shares && self.shorter().is_none()
    }

    /// Of two lanes that share, one that holds nothing of the journal any more, and how much the other one has.
    fn emptied(&self) -> Option<(NodeId, Position)> {
        let had = self.probes.iter().filter(|probe| !probe.is_new).filter_map(|probe| probe.ring).next()?;
        let emptied = self.probes.iter().find(|probe| probe.is_new)?;
        (had.journaled > Position(0)).then_some((emptied.fencer.node(), had.journaled))
    }

    /// The lane of a mirror that the other site has bound itself to, where another one is asked for, or that both share the data.
    fn other_is_bound(&self, store: &StateStore) -> Option<NodeId> {
        let (set, bound) = (store.get().set, self.site_link.bound());
        let is_other =
            self.asked.is_striped() || self.asked.second().is_none() && self.asked.first() != bound;
        let counts = set.second().is_some() && set.nodes.contains(&bound) && !set.is_striped();
        (bound != NodeId::NONE && is_other && counts && self.site_link.is_up()).then_some(bound)
    }

    /// Whether a lane answers.
    pub(super) fn is_up(&self) -> bool {
        self.probes.iter().any(|probe| probe.fencer.is_up())
    }

    fn owns(&self, link: LinkId) -> bool {
        link == self.site_link.id() || self.probes.iter().any(|probe| probe.fencer.id() == link)
    }

    pub(super) fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.site_link.close(context);
        for probe in &mut self.probes {
            probe.fencer.close(context);
        }
    }

    /// The lane that a start may go by at once, or the one that must count alone first. `late`: who has not answered is away.
    fn choose(&self, late: bool) -> Option<Result<NodeId, NodeId>> {
        if self.shares {
            return self.shorter().map(Ok);
        }
        let found: Vec<_> =
            self.probes.iter().filter_map(|probe| Some((probe.fencer.node(), probe.ring?))).collect();
        let end = |ring: &FencedLane| (ring.last.map_or(0, |last| last.checksum), ring.journaled);
        let rank = |ring: &FencedLane| (ring.last.map_or(Epoch::NONE, |last| last.epoch), ring.journaled);
        let best = found.iter().max_by_key(|(_, ring)| rank(ring))?;
        let all = found.len() == self.probes.len();
        let alike = found.iter().all(|(_, ring)| end(ring) == end(&best.1));
        let node = self.bound.unwrap_or(best.0);
        let is_there = found.iter().any(|(found, _)| *found == node);
        match (all, alike) {
            (true, true) => self.probes.first().map(|probe| Ok(probe.fencer.node())),
            (true, false) => Some(Err(node)),
            (false, _) => (late && is_there).then_some(Err(node)),
        }
    }
}

impl Preparing {
    /// Of two lanes that share the data of frames, the one that ends first; `None` as long as one is not known.
    fn shorter(&self) -> Option<NodeId> {
        let mut shortest: Option<(Position, bool, NodeId)> = None;
        for probe in &self.probes {
            let ring = probe.ring?;
            let end = (ring.journaled, ring.last.is_none(), probe.fencer.node());
            if !probe.is_new && shortest.is_none_or(|so_far| (end.0, end.1) < (so_far.0, so_far.1)) {
                shortest = Some(end);
            }
        }
        let lacks = self.probes.iter().any(|probe| probe.is_new);
        let ends = || self.probes.iter().filter(|probe| !probe.is_new).filter_map(|probe| probe.ring);
        if ends().any(|one| ends().any(|other| !one.may_share_with(&other))) {
            return None;
        }
        shortest.filter(|(end, ..)| !lacks || *end == Position(0)).map(|(_, _, node)| node)
    }
}

/// A fencer of the lane that a start goes by. An earlier start may have had it recorded that this lane counts alone, and have ended before
/// it fenced it: then the lane has an older epoch, and has forgotten nothing.
pub(super) fn first_fencer(config: &SiteConfig, store: &StateStore, was_prepared: bool) -> Fencer {
    let (intent, state) = (FenceIntent::Restart, store.get());
    let set = &state.set;
    let was_asked = set.version > 0 && set.second().is_none() && set.epoch == state.epoch;
    if was_prepared || was_asked && config.lanes.len() > 1 {
        config.lagging_fencer(intent, state.epoch)
    } else {
        config.fencer(intent, state.epoch)
    }
}

/// The newest epoch that this site has followed or left behind for sure, when it begins with the one of these facts: a further lane that has
/// no newer one may be taken. That an earlier start of its own took a higher number says nothing: it may have got no other lane than this
/// one, and the other site may have taken over by that other lane since.
pub(super) fn left_behind(facts: &LaneFacts, state: &GroupState, me: NodeId) -> Epoch {
    let foreign = |epoch: Epoch| if epoch.node == me { Epoch::NONE } else { epoch };
    let last = facts.ring.last.map_or(Epoch::NONE, |last| foreign(last.epoch));
    foreign(facts.found).max(last).max(recorded_behind(state, me))
}

impl<B: Buffer> Start<B> {
    /// A fencer of the lane that it goes by.
    pub(super) fn new_fencer(&self, store: &StateStore) -> Fencer {
        first_fencer(&self.config, store, self.was_prepared).beyond(self.beyond)
    }

    /// Whether the link belongs to the preparation.
    pub(super) fn prepares_by(&self, link: LinkId) -> bool {
        matches!(&self.step, Step::Preparing(preparing) if preparing.owns(link))
    }

    /// An event of one of its links.
    pub(super) fn on_preparing<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<B>,
        store: &mut StateStore,
    ) -> Outcome {
        let Step::Preparing(preparing) = &mut self.step else { return Outcome::Running };
        if link == preparing.site_link.id() {
            let event = preparing.site_link.on_link(context, event);
            let told = preparing.site_link.epoch();
            if told > store.get().epoch && told.node == self.config.other_site() {
                return Outcome::Fenced(told);
            }
            if let SiteEvent::Recorded(recorded) = event
                && preparing.asked.is_of(recorded.epoch, recorded.version)
                && preparing.recorded.is_none()
            {
                let set = preparing.asked;
                preparing.recorded = Some(store.change(context, |state| {
                    state.count_set(set);
                    state.forget_asked();
                }));
            }
            return self.go_on_preparing(context, store);
        }
        let Some(probe) = preparing.probes.iter_mut().find(|probe| probe.fencer.id() == link) else {
            return Outcome::Running;
        };
        match probe.fencer.on_link(context, event) {
            FencerEvent::Probed(fenced) => {
                let node = probe.fencer.node();
                if self.is_replaced(&fenced, store) {
                    self.config.relay = node;
                    return Outcome::Fenced(fenced.epoch);
                }
                self.on_surveyed(context, node, &fenced, store);
            }
            FencerEvent::Forgotten(_) => {
                let (node, found) = (probe.fencer.node(), Position(0));
                let had = store.get().lanes().first().map_or(found, |lane| lane.point.position);
                context.note(Note::LaneLost { node, had, found });
            }
            FencerEvent::Nothing
            | FencerEvent::Done(_)
            | FencerEvent::Foreign(_)
            | FencerEvent::Released
            | FencerEvent::Refused(_) => {}
        }
        self.go_on_preparing(context, store)
    }

    /// Another node has taken a newer epoch there, and has not given it back.
    fn is_replaced(&self, fenced: &Fenced, store: &StateStore) -> bool {
        let (found, me) = (fenced.epoch, self.config.node);
        let given_back = fenced.released && fenced.former == me;
        found.is_held() && found.node != me && found > store.get().epoch && !given_back
    }

    fn on_surveyed<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        node: NodeId,
        fenced: &Fenced,
        store: &StateStore,
    ) {
        let known = store.get().lanes().first().map(|lane| lane.ring).unwrap_or_default();
        let facts = LaneFacts::new(fenced, self.config.lane).filter(|facts| facts.ring.open);
        let Some(ring) = facts.map(|facts| facts.ring) else { return };
        // The set began with empty lanes, or this is the journal that was recorded.
        let fits = known == ring.area || known == midspan_format::ids::AreaId::NONE;
        let shares = matches!(&self.step, Step::Preparing(preparing) if preparing.shares);
        let is_new = shares && !fits && ring.journaled == Position(0);
        if !fits && !is_new {
            return context.note(Note::LaneLost { node, had: ring.journaled, found: Position(0) });
        }
        if let Step::Preparing(preparing) = &mut self.step
            && let Some(probe) = preparing.probes.iter_mut().find(|probe| probe.fencer.node() == node)
        {
            (probe.ring, probe.is_new) = (Some(ring), is_new);
        }
    }

    /// Goes on when something of the preparation has become possible.
    pub(super) fn go_on_preparing<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) -> Outcome {
        let now = context.now.mono;
        let Step::Preparing(preparing) = &mut self.step else { return Outcome::Running };
        let began = *preparing.began.get_or_insert(now);
        preparing.site_link.on_tick(context);
        for probe in &mut preparing.probes {
            probe.fencer.on_tick(context);
        }
        if let Some(change) = preparing.recorded {
            if store.is_saved(change) {
                let set = store.get().set;
                context.note(Note::LaneSet { set });
                if let Some(next) = Preparing::new(&self.config, store) {
                    // Two lanes count: which of them it goes by is looked at as ever.
                    preparing.close(context);
                    *preparing = next;
                    return self.go_on_preparing(context, store);
                }
                return self.go_by(context, set.first(), store);
            }
            return Outcome::Running;
        }
        if !preparing.asked.is_none() {
            if !preparing.site_link.is_up() {
                preparing.said_at = 0;
            }
            let due = now >= preparing.said_at.saturating_add(ASK_AGAIN_NS) || preparing.said_at == 0;
            if let Some(bound) = preparing.other_is_bound(store) {
                // Nothing is asked again before that lane answers, or the other site is not bound any more.
                preparing.said_at = 0;
                return self.ask_for_bound(context, bound, store);
            }
            if due && store.is_saved(preparing.change) && preparing.site_link.is_up() {
                rare!(StartAsksSet);
                preparing.said_at = now;
                let (group, epoch, set) = (self.config.group, store.get().epoch, preparing.asked);
                // What the lanes held that are not there nobody knows now: a site that is bound stays so.
                let asked = SetAsked { group, epoch, set, holds: Position(0) };
                preparing.site_link.say(context, Message::SetAsked(asked));
            }
            return Outcome::Running;
        }
        preparing.was_late = now >= began + PROBE_NS;
        match preparing.choose(preparing.was_late) {
            Some(Ok(node)) => return self.go_by(context, node, store),
            Some(Err(node)) if preparing.site_link.is_up() => {
                let state = store.get();
                let (epoch, version) = (state.epoch, state.set.version + 1);
                let set = FenceSet { epoch, version, ..FenceSet::of(&[node], 1) };
                preparing.asked = set;
                preparing.change = store.change(context, |state| state.asked = set);
            }
            Some(Err(_)) => {}
            None => {
                let waits_for = preparing.bound.filter(|_| preparing.was_late);
                if let Some((node, had)) = preparing.emptied() {
                    self.say_emptied(context, node, had);
                } else if let Some(node) = waits_for {
                    rare!(StartWaitsForBound);
                    self.say_once(context, Note::LaneDown { node });
                }
            }
        }
        Outcome::Running
    }

    /// The other site has read the lane at `bound`, and does not record that the other one counts alone. Each lane of a mirror
    /// holds everything that was answered: where that one is there, it is asked for instead.
    fn ask_for_bound<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        bound: NodeId,
        store: &mut StateStore,
    ) -> Outcome {
        let Step::Preparing(preparing) = &mut self.step else { return Outcome::Running };
        if !preparing.probes.iter().any(|probe| probe.fencer.node() == bound) {
            let fencer = self.config.prober(0, bound, store.get().epoch);
            preparing.probes.push(Probe { fencer, ring: None, is_new: false });
        }
        for probe in &mut preparing.probes {
            probe.fencer.on_tick(context);
        }
        let of_bound = preparing.probes.iter().find(|probe| probe.fencer.node() == bound);
        if of_bound.is_some_and(|probe| probe.ring.is_some()) {
            rare!(StartAsksForBound);
            for probe in &mut preparing.probes {
                probe.fencer.close(context);
            }
            preparing.probes.clear();
            let (epoch, version) = (store.get().epoch, preparing.asked.version + 1);
            let set = FenceSet { epoch, version, ..FenceSet::of(&[bound], 1) };
            (preparing.asked, preparing.said_at) = (set, 0);
            preparing.change = store.change(context, |state| state.asked = set);
        } else if of_bound.is_some_and(|probe| !probe.fencer.is_up())
            && preparing.began.is_some_and(|began| context.now.mono >= began + PROBE_NS)
        {
            // This is what the start waits for, whatever else is there.
            self.say_once(context, Note::LaneDown { node: bound });
        }
        Outcome::Running
    }

    /// A lane without which nothing goes on was lost with its disk.
    fn say_emptied<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        node: NodeId,
        had: Position,
    ) {
        let why = Note::LaneLost { node, had, found: Position(0) };
        self.damaged = Some(Position(0));
        rare!(StartFindsEmptied if self.obstacle.as_ref() != Some(&why));
        self.say_once(context, why);
    }

    /// The start goes by this lane.
    fn go_by<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        node: NodeId,
        store: &mut StateStore,
    ) -> Outcome {
        if let Step::Preparing(preparing) = &mut self.step {
            preparing.close(context);
        }
        self.config.relay = node;
        self.was_prepared = true;
        self.fencer = self.new_fencer(store);
        self.step = Step::Fencing;
        self.on_tick(context, store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::buffer::fixture::Heap;
    use crate::vocab::effect::{Effects, Now};

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(3);

    fn epoch(number: u64, node: NodeId) -> Epoch {
        Epoch { number, node }
    }

    /// A restarted in 8 and fenced one lane of a mirror; B, which knew of 6, took over by the other one in 7; A restarts again.
    #[test]
    fn a_takeover_by_the_other_lane_is_not_left_behind_by_a_start_that_has_fenced_one_lane_only() {
        let facts = LaneFacts { found: epoch(8, A), epoch: epoch(9, A), ..LaneFacts::default() };
        let set = FenceSet { epoch: epoch(4, A), ..FenceSet::of(&[NodeId(2), NodeId(4)], 2) };
        let state = GroupState { epoch: epoch(9, A), set, ..GroupState::default() };
        assert!(left_behind(&facts, &state, A) < epoch(7, B));
    }

    #[test]
    fn what_the_other_site_handed_over_is_left_behind() {
        let facts = LaneFacts { found: epoch(8, A), epoch: epoch(9, A), ..LaneFacts::default() };
        let state = GroupState { epoch: epoch(9, A), handover_epoch: epoch(7, B), ..GroupState::default() };
        assert_eq!(left_behind(&facts, &state, A), epoch(7, B));
        let facts = LaneFacts { found: epoch(7, B), epoch: epoch(8, A), ..LaneFacts::default() };
        assert_eq!(left_behind(&facts, &GroupState::default(), A), epoch(7, B));
    }

    /// The same process has changed its state a moment ago: what it asks for must be durable first (decision 0019, rule 5).
    #[test]
    fn a_start_asks_for_no_set_before_that_is_durable() {
        let config = crate::role::site::fixture::config();
        let (mut buffers, mut effects) = (Heap, Effects::with_capacity(8));
        let now = Now { mono: 1, wall: 1 };
        let mut context = Context { now, buffers: &mut buffers, effects: &mut effects };
        let mut store = StateStore::new(GroupState::default(), 0);
        store.change(&mut context, |state| {
            state.asked = FenceSet { version: 1, ..FenceSet::of(&[NodeId(2)], 1) };
        });
        let asks =
            |store: &StateStore| Preparing::new(&config, store).is_some_and(|p| store.is_saved(p.change));
        assert!(!asks(&store));
        store.on_disk(&mut context, false);
        assert!(asks(&store));
    }
}
