//! A disk served alone, without replication: `midspan nbd serve`.

use std::path::{Path, PathBuf};

use super::folder::{Folder, create_disk};
use super::program::{Background, Program, midspan};
use super::shape::free_ports;
use super::{LIMIT, wait_for};

/// `midspan nbd serve` on a disk of its own, on a unix socket and by TCP.
#[derive(Debug)]
pub struct Lone {
    server: Background,
    port: u16,
    folder: Folder,
}

impl Lone {
    /// Name of its export.
    pub const EXPORT: &str = "disk";

    /// Serves a new disk of so many bytes.
    pub fn serve(bytes: u64) -> Self {
        let folder = Folder::new();
        create_disk(&folder.file("disk"), bytes);
        let [port] = free_ports();
        Self { server: start(&folder, port), port, folder }
    }

    /// Kills the server, and serves the same disk again.
    pub fn again(&mut self) {
        self.server.kill();
        self.server = start(&self.folder, self.port);
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.file("nbd")
    }

    /// Where clients find it.
    pub fn uri(&self) -> String {
        uri(&self.socket())
    }

    /// Where clients find it by TCP.
    pub fn tcp_uri(&self) -> String {
        format!("nbd://127.0.0.1:{}/{}", self.port, Self::EXPORT)
    }

    /// The server's process.
    pub fn server(&mut self) -> &mut Background {
        &mut self.server
    }
}

fn uri(socket: &Path) -> String {
    format!("nbd+unix:///{}?socket={}", Lone::EXPORT, socket.display())
}

fn start(folder: &Folder, port: u16) -> Background {
    let socket = folder.file("nbd");
    let program = Program::new(midspan()).args(["nbd", "serve"]).arg(folder.file("disk"));
    let program = program.args(["--export", Lone::EXPORT, "--socket"]).arg(&socket);
    let mut server = program.args(["--listen", &format!("127.0.0.1:{port}")]).start(&folder.file("server"));
    wait_for("the disk should be served", LIMIT, || {
        assert!(server.ended().is_none(), "the server has ended: {}", server.err());
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    server
}
