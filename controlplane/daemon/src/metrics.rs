//! `GET /metrics`: what is known as Prometheus text, in base units.

mod overflow;

use std::fmt::Write;

use crate::api::types::{GroupStatus, NodeStatus, PeerStatus, Role, RoundStatus};

/// One number of a shard, already named in Prometheus form (without the prefix).
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name without `midspan_`; counters end in `_total`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Number of the shard.
    pub shard: usize,
    /// The stage that it is about, where a metric has one sample for each.
    pub stage: Option<&'static str>,
    /// The value.
    pub value: Value,
}

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Only rises.
    Counter(u64),
    /// Rises and falls.
    Gauge(u64),
    /// Durations: counts per bucket, each with its upper bound in seconds, and the sum in seconds.
    Histogram {
        /// Upper bound and count of each bucket, not accumulated; the last bound is infinite.
        buckets: Vec<(f64, u64)>,
        /// Sum of all durations, seconds.
        sum: f64,
    },
}

/// Text under construction: each metric's samples stand together under one HELP and TYPE.
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP midspan_{name} {help}\n# TYPE midspan_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.text, "midspan_{name}");
        for (index, (key, text)) in labels.iter().enumerate() {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{key}=\"{escaped}\"", if index == 0 { "{" } else { "," });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// The whole page.
pub fn page(status: &NodeStatus, samples: &[Sample]) -> String {
    let mut page = Page { text: String::new() };
    page.family("build_info", "gauge", "Version of the running daemon.");
    page.line("build_info", &[("version", &status.version), ("node", &status.node)], 1.0);
    page.family("uptime_seconds", "gauge", "Time since the daemon started.");
    page.line("uptime_seconds", &[], seconds(status.uptime_ms, 1000.0));
    groups(&mut page, &status.groups);
    lanes(&mut page, &status.groups);
    refused(&mut page, status);
    peers(&mut page, status);
    shards(&mut page, samples);
    page.text
}

/// A number of each group; `None` where it is not known.
type OfGroup = (&'static str, &'static str, fn(&GroupStatus) -> Option<f64>);

const OF_GROUP: &[OfGroup] = &[
    ("group_serving", "Whether hosts are served here (1) or not (0).", |g| {
        Some(f64::from(u8::from(g.serving)))
    }),
    ("group_epoch", "Number of the newest epoch known here.", |g| Some(whole(g.epoch.number))),
    ("group_zero_loss", "Whether a takeover can be without loss as far as known here.", |g| {
        g.zero_loss.map(|zero| f64::from(u8::from(zero)))
    }),
    ("group_lag_bytes", "Journal bytes sealed and not yet applied at the secondary.", |g| {
        g.lag.applied_bytes.map(whole)
    }),
    (
        "group_lag_seconds",
        "Time between the newest record and the newest one applied at the secondary.",
        |g| g.lag.seconds,
    ),
    ("lanes_holding", "In how many lanes a write is before it is answered; 0 outside the lanes.", |g| {
        g.lanes_holding.map(whole)
    }),
    ("lanes_wanted", "In how many lanes a write is to be; with fewer the group is exposed.", |g| {
        g.lanes_wanted.map(whole)
    }),
    ("group_answered_writes_total", "Host writes answered since the daemon started.", |g| {
        g.answered.map(whole)
    }),
    ("group_out_of_sync_bytes", "Bytes of regions marked in the dirty map.", |g| g.dirty_bytes.map(whole)),
    ("round_bytes", "Bytes of the regions of the round that runs or is to come; 0 without one.", |g| {
        of_site(g, |round| round.map_or(0, |round| round.bytes))
    }),
    ("round_bytes_sent", "Bytes of them that were sent.", |g| {
        of_site(g, |round| round.map_or(0, |round| round.bytes_sent))
    }),
    (
        "no_cut",
        "Whether this site's disks hold no consistent cut until a round's end (1): no takeover is possible here.",
        |g| of_site(g, |_| u64::from(g.no_cut)),
    ),
];

/// A number of the group at a site; a relay knows of no rounds.
fn of_site(group: &GroupStatus, value: impl FnOnce(Option<&RoundStatus>) -> u64) -> Option<f64> {
    match group.role {
        Role::Primary | Role::Secondary => Some(whole(value(group.round.as_ref()))),
        Role::Relay | Role::Unknown => None,
    }
}

fn groups(page: &mut Page, groups: &[GroupStatus]) {
    if groups.is_empty() {
        return;
    }
    page.family("resource_role", "gauge", "1 for the role that this node has in the group.");
    for group in groups {
        page.line("resource_role", &[("group", &group.group), ("role", group.role.word())], 1.0);
    }
    page.family("resource_state", "gauge", "1 for the pair state of the group at this node.");
    for group in groups {
        page.line("resource_state", &[("group", &group.group), ("state", &group.state)], 1.0);
    }
    for (name, help, value) in OF_GROUP.iter().chain(overflow::OF_GROUP) {
        page.family(name, if name.ends_with("_total") { "counter" } else { "gauge" }, help);
        for group in groups {
            if let Some(value) = value(group) {
                page.line(name, &[("group", &group.group)], value);
            }
        }
    }
}

fn refused(page: &mut Page, status: &NodeStatus) {
    if status.refused.is_empty() {
        return;
    }
    page.family(
        "requests_refused_total",
        "counter",
        "Requests of other nodes that this node refused, by reason.",
    );
    for refused in &status.refused {
        let labels = [("node", refused.node.as_str()), ("reason", &refused.reason)];
        page.line("requests_refused_total", &labels, whole(refused.count));
    }
}

/// A number of each peer; `None` where it is not known.
type OfPeer = (&'static str, &'static str, fn(&PeerStatus) -> Option<f64>);

const OF_PEER: &[OfPeer] = &[
    ("peer_suspicion", "How improbable the present silence of the peer is: phi of its detector.", |peer| {
        Some(peer.suspicion)
    }),
    ("peer_last_heard_seconds", "Time since the peer was heard last.", |peer| {
        peer.last_heard_ms.map(|ms| seconds(ms, 1e3))
    }),
    ("peer_rtt_seconds", "Time of the last heartbeat's way there and back.", |peer| {
        peer.rtt_ns.map(|ns| seconds(ns, 1e9))
    }),
];

fn peers(page: &mut Page, status: &NodeStatus) {
    if status.peers.is_empty() {
        return;
    }
    for (name, help, value) in OF_PEER {
        page.family(name, "gauge", help);
        for peer in &status.peers {
            if let Some(value) = value(peer) {
                page.line(name, &[("peer", &peer.node)], value);
            }
        }
    }
    page.family("peer_verdict", "gauge", "1 for what is thought of the peer.");
    for peer in &status.peers {
        page.line("peer_verdict", &[("peer", &peer.node), ("verdict", &peer.verdict)], 1.0);
    }
    page.family("heartbeats_refused_total", "counter", "Heartbeats that were not used, by reason.");
    for refused in &status.heartbeats_refused {
        page.line("heartbeats_refused_total", &[("reason", &refused.reason)], whole(refused.count));
    }
}

fn lanes(page: &mut Page, groups: &[GroupStatus]) {
    let lanes = || groups.iter().flat_map(|group| group.lanes.iter().map(move |lane| (group, lane)));
    if lanes().next().is_none() {
        return;
    }
    page.family("lane_connection_state", "gauge", "Whether the lane is connected (1) or not (0).");
    for (group, lane) in lanes() {
        let labels = [("group", group.group.as_str()), ("node", &lane.node)];
        page.line("lane_connection_state", &labels, f64::from(u8::from(lane.connected)));
    }
    page.family("lane_position_bytes", "gauge", "Watermarks of the lane as absolute ring positions.");
    for (group, lane) in lanes() {
        let marks = &lane.watermarks;
        for (mark, position) in [
            ("sealed", marks.sealed),
            ("journaled", marks.journaled),
            ("acquired", marks.acquired),
            ("applied", marks.applied),
            ("landed", marks.landed),
        ] {
            if let Some(position) = position {
                let labels = [("group", group.group.as_str()), ("node", &lane.node), ("watermark", mark)];
                page.line("lane_position_bytes", &labels, whole(position));
            }
        }
    }
    page.family(
        "lane_fetched_bytes_total",
        "counter",
        "Bytes of the lane's ring that this site has read as secondary; what is read twice counts twice.",
    );
    for (group, lane) in lanes() {
        if let Some(fetched) = lane.fetched_bytes {
            let labels = [("group", group.group.as_str()), ("node", &lane.node)];
            page.line("lane_fetched_bytes_total", &labels, whole(fetched));
        }
    }
    page.family("ring_size_bytes", "gauge", "Size of the lane's ring.");
    for (group, lane) in lanes() {
        if let Some(size) = lane.ring.size_bytes {
            page.line("ring_size_bytes", &[("group", &group.group), ("node", &lane.node)], whole(size));
        }
    }
    page.family("ring_used_bytes", "gauge", "Bytes of the lane's ring that are in use.");
    for (group, lane) in lanes() {
        if let Some(used) = lane.ring.used_bytes {
            page.line("ring_used_bytes", &[("group", &group.group), ("node", &lane.node)], whole(used));
        }
    }
}

fn shards(page: &mut Page, samples: &[Sample]) {
    let mut done: Vec<&str> = Vec::new();
    for first in samples {
        if done.contains(&first.name) {
            continue;
        }
        done.push(first.name);
        let kind = match first.value {
            Value::Counter(_) => "counter",
            Value::Gauge(_) => "gauge",
            Value::Histogram { .. } => "histogram",
        };
        page.family(first.name, kind, first.help);
        for sample in samples.iter().filter(|sample| sample.name == first.name) {
            shard_lines(page, sample);
        }
    }
}

fn shard_lines(page: &mut Page, sample: &Sample) {
    let shard = sample.shard.to_string();
    let mut labels = vec![("shard", shard.as_str())];
    labels.extend(sample.stage.map(|stage| ("stage", stage)));
    match &sample.value {
        Value::Counter(value) | Value::Gauge(value) => page.line(sample.name, &labels, whole(*value)),
        Value::Histogram { buckets, sum } => {
            let mut total = 0u64;
            for (bound, count) in buckets {
                total = total.saturating_add(*count);
                let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
                let mut labels = labels.clone();
                labels.push(("le", &bound));
                page.line(&format!("{}_bucket", sample.name), &labels, whole(total));
            }
            page.line(&format!("{}_sum", sample.name), &labels, *sum);
            page.line(&format!("{}_count", sample.name), &labels, whole(total));
        }
    }
}

/// Prometheus knows only floating point; positions beyond 2^53 lose their last digits there.
#[expect(clippy::cast_precision_loss, reason = "the exposition format has no integers")]
fn whole(value: u64) -> f64 {
    value as f64
}

fn seconds(value: u64, per_second: f64) -> f64 {
    whole(value) / per_second
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{LaneStatus, Watermarks};

    #[test]
    fn the_page_names_groups_lanes_and_histograms() {
        let lane = LaneStatus {
            node: "re\"lay".into(),
            connected: true,
            watermarks: Watermarks { journaled: Some(8192), ..Watermarks::default() },
            ..LaneStatus::default()
        };
        let group = GroupStatus {
            group: "vault".into(),
            role: Role::Primary,
            lanes: vec![lane],
            ..GroupStatus::default()
        };
        let peer = PeerStatus {
            node: "b".into(),
            suspicion: 3.5,
            last_heard_ms: Some(250),
            ..PeerStatus::default()
        };
        let status =
            NodeStatus { node: "a".into(), groups: vec![group], peers: vec![peer], ..NodeStatus::default() };
        let value = Value::Histogram { buckets: vec![(0.5, 2), (f64::INFINITY, 1)], sum: 3.25 };
        let text = page(&status, &[Sample { name: "x_seconds", help: "X.", shard: 0, stage: None, value }]);
        for line in [
            "midspan_resource_role{group=\"vault\",role=\"primary\"} 1",
            "midspan_lane_position_bytes{group=\"vault\",node=\"re\\\"lay\",watermark=\"journaled\"} 8192",
            "midspan_x_seconds_bucket{shard=\"0\",le=\"0.5\"} 2",
            "midspan_x_seconds_bucket{shard=\"0\",le=\"+Inf\"} 3",
            "midspan_x_seconds_sum{shard=\"0\"} 3.25",
            "midspan_peer_suspicion{peer=\"b\"} 3.5",
            "midspan_peer_last_heard_seconds{peer=\"b\"} 0.25",
            "midspan_x_seconds_count{shard=\"0\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains("group_lag_seconds{"), "what is unknown must not be shown as a number");
    }

    #[test]
    fn every_family_is_announced_once() {
        let sample = |shard| Sample {
            name: "passes_total",
            help: "Passes.",
            shard,
            stage: None,
            value: Value::Counter(1),
        };
        let text = page(&NodeStatus::default(), &[sample(0), sample(1)]);
        assert_eq!(text.matches("# TYPE midspan_passes_total counter").count(), 1);
        assert_eq!(text.matches("midspan_passes_total{").count(), 2);
    }
}
