//! Eight groups of eight volumes at two sites with two cores each, against two relays: each has its own journal, and what holds one
//! up holds no other up.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use midspan::hammer::command::random_run_id;
use midspan::hammer::{Config, Initial, OnDisconnect, SizeMix};
use midspan_daemon::api::types::Role;
use rig::{Folder, LIMIT, Load, Node, Program, Said, create_disk, free_ports, midspan, wait_for};

const GROUPS: u16 = 8;
const VOLUMES: u16 = 8;
const VOLUME_BYTES: u64 = 4 << 20;
/// Each relay has half of the groups.
const AT_FIRST_RELAY: u16 = GROUPS / 2;
/// A ring with its small areas.
const GROUP_BYTES: u64 = 12 << 20;
/// The group whose hosts ask for as much as they can, at the second relay.
const GREEDY: u16 = GROUPS;
/// Answers of every group that is not held up, while others are.
const ANSWERS: u64 = 200;

/// Name, number and ports' place of a node.
const NODES: [(&str, u16); 4] = [("site-a", 1), ("relay-1", 2), ("site-b", 3), ("relay-2", 4)];

struct Many {
    // Nodes go before their folder.
    nodes: Vec<Node>,
    folder: Folder,
}

impl Many {
    fn start() -> Self {
        let folder = Folder::new();
        let ports = free_ports::<4>();
        for (name, id) in NODES {
            let site = id % 2 == 1;
            let groups = if site { GROUPS } else { AT_FIRST_RELAY };
            create_disk(&folder.file(&format!("{name}.journal")), (u64::from(groups) + 1) * GROUP_BYTES);
            for (group, volume) in volumes().filter(|_| site) {
                create_disk(&folder.file(&format!("{name}.g{group}v{volume}")), VOLUME_BYTES);
            }
            fs::write(folder.file(&format!("{name}.toml")), config(name, id, &ports)).unwrap();
            let kind = if site { "site" } else { "relay" };
            let program = Program::new(midspan()).args([kind, "format", "--config"]);
            program.arg(folder.file(&format!("{name}.toml"))).run().well();
        }
        let start = |(name, _): (&str, u16)| {
            let file = |ending: &str| folder.file(&format!("{name}.{ending}"));
            Node::start(name, None, &file("toml"), &file("api"), &file("log"))
        };
        let nodes = NODES.into_iter().map(start).collect();
        let many = Self { nodes, folder };
        many.wait_serving(0);
        many
    }

    /// Waits until every group serves at a site.
    fn wait_serving(&self, site: usize) {
        wait_for("every group should serve", LIMIT, || {
            let status = self.nodes[site].status()?;
            let serving = status.groups.iter().filter(|group| group.serving && group.role == Role::Primary);
            (serving.count() == usize::from(GROUPS)).then_some(())
        });
    }

    fn uris(&self, site: &str, group: u16) -> Vec<String> {
        let socket = self.folder.file(&format!("{site}.nbd"));
        let uri = |volume| format!("nbd+unix:///g{group}v{volume}?socket={}", socket.display());
        (1..=VOLUMES).map(uri).collect()
    }

    /// Hosts of a group: so many writes in a second, or as many as go.
    fn load(&self, group: u16, rate: Option<u32>) -> Load {
        Load::start(Config {
            connections: 1,
            depth: if rate.is_none() { 32 } else { 1 },
            seed: random_run_id(),
            sizes: SizeMix::parse("4k:90,64k:10").unwrap(),
            rate,
            on_disconnect: OnDisconnect::Reconnect { give_up_after: LIMIT },
            initial: Initial::Zeroes,
            ..Config::new(self.uris("site-a", group))
        })
    }

    fn midspan(&self, site: &str, arguments: &[&str]) -> Said {
        let api: PathBuf = self.folder.file(&format!("{site}.api"));
        Program::new(midspan()).args(arguments).arg("--socket").arg(api).limit(LIMIT * 2).run()
    }
}

fn volumes() -> impl Iterator<Item = (u16, u16)> {
    (1..=GROUPS).flat_map(|group| (1..=VOLUMES).map(move |volume| (group, volume)))
}

fn config(name: &str, id: u16, ports: &[u16; 4]) -> String {
    let site = id % 2 == 1;
    let port = |id: u16| ports[usize::from(id) - 1];
    let mut text = format!(
        "[node]\nid = {id}\nname = \"{name}\"\nlisten = \"127.0.0.1:{}\"\napi = \"{name}.api\"\njournal = \"{name}.journal\"\n\
         cores = [0, 1]\nmemory = \"384MiB\"\n",
        port(id)
    );
    for (peer, other) in NODES.into_iter().filter(|(_, other)| *other != id) {
        let address = port(other);
        let _ =
            write!(text, "\n[[peer]]\nid = {other}\nname = \"{peer}\"\naddress = \"127.0.0.1:{address}\"\n");
    }
    for group in 1..=GROUPS {
        let relay = if group <= AT_FIRST_RELAY { 2 } else { 4 };
        if !site && relay != id {
            continue;
        }
        let role = ["primary", "relay", "secondary", "relay"][usize::from(id) - 1];
        let _ = write!(
            text,
            "\n[[group]]\nid = {group}\nname = \"g{group}\"\nrole = \"{role}\"\nsites = [1, 3]\ninitial = \"equal\"\n\
             lanes = [{{ id = 0, node = {relay} }}]\nring = \"8MiB\"\nmanifest = \"1MiB\"\nreceipt = \"1MiB\"\n"
        );
        if !site {
            continue;
        }
        // Who waits for a relay waits: so it is seen that nobody else does.
        text += "mode = \"max-protection\"\n";
        for volume in 1..=VOLUMES {
            let _ = write!(
                text,
                "\n[[group.volume]]\nid = {volume}\nname = \"v{volume}\"\npath = \"{name}.g{group}v{volume}\"\n"
            );
        }
    }
    if site {
        let _ = write!(text, "\n[nbd]\nlisten = [\"unix:{name}.nbd\"]\n");
        for (group, volume) in volumes() {
            let export = format!("g{group}v{volume}");
            let _ = write!(text, "\n[[export]]\nname = \"{export}\"\nvolume = \"g{group}/v{volume}\"\n");
        }
    }
    text
}

/// Waits until every one of these has so many more answers.
fn wait_answers(what: &str, loads: &[Load]) {
    let before: Vec<u64> = loads.iter().map(|load| load.counts().answered).collect();
    wait_for(what, LIMIT, || {
        let mut loads = loads.iter().zip(&before);
        loads.all(|(load, before)| load.counts().answered >= before + ANSWERS).then_some(())
    });
}

#[test]
fn groups_do_not_hold_each_other_up() {
    let mut many = Many::start();
    // The hosts of one group ask for as much as they can.
    let rate = |group| (group != GREEDY).then_some(60);
    let mut loads: Vec<Load> = (1..=GROUPS).map(|group| many.load(group, rate(group))).collect();
    wait_answers("no group should starve beside a greedy one", &loads);

    // A relay that stands still holds its own groups up, and no other, though they share the site's cores.
    many.nodes[1].signal("STOP");
    let (held, free) = loads.split_at(usize::from(AT_FIRST_RELAY));
    wait_answers("the groups of the other relay should go on", free);
    let waits: Vec<u64> = held.iter().map(|load| load.counts().answered).collect();
    wait_answers("the groups of the other relay should go on for long", free);
    let later: Vec<u64> = held.iter().map(|load| load.counts().answered).collect();
    assert_eq!(waits, later, "nothing is answered that no relay holds");
    many.nodes[1].signal("CONT");
    wait_answers("all groups should go on", &loads);

    // All are taken over, each by its own journal, and nothing of any is lost.
    for load in &mut loads {
        load.stop();
    }
    many.nodes[0].kill();
    for group in 1..=GROUPS {
        let said = many.midspan("site-b", &["takeover", &format!("g{group}"), "--yes"]).well();
        assert!(said.contains("answered writes lost: 0"), "{said}");
    }
    many.wait_serving(2);
    for (load, group) in loads.iter_mut().zip(1..) {
        load.verify(&many.uris("site-b", group));
    }
    assert!(!panicked(&many.folder), "a node has panicked, see its log");
}

fn panicked(folder: &Folder) -> bool {
    let log =
        |(name, _): (&str, u16)| fs::read_to_string(folder.file(&format!("{name}.log"))).unwrap_or_default();
    NODES.into_iter().any(|node| log(node).contains("panicked at"))
}
