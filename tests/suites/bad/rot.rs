//! Journal disks on which something has changed while the nodes were down: anywhere, wiped, or set back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use midspan::clock::Clock;
use midspan::hammer::command::random_run_id;
use midspan::hammer::random::Seeded;
use midspan_daemon::api::types::Role;

use rig::{Cluster, GROUP, LIMIT, Place, Program, Shape, flip, pause, same_content, wait_for};

/// Rounds with flipped bits.
const ROUNDS: u64 = 12;
/// How long a node may take to serve before it counts as one that does not.
const PATIENCE: Duration = Duration::from_secs(4);
const BLOCK: usize = 4096;

/// A cluster that was killed as a whole: the secondary lacks what was written last. With the content that hosts have seen.
fn at_rest() -> (Cluster, PathBuf) {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    let uri = cluster.uri(Place::Primary, 1);
    super::qemu_io(&uri, &["write -P 1 0 8M"]);
    cluster.wait_caught_up();
    cluster.kill(Place::Secondary);
    super::qemu_io(&uri, &["write -P 2 0 1M", "write -P 3 512k 1M", "write -P 4 3M 300k", "flush"]);
    let content = cluster.folder().file("content");
    Program::new("nbdcopy").arg(&uri).arg(&content).run().well();
    cluster.kill(Place::Primary);
    cluster.kill(Place::Relay);
    (cluster, content)
}

fn all_disks(cluster: &Cluster) -> Vec<PathBuf> {
    let disks = |place: Place| {
        let volume = place.is_site().then(|| cluster.disk(place, 1));
        std::iter::once(cluster.journal(place)).chain(volume)
    };
    Place::ALL.into_iter().flat_map(disks).collect()
}

fn kept(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.kept", path.display()))
}

/// Flips bits where there is something, with preference for the fixed places at the beginning; says where.
fn harm(path: &Path, dice: &mut Seeded) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let used: Vec<usize> = (0..bytes.len() / BLOCK)
        .filter(|block| bytes[block * BLOCK..][..BLOCK].iter().any(|byte| *byte != 0))
        .collect();
    let fixed = used.iter().take_while(|block| **block < 256).count();
    let count = dice.below(3) + 1;
    let mut one = || {
        let range = if dice.percent(40) { fixed } else { used.len() };
        let block = used[usize::try_from(dice.below(range as u64)).unwrap()];
        // Headers stand at the beginning of a block.
        let within = if dice.percent(50) { dice.below(256) } else { dice.below(BLOCK as u64) };
        (block * BLOCK) as u64 + within
    };
    let places: Vec<u64> = (0..count).map(|_| one()).collect();
    places.iter().for_each(|offset| flip(path, *offset));
    places
}

/// Starts a node on a disk that may be damaged: it refuses with a sentence that names the disk, or runs.
fn try_start(cluster: &mut Cluster, place: Place) -> bool {
    cluster.start(place);
    let clock = Clock::starting_at(0);
    let mut ended: Option<ExitStatus> = None;
    while ended.is_none() && clock.elapsed() < LIMIT {
        if cluster.node(place).status().is_some() {
            return true;
        }
        ended = cluster.node(place).ended();
    }
    let status = ended.expect("a node that neither ends nor answers");
    assert!(status.code().is_some_and(|code| code == 1 || code == 4), "{}: {status}", place.name());
    let log = cluster.log(place);
    let disk = cluster.journal(place);
    assert!(log.lines().any(|line| line.contains(disk.to_str().unwrap())), "{}: {log}", place.name());
    assert!(!cluster.bury(place));
    false
}

/// Whether a site comes to serve hosts within our patience.
fn serves(cluster: &mut Cluster, place: Place) -> bool {
    let clock = Clock::starting_at(0);
    while clock.elapsed() < PATIENCE {
        let group = cluster.group(place);
        if group.role == Role::Primary && group.serving && group.state != "starting" {
            return true;
        }
        pause(Duration::from_millis(50));
    }
    false
}

/// Whatever a site serves is what hosts have seen.
fn is_right(cluster: &Cluster, place: Place, content: &Path) {
    let found = cluster.folder().file("found");
    Program::new("nbdcopy").arg(cluster.uri(place, 1)).arg(&found).run().well();
    same_content(content, &found);
    fs::remove_file(found).unwrap();
}

/// Bits flip on one node's journal disk, anywhere. Nobody panics; a node refuses by name or comes up; what the primary serves,
/// and what a takeover calls complete, is complete.
#[test]
fn flipped_bits_on_a_journal_disk_never_pass_for_data() {
    let (mut cluster, content) = at_rest();
    for disk in all_disks(&cluster) {
        fs::copy(&disk, kept(&disk)).unwrap();
    }
    let seed = std::env::var("MIDSPAN_SEED").map_or_else(|_| random_run_id(), |text| text.parse().unwrap());
    println!("MIDSPAN_SEED={seed} repeats the places");
    let mut dice = Seeded::new(seed, 0);
    let rounds = std::env::var("MIDSPAN_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    for round in 0..rounds {
        for disk in all_disks(&cluster) {
            fs::copy(kept(&disk), &disk).unwrap();
        }
        let victim = Place::ALL[usize::try_from(round % 3).unwrap()];
        let places = harm(&cluster.journal(victim), &mut dice);
        let up = Place::ALL.map(|place| (place, try_start(&mut cluster, place)));
        let is_up = |place| up.contains(&(place, true));
        let primary = is_up(Place::Primary) && serves(&mut cluster, Place::Primary);
        if primary {
            is_right(&cluster, Place::Primary, &content);
        }
        if is_up(Place::Primary) {
            cluster.kill(Place::Primary);
        }
        let mut said = "not asked".to_owned();
        if is_up(Place::Secondary) {
            cluster.wait_role(Place::Secondary);
            let takeover = cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes", "--wait", "30"]);
            said = format!("{}{}", takeover.out, takeover.err);
            assert_eq!(takeover.status.success(), takeover.out.contains("lost: 0"), "{takeover}");
            if takeover.status.success() {
                cluster.wait_serving(Place::Secondary);
                is_right(&cluster, Place::Secondary, &content);
            }
        }
        println!(
            "round {round}: {} flipped at {places:?}: up {up:?}, primary serves: {primary}, takeover: {}",
            victim.name(),
            said.lines().last().unwrap_or_default()
        );
        for place in [Place::Secondary, Place::Relay].into_iter().filter(|place| is_up(*place)) {
            assert!(
                cluster.node(place).ended().is_none(),
                "{} has ended: {}",
                place.name(),
                cluster.log(place)
            );
            cluster.kill(place);
        }
    }
}

/// A relay that was formatted anew is a lost lane, not an empty one: its areas have other ids.
#[test]
fn row_area_wiped() {
    let (mut cluster, content) = at_rest();
    let config = cluster.config(Place::Relay);
    let format = Program::new(rig::midspan()).args(["relay", "format", "--force", "--config"]);
    format.arg(config).run().well();
    for place in Place::ALL {
        cluster.start(place);
    }
    let told = wait_for("the primary should say what is wrong with its lane", LIMIT, || {
        cluster.node(Place::Primary).status()?;
        let events = cluster.events(Place::Primary);
        events.into_iter().find(|event| event.kind == "lane_lost" || event.kind == "lane_refused")
    });
    assert!(told.message.contains("relay") && !told.hint.is_empty(), "{told:?}");
    assert!(!serves(&mut cluster, Place::Primary), "a primary without its journal serves nothing");
    super::stays_up(&mut cluster, Place::Primary);
    cluster.kill(Place::Primary);
    let said = cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes", "--wait", "30"]);
    assert!(!said.status.success() && !said.out.contains("lost: 0"), "{said}");
    println!("{said}");
    super::stays_up(&mut cluster, Place::Secondary);
    // The primary's own disk has everything, whoever comes to use it.
    same_content(&content, &cluster.disk(Place::Primary, 1));
}

/// A relay that comes back with less than it once acknowledged is a lost lane for a primary that remembers.
#[test]
fn a_relay_set_back_to_an_older_state_is_a_lost_lane() {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    let uri = cluster.uri(Place::Primary, 1);
    super::qemu_io(&uri, &["write -P 1 0 1M"]);
    cluster.wait_caught_up();
    cluster.kill(Place::Relay);
    let (journal, old) = (cluster.journal(Place::Relay), cluster.folder().file("old"));
    fs::copy(&journal, &old).unwrap();
    cluster.start(Place::Relay);
    super::qemu_io(&uri, &["write -P 2 0 1M", "write -P 3 1M 1M"]);
    cluster.wait_caught_up();
    cluster.kill(Place::Relay);
    fs::copy(&old, &journal).unwrap();
    cluster.start(Place::Relay);
    // It is told as lost, or as damaged where the copy was taken while the killed relay's last writes still landed.
    let group = cluster.node(Place::Primary).wait("stalled", LIMIT, |group| group.state != "paired");
    println!("primary: {} {}", group.state, group.meaning);
    super::stays_up(&mut cluster, Place::Primary);
    // The secondary has more than the lane: it cannot say what else is missing.
    cluster.kill(Place::Primary);
    let said = cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes", "--wait", "30"]);
    assert!(!said.status.success() && !said.out.contains("lost: 0"), "{said}");
    println!("{said}");
}

/// The relay keeps each permit twice: with one of them gone, it still knows that the former primary was fenced.
fn a_fence_outlives_damage(slot: u64) {
    let mut cluster = Cluster::running(Shape::new(1, 8));
    super::qemu_io(&cluster.uri(Place::Primary, 1), &["write -P 1 0 1M"]);
    cluster.kill(Place::Primary);
    cluster.take_over();
    super::qemu_io(&cluster.uri(Place::Secondary, 1), &["write -P 2 0 1M"]);
    let journal = cluster.journal(Place::Relay);
    cluster.kill(Place::Relay);
    flip(&journal, midspan_format::superblock::permit_offset(0, slot) + 100);
    cluster.start(Place::Relay);
    cluster.status(Place::Relay);
    cluster.start(Place::Primary);
    cluster.wait_follows(Place::Primary);
    let refused = Program::new("qemu-io").args(["-f", "raw", "-c", "read 0 4k"]);
    refused.arg(cluster.uri(Place::Primary, 1)).run().badly(&["v1"]);
}

#[test]
fn a_fence_outlives_damage_of_the_permits_first_copy() {
    a_fence_outlives_damage(0);
}

#[test]
fn a_fence_outlives_damage_of_the_permits_second_copy() {
    a_fence_outlives_damage(1);
}
