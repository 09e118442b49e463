//! Leaving the lanes because the ring is full, or its relay away: what is answered ends where it belongs, what is not goes
//! another way (design §4).

use alloc::vec::Vec;

use super::Primary;
use crate::lane::site_link::SiteLink;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, HostOp, HostRequest};

impl<B: Buffer> Primary<B> {
    /// When hosts have waited for the ring for long enough; `u64::MAX` where they wait on. A round's source has said already
    /// that it answers what no lane holds: it may always, but only when its target does not move, or no round would ever end.
    pub fn leaves_at(&self) -> u64 {
        let repairs = self.repair.is_some();
        let may = (self.config.may_leave || repairs) && !self.landing.failed() && !self.closed;
        let Some(since) = self.full_since.filter(|_| may) else { return u64::MAX };
        let since = if repairs { since.max(self.heard_at) } else { since };
        since + self.config.pace.leave_ns
    }

    /// When the relay has been away for long enough, and the lanes can be left without it: the other site can be told, or the
    /// group goes on where nobody can be.
    pub fn lost_at(&self) -> u64 {
        let may = self.unreceived.is_some() && !self.landing.failed() && !self.closed;
        let told = self.config.alone || self.site_link.as_ref().is_some_and(SiteLink::is_up);
        let Some(since) = self.lost_since.filter(|_| may && told) else { return u64::MAX };
        since + self.config.pace.leave_ns
    }

    /// From now on nothing is sealed; without the relay, nothing more is journaled either.
    pub fn depart<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, lost: bool) {
        self.departs = true;
        if lost {
            self.ring.close(context);
        }
    }

    /// The lanes are not left after all.
    pub fn stay(&mut self) {
        self.departs = false;
    }

    /// Whether everything answered is on the disks, flushed, no disk operation runs, and nothing that was sealed can become
    /// answerable any more: either all of it has, or the lane is closed.
    pub fn has_departed(&self) -> bool {
        let pending = self.ring.pending() > 0 && !self.ring.is_closed();
        !pending
            && self.landing.landed().0 == self.ring.journaled()
            && self.landing.is_idle()
            && self.flushes == 0
            && self.inflight.running() == self.held.len()
    }

    /// Marks what the secondary may lack of what was answered in the lanes.
    pub fn mark_unreceived(&self, tracker: &mut Tracker) {
        if let Some(unreceived) = &self.unreceived {
            unreceived.mark_in(tracker, self.receipts.newest.acquired);
        }
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
        let mut requests = self.inflight.take_requests();
        let volume = self.config.volumes.first().map_or(midspan_format::ids::VolumeId(0), |v| v.id);
        while let Some(id) = self.waiting_flushes.pop_front() {
            requests.push(HostRequest { id, volume, op: HostOp::Flush });
        }
        self.close(context);
        requests
    }
}
