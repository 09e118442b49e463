//! The change of the set itself: what the other site is asked to record, and what follows when it has (decision 0020).

use midspan_format::area::AreaKind;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::message::{Message, SessionKind, SetAsked};
use midspan_format::superblock::FenceSet;

use super::{AGAIN_NS, ASK_AGAIN_NS, AskedFor, LOST_NS};
use crate::lane::reader::Reader;
use crate::lane::writer::Writer;
use crate::role::policy::LanePolicy;
use crate::role::primary::Primary;
use crate::stage::receipts::Receipts;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note};

impl<B: Buffer> Primary<B> {
    /// The set that the other site is to be asked for now: everything that it needs is true. `may_wait`: what nobody needs now is not asked for.
    pub fn wishes(&self, now: u64, may_wait: bool) -> Option<FenceSet> {
        let lanes = &self.lanes;
        let told = self.site_link.as_ref().is_some_and(|site| site.is_up());
        // While the role is handed over, a lane that is lost may go, and none comes.
        let hands_over = self.handover.is_some() && lanes.set.second().is_none();
        let departs = self.departs && self.ring.is_closed();
        if !told || self.closed || departs || hands_over {
            return None;
        }
        if let Some(asked) = &lanes.asked {
            let bound = self.for_bound(Some(asked.set))?;
            rare!(AsksForBound);
            let version = asked.set.version + 1;
            return Some(FenceSet { epoch: self.epoch, version, ..FenceSet::of(&[bound], 1) });
        }
        let first = self.ring.node();
        let next = |nodes: &[NodeId]| {
            let shared = self.config.lane_policy == LanePolicy::Stripe;
            let k = if shared { 1 } else { u8::try_from(nodes.len()).unwrap_or(1) };
            let version = lanes.set.version + 1;
            Some(FenceSet { epoch: self.epoch, version, ..FenceSet::of(nodes, k) })
        };
        if let Some(second) = lanes.set.second() {
            let first_lost = self.lost_since.is_some_and(|since| now >= since + LOST_NS);
            let second_lost = lanes.second_lost.is_some_and(|since| now >= since + LOST_NS);
            return match (first_lost, second_lost) {
                (true, false) if self.second_has_all() && self.holds_all_data(false) => next(&[second]),
                (false, true) if self.ring.is_up() && self.holds_all_data(true) => next(&[first]),
                (false, false) if may_wait => None,
                (false, false) => self.other_kind().and_then(|nodes| next(&nodes)),
                (true | false, _) => None,
            };
        }
        let doubled_at = lanes.doubled_at?;
        let second = lanes.second.as_ref()?;
        let filled = self.second_is_good() && second.journaled() >= Some(doubled_at) && second.has_frames();
        let want = self.want(now)?;
        match (filled, want.beside) {
            (false, _) => None,
            // Either is read then, as far as its frames say: what was sealed before they did must be in both.
            (true, true) if self.ring.journaled() < doubled_at => None,
            (true, true) => next(&[first, second.node()]),
            // What the first lane may hold, the second must: also where nobody was answered for it.
            (true, false) => next(&[second.node()]),
        }
    }

    /// Whether the second lane holds everything that was sealed: the first one may hold as much.
    fn second_has_all(&self) -> bool {
        let (Some(second), Some(tip)) = (self.lanes.second.as_ref(), self.ring.tip()) else { return false };
        self.second_is_good() && second.journaled() >= Some(tip.position)
    }

    /// The other site is to be asked for a set; `saved` when that is durable here.
    pub fn ask_set<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, set: FenceSet, saved: bool) {
        self.lanes.asked = Some(AskedFor { set, saved, said_at: 0 });
        self.ask_again(context);
    }

    pub(super) fn ask_again<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let now = context.now.mono;
        let (epoch, group) = (self.epoch, self.config.group);
        let holds = self.lanes.asked.map_or(Position(0), |asked| self.held_alone(&asked.set));
        if self.lanes.second.is_none()
            && now >= self.lanes.try_at
            && let Some(node) = self.lanes.asked.and_then(|asked| self.missing_of(&asked.set))
        {
            self.begin_second(context, node);
        }
        let (Some(asked), Some(site)) = (self.lanes.asked.as_mut(), self.site_link.as_mut()) else { return };
        if !site.is_up() {
            asked.said_at = 0;
        }
        let due = asked.said_at == 0 || now >= asked.said_at.saturating_add(ASK_AGAIN_NS);
        if asked.saved && site.is_up() && due {
            asked.said_at = now;
            site.say(context, Message::SetAsked(SetAsked { group, epoch, set: asked.set, holds }));
        }
    }

    /// Where the lane ends of a mirror that is to count alone, if it holds everything that was ever sealed: nobody has read more in the other
    /// one. `0`: not so, or not known. A lane that was not met in this role, or left for the dirty map, may hold more than this role has sealed.
    fn held_alone(&self, asked: &FenceSet) -> Position {
        let set = &self.lanes.set;
        let leaves_mirror = set.second().is_some() && !set.is_striped() && asked.second().is_none();
        let is_known = leaves_mirror && self.lanes.both_met && !self.lanes.held_back;
        let Some(tip) = self.ring.tip().filter(|_| is_known) else { return Position(0) };
        let has_all = match asked.first() == self.ring.node() {
            true => self.ring.is_up() && self.ring.journaled() >= tip.position,
            false => self.second_has_all(),
        };
        if has_all { tip.position } else { Position(0) }
    }

    /// Whether both lanes of the set that counts have been there in this role, and go on with its chain.
    pub fn has_met_both(&self) -> bool {
        self.lanes.both_met
    }

    /// The other site is bound to one lane of a mirror, and may not record that another set takes its place: that lane alone does, if it is there.
    pub(super) fn for_bound(&self, asked: Option<FenceSet>) -> Option<NodeId> {
        let bound = self.site_link.as_ref()?.bound();
        let set = &self.lanes.set;
        let counts = set.second().is_some() && !set.is_striped() && set.nodes.contains(&bound);
        let is_other = asked.is_none_or(|asked| asked.second().is_some() || asked.first() != bound);
        let second = self.lanes.second.as_ref().filter(|second| second.node() == bound);
        let is_there = if bound == self.ring.node() {
            self.ring.is_up()
        } else {
            second.is_some() && self.second_is_good()
        };
        (counts && is_other && is_there).then_some(bound)
    }

    /// Whether the lane at `node` is in the set, or in the one that is asked for.
    pub(super) fn counts(&self, node: NodeId) -> bool {
        let asked = self.lanes.asked.is_some_and(|asked| asked.set.nodes.contains(&node));
        asked || self.lanes.set.nodes.contains(&node)
    }

    /// The epoch of a lane that does not count, which the next start is to go beyond: this role has closed for it.
    pub fn outgrown(&self) -> Option<Epoch> {
        self.lanes.outgrown
    }

    /// The lane of a set, or of the one in force, that is not written as the first one.
    fn missing_of(&self, asked: &FenceSet) -> Option<NodeId> {
        let all = asked.nodes.iter().chain(self.lanes.set.nodes.iter()).copied();
        all.into_iter().find(|node| *node != self.ring.node())
    }

    /// The set that the other site has recorded, once it has: it counts alone from now on.
    pub fn take_recorded(&mut self) -> Option<FenceSet> {
        let (asked, recorded) = (self.lanes.asked?, self.lanes.recorded?);
        if !asked.set.is_of(recorded.epoch, recorded.version) {
            self.lanes.recorded = None;
            return None;
        }
        // Nothing is written but to the lanes of the set: the one that it names must be there.
        let named = asked.set.first();
        let second = self.lanes.second.as_ref().filter(|second| second.node() == named);
        let is_there = named == self.ring.node() || second.is_some_and(|second| second.journaled().is_some());
        is_there.then_some(asked.set)
    }

    /// A set that both sites have recorded counts alone.
    pub fn adopt_set<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, set: FenceSet) {
        (self.lanes.set, self.lanes.asked, self.lanes.recorded) = (set, None, None);
        self.lanes.both_met = false;
        self.lanes.held_back = false;
        self.lanes.tried = 0;
        self.lanes.try_at = context.now.mono + AGAIN_NS;
        if set.first() != self.ring.node() {
            self.change_first(context);
        }
        if set.second().is_none() {
            self.lanes.doubled_at = None;
            if let Some(mut second) = self.lanes.second.take() {
                second.close(context);
            }
            self.sealer.mark_doubled(false);
            self.ring.tell_answerable(context, Position::BEYOND);
        }
        self.settle_stripe(&set);
        context.note(Note::LaneSet { set });
        self.on_progress(context);
        self.proceed(context);
    }

    /// The second lane takes the first one's place; manifests and receipts go with it (claims 9 and 19).
    fn change_first<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(second) = self.lanes.second.take() else { return };
        let (node, side) = (second.node(), second.side());
        let Some(writer) = second.into_writer() else { return };
        self.ring.close(context);
        (self.ring, self.lanes.side, self.config.relay) = (writer, side, node);
        self.lost_since = None;
        let (pace, limits) = (self.config.pace, self.config.limits);
        self.manifest_writer.close(context);
        let hello = self.config.hello(SessionKind::Append, AreaKind::Manifest, AreaId::NONE, self.epoch);
        let link = self.config.manifest_link(side);
        self.manifest_writer = Writer::new(link, node, hello, pace, None, limits.frames);
        self.manifests.begin_elsewhere();
        if let Some(mut recall) = self.recall.take() {
            recall.close(context);
        }
        let hello = self.config.hello(SessionKind::Fetch, AreaKind::Receipt, AreaId::NONE, self.epoch);
        let link = self.config.receipt_link(side);
        let by_relay = self.config.control.by_relay();
        let reader = by_relay.then(|| Reader::new(link, node, hello, pace, 4));
        let mut receipts = Receipts::new(reader, self.config.lane, pace.poll_ms);
        core::mem::swap(&mut receipts, &mut self.receipts);
        receipts.close(context);
        self.receipts.go_on_from(receipts);
    }
}
