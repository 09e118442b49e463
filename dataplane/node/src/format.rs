//! Formats a journal disk: superblock, permits and areas of the groups that a node has a part in.
//!
//! ```text
//!  1  the places of the node superblock are zeroed   from here on it is no journal disk
//!  2  the other fixed places, and the last MiB, are zeroed
//!  3  areas: superblocks; state slots zero, dirty maps with nothing marked
//!  4  permits
//!  5  the node superblock                            from here on it is one
//! ```
//! Each step is durable before the next. Rings keep what the disk held: no frame of it carries the new area's random id.

use std::io::Read;
use std::path::{Path, PathBuf};

use midspan_format::area::{AreaKind, AreaSuperblock};
use midspan_format::dirty_map::{DirtyMap, blocks_for};
use midspan_format::geometry::{BLOCK, BLOCK_U64, is_whole_blocks};
use midspan_format::ids::{AreaId, DiskId, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::{
    AREAS_OFFSET, AreaEntry, AreaHint, BlockError, GROUP_SLOTS, GroupPermit, MAX_VOLUMES, NodeSuperblock,
    node_offset, permit_offset,
};
use midspan_uring::file::{Access, FileError};
use midspan_uring::{Errno, File};

pub use midspan_format::superblock::DiskUse;

use crate::clock;
use crate::config::VolumeConfig;
use crate::signature;
use crate::volume::{OpenVolume, VolumeError};

/// Bytes at either end of a disk that say whether it is in use for something.
const EDGE: u64 = 1 << 20;
/// Blocks of a dirty map that are written at a time.
const MAP_BLOCKS: usize = 128;
/// Sequences of what is written first, one for each slot.
const FIRST: [u64; 2] = [1, 2];

/// What to format, and for whom.
#[derive(Clone, Debug)]
pub struct FormatSpec {
    /// The disk or preallocated file.
    pub path: PathBuf,
    /// The node that it belongs to.
    pub node: NodeId,
    /// The groups that this node has a part in.
    pub groups: Vec<GroupFormat>,
    /// Also where something is on the disk.
    pub force: bool,
}

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

/// What was formatted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// The disk's new id.
    pub disk: DiskId,
    /// What it is for.
    pub usage: DiskUse,
    /// Its bytes.
    pub size: u64,
    /// Bytes from which on it is free.
    pub used: u64,
    /// Its areas, each with its group.
    pub areas: Vec<(GroupId, AreaEntry)>,
}

/// Why a disk was not formatted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading or writing failed.
    #[error("{}: {action} at {offset} failed: {errno}", .path.display())]
    Disk {
        /// The disk.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Where, bytes.
        offset: u64,
        /// The kernel's word.
        errno: Errno,
    },
    /// Its size is not a whole number of blocks.
    #[error("{} has {size} bytes, which is not a positive multiple of {BLOCK_U64}", .path.display())]
    DiskSize {
        /// The disk.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
    /// What the groups need does not fit.
    #[error("{} is too small: it has {size} bytes, and its groups need {needed}", .path.display())]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The bytes needed.
        needed: u64,
    },
    /// It is a journal disk already.
    #[error(
        "{} is formatted already, as the journal disk of node {node}, a {}: to give up what its rings hold, format it \
         with --force",
        .path.display(), usage_name(*.usage)
    )]
    Formatted {
        /// The disk.
        path: PathBuf,
        /// The node that it belongs to.
        node: NodeId,
        /// What it was formatted for.
        usage: DiskUse,
    },
    /// Something else is on it.
    #[error("{} is not empty: {found}; to overwrite it, format it with --force", .path.display())]
    NotEmpty {
        /// The disk.
        path: PathBuf,
        /// What was found.
        found: &'static str,
    },
    /// A size that no area can have.
    #[error(
        "group {group}: the {kind} area has {size} bytes, which is not a positive multiple of {BLOCK_U64}"
    )]
    AreaSize {
        /// The group.
        group: GroupId,
        /// The area.
        kind: &'static str,
        /// The size asked for.
        size: u64,
    },
    /// A site without volumes, or with more than a group can have.
    #[error("group {group} has {count} volumes: a group has 1 to {MAX_VOLUMES}")]
    VolumeCount {
        /// The group.
        group: GroupId,
        /// How many.
        count: usize,
    },
    /// A volume of a site.
    #[error("group {group}: {error}")]
    Volume {
        /// The group.
        group: GroupId,
        /// What is wrong with it.
        error: VolumeError,
    },
    /// There is nothing to format for.
    #[error("no group of this node has areas on {}: there is nothing to format", .path.display())]
    NoGroups {
        /// The disk.
        path: PathBuf,
    },
    /// More groups than a disk has places for.
    #[error("{groups} groups are too many for one journal disk: it has places for {GROUP_SLOTS}")]
    TooManyGroups {
        /// How many.
        groups: usize,
    },
    /// A group twice.
    #[error("group {group} is named twice")]
    GroupTwice {
        /// The group.
        group: GroupId,
    },
    /// No random numbers.
    #[error("cannot read random numbers from /dev/urandom: {0}")]
    Random(Errno),
}

/// A group's permit, and the content that its dirty map area begins with.
struct Planned {
    permit: GroupPermit,
    map: Option<DirtyMap>,
}

/// Formats a disk. Durable when it returns; after a failure or a crash the disk is either as before or no journal disk.
///
/// # Errors
/// One sentence with what is wrong; nothing was written if it is about the disk's content or size.
pub fn format(spec: &FormatSpec) -> Result<Formatted, FormatError> {
    let path = spec.path.as_path();
    let file = File::open(path, Access::default())?;
    let size = file.size();
    if size == 0 || !is_whole_blocks(size) {
        return Err(FormatError::DiskSize { path: path.to_owned(), size });
    }
    let (planned, used) = plan(spec)?;
    if used > size {
        return Err(FormatError::TooSmall { path: path.to_owned(), size, needed: used });
    }
    if !spec.force {
        check_empty(&file)?;
    }
    let is_site = spec.groups.iter().any(|group| matches!(group.areas, GroupAreas::Site { .. }));
    let superblock = NodeSuperblock {
        sequence: FIRST[0],
        disk: DiskId(random()?),
        node: spec.node,
        usage: if is_site { DiskUse::Site } else { DiskUse::Relay },
        size_bytes: size,
        created_ns: clock::now().wall,
        groups: u32::try_from(planned.len()).unwrap_or(GROUP_SLOTS),
        free_offset: used,
    };
    write_all(&file, &superblock, &planned)?;
    let areas =
        planned.iter().flat_map(|p| p.permit.areas().iter().map(|entry| (p.permit.group, *entry))).collect();
    Ok(Formatted { disk: superblock.disk, usage: superblock.usage, size, used, areas })
}

/// Chooses ids and places for everything; also says how many bytes of the disk it takes.
fn plan(spec: &FormatSpec) -> Result<(Vec<Planned>, u64), FormatError> {
    if spec.groups.is_empty() {
        return Err(FormatError::NoGroups { path: spec.path.clone() });
    }
    if u32::try_from(spec.groups.len()).map_or(true, |groups| groups > GROUP_SLOTS) {
        return Err(FormatError::TooManyGroups { groups: spec.groups.len() });
    }
    let mut at = AREAS_OFFSET;
    let mut planned: Vec<Planned> = Vec::new();
    for group in &spec.groups {
        if planned.iter().any(|other| other.permit.group == group.group) {
            return Err(FormatError::GroupTwice { group: group.group });
        }
        planned.push(plan_group(group, &mut at)?);
    }
    Ok((planned, at))
}

fn plan_group(group: &GroupFormat, at: &mut u64) -> Result<Planned, FormatError> {
    let mut permit =
        GroupPermit { sequence: FIRST[0], group: group.group, sites: group.sites, ..GroupPermit::default() };
    let (sizes, map) = match &group.areas {
        GroupAreas::Relay { ring, manifest, receipt } => {
            let sizes =
                vec![(AreaKind::Ring, *ring), (AreaKind::Manifest, *manifest), (AreaKind::Receipt, *receipt)];
            (sizes, None)
        }
        GroupAreas::Site { ring, volumes } => {
            let volumes = volume_sizes(group.group, volumes)?;
            let map_bytes = blocks_for(volumes.iter().map(|(_, size)| *size)) * BLOCK_U64;
            let sizes = vec![
                (AreaKind::State, 2 * BLOCK_U64),
                (AreaKind::DirtyMap, map_bytes),
                (AreaKind::Ring, *ring),
            ];
            (sizes, Some(DirtyMap::new(volumes)))
        }
    };
    for (kind, size) in sizes {
        if size == 0 || !is_whole_blocks(size) {
            return Err(FormatError::AreaSize { group: group.group, kind: kind_name(kind), size });
        }
        let start = *at + BLOCK_U64;
        // Sizes beyond any disk stay beyond it.
        *at = start.saturating_add(size).min(u64::MAX / 2);
        let (area, lane, hint) = (AreaId(random()?), group.lane, AreaHint::default());
        permit.areas.push(AreaEntry { area, kind, lane, start, size, hint });
    }
    Ok(Planned { permit, map })
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

/// Refuses a disk that has anything at its ends.
fn check_empty(file: &File) -> Result<(), FormatError> {
    let path = file.path();
    let first = read(file, 0, EDGE)?;
    let slot = |sequence| {
        let start = usize::try_from(node_offset(sequence)).unwrap_or(usize::MAX);
        first.get(start..).unwrap_or_default()
    };
    match NodeSuperblock::choose_slot(slot(0), slot(1)) {
        Ok(NodeSuperblock { node, usage, .. }) => {
            return Err(FormatError::Formatted { path: path.to_owned(), node, usage });
        }
        Err(BlockError::Magic | BlockError::Short) => {}
        Err(BlockError::Version(_)) => {
            return Err(not_empty(path, "it is a journal disk of another version of Midspan"));
        }
        Err(BlockError::Checksum | BlockError::Malformed) => {
            return Err(not_empty(path, "it is a journal disk whose superblock is damaged"));
        }
    }
    if let Some(found) = signature::of(&first) {
        return Err(not_empty(path, found));
    }
    let last = read(file, file.size().saturating_sub(EDGE), EDGE)?;
    if last.iter().any(|byte| *byte != 0) {
        return Err(not_empty(
            path,
            "there is data in its last MiB, as of a RAID member or a partition table's copy",
        ));
    }
    Ok(())
}

fn not_empty(path: &Path, found: &'static str) -> FormatError {
    FormatError::NotEmpty { path: path.to_owned(), found }
}

fn write_all(file: &File, superblock: &NodeSuperblock, planned: &[Planned]) -> Result<(), FormatError> {
    let (first, last) = (node_offset(0), node_offset(1) + BLOCK_U64);
    zero(file, first, last)?;
    zero(file, last, AREAS_OFFSET.min(superblock.size_bytes))?;
    zero(file, superblock.size_bytes.saturating_sub(EDGE).max(last), superblock.size_bytes)?;
    for Planned { permit, map } in planned {
        for entry in permit.areas() {
            write_area(file, superblock, permit.group, entry, map.as_ref())?;
        }
    }
    // Both slots from the beginning: most of these blocks are never written again, and one may rot.
    for (slot, Planned { permit, .. }) in (0..).zip(planned) {
        for sequence in FIRST {
            let permit = GroupPermit { sequence, ..*permit };
            write(file, permit_offset(slot, sequence), |block| permit.encode(block))?;
        }
    }
    for sequence in FIRST {
        let superblock = NodeSuperblock { sequence, ..*superblock };
        write(file, node_offset(sequence), |block| superblock.encode(block))?;
    }
    Ok(())
}

fn write_area(
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

fn zero(file: &File, start: u64, end: u64) -> Result<(), FormatError> {
    let zeroes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
    file.write_at(&zeroes, start).map_err(|errno| failed(file, "writing", start, errno))
}

fn write(file: &File, offset: u64, encode: impl FnOnce(&mut [u8; BLOCK])) -> Result<(), FormatError> {
    let mut block = [0; BLOCK];
    encode(&mut block);
    file.write_at(&block, offset).map_err(|errno| failed(file, "writing", offset, errno))
}

fn read(file: &File, offset: u64, length: u64) -> Result<Vec<u8>, FormatError> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let count = file.read_at(&mut bytes, offset).map_err(|errno| failed(file, "reading", offset, errno))?;
    bytes.truncate(count);
    Ok(bytes)
}

fn failed(file: &File, action: &'static str, offset: u64, errno: Errno) -> FormatError {
    FormatError::Disk { path: file.path().to_owned(), action, offset, errno }
}

/// Sixteen random bytes; never all zero, which names nothing.
fn random() -> Result<[u8; 16], FormatError> {
    let mut bytes = [0; 16];
    let filled = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    filled.map_err(|error| FormatError::Random(error.into()))?;
    if bytes == [0; 16] { Err(FormatError::Random(Errno::IO)) } else { Ok(bytes) }
}

/// What a disk was formatted for, in words.
pub fn usage_name(usage: DiskUse) -> &'static str {
    match usage {
        DiskUse::Relay => "relay",
        DiskUse::Site => "site",
    }
}

/// An area's kind in words.
pub fn kind_name(kind: AreaKind) -> &'static str {
    match kind {
        AreaKind::Ring => "ring",
        AreaKind::Manifest => "manifest",
        AreaKind::Receipt => "receipt",
        AreaKind::State => "state",
        AreaKind::DirtyMap => "dirty map",
    }
}
