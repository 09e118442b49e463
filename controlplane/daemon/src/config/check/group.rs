//! The groups: their sites, areas and volumes.

use super::super::field::Field;
use super::super::schema::{Config, Group, Isolated, Mode, Role, Takeover};
use super::super::text::{Size, Span};
use super::lanes::{self, unknown_node};
use super::report::{Report, list};

/// Unit of all volume and ring space, bytes.
const BLOCK: u64 = 4096;
/// Least ring: holds a few of the largest frames.
const RING_MIN: Size = Size::from_mib(4);
/// Least manifest or receipt area.
const AREA_MIN: Size = Size::from_mib(1);
/// Bounds of the lease: shorter ones stall reads for a late heartbeat, longer ones delay a takeover.
const LEASE: (Span, Span) = (Span::from_ms(50), Span::from_ms(60_000));

/// Bounds of `takeover_after`.
const TAKEOVER_AFTER: (Span, Span) = (Span::from_ms(1_000), Span::from_ms(3_600_000));

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let groups =
        || config.groups.iter().enumerate().map(|(index, group)| (Field::table("group", index), group));
    report
        .distinct(|id| format!("group id {id}"), groups().map(|(field, group)| (field.key("id"), group.id)));
    report.distinct(
        |name| format!("group name \"{name}\""),
        groups().map(|(field, group)| (field.key("name"), group.name.as_str())),
    );
    for (field, group) in groups() {
        sites(config, group, &field, report);
        lanes::check(config, group, &field, report);
        takeover(group, &field, report);
        areas(group, &field, report);
        volumes(group, &field, report);
    }
    paths_are_distinct(config, report);
}

fn sites(config: &Config, group: &Group, field: &Field, report: &mut Report<'_>) {
    let sites = field.clone().key("sites");
    if group.sites.len() != 2 {
        report.error(&sites, format!("a group has two sites, here are {}", group.sites.len()));
    }
    let each = || group.sites.iter().enumerate().map(|(index, site)| (sites.clone().index(index), *site));
    report.distinct(|site| format!("site {site}"), each());
    for (place, site) in each() {
        if let Some(message) = unknown_node(config, site) {
            report.error(&place, message);
        }
    }
    let (node, is_site) = (config.node.id, group.sites.contains(&config.node.id));
    match group.role {
        Role::Primary | Role::Secondary if !is_site => report.error(
            &field.clone().key("role"),
            format!(
                "this node, {node}, is none of the group's sites {}: allowed is \"relay\"",
                list(&group.sites)
            ),
        ),
        Role::Relay if is_site => report.error(
            &field.clone().key("role"),
            format!(
                "this node, {node}, is one of the group's sites: allowed are \"primary\" and \"secondary\""
            ),
        ),
        Role::Primary | Role::Secondary | Role::Relay => {}
    }
}

fn takeover(group: &Group, field: &Field, report: &mut Report<'_>) {
    if group.mode == Mode::MaxPerformance && group.takeover == Takeover::Automatic {
        report.error(
            &field.clone().key("takeover"),
            "with mode = \"max-performance\" the journal stands at the primary alone, and a takeover without it always loses \
             something: allowed is \"manual\""
                .to_owned(),
        );
    }
    let isolated = field.clone().key("isolated");
    match (group.isolated, group.takeover) {
        (Isolated::Stall, Takeover::Manual | Takeover::Automatic) => {}
        (Isolated::Continue, Takeover::Manual) if group.mode != Mode::MaxAvailability => report.error(
            &isolated,
            "a primary goes on without its lanes only with mode = \"max-availability\": set that, or isolated = \"stall\""
                .to_owned(),
        ),
        (Isolated::Continue, Takeover::Manual) => report.warning(
            &isolated,
            "a primary that reaches no other node goes on: both sites can come to hold writes that the other has not, and every \
             takeover of this group needs --accept-loss"
                .to_owned(),
        ),
        (Isolated::Continue, Takeover::Automatic) => report.error(
            &isolated,
            "with takeover = \"automatic\" both sites would answer hosts at the same time: allowed is \"stall\"".to_owned(),
        ),
    }
    let after = group.takeover_after;
    if after < TAKEOVER_AFTER.0 || after > TAKEOVER_AFTER.1 {
        let message =
            format!("{after} is out of range: allowed are {} to {}", TAKEOVER_AFTER.0, TAKEOVER_AFTER.1);
        report.error(&field.clone().key("takeover_after"), message);
    }
}

fn areas(group: &Group, field: &Field, report: &mut Report<'_>) {
    let sizes = [
        ("ring", group.ring, RING_MIN),
        ("manifest", group.manifest, AREA_MIN),
        ("receipt", group.receipt, AREA_MIN),
    ];
    for (key, size, least) in sizes {
        let place = field.clone().key(key);
        whole_blocks(size, &place, report);
        if size < least {
            report.error(&place, format!("{size} is too small, at least {least} is needed"));
        }
    }
    if group.lease < LEASE.0 || group.lease > LEASE.1 {
        let message = format!("{} is out of range: allowed are {} to {}", group.lease, LEASE.0, LEASE.1);
        report.error(&field.clone().key("lease"), message);
    }
}

fn whole_blocks(size: Size, field: &Field, report: &mut Report<'_>) {
    if !size.bytes().is_multiple_of(BLOCK) {
        report.error(field, format!("{size} is not a multiple of {BLOCK} bytes"));
    }
}

fn volumes(group: &Group, field: &Field, report: &mut Report<'_>) {
    let volumes = field.clone().key("volume");
    let each =
        || group.volumes.iter().enumerate().map(|(index, volume)| (volumes.clone().index(index), volume));
    report
        .distinct(|id| format!("volume id {id}"), each().map(|(place, volume)| (place.key("id"), volume.id)));
    report.distinct(
        |name| format!("volume name \"{name}\""),
        each().map(|(place, volume)| (place.key("name"), volume.name.as_str())),
    );
    for (place, volume) in each() {
        if let Some(size) = volume.size {
            let place = place.key("size");
            whole_blocks(size, &place, report);
            if size.bytes() == 0 {
                report.error(&place, format!("a volume has at least {BLOCK} bytes"));
            }
        }
    }
    match group.role {
        Role::Relay if !group.volumes.is_empty() => {
            report.error(&volumes, "a relay holds no volumes: allowed is none".to_owned());
        }
        Role::Primary | Role::Secondary if group.volumes.is_empty() => {
            report.error(field, "a site needs at least one [[group.volume]]".to_owned());
        }
        Role::Primary | Role::Secondary | Role::Relay => {}
    }
}

/// One disk or file serves one purpose.
fn paths_are_distinct(config: &Config, report: &mut Report<'_>) {
    let journal = (Field::default().key("node").key("journal"), config.node.journal.as_path());
    let volumes = config.groups.iter().enumerate().flat_map(|(index, group)| {
        let field = Field::table("group", index).key("volume");
        let volumes = group.volumes.iter().enumerate();
        volumes.map(move |(at, volume)| (field.clone().index(at).key("path"), volume.path.as_path()))
    });
    let state = config.node.state.iter();
    let state = state.map(|path| (Field::default().key("node").key("state"), path.as_path()));
    let paths = std::iter::once(journal).chain(volumes).chain(state);
    report.distinct(|path| format!("disk {}", path.display()), paths);
}
