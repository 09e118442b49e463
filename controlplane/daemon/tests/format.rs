//! `midspand --format` as a process: what it refuses, and that a refusal changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and waits for processes"
)]

mod place;

use place::{Place, code, said};

#[test]
fn a_formatted_disk_is_formatted_again_only_by_force() {
    let place = Place::new("again");
    let first = place.run("relay", &["--format", "relay"]);
    assert_eq!(code(&first), 0, "{first:?}");
    assert!(said(&first).contains("relay.journal") && said(&first).contains("group vault"), "{first:?}");
    let before = std::fs::read(place.file("relay.journal")).unwrap();
    let again = place.run("relay", &["--format", "relay"]);
    assert_eq!(code(&again), 4, "{again:?}");
    assert!(said(&again).contains("relay.journal") && said(&again).contains("--force"), "{again:?}");
    assert!(before == std::fs::read(place.file("relay.journal")).unwrap(), "a refusal must change nothing");
    assert_eq!(code(&place.run("relay", &["--format", "relay", "--force"])), 0);
    assert!(before != std::fs::read(place.file("relay.journal")).unwrap(), "it has a new id");
}

#[test]
fn a_disk_that_holds_something_else_is_refused() {
    let place = Place::new("foreign");
    let mut bytes = vec![0; usize::try_from(place::JOURNAL).unwrap()];
    bytes[0x438..0x43A].copy_from_slice(&[0x53, 0xEF]);
    std::fs::write(place.file("a.journal"), &bytes).unwrap();
    let output = place.run("a", &["--format", "site"]);
    assert_eq!(code(&output), 4, "{output:?}");
    assert!(said(&output).contains("ext4") && said(&output).contains("a.journal"), "{output:?}");
    assert!(bytes == std::fs::read(place.file("a.journal")).unwrap());
}

#[test]
fn a_missing_or_small_disk_is_named() {
    let place = Place::new("missing");
    std::fs::remove_file(place.file("relay.journal")).unwrap();
    let missing = place.run("relay", &["--format", "relay"]);
    assert_eq!(code(&missing), 3, "{missing:?}");
    assert!(said(&missing).contains("relay.journal") && said(&missing).contains("hint:"), "{missing:?}");
    place.zeroes("relay.journal", 8 << 20);
    let small = place.run("relay", &["--format", "relay"]);
    assert_eq!(code(&small), 4, "{small:?}");
    assert!(said(&small).contains("too small"), "{small:?}");
}

#[test]
fn the_kind_must_be_what_the_config_says() {
    let place = Place::new("kind");
    let output = place.run("a", &["--format", "relay"]);
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(said(&output).contains("midspan site format"), "{output:?}");
}

#[test]
fn a_bad_config_is_not_formatted_with() {
    let place = Place::new("bad");
    place.change("relay", "ring = \"16MiB\"", "ring = \"16MB\"");
    let output = place.run("relay", &["--format", "relay"]);
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(said(&output).contains("relay.toml:") && said(&output).contains("ring"), "{output:?}");
}

#[test]
fn a_disk_in_use_by_a_running_node_is_refused() {
    let place = Place::new("used");
    place.format("relay");
    let _relay = place.start("relay");
    let output = place.run("relay", &["--format", "relay", "--force"]);
    assert_eq!(code(&output), 4, "{output:?}");
    assert!(said(&output).contains("already open"), "{output:?}");
}
