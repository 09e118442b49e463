//! What a node keeps over its ends: in order, by a kill, in the middle of an operation, and over damage of the file.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and waits for processes"
)]

mod place;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use place::{Daemon, Place, vault};
use serde_json::Value;

/// What the node tells of itself and of its operations; how it hears the others is of no interest here.
fn kinds(daemon: &Daemon) -> Vec<String> {
    let own = |kind: &String| {
        ["started", "ending", "operation_interrupted"].contains(&kind.as_str()) || kind.starts_with("state_")
    };
    let events = daemon.get("/v1/events");
    let kinds = events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned());
    kinds.filter(own).collect()
}

fn seqs(daemon: &Daemon) -> Vec<u64> {
    let events = daemon.get("/v1/events");
    events.as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// Waits until what was shown so far is in the file: it has not been written for a while.
fn wait_for_a_commit(place: &Place) {
    let began = Instant::now();
    let read = || std::fs::metadata(place.file("relay.redb")).unwrap().modified().unwrap();
    let mut last = read();
    let mut still = Instant::now();
    while still.elapsed() < Duration::from_millis(300) {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
        let now = read();
        if now != last {
            (last, still) = (now, Instant::now());
        }
    }
}

#[test]
fn events_go_on_over_a_stop_and_over_a_kill() {
    let place = Place::new("state-events");
    place.format("relay");
    let mut relay = place.start("relay");
    relay.signal("TERM");
    relay.end();
    let mut relay = place.start("relay");
    let found = kinds(&relay);
    assert_eq!(found, ["started", "ending", "started"], "an orderly end keeps everything");
    wait_for_a_commit(&place);
    relay.signal("KILL");
    relay.end();
    let relay = place.start("relay");
    assert_eq!(kinds(&relay), ["started", "ending", "started", "started"]);
    let found = seqs(&relay);
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    let newest = relay.get(&format!("/v1/events?after={}", found[found.len() - 2]));
    assert_eq!(newest[0]["seq"], found[found.len() - 1]);
    assert_eq!(relay.get("/v1/operations"), Value::Array(Vec::new()));
}

#[test]
fn a_kill_at_any_moment_leaves_a_file_that_opens() {
    let place = Place::new("state-kill");
    place.format("relay");
    let mut before = 0;
    for round in 0..8 {
        let mut relay = place.start("relay");
        let found = seqs(&relay);
        assert!(!kinds(&relay).iter().any(|kind| kind.starts_with("state_")), "{}", relay.log());
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]) && found.len() > before, "{found:?}");
        std::thread::sleep(Duration::from_millis(round * 3));
        relay.signal("KILL");
        relay.end();
        // The last one may not have been kept.
        before = found.len() - 1;
    }
}

#[test]
fn an_operation_that_a_kill_interrupts_is_shown_with_what_to_do() {
    let place = Place::new("state-operation");
    let [mut relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    for daemon in [&mut a, &mut relay] {
        daemon.signal("KILL");
        daemon.end();
    }
    // Without the relay a takeover goes on until it is back.
    let mut stream = UnixStream::connect(place.file("b.api")).unwrap();
    let head = "POST /v1/groups/vault/takeover HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(head.as_bytes()).unwrap();
    let began = Instant::now();
    while b.get("/v1/operations")[0]["phase"] != "probing" && b.get("/v1/operations")[0]["phase"] != "fencing"
    {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", b.get("/v1/operations"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let running = b.get("/v1/operations/1");
    assert_eq!((&running["state"], &running["kind"]), (&"running".into(), &"takeover".into()));
    let by = format!("pid {}", std::process::id());
    assert!(running["asked_by"].as_str().unwrap().contains(&by), "{running}");
    std::thread::sleep(Duration::from_millis(500));
    b.signal("KILL");
    b.end();
    let b = place.start("b");
    let interrupted = b.get("/v1/operations/1");
    assert_eq!(interrupted["state"], "interrupted", "{interrupted}");
    assert!(interrupted["hint"].as_str().unwrap().contains("midspan status"), "{interrupted}");
    assert!(interrupted["ended_ns"].is_u64());
    assert!(kinds(&b).contains(&"operation_interrupted".to_owned()));
    let (status, _) = b.ask("GET /v1/operations/9", "").unwrap();
    assert_eq!(status, 404);
    let (status, _) = b.ask("POST /v1/operations/9/cancel", "").unwrap();
    assert_eq!(status, 404);
    let (status, text) = b.ask("POST /v1/operations/1/cancel", "").unwrap();
    assert!(status == 409 && text.contains("it has ended"), "{status} {text}");
}

#[test]
fn a_damaged_file_is_put_aside_and_the_node_serves() {
    let place = Place::new("state-damage");
    place.format("relay");
    let mut relay = place.start("relay");
    relay.signal("TERM");
    relay.end();
    let path = place.file("relay.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    // Everything behind the first page: the library finds it, or fails in the middle of it.
    bytes[4096..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&path, bytes).unwrap();
    let mut relay = place.start("relay");
    relay.wait("open", |status| vault(status)["state"] == "open");
    assert_eq!(kinds(&relay), ["state_damaged", "started"], "{}", relay.log());
    let events = relay.get("/v1/events");
    let told = events.as_array().unwrap().iter().find(|event| event["kind"] == "state_damaged").unwrap();
    let aside = told["message"].as_str().unwrap().split(" aside as ").nth(1).unwrap();
    assert!(std::path::Path::new(aside.split(',').next().unwrap()).is_file(), "{told}");
}

#[test]
fn a_place_that_cannot_be_written_keeps_no_node_from_serving() {
    let place = Place::new("state-without");
    place.change("relay", "memory = ", "state = \"no/such/folder/x.redb\"\nmemory = ");
    place.format("relay");
    let mut relay = place.start("relay");
    relay.wait("open", |status| vault(status)["state"] == "open");
    assert_eq!(kinds(&relay), ["state_unusable", "started"]);
    relay.signal("TERM");
    assert_eq!(relay.end().code(), Some(0), "{}", relay.log());
}
