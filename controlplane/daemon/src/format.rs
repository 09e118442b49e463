//! `midspand --format`: the journal disk of a node, with what its configuration says.

use std::io::Write;

use midspan_node::format::{self, FormatSpec, Formatted, GroupAreas, GroupFormat, LaneSizes, kind_name};

use crate::config::{Config, Group, Id, Role};
use crate::exit::{self, Failure};
use crate::refusal::check_disks;
use crate::translate;

/// What a journal disk is formatted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A relay's: areas only.
    Relay,
    /// A site's: its own rings, states and dirty maps, and the areas of lanes that stand there.
    Site,
}

impl Purpose {
    /// What the node of this configuration is.
    fn of(config: &Config) -> Self {
        let is_site = config.groups.iter().any(|group| group.role != Role::Relay);
        if is_site { Purpose::Site } else { Purpose::Relay }
    }

    const fn word(self) -> &'static str {
        match self {
            Purpose::Relay => "relay",
            Purpose::Site => "site",
        }
    }
}

/// Formats the journal disk that a checked configuration names, and prints what is on it then.
///
/// # Errors
/// Why it was not formatted.
pub fn journal(config: &Config, purpose: Purpose, force: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let found = Purpose::of(config);
    if found != purpose {
        let file = config.path().display();
        let (is, not) = (found.word(), purpose.word());
        return Err(Failure::new(
            exit::USAGE,
            format!("{file}: node {} is a {is}, not a {not}", config.node.name),
        )
        .hint(format!("midspan {is} format --config {file}")));
    }
    check_disks(config)?;
    let spec = FormatSpec {
        path: config.node.journal.clone(),
        node: translate::node_id(config.node.id),
        groups: config.groups.iter().filter_map(|part| group(config.node.id, part)).collect(),
        force,
    };
    let formatted = format::format(&spec)?;
    // Where nobody reads it any more, it is formatted all the same.
    let _ = out.write_all(text(config, &formatted).as_bytes());
    Ok(exit::OK)
}

/// What a group needs on the disk of the node `own`. The check has made sure that it has two sites and a lane.
pub fn group(own: Id, group: &Group) -> Option<GroupFormat> {
    let [first, second] = group.sites.as_slice() else { return None };
    let sizes = LaneSizes {
        ring: group.ring.bytes(),
        manifest: group.manifest.bytes(),
        receipt: group.receipt.bytes(),
    };
    let areas = match group.role {
        Role::Relay => GroupAreas::Relay(sizes),
        Role::Primary | Role::Secondary => GroupAreas::Site {
            ring: group.ring.bytes(),
            volumes: translate::volumes(group),
            lane: group.has_lane_at(own).then_some(sizes),
        },
    };
    Some(GroupFormat {
        group: translate::group_id(group.id),
        sites: [translate::node_id(*first), translate::node_id(*second)],
        lane: translate::lane(group)?,
        areas,
    })
}

fn text(config: &Config, formatted: &Formatted) -> String {
    let mut text = format!(
        "formatted {} for {} {}: {} of {} bytes used, disk {}\n",
        config.node.journal.display(),
        Purpose::of(config).word(),
        config.node.name,
        formatted.used,
        formatted.size,
        formatted.disk
    );
    for (group, area) in &formatted.areas {
        let known = config.groups.iter().find(|known| translate::group_id(known.id) == *group);
        let group = known.map_or("", |known| known.name.as_str());
        text += &format!(
            "  group {group}, lane {}: {}, {} bytes\n",
            area.lane.0,
            kind_name(area.kind),
            area.size
        );
    }
    text
}
