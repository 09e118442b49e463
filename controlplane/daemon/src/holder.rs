//! Which process has a disk open, so that a refusal can say what to stop.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A process that has a disk open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// The first other process that has the disk open, as far as this one may look.
pub fn of(disk: &Path) -> Option<Holder> {
    let disk = std::fs::metadata(disk).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut pids: Vec<u32> =
        processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let pid = pids.into_iter().filter(|pid| *pid != std::process::id()).find(|pid| has_open(*pid, &disk))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder { pid, name: name.trim().to_owned() })
}

fn has_open(pid: u32, disk: &Metadata) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    // Links in this folder are followed to what is open, whatever name it has now.
    let opened = descriptors.flatten().filter_map(|entry| std::fs::metadata(entry.path()).ok());
    opened.into_iter().any(|opened| is_same(&opened, disk))
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    match (a.file_type().is_block_device(), b.file_type().is_block_device()) {
        (true, true) => a.rdev() == b.rdev(),
        (false, false) => a.dev() == b.dev() && a.ino() == b.ino(),
        (true, false) | (false, true) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_process_that_has_a_disk_open_is_found_by_any_name_of_it() {
        let path = std::env::temp_dir().join(format!("midspan-holder-{}", std::process::id()));
        let other = path.with_extension("link");
        std::fs::write(&path, "x").unwrap();
        std::fs::hard_link(&path, &other).unwrap();
        assert_eq!(of(&path), None);
        let input = std::fs::File::open(&path).unwrap();
        let mut command = Command::new("sleep");
        let mut sleep = command.arg("60").stdin(input).stdout(Stdio::null()).spawn().unwrap();
        drop(command);
        let found = of(&other);
        sleep.kill().unwrap();
        sleep.wait().unwrap();
        for path in [path, other] {
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(found, Some(Holder { pid: sleep.id(), name: "sleep".into() }));
    }
}
