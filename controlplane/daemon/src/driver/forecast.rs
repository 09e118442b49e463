//! What becomes of each group's ring at the present rates.

use std::collections::BTreeMap;

use midspan_control::estimate::{FillRate, SendRate, outage};

use crate::api::types::{GroupStatus, RingForecast};

/// What is watched of one group.
#[derive(Debug, Default)]
struct Watched {
    fill: FillRate,
    written: SendRate,
    drained: SendRate,
}

/// That of all groups.
#[derive(Debug, Default)]
pub(super) struct Forecasts {
    of: BTreeMap<String, Watched>,
}

impl Forecasts {
    /// From how full the ring was before.
    pub(super) fn estimate(&mut self, now_ns: u64, status: &mut GroupStatus) {
        let Some(lane) = status.lanes.first_mut() else { return };
        let (Some(used), Some(size)) = (lane.ring.used_bytes, lane.ring.size_bytes) else { return };
        let watched = self.of.entry(status.group.clone()).or_default();
        watched.fill.on_sample(now_ns, used);
        let full_in_seconds = seconds(watched.fill.seconds_to_full(size));
        lane.ring.full_in_seconds = full_in_seconds;
        let Some(overflow) = &mut status.overflow else { return };
        let Some(sealed) = lane.watermarks.sealed else { return };
        watched.written.on_sample(now_ns, sealed);
        watched.drained.on_sample(now_ns, sealed.saturating_sub(used));
        let threshold = size / 100 * overflow.threshold_percent;
        let written = watched.written.bytes_per_second();
        overflow.forecast = RingForecast {
            written_bytes_per_second: written,
            drained_bytes_per_second: watched.drained.bytes_per_second(),
            threshold_in_seconds: seconds(watched.fill.seconds_to_full(threshold)),
            full_in_seconds,
            drained_in_seconds: seconds(watched.fill.seconds_to_empty()),
            outage_seconds: seconds(written.and_then(|rate| outage(size, used, rate))),
        };
    }
}

fn seconds(count: Option<u64>) -> Option<f64> {
    count.and_then(|count| u32::try_from(count).ok()).map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{LaneStatus, OverflowStatus, RingUse, Watermarks};

    const SECOND_NS: u64 = 1_000_000_000;

    fn status(sealed: u64, used: u64) -> GroupStatus {
        let ring = RingUse { size_bytes: Some(100_000), used_bytes: Some(used), ..RingUse::default() };
        let watermarks = Watermarks { sealed: Some(sealed), ..Watermarks::default() };
        let lane = LaneStatus { ring, watermarks, ..LaneStatus::default() };
        let overflow = OverflowStatus { threshold_percent: 80, ..OverflowStatus::default() };
        GroupStatus {
            group: "vault".into(),
            lanes: vec![lane],
            overflow: Some(overflow),
            ..GroupStatus::default()
        }
    }

    fn after(steps: impl Iterator<Item = (u64, u64)>) -> RingForecast {
        let mut forecasts = Forecasts::default();
        let mut found = RingForecast::default();
        for (second, (sealed, used)) in (0..).zip(steps) {
            let mut status = status(sealed, used);
            forecasts.estimate(second * SECOND_NS, &mut status);
            found = status.overflow.unwrap().forecast;
        }
        found
    }

    #[test]
    fn a_ring_that_keeps_up_says_beforehand_which_outage_it_rides_out() {
        let found = after((0..60).map(|second| (second * 1000, 20_000)));
        let rates = (found.written_bytes_per_second, found.drained_bytes_per_second);
        assert!(matches!(rates, (Some(999..=1000), Some(900..=1100))), "{rates:?}");
        assert_eq!((found.full_in_seconds, found.drained_in_seconds), (None, None));
        let outage = found.outage_seconds.unwrap();
        assert!((79.0..82.0).contains(&outage), "{outage}");
    }

    #[test]
    fn a_ring_that_nothing_drains_reaches_the_threshold_before_the_end() {
        let found = after((0..60).map(|second| (second * 1000, second * 1000)));
        let (threshold, full) = (found.threshold_in_seconds.unwrap(), found.full_in_seconds.unwrap());
        assert!((20.0..22.0).contains(&threshold) && (40.0..43.0).contains(&full), "{threshold} {full}");
        assert_eq!(found.drained_bytes_per_second, Some(0));
    }

    #[test]
    fn a_ring_that_drains_says_when_it_is_empty() {
        let found = after((0..60).map(|second| (0, 90_000 - second * 1000)));
        let drained = found.drained_in_seconds.unwrap();
        assert!((30.0..33.0).contains(&drained), "{drained}");
        assert_eq!((found.outage_seconds, found.full_in_seconds), (None, None), "nobody writes");
    }
}
