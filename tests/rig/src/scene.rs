//! A cluster under load on a network whose paths can be cut.

use std::time::Duration;

use midspan_daemon::api::types::KeptManifests;

use super::cluster::{Cluster, GROUP};
use super::load::Load;
use super::network::{Network, may_cut};
use super::place::Place;
use super::shape::Shape;
use super::{LIMIT, pause, wait_for};

/// Long enough for a node to notice that another is away, and for hosts to notice that they wait.
pub const MOMENT: Duration = Duration::from_secs(1);

/// A cluster on a network of its own, under load.
#[derive(Debug)]
pub struct Scene {
    // Hosts go before their nodes, and nodes before their network.
    /// The hosts.
    pub load: Load,
    /// The nodes.
    pub cluster: Cluster,
    /// The paths.
    pub network: Network,
}

impl Scene {
    /// `None` where this machine does not let us.
    pub fn begin() -> Option<Self> {
        // Hosts must not fill the ring while the secondary is away.
        Self::with(Shape { ring_mib: 64, ..Shape::new(1, 16) })
    }

    /// The same with other sizes.
    pub fn with(shape: Shape) -> Option<Self> {
        if !may_cut() {
            return None;
        }
        let network = Network::of(shape.places());
        let cluster = Cluster::running(network.with(shape));
        let load = Load::gentle(&cluster);
        Some(Self { load, cluster, network })
    }

    /// Writes answered so far.
    pub fn answered(&self) -> u64 {
        self.load.handle().counts().answered
    }

    /// How many manifests the primary keeps.
    pub fn kept(&self) -> u64 {
        let said = self.cluster.midspan(Place::Primary, &["manifests", GROUP, "--output", "json"]).well();
        let kept: KeptManifests = serde_json::from_str(&said).unwrap();
        assert_eq!(kept.manifests.is_empty(), kept.kept == 0, "{said}");
        kept.kept
    }

    /// Hosts are answered while something is cut, and still so after a moment.
    pub fn hosts_go_on(&self) {
        self.load.wait_for_answers();
        pause(MOMENT);
        self.load.wait_for_answers();
    }

    /// Waits until a site is in a state.
    pub fn wait_state(&mut self, place: Place, state: &str) {
        self.cluster.node(place).wait(state, LIMIT, |group| group.state == state);
    }

    /// Waits until the primary knows that only the path to the other site is dead.
    pub fn wait_path_dead(&mut self) {
        wait_for("the path should be called dead, not the node", LIMIT, || {
            let status = self.cluster.status(Place::Primary);
            let peer = status.peers.into_iter().find(|peer| peer.node == Place::Secondary.name())?;
            assert_ne!(peer.verdict, "node dead", "{peer:?}");
            (peer.verdict == "path dead").then_some(())
        });
    }

    /// All paths are open again: both sites come to be paired by themselves, hosts have at most waited, and nothing is
    /// missing.
    pub fn heal(&mut self, disconnects: u64) {
        self.network.heal();
        self.cluster.wait_paired();
        self.load.wait_for_answers();
        assert_eq!(self.load.handle().counts().disconnects, disconnects, "hosts should at most wait");
        let verdict = self.load.verify(&self.cluster.uris(Place::Primary));
        println!("{} answered, lost: {}", verdict.answered, verdict.lost);
        self.cluster.wait_no_lag(Place::Primary);
    }

    /// The secondary takes over and has everything; hosts go on there.
    pub fn take_over(&mut self) {
        self.load.handle().cut();
        println!("{}", self.cluster.take_over());
        let there = self.cluster.uris(Place::Secondary);
        let verdict = self.load.verify(&there);
        println!("{} answered, lost: {}", verdict.answered, verdict.lost);
        self.load.resume(there);
        self.load.wait_for_answers();
    }
}
