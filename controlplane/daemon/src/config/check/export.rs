//! What hosts see: exports and the places where they connect.

use super::super::field::Field;
use super::super::schema::{Config, Role};
use super::super::text::NbdListen;
use super::node::{loopback, socket_path};
use super::report::{Report, list};

/// Longest name of an export that the NBD protocol allows, bytes.
const NAME_MAX: usize = 4096;

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let exports =
        || config.exports.iter().enumerate().map(|(index, export)| (Field::table("export", index), export));
    report.distinct(
        |name| format!("export name \"{name}\""),
        exports().map(|(field, export)| (field.key("name"), export.name.as_str())),
    );
    for (field, export) in exports() {
        let length = export.name.len();
        if length > NAME_MAX {
            report.error(
                &field.clone().key("name"),
                format!("the name of an export has at most {NAME_MAX} bytes, this one has {length}"),
            );
        }
        if config.volume(&export.volume).is_none() {
            let known = list(all_volumes(config));
            report.error(
                &field.key("volume"),
                format!("no volume is named {}; known are {known}", export.volume),
            );
        }
    }
    listeners(config, report);
}

fn all_volumes(config: &Config) -> impl Iterator<Item = String> {
    let groups = config.groups.iter().filter(|group| group.role != Role::Relay);
    groups.flat_map(|group| group.volumes.iter().map(|volume| format!("{}/{}", group.name, volume.name)))
}

fn listeners(config: &Config, report: &mut Report<'_>) {
    let listen = Field::default().key("nbd").key("listen");
    let each =
        || config.nbd.listen.iter().enumerate().map(|(index, place)| (listen.clone().index(index), place));
    let node = Field::default().key("node");
    let own = [
        (node.clone().key("listen"), config.node.listen.to_string()),
        (node.key("api"), format!("unix:{}", config.node.api.display())),
    ];
    report.distinct(
        |place| format!("listening place {place}"),
        own.into_iter().chain(each().map(|(field, place)| (field, place.to_string()))),
    );
    for (field, place) in each() {
        match place {
            NbdListen::Tcp(address) => loopback(config, *address, &field, report),
            NbdListen::Unix(path) => socket_path(path, &field, report),
        }
    }
    if !config.exports.is_empty() && config.nbd.listen.is_empty() && !config.nbd.systemd {
        report.error(
            &Field::table("export", 0),
            "no host can reach the exports: [nbd] needs `listen = [...]` or `systemd = true`".to_owned(),
        );
    }
}
