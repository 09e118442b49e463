//! The three nodes: configs, disks, processes; started in order, asked, and killed by their numbers at the end.

pub mod layout;
pub mod ports;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use midspan::clock::{Clock, Signal};

use crate::disks::Disks;
use crate::floor::exchange::Hop;
use crate::hold::Hold;
use crate::proc::Usage;
use crate::status::{Behind, Status};
use layout::Layout;
use ports::free_ports;

/// Sizes of the small areas.
const MANIFEST_BYTES: u64 = 16 << 20;
const RECEIPT_BYTES: u64 = 4 << 20;
/// What a journal disk has beside its areas.
const SUPERBLOCKS_BYTES: u64 = 32 << 20;
/// How long a node may take to come up.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Between two questions.
const POLL: Duration = Duration::from_millis(10);

/// One of the three nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The site that serves the host.
    Primary,
    /// The journal's node.
    Relay,
    /// The site that follows.
    Secondary,
}

impl Place {
    /// All of them, in the order in which they are started.
    pub const ALL: [Place; 3] = [Place::Relay, Place::Secondary, Place::Primary];

    /// Name of the node and of its role.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Primary => "primary",
            Place::Relay => "relay",
            Place::Secondary => "secondary",
        }
    }

    const fn id(self) -> u16 {
        match self {
            Place::Primary => 1,
            Place::Relay => 2,
            Place::Secondary => 3,
        }
    }
}

/// Which core each node has for its data path, and the load generator for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cores {
    /// The primary's.
    pub primary: usize,
    /// The relay's.
    pub relay: usize,
    /// The secondary's.
    pub secondary: usize,
    /// The load generator's.
    pub client: usize,
}

impl Cores {
    /// Each its own where there are enough. On two cores each node of the answer shares one with somebody else.
    ///
    /// # Errors
    /// When there is none.
    pub fn share_out(usable: &[usize]) -> Result<Self> {
        Ok(match *usable {
            [] => bail!("this process may use no core"),
            [core] => Self { primary: core, relay: core, secondary: core, client: core },
            [a, b] => Self { primary: a, relay: b, secondary: b, client: a },
            [a, b, c] => Self { primary: a, relay: b, secondary: b, client: c },
            [a, b, c, d, ..] => Self { primary: a, relay: b, secondary: c, client: d },
        })
    }

    fn of(self, place: Place) -> usize {
        match place {
            Place::Primary => self.primary,
            Place::Relay => self.relay,
            Place::Secondary => self.secondary,
        }
    }
}

/// `primary,relay,secondary,client`, for example `0,1,1,0`.
impl std::str::FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: Option<Vec<usize>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[primary, relay, secondary, client]) => Ok(Self { primary, relay, secondary, client }),
            Some(_) | None => Err("four core numbers are needed: primary,relay,secondary,client".to_owned()),
        }
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub midspand: PathBuf,
    /// How many groups, volumes and cores.
    pub layout: Layout,
    /// Size of each volume.
    pub volume_bytes: u64,
    /// Size of each ring.
    pub ring_bytes: u64,
    /// Buffer memory of each node.
    pub memory_bytes: u64,
    /// Who runs where.
    pub cores: Cores,
    /// How the host reaches the primary.
    pub host: Hop,
}

/// A running process; killed when dropped.
#[derive(Debug)]
struct Node {
    place: Place,
    child: Child,
    api: PathBuf,
    log: PathBuf,
}

/// The three running nodes.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    uris: Vec<String>,
    taker: String,
}

/// Where a node finds another: from the one that connects, the one that it connects to, and where that one listens.
pub type Route<'a> = dyn FnMut(Place, Place, SocketAddr) -> Result<SocketAddr> + 'a;

impl Cluster {
    /// Makes disks and configs, formats, starts, and waits until the primary serves and the secondary follows.
    ///
    /// # Errors
    /// What the file system or a node says, with the end of that node's log.
    pub fn start(plan: &Plan, disks: &mut Disks, progress: &dyn Fn(&str)) -> Result<Self> {
        Self::start_routed(plan, disks, &mut |_, _, address| Ok(address), progress)
    }

    /// As [`Cluster::start`], but each node finds the others where `route` says.
    ///
    /// # Errors
    /// As [`Cluster::start`], or what `route` says.
    pub fn start_routed(
        plan: &Plan,
        disks: &mut Disks,
        route: &mut Route<'_>,
        progress: &dyn Fn(&str),
    ) -> Result<Self> {
        progress("making disks");
        let ports = free_ports()?;
        for place in Place::ALL {
            let name = place.name();
            let areas_bytes = plan.ring_bytes + MANIFEST_BYTES + RECEIPT_BYTES;
            let journal_bytes = plan.layout.groups as u64 * areas_bytes + SUPERBLOCKS_BYTES;
            let journal = disks.add(&format!("{name}.journal"), journal_bytes)?;
            let mut volumes = Vec::new();
            if place != Place::Relay {
                for export in plan.layout.exports() {
                    volumes.push(disks.add(&format!("{name}.{export}"), plan.volume_bytes)?);
                }
            }
            let path = disks.folder().join(format!("{name}.toml"));
            let mut peers = Vec::new();
            for peer in Place::ALL.into_iter().filter(|peer| *peer != place) {
                peers.push((peer, route(place, peer, address(&ports, peer))?));
            }
            let text = config(plan, place, &ports, &peers, &journal, &volumes)?;
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        let [.., host_port] = ports;
        let uri = |export: String| match plan.host {
            Hop::Tcp => format!("nbd://127.0.0.1:{host_port}/{export}"),
            Hop::Unix => {
                format!("nbd+unix:///{export}?socket={}", disks.folder().join("primary.nbd").display())
            }
        };
        let uris = plan.layout.exports().into_iter().map(uri).collect();
        let socket = disks.folder().join("secondary.nbd");
        let taker = format!("nbd+unix:///{}?socket={}", layout::EXPORT, socket.display());
        let mut cluster = Self { nodes: Vec::new(), uris, taker };
        progress("starting three nodes");
        for place in Place::ALL {
            format(plan, disks.folder(), place)?;
            let node = Node::spawn(plan, disks.folder(), place)?;
            disks.guard(node.child.id())?;
            cluster.nodes.push(node);
        }
        for node in &mut cluster.nodes {
            match node.place {
                Place::Relay => node.wait("up", |_| true)?,
                Place::Primary => node.wait("serving", |status| status.serving)?,
                Place::Secondary => {
                    node.wait("following", |status| status.role == "secondary" && status.connected)?;
                }
            }
        }
        Ok(cluster)
    }

    /// Where the primary's exports are; there is one at least.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// Number of a node's process.
    pub fn pid(&self, place: Place) -> Option<u32> {
        self.nodes.iter().find(|node| node.place == place).map(|node| node.child.id())
    }

    /// Where the first export is.
    ///
    /// # Errors
    /// Never: there is one at least.
    pub fn uri(&self) -> Result<&str> {
        self.uris.first().map(String::as_str).context("no export")
    }

    /// Where the secondary's first export is once it has taken over.
    pub fn uri_after_takeover(&self) -> &str {
        &self.taker
    }

    /// Socket of a node's API.
    ///
    /// # Errors
    /// When the node has been killed.
    pub fn api(&self, place: Place) -> Result<&Path> {
        Ok(&self.node(place)?.api)
    }

    /// How a node stands.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, place: Place) -> Result<Status> {
        Status::of(self.api(place)?)
    }

    /// Stops a node in its tracks until the hold is dropped: its connections stay, and nothing comes from it.
    ///
    /// # Errors
    /// When the node has been killed, or does not stop.
    pub fn hold(&self, place: Place) -> Result<Hold> {
        Hold::of(self.node(place)?.child.id())
    }

    /// Kills a node (SIGKILL); it is gone when this returns.
    pub fn kill(&mut self, place: Place) {
        self.nodes.retain(|node| node.place != place);
    }

    fn node(&self, place: Place) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.place == place);
        found.with_context(|| format!("the {} has been killed", place.name()))
    }

    /// What each node has used so far, in the order of [`Place::ALL`].
    ///
    /// # Errors
    /// When a node has ended.
    pub fn usage(&mut self) -> Result<Vec<(Place, Usage)>> {
        self.nodes
            .iter_mut()
            .map(|node| match Usage::of(node.child.id()).filter(|_| node.is_running()) {
                Some(usage) => Ok((node.place, usage)),
                None => Err(node.failed("has ended")),
            })
            .collect()
    }

    /// How far the secondary is behind, as the primary knows it.
    ///
    /// # Errors
    /// When the primary does not answer.
    pub fn behind(&self) -> Result<Behind> {
        Ok(self.status(Place::Primary)?.behind)
    }

    /// Waits until the secondary has applied everything; the milliseconds that took, `None` if it was longer than `limit`.
    ///
    /// # Errors
    /// When the primary does not answer.
    pub fn wait_until_caught_up(&self, limit: Duration) -> Result<Option<f64>> {
        let clock = Clock::starting_at(0);
        loop {
            let behind = self.behind()?;
            if behind.applied_bytes == Some(0) {
                return Ok(Some(clock.elapsed().as_secs_f64() * 1e3));
            }
            if clock.elapsed() > limit {
                // At first nobody has told it yet.
                ensure!(
                    behind.applied_bytes.is_some(),
                    "the primary does not know how far the secondary is behind"
                );
                return Ok(None);
            }
            Signal::default().wait(POLL);
        }
    }

    /// The ends of all logs, for a failure that no node has told us about.
    pub fn logs(&self) -> String {
        self.nodes.iter().map(Node::log_end).collect()
    }
}

impl Node {
    fn spawn(plan: &Plan, folder: &Path, place: Place) -> Result<Self> {
        let log = folder.join(format!("{}.log", place.name()));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = midspand(plan, folder, place);
        // A group of its own: Ctrl-C ends this program, and what cleans up behind it ends the nodes.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| cannot_start(plan))?;
        Ok(Self { place, child, api: folder.join(format!("{}.api", place.name())), log })
    }

    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn wait(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<()> {
        let clock = Clock::starting_at(0);
        loop {
            if !self.is_running() {
                return Err(self.failed(&format!("has ended before it was {what}")));
            }
            if Status::of(&self.api).is_ok_and(|status| wanted(&status)) {
                return Ok(());
            }
            if clock.elapsed() > START_LIMIT {
                return Err(self.failed(&format!("was not {what} after {} s", START_LIMIT.as_secs())));
            }
            Signal::default().wait(POLL);
        }
    }

    fn failed(&self, message: &str) -> anyhow::Error {
        anyhow::anyhow!("the {} {message}; {}", self.place.name(), self.log_end())
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        let lines: String = lines.into_iter().rev().map(|line| format!("    {line}\n")).collect();
        format!("the log of the {} ends with:\n{lines}", self.place.name())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that nodes run: `MIDSPAND`, else what lies beside this one.
///
/// # Errors
/// When it is not there.
pub fn find_midspand() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MIDSPAND") {
        return Ok(PathBuf::from(path));
    }
    let beside = std::env::current_exe()?.with_file_name("midspand");
    ensure!(
        beside.is_file(),
        "{} is not there: `cargo build --release -p midspan-daemon` makes it, MIDSPAND names another place",
        beside.display()
    );
    Ok(beside)
}

fn cannot_start(plan: &Plan) -> String {
    format!("starting {}", plan.midspand.display())
}

fn midspand(plan: &Plan, folder: &Path, place: Place) -> Command {
    let mut command = Command::new(&plan.midspand);
    command.arg("--config").arg(folder.join(format!("{}.toml", place.name())));
    command
}

fn format(plan: &Plan, folder: &Path, place: Place) -> Result<()> {
    let kind = match place {
        Place::Relay => "relay",
        Place::Primary | Place::Secondary => "site",
    };
    let mut command = midspand(plan, folder, place);
    let output = command.args(["--format", kind]).output().with_context(|| cannot_start(plan))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "formatting the journal of the {} ended with {}: {}",
        place.name(),
        output.status,
        said.trim()
    );
    Ok(())
}

/// A node's config. Paths are absolute; ports are those of the three nodes and of the primary's hosts.
fn config(
    plan: &Plan,
    place: Place,
    ports: &[u16; 4],
    peers: &[(Place, SocketAddr)],
    journal: &Path,
    volumes: &[PathBuf],
) -> Result<String> {
    let [.., host] = *ports;
    let name = place.name();
    let mut text = format!(
        "[node]\nid = {}\nname = \"{name}\"\nlisten = \"{}\"\napi = \"{name}.api\"\njournal = \"{}\"\ncores = [{}]\n\
         memory = \"{}MiB\"\n",
        place.id(),
        address(ports, place),
        journal.display(),
        plan.layout.cores_text(plan.cores.of(place)),
        plan.memory_bytes >> 20,
    );
    for (peer, address) in peers {
        let (id, peer_name) = (peer.id(), peer.name());
        text += &format!("\n[[peer]]\nid = {id}\nname = \"{peer_name}\"\naddress = \"{address}\"\n");
    }
    // A relay does not choose.
    let mode = if place == Place::Relay { "" } else { plan.layout.mode_text() };
    let group = format!(
        "role = \"{name}\"\n{mode}initial = \"equal\"\nsites = [{}, {}]\nlanes = [{{ id = 0, node = {} }}]\n\
         ring = \"{}MiB\"\nmanifest = \"{}MiB\"\nreceipt = \"{}MiB\"\n",
        Place::Primary.id(),
        Place::Secondary.id(),
        Place::Relay.id(),
        plan.ring_bytes >> 20,
        MANIFEST_BYTES >> 20,
        RECEIPT_BYTES >> 20,
    );
    text += &plan.layout.groups_text(&group, volumes)?;
    if place != Place::Relay {
        // The secondary serves only once it has taken over.
        let listen = match (place, plan.host) {
            (Place::Primary, Hop::Tcp) => format!("127.0.0.1:{host}"),
            (Place::Primary | Place::Relay | Place::Secondary, _) => format!("unix:{name}.nbd"),
        };
        text += &format!("\n[nbd]\nlisten = [\"{listen}\"]\n");
        text += &plan.layout.exports_text();
    }
    Ok(text)
}

/// Where a node listens.
fn address(ports: &[u16; 4], place: Place) -> SocketAddr {
    let [primary, relay, secondary, _] = *ports;
    let port = match place {
        Place::Primary => primary,
        Place::Relay => relay,
        Place::Secondary => secondary,
    };
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(host: Hop) -> Plan {
        Plan {
            midspand: PathBuf::from("midspand"),
            layout: Layout::SINGLE,
            volume_bytes: 1 << 28,
            ring_bytes: 64 << 20,
            memory_bytes: 128 << 20,
            cores: Cores { primary: 0, relay: 1, secondary: 1, client: 0 },
            host,
        }
    }

    #[test]
    fn the_relay_has_no_volume_and_peers_are_found_where_the_route_says() {
        let disk = [PathBuf::from("/x/disk")];
        let ports = [7001, 7002, 7003, 7004];
        let detour = [(Place::Relay, SocketAddr::from((Ipv4Addr::LOCALHOST, 8002)))];
        let text = |host, place, volumes: &[PathBuf]| {
            config(&plan(host), place, &ports, &detour, Path::new("/x/j"), volumes).unwrap()
        };
        let primary = text(Hop::Tcp, Place::Primary, &disk);
        assert!(primary.contains("127.0.0.1:7004") && primary.contains("path = \"/x/disk\""));
        assert!(primary.contains("address = \"127.0.0.1:8002\"") && !primary.contains("7002"));
        let secondary = text(Hop::Tcp, Place::Secondary, &disk);
        assert!(!secondary.contains("7004") && secondary.contains("role = \"secondary\""));
        let relay = text(Hop::Unix, Place::Relay, &[]);
        assert!(
            !relay.contains("volume") && relay.contains("cores = [1]") && relay.contains("ring = \"64MiB\"")
        );
    }

    #[test]
    fn sites_say_when_the_lanes_may_be_left_and_the_relay_does_not() {
        let mut plan = plan(Hop::Tcp);
        let is_said = |plan: &Plan, place, volumes: &[PathBuf]| {
            let text = config(plan, place, &[7001, 7002, 7003, 7004], &[], Path::new("/x/j"), volumes);
            text.unwrap().contains("mode = \"max-availability\"")
        };
        let disk = [PathBuf::from("/x/disk")];
        assert!(!is_said(&plan, Place::Primary, &disk));
        plan.layout.mode = layout::Mode::Availability;
        assert!(is_said(&plan, Place::Primary, &disk) && is_said(&plan, Place::Secondary, &disk));
        assert!(!is_said(&plan, Place::Relay, &[]));
    }

    #[test]
    fn cores_are_shared_out_as_far_as_they_go() {
        assert!(Cores::share_out(&[]).is_err());
        let shared = Cores::share_out(&[4]).unwrap();
        assert_eq!(shared, Cores { primary: 4, relay: 4, secondary: 4, client: 4 });
        let own = Cores::share_out(&[2, 3, 5, 7, 9]).unwrap();
        assert_eq!(own, Cores { primary: 2, relay: 3, secondary: 5, client: 7 });
        let two = Cores::share_out(&[0, 1]).unwrap();
        assert_ne!(two.primary, two.relay);
    }

    #[test]
    fn cores_are_read_from_four_numbers() {
        assert_eq!("0, 1,2,3".parse(), Ok(Cores { primary: 0, relay: 1, secondary: 2, client: 3 }));
        assert!("0,1,2".parse::<Cores>().is_err() && "a,b,c,d".parse::<Cores>().is_err());
    }
}
