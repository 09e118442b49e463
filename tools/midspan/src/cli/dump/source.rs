//! A disk or file that is read where it can be: what cannot be read is a fact to report, not a failure.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::cli::exit::Failure;

/// The disk or file.
#[derive(Debug)]
pub struct Source {
    file: File,
    size: u64,
}

impl Source {
    /// Opens it for reading.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(path.display(), &error);
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(Failure::other(format!("{} is a folder, not a disk or file", path.display())));
        }
        // The metadata of a block device knows no size.
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { file, size })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads `length` bytes at `offset`; `None` when they are not all there or cannot be read.
    pub fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        if offset.checked_add(length as u64)? > self.size {
            return None;
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

/// A ring on the source: absolute positions, which wrap on the disk.
#[derive(Clone, Copy, Debug)]
pub struct RingView<'a> {
    source: &'a Source,
    /// Where the ring begins on the source.
    pub start: u64,
    /// Its bytes, more than 0.
    pub size: u64,
}

impl<'a> RingView<'a> {
    /// A ring; `None` when it does not lie on the source.
    pub fn new(source: &'a Source, start: u64, size: u64) -> Option<Self> {
        let end = start.checked_add(size)?;
        (size > 0 && end <= source.size()).then_some(Self { source, start, size })
    }

    /// Reads `length` bytes from an absolute position, at most a whole ring.
    pub fn read(&self, position: u64, length: usize) -> Option<Vec<u8>> {
        if length as u64 > self.size {
            return None;
        }
        let offset = position % self.size;
        let first = usize::try_from(self.size - offset).unwrap_or(usize::MAX).min(length);
        let mut bytes = self.source.read(self.start + offset, first)?;
        bytes.extend(self.source.read(self.start, length - first)?);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_wraps_is_read_in_two_pieces() {
        let path = std::env::temp_dir().join(format!("midspan-source-{}", std::process::id()));
        std::fs::write(&path, [9, 9, 1, 2, 3, 4]).unwrap();
        let source = Source::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let ring = RingView::new(&source, 2, 4).unwrap();
        assert_eq!(ring.read(7, 3), Some(vec![4, 1, 2]));
        assert_eq!(ring.read(0, 5), None);
        assert!(RingView::new(&source, 3, 4).is_none());
        assert_eq!(source.read(5, 2), None);
    }
}
