//! Disks that are not what the config takes them for, or that somebody else uses; places that are taken.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::Path;

use rig::{Cluster, LIMIT, Place, Program, Said, Shape, create_disk, flip, free_ports, midspand};

/// Exit code of what the state does not allow.
const REFUSED: i32 = 4;
/// Exit code of what does not exist.
const NOT_FOUND: i32 = 3;

/// Runs a node that should not start.
fn run(cluster: &Cluster, place: Place) -> Said {
    Program::new(midspand()).arg("--config").arg(cluster.config(place)).limit(LIMIT).run()
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn resize(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn formatted() -> Cluster {
    let cluster = Cluster::new(Shape::new(1, 8));
    for place in Place::ALL {
        cluster.format(place).well();
    }
    cluster
}

#[test]
fn a_disk_that_was_never_formatted_is_no_journal_disk() {
    let cluster = Cluster::new(Shape::new(1, 8));
    for place in Place::ALL {
        let journal = cluster.journal(place);
        run(&cluster, place).with_code(REFUSED, &[name(&journal), "not a journal disk", "format"]);
        fs::remove_file(&journal).unwrap();
        run(&cluster, place).with_code(NOT_FOUND, &[name(&journal), "does not exist"]);
    }
}

#[test]
fn a_disk_of_another_node_is_refused() {
    let cluster = formatted();
    let (own, other) = (cluster.journal(Place::Primary), cluster.journal(Place::Relay));
    fs::copy(&other, &own).unwrap();
    run(&cluster, Place::Primary).with_code(REFUSED, &[name(&own), "node 2", "node 1"]);
}

#[test]
fn a_disk_that_holds_something_is_not_formatted() {
    let cluster = formatted();
    let journal = cluster.journal(Place::Secondary);
    cluster.format(Place::Secondary).with_code(REFUSED, &[name(&journal), "formatted already", "--force"]);
    fs::remove_file(&journal).unwrap();
    create_disk(&journal, cluster.shape().journal_bytes());
    Program::new("mkfs.ext4").arg("-q").arg(&journal).run().well();
    cluster.format(Place::Secondary).with_code(REFUSED, &[name(&journal), "ext4", "--force"]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let cluster = Cluster::new(Shape::new(1, 8));
    let place = Place::Primary;
    let (journal, disk, bytes) =
        (cluster.journal(place), cluster.disk(place, 1), cluster.shape().journal_bytes());
    resize(&journal, 2 << 20);
    cluster.format(place).with_code(REFUSED, &[name(&journal), "too small", "2097152"]);
    resize(&journal, bytes - 1000);
    cluster.format(place).with_code(REFUSED, &[name(&journal), "multiple of 4096"]);
    resize(&journal, bytes);
    cluster.format(place).well();
    resize(&journal, bytes / 2);
    run(&cluster, place).with_code(REFUSED, &[name(&journal), "cut"]);
    resize(&journal, bytes + 512);
    run(&cluster, place).with_code(REFUSED, &[name(&journal), "multiple of 4096"]);
    resize(&journal, bytes);
    resize(&disk, (8 << 20) - 512);
    run(&cluster, place).with_code(REFUSED, &["volume 1", name(&disk), "multiple of 4096"]);
}

/// A volume that has joined the group is known again; another disk, or another size, at its place is not believed.
#[test]
fn row_disk_swapped() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    for place in [Place::Primary, Place::Secondary] {
        super::qemu_io(&cluster.uri(Place::Primary, 1), &["write -P 1 0 64k"]);
        cluster.wait_caught_up();
        cluster.kill(place);
        let disk = cluster.disk(place, 1);
        let kept = disk.with_extension("kept");
        fs::rename(&disk, &kept).unwrap();
        create_disk(&disk, 8 << 20);
        run(&cluster, place).with_code(REFUSED, &["volume 1", "another disk"]);
        fs::rename(&kept, &disk).unwrap();
        resize(&disk, 4 << 20);
        run(&cluster, place).with_code(REFUSED, &["volume 1", "4194304", "8388608"]);
        resize(&disk, 8 << 20);
        cluster.start(place);
        cluster.wait_serving(Place::Primary);
        cluster.wait_following();
    }
    super::qemu_io(&cluster.uri(Place::Primary, 1), &["read -P 1 0 64k"]);
}

#[test]
fn a_disk_that_is_open_elsewhere_is_refused() {
    let cluster = Cluster::running(Shape::new(1, 8));
    for place in Place::ALL {
        let journal = cluster.journal(place);
        cluster.format(place).with_code(REFUSED, &[name(&journal), "already open elsewhere"]);
    }
    // A second node on the same disks, all its other places being free.
    let (used, [free]) = (cluster.shape().address(Place::Primary), free_ports());
    let elsewhere =
        |text: String| text.replace("site-a.api", "other.api").replace(&used, &format!("127.0.0.1:{free}"));
    cluster.write_config(Place::Primary, elsewhere);
    let journal = cluster.journal(Place::Primary);
    run(&cluster, Place::Primary).with_code(REFUSED, &[name(&journal), "already open elsewhere"]);
    let copy = cluster.folder().file("copy");
    fs::copy(&journal, &copy).unwrap();
    cluster.write_config(Place::Primary, |text| elsewhere(text).replace("site-a.journal", "copy"));
    let disk = cluster.disk(Place::Primary, 1);
    run(&cluster, Place::Primary).with_code(REFUSED, &["volume 1", name(&disk), "already open elsewhere"]);
    // The node that was there first goes on.
    super::qemu_io(&cluster.uri(Place::Primary, 1), &["write -P 1 0 64k", "read -P 1 0 64k"]);
}

#[test]
fn places_that_are_taken_are_named() {
    let mut cluster = formatted();
    let taken = |address: &str| TcpListener::bind(address).unwrap();
    {
        let address = cluster.shape().address(Place::Relay);
        let _listener = taken(&address);
        run(&cluster, Place::Relay).with_code(REFUSED, &[&address, "in use"]);
    }
    {
        let address = cluster.shape().hosts_at(Place::Primary);
        let _listener = taken(&address);
        run(&cluster, Place::Primary).with_code(REFUSED, &[&address, "in use"]);
    }
    cluster.start(Place::Relay);
    cluster.status(Place::Relay);
    run(&cluster, Place::Relay).with_code(REFUSED, &["relay.api", "running already"]);
    cluster.status(Place::Relay);
}

/// Of the two copies of a superblock one is enough.
#[test]
fn a_damaged_superblock_is_repaired_from_its_other_copy_or_named() {
    let mut cluster = formatted();
    for place in Place::ALL {
        let journal = cluster.journal(place);
        let whole = fs::read(&journal).unwrap();
        flip(&journal, 100);
        cluster.start(place);
        cluster.status(place);
        cluster.kill(place);
        fs::write(&journal, &whole).unwrap();
        for block in 0..2 {
            flip(&journal, block * 4096 + 100);
        }
        let said = run(&cluster, place).with_code(REFUSED, &[name(&journal)]);
        assert!(said.contains("damaged") || said.contains("not a journal disk"), "{said}");
        fs::write(&journal, &whole).unwrap();
    }
}
