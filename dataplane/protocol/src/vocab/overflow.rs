//! What a primary tells of a ring that fills.

#![expect(missing_docs, reason = "a variant's sentence says what its fields are")]

/// How a primary's ring fills, and what hosts see of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverflowNote {
    /// More of it is in use than the threshold says: so many bytes of so many.
    Filling { used: u64, size: u64 },
    /// It has fallen well below the threshold.
    Drained { used: u64, size: u64 },
    /// Hosts' writes are paced, each held back for so long at most, ns.
    Throttles { max_delay_ns: u64 },
    /// They are not any more; so many were held back.
    Flows { delayed: u64 },
}
