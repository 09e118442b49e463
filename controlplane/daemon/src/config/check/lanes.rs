//! The lanes of a group: at which nodes they may stand, and whether the policy that is asked for can hold with them.

use super::super::field::Field;
use super::super::schema::{Config, Direct, Group, LaneSet, Mode, Role};
use super::super::text::{Id, Size};
use super::report::{Report, list};

/// Lanes of a group at most: so many have a place in what a site records of it.
const LANES_MAX: usize = 8;
/// Bounds of `resend`: less holds not even the frames that are under way.
const RESEND: (Size, Size) = (Size::from_mib(16), Size::from_mib(64 * 1024));

pub(super) fn check(config: &Config, group: &Group, field: &Field, report: &mut Report<'_>) {
    let lanes = field.clone().key("lanes");
    places(config, group, &lanes, report);
    let (node, holds) = (config.node.id, group.has_lane_at(config.node.id));
    if group.role == Role::Relay && !holds {
        report.error(&lanes, format!("this node, {node}, is the group's relay but holds none of its lanes"));
    }
    match group.mode {
        Mode::MaxPerformance => local(group, field, report),
        Mode::MaxProtection | Mode::MaxAvailability => shared(group, field, report),
    }
    if group.resend < RESEND.0 || group.resend > RESEND.1 {
        let message = format!("{} is out of range: allowed are {} to {}", group.resend, RESEND.0, RESEND.1);
        report.error(&field.clone().key("resend"), message);
    }
}

/// Ids of all nodes the file knows.
fn known(config: &Config) -> impl Iterator<Item = Id> {
    std::iter::once(config.node.id).chain(config.peers.iter().map(|peer| peer.id))
}

pub(super) fn unknown_node(config: &Config, id: Id) -> Option<String> {
    let unknown = known(config).all(|node| node != id);
    unknown.then(|| format!("no node has id {id}; known are {}", list(known(config))))
}

/// Each lane has an id and a node of its own.
fn places(config: &Config, group: &Group, lanes: &Field, report: &mut Report<'_>) {
    let each = || group.lanes.iter().enumerate().map(|(index, lane)| (lanes.clone().index(index), lane));
    match group.lanes.len() {
        0 => report.error(lanes, "at least one lane is needed, such as { id = 0, node = 2 }".to_owned()),
        1..=LANES_MAX => {}
        count => {
            report.error(lanes, format!("a group has at most {LANES_MAX} lanes, here are {count}"));
        }
    }
    report.distinct(|id| format!("lane id {id}"), each().map(|(place, lane)| (place.key("id"), lane.id)));
    report.distinct(
        |node| format!("the lane of node {node}"),
        each().map(|(place, lane)| (place.key("node"), lane.node)),
    );
    for (place, lane) in each() {
        if let Some(message) = unknown_node(config, lane.node) {
            report.error(&place.key("node"), message);
        }
    }
}

/// Lanes at sites, and how many; by the places of their nodes in the file.
fn at_sites(group: &Group) -> impl Iterator<Item = (usize, Id)> {
    let nodes = group.lanes.iter().map(|lane| lane.node).enumerate();
    nodes.filter(|(_, node)| group.sites.contains(node))
}

/// Relays hold the journal; the other site may where the file says so.
fn shared(group: &Group, field: &Field, report: &mut Report<'_>) {
    let lanes = field.clone().key("lanes");
    let (sites, relays) = (at_sites(group).count(), group.lanes.len() - at_sites(group).count());
    if group.direct == Direct::Never {
        for (index, node) in at_sites(group) {
            let message = format!(
                "node {node} is one of the group's sites: a lane there needs direct = \"allow\" or mode = \"max-performance\""
            );
            report.error(&lanes.clone().index(index).key("node"), message);
        }
    }
    if group.direct == Direct::Allow && sites == 0 {
        report.error(
            &field.clone().key("direct"),
            "\"allow\" needs lanes at the sites: name them in `lanes`, or set \"never\"".to_owned(),
        );
    }
    if group.direct == Direct::Allow && sites == 1 {
        // Which site is the other one changes with every takeover.
        report.warning(
            &field.clone().key("direct"),
            format!(
                "of the sites {} one has a lane: while it is the primary, no lane is at the other site",
                list(&group.sites)
            ),
        );
    }
    if relays == 0 && sites > 0 {
        report.error(
            &lanes,
            "at least one lane stands at a relay, unless mode = \"max-performance\": name one, such as { id = 0, node = 2 }"
                .to_owned(),
        );
    }
    match group.lane_set {
        LaneSet::Failover => {}
        LaneSet::Mirror if relays >= 2 => {}
        LaneSet::Stripe if relays >= 2 => report.warning(
            &field.clone().key("lane_set"),
            "stripes are young: several failures at once may leave a group that waits, or says too little of what it could lose; \
             docs/lanes.md says more, \"mirror\" and \"failover\" are the safer choice"
                .to_owned(),
        ),
        LaneSet::Mirror | LaneSet::Stripe => {
            let wanted = group.lane_set.word();
            report.error(
                &field.clone().key("lane_set"),
                format!(
                    "\"{wanted}\" needs lanes at two relays at least, here are {relays}: allowed is \"failover\""
                ),
            );
        }
    }
}

/// The lane at the primary is used alone, and either site can be the primary.
fn local(group: &Group, field: &Field, report: &mut Report<'_>) {
    let missing: Vec<Id> = group.sites.iter().copied().filter(|site| !group.has_lane_at(*site)).collect();
    if !missing.is_empty() {
        report.error(
            &field.clone().key("mode"),
            format!(
                "\"max-performance\" needs a lane at each site, there is none at {}: name it in `lanes`, or set \
                 \"max-availability\"",
                list(missing)
            ),
        );
    }
    if group.lane_set != LaneSet::Failover {
        report.error(
            &field.clone().key("lane_set"),
            "with mode = \"max-performance\" the lane at the primary is used alone: allowed is \"failover\""
                .to_owned(),
        );
    }
    if group.direct == Direct::Allow {
        report.error(
            &field.clone().key("direct"),
            "with mode = \"max-performance\" hosts never wait for the other site: allowed is \"never\""
                .to_owned(),
        );
    }
    let lanes = field.clone().key("lanes");
    for (index, lane) in group.lanes.iter().enumerate().filter(|(_, lane)| !group.sites.contains(&lane.node))
    {
        report.warning(
            &lanes.clone().index(index).key("node"),
            format!("with mode = \"max-performance\" the lane at node {} is never used", lane.node),
        );
    }
    report.warning(
        &field.clone().key("mode"),
        "hosts are answered before another node holds what they wrote: a takeover without the primary loses what the other site has \
         not received, and needs --accept-loss"
            .to_owned(),
    );
}
