//! A group comes to three nodes that have one already, and goes again: real nodes, their disks and their configs.

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

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use midspan::nbd_client::Client;
use place::{Daemon, Place, VOLUME, code, said};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);
const NODES: [&str; 3] = ["relay", "b", "a"];

fn midspan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_midspan"))
        .args(arguments)
        .env("MIDSPAND", place::binary())
        .env_remove("MIDSPAN_SOCKET")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The tables of the group `ledger` for a node, in a file of their own.
fn write_tables(place: &Place, node: &str) {
    let role = match node {
        "a" => "primary",
        "b" => "secondary",
        _ => "relay",
    };
    let mut text = format!(
        "# The ledger.\n[[group]]\nid = 2\nname = \"ledger\"\nrole = \"{role}\"\ninitial = \"equal\"\nsites = [1, 3]\n\
         lanes = [{{ id = 0, node = 2 }}]\nring = \"8MiB\"\nmanifest = \"4MiB\"\nreceipt = \"1MiB\"\n"
    );
    if node != "relay" {
        place.zeroes(&format!("{node}.ledger"), VOLUME);
        text += &format!(
            "\n[[group.volume]]\nid = 1\nname = \"v0\"\npath = \"{node}.ledger\"\n\n[[export]]\nname = \"ledger\"\n\
             volume = \"ledger/v0\"\n"
        );
    }
    std::fs::write(place.file(&format!("{node}.ledger.toml")), text).unwrap();
}

fn create(place: &Place, node: &str, more: &[&str]) -> Output {
    let (file, config) = (place.file(&format!("{node}.ledger.toml")), place.file(&format!("{node}.toml")));
    let line = ["group", "create", file.to_str().unwrap(), "--config", config.to_str().unwrap()];
    midspan(&[&line[..], more].concat())
}

fn delete(place: &Place, node: &str, group: &str, more: &[&str]) -> Output {
    let config = place.file(&format!("{node}.toml"));
    let line = ["group", "delete", group, "--config", config.to_str().unwrap()];
    midspan(&[&line[..], more].concat())
}

#[track_caller]
fn ends_with(output: &Output, exit: i32, parts: &[&str]) {
    assert_eq!(code(output), exit, "{output:?}");
    for part in parts {
        assert!(said(output).contains(part), "{part} is not in: {}", said(output));
    }
}

fn text(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.file(name)).unwrap()
}

/// A group in a status.
fn group<'a>(status: &'a Value, name: &str) -> &'a Value {
    let groups = status["groups"].as_array().unwrap();
    groups.iter().find(|group| group["group"] == name).unwrap_or(&Value::Null)
}

fn start(place: &Place) -> [Daemon; 3] {
    NODES.map(|node| place.start(node))
}

/// All nodes serve these groups, and the secondary follows in them.
fn settled([_, b, a]: &mut [Daemon; 3], groups: &[&str]) {
    for name in groups {
        a.wait(&format!("serving {name}"), |status| group(status, name)["serving"] == true);
        b.wait(&format!("following {name}"), |status| group(status, name)["lanes"][0]["connected"] == true);
    }
}

fn stop(daemons: [Daemon; 3]) {
    // The primary first: what it has sent is received by the others.
    for mut daemon in daemons.into_iter().rev() {
        daemon.signal("TERM");
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    }
}

fn connect(place: &Place, node: &str, export: &str) -> Client {
    let socket = place.file(&format!("{node}.nbd"));
    Client::connect(&format!("nbd+unix:///{export}?socket={}", socket.display()), PATIENCE).unwrap()
}

fn content(seed: u32) -> Vec<u8> {
    (0..300_000_u32).map(|at| ((at / 7) ^ seed) as u8).collect()
}

/// Writes into a new ring through the primary, and waits until the secondary's disk has it and says so.
fn write(place: &Place, a: &mut Daemon, name: &str, export: &str, data: &[u8]) {
    let mut client = connect(place, "a", export);
    client.write(12_288, data, true).unwrap();
    client.disconnect().unwrap();
    a.wait(&format!("told that {name} is received"), |status| {
        let marks = &group(status, name)["lanes"][0]["watermarks"];
        marks["sealed"].as_u64() > Some(0) && marks["sealed"] == marks["applied"]
    });
}

fn check_content(place: &Place, export: &str, data: &[u8]) {
    let mut found = vec![0; data.len()];
    connect(place, "a", export).read(12_288, &mut found).unwrap();
    assert!(found == data, "{export} does not hold what was written");
}

/// What a site's own disk file holds.
fn disk(place: &Place, name: &str, length: usize) -> Vec<u8> {
    std::fs::read(place.file(name)).unwrap()[12_288..12_288 + length].to_vec()
}

/// The relay and one site delete the group; the other site does not know yet.
fn forgotten_at_a(place: &Place, before_at_b: &str) {
    ends_with(&delete(place, "relay", "ledger", &[]), 4, &["add --yes"]);
    ends_with(&delete(place, "relay", "none", &["--yes"]), 3, &["known are vault (1), ledger (2)"]);
    for node in ["relay", "b"] {
        ends_with(&delete(place, node, "ledger", &["--yes"]), 0, &["group ledger (2) is deleted"]);
    }
    let dump = midspan(&["journal", "dump", place.file("relay.journal").to_str().unwrap()]);
    assert!(said(&dump).contains(", deleted") && !said(&dump).contains("damage"), "{}", said(&dump));
    assert_eq!(text(place, "b.toml"), format!("{before_at_b}\n"));
    let mut daemons = start(place);
    settled(&mut daemons, &["vault"]);
    daemons[0].wait("refusing", |status| status["refused"].to_string().contains("\"deleted\""));
    let hint = "`midspan group delete` removes it from this node, too";
    let began = Instant::now();
    while !daemons[2].get("/v1/events?group=ledger").to_string().contains(hint) {
        assert!(began.elapsed() < PATIENCE, "a is not told why: {}", daemons[2].log());
        std::thread::sleep(Duration::from_millis(50));
    }
    check_content(place, "disk", &content(1));
    stop(daemons);
}

#[test]
fn a_second_group_comes_replicates_and_goes_and_the_first_one_keeps_what_it_has() {
    let place = Place::new("groups");
    let mut daemons = place.all();
    settled(&mut daemons, &["vault"]);
    let [first, second] = [content(1), content(2)];
    write(&place, &mut daemons[2], "vault", "disk", &first);
    NODES.iter().for_each(|node| write_tables(&place, node));

    // While it runs the disk is its own: only a dry run may look.
    let before = NODES.map(|node| text(&place, &format!("{node}.toml")));
    ends_with(&create(&place, "relay", &["--dry-run"]), 0, &["would be created", "nothing was changed"]);
    ends_with(
        &create(&place, "relay", &[]),
        4,
        &["already open", "midspand (process ", "`midspan stop --socket "],
    );
    stop(daemons);
    let dry = create(&place, "a", &["--dry-run", "--output", "json"]);
    ends_with(&dry, 0, &[]);
    let dry: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!(before, NODES.map(|node| text(&place, &format!("{node}.toml"))));
    for node in NODES {
        ends_with(
            &create(&place, node, &[]),
            0,
            &["group ledger (2) is created", "next start", "bytes are free"],
        );
        ends_with(&create(&place, node, &[]), 4, &["ledger (2) is in", "already"]);
    }
    assert_eq!(text(&place, "a.toml"), format!("{}\n{}", before[2], text(&place, "a.ledger.toml")));
    let dump = midspan(&["journal", "dump", place.file("a.journal").to_str().unwrap()]);
    assert!(
        dry["areas"].as_array().unwrap().len() == 3 && !said(&dump).contains("damage"),
        "{}",
        said(&dump)
    );

    let mut daemons = start(&place);
    settled(&mut daemons, &["vault", "ledger"]);
    write(&place, &mut daemons[2], "ledger", "ledger", &second);
    check_content(&place, "disk", &first);
    check_content(&place, "ledger", &second);
    // The primary was told directly; the receipt in the relay's own area comes up to a second after that.
    std::thread::sleep(Duration::from_millis(1_500));
    stop(daemons);
    assert!(disk(&place, "b.ledger", second.len()) == second && disk(&place, "b.disk", first.len()) == first);

    forgotten_at_a(&place, &before[1]);

    let at_a = delete(&place, "a", "ledger", &["--yes", "--output", "json"]);
    ends_with(&at_a, 0, &[]);
    let at_a: Value = serde_json::from_slice(&at_a.stdout).unwrap();
    assert_eq!((&at_a["action"], &at_a["exports"][0]), (&"deleted".into(), &"ledger".into()));
    assert!(disk(&place, "a.ledger", second.len()) == second, "volumes are never touched");
    let mut daemons = start(&place);
    settled(&mut daemons, &["vault"]);
    check_content(&place, "disk", &first);
    stop(daemons);

    // The same id again: a new group, beyond what the former one left behind.
    for node in NODES {
        let created = create(&place, node, &[]);
        ends_with(&created, 0, if node == "relay" { &["begins beyond it"] } else { &[] });
    }
    let mut daemons = start(&place);
    settled(&mut daemons, &["vault", "ledger"]);
    let status = daemons[2].get("/v1/status");
    assert!(group(&status, "ledger")["epoch"]["number"].as_u64() > Some(2), "{status}");
    write(&place, &mut daemons[2], "ledger", "ledger", &first);
    check_content(&place, "ledger", &first);
    check_content(&place, "disk", &first);
    stop(daemons);
}

#[test]
fn what_would_be_lost_is_said_and_given_up_only_by_force() {
    let place = Place::new("groups-lost");
    let mut daemons = place.all();
    settled(&mut daemons, &["vault"]);
    let [mut relay, mut b, mut a] = daemons;
    b.signal("KILL");
    b.end();
    let mut client = connect(&place, "a", "disk");
    client.write(0, &content(3), true).unwrap();
    drop(client);
    for daemon in [&mut a, &mut relay] {
        daemon.signal("KILL");
        daemon.end();
    }
    let before = (text(&place, "relay.toml"), std::fs::read(place.file("relay.journal")).unwrap());
    ends_with(&delete(&place, "relay", "vault", &["--yes"]), 4, &["b has not received", "bytes", "--force"]);
    ends_with(
        &delete(&place, "relay", "vault", &["--dry-run"]),
        0,
        &["needs --force", "nothing was changed"],
    );
    let after = (text(&place, "relay.toml"), std::fs::read(place.file("relay.journal")).unwrap());
    assert!(before == after, "a refusal changes nothing");
    ends_with(&delete(&place, "relay", "vault", &["--yes", "--force"]), 0, &["given up: b has not received"]);
    // A node without any group is a node all the same.
    let _relay = place.start("relay");
}

#[test]
fn a_primary_outside_the_lanes_is_not_deleted_without_force() {
    let place = Place::new("groups-outside");
    let mut daemons = place.all();
    settled(&mut daemons, &["vault"]);
    let [relay, mut b, mut a] = daemons;
    a.signal("KILL");
    a.end();
    let socket = place.file("b.api");
    let taken = midspan(&["takeover", "vault", "--yes", "--socket", socket.to_str().unwrap()]);
    ends_with(&taken, 0, &["answered writes lost: 0"]);
    b.signal("TERM");
    b.end();
    drop(relay);
    let parts = ["answered here since a takeover", "only in the volumes here", "--force"];
    ends_with(&delete(&place, "b", "vault", &["--yes"]), 4, &parts);
    ends_with(
        &delete(&place, "b", "vault", &["--yes", "--force"]),
        0,
        &["given up: this site is its primary"],
    );
    // What was the primary before has recorded nothing that it would lose.
    ends_with(&delete(&place, "a", "vault", &["--yes"]), 0, &["a.disk: untouched"]);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let place = Place::new("groups-refused");
    for node in NODES {
        write_tables(&place, node);
    }
    ends_with(&create(&place, "relay", &[]), 4, &["relay.journal", "midspan relay format"]);
    place.format("relay");
    let before = (text(&place, "relay.toml"), std::fs::read(place.file("relay.journal")).unwrap());
    let file = place.file("relay.ledger.toml");
    let tables = std::fs::read_to_string(&file).unwrap();
    for (old, new, exit, parts) in [
        ("8MiB", "1MiB", 1, &["relay.ledger.toml:9: group[0].ring: 1MiB is too small"][..]),
        ("8MiB", "64MiB", 4, &["72364032 bytes are needed", "27250688 are free"]),
        ("id = 2\n", "id = 1\n", 4, &["ledger (1) cannot be created: group vault (1) is in"]),
        ("\"ledger\"", "\"vault\"", 4, &["vault (2) cannot be created"]),
        ("[1, 3]", "[1, 4]", 1, &["relay.ledger.toml:7: group[0].sites[1]: no node has id 4"]),
        (
            "role = \"relay\"",
            "role = \"relay\"\nnode = 7",
            1,
            &["relay.ledger.toml:6: group[0].node: unknown field"],
        ),
    ] {
        std::fs::write(&file, tables.replace(old, new)).unwrap();
        ends_with(&create(&place, "relay", &[]), exit, parts);
    }
    std::fs::remove_file(&file).unwrap();
    ends_with(&create(&place, "relay", &[]), 3, &["relay.ledger.toml"]);
    let after = (text(&place, "relay.toml"), std::fs::read(place.file("relay.journal")).unwrap());
    assert!(before == after, "a refusal changes nothing");
    place.format("a");
    std::fs::remove_file(place.file("a.ledger")).unwrap();
    ends_with(&create(&place, "a", &[]), 3, &["a.ledger does not exist"]);
}

#[test]
fn what_was_cut_off_between_disk_and_config_is_finished_by_the_same_command() {
    let place = Place::new("groups-cut");
    for node in NODES {
        place.format(node);
        write_tables(&place, node);
    }
    for node in NODES {
        let name = format!("{node}.toml");
        let before = text(&place, &name);
        ends_with(&create(&place, node, &[]), 0, &[]);
        let with = text(&place, &name);
        // The disk has it, the config does not.
        std::fs::write(place.file(&name), &before).unwrap();
        ends_with(&create(&place, node, &["--dry-run"]), 0, &["its areas were there already"]);
        ends_with(&create(&place, node, &[]), 0, &["its areas were there already"]);
        assert_eq!(text(&place, &name), with);
        // The disk has it no more, the config does: the node does not start, and says what to do.
        ends_with(&delete(&place, node, "ledger", &["--yes"]), 0, &[]);
        std::fs::write(place.file(&name), &with).unwrap();
        ends_with(&place.run(node, &[]), 4, &["group 2 was deleted there", "midspan group delete"]);
        ends_with(&delete(&place, node, "ledger", &["--yes"]), 0, &[]);
        assert_eq!(text(&place, &name), format!("{before}\n"));
        // Its tables were taken out by hand: its number says which one is meant.
        ends_with(&create(&place, node, &[]), 0, &[]);
        std::fs::write(place.file(&name), &before).unwrap();
        ends_with(&delete(&place, node, "ledger", &["--yes"]), 3, &["2 (on the journal disk only)"]);
        ends_with(&delete(&place, node, "2", &["--yes"]), 0, &["it was not there"]);
        ends_with(&delete(&place, node, "2", &["--yes"]), 3, &[]);
    }
}
