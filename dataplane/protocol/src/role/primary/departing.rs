//! Leaving the lanes because the ring is full, or its relay away: what is answered ends where it belongs, what is not goes
//! another way (design §4).

use alloc::vec::Vec;

use super::Primary;
use crate::lane::site_link::SiteLink;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, HostOp, HostRequest, VerifyStop};

impl<B: Buffer> Primary<B> {
    /// When hosts have waited for the ring for long enough; `u64::MAX` where they wait on. A round's source has said already
    /// that it answers what no lane holds: it may always, but only when its target does not move, or no round would ever end.
    pub fn leaves_at(&self) -> u64 {
        let repairs = self.repair.is_some();
        // What the other site has recorded of the lanes must be known first.
        let may = (self.config.may_leave || repairs) && !self.landing.failed() && !self.closed;
        let may = may && !self.is_asking();
        let Some(since) = self.full_since.filter(|_| may) else { return u64::MAX };
        let since = if repairs { since.max(self.heard_at) } else { since };
        since + self.config.pace.leave_ns
    }

    /// When the relay has been away for long enough, and the lanes can be left without it: the other site can be told, or the
    /// group goes on where nobody can be.
    pub fn lost_at(&self) -> u64 {
        let may = self.unreceived.is_some() && !self.landing.failed() && !self.closed;
        let told = self.config.alone || self.site_link.as_ref().is_some_and(SiteLink::is_up);
        let Some(since) = self.lanes_lost_since().filter(|_| may && told) else { return u64::MAX };
        let pace = &self.config.pace;
        // One that has just come back into the lanes needs a moment to be there.
        let patience = if self.was_up { pace.leave_ns } else { pace.leave_ns.max(pace.silence_ns) };
        // Another lane may take its place before.
        let patience = patience.max(self.lane_patience());
        if self.lanes_change() { u64::MAX } else { since + patience }
    }

    /// From now on nothing is sealed; without the relay, nothing more is journaled either.
    pub fn depart<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, lost: bool) {
        self.stop_verify(context, VerifyStop::NotPaired);
        self.departs = true;
        if lost {
            self.ring.close(context);
            self.close_second(context);
        }
    }

    /// Takes the reads that wait for a lease which will not come: nothing behind them may wait for them. They are asked outside.
    pub fn take_waiting_reads<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        while let Some((op, data)) = self.held.pop_front() {
            self.inflight.put_back(op, data);
            self.waiting_reads.push_back(op);
        }
        while let Some(op) = self.waiting_reads.pop_front() {
            let request = self.inflight.take_read(op);
            self.inflight.leave(context, op, &mut self.steps);
            self.taken.extend(request);
        }
        self.proceed(context);
    }

    /// The lanes are not left after all.
    pub fn stay(&mut self) {
        self.departs = false;
    }

    /// Whether everything answered is on the disks, flushed, no disk operation runs, and nothing that was sealed can become
    /// answerable any more: either all of it has, or the lane is closed.
    pub fn has_departed(&self) -> bool {
        let pending = self.pending() > 0 && !self.ring.is_closed();
        !pending
            && !self.is_asking()
            && self.landing.landed().0 == self.journaled()
            && self.landing.is_idle()
            && self.flushes == 0
            && self.inflight.running() == self.held.len()
    }

    /// Marks what the secondary may lack of what was answered in the lanes: in the map of the repair, or where there is none, in
    /// `other`. Whether those marks are durable, or never will be.
    pub fn mark_unreceived<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        other: Option<&mut Tracker>,
    ) -> bool {
        let journaled = self.journaled();
        let own = self.repair.as_mut().map(|repair| &mut repair.tracker);
        let Some(tracker) = own.or(other) else { return true };
        if let Some(unreceived) = self.unreceived.take() {
            rare!(UnreceivedMarked);
            unreceived.mark_in(tracker, self.receipts.newest.acquired.min(journaled));
        }
        tracker.poke(context);
        tracker.is_durable() || tracker.failed()
    }

    /// Takes what hosts have asked and were not answered, and ends the sessions.
    pub fn take_requests<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
    ) -> Vec<HostRequest<B>> {
        self.sealer.clear();
        self.steps.join.clear();
        self.steps.disk.clear();
        self.waiting_reads.clear();
        while let Some((op, data)) = self.held.pop_front() {
            self.inflight.put_back(op, data);
        }
        let mut requests = core::mem::take(&mut self.taken);
        requests.extend(self.inflight.take_requests());
        // What was held back was never in the lanes.
        requests.extend(self.overflow.take());
        self.tell_flowing(context);
        let volume = self.config.volumes.first().map_or(midspan_format::ids::VolumeId(0), |v| v.id);
        while let Some(id) = self.waiting_flushes.pop_front() {
            requests.push(HostRequest { id, volume, op: HostOp::Flush });
        }
        self.close(context);
        requests
    }
}
