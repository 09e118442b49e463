//! Heartbeats between running nodes: what they show of each other, and takeovers that no operator asks for.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and waits for processes"
)]

mod place;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use place::{Daemon, Place, vault};
use serde_json::Value;

/// Three nodes with quick heartbeats, of which the sites take over by themselves.
fn quick(name: &str) -> Place {
    let place = Place::new(name);
    for node in ["a", "relay", "b"] {
        place.change(
            node,
            "memory = \"32MiB\"\n",
            "memory = \"32MiB\"\nheartbeat = \"50ms\"\nheartbeat_pause = \"1s\"\n",
        );
    }
    for node in ["a", "b"] {
        let key = "sites = [1, 3]\n";
        place.change(node, key, &format!("{key}takeover = \"automatic\"\ntakeover_after = \"3s\"\n"));
    }
    place
}

/// What a node thinks of another one.
fn peer<'a>(status: &'a Value, node: &str) -> &'a Value {
    let peers = status["peers"].as_array().unwrap();
    peers.iter().find(|peer| peer["node"] == node).unwrap_or(&Value::Null)
}

fn thinks(daemon: &mut Daemon, node: &str, verdict: &str) -> Value {
    daemon.wait(&format!("of the opinion that {node} is {verdict}"), |status| {
        peer(status, node)["verdict"] == verdict
    })
}

/// All nodes up, the primary serving, the secondary following, and each hearing the others.
fn settled(place: &Place) -> [Daemon; 3] {
    let [mut relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| {
        vault(status)["lanes"][0]["connected"] == true && peer(status, "a")["groups"][0]["serving"] == true
    });
    for (daemon, others) in [(&mut relay, ["a", "b"]), (&mut b, ["a", "relay"]), (&mut a, ["relay", "b"])] {
        for other in others {
            thinks(daemon, other, "alive");
        }
    }
    [relay, b, a]
}

fn events(daemon: &Daemon, kind: &str) -> Vec<String> {
    let events = daemon.get("/v1/events");
    let of_kind = events.as_array().unwrap().iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nodes_show_how_they_hear_each_other_and_what_sites_say_of_their_groups() {
    let place = quick("peers");
    let [relay, mut b, _a] = settled(&place);
    // What others hear, and how long a path is, is told a moment after the first heartbeat.
    let known = ["last_heard_ms", "last_heard_elsewhere_ms", "rtt_ns"];
    let status = b.wait("told all of a", |status| known.iter().all(|name| peer(status, "a")[name].is_u64()));
    let a = peer(&status, "a");
    assert_eq!((&a["path"], &a["groups"][0]["role"]), (&"direct".into(), &"primary".into()), "{a}");
    assert_eq!(a["groups"][0]["epoch"]["node"], "a", "{a}");
    // A relay holds no volumes and says nothing of groups.
    assert_eq!(peer(&status, "relay")["groups"], Value::Array(Vec::new()));
    assert_eq!(peer(&relay.get("/v1/status"), "b")["groups"][0]["role"], "secondary");
    let (_, metrics) = b.ask("GET /metrics", "").unwrap();
    for part in [
        "midspan_peer_suspicion{peer=\"a\"}",
        "midspan_peer_last_heard_seconds{peer=\"relay\"}",
        "midspan_peer_verdict{peer=\"a\",verdict=\"alive\"} 1",
    ] {
        assert!(metrics.contains(part), "{part} is missing in:\n{metrics}");
    }
    // A verdict is announced when it has lasted for a second; on a busy machine it comes about later.
    b.wait("up for long enough", |status| status["uptime_ms"].as_u64() > Some(5_000));
    assert!(events(&b, "peer_verdict").iter().any(|message| message.starts_with("alive")));
}

#[test]
fn datagrams_of_strangers_are_counted_and_change_nothing() {
    let place = quick("strangers");
    place.format("b");
    let mut b = place.start("b");
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b""[..], b"MSPHEART", &[0; 432], &[0xff; 9_000]] {
        stranger.send_to(datagram, ("127.0.0.1", place.port("b"))).unwrap();
    }
    b.wait("told of them", |status| status["heartbeats_refused"][0]["count"] == 4);
    let status = b.get("/v1/status");
    assert_eq!(status["heartbeats_refused"][0]["reason"], "malformed");
    assert_eq!(peer(&status, "a")["last_heard_ms"], Value::Null);
}

#[test]
fn a_udp_port_in_use_is_named() {
    let place = quick("udp");
    place.format("relay");
    let _taken = UdpSocket::bind(("127.0.0.1", place.port("relay"))).unwrap();
    let output = place.run("relay", &[]);
    assert_eq!(place::code(&output), 4, "{output:?}");
    assert!(place::said(&output).contains("heartbeats (UDP)"), "{output:?}");
    assert!(!place.file("relay.api").exists(), "the API's socket must not be left behind");
}

#[test]
fn a_killed_primary_is_taken_over_by_the_secondary_itself() {
    let place = quick("killed");
    let [mut relay, mut b, mut a] = settled(&place);
    a.signal("KILL");
    a.end();
    let died = Instant::now();
    let status = b.wait("primary", |status| vault(status)["serving"] == true);
    assert!(died.elapsed() > Duration::from_secs(3), "after {:?}", died.elapsed());
    assert_eq!(vault(&status)["epoch"]["node"], "b");
    thinks(&mut b, "a", "node dead");
    thinks(&mut relay, "a", "node dead");
    assert_eq!(events(&b, "takeover_automatic").len(), 1);
    let done = events(&b, "takeover_done");
    assert!(done.len() == 1 && done[0].contains("answered writes lost: 0"), "{done:?}");
    // The way of an operator is the same one: its progress is there to be read.
    assert_eq!(b.get("/v1/groups/vault/takeover")["phase"], "done");
    let mut a = place.start("a");
    a.wait("fenced or following", |status| {
        vault(status)["serving"] == false && vault(status)["state"] != "starting"
    });
    thinks(&mut b, "a", "alive");
    assert!(events(&b, "two_sites_serve").is_empty());
}

#[test]
fn a_primary_whose_relay_is_gone_too_is_left_to_the_operator() {
    let place = quick("both");
    let [mut relay, mut b, mut a] = settled(&place);
    for daemon in [&mut relay, &mut a] {
        daemon.signal("KILL");
        daemon.end();
    }
    thinks(&mut b, "a", "cannot tell");
    stays_secondary(&mut b);
    // The relay comes back and must wait itself before it says anything.
    let mut relay = place.start("relay");
    thinks(&mut relay, "a", "node dead");
    b.wait("primary", |status| vault(status)["serving"] == true);
}

#[test]
fn a_secondary_that_was_stopped_itself_does_not_hold_the_primary_for_dead() {
    let place = quick("stopped");
    let [_relay, mut b, mut a] = settled(&place);
    b.signal("STOP");
    thinks(&mut a, "b", "node dead");
    std::thread::sleep(Duration::from_secs(4));
    b.signal("CONT");
    stays_secondary(&mut b);
    thinks(&mut a, "b", "alive");
    let told = events(&b, "peer_verdict");
    assert!(told.iter().all(|message| !message.starts_with("node dead")), "{told:?}");
}

#[test]
fn a_primary_that_stalls_for_too_long_finds_itself_fenced() {
    let place = quick("stalled");
    let [_relay, mut b, mut a] = settled(&place);
    a.signal("STOP");
    b.wait("primary", |status| vault(status)["serving"] == true);
    a.signal("CONT");
    a.wait("fenced", |status| vault(status)["serving"] == false);
    thinks(&mut b, "a", "alive");
    assert_eq!(vault(&b.get("/v1/status"))["serving"], true);
    for daemon in [&a, &b] {
        assert!(events(daemon, "two_sites_serve").is_empty());
    }
}

/// For longer than `takeover_after`, and several times as long as a takeover takes.
fn stays_secondary(b: &mut Daemon) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        let status = b.get("/v1/status");
        assert_eq!(vault(&status)["role"], "secondary", "{status}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(events(b, "takeover_automatic").is_empty());
}

/// The direct path between the sites, through which heartbeats go until it is cut.
struct DirectPath {
    is_cut: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl DirectPath {
    fn between(place: &Place) -> Self {
        let of = |node: &str| -> SocketAddr { ([127, 0, 0, 1], place.port(node)).into() };
        let at_a = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at_b = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (node, other, end) in [("a", "b", &at_a), ("b", "a", &at_b)] {
            let end = end.local_addr().unwrap();
            place.change(node, &format!("address = \"{}\"", of(other)), &format!("address = \"{end}\""));
        }
        let path = Self { is_cut: Arc::default(), ended: Arc::default() };
        path.carry(at_a.try_clone().unwrap(), at_b.try_clone().unwrap(), of("b"));
        path.carry(at_b, at_a, of("a"));
        path
    }

    fn carry(&self, from: UdpSocket, by: UdpSocket, to: SocketAddr) {
        let (is_cut, ended) = (Arc::clone(&self.is_cut), Arc::clone(&self.ended));
        from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, _)) = from.recv_from(&mut datagram) else { continue };
                if !is_cut.load(Ordering::Relaxed) {
                    let _ = by.send_to(&datagram[..length], to);
                }
            }
        });
    }
}

impl Drop for DirectPath {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_primary_that_is_only_cut_off_from_the_secondary_is_not_taken_over() {
    let place = quick("cut");
    let path = DirectPath::between(&place);
    let [_relay, mut b, mut a] = settled(&place);
    path.is_cut.store(true, Ordering::Relaxed);
    thinks(&mut b, "a", "path dead");
    thinks(&mut a, "b", "path dead");
    stays_secondary(&mut b);
    assert_eq!(vault(&a.get("/v1/status"))["serving"], true);
    // Dead, and now the relay says so, too.
    a.signal("KILL");
    a.end();
    b.wait("primary", |status| vault(status)["serving"] == true);
}
