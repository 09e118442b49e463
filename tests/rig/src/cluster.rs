//! Three nodes or four on loopback, with everything that a test does to them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use midspan_daemon::api::types::{Event, GroupStatus, NodeStatus, OperationStatus, Role};

use super::folder::{Folder, create_disk, same_content};
use super::node::Node;
use super::place::Place;
use super::program::{Program, Said, midspan};
use super::shape::Shape;
use super::{LIMIT, pause, wait_for};

/// Name of the group.
pub const GROUP: &str = "vault";
/// Longer than the time between two measurements of a node.
const SETTLED: Duration = Duration::from_millis(400);
/// Lines of each log that a failing test shows.
const TAIL: usize = 15;
/// One cluster at a time, also where the tests of this program run in threads.
static TURN: Mutex<()> = Mutex::new(());

/// Primary, relay and secondary, and a second relay where the shape asks for it, with disks as files. Dropping it kills the nodes and removes the files.
#[derive(Debug)]
pub struct Cluster {
    // Nodes go before their folder.
    nodes: [Option<Node>; 4],
    shape: Shape,
    folder: Folder,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Makes disks and configs; nothing is formatted or started yet.
    pub fn new(shape: Shape) -> Self {
        Self::within(Folder::new(), shape)
    }

    /// The same in a folder that was made for it.
    pub fn within(folder: Folder, shape: Shape) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Self { nodes: [const { None }; 4], shape, folder, _turn: turn };
        for place in cluster.shape.places().iter().copied() {
            create_disk(&cluster.journal(place), cluster.shape.journal_bytes());
            for volume in (1..=cluster.shape.volumes).filter(|_| place.is_site()) {
                create_disk(&cluster.disk(place, volume), cluster.shape.bytes_at(place));
            }
            cluster.write_config(place, |text| text);
        }
        cluster
    }

    /// A cluster whose nodes run: the primary serves, the secondary follows.
    pub fn running(shape: Shape) -> Self {
        let mut cluster = Self::new(shape);
        cluster.run();
        cluster.wait_following();
        cluster
    }

    /// Formats and starts all nodes; the primary serves then.
    pub fn run(&mut self) {
        for place in self.shape.places().iter().copied() {
            self.format(place).well();
            self.start(place);
        }
        if self.shape.places().contains(&Place::Alternate) {
            // Nobody else would notice that it has not come up.
            self.status(Place::Alternate);
        }
        self.wait_serving(Place::Primary);
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its sizes and addresses.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Path of a node's config.
    pub fn config(&self, place: Place) -> PathBuf {
        self.named(place, "toml")
    }

    /// Writes a node's config, after a change.
    pub fn write_config(&self, place: Place, change: impl FnOnce(String) -> String) {
        let path = self.config(place);
        let text = change(self.shape.config(place, GROUP));
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Path of a node's journal disk.
    pub fn journal(&self, place: Place) -> PathBuf {
        self.named(place, "journal")
    }

    /// Path of a volume at a site.
    pub fn disk(&self, place: Place, volume: u16) -> PathBuf {
        self.named(place, &format!("v{volume}"))
    }

    /// Path of a site's NBD socket.
    pub fn socket(&self, place: Place) -> PathBuf {
        self.named(place, "nbd")
    }

    fn named(&self, place: Place, ending: &str) -> PathBuf {
        self.folder.file(&format!("{}.{ending}", place.name()))
    }

    /// A volume's export at a site, by unix socket.
    pub fn uri(&self, place: Place, volume: u16) -> String {
        format!("nbd+unix:///v{volume}?socket={}", self.socket(place).display())
    }

    /// A volume's export at a site, by TCP.
    pub fn tcp_uri(&self, place: Place, volume: u16) -> String {
        format!("nbd://{}/v{volume}", self.shape.hosts_at(place))
    }

    /// All volumes' exports at a site, by unix socket.
    pub fn uris(&self, place: Place) -> Vec<String> {
        (1..=self.shape.volumes).map(|volume| self.uri(place, volume)).collect()
    }

    /// Formats a node's journal disk.
    pub fn format(&self, place: Place) -> Said {
        Program::new(midspan()).args([place.kind(), "format", "--config"]).arg(self.config(place)).run()
    }

    /// Formats a node's journal disk although there is something on it.
    pub fn format_anew(&self, place: Place) -> Said {
        Program::new(midspan())
            .args([place.kind(), "format", "--force", "--config"])
            .arg(self.config(place))
            .run()
    }

    /// Starts a node; it is not ready yet.
    pub fn start(&mut self, place: Place) {
        assert!(self.nodes[place.index()].is_none(), "{} runs already", place.name());
        let namespaces = self.shape.namespaces.as_ref();
        let node = Node::start(
            place.name(),
            namespaces.map(|names| names[place.index()].as_str()),
            &self.config(place),
            &self.named(place, "api"),
            &self.named(place, "log"),
        );
        self.nodes[place.index()] = Some(node);
    }

    /// A node that runs.
    pub fn node(&mut self, place: Place) -> &mut Node {
        self.nodes[place.index()].as_mut().unwrap_or_else(|| panic!("{} does not run", place.name()))
    }

    /// Ends a node by SIGKILL.
    pub fn kill(&mut self, place: Place) {
        self.node(place).kill();
        self.nodes[place.index()] = None;
    }

    /// Forgets a node that should have ended by itself; says whether it ended well.
    pub fn bury(&mut self, place: Place) -> bool {
        let status = self.node(place).wait_ended(LIMIT);
        self.nodes[place.index()] = None;
        status.success()
    }

    /// `midspan …` for a node: its socket is added.
    pub fn ask_midspan(&self, place: Place, arguments: &[&str]) -> Program {
        let program = Program::new(midspan()).args(arguments).arg("--socket").arg(self.named(place, "api"));
        program.limit(LIMIT * 2)
    }

    /// The same, run to its end.
    pub fn midspan(&self, place: Place, arguments: &[&str]) -> Said {
        self.ask_midspan(place, arguments).run()
    }

    /// The status of a node that answers.
    pub fn status(&mut self, place: Place) -> NodeStatus {
        let node = self.node(place);
        wait_for("a node should say how it stands", LIMIT, || node.status())
    }

    /// The group as a node sees it.
    pub fn group(&mut self, place: Place) -> GroupStatus {
        let found = self.status(place).groups.into_iter().next();
        found.unwrap_or_else(|| panic!("{} shows no group", place.name()))
    }

    /// What has happened at a node.
    pub fn events(&self, place: Place) -> Vec<Event> {
        let said = self.get(place, "events");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// What was asked of a node, oldest first.
    pub fn operations(&self, place: Place) -> Vec<OperationStatus> {
        let said = self.get(place, "operations");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    fn get(&self, place: Place, path: &str) -> String {
        let curl = Program::new("curl").args(["--silent", "--show-error", "--fail", "--unix-socket"]);
        curl.arg(self.named(place, "api")).arg(format!("http://midspan/v1/{path}")).run().well()
    }

    /// Waits until a site serves hosts.
    pub fn wait_serving(&mut self, place: Place) -> GroupStatus {
        self.node(place).wait("serving", LIMIT, |group| group.role == Role::Primary && group.serving)
    }

    /// Waits until a site that was just started knows what it is.
    pub fn wait_role(&mut self, place: Place) {
        self.node(place).wait("aware of its role", LIMIT, |group| group.role != Role::Unknown);
    }

    /// Waits until the secondary follows.
    pub fn wait_following(&mut self) {
        self.node(Place::Secondary)
            .wait("following", LIMIT, |group| group.role == Role::Secondary && group.state == "paired");
    }

    /// Waits until a former primary that has come back follows the other site. It must not serve at any time.
    pub fn wait_follows(&mut self, place: Place) {
        let group =
            self.node(place).wait("following", LIMIT, |group| group.role == Role::Secondary || group.serving);
        assert!(!group.serving, "{} serves again: {group:?}", place.name());
    }

    /// Waits until both sites say `paired`: one serves in the lanes, the other one follows and holds a cut.
    pub fn wait_paired(&mut self) {
        wait_for("both sites should be paired", LIMIT, || {
            let sites = [Place::Primary, Place::Secondary].map(|place| self.group(place));
            let paired = sites.iter().all(|site| site.state == "paired" && !site.no_cut);
            (paired && sites.iter().any(|site| site.serving)).then_some(())
        });
    }

    /// Waits until the other site has applied everything that this one, which serves, has sealed; nothing must be written
    /// meanwhile.
    pub fn wait_no_lag(&mut self, serves: Place) {
        for _ in 0..2 {
            pause(SETTLED);
            self.node(serves).wait("ahead of nobody", LIMIT, |group| group.lag.applied_bytes == Some(0));
        }
    }

    /// Ends all nodes in order.
    pub fn stop_all(&mut self) {
        for place in self.shape.places().iter().rev().copied() {
            self.midspan(place, &["stop"]).well();
            assert!(self.bury(place), "{} did not end well", place.name());
        }
    }

    /// Waits until so many bytes are journaled.
    pub fn wait_written(&mut self, bytes: u64) {
        let what = format!("with {bytes} bytes in the journal");
        self.node(Place::Primary).wait(&what, LIMIT, |group| {
            group.lanes.first().and_then(|lane| lane.watermarks.journaled).is_some_and(|there| there >= bytes)
        });
    }

    /// Waits until the secondary has applied everything that the primary has sealed; nothing must be written meanwhile. Says
    /// how far that is.
    pub fn wait_caught_up(&mut self) -> u64 {
        let sealed = self.settled();
        let what = format!("caught up to {sealed}");
        self.node(Place::Secondary).wait(&what, LIMIT, |group| {
            let applied = group.lanes.first().and_then(|lane| lane.watermarks.applied);
            applied.is_some_and(|applied| applied >= sealed)
        });
        sealed
    }

    /// What the primary has sealed. Status is measured from time to time: it has to stay the same for a while.
    fn settled(&mut self) -> u64 {
        let node = self.node(Place::Primary);
        let mut before = None;
        wait_for("the primary should say what it has sealed", LIMIT, || {
            let now = node.status()?.groups.first()?.lanes.first()?.watermarks.sealed;
            let same = now.filter(|_| now == before);
            before = now;
            if same.is_none() {
                pause(SETTLED);
            }
            same
        })
    }

    /// Ends everything in order, and demands that both sites hold the same bytes. Nothing must be written meanwhile.
    pub fn compare(&mut self, serves: Place) {
        self.wait_no_lag(serves);
        self.stop_all();
        for volume in 1..=self.shape.volumes {
            same_content(&self.disk(Place::Primary, volume), &self.disk(Place::Secondary, volume));
        }
    }

    /// Takes the group over at the secondary, and demands that it can say that nothing is lost.
    pub fn take_over(&mut self) -> String {
        let said = self.midspan(Place::Secondary, &["takeover", GROUP, "--yes"]).well();
        assert!(said.contains("answered writes lost: 0"), "{said}");
        self.wait_serving(Place::Secondary);
        said
    }

    /// How a node stands when a test fails. Nothing here may panic.
    fn last_word(&self, place: Place) -> String {
        let mut status = Command::new("timeout");
        status.arg("10").arg(midspan()).arg("status").arg("--socket").arg(self.named(place, "api"));
        let said = status.output().map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        said.unwrap_or_else(|error| error.to_string())
    }

    /// A node's log.
    pub fn log(&self, place: Place) -> String {
        fs::read_to_string(self.named(place, "log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if super::is_interrupted() {
            return;
        }
        // A panic of a node is a failure whatever the test has seen.
        let panicked =
            self.shape.places().iter().copied().find(|place| self.log(*place).contains("panicked at"));
        if std::thread::panicking() || panicked.is_some() {
            for place in self.shape.places().iter().copied() {
                let log = self.log(place);
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
                if !tail.is_empty() {
                    eprintln!("the log of {} ends with:\n    {tail}", place.name());
                }
                if self.nodes[place.index()].is_some() {
                    eprintln!("{}", self.last_word(place));
                }
            }
        }
        if let Some(place) = panicked
            && !std::thread::panicking()
        {
            panic!("{} panicked, see its log", place.name());
        }
    }
}
