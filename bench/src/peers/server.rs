//! A running peer: its disks, its processes, its address.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use midspan::clock::{Clock, Signal};

use super::program::{NBDKIT, Peer, Program, QEMU_NBD, STORAGE_DAEMON};
use crate::calls::Process;
use crate::cluster::ports::free_ports;
use crate::disks::Disks;

/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts to connect.
const POLL: Duration = Duration::from_millis(20);

/// A peer's processes, killed when dropped.
#[derive(Debug)]
pub struct Server {
    peer: Peer,
    uri: String,
    children: Vec<(&'static str, Child)>,
    /// Its disks that may have content in the kernel's cache.
    cached: Vec<PathBuf>,
    log: PathBuf,
}

/// What a peer is started with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Size of each disk.
    pub bytes: u64,
    /// Whether the disks are devices; files otherwise.
    pub devices: bool,
    /// Whether the mirror's far node makes a write durable before it answers, as Midspan's relay does.
    pub durable: bool,
}

impl Server {
    /// Makes the peer's disks, starts its processes and waits until they listen.
    ///
    /// # Errors
    /// What the file system says, or that a process has ended, with what it said.
    pub fn start(peer: Peer, shape: Shape, disks: &mut Disks) -> Result<Self> {
        let log = disks.folder().join(format!("{}.log", peer.name()));
        let mut server =
            Self { peer, uri: String::new(), children: Vec::new(), cached: Vec::new(), log: log.clone() };
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        let [port, far_port] = free_ports()?;
        match peer {
            Peer::QemuNbd => {
                let disk = disks.add("qemu-nbd.disk", shape.bytes)?;
                server.spawn("server", QEMU_NBD, &qemu_nbd(shape, &disk, port, "none"), port, &log, disks)?;
            }
            Peer::Quorum => {
                let (near, far) =
                    (disks.add("quorum-near.disk", shape.bytes)?, disks.add("quorum-far.disk", shape.bytes)?);
                let cache = if shape.durable { "directsync" } else { "none" };
                let remote = qemu_nbd(shape, &far, far_port, cache);
                server.spawn("far", QEMU_NBD, &remote, far_port, &log, disks)?;
                let mirror = quorum(shape, &near, port, far_port);
                server.spawn("near", STORAGE_DAEMON, &mirror, port, &log, disks)?;
            }
            Peer::Nbdkit => {
                let disk = disks.add("nbdkit.disk", shape.bytes)?;
                server.spawn("server", NBDKIT, &nbdkit(&disk, port), port, &log, disks)?;
                server.cached.push(disk);
            }
        }
        server.uri = format!("nbd://127.0.0.1:{port}/");
        Ok(server)
    }

    /// Which peer.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Where the export is.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Its processes, by their part.
    pub fn processes(&self) -> Vec<Process> {
        self.children.iter().map(|(part, child)| Process { part, pid: child.id() }).collect()
    }

    /// Waits until what it has left in the kernel's cache is on disk: others are measured next.
    ///
    /// # Errors
    /// What the disk says.
    pub fn settle(&self) -> Result<()> {
        for disk in &self.cached {
            let sync = || File::options().write(true).open(disk)?.sync_all();
            sync().with_context(|| format!("flushing {}", disk.display()))?;
        }
        Ok(())
    }

    /// The end of what its processes have said.
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let start = text.char_indices().rev().nth(500).map_or(0, |(at, _)| at);
        text.get(start..).unwrap_or_default().to_owned()
    }

    fn spawn(
        &mut self,
        part: &'static str,
        program: Program,
        arguments: &[String],
        port: u16,
        log: &File,
        disks: &mut Disks,
    ) -> Result<()> {
        let path = program.find().with_context(|| format!("{} is not installed", program.name))?;
        let mut command = Command::new(path);
        command.args(arguments).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(log.try_clone()?);
        let child = command.spawn().with_context(|| format!("starting {}", program.name))?;
        disks.guard(child.id())?;
        self.children.push((part, child));
        let clock = Clock::starting_at(0);
        loop {
            let ended = match self.children.last_mut() {
                Some((_, child)) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = ended {
                bail!("{} ended with {status}: {}", program.name, self.log_end());
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(());
            }
            if clock.elapsed() > START_LIMIT {
                bail!("{} does not listen after {} s", program.name, START_LIMIT.as_secs());
            }
            Signal::default().wait(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The near node of a mirror first: it would report that the far one has gone.
        for (_, child) in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How qemu calls this kind of disk.
const fn driver(shape: Shape) -> &'static str {
    if shape.devices { "host_device" } else { "file" }
}

/// `none` is direct I/O; `directsync` is that and a flush with every write.
fn qemu_nbd(shape: Shape, disk: &Path, port: u16, cache: &str) -> Vec<String> {
    let image = format!(
        "driver=raw,size={},file.driver={},file.filename={}",
        shape.bytes,
        driver(shape),
        disk.display()
    );
    let port = port.to_string();
    let cache = format!("--cache={cache}");
    let words =
        ["--image-opts", &image, "--aio=io_uring", &cache, "-t", "-e", "8", "-b", "127.0.0.1", "-p", &port];
    words.map(str::to_owned).into()
}

fn quorum(shape: Shape, disk: &Path, port: u16, far_port: u16) -> Vec<String> {
    let file = format!(
        "driver={},node-name=file,filename={},aio=io_uring,cache.direct=on",
        driver(shape),
        disk.display()
    );
    let near = format!("driver=raw,node-name=near,file=file,size={}", shape.bytes);
    let far =
        format!("driver=nbd,node-name=far,server.type=inet,server.host=127.0.0.1,server.port={far_port}");
    let mirror =
        "driver=quorum,node-name=mirror,children.0=near,children.1=far,vote-threshold=2,read-pattern=fifo";
    let listen = format!("addr.type=inet,addr.host=127.0.0.1,addr.port={port}");
    let export = "type=nbd,id=export,node-name=mirror,name=,writable=on";
    let words = [
        ["--blockdev", &file],
        ["--blockdev", &near],
        ["--blockdev", &far],
        ["--blockdev", mirror],
        ["--nbd-server", &listen],
        ["--export", export],
    ];
    words.concat().into_iter().map(str::to_owned).collect()
}

fn nbdkit(disk: &Path, port: u16) -> Vec<String> {
    let (port, file) = (port.to_string(), format!("file={}", disk.display()));
    ["-f", "-i", "127.0.0.1", "-p", &port, "file", &file].map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { bytes: 1 << 20, devices: false, durable: true };

    #[test]
    fn only_the_mirrors_far_node_flushes_each_write() {
        let plain = qemu_nbd(SHAPE, Path::new("/x/disk"), 7, "none").join(" ");
        assert!(plain.contains("--cache=none") && plain.contains("file.driver=file"), "{plain}");
        let device = quorum(Shape { devices: true, ..SHAPE }, Path::new("/dev/loop1"), 7, 8).join(" ");
        assert!(device.contains("driver=host_device,") && device.contains("vote-threshold=2"), "{device}");
        assert!(device.contains("addr.port=7") && device.contains("server.port=8"), "{device}");
    }
}
