//! SIGKILL at random instants to each role, and to several at once, under a workload of overlapping writes from several
//! connections; a verifier that knows every answered and every possibly answered write judges what is left.
//!
//! `MIDSPAN_SEED` repeats the choices of a run, `MIDSPAN_ROUNDS` asks for more rounds.

use std::time::Duration;

use midspan::clock::Clock;
use midspan::hammer::command::random_run_id;
use midspan::hammer::random::Seeded;
use midspan::hammer::{Config, Initial, OnDisconnect, SizeMix, Verdict};

use midspan_daemon::api::types::{OperationState, OperationStatus};
use rig::{Cluster, GROUP, LIMIT, Load, Place, Shape, pause, wait_for};

/// Rounds of the suite with one role, unless `MIDSPAN_ROUNDS` says otherwise.
const ROUNDS: u64 = 50;
/// Rounds with two roles or all three: every third of those with one.
const ROUNDS_SEVERAL: u64 = ROUNDS / 3;
/// Rounds between two verifications.
const VERIFY_EVERY: u64 = 5;
/// Times that somebody is killed during a takeover.
const KILLS_IN_TAKEOVER: u64 = 6;
/// Connections to each volume.
const CONNECTIONS: u32 = 3;

/// A cluster under load, with the record of everything that was written.
struct Ordeal {
    cluster: Cluster,
    dice: Seeded,
    load: Load,
    /// Where hosts are served.
    serves: Place,
    began: Clock,
}

impl Ordeal {
    /// Starts a cluster and the workload on it.
    fn begin(name: &str, shape: Shape, change: impl FnOnce(&mut Config)) -> Self {
        let seed =
            std::env::var("MIDSPAN_SEED").map_or_else(|_| random_run_id(), |text| text.parse().unwrap());
        println!("{name}: MIDSPAN_SEED={seed} repeats its choices");
        let cluster = Cluster::running(shape);
        let mut workload = Config {
            connections: CONNECTIONS,
            depth: 8,
            seed,
            hot_bytes: 2 << 20,
            hot_percent: 50,
            zero_percent: 3,
            trim_percent: 2,
            sizes: SizeMix::parse("4k:60,8k:10,16k:10,64k:10,256k:8,1m:2").unwrap(),
            on_disconnect: OnDisconnect::Reconnect { give_up_after: LIMIT },
            initial: Initial::Zeroes,
            ..Config::new(cluster.uris(Place::Primary))
        };
        change(&mut workload);
        let (load, dice) = (Load::start(workload), Seeded::new(seed, 0));
        Self { cluster, dice, load, serves: Place::Primary, began: Clock::starting_at(0) }
    }

    /// A time up to `ms` milliseconds.
    fn moment(&mut self, ms: u64) -> Duration {
        Duration::from_micros(self.dice.below(ms * 1000))
    }

    /// Kills these at one random instant, lets them lie for a while or not, and starts them again; one of them may be killed
    /// once more in the middle of its start.
    fn round(&mut self, places: &[Place]) {
        pause(self.moment(500));
        let disconnects = self.load.handle().counts().disconnects;
        for place in places {
            self.cluster.kill(*place);
        }
        for place in places {
            if self.dice.percent(50) {
                pause(self.moment(400));
            }
            self.cluster.start(*place);
            if self.dice.percent(20) {
                pause(self.moment(200));
                self.cluster.kill(*place);
                self.cluster.start(*place);
            }
        }
        self.load.wait_for_answers();
        if !places.contains(&self.serves) {
            let now = self.load.handle().counts().disconnects;
            assert_eq!(now, disconnects, "{places:?} was killed, and hosts should only wait");
        }
    }

    /// Stops the workload and judges everything where hosts are served.
    fn verify(&mut self) -> Verdict {
        self.load.verify(&self.cluster.uris(self.serves))
    }

    /// Goes on writing where hosts are served.
    fn resume(&mut self) {
        self.load.resume(self.cluster.uris(self.serves));
    }

    /// Rounds with the places that `choose` gives, verified at the primary every few rounds.
    fn rounds(&mut self, count: u64, mut choose: impl FnMut(u64, &mut Seeded) -> Vec<Place>) {
        for number in 1..=count {
            let places = choose(number, &mut self.dice);
            let began = Clock::starting_at(0);
            self.round(&places);
            println!(
                "{:6.1} s  round {number} of {count}: {places:?} in {} ms",
                self.began.elapsed().as_secs_f64(),
                began.elapsed().as_millis()
            );
            if number % VERIFY_EVERY == 0 || number == count {
                let verdict = self.verify();
                println!(
                    "          verified: {} answered, {} possibly, {} blocks",
                    verdict.answered, verdict.possibly_answered, verdict.checked_blocks
                );
                self.resume();
            }
        }
    }

    /// The last act: the primary is killed in full flow, the secondary takes over and has everything. Then it is killed, too,
    /// and still has everything; and the old primary comes back, answers nothing, and follows.
    fn takeover(&mut self) {
        self.load.wait_for_answers();
        let sealed = self.sealed();
        let ring = self.cluster.shape().ring_mib << 20;
        assert!(sealed > 4 * ring, "the ring should have wrapped many times: {sealed} of {ring}");
        self.cluster.kill(Place::Primary);
        self.load.handle().cut();
        println!("{}", self.cluster.take_over());
        self.serves = Place::Secondary;
        let verdict = self.verify();
        println!("at the other site: {} answered, lost: {}", verdict.answered, verdict.lost);
        assert!(verdict.answered > 1000, "{verdict:#?}");

        self.resume();
        self.cluster.start(Place::Primary);
        self.round(&[Place::Secondary]);
        self.verify();
        self.cluster.wait_follows(Place::Primary);
    }

    /// The primary is killed in full flow, and then the secondary, or the relay too, again and again while the secondary takes
    /// over. It is asked for once, and again only where it was refused because the relay was away.
    fn takeover_under_fire(&mut self, relay_too: bool) {
        self.load.wait_for_answers();
        self.cluster.kill(Place::Primary);
        self.load.handle().cut();
        self.ask(Place::Secondary, "takeover");
        for _ in 0..KILLS_IN_TAKEOVER {
            pause(self.moment(900));
            let place = if relay_too && self.dice.percent(30) { Place::Relay } else { Place::Secondary };
            self.cluster.kill(place);
            if self.dice.percent(50) {
                pause(self.moment(300));
            }
            self.cluster.start(place);
        }
        self.settle_takeover(relay_too);
        self.serves = Place::Secondary;
        let verdict = self.verify();
        println!("at the other site: {} answered, lost: {}", verdict.answered, verdict.lost);
        self.resume();
        self.load.wait_for_answers();
        self.verify();
    }

    /// Asks for something, and waits until the node has begun it: from then on nothing is forgotten.
    fn ask(&mut self, place: Place, what: &str) {
        let log = self.cluster.folder().file("asked");
        let asked = self.cluster.ask_midspan(place, &[what, GROUP, "--yes"]).start(&log);
        wait_for("it should begin", LIMIT, || {
            let newest = self.asked(place).pop()?;
            (newest.kind == what && newest.phase != "starting").then_some(())
        });
        drop(asked);
    }

    /// A change of roles is asked for once at the site that serves, which is killed at a random instant and started again. It
    /// ends by itself: the other site serves, or this one does and says why.
    fn switchover_under_fire(&mut self) {
        self.cluster.wait_paired();
        self.load.wait_for_answers();
        let from = self.serves;
        let to = if from == Place::Primary { Place::Secondary } else { Place::Primary };
        // As long as the other site stands still it has not everything: hosts wait when the kill comes.
        let in_the_drain = self.dice.percent(50);
        if in_the_drain {
            self.cluster.node(to).signal("STOP");
        }
        self.ask(from, "switchover");
        pause(self.moment(60));
        self.cluster.kill(from);
        self.load.handle().cut();
        self.cluster.start(from);
        if in_the_drain {
            pause(self.moment(1500));
            self.cluster.node(to).signal("CONT");
        }
        let ended = wait_for("a switchover should end", LIMIT, || {
            let newest = self.asked(from).pop()?;
            (newest.state != OperationState::Running).then_some(newest)
        });
        println!("in the drain: {in_the_drain}; {:?}: {}", ended.state, ended.message);
        let resumed =
            self.cluster.events(from).iter().filter(|event| event.kind == "operation_resumed").count();
        assert!(resumed > 0 || !in_the_drain, "the kill should have been in the middle of it");
        if ended.state == OperationState::Done {
            self.serves = to;
        }
        self.cluster.wait_serving(self.serves);
        let verdict = self.verify();
        println!("at {:?}: {} answered, lost: {}", self.serves, verdict.answered, verdict.lost);
        self.resume();
    }

    /// The primary is killed in full flow, and nobody asks for anything: the secondary takes over by itself and has everything.
    fn takeover_without_an_operator(&mut self) {
        self.load.wait_for_answers();
        self.cluster.kill(Place::Primary);
        self.load.handle().cut();
        self.cluster.wait_serving(Place::Secondary);
        self.serves = Place::Secondary;
        let verdict = self.verify();
        println!("at the other site: {} answered, lost: {}", verdict.answered, verdict.lost);
        let events = self.cluster.events(Place::Secondary);
        let of_kind = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
        assert_eq!((of_kind("takeover_automatic"), of_kind("takeover_done")), (1, 1), "{events:#?}");
        self.resume();
        self.load.wait_for_answers();
        self.verify();
    }

    /// The takeover goes on by itself, and ends. What was refused because the relay was away is asked for again; a possible
    /// loss is a failure.
    fn settle_takeover(&mut self, may_be_refused: bool) {
        wait_for("a takeover should end", LIMIT, || {
            let group = self.cluster.group(Place::Secondary);
            let newest = self.asked(Place::Secondary).pop()?;
            if newest.state == OperationState::Running {
                return None;
            }
            if newest.state == OperationState::Done {
                assert_eq!(
                    (newest.kind.as_str(), newest.message.as_str()),
                    ("takeover", "answered writes lost: 0")
                );
                return group.serving.then_some(());
            }
            assert!(may_be_refused && !newest.message.contains("may be missing"), "{newest:?}");
            println!("asked again after: {}", newest.message);
            let said = self.cluster.midspan(Place::Secondary, &["takeover", GROUP, "--yes"]);
            assert!(!said.err.contains("may be missing"), "{said}");
            None
        });
        let asked = self.asked(Place::Secondary);
        assert!(may_be_refused || asked.len() == 1, "{asked:#?}");
    }

    /// What was asked of a node, without the rounds that begin by themselves.
    fn asked(&mut self, place: Place) -> Vec<OperationStatus> {
        // One that has just been started answers in a moment.
        self.cluster.status(place);
        let mut asked = self.cluster.operations(place);
        asked.retain(|operation| operation.kind != "round");
        asked
    }

    fn sealed(&mut self) -> u64 {
        let group = self.cluster.group(Place::Primary);
        group.lanes[0].watermarks.sealed.expect("a primary knows what it has sealed")
    }
}

fn rounds_wanted(usual: u64) -> u64 {
    let asked = std::env::var("MIDSPAN_ROUNDS").ok().map(|text| text.parse::<u64>().unwrap());
    asked.map_or(usual, |asked| (asked * usual / ROUNDS).max(1))
}

/// Each role in turn, in an order that changes, so that each is hit equally often.
#[test]
fn one_role_killed_at_any_instant_loses_nothing_and_needs_no_operator() {
    let mut ordeal = Ordeal::begin("one role", Shape::new(2, 16), |workload| {
        // Partial blocks too; those at the ends of a trimmed range may stay as they are.
        workload.unit_bytes = 512;
        workload.trims_read_zero = false;
        workload.sizes = SizeMix::parse("512:15,1536:10,4k:40,4608:5,8k:5,16k:5,64k:10,256k:8,1m:2").unwrap();
    });
    let mut hand: Vec<Place> = Vec::new();
    ordeal.rounds(rounds_wanted(ROUNDS), |_, dice| {
        if hand.is_empty() {
            hand.extend(Place::ALL);
        }
        let count = u64::try_from(hand.len()).unwrap();
        vec![hand.remove(usize::try_from(dice.below(count)).unwrap())]
    });
    ordeal.takeover();
}

#[test]
fn several_roles_killed_at_the_same_instant_lose_nothing() {
    let mut ordeal = Ordeal::begin("several roles", Shape::new(1, 32), |_| {});
    ordeal.rounds(rounds_wanted(ROUNDS_SEVERAL), |number, dice| {
        let mut places = Place::ALL.to_vec();
        // Every fourth round all three.
        if number % 4 != 0 {
            places.remove(usize::try_from(dice.below(3)).unwrap());
        }
        let swap = usize::try_from(dice.below(2)).unwrap();
        places.swap(0, swap);
        places
    });
    ordeal.takeover();
}

#[test]
fn a_takeover_in_which_nodes_are_killed_ends_and_loses_nothing() {
    for _ in 0..rounds_wanted(2 * ROUNDS).div_ceil(ROUNDS) {
        let mut ordeal = Ordeal::begin("takeover", Shape::new(1, 16), |_| {});
        ordeal.rounds(2, |_, dice| vec![Place::ALL[usize::try_from(dice.below(3)).unwrap()]]);
        ordeal.takeover_under_fire(true);
    }
}

#[test]
fn a_takeover_whose_site_is_killed_again_and_again_is_asked_for_once() {
    let mut ordeal = Ordeal::begin("takeover asked once", Shape::new(1, 16), |_| {});
    ordeal.takeover_under_fire(false);
}

#[test]
fn a_switchover_whose_site_is_killed_ends_by_itself_and_loses_nothing() {
    let mut ordeal = Ordeal::begin("switchover", Shape::new(1, 16), |_| {});
    for _ in 0..rounds_wanted(ROUNDS / 10) {
        ordeal.switchover_under_fire();
    }
}

#[test]
fn a_primary_killed_where_takeovers_are_automatic_needs_no_operator_and_loses_nothing() {
    let site_keys = "takeover = \"automatic\"\ntakeover_after = \"4s\"\n";
    let mut ordeal = Ordeal::begin("automatic", Shape { site_keys, ..Shape::new(1, 16) }, |_| {});
    // Restarts within that time depose nobody.
    ordeal.rounds(3, |number, _| vec![Place::ALL[usize::try_from(number % 3).unwrap()]]);
    assert!(ordeal.cluster.group(Place::Primary).serving);
    ordeal.takeover_without_an_operator();
}
