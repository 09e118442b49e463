//! Comparing the sites: what is asked, how it goes on, what is found.

use serde::{Deserialize, Serialize};

use super::Progress;

/// `POST /v1/groups/{name}/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct VerifyRequest {
    /// Name of the one volume to be compared; `null`: all volumes of the group.
    pub volume: Option<String>,
    /// Compare at most so many bytes a second; `null`: the group's `round_rate`, or as fast as hosts leave it.
    pub bytes_per_second: Option<u64>,
    /// Send what differs to the other site by a round, at the end.
    pub repair: bool,
}

impl VerifyRequest {
    /// What else was asked, as in `with` of its operation.
    pub fn with(&self) -> String {
        let volume = self.volume.as_ref().map(|volume| format!("volume {volume}"));
        let rate = self.bytes_per_second.map(|rate| format!("{rate} bytes a second"));
        let repair = self.repair.then(|| "repair".to_owned());
        [volume, rate, repair].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A verify that runs, at the primary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct VerifyStatus {
    /// Bytes to be compared.
    pub bytes: u64,
    /// Bytes of them whose digests were sent.
    pub bytes_sent: u64,
    /// Bytes of them that the secondary has compared, as far as known here.
    pub compared_bytes: u64,
    /// Bytes of pieces that differ, as far as known here.
    pub different_bytes: u64,
    /// How much was sent, 0 to 100.
    pub percent: f64,
    /// Bytes in a second; `null` until a second was seen.
    pub bytes_per_second: Option<u64>,
    /// Time until everything is sent at that rate, seconds.
    pub eta_seconds: Option<f64>,
}

/// Progress of a verify.
pub type VerifyProgress = Progress<VerifyOutcome>;

/// What a verify found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct VerifyOutcome {
    /// What is so now, in a sentence.
    pub statement: String,
    /// Everything that was asked for was compared.
    pub complete: bool,
    /// Bytes that were to be compared.
    pub bytes: u64,
    /// Bytes that were.
    pub compared_bytes: u64,
    /// Of them, bytes of pieces (of at most 128 KiB) that differ.
    pub different_bytes: u64,
    /// Where they lie, by volume and offset; neighbouring pieces are one range, and 96 ranges are listed at most.
    pub differences: Vec<DifferentRange>,
    /// A round sends the ranges that are listed to the other site.
    pub repairs: bool,
    /// Why it ended before its time; `null` where it did not.
    pub stopped: Option<String>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// A range that the sites do not hold alike. Which site is right is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DifferentRange {
    /// Name of the volume.
    pub volume: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The time in the group's order at which both sites were compared.
    pub time_ns: u64,
}
