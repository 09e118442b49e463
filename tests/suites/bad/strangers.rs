//! Whoever may connect to a node's port: other versions, unknown groups, nodes without permission, and noise.

use std::io::Write;
use std::net::TcpListener;

use midspan_format::checksum::checksum;
use midspan_format::ids::{Epoch, GroupId, NodeId};
use midspan_format::message::{
    AreaDelete, Fence, FenceIntent, HEADER_BYTES, Hello, Message, Refused, RefusedReason, SessionKind,
};
use midspan_format::version::PROTOCOL_VERSION;

use crate::stranger::{GROUP, Stranger, bytes, hello};
use rig::{Cluster, LIMIT, Place, Program, Shape, midspan, wait_for};

/// The message with another version in its header, and the checksum that goes with it.
fn of_version(message: &Message, version: u16) -> Vec<u8> {
    let mut bytes = bytes(message);
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    sealed(bytes)
}

/// The header's checksum made right again.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes[..HEADER_BYTES - 8]);
    bytes[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Hosts are served, and the secondary follows.
fn works(cluster: &mut Cluster) {
    super::qemu_io(&cluster.uri(Place::Primary, 1), &["write -P 5 0 1M", "read -P 5 0 1M"]);
    cluster.wait_caught_up();
}

#[test]
fn who_speaks_another_version_is_told_so() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    for place in Place::ALL {
        let mut stranger = Stranger::connect(&cluster, place);
        stranger
            .send(&of_version(&Message::Hello(hello(1, GROUP, SessionKind::Control)), PROTOCOL_VERSION + 1));
        stranger.is_refused(RefusedReason::Version);
        stranger.is_closed();
    }
    super::wait_event(&mut cluster, Place::Relay, "request_refused", &["version"]);
    works(&mut cluster);
}

#[test]
fn who_has_no_business_with_the_relay_is_refused_and_counted() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    works(&mut cluster);
    for kind in [SessionKind::Append, SessionKind::Fetch, SessionKind::Control] {
        let mut stranger = Stranger::connect(&cluster, Place::Relay);
        stranger.say(&Message::Hello(hello(1, GroupId(77), kind)));
        stranger.is_refused(RefusedReason::UnknownGroup);
    }
    // A node that is none of the group's sites; and the secondary, which may not write the journal.
    for (node, kind) in [
        (9, SessionKind::Append),
        (9, SessionKind::Fetch),
        (9, SessionKind::Control),
        (3, SessionKind::Append),
    ] {
        let mut stranger = Stranger::connect(&cluster, Place::Relay);
        let epoch = Epoch { number: 1000, node: NodeId(node) };
        stranger.say(&Message::Hello(Hello { epoch, ..hello(node, GROUP, kind) }));
        stranger.is_refused(RefusedReason::NotPermitted);
    }
    // The primary's name in an epoch that is over.
    let mut stranger = Stranger::connect(&cluster, Place::Relay);
    let epoch = Epoch { number: 0, node: NodeId(1) };
    stranger.say(&Message::Hello(Hello { epoch, ..hello(1, GROUP, SessionKind::Append) }));
    stranger.is_refused(RefusedReason::OlderEpoch);
    // What status shows was measured a moment ago.
    wait_for("the relay should have counted them", LIMIT, || {
        let status = cluster.status(Place::Relay);
        let count = |reason: &str| -> u64 {
            status
                .refused
                .iter()
                .filter(|refused| refused.reason == reason)
                .map(|refused| refused.count)
                .sum()
        };
        (count("unknown_group") >= 3 && count("not_permitted") >= 4 && count("older_epoch") >= 1)
            .then_some(())
    });
    works(&mut cluster);
}

/// A control session of the secondary cannot fence, or delete, what it has no right to.
#[test]
fn an_epoch_is_not_replaced_by_who_does_not_know_it() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    works(&mut cluster);
    let mut stranger = Stranger::connect(&cluster, Place::Relay);
    stranger.say(&Message::Hello(hello(3, GROUP, SessionKind::Control)));
    let Some(Message::Welcome(welcome)) = stranger.hear() else { panic!("the secondary is welcome") };
    let wrong = Epoch { number: welcome.epoch.number + 5, node: NodeId(3) };
    let fence = Fence {
        request: 1,
        group: GROUP,
        replaces: wrong,
        epoch: Epoch { number: 900, node: NodeId(3) },
        primary: NodeId(3),
        secondary: NodeId(1),
        intent: FenceIntent::Takeover,
        ..Fence::default()
    };
    stranger.say(&Message::Fence(fence));
    stranger.is_refused(RefusedReason::EpochFound);
    // Not greater than the one in force.
    let fence = Fence { replaces: welcome.epoch, epoch: Epoch { number: 0, node: NodeId(3) }, ..fence };
    stranger.say(&Message::Fence(fence));
    stranger.is_refused(RefusedReason::EpochFound);
    // Nobody but the holder of the epoch deletes anything.
    let delete = AreaDelete { request: 3, group: GROUP, epoch: welcome.epoch, ..AreaDelete::default() };
    stranger.say(&Message::AreaDelete(delete));
    let heard = stranger.hear();
    assert!(matches!(heard, None | Some(Message::Refused(_))), "{heard:?}");
    works(&mut cluster);
    let now = cluster.group(Place::Primary);
    assert_eq!(now.epoch.number, welcome.epoch.number, "{now:?}");
}

#[test]
fn noise_ends_that_connection_only() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    let good = bytes(&Message::Hello(hello(1, GROUP, SessionKind::Control)));
    for place in Place::ALL {
        let noises: [Vec<u8>; 7] = [
            b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n".to_vec(),
            vec![0; 5000],
            vec![0xff; 5000],
            // A right header with a wrong payload, a wrong checksum, a kind that does not exist.
            [&good[..HEADER_BYTES], &vec![0xee; good.len() - HEADER_BYTES]].concat(),
            {
                let mut bytes = good.clone();
                bytes[20] ^= 1;
                bytes
            },
            {
                let mut bytes = good.clone();
                bytes[10] = 99;
                sealed(bytes)
            },
            // 4 GiB announced.
            {
                let mut bytes = good.clone();
                bytes[12..16].fill(0xff);
                sealed(bytes)
            },
        ];
        for noise in noises {
            let mut stranger = Stranger::connect(&cluster, place);
            stranger.send(&noise);
            stranger.is_closed();
        }
        // A greeting that breaks off.
        let mut stranger = Stranger::connect(&cluster, place);
        stranger.send(&good[..30]);
        drop(stranger);
    }
    works(&mut cluster);
}

/// Connections that say nothing are many, and are closed after a while; nodes that belong to the group come through.
#[test]
fn silent_connections_are_closed_and_keep_nobody_out() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    let mut silent: Vec<Stranger> = (0..300).map(|_| Stranger::connect(&cluster, Place::Relay)).collect();
    works(&mut cluster);
    cluster.kill(Place::Secondary);
    cluster.start(Place::Secondary);
    cluster.wait_following();
    for stranger in &mut silent {
        stranger.is_closed();
    }
    works(&mut cluster);
}

/// The primary's relay speaks another version, or is no relay at all: the primary says so, stays up, and goes on trying.
#[test]
fn a_relay_of_another_version_is_named_by_the_primary() {
    let mut cluster = Cluster::new(Shape::new(1, 8));
    for place in Place::ALL {
        cluster.format(place).well();
    }
    let address = cluster.shape().address(Place::Relay);
    let listener = TcpListener::bind(&address).unwrap();
    cluster.start(Place::Primary);
    let refused = Message::Refused(Refused { reason: RefusedReason::Version, ..Refused::default() });
    for answer in [bytes(&refused), of_version(&refused, PROTOCOL_VERSION + 1)] {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&answer).unwrap();
        super::wait_event(&mut cluster, Place::Primary, "lane_refused", &["relay", "version"]);
    }
    // Something else altogether.
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    super::stays_up(&mut cluster, Place::Primary);
    let group = cluster.group(Place::Primary);
    assert!(!group.serving && group.state == "starting", "{group:?}");
    // And then the real one comes.
    drop(stream);
    drop(listener);
    cluster.start(Place::Relay);
    cluster.start(Place::Secondary);
    cluster.wait_serving(Place::Primary);
    works(&mut cluster);
}

#[test]
fn a_group_that_the_relay_does_not_know_is_named_by_the_primary() {
    let mut cluster = Cluster::new(Shape::new(1, 8));
    cluster.write_config(Place::Primary, |text| text.replace("[[group]]\nid = 1\n", "[[group]]\nid = 7\n"));
    for place in Place::ALL {
        cluster.format(place).well();
        cluster.start(place);
    }
    super::wait_event(&mut cluster, Place::Primary, "lane_refused", &["relay", "no such group"]);
    super::wait_event(&mut cluster, Place::Relay, "request_refused", &["site-a", "no such group"]);
    for place in Place::ALL {
        super::stays_up(&mut cluster, place);
    }
    assert!(!cluster.group(Place::Primary).serving);
    // Configs that do not agree are found before, too.
    let check = Program::new(midspan()).args(["config", "check"]);
    let said = check.args(Place::ALL.map(|place| cluster.config(place))).run();
    said.badly(&["group[0].id", "\"vault\" has id"]);
}
