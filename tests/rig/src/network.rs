//! A network of namespaces: each node has one of its own with its own address, and any path between two of them can be cut.

use std::sync::atomic::{AtomicU32, Ordering};

use super::place::Place;
use super::program::{Program, Said};
use super::shape::Shape;

/// Distinguishes the networks of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A namespace for each node, on one bridge; gone when dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    places: &'static [Place],
}

/// Whether this machine lets us make network namespaces and filters; says why not, and fails where `CI=true`.
pub fn may_cut() -> bool {
    let Err(why) = can_cut() else { return true };
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must be able to run this: {why}");
    println!("not run: {why}");
    false
}

/// The same, with the reason where it does not.
pub fn can_cut() -> Result<(), String> {
    let trial = format!("midspan-trial-{}", std::process::id());
    let made = ip(&["netns", "add", &trial]);
    let filtered = Program::new("ip").args(["netns", "exec", &trial, "nft", "add", "table", "inet", "cuts"]);
    let possible = made.status.success() && filtered.run().status.success();
    if made.status.success() {
        ip(&["netns", "delete", &trial]).well();
    }
    if possible { Ok(()) } else { Err(format!("namespaces and filters need root, ip and nft: {made}")) }
}

impl Network {
    /// Makes it for three nodes, with all paths open.
    pub fn new() -> Self {
        Self::of(&Place::ALL)
    }

    /// The same for these nodes.
    pub fn of(places: &'static [Place]) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Self { name: format!("midspan-{}-{number}", std::process::id()), places };
        let bridge = network.namespace("bridge");
        ip(&["netns", "add", &bridge]).well();
        ip(&["-n", &bridge, "link", "add", "bridge", "type", "bridge"]).well();
        ip(&["-n", &bridge, "link", "set", "bridge", "up"]).well();
        for place in places.iter().copied() {
            let (own, port) = (network.namespace(place.name()), place.name());
            ip(&["netns", "add", &own]).well();
            let pair = ["link", "add", "path", "netns", &own, "type", "veth", "peer", "name", port, "netns"];
            Program::new("ip").args(pair).arg(&bridge).run().well();
            ip(&["-n", &bridge, "link", "set", port, "master", "bridge", "up"]).well();
            let address = format!("{}/24", host(place));
            ip(&["-n", &own, "address", "add", &address, "dev", "path"]).well();
            for link in ["lo", "path"] {
                ip(&["-n", &own, "link", "set", link, "up"]).well();
            }
            network.nft(place, "add table inet cuts");
            for hook in ["input", "output"] {
                network.nft(
                    place,
                    &format!("add chain inet cuts {hook} {{ type filter hook {hook} priority 0 ; }}"),
                );
            }
        }
        network
    }

    /// The same sizes, with nodes in this network.
    pub fn with(&self, mut shape: Shape) -> Shape {
        let by_place = [Place::Primary, Place::Relay, Place::Secondary, Place::Alternate];
        shape.addresses = by_place.map(|place| format!("{}:7000", host(place)));
        shape.namespaces = Some(by_place.map(|place| self.namespace(place.name())));
        shape
    }

    /// Nothing passes between these two any more: as behind a broken path, nobody is told.
    pub fn cut(&self, one: Place, other: Place) {
        for (here, there) in [(one, other), (other, one)] {
            self.nft(here, &rules(there));
        }
    }

    /// Nothing passes between these two, and everything between all others; no packet finds both paths open meanwhile.
    pub fn only_cut(&self, one: Place, other: Place) {
        for (here, there) in [(one, other), (other, one)] {
            self.nft(here, &format!("flush table inet cuts ; {}", rules(there)));
        }
        for place in self.places.iter().filter(|place| **place != one && **place != other) {
            self.nft(*place, "flush table inet cuts");
        }
    }

    /// Cuts a node off from all others.
    pub fn isolate(&self, place: Place) {
        for other in self.places.iter().filter(|other| **other != place) {
            self.cut(place, *other);
        }
    }

    /// All paths are open again.
    pub fn heal(&self) {
        for place in self.places {
            self.nft(*place, "flush table inet cuts");
        }
    }

    fn nft(&self, place: Place, command: &str) {
        let own = self.namespace(place.name());
        Program::new("ip").args(["netns", "exec", &own, "nft", command]).run().well();
    }

    fn namespace(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in self.places.iter().map(|place| place.name()).chain(["bridge"]) {
            let _ = ip(&["netns", "delete", &self.namespace(node)]);
        }
    }
}

fn ip(arguments: &[&str]) -> Said {
    Program::new("ip").args(arguments).run()
}

/// What drops everything from and to a node.
fn rules(there: Place) -> String {
    let address = host(there);
    format!(
        "add rule inet cuts input ip saddr {address} drop ; add rule inet cuts output ip daddr {address} drop"
    )
}

/// The address of a node.
fn host(place: Place) -> String {
    format!("10.77.0.{}", place.id())
}
