//! What a node may take (I10): its memory stays within what its configuration says whoever stands still, says nothing or
//! reads nothing; nothing is left of connections that are gone; and nobody keeps a shard from serving its other hosts.
//!
//! A node may take the buffers of `memory`, and beside them [`OWN_BYTES`] for its program, its tables and its state. Tables
//! and buffers are taken at its start, so what it takes later is bounded closely, by [`MORE_BYTES`].

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use midspan::hammer::{Config, Initial, OnDisconnect, SizeMix};
use midspan::nbd_client::Client;
use midspan_format::message::{AreaList, Message, SessionKind};

use crate::stranger::{GROUP, Stranger, bytes, hello};
use rig::{Cluster, LIMIT, Load, Place, Program, Shape, pause, wait_for};

/// `memory = "128MiB"` in the rig's configurations.
const MEMORY_BYTES: u64 = 128 << 20;
/// What a node may take beside its buffers.
const OWN_BYTES: u64 = 64 << 20;
/// What a node may take more than it had when it had served its first hosts.
const MORE_BYTES: u64 = 24 << 20;
/// Connections that say nothing.
const SILENT: usize = 10_000;
/// Connections that are made and ended: more than a shard's tables hold.
const RECONNECTS: usize = 3000;
/// Hosts that misbehave: what each may hold, together, is more than all buffers.
const GREEDY: usize = 64;
const MIB: u64 = 1 << 20;

/// A cluster that has served hosts, and what its nodes had then.
struct Bounds {
    cluster: Cluster,
    before: Vec<(Place, u64, usize)>,
}

impl Bounds {
    fn begin(shape: Shape) -> Self {
        let mut cluster = Cluster::running(shape);
        assert!(cluster.shape().config(Place::Primary, rig::GROUP).contains("memory = \"128MiB\""));
        let mut load = hosts_in_a_hurry(&cluster);
        load.wait_for_answers();
        load.verify(&cluster.uris(Place::Primary));
        cluster.wait_caught_up();
        let before = Place::ALL.map(|place| {
            let node = cluster.node(place);
            (place, node.resident_bytes(), node.descriptors())
        });
        Self { cluster, before: before.to_vec() }
    }

    /// No node has taken more than it may.
    #[track_caller]
    fn hold(&mut self, when: &str) {
        for (place, before, _) in &self.before {
            let now = self.cluster.node(*place).resident_bytes();
            println!("{when}: {} has {} MiB, had {}", place.name(), now / MIB, before / MIB);
            assert!(now <= MEMORY_BYTES + OWN_BYTES, "{when}: {} has {now} bytes", place.name());
            assert!(now <= before + MORE_BYTES, "{when}: {} had {before} bytes, has {now}", place.name());
        }
    }

    /// Each node has as many things open as at the beginning, after a moment.
    fn nothing_is_left(&mut self) {
        for (place, _, before) in &self.before {
            let what = format!("{} should have {before} things open again", place.name());
            wait_for(&what, LIMIT, || {
                let now = self.cluster.node(*place).descriptors();
                (now <= *before).then_some(())
            });
        }
    }

    fn host(&self) -> Client {
        Client::connect(&self.cluster.uri(Place::Primary, 1), LIMIT).unwrap()
    }
}

/// A host is served: it writes, and reads what it wrote.
fn is_served(host: &mut Client, content: u8) {
    for number in 0..16 {
        let (offset, written) = (number * 3 * 4096, [content; 8192]);
        host.write(offset, &written, false).unwrap();
        let mut read = [0; 8192];
        host.read(offset, &mut read).unwrap();
        assert!(read == written, "at {offset}");
    }
}

fn hosts_in_a_hurry(cluster: &Cluster) -> Load {
    let load = Load::start(Config {
        connections: 6,
        depth: 32,
        sizes: SizeMix::parse("4k:40,64k:30,256k:20,1m:10").unwrap(),
        on_disconnect: OnDisconnect::Reconnect { give_up_after: LIMIT },
        initial: Initial::Scan,
        ..Config::new(cluster.uris(Place::Primary))
    });
    load.wait_for_answers();
    load
}

/// Hosts write as fast as they can, and one after the other of the nodes behind them stands still.
#[test]
fn a_node_that_stands_still_makes_no_other_one_grow() {
    let mut bounds = Bounds::begin(Shape::new(1, 32));
    let mut load = hosts_in_a_hurry(&bounds.cluster);
    bounds.cluster.node(Place::Secondary).signal("STOP");
    bounds.cluster.node(Place::Primary).wait("full", LIMIT, |group| group.lanes[0].ring.full);
    for _ in 0..5 {
        pause(Duration::from_secs(1));
        bounds.hold("the secondary stands still");
    }
    bounds.cluster.node(Place::Secondary).signal("CONT");
    load.wait_for_answers();
    bounds.cluster.node(Place::Relay).signal("STOP");
    for _ in 0..5 {
        pause(Duration::from_secs(1));
        bounds.hold("the relay stands still");
    }
    bounds.cluster.node(Place::Relay).signal("CONT");
    load.wait_for_answers();
    load.verify(&bounds.cluster.uris(Place::Primary));
    bounds.cluster.wait_paired();
    bounds.hold("everybody goes on");
}

/// Many connections that say nothing. Those that there is no place for are closed at once, the others after a while.
fn silent(bounds: &mut Bounds, address: &str, mut beside: impl FnMut()) {
    // Only the soft limit of this process.
    let limit = format!("--nofile={}:", SILENT + 1000);
    Program::new("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).run().well();
    let mut connections = Vec::with_capacity(SILENT);
    for number in 0..SILENT {
        connections.push(TcpStream::connect(address).unwrap());
        if number % 500 == 0 {
            beside();
        }
    }
    bounds.hold("10,000 say nothing");
    beside();
    for mut connection in connections {
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        // What a node says first, and then its end.
        let mut said = Vec::new();
        let ended = connection.read_to_end(&mut said);
        let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(ended.as_ref().map_or_else(reset, |_| true), "{ended:?}");
    }
    beside();
    bounds.nothing_is_left();
    bounds.hold("they are gone");
}

#[test]
fn ten_thousand_silent_hosts_take_nothing_and_keep_nobody_from_being_served() {
    let mut bounds = Bounds::begin(Shape::new(1, 8));
    let mut host = bounds.host();
    is_served(&mut host, 1);
    let address = bounds.cluster.shape().hosts_at(Place::Primary);
    let mut content = 1;
    // The host has one connection more than there was.
    bounds.before[2].2 = bounds.cluster.node(Place::Primary).descriptors();
    silent(&mut bounds, &address, || {
        content += 1;
        is_served(&mut host, content);
    });
    is_served(&mut bounds.host(), 200);
}

#[test]
fn ten_thousand_silent_nodes_take_nothing_and_keep_nobody_from_being_served() {
    for place in [Place::Relay, Place::Primary] {
        let mut bounds = Bounds::begin(Shape::new(1, 8));
        let mut host = bounds.host();
        is_served(&mut host, 1);
        let address = bounds.cluster.shape().address(place);
        let mut content = 1;
        bounds.before[2].2 = bounds.cluster.node(Place::Primary).descriptors();
        silent(&mut bounds, &address, || {
            content += 1;
            is_served(&mut host, content);
        });
        // A node that belongs to the group comes in.
        bounds.cluster.kill(Place::Secondary);
        bounds.cluster.start(Place::Secondary);
        bounds.cluster.wait_following();
        bounds.cluster.wait_caught_up();
    }
}

/// Hosts that ask for much and read nothing. What they hold is bounded, and those that hold too much of it for too long are let
/// go where it is short: another host is served all the time.
#[test]
fn hosts_that_never_read_their_answers_keep_no_other_host_from_being_served() {
    let mut bounds = Bounds::begin(Shape::new(1, 16));
    let mut host = bounds.host();
    is_served(&mut host, 1);
    let mut greedy = Vec::new();
    for number in 0..GREEDY {
        let (mut sender, receiver) = bounds.host().split_limited(Duration::from_millis(20)).unwrap();
        // Until the node takes no more of it, or has let it go.
        let asked = (0..4096).take_while(|cookie| sender.submit_read(*cookie, 0, 1 << 20).is_ok()).count();
        assert!(asked > 0);
        greedy.push((sender, receiver));
        is_served(&mut host, u8::try_from(number).unwrap());
    }
    bounds.hold("nobody reads");
    is_served(&mut bounds.host(), 100);
    drop(greedy);
    drop(host);
    bounds.nothing_is_left();
    is_served(&mut bounds.host(), 101);
}

/// Hosts that announce a large write and send half of it: each holds a buffer.
#[test]
fn hosts_that_send_half_of_a_write_keep_no_other_host_from_being_served() {
    let mut bounds = Bounds::begin(Shape::new(1, 16));
    let mut host = bounds.host();
    is_served(&mut host, 1);
    // What is half written is of nobody: not where the host writes.
    let offset: u64 = 8 << 20;
    let mut halves = Vec::new();
    for number in 0..4 * GREEDY {
        let mut stream = negotiated(&bounds.cluster);
        let length: u32 = 1 << 20;
        let head = [
            &0x2560_9513_u32.to_be_bytes()[..],
            &[0, 0, 0, 1],
            &7_u64.to_be_bytes(),
            &offset.to_be_bytes(),
            &length.to_be_bytes(),
        ];
        // It may have been let go already, as there are many.
        let _ = std::io::Write::write_all(&mut stream, &head.concat());
        let _ = std::io::Write::write_all(&mut stream, &vec![0x77; length as usize / 2]);
        halves.push(stream);
        if number % 8 == 0 {
            is_served(&mut host, u8::try_from(number / 8).unwrap());
        }
    }
    bounds.hold("everybody has sent half");
    is_served(&mut host, 99);
    drop(halves);
    is_served(&mut bounds.host(), 100);
    drop(host);
    bounds.nothing_is_left();
}

/// A connection to the primary's export, by hand: the old way to name an export, which needs no answer to be parsed.
fn negotiated(cluster: &Cluster) -> TcpStream {
    let mut stream = TcpStream::connect(cluster.shape().hosts_at(Place::Primary)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    // Fixed newstyle, no zeroes; NBD_OPT_EXPORT_NAME.
    let name = b"v1";
    let option = [&3_u32.to_be_bytes()[..], b"IHAVEOPT", &1_u32.to_be_bytes(), &2_u32.to_be_bytes(), name];
    std::io::Write::write_all(&mut stream, &option.concat()).unwrap();
    let mut export = [0; 10];
    stream.read_exact(&mut export).unwrap();
    stream
}

/// A node of the group asks on and on and reads no answer: those are bounded, too, and hosts are served.
#[test]
fn a_node_that_never_reads_its_answers_makes_no_other_one_grow() {
    let mut bounds = Bounds::begin(Shape::new(1, 8));
    let mut host = bounds.host();
    is_served(&mut host, 1);
    let mut stranger = Stranger::connect(&bounds.cluster, Place::Relay);
    stranger.say(&Message::Hello(hello(3, GROUP, SessionKind::Control)));
    assert!(matches!(stranger.hear(), Some(Message::Welcome(_))));
    stranger.give_up_sending_after(Duration::from_secs(1));
    let question = bytes(&Message::AreaList(AreaList { request: 1, group: GROUP, skip: 0 }));
    let questions = question.repeat(1000);
    // Until nothing is taken any more: 64 MiB of questions and more of answers are as good as no end.
    let rounds = (64 * MIB) / questions.len() as u64;
    let sent = (0..rounds).take_while(|_| stranger.sends(&questions)).count();
    println!("{sent} times 1000 questions of {} bytes", question.len());
    bounds.hold("nobody reads");
    is_served(&mut host, 2);
    drop(stranger);
    bounds.cluster.wait_paired();
    is_served(&mut host, 3);
    drop(host);
    bounds.nothing_is_left();
}

#[test]
fn nothing_is_left_of_hosts_and_nodes_that_come_and_go() {
    let mut bounds = Bounds::begin(Shape::new(1, 8));
    for number in 0..RECONNECTS {
        match number % 3 {
            // In order, without a word of farewell, and before anything was agreed on.
            0 => bounds.host().disconnect().unwrap(),
            1 => drop(bounds.host()),
            _ => drop(TcpStream::connect(bounds.cluster.shape().hosts_at(Place::Primary)).unwrap()),
        }
    }
    bounds.nothing_is_left();
    bounds.hold("hosts came and went");
    for number in 0..RECONNECTS {
        let place = if number % 2 == 0 { Place::Relay } else { Place::Primary };
        let mut stranger = Stranger::connect(&bounds.cluster, place);
        match number % 3 {
            0 => {}
            1 => stranger.send(&bytes(&Message::Hello(hello(1, GROUP, SessionKind::Control)))[..20]),
            _ => {
                stranger.say(&Message::Hello(hello(3, GROUP, SessionKind::Control)));
                stranger.hear();
            }
        }
    }
    bounds.cluster.wait_paired();
    bounds.nothing_is_left();
    bounds.hold("nodes came and went");
    is_served(&mut bounds.host(), 3);
}
