//! What a seed makes of the world: scenario, sizes, paces, latencies, load and how often what goes wrong.

use midspan_protocol::role::policy::LanePolicy;
use midspan_protocol::role::site::{AnswerMode, ControlPath};
use midspan_protocol::vocab::limits::{Limits, Pace};

use crate::event::NodeIndex;
use crate::random::Random;
use crate::wire::Path;

/// Nanoseconds of a microsecond, millisecond and second.
pub const US: u64 = 1_000;
/// See [`US`].
pub const MS: u64 = 1_000_000;
/// See [`US`].
pub const SECOND: u64 = 1_000_000_000;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * 1024;

/// What a run is about. Everything else may go wrong in it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Small troubles only.
    Steady,
    /// Processes die at any instant and come back.
    Crashes,
    /// Machines lose power and come back.
    PowerLoss,
    /// Paths are cut, connections reset.
    Partitions,
    /// The primary is lost; the secondary takes over.
    Takeover,
    /// The secondary takes over from a primary that lives: paused, cut off, or well.
    Race,
    /// The secondary dies again and again.
    SecondaryLoop,
    /// Small rings, much data.
    Wrap,
    /// Everything at once.
    Storm,
}

impl Scenario {
    /// All, in the order in which seeds take them.
    pub const ALL: [Self; 9] = [
        Self::Steady,
        Self::Crashes,
        Self::PowerLoss,
        Self::Partitions,
        Self::Takeover,
        Self::Race,
        Self::SecondaryLoop,
        Self::Wrap,
        Self::Storm,
    ];

    /// Whether an operator takes over.
    pub const fn has_takeover(self) -> bool {
        match self {
            Self::Takeover | Self::Race => true,
            Self::Steady
            | Self::Crashes
            | Self::PowerLoss
            | Self::Partitions
            | Self::SecondaryLoop
            | Self::Wrap
            | Self::Storm => false,
        }
    }
}

/// What hosts do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Clients.
    pub clients: usize,
    /// Requests that each may have under way.
    pub depth: usize,
    /// Requests in all, before faults stop.
    pub requests: u64,
    /// Requests of a client between two pauses, on average; pauses spread them over the time of the faults.
    pub burst: u64,
    /// Longest request, blocks.
    pub max_blocks: u64,
    /// Percent of requests that fall on the few hot blocks.
    pub hot: u32,
    /// Percent of reads.
    pub reads: u32,
    /// Percent of zero requests.
    pub zeroes: u32,
    /// Percent of flushes.
    pub flushes: u32,
    /// Percent of writes that begin or end within a block.
    pub partial: u32,
    /// Percent of writes with FUA.
    pub fua: u32,
}

/// How long what takes.
#[derive(Clone, Copy, Debug)]
pub struct DiskPace {
    /// An operation, nanoseconds.
    pub latency: u64,
    /// More for a durable one, or a flush.
    pub durable: u64,
    /// Bytes in a microsecond.
    pub bytes_per_us: u64,
}

/// Which lanes a world has beside the one at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// What the group does with them.
    pub policy: LanePolicy,
    /// What a process is told that begins after this time.
    pub then: Option<(u64, LanePolicy)>,
    /// The other site's lane may carry hosts' writes.
    pub direct: bool,
    /// The sites' nodes hold areas, too.
    pub at_sites: bool,
    /// Bytes kept for another lane.
    pub resend: u64,
}

impl Lanes {
    /// What a process is told that begins at this time.
    pub fn policy_at(self, now: u64) -> LanePolicy {
        self.then.filter(|(from, _)| now >= *from).map_or(self.policy, |(_, policy)| policy)
    }

    /// Whether the lanes ever share the data of frames.
    pub fn ever_share(self) -> bool {
        [Some(self.policy), self.then.map(|(_, policy)| policy)].contains(&Some(LanePolicy::Stripe))
    }
}

/// Mean time between faults of a kind, nanoseconds; 0: never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A process dies; by node.
    pub kill: [u64; 3],
    /// A machine loses power; by node.
    pub power: [u64; 3],
    /// A process is stopped for a while; by node.
    pub pause: [u64; 3],
    /// A path is cut, one way or both.
    pub cut: u64,
    /// Connections between two nodes are reset.
    pub reset: u64,
    /// The network is slow for a while.
    pub slow_wire: u64,
    /// A node's disks are slow for a while.
    pub slow_disk: u64,
    /// A wall clock jumps.
    pub jump: u64,
    /// A pool looks empty now and then for a while.
    pub starve: u64,
    /// A block of the relay's manifest or receipt area rots: an index and a copy, without which nothing may be lost.
    pub index_rot: u64,
}

/// The world of a seed.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The scenario.
    pub scenario: Scenario,
    /// Blocks of each volume.
    pub volumes: Vec<u64>,
    /// Bytes of the relay's ring.
    pub ring: u64,
    /// Bytes of the manifest area.
    pub manifest: u64,
    /// Bytes of the receipt area.
    pub receipt: u64,
    /// Bytes of the sites' own rings.
    pub own_ring: u64,
    /// Bytes of each node's pool.
    pub pool: [usize; 3],
    /// Bytes of recent frames that the relay remembers.
    pub recent: u64,
    /// The machines' bounds.
    pub limits: Limits,
    /// The machines' waits.
    pub pace: Pace,
    /// When writes are answered.
    pub answer: AnswerMode,
    /// The paths between nodes.
    pub paths: [[Path; 4]; 4],
    /// The disks of each node.
    pub disks: [DiskPace; 3],
    /// How fast each node's clock runs too fast, parts in a million.
    pub drift: [i64; 3],
    /// The hosts.
    pub load: Load,
    /// The faults.
    pub rates: Rates,
    /// The primary loses the relay's answers, and the takeover follows at once.
    pub lease_race: bool,
    /// How often in a million something is damaged on the wire.
    pub wire_rot: u32,
    /// How long faults go on, nanoseconds.
    pub faults_for: u64,
    /// When an operator asks for a planned change of roles.
    pub switchovers: Vec<u64>,
    /// How long after the takeover was asked for an operator undoes it.
    pub aborts_after: Option<u64>,
    /// And once more when everything is repaired.
    pub goes_home: bool,
    /// A ring that is full for long is left.
    pub may_leave: bool,
    /// Where manifests and receipts travel.
    pub control: ControlPath,
    /// Lanes beside the one at the relay.
    pub lanes: Option<Lanes>,
    /// The secondary never held anything when the run begins.
    pub initial_copy: bool,
    /// The primary goes on outside the lanes where it can tell nobody.
    pub alone: bool,
    /// Blocks at the end of each volume that hosts leave alone.
    pub cold: u64,
    /// An operator accepts losses.
    pub accepts: bool,
    /// In a split, the site that was replaced is kept.
    pub keeps: bool,
}

impl Swarm {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed, 1);
        let count = Scenario::ALL.len() as u64;
        let scenario = Scenario::ALL[usize::try_from(seed % count).unwrap_or(0)];
        let small = scenario == Scenario::Wrap || random.percent(30);
        let ring = if small { random.range(5, 10) * 256 * KIB } else { random.range(3, 16) * MIB };
        let own_ring = if random.percent(50) { ring } else { random.range(5, 40) * 256 * KIB };
        let volumes = (0..random.range(1, 3)).map(|_| random.pick(&[16, 48, 64, 150, 256, 500])).collect();
        let pace = pace(random);
        let mut swarm = Self {
            scenario,
            volumes,
            ring,
            manifest: random.pick(&[128, 256, 512]) * KIB,
            receipt: random.pick(&[32, 64, 256]) * KIB,
            own_ring,
            pool: [0; 3].map(|_| usize::try_from(random.pick(&[12, 24, 64]) * MIB).unwrap_or(0)),
            recent: random.pick(&[0, 256 * KIB, 2 * MIB]),
            limits: limits(random),
            pace,
            answer: if random.percent(80) { AnswerMode::Journaled } else { AnswerMode::JournaledLocal },
            paths: paths(random),
            disks: [0; 3].map(|_| DiskPace {
                latency: random.range(10 * US, 200 * US),
                durable: random.range(10 * US, 1500 * US),
                bytes_per_us: random.range(200, 4000),
            }),
            drift: [0; 3].map(|_| i64::try_from(random.below(60_000)).unwrap_or(0) - 30_000),
            load: load(random, scenario),
            rates: rates(random, scenario),
            lease_race: false,
            wire_rot: if random.percent(10) { 200 } else { 0 },
            faults_for: random.range(1_500 * MS, 6_000 * MS),
            switchovers: Vec::new(),
            aborts_after: None,
            goes_home: false,
            initial_copy: false,
            alone: false,
            cold: 0,
            accepts: false,
            keeps: false,
            may_leave: false,
            control: ControlPath::Both,
            lanes: None,
        };
        swarm.change_roles(&mut Random::new(seed, 8));
        // Seeds of the other books are there for what they meet without it.
        if seed < 1_000_000 {
            swarm.pace_hosts(&mut Random::new(seed, 13));
        }
        if scenario == Scenario::Race && random.percent(50) {
            swarm.read_under_the_lease();
        }
        swarm
    }

    /// Hosts that are paced while the ring fills, from a stream of its own.
    fn pace_hosts(&mut self, random: &mut Random) {
        let fills = matches!(self.scenario, Scenario::Wrap | Scenario::SecondaryLoop);
        if random.percent(if fills { 50 } else { 15 }) {
            self.pace.throttle_ns = random.range(MS, 60 * MS);
            self.pace.overflow_percent = random.range(30, 90);
        }
    }

    /// Roles that change as planned, from a stream of its own: what a seed was before there were any stays what it was.
    fn change_roles(&mut self, random: &mut Random) {
        let takes = self.scenario.has_takeover();
        if random.percent(if takes { 50 } else { 20 }) {
            let count = random.range(1, 3);
            self.switchovers = (0..count).map(|_| random.below(self.faults_for)).collect();
        }
        self.goes_home = random.percent(if takes { 60 } else { 20 });
        self.initial_copy = random.percent(8);
        self.may_leave = random.percent(35);
        self.control =
            random.pick(&[ControlPath::Both, ControlPath::Both, ControlPath::Relay, ControlPath::Direct]);
        self.pace.leave_ns = random.range(20 * MS, 800 * MS);
        let slowest = self.paths.iter().flatten().map(|path| path.latency).max().unwrap_or(0);
        self.pace.leave_ns = self.pace.leave_ns.max(slowest * 12);
        self.aborts_after = (takes && random.percent(12)).then(|| random.below(700 * MS));
        if takes || self.goes_home || !self.switchovers.is_empty() {
            // A primary at B has the relay far away, and its reads need an answer of it within the lease.
            let far = self.paths[NodeIndex::B.0][NodeIndex::RELAY.0].latency;
            self.pace.lease_ns = self.pace.lease_ns.max(far * 12);
        }
    }

    /// Hosts that read on at a primary which is cut off, and a takeover that is over before its lease is: what the wait of a
    /// fence is for.
    fn read_under_the_lease(&mut self) {
        self.pace = Pace { lease_ns: 500 * MS, heartbeat_ns: 100 * MS, ..self.pace };
        self.load = Load { reads: 97, depth: 16, clients: 6, burst: 16, requests: 3000, ..self.load.clone() };
        self.lease_race = true;
        self.rates = Rates::default();
        self.disks = self.disks.map(|disk| DiskPace { latency: 20 * US, durable: 50 * US, ..disk });
        for path in self.paths.iter_mut().flatten() {
            path.latency = path.latency.min(200 * US);
        }
    }
}

fn pace(random: &mut Random) -> Pace {
    let lease_ns = random.pick(&[50, 100, 200, 500]) * MS;
    Pace {
        lease_ns,
        heartbeat_ns: lease_ns / 5,
        silence_ns: random.pick(&[300, 1000, 3000]) * MS,
        reconnect_ns: random.pick(&[10, 50, 100]) * MS,
        manifest_ns: random.pick(&[1, 2, 10, 300]) * MS,
        receipt_ns: random.pick(&[1, 10, 50]) * MS,
        flush_ns: random.pick(&[5, 50, 200]) * MS,
        poll_ms: random.pick(&[20, 100, 500]),
        leave_ns: 2 * SECOND,
        round_bytes_per_s: 0,
        overflow_percent: 80,
        throttle_ns: 0,
    }
}

fn limits(random: &mut Random) -> Limits {
    let tight = random.percent(30);
    let default = Limits::default();
    if !tight {
        return default;
    }
    let mut size = |low, high| usize::try_from(random.range(low, high)).unwrap_or(64);
    Limits {
        requests: size(8, 64),
        frames: size(4, 64),
        unjournaled_frames: size(1, 8),
        shared_bytes: 64 * 1024,
        fetches: size(1, 8),
        fetch_bytes: default.fetch_bytes,
        apply_frames: size(2, 64),
        apply_records: size(64, 256),
    }
}

fn paths(random: &mut Random) -> [[Path; 4]; 4] {
    let near = random.range(20 * US, 2 * MS);
    let far = random.pick(&[100 * US, 2 * MS, 10 * MS, 40 * MS]);
    let bytes_per_us = random.range(50, 1200);
    let path = |latency| Path { latency, bytes_per_us };
    let (near, far, none) = (path(near), path(far), path(US));
    // A second relay is as near to A as the first one.
    [[none, near, far, near], [near, none, far, near], [far, far, none, far], [near, near, far, none]]
}

fn load(random: &mut Random, scenario: Scenario) -> Load {
    let heavy = scenario == Scenario::Wrap;
    Load {
        clients: usize::try_from(random.range(1, 6)).unwrap_or(1),
        depth: usize::try_from(random.pick(&[1, 2, 4, 16])).unwrap_or(1),
        requests: if heavy { random.range(800, 2500) } else { random.range(200, 1500) },
        burst: random.pick(&[1, 4, 32, 128]),
        max_blocks: if heavy { 32 } else { random.pick(&[1, 4, 8, 32]) },
        hot: random.pick(&[0, 20, 60, 90]),
        reads: random.pick(&[10, 30, 60]),
        zeroes: random.pick(&[0, 3, 15]),
        flushes: random.pick(&[0, 2, 10]),
        partial: random.pick(&[0, 10, 50]),
        fua: random.pick(&[0, 10]),
    }
}

fn rates(random: &mut Random, scenario: Scenario) -> Rates {
    let mut rates = Rates::default();
    let some = |random: &mut Random, percent: u32, every: u64| {
        if random.percent(percent) { random.range(every / 2, every * 2) } else { 0 }
    };
    rates.reset = some(random, 40, 800 * MS);
    rates.slow_wire = some(random, 30, 1500 * MS);
    rates.slow_disk = some(random, 30, 1500 * MS);
    rates.jump = some(random, 40, 1000 * MS);
    rates.starve = some(random, 25, 1500 * MS);
    rates.index_rot = some(random, 15, 800 * MS);
    let storm = scenario == Scenario::Storm;
    let percent = |on: bool| if on { 75 } else { 10 };
    if scenario != Scenario::Steady {
        for node in 0..3 {
            rates.kill[node] = some(random, percent(scenario == Scenario::Crashes || storm), 900 * MS);
            rates.power[node] = some(random, percent(scenario == Scenario::PowerLoss || storm), 1200 * MS);
            rates.pause[node] = some(random, percent(storm || scenario == Scenario::Race), 1500 * MS);
        }
        rates.cut = some(random, percent(scenario == Scenario::Partitions || storm), 700 * MS);
    }
    if scenario == Scenario::Partitions {
        rates.reset = random.range(200 * MS, 800 * MS);
    }
    if scenario == Scenario::SecondaryLoop {
        rates.kill[2] = random.range(100 * MS, 500 * MS);
        rates.power[2] = some(random, 60, 400 * MS);
    }
    rates
}
