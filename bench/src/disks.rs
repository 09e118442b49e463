//! The nodes' disks: preallocated files in a temporary folder, or loop devices over files in memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use midspan_uring::File;

use crate::guard::Guard;

/// Where memory is a file system.
pub const MEMORY: &str = "/dev/shm";

/// A folder with disks; both are gone when it is dropped.
#[derive(Debug)]
pub struct Disks {
    folder: PathBuf,
    loops: Vec<PathBuf>,
    in_memory: bool,
    is_kept: bool,
    guard: Guard,
}

impl Disks {
    /// Makes a folder of its own in `parent`; `in_memory` puts loop devices over the files there. `keep` leaves it at the end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(parent: &Path, in_memory: bool, keep: bool) -> Result<Self> {
        let folder = parent.join(format!("midspan-bench-{}", std::process::id()));
        let mut guard = Guard::start()?;
        std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        if !keep {
            guard.remove(&folder)?;
        }
        Ok(Self { folder, loops: Vec::new(), in_memory, is_kept: keep, guard })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a disk of so many zero bytes and returns its path.
    ///
    /// # Errors
    /// What the file system says, or `losetup`.
    pub fn add(&mut self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.folder.join(name);
        File::preallocate(&path, bytes, &mut |_| {})?;
        if !self.in_memory {
            return Ok(path);
        }
        let mut command = Command::new("losetup");
        command.args(["--find", "--show", "--direct-io=on"]).arg(&path);
        let output = command.output().context("running losetup (package util-linux)")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("no loop device over {}: {} (--ram needs root)", path.display(), said.trim());
        }
        let device = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        self.guard.detach(&device)?;
        self.loops.push(device.clone());
        Ok(device)
    }

    /// A process that uses the disks and must not outlive this one.
    ///
    /// # Errors
    /// When the guard has ended.
    pub fn guard(&mut self, pid: u32) -> Result<()> {
        self.guard.kill(pid)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for device in &self.loops {
            // A device that is still in use a moment longer goes when its last user does.
            let _ = Command::new("losetup").arg("--detach").arg(device).status();
        }
        if !self.is_kept {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_there_with_their_size_and_gone_at_the_end() {
        let mut disks = Disks::create(&std::env::temp_dir(), false, false).unwrap();
        let path = disks.add("one", 1 << 20).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        let error = disks.add("one", 1 << 20).unwrap_err().to_string();
        assert!(error.contains("one") && error.contains("exists"), "{error}");
        let folder = disks.folder().to_owned();
        drop(disks);
        assert!(!folder.exists());
    }
}
