//! The demo's folder: three nodes' configs, journal disks and volumes as files, on free loopback ports.

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

/// One of the three nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The site that serves first.
    Primary,
    /// The journal's node.
    Relay,
    /// The site that takes over.
    Secondary,
}

impl Place {
    /// All of them, in the order in which they are started.
    pub const ALL: [Place; 3] = [Place::Relay, Place::Secondary, Place::Primary];

    /// Name of the node.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Primary => "site-a",
            Place::Relay => "relay",
            Place::Secondary => "site-b",
        }
    }

    const fn id(self) -> u16 {
        match self {
            Place::Primary => 1,
            Place::Relay => 2,
            Place::Secondary => 3,
        }
    }

    const fn role(self) -> &'static str {
        match self {
            Place::Primary => "primary",
            Place::Relay => "relay",
            Place::Secondary => "secondary",
        }
    }

    /// What `midspand --format` is told.
    pub const fn format(self) -> &'static str {
        match self {
            Place::Relay => "relay",
            Place::Primary | Place::Secondary => "site",
        }
    }
}

/// The folder and the ports.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    ports: [u16; 3],
}

impl Layout {
    /// Makes the folder with disks and configs; nothing is formatted yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(parent: &Path) -> Result<Self, Failure> {
        let folder = parent.join(format!("midspan-demo-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| Failure::io(folder.display(), &error))?;
        let layout = Self { folder, ports: free_ports()? };
        for place in Place::ALL {
            volume::create(&layout.file(place, "journal"), JOURNAL_BYTES, false, false)?;
            if place != Place::Relay {
                volume::create(&layout.file(place, "disk"), VOLUME_BYTES, false, false)?;
            }
            let path = layout.config(place);
            fs::write(&path, layout.text(place)).map_err(|error| Failure::io(path.display(), &error))?;
        }
        Ok(layout)
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
        let [a, relay, b] = self.ports;
        let port = match place {
            Place::Primary => a,
            Place::Relay => relay,
            Place::Secondary => b,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    fn text(&self, place: Place) -> String {
        let name = place.name();
        let mut text = format!(
            "# Node {name} of the demo.\n\n[node]\nid = {}\nname = \"{name}\"\nlisten = \"{}\"\napi = \"{name}.api\"\n\
             journal = \"{name}.journal\"\nmemory = \"128MiB\"\n",
            place.id(),
            self.address(place)
        );
        for peer in Place::ALL.into_iter().filter(|peer| *peer != place) {
            let (id, peer_name, address) = (peer.id(), peer.name(), self.address(peer));
            text += &format!("\n[[peer]]\nid = {id}\nname = \"{peer_name}\"\naddress = \"{address}\"\n");
        }
        text += &format!(
            "\n[[group]]\nid = 1\nname = \"{GROUP}\"\nrole = \"{}\"\ninitial = \"equal\"\nsites = [{}, {}]\n\
             lanes = [{{ id = 0, node = {} }}]\nring = \"{RING}\"\nmanifest = \"8MiB\"\nreceipt = \"4MiB\"\n",
            place.role(),
            Place::Primary.id(),
            Place::Secondary.id(),
            Place::Relay.id()
        );
        if place != Place::Relay {
            text += &format!(
                "\n[[group.volume]]\nid = 1\nname = \"disk\"\npath = \"{name}.disk\"\n\n[nbd]\n\
                 listen = [\"unix:{name}.nbd\"]\n\n[[export]]\nname = \"{EXPORT}\"\nvolume = \"{GROUP}/disk\"\n"
            );
        }
        text
    }
}

/// Three ports that nobody listens on now.
fn free_ports() -> Result<[u16; 3], Failure> {
    let failed = |error: std::io::Error| Failure::other(format!("no free loopback port: {error}"));
    // All are held at once, so that they differ.
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed);
    let listeners = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr().map_err(failed)?.port();
    }
    Ok(ports)
}
