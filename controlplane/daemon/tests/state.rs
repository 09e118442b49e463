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
        ["started", "ending", "operation_interrupted", "operation_resumed"].contains(&kind.as_str())
            || kind.starts_with("state_")
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

/// Asks for something, and does not wait for its end; the request ends when the stream is dropped.
fn begin(place: &Place, node: &str, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(place.file(&format!("{node}.api"))).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Waits until an operation is as wanted.
fn wait_for(daemon: &Daemon, number: u64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let found = daemon.ask(&format!("GET /v1/operations/{number}"), "").unwrap();
        let operation: Value = serde_json::from_str(&found.1).unwrap();
        if wanted(&operation) {
            return operation;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "not {what}: {operation}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(daemon: &mut Daemon) {
    daemon.signal("KILL");
    daemon.end();
}

/// Three nodes in step, of which the primary and the relay are killed then: the secondary is left.
fn secondary_left(place: &Place) -> Daemon {
    let [mut relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    kill(&mut a);
    kill(&mut relay);
    b
}

#[test]
fn a_takeover_that_a_kill_interrupts_goes_on_under_its_number_and_ends() {
    let place = Place::new("state-takeover");
    let mut b = secondary_left(&place);
    // Without the relay a takeover goes on until it is back.
    let stream = begin(&place, "b", "/v1/groups/vault/takeover", "{}");
    let running = wait_for(&b, 1, "probing", |operation| operation["phase"] == "probing");
    assert_eq!((&running["state"], &running["kind"]), (&"running".into(), &"takeover".into()));
    let by = format!("pid {}", std::process::id());
    assert!(running["asked_by"].as_str().unwrap().contains(&by), "{running}");
    // Twice: it goes on as often as it must.
    for _ in 0..2 {
        kill(&mut b);
        b = place.start("b");
        let again = wait_for(&b, 1, "asked again", |operation| operation["phase"] == "probing");
        assert_eq!((&again["state"], &again["asked_by"]), (&"running".into(), &running["asked_by"]));
    }
    drop(stream);
    assert!(kinds(&b).contains(&"operation_resumed".to_owned()));
    // Whoever asks for the same follows it, and nobody else does.
    let (status, text) = b.ask("POST /v1/groups/vault/takeover", "{\"accept_loss\":true}").unwrap();
    assert!(status == 409 && text.contains("operation 1"), "{status} {text}");
    let _relay = place.start("relay");
    let done = wait_for(&b, 1, "done", |operation| operation["state"] != "running");
    assert_eq!(
        (&done["state"], &done["message"]),
        (&"done".into(), &"answered writes lost: 0".into()),
        "{done}"
    );
    b.wait("serving", |status| vault(status)["role"] == "primary" && vault(status)["serving"] == true);
    assert_eq!(b.get("/v1/operations").as_array().unwrap().len(), 1);
}

#[test]
fn a_takeover_that_accepts_a_loss_still_accepts_it_after_a_kill() {
    let place = Place::new("state-loss");
    let mut b = secondary_left(&place);
    let stream = begin(&place, "b", "/v1/groups/vault/takeover", "{\"accept_loss\":true}");
    wait_for(&b, 1, "probing", |operation| operation["phase"] == "probing");
    kill(&mut b);
    drop(stream);
    b = place.start("b");
    // The relay stays away: only with that word it ends so.
    let done = wait_for(&b, 1, "done", |operation| operation["state"] != "running");
    assert_eq!((&done["state"], &done["with"]), (&"done".into(), &"accept_loss".into()), "{done}");
    assert!(done["message"].as_str().unwrap().contains("lost: unknown, because the relay"), "{done}");
    b.wait("serving", |status| vault(status)["serving"] == true);
}

#[test]
fn a_takeover_does_not_go_on_against_a_primary_that_serves_again() {
    let place = Place::new("state-served");
    let mut b = secondary_left(&place);
    let stream = begin(&place, "b", "/v1/groups/vault/takeover", "{}");
    wait_for(&b, 1, "probing", |operation| operation["phase"] == "probing");
    kill(&mut b);
    drop(stream);
    let _relay = place.start("relay");
    let mut a = place.start("a");
    a.wait("serving", |status| vault(status)["serving"] == true);
    b = place.start("b");
    let ended = wait_for(&b, 1, "ended", |operation| operation["state"] != "running");
    assert_eq!(ended["state"], "refused", "{ended}");
    assert!(ended["message"].as_str().unwrap().contains("a serves hosts"), "{ended}");
    a.wait("serving", |status| vault(status)["serving"] == true && vault(status)["role"] == "primary");
}

#[test]
fn a_dry_run_that_a_kill_interrupts_says_what_to_do() {
    let place = Place::new("state-dry");
    let mut b = secondary_left(&place);
    let stream = begin(&place, "b", "/v1/groups/vault/takeover", "{\"dry_run\":true}");
    wait_for(&b, 1, "probing", |operation| operation["phase"] == "probing");
    kill(&mut b);
    drop(stream);
    let b = place.start("b");
    let interrupted = b.get("/v1/operations/1");
    assert_eq!(interrupted["state"], "interrupted", "{interrupted}");
    assert!(interrupted["hint"].as_str().unwrap().contains("ask again"), "{interrupted}");
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
fn a_switchover_that_a_kill_interrupts_is_done_when_the_other_site_serves() {
    let place = Place::new("state-switchover");
    let [_relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true && vault(status)["state"] == "paired");
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    // What is not done before the other site is stopped cannot be done until it goes on.
    b.signal("STOP");
    let stream = begin(&place, "a", "/v1/groups/vault/switchover", "{}");
    wait_for(&a, 1, "under way", |operation| {
        operation["phase"] == "draining" || operation["phase"] == "handed_over"
    });
    std::thread::sleep(Duration::from_millis(300));
    kill(&mut a);
    drop(stream);
    let mut a = place.start("a");
    let running = a.get("/v1/operations/1");
    assert_eq!((&running["state"], &running["kind"]), (&"running".into(), &"switchover".into()), "{running}");
    b.signal("CONT");
    let done = wait_for(&a, 1, "done", |operation| operation["state"] != "running");
    assert_eq!(done["state"], "done", "{done}");
    b.wait("serving", |status| vault(status)["role"] == "primary" && vault(status)["serving"] == true);
    a.wait("following", |status| vault(status)["role"] == "secondary");
}

/// Whether a switchover is still in the drain depends on the other site, which stands still here only after it has followed.
#[test]
fn a_change_of_roles_is_cancelled_or_says_that_it_cannot_be() {
    let place = Place::new("state-stay");
    let [_relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true && vault(status)["state"] == "paired");
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    b.signal("STOP");
    let stream = begin(&place, "a", "/v1/groups/vault/switchover", "{}");
    wait_for(&a, 1, "under way", |operation| operation["phase"] != "starting");
    let (status, text) = a.ask("POST /v1/operations/1/cancel", "").unwrap();
    let ended = wait_for(&a, 1, "looked at", |operation| operation["state"].is_string());
    if status == 200 && text.contains("\"outcome\":{") {
        assert_eq!(ended["state"], "refused", "{ended}");
        assert!(ended["message"].as_str().unwrap().contains("cancelled"), "{ended}");
        a.wait("serving", |status| vault(status)["serving"] == true);
    } else {
        assert!(
            text.contains("could still be given up") || text.contains("is its secondary"),
            "{status} {text}"
        );
    }
    drop(stream);
    b.signal("CONT");
}

#[test]
fn a_held_round_is_held_after_a_kill_until_it_is_resumed() {
    let place = Place::new("state-held");
    place.change("a", "initial = \"equal\"", "initial = \"copy\"");
    place.format("relay");
    place.format("a");
    let _relay = place.start("relay");
    let mut a = place.start("a");
    let held = |held: bool| move |status: &Value| vault(status)["round"]["paused"] == held;
    a.wait("to copy", held(false));
    for (change, is_held) in [("pause", true), ("resume", false)] {
        let (status, text) = a.ask(&format!("POST /v1/groups/vault/{change}"), "").unwrap();
        assert!(status == 200 && text.contains("outcome"), "{status} {text}");
        a.wait(change, held(is_held));
        std::thread::sleep(Duration::from_millis(500));
        kill(&mut a);
        a = place.start("a");
        a.wait("to copy again", |status| vault(status)["round"].is_object());
        std::thread::sleep(Duration::from_millis(300));
        a.wait(change, held(is_held));
    }
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
