//! The node itself and its peers: ids, names, addresses, cores, memory.

use std::net::SocketAddr;
use std::path::Path;

use super::super::field::Field;
use super::super::schema::Config;
use super::super::text::{Size, Span};
use super::report::Report;

/// Longest path of a unix socket, bytes: `sockaddr_un` without the closing zero.
const SOCKET_PATH_MAX: usize = 107;
/// Least buffer memory of a node.
const MEMORY_MIN: Size = Size::from_mib(16);
/// Longest that a shard without work may look for more.
const SPIN_MAX: Span = Span::from_ms(10);
/// Most memory of a flight recorder.
const RECORDER_MAX: Size = Size::from_mib(1024);
/// Bounds of the time between heartbeats: seldomer ones find nothing in time.
const HEARTBEAT: (Span, Span) = (Span::from_ms(10), Span::from_ms(10_000));
/// Longest silence that is not held against a peer.
const PAUSE_MAX: Span = Span::from_ms(60_000);
/// Size of a huge page.
const HUGE_PAGE: Size = Size::from_mib(2);

pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let node = Field::default().key("node");
    nodes_are_distinct(config, report);
    loopback(config, config.node.listen, &node.clone().key("listen"), report);
    for (index, peer) in config.peers.iter().enumerate() {
        loopback(config, peer.address, &Field::table("peer", index).key("address"), report);
    }
    if config.node.insecure {
        let message =
            "plain TCP is allowed beyond this machine: whoever is on the way can read and change all data";
        report.warning(&node.clone().key("insecure"), message.to_owned());
    }
    socket_path(&config.node.api, &node.clone().key("api"), report);
    cores(config, &node.clone().key("cores"), report);
    memory(config, &node.clone().key("memory"), report);
    spin(config, &node.clone().key("spin"), report);
    heartbeat(config, &node, report);
    if config.node.recorder > RECORDER_MAX {
        let message = format!("{} is too much, at most {RECORDER_MAX} is possible", config.node.recorder);
        report.error(&node.key("recorder"), message);
    }
}

fn nodes_are_distinct(config: &Config, report: &mut Report<'_>) {
    let node = Field::default().key("node");
    let peers = || config.peers.iter().enumerate().map(|(index, peer)| (Field::table("peer", index), peer));
    let ids = peers().map(|(field, peer)| (field.key("id"), peer.id));
    report.distinct(
        |id| format!("node id {id}"),
        std::iter::once((node.clone().key("id"), config.node.id)).chain(ids),
    );
    let names = peers().map(|(field, peer)| (field.key("name"), peer.name.as_str()));
    report.distinct(
        |name| format!("node name \"{name}\""),
        std::iter::once((node.clone().key("name"), config.node.name.as_str())).chain(names),
    );
    let addresses = peers().map(|(field, peer)| (field.key("address"), peer.address));
    report.distinct(
        |address| format!("address {address}"),
        std::iter::once((node.key("listen"), config.node.listen)).chain(addresses),
    );
}

/// Plain TCP stays on this machine unless the file says otherwise in so many words.
pub(super) fn loopback(config: &Config, address: SocketAddr, field: &Field, report: &mut Report<'_>) {
    if !address.ip().is_loopback() && !config.node.insecure {
        report.error(
            field,
            format!(
                "{address} is not a loopback address and connections are not encrypted: allowed are 127.0.0.0/8 and \
                 [::1], or `insecure = true` in [node]"
            ),
        );
    }
}

pub(super) fn socket_path(path: &Path, field: &Field, report: &mut Report<'_>) {
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        report.error(
            field,
            format!("the path of a unix socket has at most {SOCKET_PATH_MAX} bytes, this one has {length}"),
        );
    }
}

fn cores(config: &Config, field: &Field, report: &mut Report<'_>) {
    let Some(cores) = &config.node.cores else { return };
    if cores.is_empty() {
        report.error(field, "at least one core is needed, such as [0]".to_owned());
    }
    let cores = cores.iter().enumerate();
    report.distinct(
        |core| format!("core {core}"),
        cores.map(|(index, core)| (field.clone().index(index), *core)),
    );
}

fn spin(config: &Config, field: &Field, report: &mut Report<'_>) {
    let spin = config.node.spin;
    if spin > SPIN_MAX {
        report.error(field, format!("{spin} is too long: a core may be kept awake for up to {SPIN_MAX}"));
    }
}

fn heartbeat(config: &Config, node: &Field, report: &mut Report<'_>) {
    let (heartbeat, pause) = (config.node.heartbeat, config.node.heartbeat_pause);
    if heartbeat < HEARTBEAT.0 || heartbeat > HEARTBEAT.1 {
        let message = format!("{heartbeat} is out of range: allowed are {} to {}", HEARTBEAT.0, HEARTBEAT.1);
        report.error(&node.clone().key("heartbeat"), message);
    }
    if pause > PAUSE_MAX {
        let message = format!("{pause} is too long: a node that is silent for {PAUSE_MAX} is away");
        report.error(&node.clone().key("heartbeat_pause"), message);
    }
}

fn memory(config: &Config, field: &Field, report: &mut Report<'_>) {
    let memory = config.node.memory;
    if memory < MEMORY_MIN {
        report.error(field, format!("{memory} is too little, at least {MEMORY_MIN} is needed"));
    }
    if config.node.huge_pages && !memory.bytes().is_multiple_of(HUGE_PAGE.bytes()) {
        report.error(field, format!("{memory} is not a multiple of a huge page, {HUGE_PAGE}"));
    }
}
