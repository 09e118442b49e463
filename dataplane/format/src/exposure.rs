//! What of a group exists at one place only, and how a ring that fills is dealt with: figures of a status.

use rkyv::{Archive, Deserialize, Serialize};

/// An amount of what hosts wrote. What is not known is `None`, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Amount {
    /// So many bytes at most.
    pub bytes: Option<u64>,
    /// Written within so long, ns.
    pub ns: Option<u64>,
}

impl Amount {
    /// Nothing.
    pub const NONE: Self = Self { bytes: Some(0), ns: Some(0) };

    /// Bytes that were written within a time; no bytes take no time.
    pub const fn of(bytes: u64, ns: u64) -> Self {
        Self { bytes: Some(bytes), ns: Some(if bytes == 0 { 0 } else { ns }) }
    }
}

/// What would be gone with one place, as far as the node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Exposure {
    /// Answered, and on the primary's own disks only: what was written outside the lanes and no round has brought into them.
    pub primary: Amount,
    /// On its way to the lanes and answered to nobody: the primary alone has it.
    pub in_flight: Amount,
    /// In the lanes, and not in the secondary's own ring: besides the primary only the relay has it.
    pub relay: Amount,
    /// Answered writes that a takeover now would lose.
    pub loss: Amount,
}

/// How a primary deals with a ring that fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct OverflowStatus {
    /// When the ring is full for long the lanes are left; else hosts wait.
    pub leaves: bool,
    /// Percent of the ring from which on it counts as filling up.
    pub threshold: u64,
    /// It is beyond that.
    pub crossed: bool,
    /// Hosts' writes are paced now.
    pub throttled: bool,
    /// Writes that are held back now.
    pub waiting: u64,
    /// Writes that were held back since this role began.
    pub delayed: u64,
    /// Bytes in a second that are let in now; `None`: as many as hosts write.
    pub pace_bytes_per_s: Option<u64>,
    /// How long one write is held back at most, ns; 0: none is.
    pub max_delay_ns: u64,
}
