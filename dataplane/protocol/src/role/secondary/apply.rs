//! What is acquired goes to the volumes, goes by, or is kept until a round's End is acquired, too (I4, I7).

use alloc::collections::VecDeque;

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{BLOCK, Position, REGION_BYTES};

use super::Secondary;
use super::recovery::Recovery;
use crate::recovery::walk::{Found, Walk};
use crate::stage::acquirer::Held;
use crate::stage::applier::ApplyError;
use crate::stage::course::{Course, Fate, Mode};
use crate::stage::cut::Landmark;
use crate::stage::ring_read::{ReadStep, RingRead};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, DiskResult, Note};
use crate::vocab::tags;
use crate::vocab::tip::Tip;

/// A staged round on its way from the own ring to the volumes.
#[derive(Debug)]
pub(super) struct Replay<B> {
    read: RingRead,
    walk: Walk,
    to: Position,
    waiting: VecDeque<Held<B>>,
    /// All of it was read and verifies: only then the first block is written, so that damage costs no cut.
    verified: bool,
}

/// The low bits of its token, so that it is not taken for recovery.
const REPLAY: u64 = 1;

impl<B: Buffer> Secondary<B> {
    /// Whether a staged round is being written: until that ends the volumes hold no cut, but the own ring holds all of it.
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Whether a read of the own ring runs.
    pub(super) fn is_reading(&self) -> bool {
        let recovers = match &self.recovery {
            Recovery::Flushing => true,
            Recovery::Reading { read, .. } => read.is_busy(),
            Recovery::Done => false,
        };
        recovers || self.replay.as_ref().is_some_and(|replay| replay.read.is_busy())
    }

    /// Whether a disk operation of the own ring belongs to a replay.
    pub(super) fn is_of_replay(token: crate::vocab::effect::Token) -> bool {
        token.0 & 0xFFFF_FFFF == REPLAY
    }

    /// A takeover has the whole journal, and no End is in it: the last cut is what there is.
    pub fn give_up_round(&mut self) {
        let done = self.applier.is_idle() && self.acquirer.is_idle() && self.replay.is_none();
        if done && matches!(self.mode, Mode::Staging(..)) {
            rare!(RoundGivenUp);
            self.mode = Mode::Away;
            self.applier.jump(self.acquirer.acquired());
        }
    }

    /// Moves what is acquired on, in the order of the chain.
    pub(super) fn apply<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &mut StateStore,
    ) {
        loop {
            if self.replay.is_some() && !self.go_on_replaying(context) {
                return;
            }
            let Some(next) = self.acquirer.front().filter(|_| self.foreign.is_none()) else { return };
            let last = self.fetcher.target().is_some();
            let course = Course::over(self.mode, next.frame.bytes(), self.config.node, last, self.wants());
            let (header, records) = (next.header, next.header.records);
            if course.drops {
                if !self.applier.is_idle() {
                    return;
                }
                rare!(StagedDropped);
                self.applier.jump(Tip::before(&header));
            }
            let takes = match course.fate {
                Fate::Write => {
                    self.applier.has_room(records) && self.may_write_in_place(context, course, store)
                }
                Fate::Pass => self.applier.has_room(0),
                Fate::Keep => true,
                Fate::Replay => self.applier.is_idle(),
            };
            if !takes {
                // What was dropped is not dropped twice.
                if course.drops {
                    self.mode = Mode::Away;
                }
                return;
            }
            let Some(held) = self.acquirer.pop() else { return };
            self.note_landmarks(&course, &header, store);
            self.mode = course.mode;
            self.blank &= matches!(self.mode, Mode::Away | Mode::Staging(..));
            match course.fate {
                Fate::Write => self.write(context, &held),
                Fate::Pass => self.applier.pass(&header),
                Fate::Keep => {}
                Fate::Replay => self.begin_replay(header.end()),
            }
        }
    }

    /// The regions of a round that is of use, where nothing but one of everything is.
    fn wants(&self) -> Option<u64> {
        let regions = self.config.volumes.iter().map(|volume| volume.size.div_ceil(REGION_BYTES));
        self.blank.then(|| regions.sum())
    }

    /// What the recorded state is to say when the cut gets behind a frame.
    fn note_landmarks(&mut self, course: &Course, header: &FrameHeader, store: &StateStore) {
        let (start, end, at, epoch) = (header.position, header.end(), header.last_time, header.epoch);
        if let Some(cut) = course.left {
            self.cut.pass(end, Landmark::Left(cut, at, epoch));
        }
        if course.left.is_some() && store.get().whole_at == start && start > Position(0) {
            self.cut.pass(end, Landmark::Whole);
        }
        if course.ended {
            self.cut.pass(end, Landmark::Ended(at, epoch));
        }
        if let Some(epoch) = course.handover {
            self.handed = true;
            self.cut.pass(end, Landmark::Handover(epoch));
        } else if core::mem::take(&mut self.handed) {
            self.cut.pass(end, Landmark::NoHandover);
        }
    }

    /// A round in place gives up the cut: that is recorded before its first record is written.
    fn may_write_in_place<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        course: Course,
        store: &mut StateStore,
    ) -> bool {
        let Mode::InPlace(round) = course.mode else { return true };
        let state = store.get();
        if !state.round_in_place || state.round != round {
            let change = store.change(context, |state| {
                (state.round_in_place, state.round, state.whole_at) = (true, round, Position(0));
            });
            self.in_place = Some(change);
        }
        self.in_place.is_none_or(|change| store.is_saved(change))
    }

    fn write<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, held: &Held<B>) {
        // A takeover has no use for it.
        let compares = self.mode == Mode::Normal && self.replay.is_none() && self.fetcher.target().is_none();
        let compares = compares && self.compares_from.is_some_and(|from| held.header.position >= from);
        match self.applier.push(context, &held.header, &held.frame, compares) {
            Ok(()) => {}
            Err(ApplyError::Foreign { volume }) => {
                self.foreign = Some(volume);
                context.note(Note::DiskFailed { disk_is_journal: false, volume });
            }
            Err(ApplyError::Damaged) => {
                self.disk_failed = true;
                let (node, position) = (self.config.node, held.header.position);
                context.note(Note::Damaged { node, position });
            }
        }
    }

    fn begin_replay(&mut self, to: Position) {
        let walk = Walk::behind(self.area, FrameKind::Journal, self.applier.applied());
        let read = RingRead::new(tags::token(tags::OWN_RING, REPLAY));
        self.replay = Some(Replay { read, walk, to, waiting: VecDeque::new(), verified: false });
    }

    /// Reads and writes what is staged. `true` when all of it is written: before that there is no cut to be recorded.
    fn go_on_replaying<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) -> bool {
        loop {
            let Some(replay) = self.replay.as_mut() else { return true };
            if let Some(next) = replay.waiting.front() {
                if !self.applier.has_room(next.header.records) || self.foreign.is_some() {
                    return false;
                }
                let Some(held) = replay.waiting.pop_front() else { return false };
                self.write(context, &held);
                continue;
            }
            let at = replay.walk.tip().position;
            if at >= replay.to && !replay.verified {
                replay.verified = true;
                replay.walk = Walk::behind(self.area, FrameKind::Journal, self.applier.applied());
                continue;
            }
            if at >= replay.to {
                if !self.applier.is_idle() {
                    return false;
                }
                self.replay = None;
                return true;
            }
            if replay.read.is_busy() || self.disk_failed {
                return false;
            }
            let chunk = u64::from(self.config.limits.fetch_bytes).min(replay.to.0 - at.0);
            let chunk = usize::try_from(chunk).unwrap_or(BLOCK);
            // When the pool is empty it is tried again.
            replay.read.start(context, self.config.own_ring_place(), at, chunk);
            return false;
        }
    }

    /// Whether the replay waits for memory.
    pub(super) fn is_replay_starved(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| {
            let wants =
                replay.waiting.is_empty() && (replay.walk.tip().position < replay.to || !replay.verified);
            wants && !replay.read.is_busy() && !self.disk_failed
        })
    }

    /// A read of the replay ended.
    pub(super) fn on_replay_read<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        result: DiskResult<B>,
    ) {
        let Some(replay) = self.replay.as_mut() else { return };
        let data = match replay.read.on_disk(context, result) {
            ReadStep::Running => return,
            ReadStep::Done(_, data) => data,
            ReadStep::Failed(position) => {
                rare!(ReplayUnreadable);
                self.disk_failed = true;
                return context.note(Note::Damaged { node: self.config.node, position });
            }
        };
        let mut done = 0;
        while let Found::Frame(header, range) = replay.walk.next(data.bytes().get(done..).unwrap_or_default())
        {
            if replay.verified {
                replay.waiting.push_back(Held { header, frame: data.part(done..done + range.end) });
            }
            done += range.end;
        }
        if done == 0 {
            rare!(ReplayDamaged);
            // It was verified when it was acquired: the disk has lost it.
            self.disk_failed = true;
            let position = replay.walk.tip().position;
            context.note(Note::Damaged { node: self.config.node, position });
        }
    }
}
