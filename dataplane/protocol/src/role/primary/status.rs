//! How a primary stands: figures for status.

use midspan_format::geometry::Position;
use midspan_format::ids::Epoch;
use midspan_format::time::Time;

use super::Primary;
use crate::stage::manifests::Kept;
use crate::stage::receipts::Received;
use crate::vocab::buffer::Buffer;

/// Figures for status.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrimaryStatus {
    /// The ring is connected.
    pub connected: bool,
    /// Sealed before this position.
    pub sealed: Position,
    /// Journaled before this position.
    pub journaled: Position,
    /// On the own disks, flushed, before this position.
    pub landed: Position,
    /// What the secondary said.
    pub received: Received,
    /// Ring bytes, and bytes in use.
    pub ring: (u64, u64),
    /// Writes answered so far.
    pub answered: u64,
    /// Reads may be answered now.
    pub lease: bool,
    /// The ring is full: hosts wait.
    pub ring_full: bool,
    /// A local disk failed.
    pub disk_failed: bool,
    /// Oldest times of what is not journaled, and of what the secondary is not known to have acquired.
    pub pending_since: (Option<Time>, Option<Time>),
}

impl<B: Buffer> Primary<B> {
    /// The newer epoch that a lane refused us for, once one did.
    pub fn fenced(&self) -> Option<Epoch> {
        self.fenced
    }

    /// Whether a local disk failed.
    pub fn disk_failed(&self) -> bool {
        self.landing.failed()
    }

    /// Manifests that were issued and that no receipt covers, oldest first.
    pub fn manifests(&self) -> impl Iterator<Item = &Kept> + '_ {
        self.manifests.kept()
    }

    /// Figures for status.
    pub fn status(&self, now: u64) -> PrimaryStatus {
        let acquired = self.receipts.newest.acquired;
        let unacquired = self.manifests().find(|kept| kept.to > acquired).map(|kept| kept.times.0);
        PrimaryStatus {
            connected: self.ring.is_up(),
            sealed: self.ring.tip().map_or(Position(0), |t| t.position),
            journaled: self.journaled(),
            landed: self.landing.landed().0,
            received: self.receipts.newest,
            ring: (self.ring_size(), self.used()),
            answered: self.answered,
            lease: self.has_lease(now),
            ring_full: self.ring_full,
            disk_failed: self.landing.failed(),
            pending_since: (self.landing.unanswerable_since(), unacquired),
        }
    }
}
