//! What a configuration comes to: opened disks, listeners and exports, shared out among the shards.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use midspan_format::ids::{GroupId, NodeId, VolumeId};
use midspan_format::superblock::{DiskUse, MAX_VOLUMES};
use midspan_protocol::role::relay::RelayConfig;
use midspan_protocol::role::site::{SiteConfig, Volume};
use midspan_uring::file::Access;
use midspan_uring::tape::Reader;
use midspan_uring::{Address, Errno, Listener};

use crate::boot::{BootError, Journal, SiteAreas};
use crate::clock;
use crate::config::{ExportConfig, GroupConfig, Listen, NodeConfig, Source};
use crate::counters::AllCounters;
use crate::event::Owner;
use crate::exports::{Backing, Export, ExportId, Exports};
use crate::frontend::MakeFrontEnd;
use crate::peer::{LINKS_PER_GROUP, Peer};
use crate::recorder::ring_of;
use crate::start::{GroupPlan, ShardError, ShardPlan};
use crate::volume::{OpenVolume, VolumeError};

/// Why a node could not start. Each is one sentence that names the object.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No core was named.
    #[error("no core is configured: a node needs at least one")]
    NoCores,
    /// The journal disk, or something on it.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A volume of a group.
    #[error("group {group}: {error}")]
    Volume {
        /// The group.
        group: GroupId,
        /// What is wrong with it.
        error: VolumeError,
    },
    /// A lone disk.
    #[error(transparent)]
    Lone(#[from] VolumeError),
    /// A group without volumes, or with more than a group can have.
    #[error("group {group} has {count} volumes: a group has 1 to {MAX_VOLUMES}")]
    VolumeCount {
        /// The group.
        group: GroupId,
        /// How many.
        count: usize,
    },
    /// A group is configured twice.
    #[error("group {group} is configured twice")]
    GroupTwice {
        /// The group.
        group: GroupId,
    },
    /// Groups or relay areas without a journal disk.
    #[error("group {group} is configured, but no journal disk")]
    NoJournal {
        /// The group.
        group: GroupId,
    },
    /// An export of something that is not configured.
    #[error("export {name} serves a volume that is not configured here")]
    UnknownVolume {
        /// The export.
        name: String,
    },
    /// Two exports with one name.
    #[error("export {name} is configured twice")]
    ExportTwice {
        /// The export.
        name: String,
    },
    /// Somebody listens there already.
    #[error("cannot listen at {address}: it is in use; end what listens there, or configure another address")]
    AddressInUse {
        /// The address.
        address: Address,
    },
    /// A listening address.
    #[error("cannot listen at {address}: {errno}")]
    Listen {
        /// The address.
        address: Address,
        /// The kernel's word.
        errno: Errno,
    },
    /// A shard.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The process cannot have another thread or descriptor.
    #[error("cannot start a shard: {0}")]
    Resources(Errno),
}

/// A node that is opened and not running.
pub struct Plan {
    /// Its shards.
    pub shards: Vec<ShardPlan>,
    /// The shard of each group whose volumes are here.
    pub groups: BTreeMap<GroupId, usize>,
    /// The shard of each group whose areas are here.
    pub routes: BTreeMap<GroupId, usize>,
    /// The counters of all shards.
    pub counters: Arc<AllCounters>,
    /// Their flight recorders.
    pub recorders: Vec<Reader>,
    /// All exports.
    pub exports: Arc<Exports>,
    /// Where other nodes connect to.
    pub listening: Option<SocketAddr>,
    /// Where hosts connect to.
    pub hosts_at: Vec<Option<SocketAddr>>,
    /// The journal disk.
    pub journal: Option<Journal>,
}

/// A volume: what it is named by, who owns it, how large it is.
struct Place {
    source: Source,
    shard: usize,
    owner: Owner,
    size: u64,
}

impl Plan {
    /// Opens everything that the configuration names.
    ///
    /// # Errors
    /// One sentence with what is wrong.
    pub fn new(config: NodeConfig, front: &MakeFrontEnd) -> Result<Self, StartError> {
        if config.cores.is_empty() {
            return Err(StartError::NoCores);
        }
        let journal = config.journal.as_ref().map(|path| Journal::open(path, config.node)).transpose()?;
        check_usage(&config, journal.as_ref())?;
        let counters: Arc<AllCounters> = Arc::new(config.cores.iter().map(|_| Default::default()).collect());
        let mut shards = empty_shards(&config, journal.as_ref(), &counters, front)?;
        let recorders = add_recorders(&mut shards, config.recorder_bytes);
        let mut places = Vec::new();
        let groups = add_groups(&mut shards, &mut places, &config, journal.as_ref())?;
        let routes = add_relays(&mut shards, &config, journal.as_ref())?;
        add_lone(&mut shards, &mut places, &config)?;
        let exports = add_exports(&mut shards, &places, &config.exports)?;
        let listener = config.listen.map(listen).transpose()?;
        let front_listeners = config.front.into_iter().map(listen).collect::<Result<Vec<_>, _>>()?;
        let listening = listener.as_ref().and_then(Listener::local);
        add_self(&mut shards, config.node, listening);
        let hosts_at = front_listeners.iter().map(Listener::local).collect();
        if let Some(first) = shards.first_mut() {
            first.listener = listener;
            first.front_listeners = front_listeners;
        }
        Ok(Self { shards, groups, routes, counters, recorders, exports, listening, hosts_at, journal })
    }
}

/// The disk was formatted for what the node is.
fn check_usage(config: &NodeConfig, journal: Option<&Journal>) -> Result<(), StartError> {
    let relayed = config.relay_groups.as_deref();
    let Some(journal) = journal else {
        let first =
            config.groups.iter().map(|group| group.group).chain(relayed.unwrap_or_default().iter().copied());
        return first.min().map_or(Ok(()), |group| Err(StartError::NoJournal { group }));
    };
    let wanted = if config.groups.is_empty() { DiskUse::Relay } else { DiskUse::Site };
    let has_none = config.groups.is_empty() && relayed.is_some_and(<[GroupId]>::is_empty);
    if has_none { Ok(()) } else { Ok(journal.check_usage(wanted)?) }
}

/// One shard per core, with nothing to do yet.
fn empty_shards(
    config: &NodeConfig,
    journal: Option<&Journal>,
    counters: &Arc<AllCounters>,
    front: &MakeFrontEnd,
) -> Result<Vec<ShardPlan>, StartError> {
    let empty = |(number, core): (usize, &usize)| {
        let journal = journal.map(|journal| journal.file().try_clone()).transpose();
        Ok(ShardPlan {
            number,
            core: *core,
            memory: config.memory.clone(),
            journal: journal.map_err(StartError::Resources)?,
            listener: None,
            relay: None,
            groups: Vec::new(),
            lone: Vec::new(),
            peers: config.peers.clone(),
            owners: vec![None; config.exports.len()],
            exports: Arc::default(),
            front: Arc::clone(front),
            front_listeners: Vec::new(),
            counters: Arc::clone(counters),
            spin_ns: config.spin_ns,
            requests: config.requests,
            tape: None,
        })
    };
    config.cores.iter().enumerate().map(empty).collect()
}

/// A node connects to itself as to any other: a group's lane may stand at the primary.
fn add_self(shards: &mut [ShardPlan], node: NodeId, listening: Option<SocketAddr>) {
    let Some(mut at) = listening else { return };
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    for plan in shards {
        if plan.peers.iter().all(|peer| peer.node != node) {
            plan.peers.push(Peer { node, addresses: vec![Address::Tcp(at)] });
        }
    }
}

/// Gives each shard a flight recorder; none where there is no memory for one.
fn add_recorders(shards: &mut [ShardPlan], bytes: usize) -> Vec<Reader> {
    let add = |plan: &mut ShardPlan| {
        let (writer, reader) = ring_of(bytes)?;
        plan.tape = Some(writer);
        Some(reader)
    };
    shards.iter_mut().filter_map(add).collect()
}

/// Opens the groups' volumes, reads what is recorded of them, and gives each group to a shard.
fn add_groups(
    shards: &mut [ShardPlan],
    places: &mut Vec<Place>,
    config: &NodeConfig,
    journal: Option<&Journal>,
) -> Result<BTreeMap<GroupId, usize>, StartError> {
    let mut found = BTreeMap::new();
    for (number, group) in config.groups.iter().enumerate() {
        let id = group.group;
        let journal = journal.ok_or(StartError::NoJournal { group: id })?;
        let shard = number % shards.len();
        if found.insert(id, shard).is_some() {
            return Err(StartError::GroupTwice { group: id });
        }
        let areas = journal.site_areas(id, group.sites, group.lane)?;
        let opened = open_volumes(group)?;
        let volumes: Vec<Volume> = opened.iter().map(OpenVolume::volume).collect();
        let recovered = journal.recover(id, &areas, &volumes)?;
        let Some(plan) = shards.get_mut(shard) else { continue };
        let index = u16::try_from(plan.groups.len()).unwrap_or(u16::MAX);
        let owner = Owner::Group(index);
        let place = |volume: &OpenVolume| Place {
            source: Source::Group(id, volume.id),
            shard,
            owner,
            size: volume.size,
        };
        places.extend(opened.iter().map(place));
        let first_link = u32::from(index) * LINKS_PER_GROUP;
        let site = site_config(config, group, volumes, first_link, &areas);
        let volumes = opened.into_iter().map(|volume| (volume.id, volume.file)).collect();
        plan.groups.push(GroupPlan { id, config: site, recovered, volumes });
    }
    Ok(found)
}

fn open_volumes(group: &GroupConfig) -> Result<Vec<OpenVolume>, StartError> {
    let count = group.volumes.len();
    if count == 0 || count > MAX_VOLUMES {
        return Err(StartError::VolumeCount { group: group.group, count });
    }
    let open = |volume: &crate::config::VolumeConfig| {
        let opened = OpenVolume::open(volume.id, &volume.path, volume.size, Access::default());
        opened.map_err(|error| StartError::Volume { group: group.group, error })
    };
    group.volumes.iter().map(open).collect()
}

fn site_config(
    config: &NodeConfig,
    group: &GroupConfig,
    volumes: Vec<Volume>,
    first_link: u32,
    areas: &SiteAreas,
) -> SiteConfig {
    SiteConfig {
        node: config.node,
        group: group.group,
        sites: group.sites,
        initial_role: group.initial_role,
        initial_copy: group.initial_copy,
        may_leave: group.may_leave,
        alone: group.alone,
        control: group.control,
        lane: group.lane,
        relay: group.lanes.first().copied().unwrap_or(NodeId::NONE),
        lanes: group.lanes.clone(),
        lane_policy: group.lane_policy,
        direct: group.direct,
        resend_bytes: group.resend_bytes,
        volumes,
        answer: group.answer,
        own_ring: areas.own_ring,
        state_offset: areas.state.start,
        dirty_offset: areas.dirty_map.start,
        first_link,
        limits: group.limits,
        pace: group.pace,
    }
}

/// Shares the groups with a lane here out; each shard has a relay of its own over its part. The first shard, which greets, has one
/// in any case: it refuses whoever asks for a group that is not here.
fn add_relays(
    shards: &mut [ShardPlan],
    config: &NodeConfig,
    journal: Option<&Journal>,
) -> Result<BTreeMap<GroupId, usize>, StartError> {
    let sites: Vec<GroupId> = config.groups.iter().map(|group| group.group).collect();
    let with_lane = config.groups.iter().filter(|group| group.lanes.contains(&config.node));
    let with_lane: Vec<GroupId> = with_lane.map(|group| group.group).collect();
    let permits = match journal {
        Some(journal) => journal.relay_permits(config.relay_groups.as_deref(), &sites, &with_lane)?,
        None => Vec::new(),
    };
    let mut parts: Vec<Vec<_>> = shards.iter().map(|_| Vec::new()).collect();
    let mut routes = BTreeMap::new();
    for (number, permit) in permits.into_iter().enumerate() {
        let shard = number % shards.len();
        routes.insert(permit.1.group, shard);
        if let Some(part) = parts.get_mut(shard) {
            part.push(permit);
        }
    }
    for (plan, permits) in shards.iter_mut().zip(parts) {
        let greets = plan.number == 0 && config.listen.is_some();
        if greets || !permits.is_empty() {
            plan.relay = Some(RelayConfig {
                node: config.node,
                permits,
                recent_bytes: config.recent_bytes,
                started_at: clock::now().mono,
            });
        }
    }
    Ok(routes)
}

/// Opens the lone disks: for reading only where no export writes.
fn add_lone(
    shards: &mut [ShardPlan],
    places: &mut Vec<Place>,
    config: &NodeConfig,
) -> Result<(), StartError> {
    for (number, lone) in config.lone.iter().enumerate() {
        let source = Source::Lone(lone.id);
        let write = config.exports.iter().any(|export| export.source == source && !export.read_only);
        let access = Access { write, ..Access::default() };
        let OpenVolume { id, file, size } = OpenVolume::open(lone.id, &lone.path, None, access)?;
        let shard = number % shards.len();
        let Some(plan) = shards.get_mut(shard) else { continue };
        let owner = Owner::Lone(u16::try_from(plan.lone.len()).unwrap_or(u16::MAX));
        places.push(Place { source, shard, owner, size });
        plan.lone.push((id, file));
    }
    Ok(())
}

/// Makes the exports and tells every shard which it owns.
fn add_exports(
    shards: &mut [ShardPlan],
    places: &[Place],
    configs: &[ExportConfig],
) -> Result<Arc<Exports>, StartError> {
    let mut list: Vec<Export> = Vec::new();
    for (number, config) in configs.iter().enumerate() {
        let name = &config.name;
        if list.iter().any(|other| other.name == *name) {
            return Err(StartError::ExportTwice { name: name.clone() });
        }
        let Some(place) = places.iter().find(|place| place.source == config.source) else {
            return Err(StartError::UnknownVolume { name: name.clone() });
        };
        if let Some(owner) = shards.get_mut(place.shard).and_then(|plan| plan.owners.get_mut(number)) {
            *owner = Some(place.owner);
        }
        list.push(export(config, number, place));
    }
    let exports = Arc::new(Exports::new(list));
    for plan in shards {
        plan.exports = Arc::clone(&exports);
    }
    Ok(exports)
}

fn export(config: &ExportConfig, number: usize, place: &Place) -> Export {
    let (backing, volume): (Backing, VolumeId) = match config.source {
        Source::Group(group, volume) => (Backing::Group(group), volume),
        Source::Lone(volume) => (Backing::Simplex, volume),
    };
    Export {
        id: ExportId(u32::try_from(number).unwrap_or(u32::MAX)),
        name: config.name.clone(),
        description: config.description.clone(),
        size: place.size,
        read_only: config.read_only,
        default: config.default,
        backing,
        volume,
        shard: place.shard,
        serving: AtomicBool::new(false),
    }
}

/// A unix socket that nobody accepts on any more is replaced.
fn listen(at: Listen) -> Result<Listener, StartError> {
    match at {
        Listen::With(listener) => Ok(listener),
        Listen::At(address) => Listener::bind(&address).map_err(|errno| match errno {
            Errno::ADDRESS_IN_USE => StartError::AddressInUse { address },
            errno => StartError::Listen { address, errno },
        }),
    }
}
