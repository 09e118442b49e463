//! The nodes' clocks brought together: by what the messages between them allow, with the bound of the error.
//!
//! A message is received after it was sent. So each message from A to B bounds B's clock from above (its time of receipt
//! minus its time of sending), and each from B to A bounds it from below. The truth lies between the tightest bounds; the
//! middle is taken, and half their distance is the error at most, as long as the clocks run at one rate.

use std::collections::HashMap;

use midspan_daemon::api::types::{Role, TraceEvent, TraceStage};
use serde::Serialize;

use super::record::Recording;

/// One node's clock against the primary's.
#[derive(Clone, Debug, Serialize)]
pub struct Offset {
    /// Name of the node.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// How far its clock is ahead of the primary's, nanoseconds.
    pub offset_ns: i128,
    /// Error of it at most; `null` where wall clocks had to be believed.
    pub error_ns: Option<u64>,
    /// How it was found: `reference`, `messages` or `wall_clock`.
    pub method: &'static str,
}

/// All clocks.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    /// One for each node, the primary first.
    pub offsets: Vec<Offset>,
}

/// The stages at both ends of a message, and what names it on both sides.
struct Kind {
    from: Role,
    to: Role,
    sent: TraceStage,
    received: TraceStage,
}

/// Frames and acknowledgements on the lane; requests for ranges and their answers behind it.
const KINDS: [Kind; 4] = [
    Kind { from: Role::Primary, to: Role::Relay, sent: TraceStage::Sent, received: TraceStage::Received },
    Kind {
        from: Role::Relay,
        to: Role::Primary,
        sent: TraceStage::Journaled,
        received: TraceStage::Acknowledged,
    },
    Kind { from: Role::Secondary, to: Role::Relay, sent: TraceStage::Asked, received: TraceStage::Served },
    Kind { from: Role::Relay, to: Role::Secondary, sent: TraceStage::Served, received: TraceStage::Fetched },
];

impl Clocks {
    /// Measures the clocks of a recording.
    pub fn measure(recordings: &[Recording]) -> Self {
        let of = |role: Role| recordings.iter().find(|recording| recording.role == role);
        let mut offsets = Vec::new();
        // Without the primary the first node is what the others are held against.
        let Some(reference) = of(Role::Primary).or(of(Role::Relay)).or(recordings.first()) else {
            return Self::default();
        };
        offsets.push(Offset {
            node: reference.node.clone(),
            role: reference.role,
            offset_ns: 0,
            error_ns: Some(0),
            method: "reference",
        });
        let mut done = vec![reference.node.as_str()];
        for role in [Role::Relay, Role::Secondary] {
            let Some(node) = of(role).filter(|node| !done.contains(&node.node.as_str())) else { continue };
            let measured = offsets.last().zip(of(role_before(role))).and_then(|(before, near)| {
                let (ahead, error) = between(near, node).filter(|_| before.node == near.node)?;
                Some((before.offset_ns + ahead, before.error_ns? + error))
            });
            done.push(&node.node);
            offsets.push(match measured {
                Some((offset_ns, error)) => offset(node, offset_ns, Some(error)),
                None => by_wall(reference, node),
            });
        }
        for node in recordings.iter().filter(|node| !done.contains(&node.node.as_str())) {
            offsets.push(by_wall(reference, node));
        }
        Self { offsets }
    }

    /// A node's time as the reference would have read it.
    pub fn align(&self, role: Role, at: u64) -> i128 {
        let found = self.offsets.iter().find(|offset| offset.role == role);
        i128::from(at) - found.map_or(0, |offset| offset.offset_ns)
    }

    /// Whether a node with this role was recorded.
    pub fn has(&self, role: Role) -> bool {
        self.offsets.iter().any(|offset| offset.role == role)
    }
}

/// The node next to it on the way of a write.
fn role_before(role: Role) -> Role {
    match role {
        Role::Secondary => Role::Relay,
        Role::Primary | Role::Relay | Role::Unknown => Role::Primary,
    }
}

fn offset(node: &Recording, offset_ns: i128, error_ns: Option<u64>) -> Offset {
    let method = if error_ns.is_some() { "messages" } else { "wall_clock" };
    Offset { node: node.node.clone(), role: node.role, offset_ns, error_ns, method }
}

fn by_wall(reference: &Recording, node: &Recording) -> Offset {
    offset(node, reference.boot_at_ns - node.boot_at_ns, None)
}

/// How far `far`'s clock is ahead of `near`'s, and the error; `None` without messages in both directions.
fn between(near: &Recording, far: &Recording) -> Option<(i128, u64)> {
    let bound = |from: &Recording, to: &Recording| {
        let kinds = KINDS.iter().filter(|kind| kind.from == from.role && kind.to == to.role);
        kinds.filter_map(|kind| shortest(&from.events, kind.sent, &to.events, kind.received)).min()
    };
    let (highest, lowest) = (bound(near, far)?, -bound(far, near)?);
    let error = u64::try_from((highest - lowest).unsigned_abs().div_ceil(2)).unwrap_or(u64::MAX);
    Some(((highest + lowest).div_euclid(2), error))
}

/// The least (time of receipt minus time of sending) of all messages of a kind.
fn shortest(from: &[TraceEvent], sent: TraceStage, to: &[TraceEvent], received: TraceStage) -> Option<i128> {
    let sent = once(from, sent);
    let received = once(to, received);
    let took = |(place, at): (u64, u64)| Some(i128::from(at) - i128::from(*sent.get(&place)?));
    received.into_iter().filter_map(took).min()
}

/// Times of a stage by place. What happened twice at one place cannot be told apart, and is left out.
fn once(events: &[TraceEvent], stage: TraceStage) -> HashMap<u64, u64> {
    let mut found: HashMap<u64, Option<u64>> = HashMap::new();
    for TraceEvent(at, _, _, _, place, _) in events.iter().filter(|event| event.1 == stage) {
        found.entry(*place).and_modify(|known| *known = None).or_insert(Some(*at));
    }
    found.into_iter().filter_map(|(place, at)| Some((place, at?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn clocks_that_are_hours_apart_are_found_within_the_stated_error() {
        for (relay, secondary) in [(0, 0), (7_200_000_000_000, 500), (3, 86_400_000_000_000)] {
            let recordings = fixture::three_nodes(relay, secondary);
            let clocks = Clocks::measure(&recordings);
            let roles: Vec<Role> = clocks.offsets.iter().map(|offset| offset.role).collect();
            assert_eq!(roles, [Role::Primary, Role::Relay, Role::Secondary]);
            for (offset, truth) in clocks.offsets.iter().zip([0, relay, secondary]) {
                let off = (offset.offset_ns - i128::from(truth)).unsigned_abs();
                let error = offset.error_ns.expect("messages went both ways");
                assert!(off <= u128::from(error), "{offset:?} is off by {off}");
                assert!(error < 100_000, "{offset:?}");
            }
        }
    }

    #[test]
    fn without_messages_wall_clocks_are_believed_and_no_error_is_stated() {
        let mut recordings = fixture::three_nodes(1_000_000, 0);
        recordings[1].events.clear();
        let clocks = Clocks::measure(&recordings);
        let relay = &clocks.offsets[1];
        assert_eq!((relay.method, relay.error_ns, relay.offset_ns), ("wall_clock", None, 1_000_000));
    }

    #[test]
    fn a_position_that_was_sent_twice_measures_nothing() {
        let events = [1, 2].map(|at| TraceEvent(at, TraceStage::Sent, 0, 0, 4096, 0));
        assert!(once(&events, TraceStage::Sent).is_empty());
    }
}
