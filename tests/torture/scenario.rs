//! The scenarios: what trouble each makes.

use rig::Place;

/// A kind of trouble that a round is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// SIGKILL.
    Kills,
    /// SIGSTOP and SIGCONT.
    Stops,
    /// Paths between nodes that drop everything.
    Cuts,
    /// A ring that is full.
    Full,
    /// A relay whose disk was formatted anew.
    RelayWiped,
    /// Operators.
    Roles,
    /// Everything at once.
    Mixed,
    /// Operators who accept a loss.
    AcceptLoss,
    /// Lane sets with a second relay.
    Lanes,
}

impl Scenario {
    /// All of them, in the order in which `all` plays them.
    pub const ALL: [Scenario; 9] = [
        Scenario::Kills,
        Scenario::Stops,
        Scenario::Cuts,
        Scenario::Full,
        Scenario::RelayWiped,
        Scenario::Roles,
        Scenario::Mixed,
        Scenario::AcceptLoss,
        Scenario::Lanes,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Scenario::Kills => "kills",
            Scenario::Stops => "stops",
            Scenario::Cuts => "cuts",
            Scenario::Full => "full",
            Scenario::RelayWiped => "relay-wiped",
            Scenario::Roles => "roles",
            Scenario::Mixed => "mixed",
            Scenario::AcceptLoss => "accept-loss",
            Scenario::Lanes => "lanes",
        }
    }

    /// What it does, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Scenario::Kills => "SIGKILL of one, two or all nodes at any moment",
            Scenario::Stops => "SIGSTOP and SIGCONT of any node",
            Scenario::Cuts => "paths between nodes drop everything (root, network namespaces and nftables)",
            Scenario::Full => {
                "hosts write until the ring is full while the other site stands still or is dead"
            }
            Scenario::RelayWiped => "the relay's disk is formatted anew: a lost lane, never an empty one",
            Scenario::Roles => {
                "operators take over, switch over, fail back, undo, pause; nodes are killed meanwhile"
            }
            Scenario::Mixed => "all of it together (root, network namespaces and nftables)",
            Scenario::AcceptLoss => {
                "hosts are answered outside the lanes, and an operator accepts that this is lost (root, as above)"
            }
            Scenario::Lanes => {
                "all of it together with a second relay, or lanes at the sites, too (root, as above)"
            }
        }
    }

    /// The nodes of its clusters.
    pub const fn places(self) -> &'static [Place] {
        match self {
            Scenario::Lanes => &Place::FOUR,
            Scenario::Kills
            | Scenario::Stops
            | Scenario::Cuts
            | Scenario::Full
            | Scenario::RelayWiped
            | Scenario::Roles
            | Scenario::Mixed
            | Scenario::AcceptLoss => &Place::ALL,
        }
    }

    /// Whether it needs a network with paths to cut.
    pub const fn needs_network(self) -> bool {
        match self {
            Scenario::Cuts | Scenario::Mixed | Scenario::AcceptLoss | Scenario::Lanes => true,
            Scenario::Kills | Scenario::Stops | Scenario::Full | Scenario::RelayWiped | Scenario::Roles => {
                false
            }
        }
    }

    /// The scenarios that a name stands for.
    pub fn named(name: &str) -> Result<Vec<Self>, String> {
        if name == "all" {
            return Ok(Self::ALL.to_vec());
        }
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.map(|scenario| vec![scenario]).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no scenario {name:?}: there are {names}, and all of them in turn by \"all\"")
        })
    }
}
