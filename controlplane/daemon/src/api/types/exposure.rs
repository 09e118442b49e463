//! What exists at one place only, and how a ring that fills is dealt with, as serde types.

use serde::{Deserialize, Serialize};

/// An amount of what hosts wrote; `null` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Amount {
    /// Bytes at most.
    pub bytes: Option<u64>,
    /// Written within so many seconds.
    pub seconds: Option<f64>,
}

/// What would be gone with one place, as far as this node knows, and what a takeover now would lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ExposureStatus {
    /// Answered, and on the primary's own disks only: written outside the lanes, and not brought into them by a round yet.
    pub primary_only: Amount,
    /// On its way to the lanes and answered to nobody.
    pub in_flight: Amount,
    /// In the lanes, and not at the secondary: besides the primary only the relay has it.
    pub relay_only: Amount,
    /// Answered writes that a takeover now would lose: 0 where `zero_loss` is true.
    pub takeover_loses: Amount,
}

/// How a primary in the lanes deals with a ring that fills up, and what is to be expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OverflowStatus {
    /// What is done from the threshold on: `throttle`, or nothing until the ring is full.
    pub policy: String,
    /// What is done when the ring is full: `suspend` (hosts go on outside the lanes) or `stall` (they wait).
    pub when_full: String,
    /// Percent of the ring from which on it counts as filling up.
    pub threshold_percent: u64,
    /// It is beyond that.
    pub above_threshold: bool,
    /// Hosts' writes are paced now.
    pub throttled: bool,
    /// Writes that are held back now.
    pub waiting_writes: u64,
    /// Writes that were held back since this primary began.
    pub delayed_writes: u64,
    /// Bytes of the ring in a second that are let in now; `null`: as many as hosts write.
    pub pace_bytes_per_second: Option<u64>,
    /// How long one write is held back at most, milliseconds; 0: none is.
    pub max_delay_ms: u64,
    /// What is to be expected.
    pub forecast: RingForecast,
}

/// What becomes of a ring at the present rates; `null` where that cannot be said, or will not come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RingForecast {
    /// Bytes of the ring that are written in a second.
    pub written_bytes_per_second: Option<u64>,
    /// Bytes of it that become free in a second.
    pub drained_bytes_per_second: Option<u64>,
    /// Time until the threshold is reached, seconds.
    pub threshold_in_seconds: Option<f64>,
    /// Time until it is full, seconds.
    pub full_in_seconds: Option<f64>,
    /// Time until it is empty, seconds.
    pub drained_in_seconds: Option<f64>,
    /// How long the secondary can be away from now on before the ring is full, where hosts write on as they do, seconds.
    pub outage_seconds: Option<f64>,
}
