//! A split between real nodes: what only its victim holds is listed, exported, and given up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and waits for processes"
)]

/// The same folder with three nodes as the daemon's own tests.
#[path = "../../../controlplane/daemon/tests/place/mod.rs"]
mod place;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use midspan::nbd_client::Client;
use place::{Daemon, Place, code, said, vault};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;
const REGION: u64 = 64 << 10;

/// A command to the daemon of a node.
fn ask(place: &Place, node: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_midspan"))
        .args(arguments)
        .arg("--socket")
        .arg(place.file(&format!("{node}.api")))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn write(place: &Place, node: &str, writes: impl IntoIterator<Item = (u64, Vec<u8>)>) {
    let uri = format!("nbd+unix:///disk?socket={}", place.file(&format!("{node}.nbd")).display());
    let mut host = Client::connect(&uri, PATIENCE).unwrap();
    for (offset, bytes) in writes {
        host.write(offset, &bytes, true).unwrap();
    }
    host.disconnect().unwrap();
}

fn kill(mut daemon: Daemon) {
    daemon.signal("KILL");
    daemon.end();
}

/// Site a has left the lanes and answered hosts there; then b took over with that loss accepted, and a came back.
fn split(place: &Place) -> [Daemon; 3] {
    for node in ["a", "b"] {
        place.change(node, "initial = \"equal\"\n", "initial = \"equal\"\nmode = \"max-availability\"\n");
    }
    let [relay, mut b, mut a] = place.all();
    a.wait("serving", |status| vault(status)["serving"] == true);
    b.wait("following", |status| vault(status)["lanes"][0]["connected"] == true);
    let early = ask(place, "a", &["resolve", "vault", "--list"]);
    assert_eq!(code(&early), 4, "{early:?}");
    assert!(said(&early).contains("is in state paired, not in a split"), "{early:?}");
    kill(b);
    // More than the ring holds, all of it to the first two MiB.
    let mib = usize::try_from(MIB).unwrap();
    write(place, "a", (0..20_u8).map(|number| (u64::from(number) % 2 * MIB, vec![number; mib])));
    a.wait("outside the lanes", |status| vault(status)["state"] == "suspended");
    write(place, "a", [(5 * MIB, vec![0x55; 512]), (6 * MIB - 512, vec![0x66; 1024])]);
    kill(a);
    let mut b = place.start("b");
    b.wait("following", |status| vault(status)["role"] == "secondary");
    let refused = ask(place, "b", &["takeover", "vault", "--yes"]);
    assert_eq!(code(&refused), 4, "{refused:?}");
    let taken = ask(place, "b", &["takeover", "vault", "--yes", "--accept-loss"]);
    assert_eq!(code(&taken), 6, "{taken:?}");
    let mut a = place.start("a");
    a.wait("in a split", |status| vault(status)["state"] == "split");
    [relay, b, a]
}

/// Offset and length of each range.
fn ranges(list: &Value, offset: &str, length: &str) -> Vec<(u64, u64)> {
    let one = |range: &Value| (range[offset].as_u64().unwrap(), range[length].as_u64().unwrap());
    list["ranges"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn what_only_the_victim_holds_is_listed_exported_and_given_up() {
    let place = Place::new("cli-split");
    let [_relay, mut b, mut a] = split(&place);
    let expected = [(0, 2 * MIB), (5 * MIB, REGION), (6 * MIB - REGION, 2 * REGION)];

    let list = ask(&place, "a", &["resolve", "vault", "--list", "--output", "json"]);
    assert_eq!(code(&list), 0, "{list:?}");
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(ranges(&list, "offset_bytes", "length_bytes"), expected, "{list}");
    assert_eq!((&list["node"], &list["replaced_by"]["node"]), (&"a".into(), &"b".into()));
    let time = |name: &str| list[name].as_u64().unwrap_or_else(|| panic!("{name} is not known: {list}"));
    assert!(time("left_ns") <= time("newest_ns") && time("left_ns") < time("replaced_ns"), "{list}");
    assert_eq!(list["bytes"], 2 * MIB + 3 * REGION);

    let table = ask(&place, "a", &["resolve", "vault", "--list"]);
    for part in
        ["a alone holds 2.1 MiB in 3 ranges", "when a left the lanes", "group as a whole", "6225920  131072"]
    {
        assert!(said(&table).contains(part), "{part}: {}", said(&table));
    }
    let page = a.get("/v1/groups/vault/alone?after=1&limit=1");
    assert_eq!(ranges(&page, "offset_bytes", "length_bytes"), expected[1..2]);
    for (path, status) in [
        ("/v1/groups/vault/alone?after=x", 400),
        ("/v1/groups/none/alone", 404),
        ("/v1/groups/vault/alone/data?volume=1&offset=0&length=512", 400),
        ("/v1/groups/vault/alone/data?volume=9&offset=0&length=4096", 404),
        ("/v1/groups/vault/alone/data?volume=1&offset=8388608&length=4096", 400),
    ] {
        assert_eq!(a.ask(&format!("GET {path}"), "").unwrap().0, status, "{path}");
    }

    export(&place, &expected);
    give_up(&place, &mut a);
    same_at_both(&place, &mut b, &mut a);
}

fn export(place: &Place, expected: &[(u64, u64)]) {
    let folder = place.file("kept");
    let to = folder.to_str().unwrap();
    let exported = ask(place, "a", &["resolve", "vault", "--export", to]);
    assert_eq!(code(&exported), 0, "{exported:?}");
    assert!(said(&exported).contains("in 3 ranges, written and read back"), "{exported:?}");
    let list: Value = serde_json::from_slice(&fs::read(folder.join("ranges.json")).unwrap()).unwrap();
    let volume = &list["volumes"][0];
    assert_eq!(ranges(volume, "offset_bytes", "length_bytes"), expected, "{list}");
    let (image, disk) = (folder.join("v0.img"), place.file("a.disk"));
    let found = fs::metadata(&image).unwrap();
    assert_eq!((found.len(), volume["file"].as_str()), (place::VOLUME, Some("v0.img")));
    assert!(found.blocks() * 512 < 3 * MIB, "the image is not sparse: {} blocks", found.blocks());
    let read = |path: &std::path::Path, (offset, length): (u64, u64)| {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        fs::File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    };
    for (range, listed) in expected.iter().zip(volume["ranges"].as_array().unwrap()) {
        let bytes = read(&image, *range);
        assert!(bytes == read(&disk, *range), "{range:?} is not what the disk holds");
        let checksum = format!("{:016x}", midspan_format::checksum::checksum(&bytes));
        assert_eq!(listed["crc64"].as_str(), Some(checksum.as_str()));
    }
    assert_eq!(read(&image, (5 * MIB, 512)), [0x55; 512]);
    assert!(read(&image, (3 * MIB, MIB)).iter().all(|byte| *byte == 0), "other ranges are holes");
    let again = ask(place, "a", &["resolve", "vault", "--export", to]);
    assert_eq!((code(&again), said(&again).contains("is not empty")), (4, true), "{again:?}");
}

fn give_up(place: &Place, a: &mut Daemon) {
    assert_eq!(code(&ask(place, "a", &["resolve", "vault"])), 2);
    let wrong = ask(place, "a", &["resolve", "vault", "--keep", "relay", "--yes"]);
    assert_eq!(
        (code(&wrong), said(&wrong).contains("was replaced by b, not by relay")),
        (4, true),
        "{wrong:?}"
    );
    let asked = ask(place, "a", &["resolve", "vault", "--keep", "b"]);
    assert_eq!(code(&asked), 4, "{asked:?}");
    for part in ["a alone holds 2.1 MiB", "was not confirmed", "add --yes"] {
        assert!(said(&asked).contains(part), "{part}: {asked:?}");
    }
    let resolved = ask(place, "a", &["resolve", "vault", "--keep", "b", "--yes"]);
    assert_eq!(code(&resolved), 0, "{resolved:?}");
    a.wait("paired", |status| vault(status)["role"] == "secondary" && vault(status)["state"] == "paired");
    let late = ask(place, "a", &["resolve", "vault", "--list"]);
    assert_eq!(code(&late), 4, "{late:?}");
}

/// What was given up is nowhere any more: a holds what b does, and in the place of what a alone had, what was there before.
fn same_at_both(place: &Place, b: &mut Daemon, a: &mut Daemon) {
    b.wait("ahead of nobody", |status| {
        let vault = vault(status);
        vault["state"] == "paired" && vault["lag"]["applied_bytes"] == 0 && vault["dirty_bytes"] == 0
    });
    for daemon in [b, a] {
        daemon.signal("TERM");
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    }
    let [mine, theirs] = ["a", "b"].map(|node| fs::read(place.file(&format!("{node}.disk"))).unwrap());
    assert!(mine == theirs, "both sites hold the same");
    let alone = usize::try_from(5 * MIB).unwrap();
    assert!(mine[alone..alone + 512].iter().all(|byte| *byte == 0), "what a alone held is gone");
}
