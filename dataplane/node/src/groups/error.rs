//! Why a group cannot be added to a journal disk or removed from it, in sentences that name the disk and what to do.

use std::path::PathBuf;

use midspan_format::ids::GroupId;
use midspan_format::superblock::GROUP_SLOTS;

use crate::boot::BootError;
use crate::format::FormatError;

/// Why a group cannot be added to a journal disk, or removed from it. Nothing was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The disk, or what stands on it.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// What the group needs, or reading the disk.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It does not fit.
    #[error(
        "the journal disk {} has no room for group {group}: {needed} bytes are needed and {free} are free, the largest piece \
         of them {largest}; enlarge the disk, delete a group, or make the group's areas smaller",
        .path.display()
    )]
    NoRoom {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// Bytes of its areas with their superblocks.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Those of them that follow each other.
        largest: u64,
    },
    /// All places for permits are taken.
    #[error(
        "the journal disk {} has no place for group {group}: each of its {GROUP_SLOTS} places holds a group or what a deleted \
         one left behind",
        .path.display()
    )]
    NoSlot {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
    },
    /// It is there, and was started.
    #[error(
        "the journal disk {} holds group {group}, and it was in use, although the config does not have it: put its tables back \
         into the config to use it, or remove it with `midspan group delete {group}`",
        .path.display()
    )]
    InUse {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
    },
    /// It is there with other sites or areas.
    #[error(
        "the journal disk {} holds group {group} already, with other sites or sizes: remove it with `midspan group delete \
         {group}`, and create it again",
        .path.display()
    )]
    Otherwise {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
    },
}
