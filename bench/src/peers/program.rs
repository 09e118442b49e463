//! Which peers there are, which programs each needs, and where those are found or come from.

use std::path::PathBuf;

use serde::Serialize;

/// A server that Midspan is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// A synchronous mirror: every write is answered when a local and a remote node have it.
    Quorum,
    /// One node, no replication.
    QemuNbd,
    /// One node, no replication.
    Nbdkit,
}

/// A program that a peer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its file name.
    pub name: &'static str,
    /// Debian's package of it.
    pub package: &'static str,
}

/// qemu's server of one disk.
pub const QEMU_NBD: Program = Program { name: "qemu-nbd", package: "qemu-utils" };
/// qemu's block layer without a machine: the mirror's near node.
pub const STORAGE_DAEMON: Program = Program { name: "qemu-storage-daemon", package: "qemu-utils" };
/// A server whose disks are plugins.
pub const NBDKIT: Program = Program { name: "nbdkit", package: "nbdkit" };

impl Peer {
    /// All of them; the first is the one that does what Midspan does.
    pub const ALL: [Peer; 3] = [Peer::Quorum, Peer::QemuNbd, Peer::Nbdkit];

    /// Its name in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Peer::Quorum => "quorum",
            Peer::QemuNbd => "qemu_nbd",
            Peer::Nbdkit => "nbdkit",
        }
    }

    const fn programs(self) -> &'static [Program] {
        match self {
            Peer::Quorum => &[STORAGE_DAEMON, QEMU_NBD],
            Peer::QemuNbd => &[QEMU_NBD],
            Peer::Nbdkit => &[NBDKIT],
        }
    }

    /// The first program that it needs and that is not installed.
    pub fn missing(self) -> Option<Program> {
        self.programs().iter().copied().find(|program| program.find().is_none())
    }
}

impl Program {
    /// Where it is, in the folders of `PATH` and those of administrators.
    pub fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        folders.map(|folder| folder.join(self.name)).find(|file| file.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_it_is_and_not_where_it_is_not() {
        assert!(Program { name: "sh", package: "dash" }.find().is_some());
        assert_eq!(Program { name: "no-such-program-here", package: "none" }.find(), None);
    }

    #[test]
    fn every_peer_needs_a_program_and_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Peer::ALL.iter().map(|peer| peer.name()).collect();
        assert_eq!(names.len(), Peer::ALL.len());
        assert!(Peer::ALL.iter().all(|peer| !peer.programs().is_empty()));
    }
}
