//! No space: the relay's ring is full, or the secondary's volume is too small.

use std::time::Duration;

use rig::{Cluster, GROUP, LIMIT, Place, Program, Shape, pause, wait_for};

/// With the secondary away the ring fills: hosts wait without an error, status says why, and everything goes on when it is
/// back.
#[test]
fn hosts_wait_while_the_ring_is_full_and_go_on_when_the_secondary_is_back() {
    let mut cluster = Cluster::running(Shape::new(1, 32));
    let uri = cluster.uri(Place::Primary, 1);
    cluster.kill(Place::Secondary);
    let write = Program::new("qemu-io")
        .args(["-f", "raw", "-c", "write -P 7 0 32M", "-c", "flush", &uri])
        .limit(LIMIT);
    let mut writer = write.start(&cluster.folder().file("writer"));
    cluster.node(Place::Primary).wait("full", LIMIT, |group| group.lanes[0].ring.full);
    // What was under way still goes into the last space; then nothing moves.
    let mut before = None;
    wait_for("the journal should stand still", LIMIT, || {
        pause(Duration::from_secs(1));
        let now = cluster.group(Place::Primary).lanes[0].watermarks.journaled;
        std::mem::replace(&mut before, now).filter(|journaled| Some(*journaled) == now)
    });
    assert!(writer.ended().is_none(), "it should wait: {}", writer.err());
    assert!(cluster.group(Place::Primary).serving);
    let status = cluster.midspan(Place::Primary, &["status"]).well();
    assert!(status.contains("the ring is full"), "{status}");
    cluster.midspan(Place::Primary, &["status", "--check"]).with_code(6, &["full"]);
    // What was answered can be read meanwhile.
    super::qemu_io(&uri, &["read -P 7 0 64k"]);

    // A restart of the primary or the relay changes nothing.
    cluster.kill(Place::Relay);
    cluster.start(Place::Relay);
    cluster.node(Place::Primary).wait("full again", LIMIT, |group| {
        group.state == "paired" && group.lanes[0].connected && group.lanes[0].ring.full
    });
    assert!(writer.ended().is_none(), "it should wait: {}", writer.err());

    cluster.start(Place::Secondary);
    assert!(writer.wait(LIMIT).success(), "{}", writer.err());
    super::qemu_io(&uri, &["read -P 7 0 32M"]);
    cluster.wait_caught_up();
    cluster.node(Place::Primary).wait("not full", LIMIT, |group| !group.lanes[0].ring.full);
    cluster.kill(Place::Primary);
    cluster.take_over();
    super::qemu_io(&cluster.uri(Place::Secondary, 1), &["read -P 7 0 32M"]);
}

/// A primary that starts while the ring is full must be able to: it appends nothing before hosts do.
#[test]
fn a_primary_restarts_beside_a_full_ring() {
    let mut cluster = Cluster::running(Shape::new(1, 32));
    let uri = cluster.uri(Place::Primary, 1);
    cluster.kill(Place::Secondary);
    let write = Program::new("qemu-io").args(["-f", "raw", "-c", "write -P 7 0 32M", &uri]);
    let mut writer = write.start(&cluster.folder().file("writer"));
    cluster.node(Place::Primary).wait("full", LIMIT, |group| group.lanes[0].ring.full);
    cluster.kill(Place::Primary);
    assert!(!writer.wait(LIMIT).success(), "its connection is gone");
    cluster.start(Place::Primary);
    cluster.wait_serving(Place::Primary);
    super::qemu_io(&uri, &["read 0 32M"]);
    cluster.start(Place::Secondary);
    super::qemu_io(&uri, &["write -P 8 0 32M", "read -P 8 0 32M"]);
    cluster.wait_caught_up();
}

#[test]
fn a_secondary_whose_volume_is_too_small_says_so_and_stays_up() {
    let mut shape = Shape::new(1, 16);
    shape.secondary_bytes = 8 << 20;
    let mut cluster = Cluster::running(shape);
    let uri = cluster.uri(Place::Primary, 1);
    // What fits is followed.
    super::qemu_io(&uri, &["write -P 1 0 1M"]);
    cluster.wait_caught_up();
    super::qemu_io(&uri, &["write -P 2 12M 1M"]);
    let told = super::wait_event(&mut cluster, Place::Secondary, "disk_failed", &["volume 1"]);
    assert!(!told.hint.is_empty(), "{told:?}");
    let group = cluster.node(Place::Secondary).wait("damaged", LIMIT, |group| group.state == "damaged");
    assert_eq!(group.zero_loss, Some(false), "{group:?}");
    super::stays_up(&mut cluster, Place::Secondary);
    // Hosts at the primary are served as long as the ring has space.
    super::qemu_io(&uri, &["read -P 2 12M 1M", "write -P 3 0 1M"]);
    cluster.kill(Place::Primary);
    let said = cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes"]);
    said.with_code(4, &["disk of this site failed"]);
    super::stays_up(&mut cluster, Place::Secondary);
}
