//! What the groups do with a ring that fills, and whether their mode allows it.

use super::super::field::Field;
use super::super::schema::{Config, Group, Mode, Overflow};
use super::super::text::Span;
use super::report::Report;

/// Bounds of the threshold, percent: rounds take three quarters of the ring by themselves, and behind it hosts need some room.
const THRESHOLD: (u8, u8) = (76, 95);
/// Bounds of the longest delay of a write: hosts that wait longer give up.
const DELAY: (Span, Span) = (Span::from_ms(1), Span::from_ms(10_000));

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    for (index, group) in config.groups.iter().enumerate() {
        policy(group, &Field::table("group", index), report);
    }
}

fn policy(group: &Group, field: &Field, report: &mut Report<'_>) {
    let contradiction = match (group.overflow, group.mode) {
        (Overflow::Throttle, Mode::MaxProtection | Mode::MaxAvailability | Mode::MaxPerformance)
        | (Overflow::Suspend, Mode::MaxAvailability | Mode::MaxPerformance)
        | (Overflow::Stall, Mode::MaxProtection | Mode::MaxPerformance) => None,
        (Overflow::Suspend, Mode::MaxProtection) => Some(
            "\"suspend\" leaves the lanes, and mode = \"max-protection\" never does: allowed are \"throttle\" and \"stall\", or \
             mode = \"max-availability\"",
        ),
        (Overflow::Stall, Mode::MaxAvailability) => Some(
            "\"stall\" lets hosts wait, and mode = \"max-availability\" leaves a full ring: allowed are \"throttle\" and \
             \"suspend\", or mode = \"max-protection\"",
        ),
    };
    if let Some(message) = contradiction {
        report.error(&field.clone().key("overflow"), message.to_owned());
    }
    let threshold = group.overflow_threshold;
    if threshold < THRESHOLD.0 || threshold > THRESHOLD.1 {
        let message = format!(
            "{threshold} is out of range: allowed are {} to {} percent of the ring, of which a round takes up to 75",
            THRESHOLD.0, THRESHOLD.1
        );
        report.error(&field.clone().key("overflow_threshold"), message);
    }
    let Some(delay) = group.throttle_max_delay else { return };
    let field = field.clone().key("throttle_max_delay");
    if group.overflow != Overflow::Throttle {
        let message =
            "no write is held back with this `overflow`: leave the key out, or set overflow = \"throttle\"";
        report.error(&field, message.to_owned());
    }
    if delay < DELAY.0 || delay > DELAY.1 {
        let message = format!("{delay} is out of range: allowed are {} to {}", DELAY.0, DELAY.1);
        report.error(&field, message);
    }
}
