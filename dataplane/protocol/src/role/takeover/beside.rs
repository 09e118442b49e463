//! Where two lanes share the data of frames a takeover takes both, and goes by the one that ends first (decision 0021).
//!
//! Both are asked before either is fenced: where one is away, a primary that lives is not disturbed for nothing. Without it nobody says
//! that nothing is lost.

use alloc::boxed::Box;
use core::cmp::Ordering;

use midspan_format::control::LossReason;
use midspan_format::frame::{FrameHeader, IN_TWO_LANES};
use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;
use midspan_format::message::{FenceIntent, Fenced, FencedLane};

use super::{Outcome, Step, Takeover, UNFENCED_NS, UNHEARD_PROBE_NS, UNREACHABLE_NS};
use crate::lane::fencer::{Fencer, FencerEvent};
use crate::role::facts::LaneFacts;
use crate::role::secondary::Secondary;
use crate::role::site::SiteConfig;
use crate::stage::fetcher::Target;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, LinkId, Note, StartNote, StartRefusal};

/// The lane that shares the data with the one that the takeover began with.
#[derive(Debug)]
pub(super) enum Beside {
    /// There is none.
    None,
    /// It is asked what it holds.
    Probing(Box<Fencer>),
    /// It has answered, or is done without.
    Seen(NodeId),
    /// The first one is fenced, and this one is to be, until then.
    Fencing(Box<Fencer>, u64),
    /// It is fenced.
    Fenced(NodeId),
}

impl Beside {
    pub(super) fn of(config: &SiteConfig, store: &StateStore) -> Self {
        let state = store.get();
        let other = state.set.nodes.iter().copied().find(|node| *node != config.relay);
        match other.filter(|_| state.set.is_striped()) {
            Some(node) => Self::Probing(Box::new(config.prober(0, node, state.epoch))),
            None => Self::None,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn is_fencing(&self) -> bool {
        matches!(self, Self::Fencing(..))
    }

    pub(super) fn owns(&self, link: LinkId) -> bool {
        match self {
            Self::Probing(fencer) | Self::Fencing(fencer, _) => fencer.id() == link,
            Self::None | Self::Seen(_) | Self::Fenced(_) => false,
        }
    }

    pub(super) fn deadline(&self) -> u64 {
        match self {
            Self::Probing(fencer) => fencer.deadline(),
            Self::Fencing(fencer, until) => fencer.deadline().min(*until),
            Self::None | Self::Seen(_) | Self::Fenced(_) => u64::MAX,
        }
    }

    pub(super) fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if let Self::Probing(fencer) | Self::Fencing(fencer, _) = self {
            fencer.close(context);
        }
    }
}

impl Takeover {
    /// The lane that it goes by.
    pub fn lane_node(&self) -> NodeId {
        self.config.relay
    }

    /// A lane beside the first one that it has fenced, or may have.
    pub fn fenced_beside(&self) -> Option<NodeId> {
        match &self.beside {
            Beside::Fencing(fencer, _) => Some(fencer.node()),
            Beside::Fenced(node) => Some(*node),
            Beside::None | Beside::Probing(_) | Beside::Seen(_) => None,
        }
    }

    /// What was handed over does not stand in the lane. It may have been read in the other one, and be on its way to this one.
    pub(super) fn wait_for_mark(&mut self, now: u64) -> Outcome {
        if self.beside.is_none() || !self.hopes(now) {
            return Outcome::Refused(StartRefusal::NotSecondary);
        }
        self.fencer.look_again(now);
        Outcome::Running
    }

    /// Whether the lane beside is known, or is done without. The first one has just answered.
    pub(super) fn see_beside(&mut self, now: u64) -> Result<bool, StartRefusal> {
        // The look at the first lane begins anew each time.
        self.why = self.why.or(self.beside_why);
        let Beside::Probing(fencer) = &self.beside else { return Ok(true) };
        let node = fencer.node();
        let patience = match (self.asked.dry_run, self.may_go_unfenced()) {
            (true, _) => UNHEARD_PROBE_NS,
            (false, true) => UNFENCED_NS,
            (false, false) => UNREACHABLE_NS,
        };
        if now < self.began + patience {
            return Ok(false);
        }
        if !self.asked.dry_run && !self.may_go_unfenced() {
            return Err(StartRefusal::LaneUnreachable { node, missing: None });
        }
        rare!(TakeoverWithoutBeside);
        self.beside_why = Some(LossReason::LaneUnreachable);
        self.why = self.why.or(self.beside_why);
        self.beside = Beside::Seen(node);
        Ok(true)
    }

    /// The first lane is fenced: the one beside it is to be, unless it is done without. `false`: there is nothing to wait for.
    pub(super) fn fence_beside<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &StateStore,
    ) -> bool {
        let Beside::Seen(node) = self.beside else { return false };
        if self.beside_why.is_some() {
            self.why = self.why.or(self.beside_why);
            return false;
        }
        let (epoch, known) = (self.facts.epoch, store.get().epoch);
        let mut fencer = self.config.fencer_beside(node, FenceIntent::Takeover, known, epoch);
        fencer.on_tick(context);
        let patience = if self.asked.accept_loss { UNFENCED_NS } else { UNREACHABLE_NS };
        self.beside = Beside::Fencing(Box::new(fencer), context.now.mono + patience);
        true
    }

    /// An event of the lane beside.
    pub(super) fn on_beside<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<S::Buf>,
        secondary: &mut Secondary<S::Buf>,
        store: &StateStore,
    ) -> Outcome {
        let (Beside::Probing(fencer) | Beside::Fencing(fencer, _)) = &mut self.beside else {
            return Outcome::Running;
        };
        let node = fencer.node();
        match fencer.on_link(context, event) {
            FencerEvent::Probed(fenced) => {
                fencer.close(context);
                self.beside = Beside::Seen(node);
                self.judge_beside(&fenced, store);
                Outcome::Running
            }
            FencerEvent::Done(fenced) => {
                self.beside = Beside::Fenced(node);
                self.go_by_shorter(node, &fenced, secondary);
                self.on_all_fenced(context, secondary, store)
            }
            // A newer epoch of the other site is there: both are taken anew, beyond that one.
            FencerEvent::Foreign(found) => {
                rare!(TakeoverBesideNewer);
                self.beside = Beside::Seen(node);
                self.fencer = self.config.lagging_fencer(FenceIntent::Takeover, found);
                self.fencer.on_tick(context);
                Outcome::Running
            }
            FencerEvent::Nothing
            | FencerEvent::Forgotten(_)
            | FencerEvent::Released
            | FencerEvent::Refused(_) => Outcome::Running,
        }
    }

    /// The secondary reads what is left of the journal, along the chain of the lane by which this goes.
    pub(super) fn read_to_end<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &mut Secondary<S::Buf>,
        store: &StateStore,
    ) {
        let (from, to) = (secondary.acquired().position, self.facts.ring.journaled);
        context.note(Note::Start(StartNote::Reading { from, to }));
        self.step = Step::Applying;
        let target = Target { end: to, by: self.config.relay, agreed: self.agreed };
        secondary.set_target(context, target, store);
    }

    /// Timers of the lane beside; an outcome when it is waited for no more.
    pub(super) fn keep_beside<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        secondary: &mut Secondary<S::Buf>,
        store: &StateStore,
    ) -> Option<Outcome> {
        let now = context.now.mono;
        match &mut self.beside {
            Beside::Probing(fencer) => fencer.on_tick(context),
            Beside::Fencing(fencer, until) => {
                fencer.on_tick(context);
                let node = fencer.node();
                if now < *until {
                    return None;
                }
                if self.asked.accept_loss {
                    self.why = Some(LossReason::LaneUnreachable);
                    self.beside.close(context);
                    self.beside = Beside::Fenced(node);
                    return Some(self.on_all_fenced(context, secondary, store));
                }
                let missing = Some(self.missing(LossReason::LaneUnreachable, secondary, store));
                return Some(Outcome::Refused(StartRefusal::LaneUnreachable { node, missing }));
            }
            Beside::None | Beside::Seen(_) | Beside::Fenced(_) => {}
        }
        None
    }

    /// What the lane beside permits to say.
    fn judge_beside(&mut self, fenced: &Fenced, store: &StateStore) {
        let recorded = store.get().lanes().first().map(|lane| lane.ring).unwrap_or_default();
        let Some(facts) = LaneFacts::new(fenced, self.config.lane) else {
            self.beside_why = Some(LossReason::LaneUnreachable);
            return;
        };
        let ring = facts.ring;
        let foreign = recorded != midspan_format::ids::AreaId::NONE && recorded != ring.area;
        if foreign && (self.acquired_before > Position(0) || ring.journaled > Position(0)) {
            self.beside_why = Some(LossReason::LaneUnreachable);
        } else if !ring.open || ring.journaled < self.acquired_before {
            self.beside_why = Some(LossReason::JournalDamaged { position: ring.journaled });
        }
    }

    /// Both are fenced: nothing behind the end of either was answered to anybody.
    fn go_by_shorter<B: Buffer>(&mut self, node: NodeId, fenced: &Fenced, secondary: &Secondary<B>) {
        let Some(other) = LaneFacts::new(fenced, self.config.lane) else { return };
        let (here, there) = (self.facts.ring, other.ring);
        self.facts.found = self.facts.found.max(other.found);
        let is_of_it = here.area == there.area;
        if !is_of_it && here.journaled > Position(0) {
            self.why = self.why.or(Some(LossReason::LaneUnreachable));
            return;
        }
        let alone = is_of_it && ends_alone(&here, &there);
        if alone {
            rare!(TakeoverLeftAlone);
            self.why = self.why.or(Some(LossReason::MayBeAlone));
        }
        if (there.journaled, there.last.is_none()) < (here.journaled, here.last.is_none()) && is_of_it {
            rare!(TakeoverTurnsToShorter);
            self.facts = LaneFacts { epoch: self.facts.epoch, found: self.facts.found, ..other };
            self.config.relay = node;
        }
        // What is said to be in both lanes is: behind it the other one may hold what was on its way when both were left.
        let both = |last: &FrameHeader| last.flags & IN_TWO_LANES != 0;
        let said = [here.last, there.last].into_iter().flatten().filter(both).map(|last| last.journaled);
        self.agreed = said.max().unwrap_or_default();
        let fits = here.may_share_with(&there) && there.may_share_with(&here);
        if !there.open || is_of_it && !fits || there.journaled < secondary.acquired().position {
            self.why = self.why.or(Some(LossReason::JournalDamaged { position: there.journaled }));
        }
    }
}

/// Whether what ends one of two lanes may have been said in it alone, by one that left both: that nothing is lost is not known then. It ends
/// the longer one; or both end alike, and not with the same. In the shorter one it is read.
fn ends_alone(here: &FencedLane, there: &FencedLane) -> bool {
    let alone = |ring: &FencedLane| ring.last.is_some_and(|last| last.flags & IN_TWO_LANES == 0);
    match (here.journaled.cmp(&there.journaled), here.last, there.last) {
        (Ordering::Less, _, _) => alone(there),
        (Ordering::Greater, _, _) => alone(here),
        (Ordering::Equal, Some(one), Some(other)) => {
            one.checksum != other.checksum && (alone(here) || alone(there))
        }
        (Ordering::Equal, _, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(journaled: u64, checksum: u64, flags: u8) -> FencedLane {
        let last = FrameHeader { checksum, flags, ..FrameHeader::default() };
        FencedLane { journaled: Position(journaled), last: Some(last), ..FencedLane::default() }
    }

    #[test]
    fn what_one_of_two_lanes_ends_with_alone_is_seen_also_where_the_other_one_ends_alike() {
        let (both, mark) = (ring(8192, 1, IN_TWO_LANES), ring(8192, 2, 0));
        for (one, other, expected) in [
            (&both, &both, false),
            (&both, &mark, true),
            (&mark, &mark, false),
            (&both, &ring(12288, 2, 0), true),
            (&both, &ring(12288, 2, IN_TWO_LANES), false),
            // The takeover goes by the shorter one, and reads it there.
            (&both, &ring(4096, 2, 0), false),
            (&both, &FencedLane { journaled: Position(8192), ..FencedLane::default() }, false),
        ] {
            assert_eq!(ends_alone(one, other), expected, "{one:?} {other:?}");
            assert_eq!(ends_alone(other, one), expected, "{other:?} {one:?}");
        }
    }
}
