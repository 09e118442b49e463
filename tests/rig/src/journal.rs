//! A journal disk as `midspan journal dump` sees it, to harm it where it hurts.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::program::{Program, midspan};

/// What `midspan journal dump` says of the rings on a journal disk that no node has open.
pub fn dump(path: &Path) -> String {
    Program::new(midspan()).args(["journal", "dump", "--area", "ring"]).arg(path).run().well()
}

/// One frame of a ring, by its place on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAt {
    /// Its ring position.
    pub position: u64,
    /// Where it begins on the disk.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// A journal disk that no node has open.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    frames: Vec<FrameAt>,
}

impl Journal {
    /// Reads what the dump says of the disk's ring.
    pub fn read(path: &Path) -> Self {
        let dump =
            Program::new(midspan()).args(["journal", "dump", "--output", "json", "--area", "ring"]).arg(path);
        let lines = dump.run().well();
        let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of_type = |name: &'static str| objects.iter().filter(move |object| object["type"] == name);
        let number = |object: &Value, key: &str| object[key].as_u64().unwrap();
        let ring = of_type("area").next().unwrap_or_else(|| panic!("no ring on {}: {lines}", path.display()));
        let (start, size) = (number(ring, "start"), number(ring, "size"));
        let frame = |object: &Value| {
            let position = number(object, "position");
            FrameAt { position, offset: start + position % size, length: number(object, "length") }
        };
        // Those that wrap at the end of the ring are left out.
        let whole = |frame: &FrameAt| frame.offset + frame.length <= start + size;
        Self { path: path.to_owned(), frames: of_type("frame").map(frame).filter(whole).collect() }
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[FrameAt] {
        &self.frames
    }

    /// Flips one bit.
    pub fn flip(&self, offset: u64) {
        flip(&self.path, offset);
    }

    /// Overwrites a range with zeroes.
    pub fn wipe(&self, offset: u64, length: u64) {
        open(&self.path).write_all_at(&vec![0; usize::try_from(length).unwrap()], offset).unwrap();
    }
}

/// Flips one bit of a file.
pub fn flip(path: &Path, offset: u64) {
    let (file, mut byte) = (open(path), [0]);
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
}

fn open(path: &Path) -> File {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
