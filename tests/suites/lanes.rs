//! Lane sets with real processes (decision 0020): a second relay beside the first, lanes at the sites, and hosts that notice
//! nothing but a wait while the journal moves from lane to lane.

mod failover;
mod mirror;
mod stripe;
mod direct;
mod kind;
mod local;

use rig::{Cluster, GROUP, LIMIT, Load, MOMENT, Place, Scene, Shape, pause, wait_for};

/// Lanes at two relays.
const RELAYS: &[Place] = &[Place::Relay, Place::Alternate];
/// Lanes at two relays and both sites.
const EVERYWHERE: &[Place] = &[Place::Relay, Place::Alternate, Place::Secondary, Place::Primary];
const FAILOVER: &str = "lane_set = \"failover\"\nresend = \"64MiB\"\n";
const MIRROR: &str = "lane_set = \"mirror\"\nresend = \"64MiB\"\n";
const STRIPE: &str = "lane_set = \"stripe\"\nresend = \"64MiB\"\n";
const DIRECT: &str = "direct = \"allow\"\n";

/// Sizes that hosts do not fill while a node is away.
fn shape(lanes: &'static [Place], keys: &'static str, site_keys: &'static str) -> Shape {
    Shape { lanes, keys, site_keys, ring_mib: 64, ..Shape::new(1, 16) }
}

/// A cluster on loopback, under load.
struct Stage {
    // Hosts go before their nodes.
    load: Load,
    cluster: Cluster,
}

impl Stage {
    fn begin(shape: Shape) -> Self {
        let cluster = Cluster::running(shape);
        let load = Load::gentle(&cluster);
        Self { load, cluster }
    }

    /// Hosts have seen neither an error nor the end of a connection, and go on.
    fn hosts_notice_nothing(&self) {
        notice_nothing(&self.load);
    }

    /// Everything that hosts were told is at the site that serves.
    fn verify(&mut self, serves: Place) {
        self.load.verify(&self.cluster.uris(serves));
    }

    /// Nothing is written any more: both sites come to hold the same, also at their disks.
    fn both_hold_the_same(&mut self, serves: Place) {
        self.verify(serves);
        self.cluster.wait_paired();
        self.cluster.compare(serves);
    }

    /// The primary dies, the secondary takes over without loss, and hosts go on there.
    fn take_over(&mut self) {
        self.cluster.kill(Place::Primary);
        println!("{}", self.cluster.take_over());
        self.verify(Place::Secondary);
        self.load.resume(self.cluster.uris(Place::Secondary));
        self.load.wait_for_answers();
    }
}

/// Neither an error nor the end of a connection, and answers.
fn notice_nothing(load: &Load) {
    load.wait_for_answers();
    let counts = load.counts();
    assert_eq!((counts.errors, counts.disconnects), (0, 0), "hosts should at most wait: {counts:?}");
}

/// Waits until these lanes hold the journal, as the site that serves sees it, and all of them are connected.
fn wait_lanes(cluster: &mut Cluster, serves: Place, lanes: &[Place]) {
    let what = format!("with its journal in the lanes at {lanes:?}");
    cluster.node(serves).wait(&what, LIMIT, |group| {
        let same = group.lanes.len() == lanes.len()
            && lanes.iter().all(|place| group.lanes.iter().any(|lane| lane.node == place.name()));
        group.serving && same && group.lanes.iter().all(|lane| lane.connected)
    });
    wait_set(cluster, serves, lanes);
}

/// Waits until what was said last of the set is that these lanes, and no other, hold the journal.
fn wait_set(cluster: &Cluster, serves: Place, lanes: &[Place]) {
    let names = lanes.iter().map(|place| place.name()).collect::<Vec<_>>();
    wait_for(&format!("the set {names:?} should be told"), LIMIT, || {
        let told = cluster.events(serves).into_iter().rfind(|event| event.kind == "lane_set");
        match told {
            Some(event) if names.len() == 1 => {
                event.message.contains(&format!("at {}, and in no other", names[0])).then_some(())
            }
            Some(event) => {
                let all = names.iter().all(|name| event.message.contains(name));
                (all && event.message.contains("each write is in both")).then_some(())
            }
            // Nothing is said of the set with which a group begins.
            None => Some(()),
        }
    });
}

/// A relay's disk is a new one while its node is down.
fn wipe(cluster: &Cluster, place: Place) {
    std::fs::remove_file(cluster.journal(place)).unwrap();
    rig::create_disk(&cluster.journal(place), cluster.shape().journal_bytes());
    cluster.format(place).well();
}
