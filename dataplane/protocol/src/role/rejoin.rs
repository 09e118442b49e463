//! A former primary that a newer epoch has replaced: finds out from the lane where to follow the one that replaced it.
//!
//! The first frame of the new primary is a Leave mark; it names what this site's disks hold for sure. From there on this site
//! is a secondary like any other: it brings itself to the takeover's cut along the chain, then a round brings the rest. It
//! changes nothing while it looks.

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, IN_TWO_LANES};
use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::mark::{Leave, Mark};
use midspan_format::message::{FenceIntent, Fenced};
use midspan_format::superblock::{FenceSet, GroupState, LanePoint, PairState, Role};
use midspan_format::time::Time;

use crate::lane::fencer::{Fencer, FencerEvent};
use crate::lane::tail::{Span, Tail, TailEvent};
use crate::recovery::lineage::{self, Force, Journal, Seen};
use crate::role::facts::LaneFacts;
use crate::role::site::SiteConfig;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, LinkEvent, LinkId};

/// Pause before the lane is asked again.
const RETRY_NS: u64 = 500_000_000;

/// What came of an event.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it ends once")]
pub enum Outcome {
    /// Nothing yet.
    Running,
    /// Enough was seen to decide by [`lineage`].
    Seen(Seen, Option<Found>),
}

/// Where to follow.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    leave: Leave,
    /// The frame with the mark.
    header: FrameHeader,
    facts: LaneFacts,
    /// The node of the lane.
    node: NodeId,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each group")]
enum Step {
    Waiting {
        until: u64,
    },
    Probing(Fencer),
    /// The frame that followed the recorded end, if it does.
    Comparing {
        tail: Tail,
        point: LanePoint,
    },
    /// The last frame.
    Reading {
        tail: Tail,
        facts: LaneFacts,
    },
}

/// The search.
#[derive(Debug)]
pub struct Rejoin {
    config: SiteConfig,
    step: Step,
    /// Where this site had recorded that it ends, when it handed over; until that was compared.
    handed: Option<LanePoint>,
    seen: Seen,
    /// The epoch that replaced this site: a lane with an older one knows nothing of it.
    replaced_by: Epoch,
    /// Two lanes share the data of frames: the one that ends first counts.
    shares: bool,
    /// A lane that ends where this site had handed over.
    ends_there: Option<NodeId>,
}

impl Rejoin {
    /// A search that begins at the next tick.
    pub fn new(config: SiteConfig, handed: Option<LanePoint>) -> Self {
        let journal = if handed.is_some() { Journal::Unread } else { Journal::NotHanded };
        let seen = Seen { journal, ..Seen::default() };
        let step = Step::Waiting { until: 0 };
        Self { config, step, handed, seen, replaced_by: Epoch::NONE, shares: false, ends_there: None }
    }

    /// By the set that this site had recorded, and what an earlier search has seen of its other lane.
    pub fn of_set(self, set: &FenceSet, ends_there: Option<NodeId>) -> Self {
        Self { shares: set.is_striped(), ends_there, ..self }
    }

    /// The lane that was found to end where this site had handed over, if one was.
    pub fn ends_there(&self) -> Option<NodeId> {
        self.ends_there
    }

    /// It was this epoch that replaced the site: only a lane that has it, or a newer one, is believed, where there are several.
    pub fn behind(self, replaced_by: Option<Epoch>) -> Self {
        let replaced_by = replaced_by.filter(|_| self.config.lanes.len() > 1).unwrap_or(Epoch::NONE);
        Self { replaced_by, ..self }
    }

    /// Whether it has found the lane, and reads it.
    pub fn is_reading(&self) -> bool {
        matches!(self.step, Step::Comparing { .. } | Step::Reading { .. })
    }

    /// Whether the lane's node answers.
    pub fn is_up(&self) -> bool {
        match &self.step {
            Step::Waiting { .. } => false,
            Step::Probing(fencer) => fencer.is_up(),
            Step::Comparing { .. } | Step::Reading { .. } => true,
        }
    }

    /// An event of one of the links.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<S::Buf>,
    ) -> Outcome {
        match &mut self.step {
            Step::Probing(fencer) if link == fencer.id() => match fencer.on_link(context, event) {
                FencerEvent::Probed(fenced) => self.on_probed(context, &fenced),
                FencerEvent::Forgotten(_) | FencerEvent::Refused(_) => self.wait(context),
                FencerEvent::Nothing
                | FencerEvent::Done(_)
                | FencerEvent::Foreign(_)
                | FencerEvent::Released => Outcome::Running,
            },
            Step::Reading { tail, facts } if tail.owns(link) => {
                let facts = *facts;
                match tail.on_link(context, link, event) {
                    TailEvent::Nothing | TailEvent::Up(_) => Outcome::Running,
                    TailEvent::Damaged(_) => {
                        rare!(RejoinUnreadable);
                        self.wait(context)
                    }
                    TailEvent::Frames(frames) => {
                        let found = frames.last().and_then(|(header, frame)| {
                            let node = self.config.relay;
                            Some(Found { leave: self.leave_in(frame)?, header: *header, facts, node })
                        });
                        self.seen.leave = found.map_or(lineage::Leave::Blank, |found| found.said());
                        self.look(context, found).unwrap_or_else(|| self.wait(context))
                    }
                }
            }
            Step::Comparing { tail, point } if tail.owns(link) => {
                let point = *point;
                match tail.on_link(context, link, event) {
                    TailEvent::Nothing | TailEvent::Up(_) => Outcome::Running,
                    // It may read well the next time.
                    TailEvent::Damaged(_) => self.wait(context),
                    TailEvent::Frames(frames) => {
                        let links = frames.first().is_some_and(|(first, _)| {
                            first.position == point.position && first.chain == point.header_checksum
                        });
                        self.on_compared(context, links)
                    }
                }
            }
            Step::Waiting { .. } | Step::Probing(_) | Step::Comparing { .. } | Step::Reading { .. } => {
                Outcome::Running
            }
        }
    }

    /// Timers.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>, known: Epoch) {
        match &mut self.step {
            Step::Waiting { until } if context.now.mono >= *until => {
                let mut fencer = self.config.fencer(FenceIntent::Probe, known);
                fencer.on_tick(context);
                self.step = Step::Probing(fencer);
            }
            Step::Waiting { .. } => {}
            Step::Probing(fencer) => fencer.on_tick(context),
            Step::Comparing { tail, .. } | Step::Reading { tail, .. } => {
                tail.on_tick(context);
                tail.poke(context);
            }
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        match &self.step {
            Step::Waiting { until } => *until,
            Step::Probing(fencer) => fencer.deadline(),
            Step::Comparing { tail, .. } | Step::Reading { tail, .. } => tail.deadline(),
        }
    }

    /// Ends the sessions.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        match &mut self.step {
            Step::Waiting { .. } => {}
            Step::Probing(fencer) => fencer.close(context),
            Step::Comparing { tail, .. } | Step::Reading { tail, .. } => tail.close(context),
        }
        self.step = Step::Waiting { until: u64::MAX };
    }

    fn wait<S: Buffers>(&mut self, context: &mut Context<'_, S>) -> Outcome {
        rare!(RejoinWaits);
        self.close(context);
        self.step = Step::Waiting { until: context.now.mono + RETRY_NS };
        Outcome::Running
    }

    /// Ends the search when enough was seen.
    fn look<S: Buffers>(&mut self, context: &mut Context<'_, S>, found: Option<Found>) -> Option<Outcome> {
        if !self.seen.settles() {
            return None;
        }
        self.close(context);
        Some(Outcome::Seen(self.seen, found))
    }

    /// This lane ends where this site had handed over: whether the other one of two that share may end before it. Then the site that
    /// took over has left out what was handed over, whatever this one holds.
    fn may_end_first(&mut self) -> bool {
        let other = self.ends_there.replace(self.config.relay).is_some_and(|node| node != self.config.relay);
        self.shares && !other
    }

    /// Whether the journal goes on behind the recorded end. If not, this site was taken over from before it had handed over.
    fn on_compared<S: Buffers>(&mut self, context: &mut Context<'_, S>, links: bool) -> Outcome {
        self.handed = None;
        self.seen.journal = if links { Journal::Links } else { Journal::Apart };
        self.look(context, None).unwrap_or_else(|| self.wait(context))
    }

    fn on_probed<S: Buffers>(&mut self, context: &mut Context<'_, S>, fenced: &Fenced) -> Outcome {
        // One of the other site's is believed: what it took of another lane, later, may never have become anything.
        let force = force(fenced, &self.config);
        let others = force == Force::Other;
        if fenced.epoch < self.replaced_by && !others {
            rare!(RejoinOtherLane);
            return self.wait(context);
        }
        self.seen.force = force;
        if let Some(outcome) = self.look(context, None) {
            return outcome;
        }
        let facts = LaneFacts::new(fenced, self.config.lane).filter(|facts| facts.ring.open);
        if let (Some(facts), Some(point)) = (&facts, self.handed) {
            let (ring, last) = (&facts.ring, facts.ring.last.map_or(0, |last| last.checksum));
            self.close(context);
            if ring.journaled <= point.position {
                let links = ring.journaled == point.position && last == point.header_checksum;
                if links && self.may_end_first() {
                    rare!(RejoinAsksBoth);
                    return self.wait(context);
                }
                return self.on_compared(context, links);
            }
            let (from, to) = (point.position, ring.journaled);
            let span = Span { area: ring.area, from, to, last_checksum: last };
            let mut tail = self.config.tail(span, facts.epoch).heads();
            tail.on_tick(context);
            self.step = Step::Comparing { tail, point };
            return Outcome::Running;
        }
        // Nothing of the new primary is there as long as its takeover has not ended. What it says then it says in one lane alone; of
        // what two lanes must hold a lane that has just started gives nothing.
        let Some((facts, last)) = facts
            .and_then(|facts| facts.ring.last.map(|last| (facts, last)))
            .filter(|(_, last)| last.epoch.node == fenced.epoch.node && last.flags & IN_TWO_LANES == 0)
        else {
            return self.wait(context);
        };
        self.close(context);
        let ring = &facts.ring;
        let (from, to) = (last.position, ring.journaled);
        let span = Span { area: ring.area, from, to, last_checksum: last.checksum };
        let mut tail = self.config.tail(span, facts.epoch).heads();
        tail.on_tick(context);
        self.step = Step::Reading { tail, facts };
        Outcome::Running
    }

    /// The Leave mark of a frame, if it replaces this site.
    fn leave_in<B: Buffer>(&self, frame: &Slice<B>) -> Option<Leave> {
        let checked = CheckedFrame::parse_head(frame.bytes()).ok()?;
        let mut marks = checked.records().filter_map(|record| checked.mark(&record));
        marks.find_map(|mark| match mark {
            Mark::Leave(leave) => (leave.former == self.config.node).then_some(leave),
            Mark::RoundBegin(_)
            | Mark::RoundEnd(_)
            | Mark::LaneSet(_)
            | Mark::Handover(_)
            | Mark::Verify(_) => None,
        })
    }
}

/// Whose epoch is in force. One in which something was written was not given back: its site has served, and handed over since.
fn force(fenced: &Fenced, config: &SiteConfig) -> Force {
    let last = LaneFacts::new(fenced, config.lane).and_then(|facts| facts.ring.last);
    let served = last.is_some_and(|last| last.epoch == fenced.epoch);
    rare!(RejoinHandedOn if served && fenced.released && fenced.former == config.node);
    if fenced.epoch.node == config.node {
        Force::Own
    } else if fenced.released && fenced.former == config.node && !served {
        Force::GivenBack
    } else {
        Force::Other
    }
}

impl Found {
    /// What the mark says of this site's history.
    fn said(&self) -> lineage::Leave {
        if self.has_cut() { lineage::Leave::Named } else { lineage::Leave::Unnamed }
    }

    /// The epoch to follow.
    pub fn epoch(&self) -> Epoch {
        self.facts.epoch
    }

    /// Where the lane ended when it was read.
    pub fn end(&self) -> LanePoint {
        let ring = &self.facts.ring;
        LanePoint {
            position: ring.journaled,
            sequence: ring.last.map_or(0, |last| last.sequence),
            header_checksum: ring.last.map_or(0, |last| last.checksum),
        }
    }

    /// What the site records, to be a secondary from now on; `with_cut`: its disks hold what the mark says, and nothing else.
    pub fn follow(&self, state: &mut GroupState, with_cut: bool) {
        let known = with_cut && self.has_cut();
        let before = LanePoint {
            position: self.header.position,
            sequence: self.header.sequence.saturating_sub(1),
            header_checksum: self.header.chain,
        };
        state.role = Role::Secondary;
        state.pair = PairState::Resync;
        state.epoch = state.epoch.max(self.facts.epoch);
        state.clock = state.clock.max(self.facts.clock);
        (state.left, state.left_cut) = (true, self.leave.cut);
        (state.round, state.round_in_place) = (0, true);
        (state.handover, state.told_left, state.manifest) = (false, Time::ZERO, Position(0));
        state.whole_at = if known { self.header.position } else { Position(0) };
        state.cut = if known { self.leave.former_landed_time } else { Time::ZERO };
        (state.by_word, state.answered) = (false, false);
        self.facts.record(state);
        // The one that was taken by the other site; what that changes, it asks for.
        state.count_set(FenceSet { epoch: self.facts.epoch, ..FenceSet::of(&[self.node], 1) });
        state.forget_asked();
        state.bound = NodeId::NONE;
        if let Some(lane) = state.lanes_mut().first_mut() {
            lane.point = if known { self.leave.former_landed } else { before };
        }
    }

    /// Whether the site that took over has everything that was ever answered here, and this one can reach its cut along the
    /// chain.
    pub fn has_cut(&self) -> bool {
        self.leave.former_landed.position > Position(0)
    }
}
