//! Asks a node for its status over its API socket and reads what a bench wants to know of it.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::api;

/// The parts of a node's status, over its groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// `primary`, `secondary`, `relay` or `unknown`.
    pub role: String,
    /// The pair state's word, such as `paired`.
    pub state: String,
    /// Whether hosts are served here.
    pub serving: bool,
    /// Whether the node is connected to all lanes.
    pub connected: bool,
    /// How far the secondary is behind.
    pub behind: Behind,
    /// The watermarks of its first lane.
    pub marks: Marks,
    /// Bytes of regions that may differ between the sites.
    pub dirty_bytes: Option<u64>,
    /// Whether a round runs or is to come.
    pub has_round: bool,
}

/// Watermarks of a lane as one node knows them: ring positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Sealed by the primary.
    pub sealed: Option<u64>,
    /// Durable in the lane.
    pub journaled: Option<u64>,
    /// Durable in the secondary's own ring.
    pub acquired: Option<u64>,
    /// On the secondary's disk.
    pub applied: Option<u64>,
}

/// How far the secondary is behind, as one node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Behind {
    /// Journal bytes that it has not got durably.
    pub acquired_bytes: Option<u64>,
    /// Journal bytes that it has not applied.
    pub applied_bytes: Option<u64>,
    /// Seconds between the newest record and the newest one applied.
    pub seconds: Option<f64>,
}

impl Status {
    /// Asks the node behind this socket.
    ///
    /// # Errors
    /// When nobody answers, or the answer is no status.
    pub fn of(socket: &Path) -> Result<Self> {
        let status = api::get(socket, "/v1/status");
        let status = status.with_context(|| format!("the status of the node behind {}", socket.display()))?;
        Ok(Self::from_json(&status))
    }

    /// Of all groups together, which have one role here.
    fn from_json(status: &Value) -> Self {
        let groups = status.get("groups").and_then(Value::as_array);
        let mut groups = groups.into_iter().flatten().map(Self::of_group);
        let first = groups.next().unwrap_or_default();
        groups.fold(first, |all, group| Self {
            serving: all.serving && group.serving,
            connected: all.connected && group.connected,
            behind: all.behind.and(group.behind),
            ..all
        })
    }

    /// Of one group; what is not there stays at its default.
    fn of_group(group: &Value) -> Self {
        let text = |name: &str| group.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |path: &str| group.pointer(path).and_then(Value::as_u64);
        let mark = |name: &str| number(&format!("/lanes/0/watermarks/{name}"));
        let distance = |from: &str, to: &str| Some(mark(from)?.saturating_sub(mark(to)?));
        let lanes = group.get("lanes").and_then(Value::as_array);
        let is_connected = |lane: &Value| lane.get("connected").and_then(Value::as_bool).unwrap_or(false);
        Self {
            role: text("role"),
            state: text("state"),
            serving: group.get("serving").and_then(Value::as_bool).unwrap_or(false),
            connected: lanes.is_some_and(|lanes| !lanes.is_empty() && lanes.iter().all(is_connected)),
            behind: Behind {
                acquired_bytes: number("/lag/acquired_bytes").or_else(|| distance("sealed", "acquired")),
                applied_bytes: number("/lag/applied_bytes").or_else(|| distance("sealed", "applied")),
                seconds: group.pointer("/lag/seconds").and_then(Value::as_f64),
            },
            marks: Marks {
                sealed: mark("sealed"),
                journaled: mark("journaled"),
                acquired: mark("acquired"),
                applied: mark("applied"),
            },
            dirty_bytes: number("/dirty_bytes"),
            has_round: group.get("round").is_some_and(Value::is_object),
        }
    }
}

impl Behind {
    /// Of two groups together. What is not known of one, because nothing was written to it, adds nothing.
    fn and(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        Self {
            acquired_bytes: sum(self.acquired_bytes, other.acquired_bytes),
            applied_bytes: sum(self.applied_bytes, other.applied_bytes),
            seconds: match (self.seconds, other.seconds) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_node_says_of_its_lag_comes_before_what_watermarks_suggest() {
        let lanes = json!([{ "connected": true, "watermarks": { "sealed": 900, "journaled": 800, "acquired": 700, "applied": 600 } }]);
        let mut group = json!({ "role": "primary", "serving": true, "lanes": lanes });
        let status = Status::from_json(&json!({ "groups": [group] }));
        assert!(status.serving && status.connected && status.role == "primary");
        assert_eq!((status.behind.acquired_bytes, status.behind.applied_bytes), (Some(200), Some(300)));
        assert_eq!(status.behind.seconds, None);
        let marks =
            Marks { sealed: Some(900), journaled: Some(800), acquired: Some(700), applied: Some(600) };
        assert_eq!(status.marks, marks);
        group["lag"] = json!({ "acquired_bytes": 1, "applied_bytes": 2, "seconds": 0.5 });
        let behind = Status::from_json(&json!({ "groups": [group] })).behind;
        assert_eq!(
            (behind.acquired_bytes, behind.applied_bytes, behind.seconds),
            (Some(1), Some(2), Some(0.5))
        );
    }

    #[test]
    fn a_node_serves_when_all_its_groups_do_and_their_lags_add_up() {
        let group = |serving: bool, bytes: u64, seconds: f64| {
            let lag = json!({ "acquired_bytes": bytes, "applied_bytes": 2 * bytes, "seconds": seconds });
            json!({ "role": "primary", "serving": serving, "lanes": [{ "connected": true }], "lag": lag })
        };
        let status = Status::from_json(&json!({ "groups": [group(true, 5, 0.5), group(true, 7, 0.25)] }));
        assert!(status.serving && status.connected);
        let together = Behind { acquired_bytes: Some(12), applied_bytes: Some(24), seconds: Some(0.5) };
        assert_eq!(status.behind, together);
        let half = Status::from_json(&json!({ "groups": [group(true, 0, 0.0), group(false, 0, 0.0)] }));
        assert!(!half.serving && half.connected);
    }

    #[test]
    fn a_node_without_groups_or_lanes_is_not_connected() {
        assert_eq!(Status::from_json(&json!({ "groups": [] })), Status::default());
        assert!(!Status::from_json(&json!({ "groups": [{ "lanes": [] }] })).connected);
    }

    #[test]
    fn what_differs_and_whether_a_round_is_to_bring_it_are_read() {
        let of = |group: Value| Status::from_json(&json!({ "groups": [group] }));
        let status = of(json!({ "state": "resync", "dirty_bytes": 65_536, "round": { "round": null } }));
        assert_eq!((status.state.as_str(), status.dirty_bytes), ("resync", Some(65_536)));
        assert!(status.has_round && !of(json!({ "round": null })).has_round);
    }

    #[test]
    fn a_missing_socket_is_named() {
        let error = format!("{:#}", Status::of(Path::new("/nowhere/x.api")).unwrap_err());
        assert!(error.contains("/nowhere/x.api"), "{error}");
    }
}
