//! Runs a node: starts the data plane, drives it beside the API, and ends both in order.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use midspan_node::exports::Export;
use midspan_node::node::{self, NodeHandle};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{MissedTickBehavior, interval};

use crate::alone::{self, Place as Kept};
use crate::api::socket::ApiSocket;
use crate::api::types::{Change, ExportStatus, NodeKind, NodeStatus, OperationStatus, VolumeStatus};
use crate::clock;
use crate::config::{Config, NbdListen, Role};
use crate::configured;
use crate::driver::{Action, Driver};
use crate::events::{EventLog, Tell};
use crate::exit::{self, Failure};
use crate::heartbeat::Heart;
use crate::measure::Known;
use crate::notify::notify;
use crate::operations::{OperationLog, Unfinished};
use crate::port::{Objects, Offered, Port, access};
use crate::refusal::{check_disk, check_disks};
use crate::serve::Server;
use crate::state::{self, State, Writer};
use crate::translate::{self, Lone};
use crate::view::{MAX_REQUESTS, Request, Shared, View};
use crate::words::Names;

/// How often the data plane is asked how it stands.
const POLL: Duration = Duration::from_millis(100);

/// Runs the node of a checked configuration until it is asked to end.
///
/// # Errors
/// Why it cannot start, or why its data plane ended.
pub fn configured(config: &Config, until_eof: bool) -> Result<u8, Failure> {
    // Sockets that systemd passed are taken before anything else has descriptors.
    let node = translate::node(config);
    let server = Server::new().map_err(no_runtime)?;
    check_disks(config)?;
    let socket = ApiSocket::bind(&config.node.api).map_err(Failure::from)?;
    let heart = Heart::new(config)?;
    let handle = node::start(node).map_err(Failure::from)?;
    let objects = objects(config, &handle);
    // After the start of the data plane, which must not wait for it.
    let known = known_before(config);
    let view = View {
        status: first_status(config, &objects.groups),
        configs: configured::groups(config),
        exports: exports(config, &handle),
        events: known.events,
        operations: known.operations,
        ..View::default()
    };
    let (name, place) = (&config.node.name, config.node.api.display());
    let message = format!("listens for nodes on {}, for operators on {place}", config.node.listen);
    let mut tells = known.tells;
    tells.push(Tell::info("started", format!("node:{name}"), message));
    if config.nbd.systemd && handle.hosts_at().len() == config.nbd.listen.len() {
        let message = "`systemd = true` in [nbd], and systemd passed no sockets";
        tells.push(Tell::warn("no_sockets", format!("node:{name}"), message).hint("enable midspand.socket"));
    }
    let (writer, unfinished, held) = (known.writer, known.unfinished, known.held);
    run(
        server,
        Some(&socket),
        Begun {
            handle,
            objects,
            view,
            places: alone::places(config),
            tells,
            writer,
            unfinished,
            held,
            until_eof,
            heart: Some(heart),
        },
    )
}

/// Serves one disk until it is asked to end.
///
/// # Errors
/// Why it cannot start, or why its data plane ended.
pub fn lone(lone: &Lone, until_eof: bool) -> Result<u8, Failure> {
    let node = translate::lone(lone);
    if node.front.is_empty() {
        let message = format!("{}: nobody could connect", lone.disk.display());
        return Err(Failure::new(exit::USAGE, message).hint("name a --socket or a --listen address"));
    }
    let server = Server::new().map_err(no_runtime)?;
    check_disk("the disk", &lone.disk)?;
    let handle = node::start(node).map_err(Failure::from)?;
    let names = Names::new(std::iter::empty());
    let exports = vec![Offered { name: lone.export.clone(), read_only: lone.read_only }];
    let objects = Objects { node: translate::LONE_NODE, names, groups: Vec::new(), exports };
    let status = NodeStatus { kind: NodeKind::Simplex, ..NodeStatus::default() };
    let view = View { status, ..View::default() };
    let message = "is served to hosts, without replication";
    let tells = vec![Tell::info("started", format!("disk:{}", lone.disk.display()), message)];
    let (writer, unfinished, held, places) = (None, Unfinished::default(), Vec::new(), Vec::new());
    let heart = None;
    let begun = Begun { handle, objects, view, places, tells, writer, unfinished, held, until_eof, heart };
    run(server, None, begun)
}

/// What earlier runs of the node have kept.
struct Before {
    events: EventLog,
    operations: OperationLog,
    /// Operations that had not ended.
    unfinished: Unfinished,
    /// Groups whose rounds are held.
    held: Vec<String>,
    writer: Option<Writer>,
    tells: Vec<Tell>,
}

fn known_before(config: &Config) -> Before {
    let node = &config.node;
    let place = node.state.clone().unwrap_or_else(|| state::default_place(&node.name, &node.api));
    let now_ns = clock::wall_ns();
    let State { writer, kept, mut tells } = state::open(&place, now_ns);
    let (operations, unfinished) = OperationLog::of_earlier_runs(kept.operations, now_ns);
    for operation in &unfinished.goes_on {
        let OperationStatus { operation, group, kind, phase, .. } = operation;
        let message = format!("{kind} {operation}: the daemon ended while it was at `{phase}`; it goes on");
        tells.push(Tell::info("operation_resumed", format!("group:{group}"), message));
    }
    // Of a round that follows another one people hear when it begins.
    for operation in unfinished.ended.iter().filter(|operation| operation.kind != "round") {
        let OperationStatus { operation, group, kind, message, hint, .. } = operation;
        let message = format!("{kind} {operation}: {message}");
        let tell = Tell::warn("operation_interrupted", format!("group:{group}"), message);
        tells.push(tell.hint(hint.clone()));
    }
    let events = EventLog::of_earlier_runs(kept.events);
    Before { events, operations, unfinished, held: kept.held, writer, tells }
}

fn no_runtime(error: io::Error) -> Failure {
    Failure::other(format!("signals and the API cannot be listened for: {error}"))
}

/// A data plane that runs, and what is known of it.
struct Begun {
    handle: NodeHandle,
    objects: Objects,
    view: View,
    places: Vec<Kept>,
    tells: Vec<Tell>,
    writer: Option<Writer>,
    unfinished: Unfinished,
    held: Vec<String>,
    until_eof: bool,
    heart: Option<Heart>,
}

fn run(server: Server, socket: Option<&ApiSocket>, begun: Begun) -> Result<u8, Failure> {
    let Begun { handle, objects, view, places, tells, writer, unfinished, held, until_eof, heart } = begun;
    let (sender, requests) = channel(MAX_REQUESTS);
    let shared = Shared::new(view, sender).with_recorders(handle.recorders()).with_writer(writer);
    let shared = Arc::new(shared.with_places(places));
    for tell in tells {
        shared.tell(tell);
    }
    for operation in unfinished.ended {
        shared.keep_operation(Some(operation));
    }
    for operation in &unfinished.goes_on {
        shared.go_on(operation);
    }
    if until_eof {
        end_with_input(Arc::clone(&shared));
    }
    let mut port = Port::new(handle, objects);
    // Before anything is measured: no round may begin in between.
    for group in held {
        let is_here = shared.view().status.groups.iter().any(|found| found.group == group);
        if is_here {
            port.act(Action::Change { group, change: Change::Pause });
        } else {
            shared.hold(&group, false);
        }
    }
    let beating = heart.map(|heart| heart.beat(Arc::clone(&shared)));
    let driving = async {
        // A task of its own: neither waits for the other.
        beating.map(tokio::spawn);
        drive(&mut port, &shared, requests).await
    };
    let outcome = server.until_ended(socket, &shared, driving, || notify("READY=1"));
    notify("STOPPING=1");
    // Answers what can be answered and closes everything, also after a failure.
    port.into_plane().stop();
    shared.finish_keeping();
    match outcome {
        Ok(None) => Ok(exit::OK),
        Ok(Some(why)) => Err(Failure::other(format!("the data plane ended: {why}"))
            .hint("a restart reads the journal first and loses nothing; the log says more")),
        Err(error) => Err(Failure::other(format!("the API cannot be served: {error}"))),
    }
}

/// Asks for the end when the standard input ends. The thread lives as long as the process.
fn end_with_input(shared: Arc<Shared>) {
    std::thread::spawn(move || {
        // Whatever comes is of no interest; an input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        shared.end();
    });
}

/// Moves reports to the driver and requests to the data plane, until a shard has ended; returns why.
async fn drive(port: &mut Port, shared: &Shared, mut requests: Receiver<Request>) -> String {
    let mut driver = Driver::default();
    let mut tick = interval(POLL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let signal = match readable(port.plane().signal().as_fd()) {
        Ok(signal) => signal,
        Err(error) => return format!("its signal cannot be waited for: {error}"),
    };
    loop {
        tokio::select! {
            ready = signal.readable() => match ready {
                Ok(mut guard) => {
                    guard.clear_ready();
                    port.plane().signal().clear();
                }
                Err(error) => return format!("its signal cannot be read: {error}"),
            },
            Some(request) = requests.recv() => {
                // From here on a kill finds it, and it goes on at the next start.
                shared.recorded().await;
                driver.on_request(now_ns(shared), request);
            }
            _ = tick.tick() => {
                port.poll();
                port.look();
            }
        }
        for news in port.take() {
            driver.on_news(shared, now_ns(shared), news);
        }
        driver.take_due().into_iter().for_each(|action| port.act(action));
        if let Some(why) = port.ended() {
            return why.to_owned();
        }
    }
}

#[expect(
    deprecated,
    reason = "sound for an owned descriptor, which stays open as long as it is watched; its successor is unsafe, which \
              only the engine may use"
)]
fn readable(descriptor: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor.try_clone_to_owned()?, Interest::READABLE)
}

fn now_ns(shared: &Shared) -> u64 {
    u64::try_from(shared.uptime().as_nanos()).unwrap_or(u64::MAX)
}

fn objects(config: &Config, handle: &NodeHandle) -> Objects {
    let own = (config.node.id, config.node.name.clone());
    let peers = config.peers.iter().map(|peer| (peer.id, peer.name.clone()));
    let names = std::iter::once(own).chain(peers).map(|(id, name)| (u64::from(id.get()), name));
    Objects {
        node: translate::node_id(config.node.id),
        names: Names::new(names),
        groups: config.groups.iter().map(|group| known(config.node.id, group, handle)).collect(),
        exports: handle.exports().all().iter().map(offered).collect(),
    }
}

fn offered(export: &Export) -> Offered {
    Offered { name: export.name.clone(), read_only: export.read_only }
}

fn known(own: crate::config::Id, group: &crate::config::Group, handle: &NodeHandle) -> Known {
    let id = translate::group_id(group.id);
    let volume = |volume: &crate::config::Volume| VolumeStatus {
        volume: volume.id.get().into(),
        name: volume.name.clone(),
        path: volume.path.display().to_string(),
        size_bytes: volume.size.map(crate::config::Size::bytes).or_else(|| size_of(&volume.path)),
    };
    Known {
        name: group.name.clone(),
        id,
        sites: group.sites.iter().copied().map(translate::node_id).collect(),
        home: translate::home(own, group),
        shard: if group.role == Role::Relay { None } else { handle.shard_of(id) },
        holds_lane: group.has_lane_at(own),
        volumes: group.volumes.iter().map(volume).collect(),
    }
}

/// Size of a regular file; devices are sized by the data plane.
fn size_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|found| found.len())
}

fn first_status(config: &Config, groups: &[Known]) -> NodeStatus {
    let is_site = config.groups.iter().any(|group| group.role != Role::Relay);
    NodeStatus {
        node: config.node.name.clone(),
        node_id: config.node.id.get().into(),
        kind: if is_site || config.groups.is_empty() { NodeKind::Site } else { NodeKind::Relay },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        groups: groups.iter().map(Known::unmeasured).collect(),
        ..NodeStatus::default()
    }
}

fn exports(config: &Config, handle: &NodeHandle) -> Vec<ExportStatus> {
    let places: Vec<Place> = places(config, handle.hosts_at());
    let one = |export: &Export| {
        let configured = config.exports.iter().find(|configured| configured.name == export.name);
        let (group, volume) = configured.and_then(|export| config.volume(&export.volume)).unzip();
        ExportStatus {
            export: export.name.clone(),
            group: group.map(|group| group.name.clone()).unwrap_or_default(),
            volume: volume.map(|volume| volume.name.clone()).unwrap_or_default(),
            size_bytes: Some(export.size),
            access: access(export.is_serving(), export.read_only).to_owned(),
            uris: places.iter().map(|place| place.uri(&export.name)).collect(),
            connections: None,
        }
    };
    handle.exports().all().iter().map(one).collect()
}

/// Where hosts connect to.
#[derive(Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The configured places, with the ports that the kernel chose, then what systemd passed.
fn places(config: &Config, hosts_at: &[Option<SocketAddr>]) -> Vec<Place> {
    let configured = config.nbd.listen.iter().enumerate().map(|(index, listen)| match listen {
        NbdListen::Tcp(address) => Place::Tcp(hosts_at.get(index).copied().flatten().unwrap_or(*address)),
        NbdListen::Unix(path) => Place::Unix(path.clone()),
    });
    let passed = hosts_at.iter().skip(config.nbd.listen.len()).flatten().map(|address| Place::Tcp(*address));
    configured.chain(passed).collect()
}

impl Place {
    fn uri(&self, export: &str) -> String {
        let export = encode(export.as_bytes());
        match self {
            Place::Tcp(address) => format!("nbd://{address}/{export}"),
            Place::Unix(path) => {
                format!("nbd+unix:///{export}?socket={}", encode(path.as_os_str().as_bytes()))
            }
        }
    }
}

/// Percent-encodes what has a meaning in URIs.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_clients_take_them() {
        let tcp = Place::Tcp("[::1]:10809".parse().unwrap());
        assert_eq!(tcp.uri("db v0?"), "nbd://[::1]:10809/db%20v0%3F");
        let unix = Place::Unix("/run/a&b.sock".into());
        assert_eq!(unix.uri(""), "nbd+unix:///?socket=/run/a%26b.sock");
    }
}
