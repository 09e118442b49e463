//! Files and block devices: open exclusively and directly, know size, alignment and identity, small blocking I/O.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::ALIGNMENT;
use crate::clock;
use crate::errno::{Errno, check};

mod identity;

/// How to open a file. The default is what a running node uses: direct, writable, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Past the page cache (`O_DIRECT`). Never silently dropped: a file system without it is an error.
    pub direct: bool,
    /// Also for writing.
    pub write: bool,
    /// Refuse if anybody else has it open exclusively, and keep others out: `O_EXCL` on block devices (also keeps mounts
    /// out), a lock on regular files.
    pub exclusive: bool,
}

impl Default for Access {
    fn default() -> Access {
        Access { direct: true, write: true, exclusive: true }
    }
}

/// Why a file could not be opened or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is nothing.
    #[error("{} does not exist", .path.display())]
    NotFound {
        /// The path asked for.
        path: PathBuf,
    },
    /// Preallocating never overwrites.
    #[error("{} exists already", .path.display())]
    Exists {
        /// The path asked for.
        path: PathBuf,
    },
    /// Another process, or another open of this one, has it exclusively; or it is mounted.
    #[error("{} is already open elsewhere (another midspand, a mount, or part of another device)", .path.display())]
    AlreadyOpen {
        /// The path asked for.
        path: PathBuf,
    },
    /// `O_DIRECT` is not possible there.
    #[error("{} cannot be opened with O_DIRECT: its file system does not support direct I/O; use a block device, ext4 or xfs", .path.display())]
    NoDirect {
        /// The path asked for.
        path: PathBuf,
    },
    /// Neither a regular file nor a block device.
    #[error("{} is neither a regular file nor a block device", .path.display())]
    WrongType {
        /// The path asked for.
        path: PathBuf,
    },
    /// Sizes are multiples of 4096.
    #[error("{}: a size of {size} bytes is not a positive multiple of 4096", .path.display())]
    BadSize {
        /// The path asked for.
        path: PathBuf,
        /// The size asked for.
        size: u64,
    },
    /// The kernel refused.
    #[error("cannot {action} {}: {errno}", .path.display())]
    Kernel {
        /// The path asked for.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A regular file in some file system.
    Regular,
    /// A block device.
    Block,
}

/// An open file or block device that nobody operates on: owned, `Send`, to be given to a ring.
#[derive(Debug)]
pub struct File {
    inner: std::fs::File,
    path: PathBuf,
    kind: FileType,
    access: Access,
    size: u64,
    block: u32,
    memory: u32,
    identity: [u8; 24],
}

impl File {
    /// Opens an existing regular file or block device.
    ///
    /// The kernel takes the rings of a killed process apart some milliseconds after its end, and until then finishes its
    /// writes and keeps its files in use. So an exclusive open tries for two seconds before it says `AlreadyOpen`; and once
    /// it succeeds, no write of a former process can come any more.
    ///
    /// # Errors
    /// See [`FileError`]; never falls back to buffered or shared access.
    pub fn open(path: &Path, access: Access) -> Result<File, FileError> {
        let is_in_use = |error: &FileError| matches!(error, FileError::AlreadyOpen { .. });
        clock::patiently(is_in_use, || File::open_once(path, access))
    }

    fn open_once(path: &Path, access: Access) -> Result<File, FileError> {
        let fail = |action| move |error: std::io::Error| failure(path, action, error.into());
        let metadata = std::fs::metadata(path).map_err(fail("open"))?;
        let kind = match (metadata.file_type().is_file(), metadata.file_type().is_block_device()) {
            (true, _) => FileType::Regular,
            (_, true) => FileType::Block,
            (false, false) => return Err(FileError::WrongType { path: path.to_owned() }),
        };
        let mut flags = 0;
        if access.direct {
            flags |= libc::O_DIRECT;
        }
        if access.exclusive && kind == FileType::Block {
            flags |= libc::O_EXCL;
        }
        let opened = OpenOptions::new().read(true).write(access.write).custom_flags(flags).open(path);
        let mut inner = opened.map_err(|error| match Errno::from(error) {
            Errno::INVALID if access.direct => FileError::NoDirect { path: path.to_owned() },
            Errno::BUSY => FileError::AlreadyOpen { path: path.to_owned() },
            errno => failure(path, "open", errno),
        })?;
        if access.exclusive && kind == FileType::Regular {
            lock(&inner, path)?;
        }
        let size = inner.seek(SeekFrom::End(0)).map_err(fail("measure"))?;
        let (block, memory) =
            alignment(&inner, kind, access.direct).map_err(|errno| failure(path, "examine", errno))?;
        if access.direct && block == 0 {
            return Err(FileError::NoDirect { path: path.to_owned() });
        }
        let metadata = inner.metadata().map_err(fail("examine"))?;
        let identity = identity::of(&metadata, kind, size);
        Ok(File { inner, path: path.to_owned(), kind, access, size, block, memory, identity })
    }

    /// Makes a regular file of `size` zero bytes, fully allocated and written once, so that later writes need no change
    /// of metadata: only such a file takes durable writes without detours in the kernel. Reports the bytes written so far.
    ///
    /// # Errors
    /// If the path exists, or space is short (then nothing is left behind).
    pub fn preallocate(path: &Path, size: u64, progress: &mut dyn FnMut(u64)) -> Result<(), FileError> {
        if size == 0 || !size.is_multiple_of(ALIGNMENT as u64) {
            return Err(FileError::BadSize { path: path.to_owned(), size });
        }
        let create = |flags| OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(path);
        let created = create(libc::O_DIRECT).or_else(|error| {
            if error.raw_os_error() == Some(libc::EINVAL) {
                // The failed attempt may have made the empty file already.
                let _ = std::fs::remove_file(path);
                return create(0);
            }
            Err(error)
        });
        let file = created.map_err(|error| match Errno::from(error) {
            errno if errno.raw() == libc::EEXIST => FileError::Exists { path: path.to_owned() },
            errno => failure(path, "create", errno),
        })?;
        let written = write_zeroes(&file, size, progress).and_then(|()| sync_parent(path));
        written.map_err(|errno| {
            let _ = std::fs::remove_file(path);
            failure(path, "preallocate", errno)
        })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Regular file or block device.
    #[must_use]
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// How it was opened.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Size in bytes when opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Size in bytes now (a device or file can be grown while open).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn current_size(&self) -> Result<u64, Errno> {
        let mut duplicate = &self.inner;
        Ok(duplicate.seek(SeekFrom::End(0))?)
    }

    /// Offsets and lengths of operations must be multiples of this many bytes: the logical block size, 1 if not direct.
    #[must_use]
    pub fn block(&self) -> u32 {
        self.block
    }

    /// Addresses of operations must be multiples of this many bytes.
    #[must_use]
    pub(crate) fn memory_alignment(&self) -> u32 {
        self.memory
    }

    /// Recognises the disk or file again: hardware serial or WWN with the partition's start; else device number and size;
    /// for files, inode and birth time. Another disk in the same place has another identity.
    #[must_use]
    pub fn identity(&self) -> [u8; 24] {
        self.identity
    }

    /// Reads at `offset`, blocking, with any alignment; fewer bytes than asked for only at the end of the file.
    /// For start-up and tools.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_at(&self, target: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let mut done = 0;
        for piece in target.chunks_mut(SCRATCH / 2) {
            let at = offset + done as u64;
            let skip = remainder(at);
            let mut scratch = Scratch::new(skip + piece.len());
            let got = read_full(&self.inner, scratch.bytes(), at - skip as u64)?;
            let got = got.saturating_sub(skip).min(piece.len());
            if let (Some(to), Some(from)) = (piece.get_mut(..got), scratch.bytes().get(skip..skip + got)) {
                to.copy_from_slice(from);
            }
            done += got;
            if got < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Writes at `offset` with any alignment and returns when it is durable. Reads and rewrites the blocks at the edges,
    /// so it is not atomic against other writers. For start-up and tools.
    ///
    /// # Errors
    /// The kernel's; after a failure the content of the range is unknown.
    pub fn write_at(&self, source: &[u8], offset: u64) -> Result<(), Errno> {
        let mut at = offset;
        for piece in source.chunks(SCRATCH / 2) {
            let skip = remainder(at);
            let start = at - skip as u64;
            let mut scratch = Scratch::new(skip + piece.len());
            let whole = scratch.bytes().len();
            let mut len = whole;
            if skip != 0 || whole != piece.len() {
                // Beyond the end of a regular file only what was asked for is written, if alignment allows it.
                let got = read_full(&self.inner, scratch.bytes(), start)?;
                len = whole.min(got.max(skip + piece.len())).next_multiple_of(self.block as usize);
            }
            if let Some(to) = scratch.bytes().get_mut(skip..skip + piece.len()) {
                to.copy_from_slice(piece);
            }
            self.inner.write_all_at(scratch.bytes().get(..len).unwrap_or_default(), start)?;
            at += piece.len() as u64;
        }
        self.sync()
    }

    /// Another handle on the same open file, for another ring. What an exclusive open keeps out stays out until the last
    /// handle is gone, so that no write of one ring can come after another process has got the file.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn try_clone(&self) -> Result<File, Errno> {
        Ok(File { inner: self.inner.try_clone()?, path: self.path.clone(), ..*self })
    }

    /// Flushes data and the device's cache, blocking (`fdatasync`).
    ///
    /// # Errors
    /// The kernel's; after a failure nothing written before may be believed durable.
    pub fn sync(&self) -> Result<(), Errno> {
        Ok(self.inner.sync_data()?)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

fn failure(path: &Path, action: &'static str, errno: Errno) -> FileError {
    let path = path.to_owned();
    if errno.raw() == libc::ENOENT {
        FileError::NotFound { path }
    } else {
        FileError::Kernel { path, action, errno }
    }
}

fn lock(file: &std::fs::File, path: &Path) -> Result<(), FileError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(FileError::AlreadyOpen { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(failure(path, "lock", error.into())),
    }
}

/// The alignments (offset and length, address) that operations need; (0, 0) if direct I/O is impossible.
fn alignment(file: &std::fs::File, kind: FileType, direct: bool) -> Result<(u32, u32), Errno> {
    if !direct {
        return Ok((1, 1));
    }
    match kind {
        FileType::Block => {
            let mut size: libc::c_int = 0;
            // SAFETY: BLKSSZGET writes one C integer to the live `size` during the call; the descriptor is open.
            check(unsafe { libc::ioctl(file.as_raw_fd(), libc::BLKSSZGET, &raw mut size) })?;
            let size = u32::try_from(size).map_err(|_| Errno::INVALID)?;
            Ok((size, size))
        }
        FileType::Regular => direct_alignment(file),
    }
}

fn direct_alignment(file: &std::fs::File) -> Result<(u32, u32), Errno> {
    let mut answer = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let (fd, path, flags) = (file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: `path` is a constant C string, `answer` a live, writable statx; the kernel keeps neither.
    check(unsafe { libc::statx(fd, path, flags, libc::STATX_DIOALIGN, answer.as_mut_ptr()) })?;
    // SAFETY: all-zero bytes are a valid statx (integers only), and the kernel may have filled in some of them.
    let answer = unsafe { answer.assume_init() };
    if answer.stx_mask & libc::STATX_DIOALIGN == 0 {
        // The file system does not say: believe the successful open, with the strictest usual alignment.
        return Ok((4096, 512));
    }
    Ok((answer.stx_dio_offset_align, answer.stx_dio_mem_align))
}

/// Bytes of the largest scratch buffer.
const SCRATCH: usize = 1 << 20;

/// Zeroed memory at an aligned address, a multiple of [`ALIGNMENT`] long.
struct Scratch {
    memory: Vec<u8>,
    skip: usize,
    len: usize,
}

impl Scratch {
    fn new(len: usize) -> Scratch {
        let len = len.next_multiple_of(ALIGNMENT);
        let memory = vec![0; len + ALIGNMENT];
        let skip = memory.as_ptr().align_offset(ALIGNMENT);
        Scratch { memory, skip, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.skip..self.skip + self.len).unwrap_or_default()
    }
}

/// How far `offset` lies behind a multiple of [`ALIGNMENT`].
fn remainder(offset: u64) -> usize {
    usize::try_from(offset % ALIGNMENT as u64).unwrap_or(0)
}

/// Reads until the target is full or the file ends.
fn read_full(file: &std::fs::File, target: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = target.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64).map_err(Errno::from) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                if !count.is_multiple_of(ALIGNMENT) {
                    break;
                }
            }
            Err(errno) if errno.raw() == libc::EINTR => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

fn write_zeroes(file: &std::fs::File, size: u64, progress: &mut dyn FnMut(u64)) -> Result<(), Errno> {
    let len = libc::off_t::try_from(size).map_err(|_| Errno::INVALID)?;
    // SAFETY: a call on numbers; the descriptor is open.
    let allocated = check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) }).map(drop);
    if let Err(errno) = allocated
        && errno != Errno::NOT_SUPPORTED
    {
        return Err(errno);
    }
    let mut scratch = Scratch::new(SCRATCH);
    let mut done = 0;
    while done < size {
        let piece = usize::try_from(size - done).unwrap_or(SCRATCH).min(SCRATCH);
        file.write_all_at(scratch.bytes().get(..piece).unwrap_or_default(), done)?;
        done += piece as u64;
        progress(done);
    }
    Ok(file.sync_all()?)
}

/// Makes the new name durable.
fn sync_parent(path: &Path) -> Result<(), Errno> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(std::fs::File::open(parent)?.sync_all()?)
}
