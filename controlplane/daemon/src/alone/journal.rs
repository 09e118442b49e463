//! What a site's journal disk records of a group: its state, and its map of what may differ.

use std::io;

use midspan_format::area::AreaKind;
use midspan_format::dirty_map::DirtyMap;
use midspan_format::geometry::{BLOCK, BLOCK_U64};
use midspan_format::ids::{GroupId, LaneId, VolumeId};
use midspan_format::superblock::{
    BlockError, GROUP_SLOTS, GroupPermit, GroupState, permit_offset, state_offset,
};

use super::direct::Disk;

/// Why the recorded state of a group cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk cannot be read.
    #[error("reading at {offset} failed: {error}")]
    Read {
        /// Where, bytes.
        offset: u64,
        /// The system's word.
        error: io::Error,
    },
    /// No permit names its areas.
    #[error("it holds no state and no dirty map of group {0}")]
    NoAreas(GroupId),
    /// Neither slot of its state is valid.
    #[error("the state of group {group} at {offset} cannot be read: {error}")]
    State {
        /// The group.
        group: GroupId,
        /// Where, bytes.
        offset: u64,
        /// What is wrong with it.
        error: BlockError,
    },
}

/// The state of a group, and where its map begins.
///
/// # Errors
/// One sentence with what is wrong.
pub fn state(disk: &Disk, group: GroupId, lane: LaneId) -> Result<(GroupState, u64), JournalError> {
    let (offset, map_at) = areas(disk, group, lane)?;
    let [a, b] = [0, 1].map(|sequence| blocks(disk, state_offset(offset, sequence), 1));
    let state = GroupState::choose_slot(&a?, &b?);
    let state = state.map_err(|error| JournalError::State { group, offset, error })?;
    Ok((state, map_at))
}

/// The map at this place, over volumes of these sizes, in the order in which they were formatted.
///
/// # Errors
/// The disk cannot be read. A damaged block is no error: all that it covers counts as marked.
pub fn map(
    disk: &Disk,
    offset: u64,
    volumes: impl Iterator<Item = (VolumeId, u64)>,
) -> Result<DirtyMap, JournalError> {
    let mut map = DirtyMap::new(volumes);
    let bytes = blocks(disk, offset, map.blocks())?;
    for index in 0..map.blocks() {
        let _ = map.load_block(index, bytes.get(index * BLOCK..).unwrap_or_default());
    }
    Ok(map)
}

/// Where the group's state and its map begin.
fn areas(disk: &Disk, group: GroupId, lane: LaneId) -> Result<(u64, u64), JournalError> {
    for slot in 0..GROUP_SLOTS {
        let [a, b] = [0, 1].map(|sequence| blocks(disk, permit_offset(slot, sequence), 1));
        let Ok(permit) = GroupPermit::choose_slot(&a?, &b?) else { continue };
        let area = |kind| permit.areas().iter().find(|entry| entry.kind == kind && entry.lane == lane);
        if permit.group == group
            && !permit.deleted
            && let (Some(state), Some(map)) = (area(AreaKind::State), area(AreaKind::DirtyMap))
        {
            return Ok((state.start, map.start));
        }
    }
    Err(JournalError::NoAreas(group))
}

fn blocks(disk: &Disk, offset: u64, count: usize) -> Result<Vec<u8>, JournalError> {
    debug_assert!(offset.is_multiple_of(BLOCK_U64), "the disk is read in whole blocks");
    disk.read(offset, count.saturating_mul(BLOCK)).map_err(|error| JournalError::Read { offset, error })
}
