//! Why the data plane does not start or format: each error with its exit code and what would help.

use std::io;
use std::path::Path;

use midspan_format::geometry::BLOCK_U64;
use midspan_node::boot::BootError;
use midspan_node::config::FileError;
use midspan_node::format::FormatError;
use midspan_node::groups::GroupError;
use midspan_node::node::StartError;
use midspan_node::volume::VolumeError;

use crate::config::Config;
use crate::exit::{self, Failure};
use crate::holder;

/// What would help where a disk is missing.
const HINT: &str =
    "`midspan volume create PATH --size SIZE` makes a preallocated file; a block device is named as it is";

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Boot(error) => of_journal(error),
            StartError::Volume { .. } | StartError::Lone(_) | StartError::AddressInUse { .. } => {
                exit::REFUSED
            }
            StartError::NoCores
            | StartError::VolumeCount { .. }
            | StartError::GroupTwice { .. }
            | StartError::NoJournal { .. }
            | StartError::UnknownVolume { .. }
            | StartError::ExportTwice { .. }
            | StartError::Listen { .. }
            | StartError::Shard(_)
            | StartError::Resources(_) => exit::FAILURE,
        };
        if let StartError::Lone(error) = &error {
            return Self::new(code, of_lone(error));
        }
        let used = match &error {
            StartError::Boot(BootError::File(error)) => who_has(error),
            StartError::Volume { error, .. } => who_has_volume(error),
            StartError::Boot(_)
            | StartError::Lone(_)
            | StartError::AddressInUse { .. }
            | StartError::NoCores
            | StartError::VolumeCount { .. }
            | StartError::GroupTwice { .. }
            | StartError::NoJournal { .. }
            | StartError::UnknownVolume { .. }
            | StartError::ExportTwice { .. }
            | StartError::Listen { .. }
            | StartError::Shard(_)
            | StartError::Resources(_) => None,
        };
        Self::new(code, error).hint(used.unwrap_or_default())
    }
}

/// Why a journal disk cannot be opened by a command that needs the node stopped: with the way to stop it.
pub fn of_stopped(error: BootError, api: &Path) -> Failure {
    let used = if let BootError::File(error) = &error { who_has_beside(error, Some(api)) } else { None };
    Failure::new(of_journal(&error), error).hint(used.unwrap_or_default())
}

fn who_has(error: &FileError) -> Option<String> {
    who_has_beside(error, None)
}

/// Who has a disk open that cannot be opened for that, and how it is ended: a node by the socket of its API.
fn who_has_beside(error: &FileError, api: Option<&Path>) -> Option<String> {
    let FileError::AlreadyOpen { path } = error else { return None };
    let holder = holder::of(path)?;
    let stop = match (holder.name == "midspand", api) {
        (true, Some(api)) => format!("`midspan stop --socket {}` ends it", api.display()),
        (true, None) => "end it with `midspan stop` first".to_owned(),
        (false, Some(_) | None) => "end it first".to_owned(),
    };
    Some(format!("{} (process {}) has it open: {stop}", holder.name, holder.pid))
}

fn who_has_volume(error: &VolumeError) -> Option<String> {
    match error {
        VolumeError::File { error, .. } => who_has(error),
        VolumeError::DiskSize { .. } | VolumeError::WantedSize { .. } | VolumeError::TooSmall { .. } => None,
    }
}

/// A lone disk has no number, and no configuration that could state its size.
fn of_lone(error: &VolumeError) -> String {
    match error {
        VolumeError::File { error, .. } => error.to_string(),
        VolumeError::DiskSize { path, size, .. } => {
            format!("{} has {size} bytes, which is not a positive multiple of {BLOCK_U64}", path.display())
        }
        VolumeError::WantedSize { .. } | VolumeError::TooSmall { .. } => error.to_string(),
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        let used = match &error {
            FormatError::File(error) => who_has(error),
            FormatError::Volume { error, .. } => who_has_volume(error),
            FormatError::DiskSize { .. }
            | FormatError::TooSmall { .. }
            | FormatError::Formatted { .. }
            | FormatError::NotEmpty { .. }
            | FormatError::Disk { .. }
            | FormatError::VolumeCount { .. }
            | FormatError::AreaSize { .. }
            | FormatError::NoGroups { .. }
            | FormatError::TooManyGroups { .. }
            | FormatError::GroupTwice { .. }
            | FormatError::Random(_) => None,
        };
        Self::new(of_format(&error), error).hint(used.unwrap_or_default())
    }
}

const fn of_format(error: &FormatError) -> u8 {
    match error {
        FormatError::File(_)
        | FormatError::Volume { .. }
        | FormatError::DiskSize { .. }
        | FormatError::TooSmall { .. }
        | FormatError::Formatted { .. }
        | FormatError::NotEmpty { .. } => exit::REFUSED,
        FormatError::Disk { .. }
        | FormatError::VolumeCount { .. }
        | FormatError::AreaSize { .. }
        | FormatError::NoGroups { .. }
        | FormatError::TooManyGroups { .. }
        | FormatError::GroupTwice { .. }
        | FormatError::Random(_) => exit::FAILURE,
    }
}

impl From<BootError> for Failure {
    fn from(error: BootError) -> Self {
        let used = if let BootError::File(error) = &error { who_has(error) } else { None };
        Self::new(of_journal(&error), error).hint(used.unwrap_or_default())
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Boot(error) => error.into(),
            GroupError::Format(error) => error.into(),
            GroupError::NoRoom { .. }
            | GroupError::NoSlot { .. }
            | GroupError::InUse { .. }
            | GroupError::Otherwise { .. } => Self::new(exit::REFUSED, error),
        }
    }
}

/// A disk that cannot be read is a failure; whatever is wrong with what stands on it is its state.
const fn of_journal(error: &BootError) -> u8 {
    if matches!(error, BootError::Read { .. }) { exit::FAILURE } else { exit::REFUSED }
}

/// Refuses a configuration that names disks that are not there.
///
/// # Errors
/// The first of them.
pub fn check_disks(config: &Config) -> Result<(), Failure> {
    check_disk("the journal disk", &config.node.journal)?;
    for group in &config.groups {
        for volume in &group.volumes {
            check_disk(&format!("volume {} of group {}:", volume.name, group.name), &volume.path)?;
        }
    }
    Ok(())
}

/// Refuses a disk that is not there.
///
/// # Errors
/// It is not.
pub fn check_disk(what: &str, path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(exit::NOT_FOUND, format!("{what} {} does not exist", path.display())).hint(HINT))
        }
        // Whatever else is wrong shows when it is opened.
        Ok(_) | Err(_) => Ok(()),
    }
}
