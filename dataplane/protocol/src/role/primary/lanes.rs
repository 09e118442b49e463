//! The primary's lane set (design §5, decision 0020): which lanes hold the journal, and the way from one set to the next.
//!
//! ```text
//!  a lane is lost, or wanted ─▶ second lane: fence, begin, fill from memory ─▶ both must hold a frame ─▶ ask the other site
//!                                                                                     the new set alone counts ◀─ it has recorded
//! ```
//! Add before use, remove after: from the moment at which a set is asked for until the other site has recorded it, only what the
//! old *and* the new set allow is answered (I1, I5).

mod changing;
mod striping;

use alloc::boxed::Box;
use alloc::rc::Rc;

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::message::SetRecorded;
use midspan_format::superblock::{FenceSet, GroupState};

use self::striping::Stripe;
use super::Primary;
use super::begin::Begin;
use super::second::{Second, SecondEvent};
use crate::role::policy::{LanePolicy, Wanted, wanted};
use crate::stage::resend::Resend;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Frame, LinkEvent, Note};

/// How long a lane may be away before another is looked for.
const LOST_NS: u64 = 1_000_000_000;
/// How long the node of a further lane may take to answer.
const ANSWER_NS: u64 = 1_200_000_000;
/// How long a further lane may take until it holds what it must.
const JOIN_NS: u64 = 4_000_000_000;
/// Pause before a further lane is tried again.
const AGAIN_NS: u64 = 200_000_000;
/// How long a lane that is preferred to the present one is left alone before it is tried.
const RETURN_NS: u64 = 10_000_000_000;
/// Pause before the other site is asked again.
const ASK_AGAIN_NS: u64 = 500_000_000;

/// A change that the other site is asked to record.
#[derive(Clone, Copy, Debug)]
struct AskedFor {
    set: FenceSet,
    /// It is durable here that this is asked for.
    saved: bool,
    said_at: u64,
}

/// The lane set, and what is under way to change it.
#[derive(Debug)]
pub(super) struct Lanes<B> {
    set: FenceSet,
    asked: Option<AskedFor>,
    recorded: Option<SetRecorded>,
    second: Option<Box<Second<B>>>,
    /// Everything before was sealed while one lane sufficed; what comes behind must be in both.
    doubled_at: Option<Position>,
    /// Answerable before it, while both count.
    floor: Position,
    /// The other site may go by another set: nothing more is answered until it has recorded this one.
    held_back: bool,
    resend: Resend<B>,
    /// How two lanes share the data of frames, if they do.
    stripe: Stripe,
    /// A lane that is in no set may hold heads without data.
    has_shared: bool,
    /// Both lanes of the set that counts have been there in this role: neither holds what this site knows nothing of.
    both_met: bool,
    /// The last frame of the journal when this role began.
    last: Option<FrameHeader>,
    /// Which links the first lane uses.
    side: u32,
    /// Newest epoch that this site had followed or left behind before it began with the present one.
    known: Epoch,
    /// Since when the second lane does not do what it must.
    second_lost: Option<u64>,
    /// The candidates that were tried in vain, one after the other.
    tried: usize,
    try_at: u64,
    /// A lane that does not count has this newer epoch: it can be used from the next start on, which takes one that is newer still.
    outgrown: Option<Epoch>,
}

impl<B: Buffer> Lanes<B> {
    /// `floor`: known to have been in as many lanes as an answer needs.
    pub(super) fn new(first: NodeId, begin: &Begin, floor: Position, resend_bytes: u64) -> Self {
        Self {
            set: FenceSet::of(&[first], 1),
            asked: None,
            recorded: None,
            second: None,
            doubled_at: None,
            floor,
            held_back: false,
            resend: Resend::new(resend_bytes),
            stripe: Stripe::Off,
            has_shared: false,
            both_met: false,
            last: begin.last,
            side: 0,
            known: begin.known,
            second_lost: None,
            tried: 0,
            try_at: 0,
            outgrown: None,
        }
    }

    /// Whether a frame must be in both lanes before it is answered.
    pub(super) fn is_doubled(&self) -> bool {
        self.doubled_at.is_some() || self.set.second().is_some()
    }

    pub(super) fn set_recorded(&mut self, recorded: SetRecorded) {
        self.recorded = Some(recorded);
    }

    pub(super) fn deadline(&self) -> u64 {
        let second = self.second.as_ref().map_or(u64::MAX, |second| second.deadline());
        // What is not saved yet, or cannot be told, is said when that changes.
        let said = self.asked.filter(|asked| asked.said_at > 0);
        second.min(said.map_or(u64::MAX, |asked| asked.said_at + ASK_AGAIN_NS))
    }
}

impl<B: Buffer> Primary<B> {
    /// The lane set as recorded, and the journal's place in it when this role began.
    pub(super) fn begin_lanes(&mut self, state: &GroupState) {
        if !state.set.is_none() {
            self.lanes.set = state.set;
        }
        self.lanes.has_shared = state.has_shared() || self.config.lane_policy == LanePolicy::Stripe;
        if self.lanes.set.second() == Some(self.ring.node()) {
            self.lanes.set.nodes.reverse();
        }
        if self.lanes.is_doubled() {
            self.ring.preset_answerable(self.lanes.floor);
            self.sealer.mark_doubled(true);
        }
        self.await_stripe();
    }

    /// From now on this epoch is established: lanes with older ones are replaced whoever held them.
    pub fn establish(&mut self) {
        self.lanes.known = self.epoch;
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// Nothing more is answered until the other site has recorded the set that it is asked for.
    pub fn await_record(&mut self) {
        self.lanes.floor = self.lanes.floor.max(self.ring.journaled());
        self.lanes.held_back = true;
        self.drop_stripe();
    }

    /// The lane set in force.
    pub fn lane_set(&self) -> FenceSet {
        self.lanes.set
    }

    /// Whether a change of the set is under way whose outcome is not known.
    pub fn is_asking(&self) -> bool {
        self.lanes.asked.is_some()
    }

    /// In how many lanes a write is before it is answered.
    pub fn lanes_holding(&self) -> u8 {
        if self.lanes.is_doubled() { 2 } else { 1 }
    }

    /// Bytes of frames that are kept in memory for another lane.
    pub fn resend_bytes(&self) -> u64 {
        self.lanes.resend.bytes()
    }

    /// The second lane, as long as there is one: its node, and whether it holds what it must.
    pub fn second_lane(&self) -> Option<(NodeId, bool)> {
        let second = self.lanes.second.as_ref()?;
        Some((second.node(), self.second_is_good()))
    }

    /// Memory runs low: lets go of the oldest frame that another lane would get. `false` when there is none.
    pub fn shed(&mut self) -> bool {
        self.lanes.resend.shed()
    }

    /// What is durable in as many lanes as an answer needs.
    pub(super) fn journaled(&self) -> Position {
        let floor = self.lanes.is_doubled() || self.lanes.held_back;
        if floor { self.lanes.floor } else { self.ring.journaled() }
    }

    /// Frames that some lane has not acknowledged.
    pub(super) fn pending(&self) -> usize {
        if !self.lanes.is_doubled() {
            return self.ring.pending();
        }
        // A lane that is away lacks what it was not sent.
        let lacks = self.ring.tip().is_some_and(|tip| tip.position > self.lanes.floor);
        let second = self.lanes.second.as_ref().map_or(0, |second| second.pending());
        self.ring.pending().max(second).max(usize::from(lacks))
    }

    /// Bytes that every lane has room for.
    pub(super) fn ring_size(&self) -> u64 {
        let second = self.lanes.second.as_ref().and_then(|second| second.size());
        self.ring.size().min(second.unwrap_or(u64::MAX))
    }

    /// Sending time of the newest request that as many lanes as an answer needs have answered.
    pub(super) fn confirmed_at(&self) -> u64 {
        let first = if self.lanes.held_back { 0 } else { self.ring.confirmed_at() };
        if !self.lanes.is_doubled() {
            return first;
        }
        let second = self.lanes.second.as_ref().filter(|_| self.second_is_good());
        first.min(second.map_or(0, |second| second.confirmed_at()))
    }

    /// Whether all lanes that an answer needs are connected.
    pub(super) fn lanes_are_up(&self) -> bool {
        self.ring.is_up() && (!self.lanes.is_doubled() || self.second_is_good())
    }

    /// Oldest position that a lane which begins must hold: the secondary has acquired what lies before, and it is on this
    /// site's disks, flushed. That a lane begins there says so to a start that reads it.
    fn filled_from(&self) -> Position {
        self.receipts.newest.acquired.min(self.landing.landed().0)
    }

    fn second_is_good(&self) -> bool {
        let needed = self.filled_from();
        self.lanes.second.as_ref().is_some_and(|second| second.is_up() && second.holds(needed))
    }

    /// A sealed frame goes to every lane.
    pub(super) fn put<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, frame: &Rc<Frame<B>>) {
        self.ring.append(context, Rc::clone(frame));
        if let Some(writer) = self.lanes.second.as_mut().and_then(|second| second.writer()) {
            writer.append(context, Rc::clone(frame));
        }
        let sealer = &mut self.sealer;
        self.lanes.resend.push(frame, |gone| sealer.recycle_last(gone));
    }

    /// A frame that nobody waits for any more: its memory is used again, unless another lane may still need it.
    pub(super) fn forget_received(&mut self) {
        let needed = self.needed_from();
        let sealer = &mut self.sealer;
        self.lanes.resend.forget(needed, |gone| sealer.recycle_last(gone));
    }

    /// Whether frames are kept beyond what this site itself needs.
    pub(super) fn keeps_frames(&self) -> bool {
        self.lanes.resend.is_used() || self.lanes.second.is_some()
    }

    /// A lane's prefix moved: what both hold is answerable, and their readers are told so.
    pub(super) fn raise_floor<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if !self.lanes.is_doubled() {
            return;
        }
        let needed = self.filled_from();
        // Of lanes that share, one that is away may come back with another disk: the other one has the head only.
        let shares = self.lanes.stripe != Stripe::Off;
        if shares && !self.ring.is_up() {
            return;
        }
        let counts = |second: &Second<B>| second.holds(needed) && (!shares || second.is_up());
        let Some(second) = self.lanes.second.as_mut().filter(|second| counts(second)) else { return };
        let both = second.journaled().unwrap_or_default().min(self.ring.journaled());
        self.lanes.floor = self.lanes.floor.max(both);
        // While more is on its way, the next frame's header says it.
        if self.ring.tip().is_some_and(|tip| tip.position == self.lanes.floor) {
            self.say_answerable(context);
        }
    }

    /// What is about to be listed can be read: the lanes know that both hold it.
    pub(super) fn say_answerable<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if !self.lanes.is_doubled() {
            return;
        }
        let floor = self.lanes.floor;
        self.ring.tell_answerable(context, floor);
        if let Some(writer) = self.lanes.second.as_mut().and_then(|second| second.writer()) {
            writer.tell_answerable(context, floor);
        }
    }

    pub(super) fn owns_second(&self, link: crate::vocab::effect::LinkId) -> bool {
        self.lanes.second.as_ref().is_some_and(|second| second.owns(link))
    }

    pub(super) fn on_second<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
    ) {
        let Some(second) = self.lanes.second.as_mut() else { return };
        let event = second.on_link(context, event);
        let node = second.node();
        match event {
            SecondEvent::Nothing => {}
            SecondEvent::Fenced => self.open_second(context),
            SecondEvent::Progress => self.on_progress(context),
            // Who takes over fences lanes of the set (I5): one that does not count was fenced by a takeover that came to nothing.
            SecondEvent::Foreign(found) if !self.counts(node) && self.ring.is_up() => {
                rare!(PrimaryOutgrown);
                self.lanes.outgrown = Some(found);
                return self.close(context);
            }
            SecondEvent::Foreign(found) if self.counts(node) => {
                self.fenced = Some(found);
                context.note(Note::Fenced { ours: self.epoch, found });
                return self.close(context);
            }
            // While the lane that counts is away, what is kept in memory is not given up for another one.
            SecondEvent::Foreign(_) | SecondEvent::Failed => {
                rare!(SecondLaneFails);
                self.drop_second(context);
            }
        }
        self.keep_lanes(context);
    }

    /// The second lane is fenced: it gets what is kept in memory, or begins at the tip, where the first lane keeps the rest.
    fn open_second<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let (Some(tip), area) = (self.ring.tip(), self.ring.area()) else { return };
        let needed = self.filled_from();
        let Self { lanes, config, epoch, .. } = self;
        let base = lanes.resend.base(tip);
        let enough = base.position <= needed;
        let Some(second) = lanes.second.as_mut() else { return };
        if area == AreaId::NONE {
            return;
        }
        let anew = lanes.has_shared && !second.is_in_force();
        // A lane that counts goes on where it stands in what is kept, or not at all.
        if enough || second.is_in_force() {
            second.open(context, config, *epoch, area, base, lanes.resend.frames());
        } else {
            second.open(context, config, *epoch, area, tip, core::iter::empty());
        }
        let (floor, keeps) = (lanes.floor, second.is_in_force() && lanes.stripe != Stripe::Off);
        if let Some(writer) = second.writer() {
            writer.share(keeps, true);
            if anew {
                writer.begin_whole();
            }
            writer.go_on_behind(lanes.last);
            writer.tell_answerable(context, floor);
        }
    }

    fn drop_second<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.drop_filling();
        if let Some(mut second) = self.lanes.second.take() {
            second.close(context);
        }
        (self.lanes.tried, self.lanes.try_at) = (self.lanes.tried + 1, context.now.mono + AGAIN_NS);
        if self.lanes.asked.is_none()
            && self.lanes.set.second().is_none()
            && self.lanes.doubled_at.take().is_some()
        {
            // One lane suffices again.
            self.sealer.mark_doubled(false);
            self.ring.tell_answerable(context, Position::BEYOND);
            self.on_progress(context);
        }
    }

    /// Timers of the lane set: begins what the policy wants, gives up what does not come.
    pub(super) fn keep_lanes<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let now = context.now.mono;
        let departs = self.departs && self.ring.is_closed();
        if self.closed || departs || self.config.lanes.len() < 2 && !self.lanes.is_doubled() {
            return;
        }
        if let Some(second) = self.lanes.second.as_mut() {
            second.on_tick(context);
        }
        let good = self.second_is_good();
        self.lanes.both_met |= good && self.lanes.set.second().is_some();
        self.lanes.second_lost = self.lanes.second_lost.filter(|_| !good);
        if !good {
            self.lanes.second_lost.get_or_insert(now);
        }
        if self.lanes.asked.is_some() {
            return self.ask_again(context);
        }
        if let Some(node) = self.lanes.set.second() {
            // It must be there, or go.
            if self.lanes.second.is_none() && now >= self.lanes.try_at {
                self.begin_second(context, node);
            }
            return self.keep_stripe(context);
        }
        // Nothing may follow the mark that hands the role over.
        if self.handover.is_some() {
            return;
        }
        let want = self.want(now);
        match (&self.lanes.second, want) {
            (Some(second), Some(want)) if second.node() == want.node => {
                let patience = if second.answers() { JOIN_NS } else { ANSWER_NS };
                let late = now >= second.since.saturating_add(patience) && !good;
                if late {
                    rare!(SecondLaneLate);
                    return self.drop_second(context);
                }
                if good && self.lanes.doubled_at.is_none() {
                    self.double(context);
                } else if good && self.pending() == 0 {
                    self.begin_chain(context);
                }
            }
            (Some(_), _) => self.drop_second(context),
            (None, Some(want)) if now >= self.lanes.try_at => self.begin_second(context, want.node),
            (None, _) => {}
        }
    }

    /// Which further lane is wanted now, if any.
    fn want(&self, now: u64) -> Option<Wanted> {
        let lost = self.lost_since.is_some_and(|since| now >= since + LOST_NS);
        let settled = now >= self.lanes.try_at.saturating_add(RETURN_NS) || self.lanes.second.is_some();
        wanted(&self.config, self.ring.node(), lost, settled, self.lanes.tried)
    }

    fn begin_second<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, node: NodeId) {
        rare!(SecondLaneBegins);
        let now = context.now.mono;
        let side = 1 - self.lanes.side;
        let known = self.lanes.known;
        let in_force = self.counts(node);
        let mut second = Box::new(Second::new(&self.config, node, side, self.epoch, known, now, in_force));
        second.on_tick(context);
        self.lanes.second = Some(second);
        self.lanes.second_lost.get_or_insert(now);
    }

    /// From now on both lanes must hold a frame: what comes is marked so, and read only as far as both hold it.
    fn double<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(tip) = self.ring.tip() else { return };
        rare!(LanesDoubled);
        self.lanes.floor = self.lanes.floor.max(self.ring.journaled());
        self.lanes.doubled_at = Some(tip.position);
        self.sealer.mark_doubled(true);
        let floor = self.lanes.floor;
        self.ring.tell_answerable(context, floor);
        self.begin_chain(context);
        self.on_progress(context);
    }

    /// A lane that counts holds a frame, or whoever reads it would not know how the chain goes on there (decision 0019, rule 8).
    fn begin_chain<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let lacks = self.lanes.second.as_ref().is_some_and(|second| !second.has_frames());
        if lacks && self.lanes.doubled_at.is_some() && self.pending() < self.config.limits.unjournaled_frames
        {
            self.seal_empty(context);
        }
    }

    /// Ends the sessions of the second lane: this role ends.
    pub(super) fn close_second<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(second) = self.lanes.second.as_mut() {
            second.close(context);
        }
    }

    /// How long a lost lane is waited for until every other one was tried.
    pub(super) fn lane_patience(&self) -> u64 {
        let others = self.config.lanes.len().saturating_sub(1) as u64;
        if others == 0 { 0 } else { LOST_NS + others * (ANSWER_NS + AGAIN_NS) + JOIN_NS }
    }

    /// Since when a lane that answers need is away.
    pub(super) fn lanes_lost_since(&self) -> Option<u64> {
        let second = self.lanes.second_lost.filter(|_| self.lanes.set.second().is_some());
        self.lost_since.or(second)
    }

    /// Whether a change of the set is under way: the lanes are not left meanwhile.
    pub(super) fn lanes_change(&self) -> bool {
        let told = self.site_link.as_ref().is_some_and(|site| site.is_up());
        self.lanes.asked.is_some() || told && self.second_is_good() && !self.is_torn()
    }
}
