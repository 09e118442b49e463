//! Why a journal disk was not formatted, in sentences that name the disk and what to do.

use std::path::PathBuf;

use midspan_format::geometry::BLOCK_U64;
use midspan_format::ids::{GroupId, NodeId};
use midspan_format::superblock::{DiskUse, GROUP_SLOTS, MAX_VOLUMES};
use midspan_uring::Errno;
use midspan_uring::file::FileError;

use super::usage_name;
use crate::volume::VolumeError;

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
