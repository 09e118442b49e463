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

use std::path::{Path, PathBuf};

use midspan_format::area::AreaKind;
use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::{BLOCK_U64, is_whole_blocks};
use midspan_format::ids::{DiskId, GroupId, NodeId};
use midspan_format::superblock::{
    AREAS_OFFSET, AreaEntry, BlockError, GROUP_SLOTS, GroupPermit, NodeSuperblock, node_offset, permit_offset,
};
use midspan_uring::File;
use midspan_uring::file::Access;

pub use midspan_format::superblock::DiskUse;

pub use areas::{GroupAreas, GroupFormat, LaneSizes};
pub use error::FormatError;

use crate::clock;
use crate::signature;
use areas::{Needs, new_area, random, read, write, write_area, zero};

pub(crate) mod areas;
mod error;

/// Bytes at either end of a disk that say whether it is in use for something.
const EDGE: u64 = 1 << 20;
/// Sequences of what is written first, one for each slot.
pub(crate) const FIRST: [u64; 2] = [1, 2];

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
    let needs = Needs::of(group)?;
    for (kind, size) in needs.areas {
        let entry = new_area(kind, group.lane, *at, size)?;
        // Sizes beyond any disk stay beyond it.
        *at = entry.start.saturating_add(size).min(u64::MAX / 2);
        permit.areas.push(entry);
    }
    Ok(Planned { permit, map: needs.map })
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
        AreaKind::OwnRing => "own ring",
    }
}
