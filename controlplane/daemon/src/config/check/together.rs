//! The files of several nodes against each other: one id a node, one primary a group, the same lanes everywhere.

use super::super::field::Field;
use super::super::finding::Finding;
use super::super::schema::{Config, ControlPath, Direct, Group, Initial, Isolated, Mode, Role};
use super::report::{Report, list};

/// What does not fit between the files of several nodes, besides what [`Config::check`] finds in each.
///
/// Every pair is compared; a finding stands in the later file and names the earlier one.
pub fn check_together(configs: &[Config]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let mut report = Report::new(config);
        for earlier in configs.iter().take(index) {
            nodes(earlier, config, &mut report);
            groups(earlier, config, &mut report);
        }
        findings.extend(report.into_findings());
    }
    findings
}

fn nodes(earlier: &Config, config: &Config, report: &mut Report<'_>) {
    let other = earlier.path().display();
    let field = Field::default().key("node").key("id");
    if earlier.node.id == config.node.id {
        report.error(&field, format!("node id {} is taken already by the node of {other}", config.node.id));
        return;
    }
    known_as(earlier, config, report);
    let Some(peer) = earlier.peer(config.node.id) else { return };
    let node = Field::default().key("node");
    if peer.name != config.node.name {
        report.error(&node.key("name"), format!("{other} calls this node \"{}\"", peer.name));
    }
}

/// What this file says of the earlier file's node.
fn known_as(earlier: &Config, config: &Config, report: &mut Report<'_>) {
    let other = earlier.path().display();
    let peers = config.peers.iter().enumerate().filter(|(_, peer)| peer.id == earlier.node.id);
    for (index, peer) in peers {
        let field = Field::table("peer", index);
        if peer.name != earlier.node.name {
            let message = format!("node {} is called \"{}\" in {other}", peer.id, earlier.node.name);
            report.error(&field.clone().key("name"), message);
        }
        let listen = earlier.node.listen;
        let anywhere = listen.ip().is_unspecified() && listen.port() == peer.address.port();
        if peer.address != listen && !anywhere {
            let message = format!("node {} listens on {listen}, says {other}", peer.id);
            report.error(&field.key("address"), message);
        }
    }
}

fn groups(earlier: &Config, config: &Config, report: &mut Report<'_>) {
    for (index, group) in config.groups.iter().enumerate() {
        let field = Field::table("group", index);
        let same = || earlier.groups.iter().filter(|other| other.id == group.id);
        for other in same() {
            same_group(earlier, other, group, &field, report);
        }
        if same().next().is_none() {
            unknown_group(earlier, group, &field, report);
        }
    }
}

/// The earlier file has no group of this id.
fn unknown_group(earlier: &Config, group: &Group, field: &Field, report: &mut Report<'_>) {
    let (file, node) = (earlier.path().display(), earlier.node.id);
    let field = field.clone().key("id");
    if let Some(other) = earlier.groups.iter().find(|other| other.name == group.name) {
        let message = format!(
            "group \"{}\" has id {} in {file}: it must be the same at all nodes",
            group.name, other.id
        );
        report.error(&field, message);
    } else if group.sites.contains(&node) || group.lanes.iter().any(|lane| lane.node == node) {
        report.error(
            &field,
            format!("node {node} has a part in this group, and {file} has no group {}", group.id),
        );
    }
}

fn same_group(earlier: &Config, other: &Group, group: &Group, field: &Field, report: &mut Report<'_>) {
    let file = earlier.path().display();
    let differs =
        |what: &str, there: String| format!("{what} {there} in {file}: it must be the same at all nodes");
    if other.name != group.name {
        report
            .error(&field.clone().key("name"), differs("the group's name is", format!("\"{}\"", other.name)));
    }
    if other.sites != group.sites {
        report.error(&field.clone().key("sites"), differs("the sites are", list(&other.sites)));
    }
    if other.lanes != group.lanes {
        let lanes = other.lanes.iter().map(|lane| format!("{{ id = {}, node = {} }}", lane.id, lane.node));
        report.error(&field.clone().key("lanes"), differs("the lanes are", list(lanes)));
    }
    if other.role == Role::Primary && group.role == Role::Primary {
        let message = format!("the group has its primary already in {file}: allowed is \"secondary\"");
        report.error(&field.clone().key("role"), message);
    }
    if other.role != Role::Relay && group.role != Role::Relay {
        if other.initial != group.initial {
            // A copy that only one side expects ends in sites that differ unmarked, or in a secondary that waits for ever.
            let there = if other.initial == Initial::Copy { "\"copy\"" } else { "\"equal\"" };
            report.error(
                &field.clone().key("initial"),
                differs("the volumes' first content is", there.to_owned()),
            );
        }
        // What one site tells where the other does not listen is never heard.
        if other.control_path != group.control_path {
            let there = match other.control_path {
                ControlPath::Both => "\"both\"",
                ControlPath::Relay => "\"relay\"",
                ControlPath::Direct => "\"direct\"",
            };
            report.error(
                &field.clone().key("control_path"),
                differs("control information takes the way", there.to_owned()),
            );
        }
        policy(other, group, field, &differs, report);
        // A site that does not know that the other may go on alone would say that nothing is lost.
        if other.isolated != group.isolated {
            let there = if other.isolated == Isolated::Continue { "\"continue\"" } else { "\"stall\"" };
            report.error(
                &field.clone().key("isolated"),
                differs("an isolated primary is to", there.to_owned()),
            );
        }
        volumes(other, group, field, &differs, report);
    }
}

/// A takeover reads as many lanes as the primary's answers needed: both sites must count alike.
fn policy(
    other: &Group,
    group: &Group,
    field: &Field,
    differs: &dyn Fn(&str, String) -> String,
    report: &mut Report<'_>,
) {
    if other.lane_set != group.lane_set {
        let there = format!("\"{}\"", other.lane_set.word());
        report.error(&field.clone().key("lane_set"), differs("the lane set is", there));
    }
    if other.direct != group.direct {
        let there = if other.direct == Direct::Allow { "\"allow\"" } else { "\"never\"" };
        report.error(&field.clone().key("direct"), differs("a direct lane is", there.to_owned()));
    }
    // The local lane is no lane to whoever does not use it.
    if (other.mode == Mode::MaxPerformance) != (group.mode == Mode::MaxPerformance) {
        let there = match other.mode {
            Mode::MaxProtection => "\"max-protection\"",
            Mode::MaxAvailability => "\"max-availability\"",
            Mode::MaxPerformance => "\"max-performance\"",
        };
        report.error(&field.clone().key("mode"), differs("the mode is", there.to_owned()));
    }
}

fn volumes(
    other: &Group,
    group: &Group,
    field: &Field,
    differs: &dyn Fn(&str, String) -> String,
    report: &mut Report<'_>,
) {
    for (index, volume) in group.volumes.iter().enumerate() {
        let place = field.clone().key("volume").index(index);
        match other.volumes.iter().find(|there| there.id == volume.id) {
            None => {
                let known = list(other.volumes.iter().map(|there| there.id));
                report.error(&place.key("id"), differs("the volumes are", known));
            }
            Some(there) if there.name != volume.name => {
                report.error(
                    &place.key("name"),
                    differs("the volume's name is", format!("\"{}\"", there.name)),
                );
            }
            Some(there) => match (there.size, volume.size) {
                (Some(there), Some(here)) if there != here => {
                    report.error(&place.key("size"), differs("the volume's size is", there.to_string()));
                }
                _ => {}
            },
        }
    }
}
