//! The commands against real nodes: format, status, takeover, stop, a lone disk, and the demo.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and waits for processes"
)]

/// The same folder with three nodes as the daemon's own tests.
#[path = "../../../controlplane/daemon/tests/place/mod.rs"]
mod place;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use midspan::hammer::{Config, Hammer, Initial, OnDisconnect};
use midspan::nbd_client::Client;
use place::{Place, code, said, vault};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

fn midspan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_midspan"))
        .args(arguments)
        .env("MIDSPAND", place::binary())
        .env_remove("MIDSPAN_SOCKET")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A command to the daemon of a node.
fn ask(place: &Place, node: &str, arguments: &[&str]) -> Output {
    let socket = place.file(&format!("{node}.api"));
    midspan(&[arguments, &["--socket", socket.to_str().unwrap()]].concat())
}

fn uri(place: &Place, node: &str) -> String {
    format!("nbd+unix:///disk?socket={}", place.file(&format!("{node}.nbd")).display())
}

#[test]
fn the_examples_pass() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let nodes = ["site-a.toml", "relay.toml", "site-b.toml", "relay-2.toml"];
    for (folder, count) in
        [("", 3), ("failover", 4), ("mirrored", 4), ("striped", 4), ("striped-one-machine", 4)]
    {
        let files = nodes[..count].iter().map(|name| examples.join(folder).join(name));
        let files: Vec<String> = files.map(|file| file.to_str().unwrap().to_owned()).collect();
        let mut line = vec!["config", "check"];
        line.extend(files.iter().map(String::as_str));
        let output = midspan(&line);
        assert_eq!(code(&output), 0, "{output:?}");
        assert_eq!(said(&output).matches(": ok").count(), count, "{output:?}");
    }
}

#[test]
fn a_bad_config_names_line_and_field() {
    let place = Place::new("cli-config");
    place.change("a", "ring = ", "rign = ");
    let output = midspan(&["config", "check", place.file("a.toml").to_str().unwrap()]);
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(said(&output).contains("a.toml:") && said(&output).contains("rign"), "{output:?}");
}

#[test]
fn formatting_is_refused_where_something_is_lost_by_it() {
    let place = Place::new("cli-format");
    let config = place.file("relay.toml");
    let format =
        |more: &[&str]| midspan(&[&["relay", "format", "--config", config.to_str().unwrap()], more].concat());
    assert_eq!(code(&format(&[])), 0);
    let again = format(&[]);
    assert_eq!(code(&again), 4, "{again:?}");
    assert!(said(&again).contains("--force"), "{again:?}");
    assert_eq!(code(&format(&["--force"])), 0);
    let site = midspan(&["site", "format", "--config", config.to_str().unwrap()]);
    assert_eq!(code(&site), 2, "{site:?}");
}

#[test]
fn a_primary_is_lost_and_the_other_site_takes_over() {
    let place = Place::new("cli-loss");
    let [mut relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    assert!(Client::connect(&uri(&place, "b"), PATIENCE).is_err(), "a secondary serves no host");
    let config = Config {
        initial: Initial::Zeroes,
        on_disconnect: OnDisconnect::Stop,
        zero_percent: 2,
        trim_percent: 2,
        ..Config::new(vec![uri(&place, "a")])
    };
    let hammer = Hammer::start(config, 1).unwrap();
    assert!(!hammer.wait_finished(Duration::from_secs(2)));

    let status = ask(&place, "a", &["status", "--output", "json"]);
    assert_eq!(code(&status), 0, "{status:?}");
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let (group, lane) = (vault(&status), &vault(&status)["lanes"][0]);
    assert!(group["answered"].as_u64() > Some(0), "{group}");
    for mark in ["sealed", "journaled", "acquired", "applied", "landed"] {
        assert!(lane["watermarks"][mark].is_u64(), "{mark} is not known: {lane}");
    }
    assert!(group["lag"]["applied_bytes"].is_u64() && group["lag"]["seconds"].is_f64(), "{group}");
    assert!(lane["ring"]["used_bytes"].as_u64() <= lane["ring"]["size_bytes"].as_u64(), "{lane}");
    let table = ask(&place, "b", &["status", "vault", "--check"]);
    assert_eq!(code(&table), 0, "{table:?}");
    assert!(said(&table).contains("secondary") && said(&table).contains("paired"), "{table:?}");

    a.signal("KILL");
    a.end();
    hammer.wait_finished(Duration::from_secs(2));
    hammer.cut();
    let ledger = hammer.into_ledger();
    let wrong = ask(&place, "relay", &["takeover", "vault", "--yes"]);
    assert_eq!(code(&wrong), 4, "{wrong:?}");
    assert!(said(&wrong).contains("relay") && said(&wrong).contains("hint:"), "{wrong:?}");
    assert_eq!(code(&ask(&place, "b", &["takeover", "none", "--yes"])), 3);
    let taken = ask(&place, "b", &["takeover", "vault", "--yes", "--wait"]);
    assert_eq!(code(&taken), 0, "{taken:?}");
    assert!(String::from_utf8_lossy(&taken.stdout).ends_with("answered writes lost: 0\n"), "{taken:?}");
    let verdict = ledger.verify(&[uri(&place, "b")], PATIENCE, |_| {}).unwrap();
    assert!(verdict.held() && verdict.answered > 0, "{verdict:?}");
    // What the primary's own site is asked from now on is refused, too.
    let again = ask(&place, "b", &["takeover", "vault", "--yes"]);
    assert_eq!(code(&again), 4, "{again:?}");
    assert_eq!(code(&ask(&place, "b", &["status", "--check"])), 6);

    for (node, daemon) in [("b", &mut b), ("relay", &mut relay)] {
        let stopped = ask(&place, node, &["stop"]);
        assert_eq!(code(&stopped), 0, "{stopped:?}");
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        assert_eq!(code(&ask(&place, node, &["status"])), 7);
    }
}

#[test]
fn a_trace_follows_writes_over_all_three_nodes() {
    let place = Place::new("cli-trace");
    let [_relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    let config = Config { initial: Initial::Zeroes, ..Config::new(vec![uri(&place, "a")]) };
    let hammer = Hammer::start(config, 1).unwrap();
    let file = place.file("out.json");
    let sockets = ["relay", "b"].map(|node| place.file(&format!("{node}.api")).display().to_string());
    let line = ["trace", "vault", "--seconds", "2", "--output", "json", "-o", file.to_str().unwrap()];
    let apis = ["--api", &sockets[0], "--api", &sockets[1]];
    let traced = ask(&place, "a", &[&line[..], &apis[..]].concat());
    let alone = ask(&place, "relay", &["trace", "vault", "--past", "--output", "json"]);
    hammer.cut();
    assert!([0, 6].contains(&code(&traced)), "{traced:?}");
    let summary: Value = serde_json::from_slice(&traced.stdout).unwrap();
    assert!(summary["writes"].as_u64() > Some(0), "{summary}");
    let stages: Vec<&str> =
        summary["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    for stage in ["admit", "seal", "send", "out", "journal", "back", "answer", "carry", "acquire", "apply"] {
        assert!(stages.contains(&stage), "{stage} is missing: {summary}");
    }
    for clock in summary["clocks"].as_array().unwrap() {
        // One machine, one clock: whatever was measured must be right.
        let offset = clock["offset_ns"].as_i64().unwrap().unsigned_abs();
        assert!(offset <= clock["error_ns"].as_u64().expect("measured by messages"), "{clock}");
    }
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let pids: std::collections::BTreeSet<u64> = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["ph"] == "X")
        .map(|event| event["pid"].as_u64().unwrap())
        .collect();
    assert_eq!(pids, [1, 2, 3].into(), "each node has slices");
    assert_eq!(code(&alone), 0, "{alone:?}");
    let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
    assert!(alone["frames"].as_u64() > Some(0), "{alone}");
    assert_eq!(code(&ask(&place, "a", &["trace", "none", "--seconds", "1"])), 3);
}

#[test]
fn a_takeover_without_the_relay_changes_nothing_and_can_be_repeated() {
    let place = Place::new("cli-no-relay");
    let [mut relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    for daemon in [&mut a, &mut relay] {
        daemon.signal("KILL");
        daemon.end();
    }
    let silent = ask(&place, "b", &["takeover", "vault", "--yes", "--wait", "2"]);
    assert_eq!(code(&silent), 5, "{silent:?}");
    // The takeover goes on by itself as soon as the relay is back; whoever asks joins it.
    let _relay = place.start("relay");
    let taken = ask(&place, "b", &["takeover", "vault", "--yes"]);
    assert_eq!(code(&taken), 0, "{taken:?}");
    assert!(said(&taken).contains("answered writes lost: 0"), "{taken:?}");
}

#[test]
fn a_group_that_was_taken_over_goes_home() {
    let place = Place::new("cli-home");
    let [_relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    a.signal("KILL");
    a.end();
    let taken = ask(&place, "b", &["takeover", "vault", "--yes"]);
    assert_eq!(code(&taken), 0, "{taken:?}");
    let early = ask(&place, "b", &["failback", "vault", "--yes"]);
    assert_eq!((code(&early), said(&early).contains("hint: ")), (4, true), "{early:?}");
    let a = place.start("a");
    b.wait("paired", |status| vault(status)["state"] == "paired" && vault(status)["serving"] == true);
    assert!(said(&ask(&place, "b", &["status"])).contains("away from its home a"));
    let home = ask(&place, "b", &["failback", "vault", "--yes", "--output", "json"]);
    assert_eq!(code(&home), 0, "{home:?}");
    let last: Value = serde_json::from_slice(&home.stdout).unwrap();
    let waited = |name: &str| last["outcome"][name].as_u64().unwrap_or_else(|| panic!("{name}: {last}"));
    assert!(waited("drained_ms") > 0 && waited("host_pause_ms") >= waited("drained_ms"), "{last}");
    // It is done when the other site serves, and not before.
    let served = a.get("/v1/status");
    assert_eq!((&vault(&served)["serving"], &vault(&served)["epoch"]["node"]), (&true.into(), &"a".into()));
    let role = |status: &Value| vault(status)["role"] == "secondary" && vault(status)["state"] == "paired";
    b.wait("following", role);
    let back = ask(&place, "a", &["switchover", "vault", "--yes"]);
    assert_eq!(code(&back), 0, "{back:?}");
    assert!(said(&back).contains("hosts waited") && said(&back).contains("of that here"), "{back:?}");
    assert_eq!(vault(&b.get("/v1/status"))["serving"], true);
}

#[test]
fn changes_of_a_group_are_asked_for_at_the_site_where_they_are_possible() {
    let place = Place::new("cli-changes");
    let [_relay, mut b, mut a] = place.all();
    let status = a.wait("serving", |status| vault(status)["serving"] == true);
    assert_eq!((&vault(&status)["home"], &vault(&status)["no_cut"]), (&"a".into(), &false.into()));
    let status = b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    assert_eq!(vault(&status)["home"], "a");
    for (node, line, exit, part) in [
        ("b", &["switchover", "vault", "--yes"][..], 4, "is its secondary"),
        ("relay", &["switchover", "vault", "--yes"], 4, "is a relay"),
        ("a", &["switchover", "none", "--yes"], 3, "none"),
        ("a", &["switchover", "vault"], 4, "add --yes"),
        ("a", &["failback", "vault", "--yes"], 4, "at home at a already"),
        ("b", &["pause", "vault"], 4, "is its secondary"),
        ("a", &["takeover", "vault", "--abort", "--yes"], 4, "is its primary"),
        ("b", &["takeover", "vault", "--abort", "--yes"], 4, "no unfinished takeover"),
        ("b", &["takeover", "vault", "--abort", "--dry-run"], 2, "--abort"),
        ("b", &["operations", "--cancel", "99"], 3, "is not known"),
        ("b", &["operations", "--cancel", "1"], 4, "cannot be cancelled"),
        ("a", &["start", "vault", "--without-journal", "--yes"], 4, "no start waits for the relay"),
        ("a", &["start", "vault", "--without-journal"], 4, "add --yes"),
        ("a", &["start", "vault", "--yes"], 2, "--without-journal"),
        ("b", &["manifests", "vault"], 0, "no manifest is kept here"),
        ("a", &["manifests", "none"], 3, "none"),
    ] {
        let output = ask(&place, node, line);
        assert_eq!(code(&output), exit, "{node} {line:?}: {output:?}");
        assert!(said(&output).contains(part), "{node} {line:?}: {output:?}");
    }
    let held = ask(&place, "a", &["pause", "vault"]);
    assert_eq!((code(&held), said(&held).contains("rounds are held")), (0, true), "{held:?}");
    let resumed = ask(&place, "a", &["resume", "vault", "--output", "json"]);
    assert_eq!(code(&resumed), 0, "{resumed:?}");
    let last: Value = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!((&last["phase"], &last["outcome"]["host_pause_ms"]), (&"done".into(), &Value::Null));
    let events = ask(&place, "a", &["events", "vault", "--output", "json"]);
    assert_eq!(code(&events), 0, "{events:?}");
    let events = String::from_utf8(events.stdout).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for kind in ["serving", "round_held", "round_resumed"] {
        assert!(events.iter().any(|event| event["kind"] == kind), "{kind}: {events:?}");
    }
    let newest = ask(&place, "a", &["events", "vault", "--limit", "1"]);
    assert!(said(&newest).contains("group:vault round_resumed: rounds go on"), "{newest:?}");
    let operations = ask(&place, "a", &["operations", "vault", "--output", "json"]);
    let operations: Value = serde_json::from_slice(&operations.stdout).unwrap();
    let kinds: Vec<&str> =
        operations.as_array().unwrap().iter().map(|found| found["kind"].as_str().unwrap()).collect();
    assert_eq!(
        (kinds, &operations[1]["state"]),
        (vec!["without_journal", "pause", "resume"], &"done".into())
    );
    assert!(said(&ask(&place, "a", &["operations"])).contains("asked by"));
    for line in [&["events", "none"][..], &["operations", "none"], &["group", "show", "none"]] {
        assert_eq!(code(&ask(&place, "a", line)), 3);
    }
    let shown = ask(&place, "a", &["group", "show", "vault"]);
    assert_eq!(code(&shown), 0, "{shown:?}");
    for part in ["a.toml", "0 at relay", "journaled", "16 MiB, 4 MiB, 1 MiB", "primary", "nbd+unix", "resume"]
    {
        assert!(said(&shown).contains(part), "{part}: {}", said(&shown));
    }
    let shown = ask(&place, "relay", &["group", "show", "vault", "--output", "json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["config"]["role"], &shown["status"]["role"]), (&"relay".into(), &"relay".into()));
    assert_eq!(vault(&a.get("/v1/status"))["serving"], true, "nothing of it changes who serves");
}

#[test]
fn a_lone_disk_is_served_and_keeps_what_was_written() {
    let place = Place::new("cli-lone");
    place.zeroes("lone.disk", 4 << 20);
    let (disk, socket) = (place.file("lone.disk"), place.file("lone.nbd"));
    let serve = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_midspan"));
        command.args([
            "nbd",
            "serve",
            disk.to_str().unwrap(),
            "--export",
            "d",
            "--socket",
            socket.to_str().unwrap(),
        ]);
        command.args(more).env("MIDSPAND", place::binary()).stderr(Stdio::null());
        place::Daemon::of(command, &socket)
    };
    let uri = format!("nbd+unix:///d?socket={}", socket.display());
    let data: Vec<u8> = (0..65536_u32).map(|at| (at / 11) as u8).collect();
    let mut daemon = serve(&[]);
    let mut client = Client::connect(&uri, PATIENCE).unwrap();
    assert_eq!(client.size(), 4 << 20);
    client.write(12_800, &data, true).unwrap();
    client.disconnect().unwrap();
    daemon.signal("TERM");
    assert_eq!(daemon.end().code(), Some(0));
    assert!(!socket.exists());
    assert_eq!(std::fs::read(&disk).unwrap()[12_800..12_800 + data.len()], data[..]);
    let mut daemon = serve(&["--read-only"]);
    let mut client = Client::connect(&uri, PATIENCE).unwrap();
    assert!(client.info().is_read_only());
    let mut back = vec![0; data.len()];
    client.read(12_800, &mut back).unwrap();
    assert!(back == data);
    assert!(client.write(0, &data, false).is_err());
    daemon.signal("INT");
    assert_eq!(daemon.end().code(), Some(0));
}

#[test]
fn a_lone_disk_is_served_on_a_socket_that_was_passed() {
    let place = Place::new("cli-passed");
    place.zeroes("lone.disk", 4 << 20);
    let disk = place.file("lone.disk");
    // nbdinfo listens, starts the command between brackets with LISTEN_FDS, and ends it.
    let info = Command::new("nbdinfo")
        .args([
            "--size",
            "--",
            "[",
            env!("CARGO_BIN_EXE_midspan"),
            "nbd",
            "serve",
            disk.to_str().unwrap(),
            "]",
        ])
        .env("MIDSPAND", place::binary())
        .output();
    let output = info.expect("nbdinfo is installed by `cargo xtask setup`");
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), (4 << 20).to_string());
    let nobody = midspan(&["nbd", "serve", disk.to_str().unwrap()]);
    assert_eq!(code(&nobody), 2, "{nobody:?}");
    assert!(said(&nobody).contains("--socket"), "{nobody:?}");
}

/// Runs the demo; gives its last line, which says that it held.
fn demo(name: &str, scenario: &[&str]) -> Value {
    let place = Place::new(name);
    let folder = place.file("");
    let before = std::fs::read_dir(&folder).unwrap().count();
    let line = ["demo", "--seconds", "2", "--json", "--dir", folder.to_str().unwrap()];
    let output = midspan(&[&line, scenario].concat());
    assert_eq!(code(&output), 0, "{output:?}");
    let line = String::from_utf8_lossy(&output.stdout);
    let outcome: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    assert_eq!(outcome["verdict"], "held", "{outcome}");
    assert_eq!((&outcome["lost"], &outcome["corrupt"]), (&0.into(), &0.into()));
    assert!(outcome["answered"].as_u64() > Some(0) && outcome["takeover_ms"].as_u64() > Some(0), "{outcome}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), before, "the demo's folder is left behind");
    outcome
}

#[test]
fn the_demo_holds_and_cleans_up() {
    let outcome = demo("cli-demo", &[]);
    assert_eq!((&outcome["scenario"], &outcome["failback_pause_ms"]), (&"primary-loss".into(), &Value::Null));
}

#[test]
fn the_demo_goes_home_and_holds() {
    let outcome = demo("cli-demo-home", &["--scenario", "failback"]);
    assert_eq!(outcome["scenario"], "failback");
    assert!(outcome["failback_pause_ms"].is_u64(), "{outcome}");
}

#[test]
fn the_demo_loses_lanes_and_holds() {
    for scenario in ["relay-loss", "mirrored", "striped", "direct", "local"] {
        let outcome = demo(&format!("cli-demo-{scenario}"), &["--scenario", scenario]);
        assert_eq!(outcome["scenario"], scenario);
        assert_eq!(outcome["lane_pause_ms"].is_u64(), scenario != "local", "{outcome}");
    }
}
