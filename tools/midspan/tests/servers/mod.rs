//! NBD servers for the tests: those of this machine, each in a folder and on a socket of its own, and one that lies.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod liar;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use midspan::clock::{Clock, Signal};
use midspan::nbd_client::Client;

/// A folder that is removed at the end of the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("midspan-hammer-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A sparse file of this size.
    pub fn disk(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.path(name);
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server process, killed at the end of the test.
pub struct Server {
    child: Child,
    pub uri: String,
}

impl Server {
    /// `qemu-nbd` on a file, over a unix socket; `None`, with the reason printed, if it is not installed.
    pub fn qemu_nbd(disk: &Path, socket: &Path) -> Option<Self> {
        let _ = fs::remove_file(socket);
        let mut command = Command::new("qemu-nbd");
        command
            .args(["-f", "raw", "-t", "-e", "64", "-x", "vol", "--discard=unmap", "-k"])
            .arg(socket)
            .arg(disk);
        Self::spawn(command, format!("nbd+unix:///vol?socket={}", socket.display()))
    }

    /// `nbdkit` with its memory plugin, over TCP; `None`, with the reason printed, if it is not installed.
    pub fn nbdkit_memory(size: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("nbdkit");
        command.args(["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "memory", size]);
        Self::spawn(command, format!("nbd://127.0.0.1:{port}/"))
    }

    fn spawn(mut command: Command, uri: String) -> Option<Self> {
        let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: {:?} cannot be started: {error}", command.get_program());
                return None;
            }
        };
        let server = Self { child, uri };
        let since = Clock::starting_at(0);
        while let Err(error) = Client::connect(&server.uri, Duration::from_secs(5)) {
            assert!(since.elapsed() < Duration::from_secs(20), "the server does not come up: {error}");
            pause(20);
        }
        Some(server)
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets a run go on for a while.
pub fn pause(milliseconds: u64) {
    Signal::default().wait(Duration::from_millis(milliseconds));
}
