//! The demo's folder: its nodes' configs, journal disks and volumes as files, on free loopback ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;
use crate::cli::volume;

/// Name of the demo's group.
pub const GROUP: &str = "demo";
/// Name of the demo's export at both sites.
pub const EXPORT: &str = "disk";
/// Size of the volume, bytes.
pub const VOLUME_BYTES: u64 = 64 << 20;
/// Size of each ring, bytes: small, so that it wraps while one watches.
const RING: &str = "64MiB";
/// Size of each journal disk, bytes: its ring, the small areas and superblocks.
const JOURNAL_BYTES: u64 = 96 << 20;
/// The same of a site that can hold a lane beside its own ring.
const BOTH_RINGS_BYTES: u64 = 192 << 20;

/// Which nodes there are, and how the group uses its lanes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The nodes, in the order in which they are started.
    pub places: &'static [Place],
    /// Those that may hold a lane.
    lanes: &'static [Place],
    /// More lines of the group, the same at every node.
    everywhere: &'static str,
    /// More lines of the group at its sites.
    at_sites: &'static str,
    /// Memory of a site.
    memory: &'static str,
}

impl Shape {
    /// One relay, one lane.
    pub const ONE: Self = Self {
        places: &[Place::Relay, Place::Secondary, Place::Primary],
        lanes: &[Place::Relay],
        everywhere: "",
        at_sites: "",
        memory: "128MiB",
    };
    /// Two relays, of which one holds the journal.
    pub const FAILOVER: Self = Self {
        places: &[Place::Relay, Place::Relay2, Place::Secondary, Place::Primary],
        lanes: &[Place::Relay, Place::Relay2],
        // As much as the ring holds: a lane that is lost is replaced from memory, however far the other site is behind.
        at_sites: "lane_set = \"failover\"\nresend = \"72MiB\"\n",
        memory: "320MiB",
        ..Self::ONE
    };
    /// Two relays, and each write in both.
    pub const MIRROR: Self =
        Self { at_sites: "lane_set = \"mirror\"\nresend = \"72MiB\"\n", ..Self::FAILOVER };
    /// Two relays that share the data.
    pub const STRIPE: Self =
        Self { at_sites: "lane_set = \"stripe\"\nresend = \"72MiB\"\n", ..Self::FAILOVER };
    /// Two relays, and the other site where neither is there.
    pub const DIRECT: Self = Self {
        lanes: &[Place::Relay, Place::Relay2, Place::Secondary, Place::Primary],
        everywhere: "direct = \"allow\"\n",
        memory: "256MiB",
        ..Self::FAILOVER
    };
    /// The primary's own disk.
    pub const LOCAL: Self = Self {
        places: &[Place::Secondary, Place::Primary],
        lanes: &[Place::Primary, Place::Secondary],
        everywhere: "mode = \"max-performance\"\n",
        at_sites: "resend = \"72MiB\"\n",
        memory: "256MiB",
    };
}

/// One of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The site that serves first.
    Primary,
    /// The journal's node.
    Relay,
    /// The site that takes over.
    Secondary,
    /// Another node for the journal.
    Relay2,
}

impl Place {
    const fn is_site(self) -> bool {
        match self {
            Place::Primary | Place::Secondary => true,
            Place::Relay | Place::Relay2 => false,
        }
    }

    /// Name of the node.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Primary => "site-a",
            Place::Relay => "relay",
            Place::Secondary => "site-b",
            Place::Relay2 => "relay-2",
        }
    }

    const fn id(self) -> u16 {
        match self {
            Place::Primary => 1,
            Place::Relay => 2,
            Place::Secondary => 3,
            Place::Relay2 => 4,
        }
    }

    const fn role(self) -> &'static str {
        match self {
            Place::Primary => "primary",
            Place::Relay | Place::Relay2 => "relay",
            Place::Secondary => "secondary",
        }
    }

    /// What `midspand --format` is told.
    pub const fn format(self) -> &'static str {
        if self.is_site() { "site" } else { "relay" }
    }
}

/// The folder and the ports.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    shape: Shape,
    ports: [u16; 4],
}

impl Layout {
    /// Makes the folder with disks and configs; nothing is formatted yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(parent: &Path, shape: Shape) -> Result<Self, Failure> {
        let folder = parent.join(format!("midspan-demo-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| Failure::io(folder.display(), &error))?;
        let layout = Self { folder, shape, ports: free_ports()? };
        for place in layout.places() {
            volume::create(&layout.file(place, "journal"), layout.journal_bytes(place), false, false)?;
            if place.is_site() {
                volume::create(&layout.file(place, "disk"), VOLUME_BYTES, false, false)?;
            }
            let path = layout.config(place);
            fs::write(&path, layout.text(place)).map_err(|error| Failure::io(path.display(), &error))?;
        }
        Ok(layout)
    }

    /// The nodes, in the order in which they are started.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        self.shape.places.iter().copied()
    }

    /// A node gets a new journal disk, on which nothing stands.
    ///
    /// # Errors
    /// What the file system says.
    pub fn wipe(&self, place: Place) -> Result<(), Failure> {
        volume::create(&self.file(place, "journal"), self.journal_bytes(place), true, false)
    }

    fn journal_bytes(&self, place: Place) -> u64 {
        let both = place.is_site() && self.shape.lanes.contains(&place);
        if both { BOTH_RINGS_BYTES } else { JOURNAL_BYTES }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A node's config.
    pub fn config(&self, place: Place) -> PathBuf {
        self.file(place, "toml")
    }

    /// A node's API socket.
    pub fn api(&self, place: Place) -> PathBuf {
        self.file(place, "api")
    }

    /// A node's log.
    pub fn log(&self, place: Place) -> PathBuf {
        self.file(place, "log")
    }

    /// Where a site's export is found.
    pub fn uri(&self, place: Place) -> String {
        format!("nbd+unix:///{EXPORT}?socket={}", self.file(place, "nbd").display())
    }

    fn file(&self, place: Place, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", place.name()))
    }

    fn address(&self, place: Place) -> SocketAddr {
        let [a, relay, b, relay_2] = self.ports;
        let port = match place {
            Place::Primary => a,
            Place::Relay => relay,
            Place::Secondary => b,
            Place::Relay2 => relay_2,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    fn text(&self, place: Place) -> String {
        let name = place.name();
        let mut text = format!(
            "# Node {name} of the demo.\n\n[node]\nid = {}\nname = \"{name}\"\nlisten = \"{}\"\napi = \"{name}.api\"\n\
             journal = \"{name}.journal\"\nmemory = \"{}\"\n",
            place.id(),
            self.address(place),
            if place.is_site() { self.shape.memory } else { Shape::ONE.memory }
        );
        for peer in self.places().filter(|peer| *peer != place) {
            let (id, peer_name, address) = (peer.id(), peer.name(), self.address(peer));
            text += &format!("\n[[peer]]\nid = {id}\nname = \"{peer_name}\"\naddress = \"{address}\"\n");
        }
        let lanes: Vec<String> = (self.shape.lanes.iter().enumerate())
            .map(|(id, lane)| format!("{{ id = {id}, node = {} }}", lane.id()))
            .collect();
        text += &format!(
            "\n[[group]]\nid = 1\nname = \"{GROUP}\"\nrole = \"{}\"\ninitial = \"equal\"\nsites = [{}, {}]\n\
             lanes = [{}]\nring = \"{RING}\"\nmanifest = \"8MiB\"\nreceipt = \"4MiB\"\n{}",
            place.role(),
            Place::Primary.id(),
            Place::Secondary.id(),
            lanes.join(", "),
            self.shape.everywhere
        );
        if place.is_site() {
            text += self.shape.at_sites;
            text += &format!(
                "\n[[group.volume]]\nid = 1\nname = \"disk\"\npath = \"{name}.disk\"\n\n[nbd]\n\
                 listen = [\"unix:{name}.nbd\"]\n\n[[export]]\nname = \"{EXPORT}\"\nvolume = \"{GROUP}/disk\"\n"
            );
        }
        text
    }
}

/// Ports that nobody listens on now.
fn free_ports() -> Result<[u16; 4], Failure> {
    let failed = |error: std::io::Error| Failure::other(format!("no free loopback port: {error}"));
    // All are held at once, so that they differ.
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed);
    let listeners = [listen()?, listen()?, listen()?, listen()?];
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr().map_err(failed)?.port();
    }
    Ok(ports)
}
