//! Who may write a group's areas here, durably: permission, fence, lease (I5, I11; claims 4 and 14).
//!
//! One permit block per group is replaced as a whole, so a fence changes the epoch and all writers in one atomic step. From
//! the decision on the former writer gets no progress; the answer waits until the permit is durable, everything already
//! given to the disk has settled, and the former writer's lease has run out.

use midspan_format::ids::{Epoch, NodeId};
use midspan_format::message::{Fence, FenceIntent, RefusedReason};
use midspan_format::superblock::GroupPermit;

use crate::vocab::effect::LinkId;
use crate::vocab::limits::drift_margin;

/// A fence that was decided and is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who asked, and by which request.
    pub link: Option<LinkId>,
    /// The request's number.
    pub request: u64,
    /// When it was decided.
    pub since: u64,
    /// Monotonic time before which the former writer may still answer reads.
    pub lease_until: u64,
    /// The epoch that was replaced.
    pub found: Epoch,
    /// Whether the new permit is durable.
    pub durable: bool,
}

/// The permission of one group.
#[derive(Debug)]
pub struct Guard {
    /// As on disk, or on its way there.
    pub permit: GroupPermit,
    /// The fence in progress.
    pub pending: Option<Pending>,
    /// The present writer gave its lease back: a fence need not wait for it. One that gave its epoch back, too, is no writer any more, durably.
    pub released: bool,
    started_at: u64,
    /// Before this time some former writer may still answer reads, whoever fenced it: also when that fence was decided
    /// by an earlier process of this node.
    quiet_until: u64,
}

impl Guard {
    /// The permit found on disk by a node that started at `started_at`.
    pub fn new(permit: GroupPermit, started_at: u64) -> Self {
        let fenced_before = permit.former != NodeId::NONE && permit.former != permit.primary;
        let quiet_until = if fenced_before { started_at + lease_with_margin(&permit) } else { 0 };
        let released = permit.primary == NodeId::NONE && permit.epoch.is_held();
        Self { permit, pending: None, released, started_at, quiet_until }
    }

    /// The holder of the epoch in force gives it back: nobody may write until another one is taken, and the writer before may take that.
    pub fn give_back(&mut self) {
        self.permit.primary = NodeId::NONE;
        self.released = true;
    }

    /// Whose epoch is in force.
    pub fn holder(&self) -> NodeId {
        let given_back = self.permit.primary == NodeId::NONE && self.permit.epoch.is_held();
        if given_back { self.permit.epoch.node } else { self.permit.primary }
    }

    /// Whether the node is one of the group's two sites.
    pub fn is_site(&self, node: NodeId) -> bool {
        node != NodeId::NONE && self.permit.sites.contains(&node)
    }

    /// Judges a fence asked by `from`; on success the permit is changed in memory and must be written before anything
    /// else. `answered_at`: last answer to the present writer.
    ///
    /// # Errors
    /// The reason of the refusal; the epoch found is in the permit.
    pub fn fence(
        &mut self,
        now: u64,
        from: NodeId,
        link: LinkId,
        fence: &Fence,
        answered_at: u64,
    ) -> Result<(), RefusedReason> {
        if !self.is_site(from) || !self.is_site(fence.primary) {
            return Err(RefusedReason::NotPermitted);
        }
        if self.permit.deleted {
            return Err(RefusedReason::Deleted);
        }
        if self.pending.is_some() {
            rare!(FenceMeetsFence);
            return Err(RefusedReason::Busy);
        }
        let found = self.permit.epoch;
        let own = found.node == from || !found.is_held();
        let replaceable = match fence.intent {
            // Given back: the one before may go on.
            FenceIntent::Restart => {
                // One that its asker has followed or left behind is replaced whoever holds it: a takeover fences only as
                // many lanes as it must (decision 0019, rule 4).
                own || found <= fence.known || self.released && self.permit.former == from
            }
            FenceIntent::Takeover => true,
            FenceIntent::Probe => return Err(RefusedReason::NotPermitted),
        };
        if fence.replaces != found || !replaceable || fence.epoch <= found || fence.epoch.node != from {
            rare!(FenceStale);
            return Err(RefusedReason::EpochFound);
        }
        let former = self.holder();
        // A writer of the same node is a dead process: its disks are held exclusively, so no other can be alive there.
        if former != NodeId::NONE && former != from && !self.released {
            rare!(FenceWaitsForLease);
            let until = answered_at.max(self.started_at) + lease_with_margin(&self.permit);
            self.quiet_until = self.quiet_until.max(until);
        }
        let lease_until = self.quiet_until.max(now);
        // Who fences again does not make the one it replaced forgotten.
        let mut lease_ms = fence.lease_ms;
        if former != from {
            self.permit.former = former;
            self.permit.former_epoch = found;
        }
        if self.permit.former != NodeId::NONE && self.permit.former != from {
            rare!(FenceKeepsLease);
            lease_ms = lease_ms.max(self.permit.lease_ms);
        }
        self.permit.epoch = fence.epoch;
        self.permit.primary = fence.primary;
        self.permit.secondary = fence.secondary;
        self.permit.lease_ms = lease_ms;
        self.released = false;
        let link = Some(link);
        self.pending =
            Some(Pending { link, request: fence.request, since: now, lease_until, found, durable: false });
        Ok(())
    }

    /// Whether a pending fence can be answered, once its appends have settled.
    pub fn is_due(&self, now: u64) -> bool {
        self.pending.is_some_and(|p| p.durable && now >= p.lease_until)
    }
}

/// How long a writer of this permit may answer reads after it was last answered, on any clock.
fn lease_with_margin(permit: &GroupPermit) -> u64 {
    let lease = u64::from(permit.lease_ms) * 1_000_000;
    lease + drift_margin(lease)
}

#[cfg(test)]
mod tests {
    use midspan_format::ids::GroupId;

    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(3);
    const MS: u64 = 1_000_000;

    fn fence(from: NodeId, replaces: Epoch, number: u64, intent: FenceIntent) -> Fence {
        Fence {
            request: number,
            group: GroupId(1),
            replaces,
            epoch: Epoch { number, node: from },
            known: Epoch::NONE,
            primary: from,
            secondary: if from == A { B } else { A },
            intent,
            lease_ms: 500,
        }
    }

    /// A wrote in epoch 1 and was last answered at 1 s.
    fn guard() -> Guard {
        let mut guard = Guard::new(GroupPermit { sites: [A, B], ..GroupPermit::default() }, 0);
        guard.fence(0, A, LinkId(1), &fence(A, Epoch::NONE, 1, FenceIntent::Restart), 0).unwrap();
        guard.pending = None;
        guard
    }

    fn take(guard: &mut Guard, now: u64, number: u64, answered_at: u64) -> u64 {
        let replaces = guard.permit.epoch;
        guard
            .fence(now, B, LinkId(2), &fence(B, replaces, number, FenceIntent::Takeover), answered_at)
            .unwrap();
        guard.pending.take().unwrap().lease_until
    }

    #[test]
    fn a_takeover_waits_for_the_lease_of_the_former_primary() {
        assert_eq!(take(&mut guard(), 1_100 * MS, 2, 1_000 * MS), 1_550 * MS);
    }

    #[test]
    fn a_restart_never_replaces_the_epoch_of_another_node() {
        let mut guard = guard();
        take(&mut guard, 1_100 * MS, 2, 1_000 * MS);
        let replaces = guard.permit.epoch;
        let refused = guard.fence(9_000 * MS, A, LinkId(3), &fence(A, replaces, 9, FenceIntent::Restart), 0);
        assert_eq!(refused, Err(RefusedReason::EpochFound));
    }

    /// Histories 5 and 33, through restarts of the relay: the taker that fences again does not make the one it replaced
    /// forgotten, whose lease may still run.
    #[test]
    fn fencing_again_after_restarts_of_the_relay_still_waits_for_the_first_lease() {
        let mut guard = guard();
        take(&mut guard, 1_100 * MS, 2, 1_000 * MS);
        let mut guard = Guard::new(guard.permit, 1_200 * MS);
        assert_eq!(take(&mut guard, 1_210 * MS, 3, 0), 1_750 * MS);
        let mut guard = Guard::new(guard.permit, 1_300 * MS);
        assert_eq!(take(&mut guard, 1_310 * MS, 4, 0), 1_850 * MS);
    }

    /// A group whose id was used before: nobody holds the epoch that its relay begins with, and what is older stays out.
    #[test]
    fn a_vacant_epoch_is_replaced_by_whoever_starts_and_only_by_a_newer_one() {
        let permit = GroupPermit {
            sites: [A, B],
            epoch: Epoch { number: 7, node: B }.vacant_after(),
            former: B,
            lease_ms: 500,
            ..GroupPermit::default()
        };
        let vacant = permit.epoch;
        let mut guard = Guard::new(permit, 1_000 * MS);
        let older = guard.fence(0, A, LinkId(1), &fence(A, vacant, 7, FenceIntent::Restart), 0);
        assert_eq!(older, Err(RefusedReason::EpochFound));
        guard.fence(1_100 * MS, A, LinkId(1), &fence(A, vacant, 9, FenceIntent::Restart), 0).unwrap();
        assert_eq!(guard.permit.epoch, Epoch { number: 9, node: A });
        // The one that wrote the deleted group may still answer reads.
        assert_eq!(guard.pending.map(|pending| pending.lease_until), Some(1_550 * MS));
    }

    #[test]
    fn a_shorter_lease_of_the_taker_does_not_shorten_the_wait() {
        let mut guard = guard();
        let short = Fence { lease_ms: 50, ..fence(B, guard.permit.epoch, 2, FenceIntent::Takeover) };
        guard.fence(1_100 * MS, B, LinkId(2), &short, 1_000 * MS).unwrap();
        let mut guard = Guard::new(guard.permit, 1_200 * MS);
        assert_eq!(take(&mut guard, 1_210 * MS, 3, 0), 1_750 * MS);
    }

    #[test]
    fn an_epoch_that_was_given_back_stays_so_through_a_restart_of_the_node() {
        let mut guard = guard();
        take(&mut guard, 1_100 * MS, 2, 1_000 * MS);
        guard.give_back();
        let mut guard = Guard::new(guard.permit, 2_000 * MS);
        let replaces = guard.permit.epoch;
        // Who took it may take it anew, and still waits for the lease of the one before.
        let mut again = Guard::new(guard.permit, 2_000 * MS);
        assert_eq!(take(&mut again, 2_010 * MS, 3, 0), 2_550 * MS);
        assert_eq!(again.permit.former, A);
        // And the one before may go on.
        guard.fence(2_010 * MS, A, LinkId(3), &fence(A, replaces, 3, FenceIntent::Restart), 0).unwrap();
        assert_eq!((guard.permit.former, guard.released), (B, false));
    }

    #[test]
    fn a_released_writer_is_not_waited_for() {
        let mut guard = guard();
        guard.released = true;
        assert_eq!(take(&mut guard, 1_100 * MS, 2, 1_000 * MS), 1_100 * MS);
    }
}
