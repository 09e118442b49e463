//! `midspand` as running processes: start errors, the API, takeover, and the orderly end.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and waits for processes"
)]

mod place;

use std::os::unix::net::UnixDatagram;

use place::{Place, code, midspand, said, vault};
use serde_json::Value;

/// The node does not start: the exit code, and what its last words contain.
#[track_caller]
fn refused(place: &Place, node: &str, exit: i32, parts: &[&str]) {
    let output = place.run(node, &[]);
    assert_eq!(code(&output), exit, "{output:?}");
    let last = said(&output).lines().skip_while(|line| !line.starts_with("midspand: ")).collect::<String>();
    for part in parts {
        assert!(last.contains(part), "{part} is not in: {last}");
    }
}

#[test]
fn a_journal_disk_that_is_missing_unformatted_or_anothers_is_named() {
    let place = Place::new("journal");
    refused(&place, "relay", 4, &["relay.journal", "midspan relay format"]);
    place.format("a");
    place.format("b");
    std::fs::copy(place.file("b.journal"), place.file("a.journal")).unwrap();
    refused(&place, "a", 4, &["a.journal", "node 3"]);
    std::fs::remove_file(place.file("a.journal")).unwrap();
    refused(&place, "a", 3, &["a.journal"]);
}

#[test]
fn a_volume_that_is_missing_or_too_small_is_named() {
    let place = Place::new("volume");
    place.format("a");
    place.change("a", "path = \"a.disk\"", "path = \"a.disk\"\nsize = \"16MiB\"");
    refused(&place, "a", 4, &["a.disk", "too small"]);
    std::fs::remove_file(place.file("a.disk")).unwrap();
    refused(&place, "a", 3, &["a.disk"]);
}

#[test]
fn a_port_in_use_is_named() {
    let place = Place::new("port");
    place.format("relay");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", place.port("relay"))).unwrap();
    refused(&place, "relay", 4, &[&format!("127.0.0.1:{}", place.port("relay"))]);
    assert!(!place.file("relay.api").exists(), "the API's socket must not be left behind");
}

#[test]
fn a_second_daemon_of_the_same_node_leaves_the_first_alone() {
    let place = Place::new("second");
    place.format("relay");
    let mut relay = place.start("relay");
    refused(&place, "relay", 4, &["relay.api", "running already"]);
    relay.wait("up", |_| true);
}

#[test]
fn a_relay_tells_its_state_and_ends_with_0_on_sigterm() {
    let place = Place::new("relay");
    place.format("relay");
    let mut relay = place.start("relay");
    let status = relay.wait("open", |status| vault(status)["state"] == "open");
    assert_eq!((&status["node"], &status["kind"]), (&"relay".into(), &"relay".into()));
    assert_eq!(vault(&status)["lanes"][0]["ring"]["size_bytes"], 16 << 20);
    assert_eq!(vault(&status)["lanes"][0]["watermarks"]["journaled"], 0);
    let areas = relay.get("/v1/areas");
    let kinds: Vec<&str> =
        areas.as_array().unwrap().iter().map(|area| area["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ring", "manifest", "receipt"]);
    let (_, metrics) = relay.ask("GET /metrics", "").unwrap();
    assert!(metrics.contains("midspan_shard_passes_total{shard=\"0\"}"), "{metrics}");
    relay.signal("TERM");
    assert_eq!(relay.end().code(), Some(0), "{}", relay.log());
    assert!(!place.file("relay.api").exists());
}

#[test]
fn sigint_and_a_request_end_it_in_order_too() {
    let place = Place::new("ends");
    place.format("relay");
    let mut relay = place.start("relay");
    relay.signal("INT");
    assert_eq!(relay.end().code(), Some(0), "{}", relay.log());
    let mut relay = place.start("relay");
    let (status, _) = relay.ask("POST /v1/stop", "{}").unwrap();
    assert_eq!((status, relay.end().code()), (200, Some(0)), "{}", relay.log());
}

#[test]
fn three_nodes_come_up_and_the_status_says_so() {
    let place = Place::new("three");
    let [mut relay, mut b, mut a] = place.all();
    let status = a.wait("serving", |status| vault(status)["serving"] == true);
    let group = vault(&status);
    assert_eq!((&group["role"], &group["state"]), (&"primary".into(), &"paired".into()));
    assert_eq!((&group["epoch"]["node"], &group["zero_loss"]), (&"a".into(), &true.into()));
    let lane = &group["lanes"][0];
    assert_eq!((&lane["node"], &lane["connected"]), (&"relay".into(), &true.into()));
    for mark in ["sealed", "journaled", "landed"] {
        assert!(lane["watermarks"][mark].is_u64(), "{mark}: {lane}");
    }
    for field in ["size_bytes", "used_bytes"] {
        assert!(lane["ring"][field].is_u64(), "{field}: {lane}");
    }
    assert_eq!(group["volumes"][0]["size_bytes"], place::VOLUME);
    let export = &a.get("/v1/exports")[0];
    assert_eq!((&export["export"], &export["access"]), (&"disk".into(), &"read_write".into()));
    let status = b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    assert_eq!((&vault(&status)["role"], &vault(&status)["serving"]), (&"secondary".into(), &false.into()));
    assert_eq!(b.get("/v1/exports")[0]["access"], "not_served");
    relay.wait("written to", |status| {
        vault(status)["meaning"].as_str().is_some_and(|said| said.contains("its writer a is connected"))
    });
    for daemon in [&mut a, &mut b, &mut relay] {
        daemon.signal("TERM");
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    }
}

/// The lines of a takeover's answer.
fn steps(answer: &str) -> Vec<Value> {
    answer
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_takeover_runs_on_the_secondarys_site_only_and_ends_with_its_statement() {
    let place = Place::new("takeover");
    let [mut relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    relay.wait("open", |status| vault(status)["state"] == "open");
    for (daemon, code) in [(&a, "refused"), (&relay, "refused")] {
        let (status, body) = daemon.ask("POST /v1/groups/vault/takeover", "{}").unwrap();
        assert_eq!(status, 409, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error"]["code"], code);
        assert!(!body["error"]["hint"].as_str().unwrap().is_empty());
    }
    let (status, _) = b.ask("POST /v1/groups/none/takeover", "{}").unwrap();
    assert_eq!(status, 404);
    let (_, answer) = b.ask("POST /v1/groups/vault/takeover", "{\"dry_run\":true}").unwrap();
    let probe = steps(&answer);
    let outcome = &probe.last().unwrap()["outcome"];
    assert_eq!((&outcome["dry_run"], &outcome["lost_nothing"]), (&true.into(), &true.into()), "{answer}");
    assert_eq!(vault(&a.get("/v1/status"))["serving"], true, "a dry run changes nothing");
    a.signal("KILL");
    a.end();
    let (_, answer) = b.ask("POST /v1/groups/vault/takeover", "{}").unwrap();
    let taken = steps(&answer);
    let outcome = &taken.last().unwrap()["outcome"];
    assert_eq!(outcome["statement"], "answered writes lost: 0", "{answer}");
    assert_eq!(outcome["epoch"]["node"], "b");
    let status = b.get("/v1/status");
    assert_eq!((&vault(&status)["role"], &vault(&status)["serving"]), (&"primary".into(), &true.into()));
    assert_eq!(
        (&vault(&status)["state"], &vault(&status)["zero_loss"]),
        (&"taken_over".into(), &false.into())
    );
    // The old primary comes back, finds itself fenced, serves nothing and follows the one that replaced it.
    let mut a = place.start("a");
    let status = a.wait("following", |status| {
        let group = vault(status);
        group["role"] == "secondary" && group["epoch"]["node"] == "b" && group["state"] == "paired"
    });
    assert_eq!((&vault(&status)["serving"], &vault(&status)["home"]), (&false.into(), &"a".into()));
    assert_eq!(a.get("/v1/exports")[0]["access"], "not_served");
    let events = a.get("/v1/events?group=vault");
    let kinds: Vec<&str> =
        events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"fenced") && kinds.contains(&"rejoined"), "{events}");
}

#[test]
fn systemd_is_told_when_the_node_is_ready_and_when_it_stops() {
    let place = Place::new("notify");
    place.format("relay");
    let manager = UnixDatagram::bind(place.file("notify")).unwrap();
    let config = place.file("relay.toml");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_midspand"))
        .args(["--config", config.to_str().unwrap()])
        .env("NOTIFY_SOCKET", place.file("notify"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    manager.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let told = || {
        let mut bytes = [0; 64];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    let kill = std::process::Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    assert!(kill.unwrap().success());
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_lone_disk_that_cannot_be_served_is_named() {
    let place = Place::new("lone");
    let serve = |disk: &str| {
        let (disk, socket) = (place.file(disk), place.file("lone.nbd"));
        midspand(&["--serve-disk", disk.to_str().unwrap(), "--socket", socket.to_str().unwrap()])
    };
    place.zeroes("odd.disk", 5000);
    for (disk, exit, part) in
        [("none.disk", 3, "does not exist"), ("", 4, "neither"), ("odd.disk", 4, "5000 bytes")]
    {
        let output = serve(disk);
        assert_eq!(code(&output), exit, "{output:?}");
        assert!(said(&output).contains(part) && said(&output).contains(disk), "{output:?}");
        assert!(!said(&output).contains("volume 0"), "{output:?}");
    }
    assert!(!place.file("lone.nbd").exists());
}
