//! What disks and networks do at their worst, and what of it was done: the oracle excuses what that explains, and nothing else.

use crate::event::NodeIndex;

/// Something that a disk or the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The next read of a node's journal disk gives a bit that is not on its media; the one behind it is right.
    BadRead(NodeIndex),
    /// The next reads of a disk fail; those behind them do not.
    ReadError {
        /// Where.
        node: NodeIndex,
        /// Which.
        disk: usize,
        /// So many.
        times: u32,
    },
    /// The next write to the relay's ring goes to another place in it, and is said to be done.
    Misdirect {
        /// How far off, of any size.
        by: u64,
    },
    /// A bit of a frame in the relay's ring changes on stable media, where a later frame says that it was there.
    RotRing {
        /// Where, of any size.
        place: u64,
    },
    /// From now on every operation of a disk fails.
    Dies {
        /// Where.
        node: NodeIndex,
        /// Which: the journal disk is 0.
        disk: usize,
    },
    /// From now on a disk takes no write: it is full.
    Full {
        /// Where.
        node: NodeIndex,
        /// Which.
        disk: usize,
    },
    /// A relay's machine loses power, and has another disk when it comes back.
    OtherDisk {
        /// Which relay.
        node: NodeIndex,
        /// With new areas on it, or with nothing.
        new_areas: bool,
        /// How long it stays down.
        down: u64,
    },
    /// A node's disks answer nothing for a while.
    Hang {
        /// Where.
        node: NodeIndex,
        /// How long.
        time: u64,
    },
    /// For a while the connections that a node makes arrive a second time, later.
    Double {
        /// Who connects.
        node: NodeIndex,
        /// How long.
        time: u64,
    },
    /// One way of a path is slow for a while.
    SlowWay {
        /// From here.
        from: NodeIndex,
        /// To there.
        to: NodeIndex,
        /// Nanoseconds more.
        by: u64,
        /// How long.
        time: u64,
    },
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Harmed {
    /// A read of this node was wrong once, or failed: what says that it sees damage is right until it starts anew.
    pub read: [bool; 4],
    /// A disk of this node fails for good.
    pub disk: [bool; 4],
    /// Its journal disk does: no process starts on it.
    pub dead_journal: [bool; 4],
    /// The relay's ring does not hold any more what it held, or what it was given.
    pub ring: bool,
    /// This node's disk was another one once.
    pub wiped: [bool; 4],
}

impl Harmed {
    /// Whether somebody may see damage, or miss something.
    pub fn may_see_damage(&self) -> bool {
        self.ring || self.read.contains(&true) || self.disk.contains(&true)
    }

    /// Whether something is broken that no restart repairs: then nobody has to be served, and what is served must be right.
    pub fn lasts(&self) -> bool {
        self.ring || self.disk.contains(&true)
    }
}
