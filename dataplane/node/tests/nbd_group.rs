//! A replicated volume over NBD: served by the primary, refused by the secondary, whole after a takeover.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use midspan_format::control::GroupCommand;
use midspan_format::ids::{NodeId, VolumeId};
use midspan_format::superblock::Role;
use midspan_node::config::{
    Address, AnswerMode, ControlPath, ExportConfig, GroupConfig, LanePolicy, Limits, Listen, MemoryConfig,
    NodeConfig, Pace, Source,
};
use midspan_node::format::format;
use midspan_node::node::{NodeHandle, start};
use midspan_node::peer::Peer;
use midspan_node::port::{Command, CommandId};
use rig::{A, B, GROUP, LANE, MIB, RELAY, Scratch, relay_group, site_group, spec};
use wire::{Sent, WRITE, Wire};

const VOLUME: u64 = 8 * MIB;

fn config(scratch: &Scratch, node: NodeId) -> NodeConfig {
    let mut config = NodeConfig::new(node);
    config.cores = vec![0];
    config.memory = MemoryConfig { huge_pages: false, ..MemoryConfig::of_bytes(64 << 20) };
    config.journal = Some(scratch.path(&format!("{node}.journal")));
    config
}

fn start_relay(scratch: &Scratch) -> NodeHandle {
    let journal = scratch.disk(&format!("{RELAY}.journal"), 24 * MIB);
    format(&spec(&journal, RELAY, vec![relay_group(GROUP, 8 * MIB)])).unwrap();
    let mut config = config(scratch, RELAY);
    config.listen = Some(Listen::At(Address::Tcp("127.0.0.1:0".parse().unwrap())));
    start(config).unwrap()
}

fn start_site(scratch: &Scratch, node: NodeId, relay: &NodeHandle) -> NodeHandle {
    let journal = scratch.disk(&format!("{node}.journal"), 24 * MIB);
    let volumes = vec![rig::volume(1, &scratch.disk(&format!("{node}.volume"), VOLUME))];
    format(&spec(&journal, node, vec![site_group(GROUP, 8 * MIB, volumes.clone())])).unwrap();
    let mut config = config(scratch, node);
    config.peers = vec![Peer { node: RELAY, addresses: vec![Address::Tcp(relay.listening().unwrap())] }];
    config.groups = vec![GroupConfig {
        group: GROUP,
        sites: [A, B],
        initial_role: if node == A { Role::Primary } else { Role::Secondary },
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
    let (name, source) = ("disk".to_owned(), Source::Group(GROUP, VolumeId(1)));
    config.exports =
        vec![ExportConfig { name, description: String::new(), source, read_only: false, default: false }];
    config.front = vec![Listen::At(Address::Tcp("127.0.0.1:0".parse().unwrap()))];
    start(config).unwrap()
}

/// Opens the export as soon as it is served.
fn open(at: SocketAddr) -> Wire {
    loop {
        match Wire::open(at, "disk") {
            Ok(wire) => return wire,
            Err(refusal) => assert!(refusal.contains("export 'disk' is not served"), "{refusal}"),
        }
        std::thread::yield_now();
    }
}

/// What each byte of the volume must be; `None` where a write that was not answered may have come.
type Content = Vec<Option<u8>>;

/// Writes of any alignment, many at a time, until the connection ends or `most` were sent and answered.
fn scribble(wire: &mut Wire, mut content: Content, seed: u64, most: usize) -> Content {
    let mut open: BTreeMap<Sent, (u64, Range<usize>, u8)> = BTreeMap::new();
    let (mut sends, mut random) = (0, seed);
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    while sends < most || !open.is_empty() {
        // Sixteen places that do not overlap: two writes to one byte are never under way together.
        let place = next(16);
        if sends < most && open.len() < 16 && !open.values().any(|(of, ..)| *of == place) {
            let length = [1, 511, 4096, 70_000, 300_000][next(5) as usize];
            let at = place * (VOLUME / 16) + next(VOLUME / 16 - length);
            let byte = next(256) as u8;
            let range = at as usize..(at + length) as usize;
            let Some(sent) = wire.send(WRITE, at, range.len(), &vec![byte; range.len()]) else { break };
            open.insert(sent, (place, range, byte));
            sends += 1;
            continue;
        }
        let Some((sent, error)) = wire.reply() else { break };
        assert_eq!(error, 0);
        let (_, range, byte) = open.remove(&sent).unwrap();
        content[range].fill(Some(byte));
    }
    for (_, range, _) in open.into_values() {
        content[range].fill(None);
    }
    content
}

fn assert_holds(wire: &mut Wire, content: &Content) {
    let found = wire.read(0, content.len());
    let wrong = content.iter().zip(&found).position(|(must, is)| must.is_some_and(|must| must != *is));
    assert_eq!(wrong, None, "the first byte that is wrong");
}

#[test]
fn a_primary_that_dies_under_load_leaves_everything_that_was_answered_to_the_taker() {
    let scratch = Scratch::new();
    let relay = start_relay(&scratch);
    let secondary = start_site(&scratch, B, &relay);
    let primary = start_site(&scratch, A, &relay);
    let (at, taker) = (primary.hosts_at()[0].unwrap(), secondary.hosts_at()[0].unwrap());
    let mut wire = open(at);
    let content = scribble(&mut wire, vec![Some(0); VOLUME as usize], 1, 400);
    wire.flush();
    assert_holds(&mut wire, &content);
    drop(wire);
    let refusal = Wire::open(taker, "disk").err().unwrap();
    assert!(refusal.contains("secondary") && refusal.contains("midspan takeover"), "{refusal}");
    let mut wire = open(at);
    let writer = std::thread::spawn(move || scribble(&mut wire, content, 2, usize::MAX));
    let mut other = open(at);
    (0..50).for_each(|_| drop(other.read(12_345, 100_000)));
    primary.stop();
    let content = writer.join().unwrap();
    let command = GroupCommand::Takeover { accept_loss: false, dry_run: false };
    secondary.command(0, CommandId(1), Command::Group { group: GROUP, command }).unwrap();
    let mut wire = open(taker);
    assert_holds(&mut wire, &content);
    wire.write(77, b"served by the taker");
    assert_eq!(wire.read(77, 19), b"served by the taker");
}
