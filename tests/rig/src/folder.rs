//! The folder of one test: everything it makes lies there and goes with it, unless the test fails.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Distinguishes the folders of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder, removed when dropped; kept, with its path said, where the test fails or `MIDSPAN_KEEP` is set.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Also where nothing has failed.
    keep: bool,
}

impl Folder {
    /// Makes the folder, in the system's place for temporary files: paths of unix sockets must be short.
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("midspan-suite-{}-{number}", std::process::id()));
        Self::at(path, std::env::var_os("MIDSPAN_KEEP").is_some())
    }

    /// Makes the folder at a place of its own; `keep` keeps it in any case.
    pub fn at(path: PathBuf, keep: bool) -> Self {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, keep }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let failed = std::thread::panicking() && !super::is_interrupted();
        if failed || self.keep {
            eprintln!("kept, with disks, configs and logs: {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// A preallocated file of zeroes.
pub fn create_disk(path: &Path, bytes: u64) {
    let chunk = vec![0; 1 << 20];
    let mut file = File::create_new(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut left = usize::try_from(bytes).unwrap();
    while left > 0 {
        let length = left.min(chunk.len());
        file.write_all(&chunk[..length]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        left -= length;
    }
}

/// Demands that two files, or devices, have the same bytes.
#[track_caller]
pub fn same_content(one: &Path, other: &Path) {
    let open = |path: &Path| File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut left, mut right) = (open(one), open(other));
    // A device says its size in no other way.
    let bytes = [&mut left, &mut right].map(|file| {
        let end = file.seek(SeekFrom::End(0)).unwrap();
        file.rewind().unwrap();
        end
    });
    let (shown, other_shown) = (one.display(), other.display());
    assert_eq!(bytes[0], bytes[1], "the sizes of {shown} and {other_shown}");
    let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < bytes[0] {
        let length = here.len().min(usize::try_from(bytes[0] - at).unwrap());
        left.read_exact(&mut here[..length]).unwrap();
        right.read_exact(&mut there[..length]).unwrap();
        if let Some(place) = (0..length).find(|place| here[*place] != there[*place]) {
            panic!("{shown} and {other_shown} differ from byte {} on", at + place as u64);
        }
        at += length as u64;
    }
}
