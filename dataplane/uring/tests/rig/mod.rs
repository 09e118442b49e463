//! What the suites of this crate share: a scratch directory, a pool, a ring, waiting for completions.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use midspan_uring::file::Access;
use midspan_uring::{
    Address, Buf, Class, Completion, Config, File, FileId, Listener, Pool, Ring, Socket, SocketId,
};

/// A directory on the real disk (ext4 on the machines this is developed on), removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("uring-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A preallocated file of `size` bytes.
    pub fn file(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        File::preallocate(&path, size, &mut |_| {}).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn pool() -> Pool {
    Pool::new(
        &[
            Class { size: 4096, count: 64 },
            Class { size: 65536, count: 16 },
            Class { size: 1 << 20, count: 4 },
        ],
        false,
    )
    .unwrap()
}

pub fn ring() -> Ring {
    Ring::new(Config { entries: 32, operations: 256, vectors: 32, descriptors: 32 }, &pool()).unwrap()
}

/// Opens and adds a file the way a node does.
pub fn add(ring: &mut Ring, path: &Path) -> FileId {
    ring.add_file(File::open(path, Access::default()).unwrap()).unwrap()
}

/// A buffer filled with `byte`.
pub fn filled(ring: &Ring, len: usize, byte: u8) -> Buf {
    let mut buf = ring.pool().take(len).unwrap();
    buf.bytes_mut().unwrap()[..len].fill(byte);
    buf.set_filled(len);
    buf
}

/// The next completion, within ten seconds.
pub fn next(ring: &mut Ring) -> Completion {
    next_within(ring, Duration::from_secs(10)).expect("a completion in time")
}

pub fn next_within(ring: &mut Ring, limit: Duration) -> Option<Completion> {
    let deadline = midspan_uring::clock::boottime_ns() + u64::try_from(limit.as_nanos()).unwrap();
    loop {
        if let Some(completion) = ring.next_completion() {
            return Some(completion);
        }
        let left = deadline.saturating_sub(midspan_uring::clock::boottime_ns());
        if left == 0 {
            return None;
        }
        ring.wait(1, Some(Duration::from_nanos(left))).unwrap();
    }
}

/// Two connected TCP sockets over loopback: one plain, one in the ring.
pub fn tcp_pair(ring: &mut Ring) -> (std::net::TcpStream, SocketId) {
    let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let local = listener.local().unwrap();
    let ours = Socket::connect(&Address::Tcp(local)).unwrap();
    let theirs = std::net::TcpListener::from(listener_fd(listener)).accept().unwrap().0;
    (theirs, ring.add_socket(ours).unwrap())
}

fn listener_fd(listener: Listener) -> std::os::fd::OwnedFd {
    use std::os::fd::AsFd;
    listener.as_fd().try_clone_to_owned().unwrap()
}

/// Runs a tool; its output if it succeeded.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output =
        std::process::Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
