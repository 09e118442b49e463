//! Damage on the relay's disk: found, said, never applied; and no takeover says "lost: 0" from it.

use std::fs;
use std::time::Duration;

use rig::{Cluster, GROUP, Journal, LIMIT, Place, Program, Shape, pause};

/// What is done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// A bit of a header, in the middle of what is not fetched yet.
    Header,
    /// A bit of the data, in the middle.
    Body,
    /// The second half of a frame in the middle is gone.
    Half,
    /// The last frames are gone, as if the disk had never written them.
    Tail,
}

/// A relay whose disk lies down damaged: the secondary lacks what was written last, all of it answered.
fn damaged(damage: Damage) -> Cluster {
    let mut cluster = Cluster::running(Shape::new(1, 16));
    let uri = cluster.uri(Place::Primary, 1);
    super::qemu_io(&uri, &["write -P 1 0 16M"]);
    let begin = cluster.wait_caught_up();
    cluster.kill(Place::Secondary);
    let writes: Vec<String> = (0..32).map(|number| format!("write -P 2 {}k 64k", number * 64)).collect();
    let writes: Vec<&str> = writes.iter().map(String::as_str).collect();
    super::qemu_io(&uri, &writes);
    cluster.kill(Place::Relay);
    let journal = Journal::read(&cluster.journal(Place::Relay));
    let fresh: Vec<_> = journal.frames().iter().filter(|frame| frame.position >= begin).collect();
    assert!(fresh.len() > 8, "{damage:?}: the test needs some frames: {}", fresh.len());
    let middle = fresh[fresh.len() / 2];
    match damage {
        Damage::Header => journal.flip(middle.offset + 40),
        Damage::Body => journal.flip(middle.offset + middle.length - 100),
        Damage::Half => journal.wipe(middle.offset + middle.length / 2 / 4096 * 4096, middle.length / 2),
        Damage::Tail => {
            for frame in &fresh[fresh.len() - 3..] {
                journal.wipe(frame.offset, frame.length);
            }
        }
    }
    cluster.start(Place::Relay);
    cluster
}

/// The primary is alive: nothing of the damage reaches the secondary's disk, whoever finds it says so, and hosts wait where
/// they cannot be served any more.
fn with_the_primary_alive(damage: Damage) {
    let mut cluster = damaged(damage);
    let uri = cluster.uri(Place::Primary, 1);
    cluster.start(Place::Secondary);
    if damage == Damage::Tail {
        // The relay held more once: it knows, and tells the primary.
        cluster.node(Place::Relay).wait("damaged", LIMIT, |group| group.state == "damaged");
        let told = super::wait_event(&mut cluster, Place::Primary, "lane_refused", &["relay", "damaged"]);
        assert!(!told.hint.is_empty(), "{told:?}");
    } else {
        // Found when it is fetched.
        super::wait_event(&mut cluster, Place::Secondary, "damaged", &["relay", "position", "not used"]);
        let group = cluster.node(Place::Secondary).wait("damaged", LIMIT, |group| group.state == "damaged");
        assert!(group.lanes[0].damaged_at.is_some() && group.zero_loss == Some(false), "{group:?}");
        cluster.midspan(Place::Secondary, &["status", "--check"]).with_code(6, &["damaged at position"]);
    }
    // Hosts never get an error: they are served, or wait.
    let words = ["-f", "raw", "-c", "read -P 2 0 2M", "-c", "read -P 1 2M 14M", "-c", "write -P 3 0 16M"];
    let mut writer = Program::new("qemu-io").args(words).arg(&uri).start(&cluster.folder().file("writer"));
    cluster
        .node(Place::Primary)
        .wait("waiting", LIMIT, |group| group.state == "stalled" || group.lanes[0].ring.full);
    pause(Duration::from_millis(500));
    assert!(writer.ended().is_none(), "hosts should wait: {}", writer.err());
    for place in Place::ALL {
        super::stays_up(&mut cluster, place);
    }
    // New bytes up to the damage at most, then old ones only.
    let bytes = fs::read(cluster.disk(Place::Secondary, 1)).unwrap();
    is_a_cut(&bytes);
}

/// First new bytes, then old ones: what was written in order is there in order.
fn is_a_cut(bytes: &[u8]) -> usize {
    let news = bytes.iter().take_while(|byte| **byte == 2).count();
    assert!(news < 2 << 20 && news % 4096 == 0, "{news} new bytes");
    assert!(bytes[news..].iter().all(|byte| *byte == 1), "after {news} new bytes all should be old");
    news
}

/// The primary is gone: the secondary refuses to say that nothing is lost, and serves what is whole when it is told to.
fn with_the_primary_lost(damage: Damage) {
    let mut cluster = damaged(damage);
    cluster.kill(Place::Primary);
    cluster.start(Place::Secondary);
    cluster.wait_role(Place::Secondary);
    let said = cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes"]);
    let text = said.with_code(4, &["answered writes may be missing"]);
    assert!(!text.contains("lost: 0"), "{text}");
    println!("{damage:?}: {text}");
    let group = cluster.group(Place::Secondary);
    assert!(!group.serving, "{group:?}");
    let said = cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes", "--accept-loss"]);
    let text = said.with_code(6, &["this site is primary"]);
    assert!(!text.contains("lost: 0"), "{text}");
    println!("{damage:?}: {text}");
    cluster.wait_serving(Place::Secondary);
    let content = cluster.folder().file("content");
    Program::new("nbdcopy").arg(cluster.uri(Place::Secondary, 1)).arg(&content).run().well();
    let bytes = fs::read(content).unwrap();
    assert!(is_a_cut(&bytes) > 0 || damage == Damage::Tail, "what lies before the damage is not lost");
}

#[test]
fn a_flipped_header_is_damage_for_a_primary() {
    with_the_primary_alive(Damage::Header);
}

#[test]
fn a_flipped_bit_of_data_is_damage_for_a_primary() {
    with_the_primary_alive(Damage::Body);
}

#[test]
fn half_a_frame_is_damage_for_a_primary() {
    with_the_primary_alive(Damage::Half);
}

#[test]
fn a_tail_that_is_gone_is_damage_for_a_primary() {
    with_the_primary_alive(Damage::Tail);
}

#[test]
fn a_flipped_header_lets_no_takeover_say_that_nothing_is_lost() {
    with_the_primary_lost(Damage::Header);
}

#[test]
fn a_flipped_bit_of_data_lets_no_takeover_say_that_nothing_is_lost() {
    with_the_primary_lost(Damage::Body);
}

#[test]
fn half_a_frame_lets_no_takeover_say_that_nothing_is_lost() {
    with_the_primary_lost(Damage::Half);
}

#[test]
fn a_tail_that_is_gone_lets_no_takeover_say_that_nothing_is_lost() {
    with_the_primary_lost(Damage::Tail);
}
