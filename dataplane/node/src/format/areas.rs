//! What a group needs on a journal disk, and how its areas are written there.

use std::io::Read;

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::dirty_map::{DirtyMap, blocks_for};
use midspan_format::geometry::{BLOCK, BLOCK_U64, is_whole_blocks};
use midspan_format::ids::{AreaId, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::{AreaEntry, AreaHint, MAX_VOLUMES, NodeSuperblock};
use midspan_uring::file::Access;
use midspan_uring::{Errno, File};

use super::{FormatError, kind_name};
use crate::config::VolumeConfig;
use crate::volume::OpenVolume;

/// Blocks of a dirty map that are written at a time.
const MAP_BLOCKS: usize = 128;

/// One group's part of the disk.
#[derive(Clone, Debug)]
pub struct GroupFormat {
    /// The group.
    pub group: GroupId,
    /// Its two sites.
    pub sites: [NodeId; 2],
    /// Its lane.
    pub lane: LaneId,
    /// What it needs here.
    pub areas: GroupAreas,
}

/// What a group needs on a journal disk. Sizes are bytes, multiples of 4096.
#[derive(Clone, Debug)]
pub enum GroupAreas {
    /// At a relay: the areas of its lane.
    Relay {
        /// The journal ring.
        ring: u64,
        /// The manifest area.
        manifest: u64,
        /// The receipt area.
        receipt: u64,
    },
    /// At a site: its own ring, its state, and a dirty map over its volumes, which are opened to learn their sizes.
    Site {
        /// The own ring.
        ring: u64,
        /// The volumes.
        volumes: Vec<VolumeConfig>,
    },
}

/// What a group needs on a disk: its areas, and the content that a dirty map begins with.
#[derive(Debug)]
pub struct Needs {
    /// Kinds and bytes.
    pub areas: Vec<(AreaKind, u64)>,
    /// Nothing is marked in it.
    pub map: Option<DirtyMap>,
}

impl Needs {
    /// What a group needs. A site's volumes are opened to learn their sizes.
    ///
    /// # Errors
    /// A size that no area can have, or a volume that cannot be used.
    pub fn of(group: &GroupFormat) -> Result<Self, FormatError> {
        let needs = match &group.areas {
            GroupAreas::Relay { ring, manifest, receipt } => {
                let (ring, manifest) = ((AreaKind::Ring, *ring), (AreaKind::Manifest, *manifest));
                Self { areas: vec![ring, manifest, (AreaKind::Receipt, *receipt)], map: None }
            }
            GroupAreas::Site { ring, volumes } => {
                let volumes = volume_sizes(group.group, volumes)?;
                let map_bytes = blocks_for(volumes.iter().map(|(_, size)| *size)) * BLOCK_U64;
                let (state, map) = ((AreaKind::State, 2 * BLOCK_U64), (AreaKind::DirtyMap, map_bytes));
                let areas = vec![state, map, (AreaKind::Ring, *ring)];
                Self { areas, map: Some(DirtyMap::new(volumes)) }
            }
        };
        for (kind, size) in &needs.areas {
            if *size == 0 || !is_whole_blocks(*size) {
                let (kind, size) = (kind_name(*kind), *size);
                return Err(FormatError::AreaSize { group: group.group, kind, size });
            }
        }
        Ok(needs)
    }
}

/// A new area behind its superblock at `offset`.
///
/// # Errors
/// There are no random numbers for its id.
pub fn new_area(kind: AreaKind, lane: LaneId, offset: u64, size: u64) -> Result<AreaEntry, FormatError> {
    let (area, hint) = (AreaId(random()?), AreaHint::default());
    Ok(AreaEntry {
        area,
        kind,
        lane,
        start: offset.saturating_add(BLOCK_U64),
        size,
        hint,
        ..AreaEntry::default()
    })
}

fn volume_sizes(group: GroupId, volumes: &[VolumeConfig]) -> Result<Vec<(VolumeId, u64)>, FormatError> {
    if volumes.is_empty() || volumes.len() > MAX_VOLUMES {
        return Err(FormatError::VolumeCount { group, count: volumes.len() });
    }
    let look = Access { direct: false, write: false, exclusive: false };
    let size = |volume: &VolumeConfig| {
        let opened = OpenVolume::open(volume.id, &volume.path, volume.size, look);
        opened.map(|opened| (opened.id, opened.size)).map_err(|error| FormatError::Volume { group, error })
    };
    volumes.iter().map(size).collect()
}

/// Writes an area: its content, and the superblock in front of it.
///
/// # Errors
/// The disk.
pub fn write_area(
    file: &File,
    superblock: &NodeSuperblock,
    group: GroupId,
    entry: &AreaEntry,
    map: Option<&DirtyMap>,
) -> Result<(), FormatError> {
    let &AreaEntry { area, kind, lane, start, size, .. } = entry;
    let (disk, created_ns) = (superblock.disk, superblock.created_ns);
    let own = AreaSuperblock { area, disk, kind, group, lane, start, size, created_ns };
    write(file, start - BLOCK_U64, |block| own.encode(block))?;
    match (kind, map) {
        (AreaKind::State, _) => zero(file, start, start + size),
        (AreaKind::DirtyMap, Some(map)) => {
            for first in (0..map.blocks()).step_by(MAP_BLOCKS) {
                let mut blocks = vec![0; MAP_BLOCKS.min(map.blocks() - first) * BLOCK];
                for (index, block) in (first..).zip(blocks.as_chunks_mut::<BLOCK>().0) {
                    map.encode_block(index, block);
                }
                let offset = start + first as u64 * BLOCK_U64;
                file.write_at(&blocks, offset).map_err(|errno| failed(file, "writing", offset, errno))?;
            }
            Ok(())
        }
        (AreaKind::Ring | AreaKind::Manifest | AreaKind::Receipt | AreaKind::DirtyMap, _) => Ok(()),
    }
}

/// Writes zeroes.
///
/// # Errors
/// The disk.
pub fn zero(file: &File, start: u64, end: u64) -> Result<(), FormatError> {
    let zeroes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
    file.write_at(&zeroes, start).map_err(|errno| failed(file, "writing", start, errno))
}

/// Writes one block.
///
/// # Errors
/// The disk.
pub fn write(file: &File, offset: u64, encode: impl FnOnce(&mut [u8; BLOCK])) -> Result<(), FormatError> {
    let mut block = [0; BLOCK];
    encode(&mut block);
    file.write_at(&block, offset).map_err(|errno| failed(file, "writing", offset, errno))
}

/// Reads what there is of a range.
///
/// # Errors
/// The disk.
pub fn read(file: &File, offset: u64, length: u64) -> Result<Vec<u8>, FormatError> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let count = file.read_at(&mut bytes, offset).map_err(|errno| failed(file, "reading", offset, errno))?;
    bytes.truncate(count);
    Ok(bytes)
}

fn failed(file: &File, action: &'static str, offset: u64, errno: Errno) -> FormatError {
    FormatError::Disk { path: file.path().to_owned(), action, offset, errno }
}

/// Sixteen random bytes; never all zero, which names nothing.
///
/// # Errors
/// There are none.
pub fn random() -> Result<[u8; 16], FormatError> {
    let mut bytes = [0; 16];
    let filled = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    filled.map_err(|error| FormatError::Random(error.into()))?;
    if bytes == [0; 16] { Err(FormatError::Random(Errno::IO)) } else { Ok(bytes) }
}
