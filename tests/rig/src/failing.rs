//! A disk that fails on demand: a loop device on a file that `nbdfuse` shows, behind the error filter of `nbdkit`.

use std::fs::{self, File};
use std::path::Path;

use super::folder::Folder;
use super::program::{Background, Program};
use super::{LIMIT, wait_for};

/// What a disk answers with EIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// Each read.
    Reads,
    /// Each write, zeroes and trims included. A flush says nothing.
    Writes,
}

impl Fails {
    const ALL: [Fails; 2] = [Fails::Reads, Fails::Writes];

    /// The file whose presence switches it on.
    const fn switch(self) -> &'static str {
        match self {
            Fails::Reads => "reads-fail",
            Fails::Writes => "writes-fail",
        }
    }
}

/// Such a disk; taken away when dropped, which must be after the node that has it open.
#[derive(Debug)]
pub struct Failing {
    _fuse: Background,
    device: String,
    folder: Folder,
}

impl Failing {
    /// Takes the place of a file that no node has open yet: what is in it is the disk's content.
    pub fn in_place_of(path: &Path) -> Self {
        let folder = Folder::new();
        let (content, shown) = (folder.file("content"), folder.file("fuse"));
        fs::rename(path, &content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::create_dir(&shown).unwrap();
        let disk = shown.join("disk");
        let kinds = [("pread", Fails::Reads), ("pwrite", Fails::Writes), ("zero", Fails::Writes)];
        let filter = kinds.into_iter().chain([("trim", Fails::Writes)]).flat_map(|(kind, fails)| {
            let switch = folder.file(fails.switch());
            [format!("error-{kind}-rate=100%"), format!("error-{kind}-file={}", switch.display())]
        });
        let server =
            Program::new("nbdfuse").arg(&disk).args(["--command", "nbdkit", "-s", "--filter=error", "file"]);
        let server = server.arg(format!("file={}", content.display())).arg("error=EIO").args(filter);
        let mut fuse = server.start(&folder.file("server"));
        wait_for("nbdfuse should show the disk", LIMIT, || {
            assert!(fuse.ended().is_none(), "nbdfuse has ended: {}", fuse.err());
            disk.exists().then_some(())
        });
        let losetup = Program::new("losetup").args(["--direct-io=on", "--find", "--show"]).arg(&disk);
        let device = losetup.run().well().trim().to_owned();
        let failing = Self { _fuse: fuse, device, folder };
        std::os::unix::fs::symlink(&failing.device, path).unwrap();
        failing
    }

    /// From now on it fails.
    pub fn fail(&self, what: Fails) {
        File::create(self.folder.file(what.switch())).unwrap();
    }

    /// It works again; what it refused is lost.
    pub fn heal(&self) {
        for what in Fails::ALL {
            // It may have worked all the time.
            let _ = fs::remove_file(self.folder.file(what.switch()));
        }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = Program::new("losetup").args(["--detach", &self.device]).run();
        let _ = Program::new("umount").arg("--lazy").arg(self.folder.file("fuse")).run();
    }
}
