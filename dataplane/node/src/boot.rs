//! What a node finds on its journal disk when it starts: whose disk it is, who may write which area, how groups stand.

use std::path::{Path, PathBuf};

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::dirty_map::{DirtyMap, blocks_for};
use midspan_format::geometry::{BLOCK, BLOCK_U64, REGION_BYTES, is_whole_blocks};
use midspan_format::ids::{GroupId, LaneId, NodeId};
use midspan_format::superblock::{
    AREAS_OFFSET, AreaEntry, BlockError, DiskUse, GroupPermit, GroupState, NodeSuperblock, node_offset,
    permit_offset, state_offset,
};
use midspan_protocol::role::site::{Recovered, Volume};
use midspan_uring::File;
use midspan_uring::file::Access;

pub use error::BootError;

mod error;

/// Where a site keeps what it knows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteAreas {
    /// Its own ring.
    pub own_ring: AreaEntry,
    /// The two slots of its state.
    pub state: AreaEntry,
    /// Its dirty map.
    pub dirty_map: AreaEntry,
}

/// The journal disk, open and recognised.
#[derive(Debug)]
pub struct Journal {
    file: File,
    superblock: NodeSuperblock,
    /// With the numbers of their slots.
    permits: Vec<(u32, GroupPermit)>,
}

impl Journal {
    /// Opens a node's journal disk, exclusively, and checks what stands at its fixed places.
    ///
    /// # Errors
    /// It is not that node's journal disk, or not intact.
    pub fn open(path: &Path, node: NodeId) -> Result<Self, BootError> {
        Self::open_with(path, node, Access::default())
    }

    /// The same, for reading only, and beside a node that runs with it.
    ///
    /// # Errors
    /// It is not that node's journal disk, or not intact.
    pub fn look(path: &Path, node: NodeId) -> Result<Self, BootError> {
        Self::open_with(path, node, Access { write: false, exclusive: false, ..Access::default() })
    }

    fn open_with(path: &Path, node: NodeId, access: Access) -> Result<Self, BootError> {
        let file = File::open(path, access)?;
        let size = file.size();
        if size == 0 || !is_whole_blocks(size) {
            return Err(BootError::DiskSize { path: path.to_owned(), size });
        }
        let superblock = read_superblock(&file)?;
        if superblock.node != node {
            return Err(BootError::OtherNode { path: path.to_owned(), found: superblock.node, node });
        }
        if superblock.size_bytes > size {
            return Err(BootError::Shorter { path: path.to_owned(), size, formatted: superblock.size_bytes });
        }
        let mut journal = Self { file, superblock, permits: Vec::new() };
        for slot in 0..superblock.groups {
            let permit = journal.read_permit(slot)?;
            if journal.permit(permit.group).is_some() {
                return Err(BootError::PermitTwice { path: path.to_owned(), group: permit.group });
            }
            for entry in permit.areas().iter().filter(|_| !permit.deleted) {
                journal.check_area(permit.group, entry)?;
            }
            journal.permits.push((slot, permit));
        }
        Ok(journal)
    }

    /// The open disk.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its superblock.
    pub fn superblock(&self) -> &NodeSuperblock {
        &self.superblock
    }

    /// All permits, also those of deleted groups, with the numbers of their slots.
    pub fn permits(&self) -> &[(u32, GroupPermit)] {
        &self.permits
    }

    /// What it was formatted for.
    pub fn usage(&self) -> DiskUse {
        self.superblock.usage
    }

    /// Refuses a disk that was formatted for something else.
    ///
    /// # Errors
    /// It was.
    pub fn check_usage(&self, wanted: DiskUse) -> Result<(), BootError> {
        let found = self.superblock.usage;
        if found == wanted { Ok(()) } else { Err(BootError::OtherUse { path: self.path(), found, wanted }) }
    }

    /// The permits that a relay serves, with their slots: those of the groups listed, or all but those of `sites`; and those
    /// of the groups in `at_site`, whose volumes are here, too. Those of deleted groups are among them, so that whoever asks
    /// for one is told so.
    ///
    /// # Errors
    /// A group that is listed has none, or no lane's areas.
    pub fn relay_permits(
        &self,
        listed: Option<&[GroupId]>,
        sites: &[GroupId],
        at_site: &[GroupId],
    ) -> Result<Vec<(u32, GroupPermit)>, BootError> {
        for group in listed.unwrap_or_default() {
            self.living_permit(*group)?;
        }
        for group in at_site {
            if !self.living_permit(*group)?.holds_lane() {
                return Err(BootError::NoLane { path: self.path(), group: *group });
            }
        }
        let is_served = |permit: &GroupPermit| match listed {
            _ if at_site.contains(&permit.group) => true,
            Some(listed) => listed.contains(&permit.group) || permit.deleted,
            None => !sites.contains(&permit.group),
        };
        Ok(self.permits.iter().filter(|(_, permit)| is_served(permit)).copied().collect())
    }

    /// Where a site of these `sites` keeps what it knows of a group.
    ///
    /// # Errors
    /// The disk was not formatted for it.
    pub fn site_areas(
        &self,
        group: GroupId,
        sites: [NodeId; 2],
        lane: LaneId,
    ) -> Result<SiteAreas, BootError> {
        let permit = self.living_permit(group)?;
        let [a, b] = sites;
        if permit.sites != [a, b] && permit.sites != [b, a] {
            return Err(BootError::OtherSites { path: self.path(), group, found: permit.sites });
        }
        let area = |kind| {
            let found = permit.areas().iter().find(|entry| entry.kind == kind && entry.lane == lane);
            found.copied().ok_or(BootError::NoArea { path: self.path(), group, lane, kind })
        };
        // Before lanes could stand at a site, its own ring was the only one there, and called so.
        let only_ring = || area(AreaKind::Ring).ok().filter(|_| !permit.holds_lane());
        let own_ring = area(AreaKind::OwnRing).or_else(|error| only_ring().ok_or(error))?;
        Ok(SiteAreas { own_ring, state: area(AreaKind::State)?, dirty_map: area(AreaKind::DirtyMap)? })
    }

    /// Reads what a site knows of a group, and holds it against the volumes that are open now.
    ///
    /// # Errors
    /// The state is damaged, or the volumes are others than those that joined the group.
    pub fn recover(
        &self,
        group: GroupId,
        areas: &SiteAreas,
        volumes: &[Volume],
    ) -> Result<Recovered, BootError> {
        let state = self.read_state(group, areas.state.start)?;
        if let Some(state) = &state {
            self.check_volumes(state, volumes)?;
        }
        let needed = blocks_for(volumes.iter().map(|volume| volume.size));
        let blocks = areas.dirty_map.size / BLOCK_U64;
        if needed > blocks {
            return Err(BootError::DirtyMapSize { path: self.path(), group, blocks, needed });
        }
        let mut dirty = DirtyMap::new(volumes.iter().map(|volume| (volume.id, volume.size)));
        let length = usize::try_from(needed * BLOCK_U64).unwrap_or(usize::MAX);
        let bytes = self.read(areas.dirty_map.start, length)?;
        for index in 0..dirty.blocks() {
            // What a damaged or missing block covers is marked by this: it counts as differing.
            let _ = dirty.load_block(index, bytes.get(index * BLOCK..).unwrap_or_default());
        }
        Ok(Recovered { state, dirty })
    }

    /// What is recorded of a group at this site, and how many bytes of its volumes are marked as possibly differing. `None`
    /// when it never started.
    ///
    /// # Errors
    /// The state is damaged, or the disk cannot be read.
    pub fn recorded(
        &self,
        group: GroupId,
        state: &AreaEntry,
        map: &AreaEntry,
    ) -> Result<Option<(GroupState, u64)>, BootError> {
        let Some(state) = self.read_state(group, state.start)? else { return Ok(None) };
        let mut dirty = DirtyMap::new(state.volumes().iter().map(|volume| (volume.volume, volume.size)));
        for index in 0..dirty.blocks() {
            let block = self.read(map.start + index as u64 * BLOCK_U64, BLOCK)?;
            let _ = dirty.load_block(index, &block);
        }
        Ok(Some((state, dirty.count() * REGION_BYTES)))
    }

    fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    fn permit(&self, group: GroupId) -> Option<&GroupPermit> {
        self.permits.iter().map(|(_, permit)| permit).find(|permit| permit.group == group)
    }

    fn living_permit(&self, group: GroupId) -> Result<&GroupPermit, BootError> {
        let permit = self.permit(group).ok_or(BootError::NoGroup { path: self.path(), group })?;
        if permit.deleted { Err(BootError::Deleted { path: self.path(), group }) } else { Ok(permit) }
    }

    fn read_permit(&self, slot: u32) -> Result<GroupPermit, BootError> {
        let [a, b] = [0, 1].map(|sequence| self.read(permit_offset(slot, sequence), BLOCK));
        let permit = GroupPermit::choose_slot(&a?, &b?);
        permit.map_err(|error| BootError::Permit { path: self.path(), slot, error })
    }

    /// An area is what the permit says, and where.
    fn check_area(&self, group: GroupId, entry: &AreaEntry) -> Result<(), BootError> {
        let kind = entry.kind;
        let end = entry.start.checked_add(entry.size).filter(|end| *end <= self.superblock.size_bytes);
        let Some(offset) =
            entry.start.checked_sub(BLOCK_U64).filter(|offset| end.is_some() && *offset >= AREAS_OFFSET)
        else {
            return Err(BootError::AreaOutside { path: self.path(), group, kind });
        };
        let block = self.read(offset, BLOCK)?;
        let own = AreaSuperblock::decode(&block).map_err(|error| BootError::Area {
            path: self.path(),
            group,
            kind,
            offset,
            error,
        })?;
        let disk = self.superblock.disk;
        let created_ns = own.created_ns;
        let &AreaEntry { area, lane, start, size, .. } = entry;
        let wanted = AreaSuperblock { area, disk, kind, group, lane, start, size, created_ns };
        if own == wanted {
            return Ok(());
        }
        Err(BootError::OtherArea { path: self.path(), group, kind, offset, found: own.area, disk: own.disk })
    }

    /// `None` only when neither slot was ever written.
    fn read_state(&self, group: GroupId, start: u64) -> Result<Option<GroupState>, BootError> {
        let [a, b] = [0, 1].map(|sequence| self.read(state_offset(start, sequence), BLOCK));
        let (a, b) = (a?, b?);
        if a.iter().chain(&b).all(|byte| *byte == 0) {
            return Ok(None);
        }
        let state = GroupState::choose_slot(&a, &b).map_err(|error| BootError::State {
            path: self.path(),
            group,
            offset: start,
            error,
        })?;
        if state.group != group {
            let (offset, found) = (start, state.group);
            return Err(BootError::OtherState { path: self.path(), group, offset, found });
        }
        Ok(Some(state))
    }

    fn check_volumes(&self, state: &GroupState, volumes: &[Volume]) -> Result<(), BootError> {
        let group = state.group;
        for volume in volumes {
            let Some(recorded) = state.volumes().iter().find(|recorded| recorded.volume == volume.id) else {
                return Err(BootError::NewVolume { group, volume: volume.id });
            };
            if recorded.identity != volume.identity {
                return Err(BootError::OtherVolume { path: self.path(), group, volume: volume.id });
            }
            if recorded.size != volume.size {
                let (size, recorded) = (volume.size, recorded.size);
                return Err(BootError::VolumeSize { group, volume: volume.id, size, recorded });
            }
        }
        let missing = state.volumes().iter().find(|r| !volumes.iter().any(|volume| volume.id == r.volume));
        missing.map_or(Ok(()), |recorded| Err(BootError::MissingVolume { group, volume: recorded.volume }))
    }

    /// Bytes of the disk; behind its end there are none.
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, BootError> {
        read(&self.file, offset, length)
    }
}

fn read_superblock(file: &File) -> Result<NodeSuperblock, BootError> {
    let path = || file.path().to_owned();
    let [a, b] = [0, 1].map(|sequence| read(file, node_offset(sequence), BLOCK));
    NodeSuperblock::choose_slot(&a?, &b?).map_err(|error| match error {
        BlockError::Magic | BlockError::Short => BootError::NotFormatted { path: path() },
        BlockError::Version(version) => BootError::Version { path: path(), version },
        BlockError::Checksum | BlockError::Malformed => BootError::Damaged { path: path(), error },
    })
}

fn read(file: &File, offset: u64, length: usize) -> Result<Vec<u8>, BootError> {
    let mut bytes = vec![0; length];
    match file.read_at(&mut bytes, offset) {
        Ok(count) => {
            bytes.truncate(count);
            Ok(bytes)
        }
        Err(errno) => Err(BootError::Read { path: file.path().to_owned(), offset, errno }),
    }
}
