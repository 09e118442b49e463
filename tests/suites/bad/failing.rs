//! The rows "disk error" and "damaged frame" of the failure table: disks that answer EIO while their node runs, and a frame
//! that is damaged on the relay's disk.
//!
//! The disks are loop devices, which need root.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use midspan::nbd_client::{Client, NbdError};

use rig::{Cluster, Failing, Fails, GROUP, Journal, LIMIT, Load, Place, Shape, flip, may_mount, pause};

/// The kernel's word for what these disks answer.
const EIO: &str = "Input/output error";
/// Bytes of each write of [`Broken::write`].
const PIECE: usize = 64 << 10;

/// A cluster that runs, with one disk that fails on demand.
struct Broken {
    // The disk outlives the node that has it open.
    cluster: Cluster,
    disk: Failing,
    path: PathBuf,
}

impl Broken {
    /// `None` where this machine does not let us.
    fn new(shape: Shape, which: impl FnOnce(&Cluster) -> PathBuf) -> Option<Self> {
        if !may_mount() {
            return None;
        }
        let mut cluster = Cluster::new(shape);
        let path = which(&cluster);
        let disk = Failing::in_place_of(&path);
        cluster.run();
        cluster.wait_following();
        Some(Self { cluster, disk, path })
    }

    /// The node tells which disk failed, where, and with which error.
    fn tells(&mut self, place: Place, action: &str) {
        let path = self.path.to_str().unwrap();
        let told = super::wait_event(&mut self.cluster, place, "disk_failed", &[path, action, EIO]);
        let rest = told.message.split(action).nth(1).unwrap();
        let offset = rest.trim_start_matches(" at ").split(' ').next().unwrap();
        assert!(offset.parse::<u64>().is_ok() && !told.hint.is_empty(), "{told:?}");
    }

    /// Everything that was answered is at the other site when the primary dies.
    fn outlives_the_primary(&mut self, load: &mut Load) {
        self.cluster.kill(Place::Primary);
        load.handle().cut();
        println!("{}", self.cluster.take_over());
        load.verify(&self.cluster.uris(Place::Secondary));
    }

    fn wait_state(&mut self, place: Place, state: &str) {
        self.cluster.node(place).wait(state, LIMIT, |group| group.state == state);
    }
}

/// Rings that do not fill while something is away.
fn roomy() -> Shape {
    Shape { ring_mib: 64, ..Shape::new(1, 16) }
}

/// The secondary does not go on with a disk that lacks something, and does not take over with it. Hosts notice nothing.
#[test]
fn row_disk_error_of_the_secondarys_volume() {
    let Some(mut broken) = Broken::new(roomy(), |cluster| cluster.disk(Place::Secondary, 1)) else { return };
    let mut load = Load::gentle(&broken.cluster);
    broken.disk.fail(Fails::Writes);
    broken.tells(Place::Secondary, "writing");
    broken.wait_state(Place::Secondary, "damaged");
    let group = broken.cluster.group(Place::Secondary);
    assert_eq!(group.zero_loss, Some(false), "{group:?}");
    for how in ["--yes", "--accept-loss"] {
        let arguments = ["takeover", GROUP, "--yes", how];
        let arguments = if how == "--yes" { &arguments[..3] } else { &arguments[..] };
        broken.cluster.midspan(Place::Secondary, arguments).with_code(4, &["a disk of this site failed"]);
    }
    load.wait_for_answers();
    assert_eq!(load.handle().counts().disconnects, 0, "hosts should notice nothing");
    // A disk that works again has not got what it refused: it counts from a restart on only.
    broken.disk.heal();
    let applied =
        |cluster: &mut Cluster| cluster.group(Place::Secondary).lanes[0].watermarks.applied.unwrap();
    let before = applied(&mut broken.cluster);
    load.wait_for_answers();
    pause(Duration::from_millis(500));
    assert_eq!(applied(&mut broken.cluster), before);
    broken.cluster.kill(Place::Secondary);
    broken.cluster.start(Place::Secondary);
    broken.cluster.wait_paired();
    load.wait_for_answers();
    broken.outlives_the_primary(&mut load);
}

/// A host is told of what cannot be read, and is never given old bytes; what is answered is at the relay. The other site has
/// all of it.
#[test]
fn row_disk_error_of_the_primarys_volume() {
    let two_volumes = Shape { ring_mib: 64, ..Shape::new(2, 16) };
    let Some(mut broken) = Broken::new(two_volumes, |cluster| cluster.disk(Place::Primary, 1)) else {
        return;
    };
    let mut host = Client::connect(&broken.cluster.uri(Place::Primary, 1), LIMIT).unwrap();
    let mut well = Client::connect(&broken.cluster.uri(Place::Primary, 2), LIMIT).unwrap();
    well.write(0, &[5; PIECE], false).unwrap();
    let pieces = 16_u64;
    let at = |piece: u64| piece * PIECE as u64;
    for piece in 0..pieces {
        host.write(at(piece), &[1; PIECE], false).unwrap();
    }
    broken.cluster.wait_caught_up();
    let mut found = vec![0; PIECE];
    broken.disk.fail(Fails::Reads);
    let refused = host.read(0, &mut found).unwrap_err();
    assert!(matches!(refused, NbdError::Server { .. }), "{refused}");
    broken.tells(Place::Primary, "reading");
    host.write(at(pieces), &[1; PIECE], false).unwrap();
    broken.disk.heal();
    host.read(0, &mut found).unwrap();
    assert!(found == [1; PIECE]);
    // From here on the disk is older than what hosts were told.
    broken.disk.fail(Fails::Writes);
    let answered: Vec<bool> =
        (0..pieces).map(|piece| host.write(at(piece), &[2; PIECE], false).is_ok()).collect();
    assert!(answered[0], "the relay has it: {answered:?}");
    super::wait_event(&mut broken.cluster, Place::Primary, "disk_failed", &["volume 1 failed"]);
    broken.wait_state(Place::Primary, "damaged");
    broken.disk.heal();
    for piece in 0..=pieces {
        let refused = host.read(at(piece), &mut found).unwrap_err();
        assert!(matches!(refused, NbdError::Server { .. }), "told, not left waiting: {refused}");
    }
    // Nor is a part of a block put beside what it may hold wrongly.
    let refused = host.write(512, &[4; 512], false).unwrap_err();
    assert!(matches!(refused, NbdError::Server { .. }), "{refused}");
    // The other volume's disk has everything: it is read, and a part of a block is written to it, as before.
    well.read(0, &mut found).unwrap();
    assert!(found == [5; PIECE]);
    well.write(512, &[6; 512], false).unwrap();
    broken
        .cluster
        .midspan(Place::Primary, &["switchover", GROUP, "--yes"])
        .badly(&["a disk of this site failed"]);
    println!("{}", broken.cluster.take_over());
    let mut host = Client::connect(&broken.cluster.uri(Place::Secondary, 1), LIMIT).unwrap();
    for (piece, was_answered) in (0..).zip(&answered) {
        host.read(at(piece), &mut found).unwrap();
        let is_new = found == [2; PIECE];
        assert!(is_new || (!was_answered && found == [1; PIECE]), "piece {piece}: answered {was_answered}");
    }
    host.write(at(pieces), &[3; PIECE], false).unwrap();
    // The disk is back: its site follows, and gets what it lacks.
    broken.cluster.kill(Place::Primary);
    broken.cluster.start(Place::Primary);
    broken.cluster.wait_paired();
    broken.cluster.compare(Place::Secondary);
}

/// The relay does not go on with a disk that refused a frame; hosts wait, and what the relay had not confirmed comes from the
/// primary's memory.
#[test]
fn row_disk_error_of_the_relays_journal() {
    let Some(mut broken) = Broken::new(roomy(), |cluster| cluster.journal(Place::Relay)) else { return };
    let mut load = Load::gentle(&broken.cluster);
    broken.disk.fail(Fails::Writes);
    broken.tells(Place::Relay, "writing");
    super::wait_event(&mut broken.cluster, Place::Primary, "lane_refused", &["relay", "damaged"]);
    broken.wait_state(Place::Primary, "stalled");
    let before = load.handle().counts();
    broken.disk.heal();
    pause(Duration::from_secs(1));
    assert_eq!(load.handle().counts().answered, before.answered, "hosts wait");
    broken.cluster.kill(Place::Relay);
    broken.cluster.start(Place::Relay);
    load.wait_for_answers();
    assert_eq!(load.handle().counts().disconnects, before.disconnects, "hosts have at most waited");
    broken.cluster.wait_paired();
    broken.outlives_the_primary(&mut load);
}

/// The same where the group may leave its lanes: hosts go on, and a round brings the other site what it lacks.
#[test]
fn row_disk_error_of_the_relays_journal_is_repaired_by_a_round() {
    let shape = Shape { site_keys: "mode = \"max-availability\"\n", ..roomy() };
    let Some(mut broken) = Broken::new(shape, |cluster| cluster.journal(Place::Relay)) else { return };
    let mut load = Load::gentle(&broken.cluster);
    broken.disk.fail(Fails::Writes);
    broken.wait_state(Place::Primary, "degraded");
    load.wait_for_answers();
    let group = broken.cluster.group(Place::Secondary);
    assert_eq!(group.zero_loss, Some(false), "{group:?}");
    broken.disk.heal();
    broken.cluster.kill(Place::Relay);
    broken.cluster.start(Place::Relay);
    broken.cluster.wait_paired();
    load.wait_for_answers();
    broken.outlives_the_primary(&mut load);
}

/// What cannot be read at the relay is said, and lets no takeover say that nothing is lost; hosts go on. When it can be read
/// again the secondary follows by itself.
#[test]
fn row_disk_error_of_the_relays_journal_when_it_is_read() {
    let Some(mut broken) = Broken::new(roomy(), |cluster| cluster.journal(Place::Relay)) else { return };
    let mut load = Load::gentle(&broken.cluster);
    broken.cluster.kill(Place::Secondary);
    load.wait_for_answers();
    // It comes back without the frames in its memory.
    broken.cluster.kill(Place::Relay);
    broken.cluster.start(Place::Relay);
    load.wait_for_answers();
    broken.disk.fail(Fails::Reads);
    broken.cluster.start(Place::Secondary);
    broken.tells(Place::Relay, "reading");
    broken.wait_state(Place::Secondary, "damaged");
    let said = broken.cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes"]);
    said.badly(&["answered writes may be missing"]);
    load.wait_for_answers();
    assert_eq!(load.handle().counts().disconnects, 0, "hosts should notice nothing");
    broken.disk.heal();
    broken.cluster.wait_paired();
    load.wait_for_answers();
    broken.outlives_the_primary(&mut load);
}

/// A frame is there twice as long as the relay remembers it: the damaged copy on its disk is not used. After a restart of the
/// relay it is the only one, and found to be damaged: the tests of `bad::journal`.
#[test]
fn row_damaged_frame_comes_from_the_relays_memory() {
    let mut cluster = Cluster::running(Shape::new(1, 16));
    let uri = cluster.uri(Place::Primary, 1);
    super::qemu_io(&uri, &["write -P 1 0 4M"]);
    let begin = cluster.wait_caught_up();
    cluster.kill(Place::Secondary);
    let writes: Vec<String> = (0..32).map(|number| format!("write -P 2 {}k 64k", number * 64)).collect();
    super::qemu_io(&uri, &writes.iter().map(String::as_str).collect::<Vec<_>>());
    // Its places are found in a copy: the node has the disk itself open.
    let copy = cluster.folder().file("copy");
    let damage = |cluster: &Cluster| {
        fs::copy(cluster.journal(Place::Relay), &copy).unwrap();
        let journal = Journal::read(&copy);
        journal.frames().iter().filter(|frame| frame.position >= begin).copied().collect::<Vec<_>>()
    };
    let whole = damage(&cluster);
    assert!(whole.len() > 8, "the test needs some frames: {}", whole.len());
    let middle = whole[whole.len() / 2];
    flip(&cluster.journal(Place::Relay), middle.offset + middle.length - 100);
    cluster.start(Place::Secondary);
    cluster.wait_following();
    cluster.wait_caught_up();
    let events = cluster.events(Place::Secondary);
    assert!(events.iter().all(|event| event.kind != "damaged"), "{events:?}");
    cluster.compare(Place::Primary);
}
