//! A disk that is read past the page cache: the data plane writes it so, and what is cached may be older.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use midspan_format::geometry::BLOCK;

/// `O_DIRECT` of Linux: the number differs between architectures.
const O_DIRECT: i32 =
    if cfg!(any(target_arch = "aarch64", target_arch = "arm")) { 0o200_000 } else { 0o40_000 };

/// An open disk or file. Whoever reads it leaves it as it is: nothing is locked.
#[derive(Debug)]
pub struct Disk(File);

impl Disk {
    /// Opens it for reading.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).custom_flags(O_DIRECT).open(path).map(Self)
    }

    /// Reads whole blocks.
    ///
    /// # Errors
    /// What the system says; the disk ends before.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length.saturating_add(BLOCK)];
        // The kernel takes aligned memory only.
        let skip = bytes.as_ptr().align_offset(BLOCK);
        let aligned = bytes.get_mut(skip..skip.saturating_add(length)).ok_or(io::ErrorKind::InvalidInput)?;
        self.0.read_exact_at(aligned, offset)?;
        bytes.drain(..skip);
        bytes.truncate(length);
        Ok(bytes)
    }
}
