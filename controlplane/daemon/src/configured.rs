//! How each group of a node is configured, as the API shows it.

use serde::Serialize;

use crate::api::types::{GroupConfig, LaneConfig};
use crate::config::{Config, Group, Id, Size};

/// The groups of a node.
pub fn groups(config: &Config) -> Vec<GroupConfig> {
    config.groups.iter().map(|group| shown(config, group)).collect()
}

fn shown(config: &Config, group: &Group) -> GroupConfig {
    let lane =
        |lane: &crate::config::Lane| LaneConfig { lane: lane.id.into(), node: name(config, lane.node) };
    let ms = |span: crate::config::Span| u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX);
    GroupConfig {
        group: group.name.clone(),
        group_id: group.id.get().into(),
        file: config.path().display().to_string(),
        role: word(&group.role),
        sites: group.sites.iter().map(|site| name(config, *site)).collect(),
        lanes: group.lanes.iter().map(lane).collect(),
        lane_set: word(&group.lane_set),
        direct: word(&group.direct),
        resend_bytes: group.resend.bytes(),
        answer: word(&group.answer),
        mode: word(&group.mode),
        overflow: word(&group.overflow),
        overflow_threshold_percent: group.overflow_threshold.into(),
        throttle_max_delay_ms: group.throttle().map(ms),
        takeover: word(&group.takeover),
        takeover_after_ms: ms(group.takeover_after),
        isolated: word(&group.isolated),
        control_path: word(&group.control_path),
        initial: word(&group.initial),
        round_rate_bytes: group.round_rate.map(Size::bytes),
        lease_ms: ms(group.lease),
        ring_bytes: group.ring.bytes(),
        manifest_bytes: group.manifest.bytes(),
        receipt_bytes: group.receipt.bytes(),
    }
}

/// The word that the file has for a choice.
fn word(choice: &impl Serialize) -> String {
    let value = serde_json::to_value(choice).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// The name of a node; its number where it is not configured.
fn name(config: &Config, id: Id) -> String {
    if id == config.node.id {
        return config.node.name.clone();
    }
    config.peer(id).map_or_else(|| format!("node {id}"), |peer| peer.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_and_leaves_out_is_shown_in_its_words() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
        let config = Config::load(&folder.join("site-b.toml")).unwrap();
        let [shown] = &groups(&config)[..] else { panic!("not one group") };
        assert_eq!((shown.group.as_str(), shown.role.as_str()), ("db", "secondary"));
        assert_eq!(
            (shown.sites.as_slice(), shown.lanes[0].node.as_str()),
            (&["a".into(), "b".into()][..], "relay")
        );
        assert_eq!((shown.answer.as_str(), shown.mode.as_str()), ("journaled", "max-protection"));
        assert_eq!((shown.takeover.as_str(), shown.lease_ms), ("manual", 500));
        assert_eq!((shown.lane_set.as_str(), shown.direct.as_str()), ("failover", "never"));
        assert_eq!(shown.resend_bytes, 256 << 20);
        let overflow =
            (shown.overflow.as_str(), shown.overflow_threshold_percent, shown.throttle_max_delay_ms);
        assert_eq!(overflow, ("throttle", 80, Some(200)));
        assert!(shown.file.ends_with("site-b.toml") && shown.ring_bytes > 0, "{shown:?}");
    }
}
