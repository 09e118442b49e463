//! Moves the persisted cut: flush the volumes, then record what they hold (I4, I7).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::geometry::Position;
use midspan_format::ids::{Epoch, VolumeId};
use midspan_format::superblock::{GroupState, PairState};
use midspan_format::time::Time;

use crate::stage::state_store::StateStore;
use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, Disk, DiskOp};
use crate::vocab::tags;
use crate::vocab::tip::Tip;

/// A point that the volumes hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Behind the last frame.
    pub tip: Tip,
    /// Time of its last record.
    pub time: Time,
    /// Manifests consumed.
    pub manifest: Position,
}

/// What the recorded state says from a place of the lane on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landmark {
    /// The primary answers outside the lanes; everything answered up to the first time is here. The second one is the mark's, and its epoch.
    Left(Time, Time, Epoch),
    /// Of a former primary: from here on its disks hold a cut.
    Whole,
    /// A round's End, of this time and epoch: the disks hold a cut, and the sites are paired.
    Ended(Time, Epoch),
    /// The primary hands over to this site.
    Handover(Epoch),
    /// What was handed over counts no more.
    NoHandover,
}

impl Landmark {
    fn apply(self, state: &mut GroupState) {
        match self {
            Self::Left(cut, at, epoch) => {
                (state.left, state.left_cut, state.round) = (true, cut, 0);
                state.pair = PairState::Resync;
                untell(state, at, epoch);
            }
            Self::Whole => (state.round_in_place, state.whole_at) = (false, Position(0)),
            Self::Ended(at, epoch) => {
                (state.left, state.round, state.round_in_place) = (false, 0, false);
                state.pair = PairState::Paired;
                untell(state, at, epoch);
            }
            Self::Handover(epoch) => (state.handover, state.handover_epoch) = (true, epoch),
            Self::NoHandover => state.handover = false,
        }
    }
}

/// Only a mark of a later time takes the place of what was told past the lane (design §4), and only one of an epoch in which that was
/// known: who goes on without the journal tells what its disks hold, and the lane may have marks of a later time from before.
fn untell(state: &mut GroupState, at: Time, epoch: Epoch) {
    if at > state.told_left && epoch.number >= state.told_from {
        (state.told_left, state.told_from) = (Time::ZERO, 0);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Idle,
    Flushing { to: Point, left: usize },
    Saving { to: Point, change: u64 },
}

/// The keeper of the cut.
#[derive(Debug)]
pub struct Cut {
    volumes: Vec<VolumeId>,
    persisted: Point,
    step: Step,
    /// What changes at which place, as soon as the cut is there.
    landmarks: VecDeque<(Position, Landmark)>,
    last: u64,
    failed: Option<VolumeId>,
}

impl Cut {
    /// Starts at the recorded cut.
    pub fn new(volumes: Vec<VolumeId>, persisted: Point) -> Self {
        Self { volumes, persisted, step: Step::Idle, landmarks: VecDeque::new(), last: 0, failed: None }
    }

    /// The recorded cut.
    pub fn persisted(&self) -> Point {
        self.persisted
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle)
    }

    /// The volume that could not be flushed: the cut does not move any more.
    pub fn failed(&self) -> Option<VolumeId> {
        self.failed
    }

    /// From this place of the lane on the recorded state says something else.
    pub fn pass(&mut self, at: Position, landmark: Landmark) {
        self.landmarks.push_back((at, landmark));
    }

    /// Begins to move the cut to what is applied, when it is time.
    pub fn poke<S: Buffers>(&mut self, context: &mut Context<'_, S>, to: Point, pace_ns: u64) {
        let now = context.now.mono;
        let moved = to.tip.position > self.persisted.tip.position || to.manifest > self.persisted.manifest;
        if !self.is_idle() || !moved || now < self.last.saturating_add(pace_ns) || self.failed.is_some() {
            return;
        }
        self.last = now;
        self.step = Step::Flushing { to, left: self.volumes.len() };
        for volume in &self.volumes {
            context.disk(Disk::Volume(*volume), tags::token(tags::LAND, u64::from(volume.0)), DiskOp::Flush);
        }
    }

    /// A volume was flushed.
    pub fn on_flushed<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        volume: VolumeId,
        failed: bool,
        store: &mut StateStore,
    ) {
        if failed {
            rare!(CutUnflushed);
            self.failed = Some(volume);
        }
        let Step::Flushing { to, left } = &mut self.step else { return };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        let to = *to;
        if self.failed.is_some() {
            self.step = Step::Idle;
            return;
        }
        let landmarks = &mut self.landmarks;
        let change = store.change(context, |state| {
            while let Some((_, landmark)) = landmarks.pop_front_if(|(at, _)| *at <= to.tip.position) {
                landmark.apply(state);
            }
            state.cut = to.time;
            state.clock = state.clock.max(to.time);
            state.manifest = to.manifest;
            if let Some(lane) = state.lanes_mut().first_mut() {
                lane.point = to.tip.to_point();
            }
        });
        self.step = Step::Saving { to, change };
    }

    /// The state was written. `true` when the cut moved.
    pub fn on_saved(&mut self, store: &StateStore) -> bool {
        let Step::Saving { to, change } = self.step else { return false };
        if !store.is_saved(change) {
            return false;
        }
        self.persisted = to;
        self.step = Step::Idle;
        true
    }

    /// When the next move is due, if something waits for it.
    pub fn deadline(&self, applied: Position, pace_ns: u64) -> u64 {
        let waits = self.is_idle() && applied > self.persisted.tip.position && self.failed.is_none();
        if waits { self.last.saturating_add(pace_ns) } else { u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use midspan_format::ids::NodeId;

    use super::*;

    #[test]
    fn a_mark_of_before_does_not_take_the_place_of_what_was_told_without_the_journal() {
        let epoch = |number| Epoch { number, node: NodeId(1) };
        // The other site's disks held everything up to 90; the lane has the End of a round behind that.
        let told = GroupState { left: true, told_left: Time(90), told_from: 4, ..GroupState::default() };
        let mut state = told;
        Landmark::Ended(Time(100), epoch(3)).apply(&mut state);
        assert_eq!((state.left, state.told_left), (false, Time(90)));
        Landmark::Left(Time(80), Time(100), epoch(3)).apply(&mut state);
        assert_eq!((state.left, state.told_left), (true, Time(90)));
        Landmark::Ended(Time(110), epoch(4)).apply(&mut state);
        assert_eq!((state.left, state.told_left, state.told_from), (false, Time::ZERO, 0));
        // Nor one of a time that was told already.
        let mut state = told;
        Landmark::Ended(Time(90), epoch(4)).apply(&mut state);
        assert_eq!(state.told_left, Time(90));
    }
}
