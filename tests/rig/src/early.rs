//! A disk that does less than it was asked for: a file shown by a small FUSE server, whose reads and writes end early on demand.
//!
//! What no file system does as long as it has room, and what a program has to live with all the same: an answer of fewer bytes.
//! The rest of a write is refused, where that is wanted: so does a file system that becomes full within it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::folder::Folder;
use super::pause;
use super::program::Program;

/// Bytes of the largest write that the kernel gives at once, and what else a request holds.
const WRITE_MOST: usize = 1 << 20;
const REQUEST_MOST: usize = WRITE_MOST + 8192;
const HEADER: usize = 40;
/// What is done of a read or write that ends early is a multiple of this: what a program must write there at once.
const BLOCK: usize = 4096;
/// The kernel gives writes of more than a page at once.
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;

/// Errors as the kernel counts them.
const EPERM: i32 = 1;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const ENOSYS: i32 = 38;

#[derive(Debug, Default)]
struct Switches {
    writes: AtomicBool,
    reads: AtomicBool,
    full: AtomicBool,
    early: AtomicU64,
    gone: AtomicBool,
}

/// Such a disk; taken away when dropped, which must be after the node that has it open.
#[derive(Debug)]
pub struct Early {
    switches: Arc<Switches>,
    server: Option<JoinHandle<()>>,
    path: PathBuf,
    _folder: Folder,
}

impl Early {
    /// Takes the place of a file that no node has open yet: what is in it is the disk's content.
    pub fn in_place_of(path: &Path) -> Self {
        let folder = Folder::new();
        let content = folder.file("content");
        fs::rename(path, &content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        File::create(path).unwrap();
        let content = OpenOptions::new().read(true).write(true).open(content).unwrap();
        let size = content.metadata().unwrap().len();
        let channel = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        // Its standard input is the channel: the kernel ties what is shown to it.
        let options = "fd=0,rootmode=100600,user_id=0,group_id=0,allow_other";
        let mount =
            Program::new("mount").args(["-i", "-t", "fuse.midspan", "-o", options, "early"]).arg(path);
        let mount = mount.reading(channel.try_clone().unwrap());
        let switches = Arc::new(Switches::default());
        let server = Server { channel, content, size, switches: Arc::clone(&switches) };
        // It has to be there before the end of `mount`, which looks at what it has made.
        let server = Some(std::thread::spawn(move || server.serve()));
        mount.run().well();
        Self { switches, server, path: path.to_owned(), _folder: folder }
    }

    /// From now on each write of more than a block does a part of what it should.
    pub fn cut_writes(&self) {
        self.switches.writes.store(true, Ordering::Relaxed);
    }

    /// From now on each read of more than a block does.
    pub fn cut_reads(&self) {
        self.switches.reads.store(true, Ordering::Relaxed);
    }

    /// From now on there is room for a part of one write, and for nothing behind it.
    pub fn fill_within_a_write(&self) {
        self.switches.full.store(true, Ordering::Relaxed);
        self.cut_writes();
    }

    /// It does everything again.
    pub fn heal(&self) {
        for switch in [&self.switches.writes, &self.switches.reads, &self.switches.full] {
            switch.store(false, Ordering::Relaxed);
        }
    }

    /// How many operations have ended early.
    pub fn count(&self) -> u64 {
        self.switches.early.load(Ordering::Relaxed)
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg("--lazy").arg(&self.path).run();
        self.switches.gone.store(true, Ordering::Relaxed);
        // Where a test fails its nodes may have the disk open still, and the server goes on until they have not.
        if let Some(server) = self.server.take().filter(|_| !std::thread::panicking()) {
            server.join().unwrap();
        }
    }
}

#[derive(Debug)]
struct Server {
    channel: File,
    content: File,
    size: u64,
    switches: Arc<Switches>,
}

impl Server {
    /// Answers the kernel until the disk is taken away.
    fn serve(mut self) {
        let mut request = vec![0; REQUEST_MOST];
        loop {
            let length = match self.channel.read(&mut request) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // It is not there yet.
                Err(error) if error.raw_os_error() == Some(EPERM) && !self.is_gone() => {
                    pause(Duration::from_millis(1));
                    continue;
                }
                // It is taken away.
                Err(_) => return,
            };
            let (header, body) = request[..length].split_at(HEADER);
            let (opcode, name) = (u32_at(header, 4), u64_at(header, 8));
            let Some(answer) = self.answer(opcode, body) else { continue };
            let (error, data) = match answer {
                Ok(data) => (0, data),
                Err(errno) => (-errno, Vec::new()),
            };
            let mut reply = Vec::with_capacity(16 + data.len());
            reply.extend(u32::try_from(16 + data.len()).unwrap().to_ne_bytes());
            reply.extend(error.to_ne_bytes());
            reply.extend(name.to_ne_bytes());
            reply.extend(data);
            // Whoever asked may be gone.
            let _ = self.channel.write(&reply);
        }
    }

    fn is_gone(&self) -> bool {
        self.switches.gone.load(Ordering::Relaxed)
    }

    /// `None`: nobody waits for an answer.
    fn answer(&self, opcode: u32, body: &[u8]) -> Option<Result<Vec<u8>, i32>> {
        Some(match opcode {
            // Forget, interrupt, forget many.
            2 | 36 | 42 => return None,
            // Get and set attributes.
            3 | 4 => Ok(self.attributes()),
            // Open. That nothing is to be cached is the program's word (O_DIRECT) and not the server's: in that mode (FOPEN_DIRECT_IO)
            // Linux 6.18 puts the rest of a short write to where the write began.
            14 => Ok(vec![0; 16]),
            15 => self.read(u64_at(body, 8), usize::try_from(u32_at(body, 16)).unwrap()),
            16 => self.write(u64_at(body, 8), &body[HEADER..]),
            // Release, sync, flush, end.
            18 | 20 | 25 | 38 => Ok(Vec::new()),
            26 => Ok(greeting(body)),
            _ => Err(ENOSYS),
        })
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, i32> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap();
        let length = self.cut(&self.switches.reads, length.min(left));
        let mut data = vec![0; length];
        self.content.read_exact_at(&mut data, offset).map_err(|_| EIO)?;
        Ok(data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<Vec<u8>, i32> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap();
        let length = self.cut(&self.switches.writes, data.len().min(left));
        // What needs no second piece fits as long as no larger write has found the end.
        let is_full =
            self.switches.full.load(Ordering::Relaxed) && self.switches.early.load(Ordering::Relaxed) > 0;
        if length == 0 || is_full && length == data.len() {
            return Err(ENOSPC);
        }
        self.content.write_all_at(&data[..length], offset).map_err(|_| EIO)?;
        Ok([u32::try_from(length).unwrap(), 0].iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    /// What is done of so many bytes: about a third.
    fn cut(&self, switch: &AtomicBool, length: usize) -> usize {
        if !switch.load(Ordering::Relaxed) || length <= BLOCK {
            return length;
        }
        self.switches.early.fetch_add(1, Ordering::Relaxed);
        (length / 3).next_multiple_of(BLOCK)
    }

    /// A file of our size with all its blocks; nobody keeps them for long.
    fn attributes(&self) -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let longs = |longs: &[u64]| longs.iter().flat_map(|long| long.to_ne_bytes()).collect::<Vec<u8>>();
        let mut reply = longs(&[0]);
        reply.extend(words(&[0, 0]));
        // Number, size, blocks, three times.
        reply.extend(longs(&[1, self.size, self.size / 512, 0, 0, 0]));
        // Parts of times, mode, links, owner, device, size of a block, flags.
        reply.extend(words(&[0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0]));
        reply
    }
}

/// The version that the kernel speaks, at most 7.31, and what it may do.
fn greeting(body: &[u8]) -> Vec<u8> {
    let minor = u32_at(body, 4).min(31);
    let mut reply = Vec::new();
    for word in [7, minor, u32_at(body, 8), BIG_WRITES | MAX_PAGES] {
        reply.extend(word.to_ne_bytes());
    }
    // Requests that nobody waits for: at most, and when there are many.
    reply.extend([16_u16, 12].iter().flat_map(|word| word.to_ne_bytes()));
    reply.extend(u32::try_from(WRITE_MOST).unwrap().to_ne_bytes());
    reply.extend(1_u32.to_ne_bytes());
    let pages = u16::try_from(WRITE_MOST / 4096).unwrap();
    reply.extend(pages.to_ne_bytes());
    reply.resize(64, 0);
    reply
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
