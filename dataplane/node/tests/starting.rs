//! What a node refuses at its start, each with one clear sentence, and what it does on lone disks and with strangers.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use midspan_format::area::AreaKind;
use midspan_format::checksum::checksum;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, GroupId, NodeId, VolumeId};
use midspan_format::message::{Hello, Message, Refused, RefusedReason, SessionKind};
use midspan_format::superblock::Role;
use midspan_format::version::PROTOCOL_VERSION;
use midspan_node::boot::BootError;
use midspan_node::config::{
    Address, AnswerMode, ControlPath, ExportConfig, GroupConfig, LanePolicy, Limits, Listen, LoneConfig,
    MemoryConfig, NodeConfig, Pace, Source,
};
use midspan_node::exports::ExportId;
use midspan_node::format::{DiskUse, format};
use midspan_node::node::{NodeHandle, StartError, start, start_with};
use midspan_node::port::{Note, Report};
use midspan_protocol::vocab::effect::HostError;
use rig::puppet::{Ask, Hosts};
use rig::{A, B, GROUP, LANE, MIB, RELAY, Scratch, relay_group, site_group, spec, volume};

const X: ExportId = ExportId(0);

fn config(node: NodeId) -> NodeConfig {
    let mut config = NodeConfig::new(node);
    config.cores = vec![0];
    config.memory = MemoryConfig { huge_pages: false, ..MemoryConfig::of_bytes(32 << 20) };
    config
}

fn export(name: &str, source: Source) -> ExportConfig {
    ExportConfig {
        name: name.to_owned(),
        description: String::new(),
        source,
        read_only: false,
        default: false,
    }
}

fn lone(scratch: &Scratch, name: &str, size: u64) -> NodeConfig {
    let mut config = config(A);
    config.lone = vec![LoneConfig { id: VolumeId(4), path: scratch.disk(name, size) }];
    config.exports = vec![export(name, Source::Lone(VolumeId(4)))];
    config
}

/// A relay that listens, on a formatted disk.
fn relay(scratch: &Scratch) -> NodeConfig {
    let path = scratch.disk("journal", 8 * MIB);
    format(&spec(&path, RELAY, vec![relay_group(GROUP, MIB)])).unwrap();
    let mut config = config(RELAY);
    config.journal = Some(path);
    config.listen = Some(Listen::At(Address::Tcp("127.0.0.1:0".parse().unwrap())));
    config
}

/// A site on a formatted disk.
fn site(scratch: &Scratch) -> NodeConfig {
    let journal = scratch.disk("journal", 8 * MIB);
    let volumes = vec![volume(1, &scratch.disk("volume", MIB))];
    format(&spec(&journal, A, vec![site_group(GROUP, MIB, volumes.clone())])).unwrap();
    let mut config = config(A);
    config.journal = Some(journal);
    config.groups = vec![GroupConfig {
        group: GROUP,
        sites: [A, B],
        initial_role: Role::Secondary,
        initial_copy: false,
        may_leave: false,
        alone: false,
        control: ControlPath::Both,
        lane: LANE,
        lanes: vec![RELAY],
        lane_policy: LanePolicy::Failover,
        direct: false,
        resend_bytes: 64 << 20,
        answer: AnswerMode::Journaled,
        volumes,
        limits: Limits::default(),
        pace: Pace::default(),
    }];
    config
}

fn refusal(config: NodeConfig) -> StartError {
    match start(config) {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[test]
fn a_lone_disk_is_served_and_keeps_what_was_written() {
    let scratch = Scratch::new();
    for round in 0..2_u8 {
        let hosts = Hosts::default();
        let mut config = lone(&scratch, &format!("disk-{round}"), MIB);
        if round > 0 {
            config.lone[0].path = scratch.path("disk-0");
        }
        let handle = start_with(config, hosts.front_end()).unwrap();
        hosts.wait_serving(X, true);
        if round == 0 {
            hosts.write(X, 5000, vec![7; 3000]);
            hosts.call(X, Ask::Flush).unwrap();
        }
        let found = hosts.read(X, 4096, 4096);
        assert!(found[..904].iter().all(|b| *b == 0) && found[904..3904].iter().all(|b| *b == 7));
        assert!(found[3904..].iter().all(|b| *b == 0));
        handle.stop();
        assert_eq!(hosts.call(X, Ask::Flush), Err(HostError::NotServing));
    }
}

#[test]
fn a_lone_disk_that_nobody_writes_is_opened_for_reading_only() {
    let scratch = Scratch::new();
    let mut config = lone(&scratch, "disk", MIB);
    let path = config.lone[0].path.clone();
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    config.exports[0].read_only = true;
    let hosts = Hosts::default();
    let handle = start_with(config, hosts.front_end()).unwrap();
    hosts.wait_serving(X, true);
    assert_eq!(hosts.read(X, 0, 4096), [0; 4096]);
    assert_eq!(hosts.call(X, Ask::Write { offset: 0, data: vec![1], fua: false }), Err(HostError::Io));
    drop(handle);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    let mut without_cores = config(A);
    without_cores.cores = Vec::new();
    assert!(matches!(refusal(without_cores), StartError::NoCores));

    let mut twice = lone(&scratch, "twice", MIB);
    twice.exports.push(export("twice", Source::Lone(VolumeId(4))));
    assert_eq!(refusal(twice).to_string(), "export twice is configured twice");

    let mut unknown = config(A);
    unknown.exports = vec![export("b", Source::Lone(VolumeId(5)))];
    assert_eq!(refusal(unknown).to_string(), "export b serves a volume that is not configured here");

    let mut without_journal = site(&scratch);
    without_journal.journal = None;
    assert_eq!(refusal(without_journal).to_string(), "group 7 is configured, but no journal disk");
    let mut without_journal = config(RELAY);
    without_journal.relay_groups = Some(vec![GROUP]);
    assert_eq!(refusal(without_journal).to_string(), "group 7 is configured, but no journal disk");

    let mut far = config(A);
    far.cores = vec![100_000];
    let error = refusal(far).to_string();
    assert!(error.contains("core 100000"), "{error}");
}

#[test]
fn a_group_must_fit_its_journal_disk_and_its_volumes() {
    let scratch = Scratch::new();
    let mut config = site(&scratch);
    let group = config.groups[0].clone();
    config.groups.push(group.clone());
    let journal = config.journal.clone();
    assert!(matches!(refusal(config), StartError::GroupTwice { group: GROUP }));

    let again = || {
        let mut config = self::config(A);
        (config.journal, config.groups) = (journal.clone(), vec![group.clone()]);
        config
    };
    let mut empty = again();
    empty.groups[0].volumes.clear();
    assert!(matches!(refusal(empty), StartError::VolumeCount { group: GROUP, count: 0 }));

    let mut large = again();
    large.groups[0].volumes[0].size = Some(2 * MIB);
    let error = refusal(large).to_string();
    assert!(error.starts_with("group 7: volume 1: ") && error.contains("too small"), "{error}");

    let mut odd = again();
    let path = scratch.path("odd");
    std::fs::write(&path, vec![0; 5000]).unwrap();
    odd.groups[0].volumes[0].path = path;
    let error = refusal(odd).to_string();
    assert!(error.contains("odd has 5000 bytes, which is not a positive multiple of 4096"), "{error}");

    let mut none = again();
    none.groups[0].volumes[0].path = scratch.path("none");
    let error = refusal(none).to_string();
    assert!(error.starts_with("group 7: volume 1: ") && error.ends_with("none does not exist"), "{error}");

    let mut foreign = again();
    foreign.groups[0].group = GroupId(8);
    assert!(matches!(refusal(foreign), StartError::Boot(BootError::NoGroup { group: GroupId(8), .. })));

    // After all these refusals nothing is held: the disks can be opened.
    assert!(start_with(again(), Hosts::default().front_end()).is_ok());
}

#[test]
fn a_relays_disk_is_not_a_sites_and_the_other_way_round() {
    let scratch = Scratch::new();
    let mut as_relay = site(&scratch);
    as_relay.groups.clear();
    let error = refusal(as_relay);
    let wanted = |error: &StartError| {
        let StartError::Boot(BootError::OtherUse { wanted, .. }) = error else { return None };
        Some(*wanted)
    };
    assert_eq!(wanted(&error), Some(DiskUse::Relay), "{error}");

    let scratch = Scratch::new();
    let mut config = relay(&scratch);
    config.groups = site(&Scratch::new()).groups;
    let error = refusal(config);
    assert_eq!(wanted(&error), Some(DiskUse::Site), "{error}");
}

#[test]
fn a_node_that_runs_keeps_its_disks_to_itself() {
    let scratch = Scratch::new();
    let first = site(&scratch);
    let (journal, groups) = (first.journal.clone(), first.groups.clone());
    let running = start_with(first, Hosts::default().front_end()).unwrap();
    let mut second = config(A);
    second.journal = journal;
    second.groups = groups;
    let error = refusal(second).to_string();
    assert!(error.contains("journal is already open elsewhere"), "{error}");
    let mut third = config(B);
    third.lone = vec![LoneConfig { id: VolumeId(1), path: scratch.path("volume") }];
    let error = refusal(third).to_string();
    assert!(error.contains("volume is already open elsewhere"), "{error}");
    running.stop();
}

#[test]
fn an_address_in_use_is_refused_and_a_socket_left_behind_is_replaced() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(taken.local_addr().unwrap());
    for hosts in [false, true] {
        let mut config = config(A);
        let listen = Listen::At(address.clone());
        if hosts {
            config.front = vec![listen];
        } else {
            config.listen = Some(listen);
        }
        let error = refusal(config).to_string();
        assert!(error.starts_with(&format!("cannot listen at {address}: it is in use; ")), "{error}");
    }

    let path = scratch.path("s");
    let at_socket = || {
        let mut config = config(A);
        config.front = vec![Listen::At(Address::Unix(path.clone()))];
        config
    };
    let answering = UnixListener::bind(&path).unwrap();
    let error = refusal(at_socket()).to_string();
    assert!(error.contains("/s: it is in use"), "{error}");
    drop(answering);
    assert!(path.exists(), "nobody listens there any more, but the path is there");
    let running = start(at_socket()).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    running.stop();
    assert!(!path.exists(), "a node leaves no socket behind");

    std::fs::write(&path, "a file").unwrap();
    let error = refusal(at_socket()).to_string();
    assert!(error.contains("/s: it is in use"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}

fn hello(group: GroupId) -> Message {
    Message::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        node: A,
        group,
        kind: SessionKind::Control,
        area_kind: AreaKind::Ring,
        lane: LANE,
        area: AreaId::NONE,
        epoch: Epoch::NONE,
        lease_ms: 500,
    })
}

/// Says something to a node, and what it answers until it closes.
fn say(at: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset ends it too: nobody reads what is no greeting to its end.
    let _ = socket.read_to_end(&mut answer);
    answer
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = [0; 4096];
    let length = message.encode(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

fn refused(answer: &[u8]) -> Refused {
    match Message::decode(answer).unwrap() {
        Some((Message::Refused(refused), length)) if length == answer.len() => refused,
        other => panic!("{other:?}"),
    }
}

fn notes(handle: &NodeHandle) -> Vec<Note> {
    std::iter::from_fn(|| handle.report())
        .filter_map(|report| {
            let Report::Note { note, .. } = report else { return None };
            Some(note)
        })
        .collect()
}

#[test]
fn whoever_asks_for_a_group_that_is_not_here_is_told_so() {
    let (of_relay, of_site) = (Scratch::new(), Scratch::new());
    let mut listening = site(&of_site);
    listening.listen = Some(Listen::At(Address::Tcp("127.0.0.1:0".parse().unwrap())));
    for config in [relay(&of_relay), listening] {
        let handle = start_with(config, Hosts::default().front_end()).unwrap();
        let answer = refused(&say(handle.listening().unwrap(), &encoded(&hello(GroupId(77)))));
        assert_eq!((answer.reason, answer.journaled), (RefusedReason::UnknownGroup, Position(0)));
        handle.stop();
    }
}

#[test]
fn whoever_speaks_another_version_is_told_so_and_reported_once() {
    let scratch = Scratch::new();
    let handle = start_with(relay(&scratch), Hosts::default().front_end()).unwrap();
    let mut bytes = encoded(&hello(GROUP));
    bytes[8] = 9;
    let sum = checksum(&bytes[..32]);
    bytes[32..40].copy_from_slice(&sum.to_le_bytes());
    let at = handle.listening().unwrap();
    for _ in 0..3 {
        assert_eq!(refused(&say(at, &bytes)).reason, RefusedReason::Version);
    }
    let told = Note::Refused { node: NodeId::NONE, reason: RefusedReason::Version };
    assert_eq!(notes(&handle).into_iter().filter(|note| *note == told).count(), 1);
    // What is no message of any version is not answered.
    assert!(say(at, b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n____________").is_empty());
    handle.stop();
}

#[test]
fn whoever_is_silent_or_never_done_greeting_does_not_keep_others_out() {
    let scratch = Scratch::new();
    let handle = start_with(relay(&scratch), Hosts::default().front_end()).unwrap();
    let at = handle.listening().unwrap();
    let greeting = encoded(&hello(GROUP));
    let mut silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(at).unwrap()).collect();
    for socket in &mut silent[..50] {
        socket.write_all(&greeting[..20]).unwrap();
    }
    let mut socket = TcpStream::connect(at).unwrap();
    socket.write_all(&greeting).unwrap();
    let mut header = [0; 40];
    socket.read_exact(&mut header).unwrap();
    let length = midspan_format::message::message_length(&header).unwrap().unwrap();
    let mut whole = header.to_vec();
    whole.resize(length, 0);
    socket.read_exact(&mut whole[40..]).unwrap();
    assert!(matches!(Message::decode(&whole), Ok(Some((Message::Welcome(_), _)))));
    handle.stop();
}
