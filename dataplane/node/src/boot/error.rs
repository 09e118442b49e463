//! Why a node cannot start with a journal disk, in sentences that name the disk and what to do.

use std::path::PathBuf;

use midspan_format::area::AreaKind;
use midspan_format::geometry::BLOCK_U64;
use midspan_format::ids::{AreaId, DiskId, GroupId, LaneId, NodeId, VolumeId};
use midspan_format::superblock::{BlockError, DiskUse};
use midspan_format::version::DISK_VERSION;
use midspan_uring::Errno;
use midspan_uring::file::FileError;

use crate::format::{kind_name, usage_name};

/// Why a node cannot start with a journal disk. Each sentence names the disk and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// It cannot be opened.
    #[error("the journal disk: {0}")]
    File(#[from] FileError),
    /// Reading failed.
    #[error("the journal disk {}: reading at {offset} failed: {errno}", .path.display())]
    Read {
        /// The disk.
        path: PathBuf,
        /// Where, bytes.
        offset: u64,
        /// The kernel's word.
        errno: Errno,
    },
    /// Its size is not a whole number of blocks.
    #[error("the journal disk {} has {size} bytes, which is not a positive multiple of {BLOCK_U64}", .path.display())]
    DiskSize {
        /// The disk.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
    /// It was never formatted.
    #[error(
        "{} is not a journal disk: no node superblock stands there; format it with `midspan relay format` or `midspan \
         site format`, or correct `journal` in the config",
        .path.display()
    )]
    NotFormatted {
        /// The disk.
        path: PathBuf,
    },
    /// Of another version.
    #[error(
        "the journal disk {} has format version {version}, and this program knows {DISK_VERSION}: run the version of \
         Midspan that formatted it, or give up what is on it and format it anew with `--force`",
        .path.display()
    )]
    Version {
        /// The disk.
        path: PathBuf,
        /// The version.
        version: u16,
    },
    /// The superblock is damaged in both places.
    #[error(
        "the journal disk {}: the node superblock is damaged in both places: {error}; `midspan journal dump` shows \
         what is left",
        .path.display()
    )]
    Damaged {
        /// The disk.
        path: PathBuf,
        /// What is wrong.
        error: BlockError,
    },
    /// Of another node.
    #[error(
        "the journal disk {} belongs to node {found}, and this is node {node}: correct `journal` or `id` in the config",
        .path.display()
    )]
    OtherNode {
        /// The disk.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who wants it.
        node: NodeId,
    },
    /// For another use.
    #[error(
        "the journal disk {} was formatted for a {}, and this node is a {}: correct `journal` or the groups' `role` in \
         the config, or format it with `midspan {} format`",
        .path.display(), usage_name(*.found), usage_name(*.wanted), usage_name(*.wanted)
    )]
    OtherUse {
        /// The disk.
        path: PathBuf,
        /// What it was formatted for.
        found: DiskUse,
        /// What it is wanted for.
        wanted: DiskUse,
    },
    /// Smaller than it was.
    #[error(
        "the journal disk {} has {size} bytes, and had {formatted} when it was formatted: it was cut, or is a partial \
         copy",
        .path.display()
    )]
    Shorter {
        /// The disk.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// Its bytes when it was formatted.
        formatted: u64,
    },
    /// A permit is damaged.
    #[error(
        "the journal disk {}: the permit in slot {slot} is damaged in both places: {error}; who may write is not known \
         any more, so nothing of the group is served: format the disk again",
        .path.display()
    )]
    Permit {
        /// The disk.
        path: PathBuf,
        /// The slot.
        slot: u32,
        /// What is wrong.
        error: BlockError,
    },
    /// Two permits of one group.
    #[error("the journal disk {}: two permits name group {group}: format the disk again", .path.display())]
    PermitTwice {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
    },
    /// No permit of the group.
    #[error(
        "the journal disk {} has nothing of group {group}: take its tables out of the config and add it with `midspan group \
         create`, or format the disk with a config that has the group",
        .path.display()
    )]
    NoGroup {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
    },
    /// The group was deleted.
    #[error(
        "the journal disk {}: group {group} was deleted there, and the config still has it: `midspan group delete` takes it \
         out of the config, too",
        .path.display()
    )]
    Deleted {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
    },
    /// The group has other sites.
    #[error(
        "the journal disk {} was formatted for the sites {} and {} of group {group}: correct `sites` in the config, or \
         format it again",
        .path.display(), .found[0], .found[1]
    )]
    OtherSites {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// Its sites there.
        found: [NodeId; 2],
    },
    /// An area is missing.
    #[error(
        "the journal disk {} has no {} area of group {group}, lane {lane}: correct `lanes` in the config, or format it \
         again",
        .path.display(), kind_name(*.kind)
    )]
    NoArea {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// The lane.
        lane: LaneId,
        /// What it should hold.
        kind: AreaKind,
    },
    /// A lane of the group was to stand at this site.
    #[error(
        "the journal disk {}: group {group} has a lane at this node in the config, and no areas for it on the disk: take that \
         lane out of the config, or remove the group with `midspan group delete` and create it again",
        .path.display()
    )]
    NoLane {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
    },
    /// An area's own superblock is damaged.
    #[error(
        "the journal disk {}: the superblock of the {} area of group {group} at {offset}: {error}; `midspan journal \
         dump` shows what is left",
        .path.display(), kind_name(*.kind)
    )]
    Area {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// What the area should hold.
        kind: AreaKind,
        /// Where its superblock should be, bytes.
        offset: u64,
        /// What is wrong.
        error: BlockError,
    },
    /// Another area stands at its place.
    #[error(
        "the journal disk {}: at {offset} is area {found} of disk {disk}, not the {} area of group {group}: the disk \
         was overwritten, or put together from others; format it again",
        .path.display(), kind_name(*.kind)
    )]
    OtherArea {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// What the area should hold.
        kind: AreaKind,
        /// Where its superblock should be, bytes.
        offset: u64,
        /// The area found.
        found: AreaId,
        /// The disk it was made on.
        disk: DiskId,
    },
    /// An area reaches beyond the disk's end, or into its fixed places.
    #[error("the journal disk {}: the {} area of group {group} lies outside the disk", .path.display(), kind_name(*.kind))]
    AreaOutside {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// What it should hold.
        kind: AreaKind,
    },
    /// The state of a group is damaged.
    #[error(
        "the journal disk {}: the state of group {group} at {offset} is damaged in both places: {error}; role, epoch \
         and cut of this site are lost with it: format the disk again and copy the volumes from the other site",
        .path.display()
    )]
    State {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// Where, bytes.
        offset: u64,
        /// What is wrong.
        error: BlockError,
    },
    /// The state of another group.
    #[error("the journal disk {}: at {offset} is the state of group {found}, not of group {group}", .path.display())]
    OtherState {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// Where, bytes.
        offset: u64,
        /// Whose state it is.
        found: GroupId,
    },
    /// The dirty map does not cover the volumes.
    #[error(
        "the journal disk {}: the dirty map of group {group} has {blocks} blocks, and its volumes need {needed}: the \
         volumes are larger than when the disk was formatted; state their former `size`, or format it again",
        .path.display()
    )]
    DirtyMapSize {
        /// The disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// Its blocks.
        blocks: u64,
        /// The blocks needed.
        needed: u64,
    },
    /// A volume is on another disk than it was.
    #[error(
        "group {group}: volume {volume} is another disk than the one that joined the group; nothing of it is believed: \
         correct its `path`, or format the journal disk {} again and copy the volumes from the other site",
        .path.display()
    )]
    OtherVolume {
        /// The journal disk.
        path: PathBuf,
        /// The group.
        group: GroupId,
        /// The volume.
        volume: VolumeId,
    },
    /// A volume has another size than it had.
    #[error(
        "group {group}: volume {volume} has {size} bytes, and had {recorded} when it joined the group: state its \
             former `size`"
    )]
    VolumeSize {
        /// The group.
        group: GroupId,
        /// The volume.
        volume: VolumeId,
        /// Its bytes.
        size: u64,
        /// Its bytes as recorded.
        recorded: u64,
    },
    /// A volume that is not of the group.
    #[error(
        "group {group}: volume {volume} is configured, and did not join the group when it first started: remove it \
             from the config, or format the journal disks of the group again"
    )]
    NewVolume {
        /// The group.
        group: GroupId,
        /// The volume.
        volume: VolumeId,
    },
    /// A volume of the group is not configured.
    #[error(
        "group {group}: volume {volume} belongs to the group and is not configured: add it to the config"
    )]
    MissingVolume {
        /// The group.
        group: GroupId,
        /// The volume.
        volume: VolumeId,
    },
}
