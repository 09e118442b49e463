//! `midspan status`: what exists at one place only, what a takeover would lose, and what becomes of a ring that fills up.

use std::fmt::Write as _;

use midspan_daemon::api::types::{Amount, GroupStatus, OverflowStatus, RingForecast};

use super::size;

/// The sentences of a group.
pub fn sentences(text: &mut String, group: &GroupStatus) {
    let name = &group.group;
    if let Some(found) = &group.exposure {
        let loses = match group.zero_loss {
            Some(true) if group.lanes_share => {
                "a takeover now would lose nothing answered, as long as both relays are there".to_owned()
            }
            Some(true) => "a takeover now would lose nothing answered".to_owned(),
            Some(false) | None => format!("a takeover now would lose: {}", amount(found.takeover_loses)),
        };
        let _ = writeln!(
            text,
            "{name}: {loses}; only at the primary: {}; only at {}: {}; in flight, not answered: {}",
            amount(found.primary_only),
            if group.lanes_share { "one of the relays" } else { "the relay" },
            amount(found.relay_only),
            amount(found.in_flight)
        );
    }
    if let Some(found) = &group.overflow {
        let _ = writeln!(text, "{name}: {}", expected(found));
        if found.throttled {
            let _ = writeln!(text, "{name}: {}", paced(found));
        }
    }
}

fn amount(amount: Amount) -> String {
    match (amount.bytes, amount.seconds) {
        (Some(0), _) => "nothing".to_owned(),
        (Some(bytes), Some(seconds)) => {
            format!("{} at most, written within {seconds:.3} s", size::show(bytes))
        }
        (Some(bytes), None) => format!("{} at most", size::show(bytes)),
        (None, Some(seconds)) => format!("what was written within {seconds:.3} s"),
        (None, None) => "not known here".to_owned(),
    }
}

/// What is done when the ring fills up, and when that will be.
fn expected(found: &OverflowStatus) -> String {
    let full = if found.when_full == "suspend" { "hosts go on outside the lanes" } else { "hosts wait" };
    let mut text = if found.policy == "throttle" {
        format!("from {} % of the ring hosts are paced, when it is full {full}", found.threshold_percent)
    } else {
        format!("when the ring is full {full}")
    };
    if found.above_threshold {
        let _ = write!(text, "; more than {} % is in use", found.threshold_percent);
    }
    let RingForecast { written_bytes_per_second, threshold_in_seconds, outage_seconds, .. } = found.forecast;
    if let (Some(rate), Some(seconds)) = (written_bytes_per_second, outage_seconds) {
        let _ = write!(
            text,
            "; at {}/s the secondary can be away for {seconds:.0} s before it is full",
            size::show(rate)
        );
    }
    for (what, seconds) in [
        ("the threshold is reached", threshold_in_seconds.filter(|_| !found.above_threshold)),
        ("it is full", found.forecast.full_in_seconds),
        ("it is empty", found.forecast.drained_in_seconds),
    ] {
        if let Some(seconds) = seconds {
            let _ = write!(text, "; {what} in {seconds:.0} s");
        }
    }
    text
}

fn paced(found: &OverflowStatus) -> String {
    let mut text = format!(
        "hosts are paced: {} writes are held back now, {} so far, each for {} ms at most",
        found.waiting_writes, found.delayed_writes, found.max_delay_ms
    );
    if let Some(pace) = found.pace_bytes_per_second {
        let _ = write!(text, "; {}/s of the ring are let in", size::show(pace));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use midspan_daemon::api::types::ExposureStatus;

    fn said(group: &GroupStatus) -> String {
        let mut text = String::new();
        sentences(&mut text, group);
        text
    }

    #[test]
    fn a_forecast_is_said_before_anything_happens() {
        let forecast = RingForecast {
            written_bytes_per_second: Some(5 << 20),
            outage_seconds: Some(41.0),
            ..RingForecast::default()
        };
        let overflow = OverflowStatus {
            policy: "throttle".into(),
            when_full: "suspend".into(),
            threshold_percent: 80,
            forecast,
            ..OverflowStatus::default()
        };
        let group = GroupStatus { group: "vault".into(), overflow: Some(overflow), ..GroupStatus::default() };
        let said = said(&group);
        for part in [
            "vault: from 80 % of the ring hosts are paced, when it is full hosts go on outside the lanes",
            "at 5 MiB/s the secondary can be away for 41 s before it is full",
        ] {
            assert!(said.contains(part), "{part} is missing in:\n{said}");
        }
        assert!(!said.contains("held back"), "{said}");
    }

    #[test]
    fn what_a_takeover_would_lose_is_said_and_nothing_is_said_of_what_is_not_known() {
        let amount = |bytes, seconds| Amount { bytes, seconds };
        let exposure = ExposureStatus {
            takeover_loses: amount(Some(1 << 20), Some(2.5)),
            relay_only: amount(Some(0), Some(0.0)),
            ..ExposureStatus::default()
        };
        let mut group = GroupStatus {
            group: "vault".into(),
            exposure: Some(exposure),
            zero_loss: Some(false),
            ..GroupStatus::default()
        };
        let text = said(&group);
        for part in [
            "would lose: 1 MiB at most, written within 2.500 s",
            "relay: nothing",
            "in flight, not answered: not known here",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        group.zero_loss = Some(true);
        assert!(said(&group).contains("would lose nothing answered"));
    }

    #[test]
    fn pacing_is_said_with_its_bound() {
        let overflow = OverflowStatus {
            policy: "throttle".into(),
            throttled: true,
            above_threshold: true,
            waiting_writes: 3,
            delayed_writes: 40,
            max_delay_ms: 200,
            pace_bytes_per_second: Some(1 << 20),
            ..OverflowStatus::default()
        };
        let group = GroupStatus { group: "vault".into(), overflow: Some(overflow), ..GroupStatus::default() };
        let text = said(&group);
        let part =
            "3 writes are held back now, 40 so far, each for 200 ms at most; 1 MiB/s of the ring are let in";
        assert!(text.contains(part), "{text}");
    }
}
