//! Leaving the lanes because the ring is full: what is sealed ends where it belongs, what is not goes another way (design §4).

use alloc::vec::Vec;

use super::Primary;
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

    /// From now on nothing is sealed.
    pub fn depart(&mut self) {
        self.departs = true;
    }

    /// Whether everything sealed is journaled, answered and on the disks, flushed, and no disk operation runs.
    pub fn has_departed(&self) -> bool {
        let Some(tip) = self.ring.tip() else { return false };
        self.ring.pending() == 0
            && self.landing.landed().0 == tip.position
            && self.landing.is_idle()
            && self.flushes == 0
            && self.inflight.running() == self.held.len()
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
