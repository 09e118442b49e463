//! The simulated nodes' journal disks: formatted as real ones are, and read again at every boot.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::dirty_map::{DirtyMap, blocks_for};
use midspan_format::geometry::{BLOCK, BLOCK_U64};
use midspan_format::ids::{AreaId, DiskId, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::{
    AREAS_OFFSET, AreaEntry, DiskUse, GROUP_SLOTS, GroupPermit, GroupState, NodeSuperblock, Role,
    node_offset, permit_offset,
};
use midspan_protocol::role::policy::LanePolicy;
use midspan_protocol::role::relay::RelayConfig;
use midspan_protocol::role::site::{Recovered, SiteConfig, Volume};

use crate::disk::FakeDisk;
use crate::event::NodeIndex;
use crate::pages::{Page, Pages};
use crate::random::Random;
use crate::swarm::{Lanes, Swarm};

/// The one group.
pub const GROUP: GroupId = GroupId(7);
/// Its one lane.
pub const LANE: LaneId = LaneId(1);
/// States and maps that are remembered: what both sites' disks hold, now and durably, and a few that were.
const KEPT: usize = 8;

/// The id of a node.
pub fn node_id(node: NodeIndex) -> NodeId {
    NodeId(u32::try_from(node.0).unwrap_or(0) + 1)
}

/// The number of a volume.
pub fn volume_id(index: usize) -> VolumeId {
    VolumeId(u32::try_from(index).unwrap_or(0))
}

/// Where what lies on the journal disks.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The relay's ring, manifest and receipt area.
    pub relay: [AreaEntry; 3],
    /// Those of further lanes, by their node.
    pub further: Vec<(NodeIndex, [AreaEntry; 3])>,
    /// The own ring of a site.
    pub own_ring: AreaEntry,
    /// The two slots of a site's group state.
    pub state_offset: u64,
    /// A site's dirty map.
    pub dirty_offset: u64,
    /// Sizes of the volumes, bytes.
    pub volumes: Vec<u64>,
    relay_size: u64,
    site_size: u64,
    lanes: Option<Lanes>,
    /// States that were read last, by the blocks that they were read from.
    read: RefCell<VecDeque<([Page; 2], Option<GroupState>)>>,
    /// So for dirty maps.
    maps: RefCell<VecDeque<(Vec<Page>, Rc<DirtyMap>)>>,
}

impl Layout {
    /// The places for a world.
    pub fn new(swarm: &Swarm, random: &mut Random) -> Self {
        let mut at = AREAS_OFFSET;
        let relay = [
            place(random, &mut at, AreaKind::Ring, swarm.ring),
            place(random, &mut at, AreaKind::Manifest, swarm.manifest),
            place(random, &mut at, AreaKind::Receipt, swarm.receipt),
        ];
        let relay_size = at;
        at = AREAS_OFFSET;
        let volumes: Vec<u64> = swarm.volumes.iter().map(|blocks| blocks * BLOCK_U64).collect();
        let map_blocks = blocks_for(volumes.iter().copied());
        let state = place(random, &mut at, AreaKind::State, 2 * BLOCK_U64);
        let dirty = place(random, &mut at, AreaKind::DirtyMap, map_blocks * BLOCK_U64);
        let own_ring = place(random, &mut at, AreaKind::OwnRing, swarm.own_ring);
        let mut further = Vec::new();
        let mut site_size = at;
        if let Some(lanes) = swarm.lanes {
            let mut lane = |mut at| {
                let entries = [
                    place(random, &mut at, AreaKind::Ring, swarm.ring),
                    place(random, &mut at, AreaKind::Manifest, swarm.manifest),
                    place(random, &mut at, AreaKind::Receipt, swarm.receipt),
                ];
                (entries, at)
            };
            further.push((NodeIndex::RELAY2, lane(AREAS_OFFSET).0));
            if lanes.at_sites {
                let (a, end) = lane(at);
                further.extend([(NodeIndex::A, a), (NodeIndex::B, lane(at).0)]);
                site_size = end;
            }
        }
        Self {
            lanes: swarm.lanes,
            relay,
            further,
            own_ring,
            state_offset: state.start,
            dirty_offset: dirty.start,
            volumes,
            relay_size,
            site_size,
            read: RefCell::default(),
            maps: RefCell::default(),
        }
    }

    /// The disks of a node, formatted: the journal disk, then the volumes.
    pub fn disks(&self, node: NodeIndex, random: &mut Random) -> Vec<FakeDisk> {
        let is_relay = node.is_relay();
        let size = if is_relay { self.relay_size } else { self.site_size };
        let mut journal = new_disk(size, random);
        self.put_node(&mut journal, node, size);
        if let Some(areas) = self.areas(node) {
            put_permit(&mut journal, areas);
        }
        if is_relay {
            return vec![journal];
        }
        put_area(&mut journal, &self.own_ring);
        let map = self.empty_map();
        for index in 0..map.blocks() {
            let offset = self.dirty_offset + index as u64 * BLOCK_U64;
            put(&mut journal, offset, |block| map.encode_block(index, block));
        }
        let mut disks = vec![journal];
        for size in &self.volumes {
            disks.push(new_disk(*size, random));
        }
        disks
    }

    /// Makes a relay's disk another one: empty, or with areas that have other ids.
    pub fn renew(&mut self, node: NodeIndex, disk: &mut FakeDisk, random: &mut Random, new_areas: bool) {
        disk.wipe();
        self.put_node(disk, node, self.relay_size);
        let Some(areas) = self.areas(node).filter(|_| new_areas) else { return };
        let areas = areas.map(|entry| AreaEntry { area: area_id(random), ..entry });
        put_permit(disk, areas);
        if self.lanes.is_none() {
            return;
        }
        match self.further.iter_mut().find(|(at, _)| *at == node) {
            Some((_, known)) => *known = areas,
            None => self.relay = areas,
        }
    }

    /// The areas of the lane at a node, if it holds one.
    pub fn areas(&self, node: NodeIndex) -> Option<[AreaEntry; 3]> {
        if node == NodeIndex::RELAY {
            return Some(self.relay);
        }
        self.further.iter().find(|(at, _)| *at == node).map(|(_, areas)| *areas)
    }

    /// All lanes.
    pub fn all_lanes(&self) -> Vec<(NodeIndex, [AreaEntry; 3])> {
        core::iter::once((NodeIndex::RELAY, self.relay)).chain(self.further.iter().copied()).collect()
    }

    /// The nodes that may hold a lane, those preferred first.
    fn lane_nodes(&self) -> Vec<NodeId> {
        let nodes = self.all_lanes().into_iter().map(|(node, _)| node_id(node));
        nodes.collect()
    }

    fn put_node(&self, journal: &mut FakeDisk, node: NodeIndex, size: u64) {
        let is_relay = node.is_relay();
        let superblock = NodeSuperblock {
            sequence: 1,
            disk: DiskId([7; 16]),
            node: node_id(node),
            usage: if is_relay { DiskUse::Relay } else { DiskUse::Site },
            size_bytes: size,
            created_ns: 1,
            groups: 1,
            free_offset: size,
        };
        put(journal, node_offset(1), |block| superblock.encode(block));
    }

    /// What a relay is told at boot.
    pub fn relay(&self, node: NodeIndex, disk: &FakeDisk, recent_bytes: u64, started_at: u64) -> RelayConfig {
        let mut permits = Vec::new();
        for slot in 0..GROUP_SLOTS {
            let slots = [0, 1].map(|sequence| block(disk.seen(), permit_offset(slot, sequence)));
            if let Ok(permit) = GroupPermit::choose_slot(slots[0], slots[1]) {
                permits.push((slot, permit));
            }
        }
        RelayConfig { node: node_id(node), permits, recent_bytes, started_at }
    }

    /// What a group is told at a boot at this time.
    pub fn group(
        &self,
        node: NodeIndex,
        swarm: &Swarm,
        disk: &FakeDisk,
        now: u64,
    ) -> (SiteConfig, Recovered) {
        let volume =
            |(index, size): (usize, &u64)| Volume { id: volume_id(index), size: *size, identity: [3; 24] };
        let state = self.state(disk.seen());
        // The kind with which a group begins is the same at both sites.
        let at = state.map_or(0, |_| now);
        let config = SiteConfig {
            node: node_id(node),
            group: GROUP,
            sites: [node_id(NodeIndex::A), node_id(NodeIndex::B)],
            initial_role: if node == NodeIndex::A { Role::Primary } else { Role::Secondary },
            initial_copy: swarm.initial_copy,
            may_leave: swarm.may_leave,
            alone: swarm.alone,
            control: swarm.control,
            lane: LANE,
            relay: node_id(NodeIndex::RELAY),
            lanes: self.lane_nodes(),
            lane_policy: self.lanes.map_or(LanePolicy::Failover, |lanes| lanes.policy_at(at)),
            direct: self.lanes.is_some_and(|lanes| lanes.direct),
            resend_bytes: self.lanes.map_or(64 << 20, |lanes| lanes.resend),
            volumes: self.volumes.iter().enumerate().map(volume).collect(),
            answer: swarm.answer,
            own_ring: self.own_ring,
            state_offset: self.state_offset,
            dirty_offset: self.dirty_offset,
            first_link: 0,
            limits: swarm.limits,
            pace: swarm.pace,
        };
        let recovered = Recovered { state, dirty: DirtyMap::clone(&self.map(disk.seen())) };
        (config, recovered)
    }

    /// The group state on a site's journal disk.
    pub fn state(&self, disk: &Pages) -> Option<GroupState> {
        let first = usize::try_from(self.state_offset / BLOCK_U64).unwrap_or(usize::MAX);
        let slots = &disk.pages()[first..first + 2];
        let mut read = self.read.borrow_mut();
        let known = read.iter().find(|(known, _)| known.iter().zip(slots).all(|(a, b)| a.is_same(b)));
        if let Some((_, state)) = known {
            return *state;
        }
        let state = GroupState::choose_slot(slots[0].bytes(), slots[1].bytes()).ok();
        if read.len() == KEPT {
            read.pop_front();
        }
        read.push_back(([slots[0].clone(), slots[1].clone()], state));
        state
    }

    /// The dirty map on a site's journal disk; a damaged block counts as all dirty.
    pub fn map(&self, disk: &Pages) -> Rc<DirtyMap> {
        let first = usize::try_from(self.dirty_offset / BLOCK_U64).unwrap_or(usize::MAX);
        let blocks = usize::try_from(blocks_for(self.volumes.iter().copied())).unwrap_or(usize::MAX);
        let pages = &disk.pages()[first..first + blocks];
        let mut maps = self.maps.borrow_mut();
        let known = maps.iter().find(|(known, _)| known.iter().zip(pages).all(|(a, b)| a.is_same(b)));
        if let Some((_, map)) = known {
            return Rc::clone(map);
        }
        let mut map = self.empty_map();
        for (index, page) in pages.iter().enumerate() {
            // Damage marks everything, which is what it must do.
            let _ = map.load_block(index, page.bytes());
        }
        let map = Rc::new(map);
        if maps.len() == KEPT {
            maps.pop_front();
        }
        maps.push_back((pages.to_vec(), Rc::clone(&map)));
        map
    }

    fn empty_map(&self) -> DirtyMap {
        DirtyMap::new(self.volumes.iter().enumerate().map(|(index, size)| (volume_id(index), *size)))
    }
}

/// An area at `at`, which moves behind it.
fn place(random: &mut Random, at: &mut u64, kind: AreaKind, size: u64) -> AreaEntry {
    let area = area_id(random);
    let start = *at + BLOCK_U64;
    *at = start + size;
    AreaEntry { area, kind, lane: LANE, start, size, ..AreaEntry::default() }
}

fn area_id(random: &mut Random) -> AreaId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random.draw().to_le_bytes());
    id[8..].copy_from_slice(&random.draw().to_le_bytes());
    AreaId(id)
}

/// A relay's permit for the one group, which no primary has held yet, and its areas.
fn put_permit(journal: &mut FakeDisk, areas: [AreaEntry; 3]) {
    let mut permit = GroupPermit {
        sequence: 1,
        group: GROUP,
        sites: [node_id(NodeIndex::A), node_id(NodeIndex::B)],
        ..GroupPermit::default()
    };
    for entry in areas {
        permit.areas.push(entry);
        put_area(journal, &entry);
    }
    put(journal, permit_offset(0, 1), |block| permit.encode(block));
}

fn new_disk(size: u64, random: &mut Random) -> FakeDisk {
    let stream = random.draw();
    FakeDisk::new(usize::try_from(size).unwrap_or(0), Random::new(stream, 3))
}

fn put_area(disk: &mut FakeDisk, entry: &AreaEntry) {
    let superblock = AreaSuperblock {
        area: entry.area,
        disk: DiskId([7; 16]),
        kind: entry.kind,
        group: GROUP,
        lane: entry.lane,
        start: entry.start,
        size: entry.size,
        created_ns: 1,
    };
    put(disk, entry.start - BLOCK_U64, |block| superblock.encode(block));
}

fn put(disk: &mut FakeDisk, offset: u64, encode: impl FnOnce(&mut [u8; BLOCK])) {
    let mut block = [0; BLOCK];
    encode(&mut block);
    disk.format(usize::try_from(offset).unwrap_or(usize::MAX), &block);
}

fn block(disk: &Pages, offset: u64) -> &[u8] {
    disk.at(usize::try_from(offset).unwrap_or(usize::MAX))
}
