//! What exists at one place only, and how a ring that fills is dealt with: numbers get names.

use std::time::Duration;

use midspan_format::exposure::{
    Amount as MeasuredAmount, Exposure as MeasuredExposure, OverflowStatus as MeasuredOverflow,
};

use crate::api::types::{Amount, ExposureStatus, OverflowStatus, RingForecast};

pub(super) fn exposure(measured: &MeasuredExposure) -> ExposureStatus {
    ExposureStatus {
        primary_only: amount(measured.primary),
        in_flight: amount(measured.in_flight),
        relay_only: amount(measured.relay),
        takeover_loses: amount(measured.loss),
    }
}

fn amount(measured: MeasuredAmount) -> Amount {
    let seconds = |ns| Duration::from_nanos(ns).as_secs_f64();
    Amount { bytes: measured.bytes, seconds: measured.ns.map(seconds) }
}

/// The driver adds the forecast.
pub(super) fn overflow(measured: &MeasuredOverflow) -> OverflowStatus {
    let when_full = if measured.leaves { "suspend" } else { "stall" };
    let policy = if measured.max_delay_ns > 0 { "throttle" } else { when_full };
    OverflowStatus {
        policy: policy.to_owned(),
        when_full: when_full.to_owned(),
        threshold_percent: measured.threshold,
        above_threshold: measured.crossed,
        throttled: measured.throttled,
        waiting_writes: measured.waiting,
        delayed_writes: measured.delayed,
        pace_bytes_per_second: measured.pace_bytes_per_s,
        max_delay_ms: measured.max_delay_ns / 1_000_000,
        forecast: RingForecast::default(),
    }
}
