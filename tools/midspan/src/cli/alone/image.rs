//! A sparse file that holds some ranges of a volume at their offsets, and is read back after it was written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;

/// What the kernel wants of memory and offsets where the page cache is passed by.
const BLOCK: usize = 4096;
/// `O_DIRECT` of Linux: the number differs between architectures.
const O_DIRECT: i32 =
    if cfg!(any(target_arch = "aarch64", target_arch = "arm")) { 0o200_000 } else { 0o40_000 };

/// The file, while it is written.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
}

impl Image {
    /// A new file of this size that holds nothing, for its owner only: it will hold what a volume does.
    ///
    /// # Errors
    /// What the system says; the file exists.
    pub fn create(path: PathBuf, size: u64) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| Failure::io(path.display(), &error))?;
        file.set_len(size).map_err(|error| Failure::io(path.display(), &error))?;
        Ok(Self { file, path })
    }

    /// Writes at an offset.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| Failure::io(format!("{}: writing at {offset}", self.path.display()), &error))
    }

    /// Makes it durable, and opens it for reading back.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(self) -> Result<Written, Failure> {
        self.file.sync_all().map_err(|error| Failure::io(self.path.display(), &error))?;
        drop(self.file);
        Written::open(&self.path).map_err(|error| Failure::io(self.path.display(), &error))
    }
}

/// The file, once it is written. Read past the page cache, where the file system allows it: what counts is the disk.
#[derive(Debug)]
pub struct Written(File);

impl Written {
    fn open(path: &Path) -> io::Result<Self> {
        match OpenOptions::new().read(true).custom_flags(O_DIRECT).open(path) {
            Ok(file) => Ok(Self(file)),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => File::open(path).map(Self),
            Err(error) => Err(error),
        }
    }

    /// Reads whole blocks.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length.saturating_add(BLOCK)];
        let skip = bytes.as_ptr().align_offset(BLOCK);
        let aligned = bytes.get_mut(skip..skip.saturating_add(length)).ok_or(io::ErrorKind::InvalidInput)?;
        self.0.read_exact_at(aligned, offset)?;
        bytes.drain(..skip);
        bytes.truncate(length);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_holds_what_was_written_and_nothing_else() {
        let path = std::env::temp_dir().join(format!("midspan-image-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let image = Image::create(path.clone(), 1 << 30).unwrap();
        assert!(Image::create(path.clone(), 4096).is_err(), "a file is never overwritten");
        image.write(512 << 20, &[7; 8192]).unwrap();
        let written = image.finish().unwrap();
        let found = std::fs::metadata(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((found.len(), found.mode() & 0o777), (1 << 30, 0o600));
        assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
        assert_eq!(written.read(512 << 20, 8192).unwrap(), [7; 8192]);
        assert_eq!(written.read(0, 4096).unwrap(), [0; 4096]);
        assert!(written.read((1 << 30) - 4096, 8192).is_err());
    }
}
