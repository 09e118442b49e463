//! One shard's beginning: from plain data to a running loop, on the shard's own pinned thread.

use std::sync::Arc;
use std::sync::mpsc;

use midspan_format::ids::{GroupId, VolumeId};
use midspan_protocol::role::direct::Direct;
use midspan_protocol::role::group::Group;
use midspan_protocol::role::relay::{Relay, RelayConfig};
use midspan_protocol::role::site::{Recovered, SiteConfig};
use midspan_uring::affinity::{PinError, pin};
use midspan_uring::pool::PoolError;
use midspan_uring::probe::ProbeError;
use midspan_uring::tape::Writer;
use midspan_uring::{Config, Errno, File, Listener, Pool, Refused, Ring, Waker};

use crate::buffers::PoolBuffers;
use crate::clock;
use crate::config::MemoryConfig;
use crate::counters::AllCounters;
use crate::disk::Disks;
use crate::disk::run::RUNS;
use crate::engine::{Engine, MyCounters};
use crate::event::Owner;
use crate::exports::Exports;
use crate::frontend::{Asked, FrontSetup, Host, MakeFrontEnd, NoMarks};
use crate::inbound::Inbound;
use crate::machines::{GroupSlot, Machines};
use crate::mesh::Mesh;
use crate::peer::{CONNECTIONS, Links, Peer};
use crate::port::ShardPort;
use crate::recorder::Recorder;
use crate::shard::{Parts, Shard};

/// Disk operations of a shard at a time.
const DISK_OPERATIONS: usize = 8192;

/// A group on its way to its shard.
pub struct GroupPlan {
    /// Its identity.
    pub id: GroupId,
    /// As configured.
    pub config: SiteConfig,
    /// As found on the journal disk.
    pub recovered: Recovered,
    /// Its open volumes.
    pub volumes: Vec<(VolumeId, File)>,
}

/// A shard that is to be started.
pub struct ShardPlan {
    /// Its number.
    pub number: usize,
    /// Its core.
    pub core: usize,
    /// Its buffers.
    pub memory: MemoryConfig,
    /// The journal disk, opened for this shard.
    pub journal: Option<File>,
    /// Where other nodes connect to (shard 0).
    pub listener: Option<Listener>,
    /// Its part of the relay.
    pub relay: Option<RelayConfig>,
    /// Its groups.
    pub groups: Vec<GroupPlan>,
    /// Its lone disks.
    pub lone: Vec<(VolumeId, File)>,
    /// Other nodes.
    pub peers: Vec<Peer>,
    /// Who owns which export, by number.
    pub owners: Vec<Option<Owner>>,
    /// All exports.
    pub exports: Arc<Exports>,
    /// Makes its front end.
    pub front: MakeFrontEnd,
    /// Where hosts connect to (shard 0).
    pub front_listeners: Vec<Listener>,
    /// All counters.
    pub counters: Arc<AllCounters>,
    /// How long it looks for more work before it sleeps, nanoseconds.
    pub spin_ns: u64,
    /// Host requests that may wait or run.
    pub requests: usize,
    /// The shard's end of its flight recorder.
    pub tape: Option<Writer>,
}

/// Why a shard could not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// It could not be pinned.
    #[error("shard {shard}: {error}")]
    Pin {
        /// Which.
        shard: usize,
        /// Why.
        error: PinError,
    },
    /// No memory for its buffers.
    #[error("shard {shard}: {error}")]
    Pool {
        /// Which.
        shard: usize,
        /// Why.
        error: PoolError,
    },
    /// The kernel cannot do what it needs.
    #[error("shard {shard}: {error}")]
    Ring {
        /// Which.
        shard: usize,
        /// Why.
        error: ProbeError,
    },
    /// A file or listener could not be given to the ring.
    #[error("shard {shard}: {error}")]
    Refused {
        /// Which.
        shard: usize,
        /// Why.
        error: Refused,
    },
}

/// What a shard tells while it begins: how to wake it, or why it cannot.
pub type Ready = (usize, Result<Waker, ShardError>);
/// What it is told when all have begun.
pub type Wiring = (Mesh, ShardPort);

/// The shard's thread. `Ok` when it ended in order, or was never wired.
///
/// # Errors
/// The ring broke.
pub fn run(
    plan: ShardPlan,
    ready: &mpsc::Sender<Ready>,
    wiring: &mpsc::Receiver<Wiring>,
) -> Result<(), Errno> {
    let number = plan.number;
    let begun = begin(plan);
    let (begun, waker) = match begun {
        Ok(begun) => {
            let waker = begun.engine.ring.waker();
            (Some(begun), Ok(waker))
        }
        Err(error) => (None, Err(error)),
    };
    // Whoever starts us may have given up already; then there is nothing to wire.
    let _ = ready.send((number, waker));
    let (Some(begun), Ok((mesh, port))) = (begun, wiring.recv()) else { return Ok(()) };
    let Begun { engine, machines, front, exports, owners, spin_ns, requests } = begun;
    Shard::new(Parts { number, engine, machines, front, exports, owners, mesh, port, spin_ns, requests })
        .run()
}

struct Begun {
    engine: Engine,
    machines: Machines,
    front: Box<dyn crate::frontend::FrontEnd>,
    exports: Arc<Exports>,
    owners: Vec<Option<Owner>>,
    spin_ns: u64,
    requests: usize,
}

fn begin(plan: ShardPlan) -> Result<Begun, ShardError> {
    let shard = plan.number;
    pin(plan.core).map_err(|error| ShardError::Pin { shard, error })?;
    let pool = Pool::new(&plan.memory.classes, plan.memory.huge_pages)
        .map_err(|error| ShardError::Pool { shard, error })?;
    let ring = Ring::new(ring_config(), &pool).map_err(|error| ShardError::Ring { shard, error })?;
    let refused = |error| ShardError::Refused { shard, error };
    let relayed = plan.relay.iter().flat_map(|relay| relay.permits.iter().map(|(_, permit)| permit.group));
    let groups_of = plan.groups.iter().map(|group| group.id).chain(relayed);
    let mut engine = Engine {
        ring,
        buffers: PoolBuffers::new(pool),
        unanswered: 0,
        disks: Disks::new(DISK_OPERATIONS),
        links: Links::new(plan.groups.len(), &plan.peers),
        inbound: Inbound::default(),
        events: std::collections::VecDeque::with_capacity(4096),
        answers: std::collections::VecDeque::with_capacity(plan.requests),
        notes: std::collections::VecDeque::with_capacity(256),
        counters: MyCounters::new(Arc::clone(&plan.counters), shard),
        recorder: Recorder::new(plan.tape, (plan.counters, shard), plan.requests, groups_of),
    };
    if let Some(journal) = plan.journal {
        let disk = engine.disks.add(&mut engine.ring, journal).map_err(refused)?;
        engine.disks.set_journal(disk);
    }
    if let Some(listener) = plan.listener {
        engine.inbound.listen(&mut engine.ring, listener).map_err(refused)?;
    }
    let mut groups = Vec::new();
    for (index, group) in plan.groups.into_iter().enumerate() {
        let owner = Owner::Group(u16::try_from(index).unwrap_or(u16::MAX));
        add_volumes(&mut engine, owner, group.volumes).map_err(refused)?;
        groups.push(GroupSlot::new(group.id, Group::new(group.config, group.recovered)));
    }
    let mut lone = Vec::new();
    for (index, (volume, file)) in plan.lone.into_iter().enumerate() {
        let owner = Owner::Lone(u16::try_from(index).unwrap_or(u16::MAX));
        add_volumes(&mut engine, owner, vec![(volume, file)]).map_err(refused)?;
        lone.push(Direct::new(plan.requests, None));
    }
    let machines = Machines::new(plan.relay.map(Relay::new), groups, lone);
    let setup = FrontSetup { shard, exports: Arc::clone(&plan.exports), requests: plan.requests };
    let mut front = (plan.front)(&setup);
    if !plan.front_listeners.is_empty() {
        let mut asked = Asked::new(0);
        let mut host = Host {
            ring: &mut engine.ring,
            buffers: &mut engine.buffers,
            exports: &plan.exports,
            marks: &NoMarks,
            now: clock::now(),
            shard,
            asked: &mut asked,
            recorder: &mut engine.recorder,
        };
        front.listen(&mut host, plan.front_listeners);
    }
    let (exports, owners, spin_ns, requests) = (plan.exports, plan.owners, plan.spin_ns, plan.requests);
    Ok(Begun { engine, machines, front, exports, owners, spin_ns, requests })
}

fn add_volumes(engine: &mut Engine, owner: Owner, volumes: Vec<(VolumeId, File)>) -> Result<(), Refused> {
    for (volume, file) in volumes {
        let disk = engine.disks.add(&mut engine.ring, file)?;
        engine.disks.set_volume(owner, volume, disk);
    }
    Ok(())
}

fn ring_config() -> Config {
    let connections = u32::try_from(CONNECTIONS).unwrap_or(1024);
    let runs = u32::try_from(RUNS).unwrap_or(64);
    Config {
        entries: 512,
        operations: 16 * 1024,
        vectors: 2 * connections + runs,
        descriptors: 2 * connections,
    }
}
