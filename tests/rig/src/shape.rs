//! How large everything in a cluster is, and the configs that say so.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::place::Place;

/// Ports are looked for from here on, below those that the system gives to outgoing connections: while a node is down, such
/// a connection could be given its port.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Sizes of a cluster. Rings are small by default, so that they wrap many times.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Volumes in the group.
    pub volumes: u16,
    /// Bytes of each volume.
    pub volume_bytes: u64,
    /// Bytes of each volume at the secondary.
    pub secondary_bytes: u64,
    /// MiB of each ring.
    pub ring_mib: u64,
    /// Where the group's journal may be, in the order of the lanes: a fourth node is there when it is one of them.
    pub lanes: &'static [Place],
    /// Further keys of the group at each node, a line each.
    pub keys: &'static str,
    /// Further keys of the group at each site, a line each.
    pub site_keys: &'static str,
    /// What `lease` says.
    pub lease: &'static str,
    /// Ports for hosts at the two sites.
    pub ports: [u16; 2],
    /// Where nodes listen for others, by place.
    pub addresses: [String; 4],
    /// The network namespaces of the nodes, by place, where each has its own.
    pub namespaces: Option<[String; 4]>,
}

impl Shape {
    /// One or more volumes of so many MiB, rings of 8 MiB.
    pub fn new(volumes: u16, mib: u64) -> Self {
        let [a, relay, b, alternate, hosts_a, hosts_b] = free_ports();
        Self {
            volumes,
            volume_bytes: mib << 20,
            secondary_bytes: mib << 20,
            ring_mib: 8,
            lanes: &[Place::Relay],
            keys: "",
            site_keys: "",
            lease: "500ms",
            ports: [hosts_a, hosts_b],
            addresses: [a, relay, b, alternate].map(|port| format!("127.0.0.1:{port}")),
            namespaces: None,
        }
    }

    /// The nodes, in the order in which they are started.
    pub fn places(&self) -> &'static [Place] {
        if self.lanes.contains(&Place::Alternate) { &Place::FOUR } else { &Place::ALL }
    }

    /// Whether the journal has more places than one.
    fn has_set(&self) -> bool {
        self.lanes.len() > 1
    }

    /// Bytes of a journal disk: ring, small areas, dirty map and fixed places; a site may hold a lane beside its own ring.
    pub fn journal_bytes(&self) -> u64 {
        let rings = if self.has_set() { 2 } else { 1 };
        (rings * (self.ring_mib + 8)) << 20
    }

    /// Bytes of a volume at a site.
    pub fn bytes_at(&self, place: Place) -> u64 {
        if place == Place::Secondary { self.secondary_bytes } else { self.volume_bytes }
    }

    /// Where hosts find a site by TCP.
    pub fn hosts_at(&self, place: Place) -> String {
        let port = if place == Place::Secondary { self.ports[1] } else { self.ports[0] };
        format!("127.0.0.1:{port}")
    }

    /// Where a node listens for others.
    pub fn address(&self, place: Place) -> String {
        self.addresses[place.index()].clone()
    }

    /// The config of a node.
    pub fn config(&self, place: Place, group: &str) -> String {
        let name = place.name();
        // Frames for another lane are kept in a site's memory.
        let memory = if self.has_set() && place.is_site() { 192 } else { 128 };
        let mut text = format!(
            "[node]\nid = {}\nname = \"{name}\"\nlisten = \"{}\"\napi = \"{name}.api\"\njournal = \"{name}.journal\"\n\
             cores = [{}]\nmemory = \"{memory}MiB\"\n",
            place.id(),
            self.address(place),
            core(place),
        );
        if self.namespaces.is_some() {
            text += "insecure = true\n";
        }
        for peer in self.places().iter().filter(|peer| **peer != place) {
            let (id, address) = (peer.id(), self.address(*peer));
            text += &format!("\n[[peer]]\nid = {id}\nname = \"{}\"\naddress = \"{address}\"\n", peer.name());
        }
        let lanes =
            self.lanes.iter().enumerate().map(|(id, at)| format!("{{ id = {id}, node = {} }}", at.id()));
        let lanes = lanes.collect::<Vec<_>>().join(", ");
        text += &format!(
            "\n[[group]]\nid = 1\nname = \"{group}\"\nrole = \"{}\"\ninitial = \"equal\"\nsites = [1, 3]\nlanes = [{lanes}]\n\
             lease = \"{}\"\nring = \"{}MiB\"\nmanifest = \"1MiB\"\nreceipt = \"1MiB\"\n",
            place.role(),
            self.lease,
            self.ring_mib
        );
        text += self.keys;
        if !place.is_site() {
            return text;
        }
        text += self.site_keys;
        for volume in 1..=self.volumes {
            text += &format!(
                "\n[[group.volume]]\nid = {volume}\nname = \"v{volume}\"\npath = \"{name}.v{volume}\"\n"
            );
        }
        text += &format!("\n[nbd]\nlisten = [\"unix:{name}.nbd\", \"{}\"]\n", self.hosts_at(place));
        for volume in 1..=self.volumes {
            text += &format!("\n[[export]]\nname = \"v{volume}\"\nvolume = \"{group}/v{volume}\"\n");
        }
        text
    }
}

/// The second of two relays has a core of its own, where the machine has one.
fn core(place: Place) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    usize::from(place == Place::Alternate && cores > 1)
}

/// Ports that nobody listens on now.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that start at the same time begin at different places.
    let first = u16::try_from(std::process::id() % 1900).unwrap() * 10;
    let mut ports = [0; N];
    let mut found = 0;
    while found < N {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < 10_000, "no free loopback port in {PORTS:?}");
        let port = PORTS.start + (first + step) % (PORTS.end - PORTS.start);
        let place = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(place).is_ok() && UdpSocket::bind(place).is_ok() {
            ports[found] = port;
            found += 1;
        }
    }
    ports
}
