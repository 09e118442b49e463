//! A round beside live writes: what is marked, what is sent and when, and when the marks may go (I6, design §7 "one repair").

use midspan_format::geometry::{BLOCK, Position};
use midspan_format::mark::{Mark, RoundBegin, RoundEnd, RoundOutcome, RoundReason};
use midspan_format::time::Time;

use super::{LATEST_WALL, Primary};
use crate::stage::inflight::{OpKind, WriteView};
use crate::stage::round::{PIECE, Round, Target};
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note, RoundNote, Token};

/// Pieces that are read at a time while no host waits for anything.
const READING: usize = 4;

/// The map of what differs, and the round that sends it.
#[derive(Debug)]
pub struct Repair<B> {
    pub(super) round: Round,
    pub(super) tracker: Tracker,
    reason: RoundReason,
    /// Marks are on their way to the disk, and `landed` waits for them.
    barrier: bool,
    /// Nothing is sealed before the marks that were there at the beginning are durable: frames carry `landed`.
    opening: bool,
    /// Memory for the mark that ends the round.
    spare: Option<B>,
    ended: bool,
}

impl<B: Buffer> Repair<B> {
    /// A repair of what the tracker's map says.
    pub fn new(round: Round, tracker: Tracker, reason: RoundReason) -> Self {
        Self { round, tracker, reason, barrier: false, opening: true, spare: None, ended: false }
    }

    /// Whether the sites are equal, and the map says so durably.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The map.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The round.
    pub fn round(&self) -> &Round {
        &self.round
    }

    /// Whether frames must wait.
    pub(super) fn is_opening(&self) -> bool {
        self.opening
    }

    /// Whether `landed` must wait for marks: until the End is in the lane, a round that is begun anew needs them.
    fn needs_marks(&self, journaled: Position) -> bool {
        let sent = self.round.is_sent() && !self.round.is_clearing();
        self.round.is_marking() || sent && self.round.end().is_none_or(|end| journaled < end)
    }

    /// Marks that `landed` must wait for, as one more thing to be flushed.
    pub(super) fn others(&self, journaled: Position) -> usize {
        usize::from(self.needs_marks(journaled))
    }

    /// Whether something of it is tried again soon.
    pub(super) fn wants_to_write(&self) -> bool {
        self.opening || self.barrier || self.round.is_clearing() && !self.ended
    }
}

impl<B: Buffer> Primary<B> {
    /// The round and its map, as long as there is something to repair.
    pub fn repair(&self) -> Option<&Repair<B>> {
        self.repair.as_deref()
    }

    /// Takes the map back: this role ends, or nothing differs any more.
    pub fn take_tracker(&mut self) -> Option<Tracker> {
        self.repair.take().map(|repair| repair.tracker)
    }

    /// Holds the round, or lets it go on.
    pub fn hold_round(&mut self, held: bool) {
        if let Some(repair) = self.repair.as_mut() {
            repair.round.paused = held;
        }
    }

    /// A record is to take its time. A round that the target could not stage any more is given up before it.
    pub(super) fn before_join<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        view: &WriteView<B>,
    ) {
        let length = view.data.as_ref().map_or(0, |data| data.len() as u64);
        if self.repair.as_mut().is_some_and(|repair| !repair.round.has_room(length)) {
            self.end_round(context, RoundOutcome::Cancelled);
        }
        if let Some(repair) = self.repair.as_mut()
            && !matches!(view.kind, OpKind::Copy { .. })
            && repair.round.is_marking()
        {
            repair.tracker.mark_silently(view.volume, view.offset, view.length);
        }
    }

    /// A piece has its time, or could not be read.
    pub(super) fn on_copied(&mut self, now: u64, length: u64) {
        let rate = self.config.pace.round_bytes_per_s;
        if let Some(repair) = self.repair.as_mut() {
            repair.round.on_read(now, length, rate);
        }
    }

    /// A piece could not be read: the round is held, and goes on there when it is resumed.
    pub(super) fn on_copy_failed(&mut self, op: u32) {
        let Some(view) = self.inflight.view(op) else { return };
        if let Some(repair) = self.repair.as_mut() {
            repair.round.put_back(view.volume, view.offset);
            repair.round.paused = true;
        }
    }

    /// `landed` is to move: the marks of what it moves over must be durable first.
    pub(super) fn on_landing<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(repair) = self.repair.as_mut() else { return };
        repair.barrier = true;
        repair.tracker.begin_barrier(context);
        self.look_at_marks(context);
    }

    /// A block of the map was written.
    pub(super) fn on_marked<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        failed: bool,
    ) {
        let Some(repair) = self.repair.as_mut() else { return };
        repair.tracker.on_disk(context, token, failed, &mut self.answerable);
        self.answerable.clear();
        if failed {
            rare!(RoundMarksUnsaved);
            self.landing.on_map_failed();
            context
                .note(Note::DiskFailed { disk_is_journal: true, volume: midspan_format::ids::VolumeId(0) });
        }
        self.look_at_marks(context);
    }

    fn look_at_marks<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(repair) = self.repair.as_mut() else { return };
        if repair.barrier && (repair.tracker.is_barrier_met() || repair.tracker.failed()) {
            repair.barrier = false;
            if repair.tracker.failed() {
                self.landing.on_map_failed();
            }
            self.landing.on_flushed();
        }
        if repair.opening && (repair.tracker.is_durable() || repair.tracker.failed()) {
            repair.opening = false;
        }
        if repair.round.is_clearing() && repair.tracker.is_durable() && !repair.ended {
            repair.ended = true;
            if let Some(begun) = repair.round.begun() {
                let took_ns = context.now.mono.saturating_sub(begun.at);
                context.note(Note::Round(RoundNote::Ended { round: begun.round, took_ns }));
            }
        }
    }

    /// Brings the round forward as far as it may go now.
    pub(super) fn drive_round<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(repair) = self.repair.as_mut() else { return };
        if repair.wants_to_write() {
            repair.tracker.poke(context);
            self.look_at_marks(context);
        }
        if self.closed || self.landing.failed() {
            return;
        }
        self.begin_round(context);
        self.send_pieces(context);
        // Which lanes count is settled before the other site is whole again.
        let settled = !self.is_asking();
        if settled && self.repair.as_ref().is_some_and(|repair| repair.round.is_complete()) {
            self.end_round(context, RoundOutcome::Complete);
        }
        self.look_for_end(context);
    }

    /// When the round has something to do next.
    pub(super) fn round_deadline(&self, soon: u64) -> u64 {
        let Some(repair) = self.repair.as_ref().filter(|_| !self.closed && !self.landing.failed()) else {
            return u64::MAX;
        };
        let starts = repair.round.is_waiting() && self.receipts.newest.staging > 0;
        if repair.wants_to_write() || starts { soon } else { repair.round.due_at().max(soon) }
    }

    fn begin_round<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let heard = self.receipts.newest;
        let Some(repair) = self.repair.as_mut() else { return };
        // Also while it is held: until a round has begun, its target lets by what hosts write.
        let may = repair.round.is_waiting() && !repair.opening && heard.staging > 0;
        if !may || repair.round.reading() > 0 {
            return;
        }
        let (Some(block), Some(spare)) = (context.buffers.take(BLOCK), context.buffers.take(BLOCK)) else {
            return rare!(RoundStarved);
        };
        repair.spare = Some(spare);
        let time = self.clock.next(context.now.wall.min(LATEST_WALL));
        let target = Target { staging: heard.staging, no_cut: heard.no_cut };
        let begun = repair.round.begin(context.now.mono, time, repair.tracker.map(), target);
        let mark = RoundBegin {
            round: begun.round,
            epoch: self.epoch,
            reason: repair.reason,
            in_place: begun.in_place,
            map_generation: repair.tracker.map().generation(),
            regions: begun.bytes / midspan_format::geometry::REGION_BYTES,
            from_cut: heard.cut,
        };
        self.sealer.join_mark(block, time, &Mark::RoundBegin(mark));
        let (round, bytes, in_place) = (begun.round, begun.bytes, begun.in_place);
        context.note(Note::Round(RoundNote::Began { round, bytes, in_place }));
    }

    /// What of the ring the round may fill: the rest is for what hosts write.
    pub(super) fn round_space(&self) -> u64 {
        self.ring_size() / 4 * 3
    }

    /// Whether the round has something to send, and the ring no room for it.
    pub(super) fn round_is_held_up(&self) -> bool {
        let sends = self.repair.as_ref().is_some_and(|repair| repair.round.due_at() != u64::MAX);
        sends && self.used() >= self.round_space()
    }

    /// Reads the next pieces; fewer at a time while hosts wait for something.
    fn send_pieces<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        loop {
            let (used, space) = (self.used(), self.round_space());
            let Some(repair) = self.repair.as_mut() else { return };
            let reading = repair.round.reading();
            let limit = if self.inflight.len() > reading { 1 } else { READING };
            let room = used < space && !self.ring_full && self.sealer.waiting() < READING;
            if reading >= limit || !room || !repair.round.is_due(context.now.mono) {
                return;
            }
            // At its end the frozen map is walked once more than there are pieces.
            let Some((volume, offset, length)) = repair.round.next_piece() else { return };
            let size = usize::try_from(PIECE).unwrap_or(0);
            let entered = context.buffers.take(size).and_then(|into| {
                let place = (offset, length);
                self.inflight.enter_copy(context, volume, place, false, into, &mut self.steps)
            });
            if entered.is_none() {
                rare!(RoundPiecePutBack);
                return repair.round.put_back(volume, offset);
            }
        }
    }

    fn end_round<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, outcome: RoundOutcome) {
        let Some(repair) = self.repair.as_mut() else { return };
        let (Some(begun), Some(block)) = (repair.round.begun(), repair.spare.take()) else { return };
        let time = self.clock.next(context.now.wall.min(LATEST_WALL));
        let mark = RoundEnd {
            round: begun.round,
            outcome,
            map_generation: repair.tracker.map().generation(),
            regions: begun.sent / midspan_format::geometry::REGION_BYTES,
            began: Time(begun.round),
        };
        self.sealer.join_mark(block, time, &Mark::RoundEnd(mark));
        let round = begun.round;
        match outcome {
            RoundOutcome::Complete => {
                repair.round.on_end(time);
                context.note(Note::Round(RoundNote::Sent { round, bytes: begun.sent }));
            }
            RoundOutcome::Cancelled => {
                rare!(RoundCancelled);
                repair.round.cancel();
                context.note(Note::Round(RoundNote::Cancelled { round }));
            }
        }
    }

    /// The marks go when the target's cut has reached the End, and not before (I6).
    fn look_for_end<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let applied = self.receipts.newest.applied.min(self.journaled());
        let Some(repair) = self.repair.as_mut() else { return };
        if repair.round.end().is_some_and(|end| applied >= end) {
            repair.round.on_reached();
            repair.tracker.clear_all();
            repair.tracker.poke(context);
            self.look_at_marks(context);
        }
    }
}
