//! The nodes by name.

/// One of the three nodes, or the fourth that a cluster may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The site that serves first.
    Primary,
    /// The journal's node.
    Relay,
    /// The site that takes over.
    Secondary,
    /// A second relay, where a shape asks for it.
    Alternate,
}

impl Place {
    /// The three that every cluster has, in the order in which they are started.
    pub const ALL: [Place; 3] = [Place::Relay, Place::Secondary, Place::Primary];
    /// The same with the second relay.
    pub const FOUR: [Place; 4] = [Place::Relay, Place::Alternate, Place::Secondary, Place::Primary];

    /// Name of the node, and beginning of the names of its files.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Primary => "site-a",
            Place::Relay => "relay",
            Place::Secondary => "site-b",
            Place::Alternate => "alternate",
        }
    }

    /// Number of the node.
    pub const fn id(self) -> u16 {
        match self {
            Place::Primary => 1,
            Place::Relay => 2,
            Place::Secondary => 3,
            Place::Alternate => 4,
        }
    }

    /// Its place in lists of nodes.
    pub const fn index(self) -> usize {
        match self {
            Place::Primary => 0,
            Place::Relay => 1,
            Place::Secondary => 2,
            Place::Alternate => 3,
        }
    }

    /// Its role, as the config has it.
    pub const fn role(self) -> &'static str {
        match self {
            Place::Primary => "primary",
            Place::Relay | Place::Alternate => "relay",
            Place::Secondary => "secondary",
        }
    }

    /// What it is: `site` or `relay`.
    pub const fn kind(self) -> &'static str {
        match self {
            Place::Relay | Place::Alternate => "relay",
            Place::Primary | Place::Secondary => "site",
        }
    }

    /// Whether it holds volumes.
    pub const fn is_site(self) -> bool {
        match self {
            Place::Relay | Place::Alternate => false,
            Place::Primary | Place::Secondary => true,
        }
    }
}
