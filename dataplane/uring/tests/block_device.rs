//! A real block device (a loop device over a file, when root): durability, exclusivity, size, zeroing, end of device.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use std::path::{Path, PathBuf};

use midspan_uring::file::{Access, FileError, FileType};
use midspan_uring::{Errno, File};
use rig::{Scratch, add, filled, next, ring, run};

/// A loop device over a file of 1 MiB, detached when dropped.
struct Loop(PathBuf);

impl Loop {
    fn new(scratch: &Scratch) -> Option<Loop> {
        let backing = scratch.file("backing", 1 << 20);
        match run("losetup", &["--find", "--show", "--direct-io=on", backing.to_str().unwrap()]) {
            Ok(device) => Some(Loop(device.into())),
            Err(reason) => {
                println!("skipped: cannot make a loop device here: {reason}");
                None
            }
        }
    }

    /// Flushes the device has completed since it was made.
    fn flushes(&self) -> u64 {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        let stat = std::fs::read_to_string(Path::new("/sys/block").join(name).join("stat")).unwrap();
        stat.split_whitespace().nth(15).map_or(0, |field| field.parse().unwrap())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run("losetup", &["--detach", self.0.to_str().unwrap()]);
    }
}

#[test]
fn a_durable_write_reaches_the_platter_and_another_does_not_have_to() {
    let scratch = Scratch::new();
    let Some(device) = Loop::new(&scratch) else { return };
    let mut ring = ring();
    let file = add(&mut ring, &device.0);
    let write = |ring: &mut midspan_uring::Ring, durable| {
        for number in 0..8 {
            let buf = filled(ring, 8192, 7);
            let parts = [(buf.clone(), 0..4096), (buf.clone(), 4096..8192)];
            ring.write(file, buf, 0..4096, number * 65536, durable, 0).unwrap();
            assert_eq!(next(ring).result, Ok(4096));
            ring.write_vectored(file, &parts, number * 65536 + 8192, durable, 0).unwrap();
            assert_eq!(next(ring).result, Ok(8192));
        }
    };
    let before = device.flushes();
    write(&mut ring, false);
    assert_eq!(device.flushes(), before, "plain writes do not flush");
    write(&mut ring, true);
    let durable = device.flushes();
    assert!(durable >= before + 16, "every durable write flushes what has no FUA: {before} -> {durable}");
    ring.flush(file, 0).unwrap();
    assert_eq!(next(&mut ring).result, Ok(0));
    assert!(device.flushes() > durable);
}

#[test]
fn a_device_is_opened_once_and_knows_what_it_is() {
    let scratch = Scratch::new();
    let Some(device) = Loop::new(&scratch) else { return };
    let first = File::open(&device.0, Access::default()).unwrap();
    assert_eq!((first.size(), first.kind(), first.block()), (1 << 20, FileType::Block, 512));
    assert_eq!(first.current_size(), Ok(1 << 20));
    let error = File::open(&device.0, Access::default()).unwrap_err();
    assert_eq!(error, FileError::AlreadyOpen { path: device.0.clone() });
    let identity = first.identity();
    drop(first);
    assert_eq!(File::open(&device.0, Access::default()).unwrap().identity(), identity);
    let other_scratch = Scratch::new();
    let Some(other) = Loop::new(&other_scratch) else { return };
    assert_ne!(File::open(&other.0, Access::default()).unwrap().identity(), identity);
}

#[test]
fn zeroing_and_the_end_of_the_device() {
    let scratch = Scratch::new();
    let Some(device) = Loop::new(&scratch) else { return };
    let mut ring = ring();
    let file = add(&mut ring, &device.0);
    for unmap in [false, true] {
        let buf = filled(&ring, 1 << 20, 9);
        ring.write(file, buf, 0..1 << 20, 0, true, 0).unwrap();
        assert_eq!(next(&mut ring).result, Ok(1 << 20));
        ring.zero(file, 4096, 65536, unmap, 0).unwrap();
        assert_eq!(next(&mut ring).result, Ok(0));
        let buf = ring.pool().take(1 << 20).unwrap();
        ring.read(file, buf, 1 << 20, 0, 0).unwrap();
        let buf = next(&mut ring).buf.unwrap();
        assert_eq!(buf.bytes().iter().filter(|&&byte| byte == 0).count(), 65536);
    }
    let buf = filled(&ring, 8192, 9);
    ring.write(file, buf.clone(), 0..4096, 1 << 20, true, 0).unwrap();
    assert_eq!(next(&mut ring).result, Err(Errno::NO_SPACE));
    // Half inside: the short write is not taken for success.
    ring.write(file, buf, 0..8192, (1 << 20) - 4096, true, 0).unwrap();
    let done = next(&mut ring);
    assert!(done.result.is_err(), "{done:?}");
}

#[test]
fn blocking_access_to_a_device_takes_any_alignment() {
    let scratch = Scratch::new();
    let Some(device) = Loop::new(&scratch) else { return };
    let file = File::open(&device.0, Access::default()).unwrap();
    file.write_at(b"superblock", 5000).unwrap();
    let mut found = [0; 12];
    assert_eq!(file.read_at(&mut found, 4999), Ok(12));
    assert_eq!(&found, b"\0superblock\0");
    file.write_at(b"end", (1 << 20) - 3).unwrap();
    assert_eq!(file.read_at(&mut found, (1 << 20) - 4), Ok(4));
    assert_eq!(&found[..4], b"\0end");
    assert!(file.write_at(b"beyond", (1 << 20) - 3).is_err());
}
