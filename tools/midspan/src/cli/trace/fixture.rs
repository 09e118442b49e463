//! Recordings of three nodes whose clocks are apart by a known amount.

use midspan_daemon::api::types::{Role, TraceEvent, TraceStage as S};

use super::record::Recording;

/// Two writes in one frame that go all the way, and a third that the recording leaves at the relay. The relay's and the
/// secondary's clocks are ahead of the primary's by so many nanoseconds.
pub fn three_nodes(relay: u64, secondary: u64) -> Vec<Recording> {
    let base = 1_000_000_000_000;
    let event = |at: u64, stage, request, length, place, with| {
        TraceEvent(base + at * 1000, stage, request, length, place, with)
    };
    let primary = vec![
        event(0, S::Arrived, 1, 4096, 4096, 3),
        event(2, S::Arrived, 2, 4096, 65536, 3),
        event(4, S::Timed, 1, 4096, 100, 0),
        event(5, S::Timed, 2, 4096, 101, 1),
        event(9, S::Sealed, 2, 12288, 8192, 101),
        event(10, S::Sent, 0, 12288, 8192, 7),
        event(160, S::Acknowledged, 0, 0, 20480, 0),
        event(161, S::Answered, 1, 0, 0, 0),
        event(162, S::Answered, 2, 0, 0, 0),
        event(170, S::Arrived, 1, 4096, 0, 3),
        event(171, S::Timed, 1, 4096, 102, 2),
        event(172, S::Sealed, 1, 8192, 20480, 102),
        event(173, S::Sent, 0, 8192, 20480, 8),
        event(190, S::Written, 0, 0, 0, 1),
        event(200, S::Written, 0, 0, 0, 0),
        event(330, S::Acknowledged, 0, 0, 28672, 0),
        event(331, S::Answered, 1, 0, 0, 0),
    ];
    let at_relay = vec![
        event(30, S::Received, 0, 12288, 8192, 7),
        event(140, S::Journaled, 0, 0, 20480, 7),
        event(193, S::Received, 0, 8192, 20480, 8),
        event(310, S::Journaled, 0, 0, 28672, 8),
        event(400, S::Served, 0, 12288, 8192, 0),
    ];
    let at_secondary = vec![
        event(360, S::Asked, 0, 12288, 8192, 0),
        event(440, S::Fetched, 0, 12288, 8192, 7),
        event(600, S::Acquired, 0, 0, 20480, 0),
        event(700, S::Applied, 0, 0, 20480, 0),
    ];
    let node = |node: &str, role, ahead: u64, events: Vec<TraceEvent>| Recording {
        node: node.to_owned(),
        role,
        boot_at_ns: 1_700_000_000_000_000_000 - i128::from(ahead),
        events: events.into_iter().map(|e| TraceEvent(e.0 + ahead, e.1, e.2, e.3, e.4, e.5)).collect(),
        lost: 0,
    };
    vec![
        node("a", Role::Primary, 0, primary),
        node("relay", Role::Relay, relay, at_relay),
        node("b", Role::Secondary, secondary, at_secondary),
    ]
}
