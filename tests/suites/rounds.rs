//! How a round behaves: zeroes travel without data, an operator holds one that runs, its rate is kept, and hosts are served
//! beside it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use midspan::clock::Clock;
use midspan::hammer::random::Seeded;
use midspan_daemon::api::types::RoundStatus;

use rig::{Cluster, GROUP, LIMIT, Load, Place, Shape, pause, wait_for};

const MIB: u64 = 1 << 20;

/// A cluster that copies its volumes when it is first started; nothing is formatted yet. The secondary's disk holds garbage.
fn copying(mib: u64, site_keys: &str) -> Cluster {
    let cluster = Cluster::new(Shape::new(1, mib));
    for place in [Place::Primary, Place::Secondary] {
        cluster.write_config(place, |text| {
            text.replace("initial = \"equal\"\n", &format!("initial = \"copy\"\n{site_keys}"))
        });
    }
    fs::write(cluster.disk(Place::Secondary, 1), noise(mib * MIB, 1)).unwrap();
    cluster
}

fn noise(bytes: u64, seed: u64) -> Vec<u8> {
    let mut dice = Seeded::new(seed, 0);
    (0..bytes / 8).flat_map(|_| dice.next_word().to_le_bytes()).collect()
}

/// The round at the site that serves, while there is one.
fn round(cluster: &mut Cluster) -> Option<RoundStatus> {
    cluster.group(Place::Primary).round
}

#[test]
fn zeroes_travel_without_data() {
    let mut cluster = copying(64, "");
    // Some data, in the middle of nothing.
    let data = noise(MIB, 2);
    let disk = fs::OpenOptions::new().write(true).open(cluster.disk(Place::Primary, 1)).unwrap();
    for at in [0, 17 * MIB + 4096, 62 * MIB] {
        disk.write_all_at(&data, at).unwrap();
    }
    cluster.run();
    cluster.wait_paired();
    let sent = cluster.events(Place::Primary).into_iter().find(|event| event.kind == "round_sent").unwrap();
    assert!(sent.message.contains(&format!("all {} bytes are sent", 64 * MIB)), "{sent:?}");
    cluster.wait_no_lag(Place::Primary);
    let carried = cluster.group(Place::Relay).lanes[0].watermarks.journaled.unwrap();
    println!("{carried} bytes were carried for 64 MiB with 3 MiB of data");
    assert!((3 * MIB..8 * MIB).contains(&carried), "{carried} bytes were carried");
    cluster.compare(Place::Primary);
}

#[test]
fn a_round_that_runs_is_held_and_goes_on_keeps_its_rate_and_lets_hosts_write() {
    let rate = 6 * MIB;
    let mut cluster = copying(32, "round_rate = \"6MiB\"\n");
    fs::write(cluster.disk(Place::Primary, 1), noise(32 * MIB, 2)).unwrap();
    let clock = Clock::starting_at(0);
    cluster.run();
    let mut load = Load::gentle(&cluster);
    // What was sent was sent between the start and the moment after the answer.
    let kept = |cluster: &mut Cluster| {
        let sent = round(cluster)?.bytes_sent;
        let elapsed = u64::try_from(clock.elapsed().as_millis()).unwrap();
        assert!(sent <= rate * elapsed / 1000 + 2 * MIB, "{sent} bytes within {elapsed} ms");
        Some(sent)
    };
    wait_for("a round should send something", LIMIT, || kept(&mut cluster).filter(|sent| *sent > MIB));
    println!("{}", cluster.midspan(Place::Primary, &["pause", GROUP]).well());
    // What is on its way when it is held still counts.
    pause(Duration::from_millis(500));
    let held = round(&mut cluster).expect("a round that is held is there");
    assert!(held.paused && !held.sent && held.bytes_sent < held.bytes, "{held:?}");
    load.wait_for_answers();
    pause(Duration::from_secs(1));
    let still = round(&mut cluster).unwrap();
    assert_eq!(
        (still.bytes_sent, still.round),
        (held.bytes_sent, held.round),
        "nothing is sent while it is held"
    );
    println!("{}", cluster.midspan(Place::Primary, &["resume", GROUP]).well());
    let answered = load.handle().counts().answered;
    wait_for("hosts should be answered while the round goes on", LIMIT, || {
        let answered_more = load.handle().counts().answered > answered;
        let beside = round(&mut cluster).filter(|round| !round.sent)?;
        (answered_more && beside.round == held.round && beside.bytes_sent > held.bytes_sent).then_some(())
    });
    wait_for("the round should end", LIMIT, || kept(&mut cluster).is_none().then_some(()));
    load.stop();
    cluster.wait_paired();
    cluster.compare(Place::Primary);
}
