//! What exists at one place only, and how full a ring is, as metrics.

use crate::api::types::{Amount, ExposureStatus, GroupStatus, OverflowStatus};

use super::{OfGroup, whole};

fn of_exposure(group: &GroupStatus, amount: fn(&ExposureStatus) -> Amount) -> Option<Amount> {
    group.exposure.as_ref().map(amount)
}

fn of_overflow(group: &GroupStatus, value: fn(&OverflowStatus) -> u64) -> Option<f64> {
    group.overflow.as_ref().map(value).map(whole)
}

pub(super) const OF_GROUP: &[OfGroup] = &[
    ("exposure_primary_only_bytes", "Bytes answered that only the primary's own disks hold, at most.", |g| {
        of_exposure(g, |e| e.primary_only)?.bytes.map(whole)
    }),
    ("exposure_primary_only_seconds", "Time within which they were written.", |g| {
        of_exposure(g, |e| e.primary_only)?.seconds
    }),
    ("exposure_in_flight_bytes", "Bytes on their way to the lanes, answered to nobody.", |g| {
        of_exposure(g, |e| e.in_flight)?.bytes.map(whole)
    }),
    ("exposure_in_flight_seconds", "Time within which they were written.", |g| {
        of_exposure(g, |e| e.in_flight)?.seconds
    }),
    ("exposure_relay_only_bytes", "Bytes in the lanes that the secondary has not.", |g| {
        of_exposure(g, |e| e.relay_only)?.bytes.map(whole)
    }),
    ("exposure_relay_only_seconds", "Time within which they were written.", |g| {
        of_exposure(g, |e| e.relay_only)?.seconds
    }),
    ("takeover_loses_bytes", "Bytes answered that a takeover now would lose, at most.", |g| {
        of_exposure(g, |e| e.takeover_loses)?.bytes.map(whole)
    }),
    ("takeover_loses_seconds", "Time within which they were written.", |g| {
        of_exposure(g, |e| e.takeover_loses)?.seconds
    }),
    (
        "ring_above_threshold",
        "Whether more of the ring is in use than its threshold says (1) or not (0).",
        |g| of_overflow(g, |o| o.above_threshold.into()),
    ),
    ("throttled", "Whether hosts' writes are paced because the ring fills up (1) or not (0).", |g| {
        of_overflow(g, |o| o.throttled.into())
    }),
    ("throttle_waiting_writes", "Writes that are held back now.", |g| of_overflow(g, |o| o.waiting_writes)),
    ("throttle_delayed_writes_total", "Writes that were held back since this primary began.", |g| {
        of_overflow(g, |o| o.delayed_writes)
    }),
    ("ring_outage_seconds", "How long the secondary can be away from now on before the ring is full.", |g| {
        g.overflow.as_ref()?.forecast.outage_seconds
    }),
    ("ring_full_in_seconds", "Time until the ring is full at the present rate.", |g| {
        g.overflow.as_ref()?.forecast.full_in_seconds
    }),
    ("ring_drained_in_seconds", "Time until the ring is empty at the present rate.", |g| {
        g.overflow.as_ref()?.forecast.drained_in_seconds
    }),
];

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::api::types::NodeStatus;

    #[test]
    fn what_is_not_known_is_no_number() {
        let amount = |bytes, seconds| Amount { bytes, seconds };
        let exposure = ExposureStatus {
            relay_only: amount(Some(4096), Some(0.25)),
            takeover_loses: amount(Some(0), None),
            ..ExposureStatus::default()
        };
        let overflow = OverflowStatus { throttled: true, delayed_writes: 7, ..OverflowStatus::default() };
        let group = GroupStatus {
            group: "vault".into(),
            exposure: Some(exposure),
            overflow: Some(overflow),
            ..GroupStatus::default()
        };
        let text = page(&NodeStatus { groups: vec![group], ..NodeStatus::default() }, &[]);
        for line in [
            "midspan_exposure_relay_only_bytes{group=\"vault\"} 4096",
            "midspan_exposure_relay_only_seconds{group=\"vault\"} 0.25",
            "midspan_takeover_loses_bytes{group=\"vault\"} 0",
            "midspan_throttled{group=\"vault\"} 1",
            "midspan_throttle_delayed_writes_total{group=\"vault\"} 7",
            "# TYPE midspan_throttle_delayed_writes_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        for unknown in ["takeover_loses_seconds{", "exposure_primary_only_bytes{", "ring_outage_seconds{"] {
            assert!(!text.contains(unknown), "{unknown} in:\n{text}");
        }
    }
}
