//! How a node hears the other nodes, and what follows from it, for people.

use std::fmt::Write as _;

use midspan_daemon::api::types::{NodeStatus, PeerGroup, PeerStatus};

use super::cells::{epoch, table, unknown};

/// What a site said longer ago than this is no news of the present, milliseconds.
const FRESH_MS: u64 = 3_000;

/// The table and the sentences behind it; nothing where there are no other nodes.
pub fn text(status: &NodeStatus) -> String {
    let mut text = String::new();
    if status.peers.is_empty() {
        return text;
    }
    let mut peers =
        table(&["peer", "path", "verdict", "heard", "elsewhere", "round trip", "suspicion", "says"]);
    for peer in &status.peers {
        peers.add_row(row(peer));
    }
    let _ = writeln!(text, "\n{peers}\n");
    for peer in status.peers.iter().filter(|peer| peer.verdict != "alive") {
        let _ = writeln!(text, "{}: {}: {}", peer.node, peer.verdict, peer.why);
    }
    for peer in &status.peers {
        conflicts(&mut text, status, peer);
    }
    for automatic in &status.automatic {
        let _ = writeln!(text, "{}: automatic takeover: {}", automatic.group, automatic.why);
    }
    // Late ones and those that meet a full buffer are the network's business.
    let odd = |reason: &str| reason != "old" && reason != "not_sent";
    for refused in status.heartbeats_refused.iter().filter(|refused| odd(&refused.reason)) {
        let _ = writeln!(text, "{} heartbeats were not used: {}", refused.count, refused.reason);
    }
    text
}

fn row(peer: &PeerStatus) -> Vec<String> {
    let ago = |ms: Option<u64>| ms.map_or_else(unknown, |ms| format!("{ms} ms ago"));
    let says: Vec<String> = peer.groups.iter().map(says).collect();
    vec![
        peer.node.clone(),
        peer.path.clone(),
        peer.verdict.clone(),
        ago(peer.last_heard_ms),
        ago(peer.last_heard_elsewhere_ms),
        peer.rtt_ns.map_or_else(unknown, |ns| format!("{} us", ns / 1_000)),
        format!("{:.1}", peer.suspicion),
        if says.is_empty() { unknown() } else { says.join(", ") },
    ]
}

fn says(group: &PeerGroup) -> String {
    let serving = if group.serving { ", serving" } else { "" };
    format!("{}: {} in {}{serving}", group.group, group.role.word(), epoch(&group.epoch))
}

/// Groups that this site and the peer say they serve, in different epochs.
fn conflicts(text: &mut String, status: &NodeStatus, peer: &PeerStatus) {
    let here = |name: &str| status.groups.iter().find(|group| group.serving && group.group == name);
    for said in peer.groups.iter().filter(|said| said.serving && said.said_ms < FRESH_MS) {
        if let Some(group) = here(&said.group).filter(|group| group.epoch != said.epoch) {
            let _ = writeln!(
                text,
                "{}: WARNING: {} said {} ms ago that it serves hosts in epoch {}, and this site serves them in {}",
                said.group,
                peer.node,
                said.said_ms,
                epoch(&said.epoch),
                epoch(&group.epoch)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midspan_daemon::api::types::{AutomaticStatus, Epoch, GroupStatus, HeartbeatsRefused, Role};

    fn sample() -> NodeStatus {
        let said = PeerGroup {
            group: "vault".into(),
            role: Role::Primary,
            epoch: Epoch { number: 3, node: "a".into() },
            serving: true,
            said_ms: 40,
        };
        let peer = PeerStatus {
            node: "a".into(),
            path: "direct".into(),
            verdict: "alive".into(),
            last_heard_ms: Some(40),
            rtt_ns: Some(180_000),
            groups: vec![said],
            ..PeerStatus::default()
        };
        NodeStatus { node: "b".into(), peers: vec![peer], ..NodeStatus::default() }
    }

    #[test]
    fn a_peer_is_shown_with_what_it_says() {
        let text = text(&sample());
        for part in ["direct", "alive", "40 ms ago", "180 us", "vault: primary in 3@a, serving"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(!text.contains("WARNING"), "{text}");
    }

    #[test]
    fn what_needs_attention_is_said_in_sentences() {
        let mut status = sample();
        status.peers[0].verdict = "node dead".into();
        status.peers[0].why = "nobody hears it".into();
        let (group, why) = ("vault".to_owned(), "waits".to_owned());
        status.automatic.push(AutomaticStatus { group: group.clone(), why, after_ms: 10_000 });
        status.heartbeats_refused.push(HeartbeatsRefused { reason: "unknown_sender".into(), count: 3 });
        let epoch = Epoch { number: 4, node: "b".into() };
        status.groups.push(GroupStatus { group, serving: true, epoch, ..GroupStatus::default() });
        let text = text(&status);
        for part in [
            "a: node dead: nobody hears it",
            "vault: automatic takeover: waits",
            "3 heartbeats were not used: unknown_sender",
            "WARNING: a said 40 ms ago that it serves hosts in epoch 3@a, and this site serves them in 4@b",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn what_a_dead_node_said_last_is_no_warning() {
        let mut status = sample();
        let epoch = Epoch { number: 4, node: "b".into() };
        status.groups.push(GroupStatus {
            group: "vault".into(),
            serving: true,
            epoch,
            ..GroupStatus::default()
        });
        assert!(text(&status).contains("WARNING"));
        status.peers[0].groups[0].said_ms = 60_000;
        assert!(!text(&status).contains("WARNING"));
    }
}
