//! What can happen in the simulated world, as plain data.

/// Place of a node in the world: site A, relay, site B; in some worlds a second relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIndex(pub usize);

impl NodeIndex {
    /// The first primary.
    pub const A: Self = Self(0);
    /// The relay.
    pub const RELAY: Self = Self(1);
    /// The first secondary.
    pub const B: Self = Self(2);
    /// The second relay, of worlds that have one.
    pub const RELAY2: Self = Self(3);
    /// Those of every world.
    pub const ALL: [Self; 3] = [Self::A, Self::RELAY, Self::B];
    /// Those that any world may have.
    pub const EVERY: [Self; 4] = [Self::A, Self::RELAY, Self::B, Self::RELAY2];
    /// The sites.
    pub const SITES: [Self; 2] = [Self::A, Self::B];

    /// Whether it is no site.
    pub fn is_relay(self) -> bool {
        self == Self::RELAY || self == Self::RELAY2
    }

    /// Its place where the second relay is as the first one is.
    pub fn like(self) -> usize {
        if self == Self::RELAY2 { Self::RELAY.0 } else { self.0 }
    }

    /// The other site.
    ///
    /// # Panics
    /// At a relay, which has none.
    pub fn other_site(self) -> Self {
        assert!(!self.is_relay(), "a relay is no site");
        if self == Self::A { Self::B } else { Self::A }
    }

    /// Name in traces.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "A",
            1 => "relay",
            2 => "B",
            _ => "relay 2",
        }
    }
}

impl std::fmt::Display for NodeIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A disk of a node: the journal disk is 0, its volumes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskIndex(pub usize);

/// A connection between two nodes; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// An end of a connection: 0 made it, 1 was connected to. Also the direction that begins there.
pub type Side = usize;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process looks at what has come in. `life` names the process: a dead one looks at nothing.
    Pass {
        /// Where.
        node: NodeIndex,
        /// Which process.
        life: u64,
    },
    /// A deadline of a process.
    Tick {
        /// Where.
        node: NodeIndex,
        /// Which process.
        life: u64,
    },
    /// A disk operation ends.
    Disk {
        /// Where.
        node: NodeIndex,
        /// Which disk.
        disk: DiskIndex,
        /// Which operation.
        number: u64,
    },
    /// Something may arrive at the other end of a connection.
    Arrive {
        /// Which connection.
        conn: ConnId,
        /// The side it comes from.
        from: Side,
    },
    /// The kernel has taken data that a machine wants to hear of.
    Left {
        /// Which connection.
        conn: ConnId,
        /// The side it leaves.
        from: Side,
    },
    /// An end notices that its connection is gone.
    Lost {
        /// Which connection.
        conn: ConnId,
        /// The side that notices.
        side: Side,
    },
    /// A client has something to do, or to look at.
    Client(usize),
    /// A request reaches a node.
    Request {
        /// Which request.
        op: u64,
        /// Where.
        node: NodeIndex,
        /// The process that the client is connected to.
        life: u64,
    },
    /// An answer, or the end of the connection, reaches a client.
    Answer {
        /// Which request.
        op: u64,
    },
    /// A fault of the plan begins.
    Fault(usize),
    /// A fault of the plan ends.
    FaultEnds(usize),
    /// A node that is down comes up.
    Boot(NodeIndex),
    /// The checks of every now and then.
    Check,
    /// Faults stop: everything is repaired.
    Heal,
    /// The end, whatever is still going on.
    End,
}
