//! What goes into the lane: frames where the ring has room (I3), manifests of what is journaled.

use midspan_format::geometry::{BLOCK_U64, Position};
use midspan_format::time::Time;

use super::Primary;
use crate::stage::inflight::WriteView;
use crate::stage::sealer::Known;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;
use crate::vocab::limits::RESERVE_BYTES;
use crate::vocab::milestone::{Milestone, Stage};
use crate::vocab::tip::Tip;

impl<B: Buffer> Primary<B> {
    /// Oldest position whose bytes may still be needed by somebody (I3).
    pub(super) fn needed_from(&self) -> Position {
        self.receipts.newest.acquired.min(self.landed_durable)
    }

    pub(super) fn used(&self) -> u64 {
        self.ring.tip().map_or(0, |tip| tip.position.0.saturating_sub(self.needed_from().0))
    }

    /// Whether records wait that only memory or ring space can hold up.
    pub(super) fn wants_to_seal(&self) -> bool {
        !self.sealer.is_empty()
            && self.pending() < self.config.limits.unjournaled_frames
            && self.landing.has_room()
            && !self.closed
            && !self.departs
            && self.may_seal()
            && !self.repair.as_ref().is_some_and(|repair| repair.is_opening())
    }

    pub(super) fn seal<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.ring_full = false;
        while self.wants_to_seal() {
            if self.used() + self.sealer.next_length() + RESERVE_BYTES > self.ring_size() {
                rare!(RingFull);
                self.ring_full = true;
                break;
            }
            if !self.seal_one(context) {
                break;
            }
        }
        let held_up = self.ring_full && self.sealer.holds_hosts_up();
        self.full_since = self.full_since.filter(|_| held_up);
        if held_up {
            self.full_since.get_or_insert(context.now.mono);
        }
        // A round leaves hosts a part of the ring, and waits when it gets there; so does a comparison.
        let full = self.ring_full || self.round_is_held_up() || self.verify_is_held_up();
        // A full ring is freed by a newer `landed`, which must be durable in the lane first: an empty frame carries it.
        let gain =
            self.receipts.newest.acquired.min(self.landing.landed().0).0.saturating_sub(self.needed_from().0);
        let room = self.used() + self.sealer.next_length().min(RESERVE_BYTES / 2) <= self.ring_size();
        if full && gain > RESERVE_BYTES && room && self.pending() == 0 && self.landing.has_room() {
            rare!(RingFreed);
            self.seal_empty(context);
        }
    }

    /// A write has its time: it is on its way into a frame.
    pub(super) fn reach_timed<S: Buffers<Buf = B>>(
        &self,
        context: &mut Context<'_, S>,
        op: u32,
        time: Time,
        view: &WriteView<B>,
    ) {
        let request = self.inflight.request(op).map_or(u32::MAX, |request| request.0);
        let length = u32::try_from(view.length).unwrap_or(u32::MAX);
        let (group, with) = (self.config.group, u64::from(op));
        context.reach(Milestone { stage: Stage::Timed, group, request, length, place: time.0, with });
    }

    pub(super) fn known(&self) -> Known {
        let (landed, landed_time) = self.landing.landed();
        Known { landed, landed_time, journaled: self.journaled(), ..Known::default() }
    }

    pub(super) fn seal_one<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) -> bool {
        let Some(tip) = self.ring.tip() else { return false };
        let known = Known { data_at: self.place_of_data(), ..self.known() };
        let mut ops = self.landing.blank();
        let Some(frame) = self.sealer.seal(context.buffers, tip, known, &mut ops) else {
            rare!(SealStarved);
            return false;
        };
        let (request, with) = (frame.header.records, frame.header.last_time.0);
        context.reach(Milestone { request, with, ..Milestone::frame(Stage::Sealed, &frame.header) });
        self.verifying.on_sealed(&frame.header);
        if let Some(repair) = self.repair.as_mut() {
            repair.round.on_sealed(frame.header.last_time, frame.header.end());
        }
        if let Some(unreceived) = self.unreceived.as_mut() {
            for view in ops.iter().filter_map(|op| self.inflight.view(*op)) {
                unreceived.mark(view.volume, view.offset, view.length);
            }
        }
        self.put(context, &frame);
        self.landing.push(frame, ops);
        true
    }

    pub(super) fn seal_empty<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        // It is what the reserve is for, and still goes over nothing that is needed, however often it is asked for (I3).
        let fits = self.used() + BLOCK_U64 <= self.ring_size();
        let Some(tip) = self.ring.tip().filter(|_| fits && self.may_seal()) else { return };
        let known = self.known();
        let ops = self.landing.blank();
        if let Some(frame) = self.sealer.seal_empty(context.buffers, tip, known) {
            if let Some(repair) = self.repair.as_mut() {
                // It takes room in the target's ring, too.
                repair.round.has_room(0);
            }
            self.put(context, &frame);
            self.landing.push(frame, ops);
        }
    }

    pub(super) fn manifest_fits(&self) -> bool {
        let tip = self.manifest_tip();
        tip.is_some_and(|tip| self.manifests.fits(tip, self.manifest_writer.size()))
    }

    fn manifest_tip(&self) -> Option<Tip> {
        self.manifests.direct_tip().or_else(|| self.manifest_writer.tip())
    }

    pub(super) fn issue_manifest<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.manifests.catch_up(context.now.mono);
        let due = context.now.mono >= self.manifests.due_at(self.config.pace.manifest_ns);
        let Some(tip) = self.manifest_tip().filter(|_| due && !self.closed) else { return };
        if !self.manifest_fits() {
            return;
        }
        self.say_answerable(context);
        let known = self.known();
        if let Some(frame) = self.manifests.seal(context.buffers, tip, known) {
            let control = self.config.control;
            let tells = self.config.tells();
            if let Some(site) = self.site_link.as_mut().filter(|_| tells) {
                site.tell(context, &frame);
            }
            if control.by_relay() {
                self.manifest_writer.append(context, frame);
            }
        }
    }
}
