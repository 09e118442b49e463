//! Two sites and their relay as machines, with datagrams carried by hand.

use std::path::Path;

use super::*;
use crate::api::types::Level;

const SECOND: u64 = 1_000_000_000;

/// Port 7000 and its id for each.
const NODES: [(&str, u16, &str); 3] = [("a", 1, "primary"), ("relay", 2, "relay"), ("b", 3, "secondary")];

fn config(node: &str) -> Config {
    let (_, id, role) = NODES.into_iter().find(|(name, ..)| *name == node).unwrap();
    let mut text = format!(
        "[node]\nid = {id}\nname = \"{node}\"\nlisten = \"127.0.0.1:700{id}\"\napi = \"x\"\njournal = \"y\"\n"
    );
    for (name, id, _) in NODES.into_iter().filter(|(name, ..)| *name != node) {
        text += &format!("[[peer]]\nid = {id}\nname = \"{name}\"\naddress = \"127.0.0.1:700{id}\"\n");
    }
    text += &format!(
        "[[group]]\nid = 7\nname = \"vault\"\nrole = \"{role}\"\nsites = [1, 3]\nlanes = [{{ id = 0, node = 2 }}]\n"
    );
    Config::parse(Path::new("x.toml"), &text).unwrap()
}

fn address(node: &str) -> SocketAddr {
    config(node).node.listen
}

fn pulse(node: &str) -> Pulse {
    Pulse::new(&config(node), 1, 0)
}

fn group(role: Role, number: u64, node: &str, serving: bool) -> GroupStatus {
    let epoch = Epoch { number, node: node.to_owned() };
    GroupStatus { group: "vault".to_owned(), group_id: 7, role, epoch, serving, ..GroupStatus::default() }
}

/// The heartbeat of one node for another.
fn beat(from: &mut Pulse, now_ns: u64, to: &str, groups: &[GroupStatus]) -> [u8; HEARTBEAT_BYTES] {
    let all = from.heartbeats(now_ns, groups);
    all.into_iter().find(|(address_of, _)| *address_of == address(to)).unwrap().1
}

fn refused(pulse: &Pulse) -> Vec<(String, u64)> {
    pulse.refused().into_iter().map(|refused| (refused.reason, refused.count)).collect()
}

#[test]
fn a_site_is_shown_what_the_other_one_says_of_its_groups() {
    let (mut a, mut b) = (pulse("a"), pulse("b"));
    let shown = b.show(SECOND);
    assert_eq!((shown[0].verdict.as_str(), shown[0].last_heard_ms), ("suspect", None));
    let datagram = beat(&mut a, SECOND, "b", &[group(Role::Primary, 4, "a", true)]);
    b.on_datagram(SECOND, address("a"), &datagram);
    let shown = b.show(SECOND + 250_000_000);
    assert_eq!((shown[0].node.as_str(), shown[0].verdict.as_str()), ("a", "alive"));
    assert_eq!((shown[0].path.as_str(), shown[0].last_heard_ms), ("direct", Some(250)));
    let said = &shown[0].groups[0];
    assert_eq!((said.group.as_str(), said.role, said.serving), ("vault", Role::Primary, true));
    assert_eq!(said.epoch, Epoch { number: 4, node: "a".to_owned() });
    assert_eq!(said.said_ms, 250);
    assert_eq!(refused(&b), []);
}

#[test]
fn what_comes_from_another_address_than_that_of_the_node_it_names_is_counted_and_not_used() {
    let (mut a, mut b) = (pulse("a"), pulse("b"));
    let datagram = beat(&mut a, SECOND, "b", &[]);
    b.on_datagram(SECOND, "127.0.0.1:9".parse().unwrap(), &datagram);
    b.on_datagram(SECOND, address("relay"), &datagram);
    b.on_datagram(SECOND, address("a"), &datagram[1..]);
    b.on_datagram(SECOND, address("a"), &beat(&mut a, SECOND, "relay", &[]));
    assert_eq!(b.show(SECOND)[0].last_heard_ms, None);
    // The same as an address of the other family.
    b.on_datagram(SECOND, "[::ffff:127.0.0.1]:7001".parse().unwrap(), &datagram);
    assert_eq!(b.show(SECOND)[0].last_heard_ms, Some(0));
    b.on_datagram(SECOND, address("a"), &datagram);
    let counts = [("malformed", 1), ("not_for_us", 1), ("old", 1), ("unknown_sender", 2)];
    assert_eq!(refused(&b), counts.map(|(reason, count)| (reason.to_owned(), count)));
}

#[test]
fn a_changed_verdict_is_told_with_its_reason() {
    let (mut a, mut relay, mut b) = (pulse("a"), pulse("relay"), pulse("b"));
    let status = NodeStatus::default();
    let mut now = 0;
    let mut told = Vec::new();
    while now < 20 * SECOND {
        now += 100_000_000;
        if now < 5 * SECOND {
            relay.on_datagram(now, address("a"), &beat(&mut a, now, "relay", &[]));
            b.on_datagram(now, address("a"), &beat(&mut a, now, "b", &[]));
        }
        b.on_datagram(now, address("relay"), &beat(&mut relay, now, "b", &[]));
        told.extend(b.changes(now, &status).into_iter().filter(|tell| tell.object == "node:a"));
    }
    let levels: Vec<Level> = told.iter().map(|tell| tell.level).collect();
    assert_eq!(levels, [Level::Info, Level::Info, Level::Error], "{told:?}");
    assert!(told[2].message.contains("silent there too"), "{told:?}");
    assert_eq!(b.show(now)[0].verdict, "node dead");
    assert!(b.show(now)[0].last_heard_elsewhere_ms.unwrap() > 14_000);
}

#[test]
fn two_sites_that_serve_in_different_epochs_are_told_once() {
    let (mut a, mut b) = (pulse("a"), pulse("b"));
    let here = NodeStatus { groups: vec![group(Role::Primary, 5, "b", true)], ..NodeStatus::default() };
    let mut told = Vec::new();
    for (beats, serving) in [(10, false), (60, true)] {
        for n in 0..beats {
            let now = SECOND * (if serving { 10 } else { 1 }) + n * 100_000_000;
            b.on_datagram(
                now,
                address("a"),
                &beat(&mut a, now, "b", &[group(Role::Primary, 4, "a", serving)]),
            );
            told.extend(b.changes(now, &here).into_iter().filter(|tell| tell.kind == "two_sites_serve"));
        }
        assert_eq!(told.len(), usize::from(serving));
    }
    assert_eq!((told[0].level, told[0].object.as_str()), (Level::Error, "group:vault"));
}
