//! A node of the world: its clocks, its disks, and the process that runs on it or does not.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use midspan_format::control::{GroupCommand, GroupStatus};
use midspan_format::superblock::{PairState, Role};
use midspan_protocol::role::group::Group;
use midspan_protocol::role::policy::LanePolicy;
use midspan_protocol::role::relay::Relay;
use midspan_protocol::vocab::effect::{DiskResult, Effects, LinkId, Now, Token};

use crate::disk::{FakeDisk, Owner};
use crate::event::{ConnId, NodeIndex, Side};
use crate::memory::{Pool, SimBuf};

/// What a machine's clocks show.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    /// Virtual time at which the machine was switched on.
    pub on_since: u64,
    /// How much too fast the monotonic clock runs, parts in a million.
    pub drift: i64,
    /// What the wall clock is off.
    pub wall_off: i64,
    /// A planted lie: the monotonic clock runs this much faster.
    pub rush: u64,
}

/// Wall time at the beginning of a run, nanoseconds since 1970.
const WALL: u64 = 1_700_000_000_000_000_000;

impl NodeClock {
    /// The clocks at a virtual time.
    pub fn at(&self, now: u64) -> Now {
        let elapsed = i64::try_from(now - self.on_since).unwrap_or(i64::MAX);
        let off = elapsed * self.drift / 1_000_000;
        let mono = u64::try_from(elapsed + off).unwrap_or(0) * self.rush;
        Now { mono: mono + 1_000_000_000, wall: (WALL + now).saturating_add_signed(self.wall_off) }
    }

    /// The virtual time at which the monotonic clock shows `mono`, or a little later.
    pub fn when(&self, mono: u64) -> u64 {
        let elapsed = mono.saturating_sub(1_000_000_000) / self.rush;
        if elapsed > 1 << 60 {
            return u64::MAX;
        }
        let real = i128::from(elapsed) * 1_000_000 / i128::from(1_000_000 + self.drift);
        self.on_since + u64::try_from(real).unwrap_or(0) + 2
    }
}

/// What has come in and was not looked at.
#[derive(Debug)]
pub enum Inbox {
    /// A disk operation ended.
    Disk {
        /// Whose it was.
        owner: Owner,
        /// Its name.
        token: Token,
        /// What came of it.
        result: DiskResult<SimBuf>,
    },
    /// Something arrived on a connection.
    Arrived(ConnId, Side),
    /// Data of ours has left.
    Left(ConnId, Side),
    /// A connection is gone.
    Lost(ConnId, Side),
    /// The operator wants something.
    Command(GroupCommand),
}

/// What a group is, as far as time alone does not change it.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// Its role.
    pub role: Role,
    /// How the sites stand.
    pub pair: PairState,
    /// It serves hosts.
    pub serving: bool,
    /// It seals frames.
    pub seals: bool,
}

/// A running process.
pub struct Process {
    /// Its number among all of this node.
    pub life: u64,
    /// Which kind of lane set a site was told to have.
    pub policy: Option<LanePolicy>,
    /// The relay, if this node holds a lane.
    pub relay: Option<Relay<SimBuf>>,
    /// The group, if this node is a site.
    pub group: Option<Group<SimBuf>>,
    /// How that stands, once somebody has asked since it was called last.
    pub stand: Cell<Option<Stand>>,
    /// Its memory.
    pub pool: Pool,
    /// Where machines put effects.
    pub effects: Effects<SimBuf>,
    /// What has come in.
    pub inbox: VecDeque<Inbox>,
    /// Requests of hosts that have come in and were not given to the group.
    pub waiting: VecDeque<u64>,
    /// Requests that the group has.
    pub requests: BTreeMap<u32, u64>,
    /// Names given to requests so far.
    pub request_count: u32,
    /// Connections by their machine's name.
    pub links: BTreeMap<LinkId, (ConnId, Side)>,
    /// Those of them that were made to the relay here.
    pub relay_links: BTreeSet<LinkId>,
    /// Names given to connections that were made to us.
    pub inbound_count: u32,
    /// A pass is to come.
    pub pass_planned: bool,
    /// Passes in a row that were asked for at once by a deadline.
    pub restless: u32,
    /// Connections with something that found no buffer.
    pub starved: Vec<(ConnId, Side)>,
}

impl Process {
    /// A process that has just begun.
    pub fn new(life: u64, relay: Option<Relay<SimBuf>>, group: Option<Group<SimBuf>>, pool: Pool) -> Self {
        Self {
            life,
            policy: None,
            relay,
            group,
            stand: Cell::new(None),
            pool,
            effects: Effects::with_capacity(1024),
            inbox: VecDeque::new(),
            waiting: VecDeque::new(),
            requests: BTreeMap::new(),
            request_count: 0,
            links: BTreeMap::new(),
            relay_links: BTreeSet::new(),
            inbound_count: 0,
            pass_planned: false,
            restless: 0,
            starved: Vec::new(),
        }
    }

    /// Whether hosts are served here.
    pub fn is_serving(&self) -> bool {
        self.group.as_ref().is_some_and(Group::is_serving)
    }

    /// How its group stands.
    pub fn stand(&self, now: Now) -> Option<Stand> {
        let group = self.group.as_ref()?;
        if self.stand.get().is_none() {
            let status = group.status(now);
            let seals = status.lanes.first().is_some_and(|lane| lane.sealed.is_some());
            let GroupStatus { role, pair, serving, .. } = status;
            self.stand.set(Some(Stand { role, pair, serving, seals }));
        }
        self.stand.get()
    }

    /// The earliest deadline of its machines, in monotonic time.
    pub fn deadline(&self) -> u64 {
        let relay = self.relay.as_ref().map_or(u64::MAX, |relay| relay.deadline());
        let group = self.group.as_ref().map_or(u64::MAX, |group| group.deadline());
        relay.min(group)
    }
}

/// The node.
pub struct Node {
    /// Its place.
    pub index: NodeIndex,
    /// Its machine has power.
    pub powered: bool,
    /// What runs there.
    pub process: Option<Process>,
    /// Processes so far.
    pub lives: u64,
    /// Its clocks.
    pub clock: NodeClock,
    /// The journal disk, then the volumes.
    pub disks: Vec<FakeDisk>,
    /// Disk operations take so many times longer.
    pub slowness: u64,
    /// Its disks answer nothing until then.
    pub hung_until: u64,
    /// The process is stopped until then.
    pub paused_until: u64,
    /// The process dies after so many more effects.
    pub fuse: Option<u32>,
    /// How long it stays down when the fuse is burnt.
    pub down: u64,
    /// A boot is to come.
    pub boot_planned: bool,
}

impl Node {
    /// The clocks now.
    pub fn now(&self, now: u64) -> Now {
        self.clock.at(now)
    }

    /// The process, if it is the one named.
    pub fn process_of(&mut self, life: u64) -> Option<&mut Process> {
        self.process.as_mut().filter(|process| process.life == life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_its_virtual_time_has() {
        for drift in [-30_000, 0, 29_999] {
            let clock = NodeClock { on_since: 5_000, drift, wall_off: 0, rush: 1 };
            for mono in [1_000_000_000, 1_000_000_001, 1_500_000_777, 90_000_000_003] {
                let when = clock.when(mono);
                assert!(clock.at(when).mono >= mono && clock.at(when).mono < mono + 10);
            }
        }
    }
}
