//! Reads and writes of real files through the ring: O_DIRECT on the disk under the target directory.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod rig;

use midspan_uring::file::{Access, FileError, FileType};
use midspan_uring::{Errno, File, Kind, MAX_PARTS, Refused};
use rig::{Scratch, add, filled, next, ring};

#[test]
fn what_is_written_is_read_back() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    for (durable, byte) in [(false, 1), (true, 2)] {
        let buf = filled(&ring, 8192, byte);
        ring.write(file, buf, 4096..8192, 40960, durable, 7).unwrap();
        let done = next(&mut ring);
        assert_eq!((done.user, done.kind, done.result, done.more), (7, Kind::Write, Ok(4096), false));
        assert!(done.buf.unwrap().is_unique());
        let mut buf = ring.pool().take(8192).unwrap();
        assert!(buf.append(&[9; 4096]).is_some());
        ring.read(file, buf, 4096, 40960, 8).unwrap();
        let done = next(&mut ring);
        assert_eq!((done.user, done.kind, done.result), (8, Kind::Read, Ok(4096)));
        let buf = done.buf.unwrap();
        assert_eq!(
            (buf.filled(), buf.bytes()[4095], buf.bytes()[4096], buf.bytes()[8191]),
            (8192, 9, byte, byte)
        );
    }
}

#[test]
fn a_vectored_write_lands_in_one_piece() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    let parts: Vec<_> = (0..40_u8).map(|byte| (filled(&ring, 4096, byte), 0..4096)).collect();
    let mut parts = parts;
    parts.push((filled(&ring, 65536, 40), 4096..16384));
    ring.write_vectored(file, &parts, 4096, true, 1).unwrap();
    assert_eq!(next(&mut ring).result, Ok(43 * 4096));
    assert!(parts.iter().all(|(buf, _)| buf.is_unique()));
    let buf = ring.pool().take(1 << 20).unwrap();
    ring.read(file, buf, 44 * 4096, 0, 2).unwrap();
    let buf = next(&mut ring).buf.unwrap();
    let blocks: Vec<u8> = buf.bytes().chunks(4096).map(|block| block[0]).collect();
    let expected: Vec<u8> = [0].into_iter().chain(0..41).chain([40, 40]).collect();
    assert_eq!(blocks, expected);
}

#[test]
fn a_flush_and_a_zeroed_range_complete() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    for unmap in [false, true] {
        let buf = filled(&ring, 65536, 0xaa);
        ring.write(file, buf, 0..65536, 0, true, 1).unwrap();
        assert_eq!(next(&mut ring).result, Ok(65536));
        ring.zero(file, 4096, 8192, unmap, 2).unwrap();
        let done = next(&mut ring);
        assert_eq!((done.kind, done.result), (Kind::Zero, Ok(0)));
        ring.flush(file, 3).unwrap();
        let done = next(&mut ring);
        assert_eq!((done.kind, done.result), (Kind::Flush, Ok(0)));
        let buf = ring.pool().take(65536).unwrap();
        ring.read(file, buf, 65536, 0, 4).unwrap();
        let buf = next(&mut ring).buf.unwrap();
        assert!(buf.bytes()[4096..12288].iter().all(|&byte| byte == 0));
        assert!(buf.bytes()[..4096].iter().chain(&buf.bytes()[12288..]).all(|&byte| byte == 0xaa));
    }
    assert_eq!(ring.file(file).unwrap().current_size(), Ok(1 << 20));
}

#[test]
fn a_read_over_the_end_is_short_and_one_behind_it_empty() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 16384));
    let buf = ring.pool().take(65536).unwrap();
    ring.read(file, buf, 65536, 8192, 1).unwrap();
    let done = next(&mut ring);
    assert_eq!((done.result, done.buf.unwrap().filled()), (Ok(8192), 8192));
    let buf = ring.pool().take(4096).unwrap();
    ring.read(file, buf, 4096, 16384, 1).unwrap();
    assert_eq!(next(&mut ring).result, Ok(0));
}

#[test]
fn misaligned_and_impossible_requests_are_refused_before_the_kernel_sees_them() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    let buf = filled(&ring, 8192, 1);
    let write =
        |ring: &mut midspan_uring::Ring, range, offset| ring.write(file, buf.clone(), range, offset, true, 0);
    assert_eq!(write(&mut ring, 0..4096, 100), Err(Refused::Misaligned));
    assert_eq!(write(&mut ring, 0..100, 0), Err(Refused::Misaligned));
    assert_eq!(write(&mut ring, 1..4097, 0), Err(Refused::Misaligned));
    assert_eq!(write(&mut ring, 4096..12288, 0), Err(Refused::OutOfRange));
    assert_eq!(write(&mut ring, 0..0, 0), Err(Refused::OutOfRange));
    assert_eq!(ring.read(file, buf.clone(), 1 << 20, 0, 0), Err(Refused::OutOfRange));
    assert_eq!(ring.zero(file, 1, 4096, false, 0), Err(Refused::Misaligned));
    {
        let parts = vec![(buf.clone(), 0..4096); MAX_PARTS + 1];
        assert_eq!(ring.write_vectored(file, &parts, 0, true, 0), Err(Refused::OutOfRange));
        assert_eq!(ring.write_vectored(file, &[], 0, true, 0), Err(Refused::OutOfRange));
    }
    let foreign = rig::pool().take(1).unwrap();
    assert_eq!(ring.read(file, foreign, 4096, 0, 0), Err(Refused::Foreign));
    assert_eq!(ring.in_flight(), 0);
    assert!(buf.is_unique());
}

#[test]
fn a_buffer_takes_one_read_at_a_time() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    let buf = ring.pool().take(65536).unwrap();
    ring.read(file, buf.clone(), 4096, 0, 1).unwrap();
    assert_eq!(ring.read(file, buf.clone(), 4096, 0, 2), Err(Refused::Busy));
    assert_eq!(next(&mut ring).result, Ok(4096));
    ring.read(file, buf.clone(), 4096, 0, 2).unwrap();
    assert_eq!(next(&mut ring).result, Ok(4096));
    assert_eq!(buf.filled(), 8192);
}

#[test]
fn more_operations_than_the_submission_queue_holds_all_complete() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    let buf = filled(&ring, 4096, 5);
    for user in 0..200 {
        ring.write(file, buf.clone(), 0..4096, user * 4096, false, user).unwrap();
    }
    let mut seen = [false; 200];
    for _ in 0..200 {
        let done = next(&mut ring);
        assert_eq!(done.result, Ok(4096));
        assert!(!std::mem::replace(&mut seen[usize::try_from(done.user).unwrap()], true));
    }
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn at_the_limit_operations_are_refused_and_then_accepted_again() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    let buf = filled(&ring, 4096, 5);
    let room = ring.room();
    for user in 0..room {
        ring.write(file, buf.clone(), 0..4096, 0, false, user as u64).unwrap();
    }
    assert_eq!(ring.room(), 0);
    assert_eq!(ring.flush(file, 0), Err(Refused::Full));
    let _ = next(&mut ring);
    ring.flush(file, 0).unwrap();
    for _ in 0..room {
        assert!(next(&mut ring).result.is_ok());
    }
}

#[test]
fn a_file_in_use_cannot_be_removed_and_a_removed_one_is_unknown() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let file = add(&mut ring, &scratch.file("a", 1 << 20));
    ring.flush(file, 0).unwrap();
    assert_eq!(ring.remove_file(file).unwrap_err(), Refused::Busy);
    assert_eq!(next(&mut ring).result, Ok(0));
    let back = ring.remove_file(file).unwrap();
    assert_eq!(ring.flush(file, 0), Err(Refused::Unknown));
    let again = ring.add_file(back).unwrap();
    assert_ne!(file, again);
    assert!(ring.file(file).is_none() && ring.file(again).is_some());
}

#[test]
fn a_file_open_for_reading_only_is_not_written() {
    let (scratch, mut ring) = (Scratch::new(), ring());
    let path = scratch.file("a", 8192);
    let access = Access { write: false, exclusive: false, ..Access::default() };
    let file = ring.add_file(File::open(&path, access).unwrap()).unwrap();
    let buf = filled(&ring, 4096, 5);
    ring.write(file, buf, 0..4096, 0, true, 1).unwrap();
    let done = next(&mut ring);
    assert_eq!(done.result, Err(Errno::new(9)));
    assert!(done.buf.unwrap().is_unique());
}

#[test]
fn a_full_file_system_is_reported_as_such() {
    let scratch = Scratch::new();
    let mount = scratch.path("small");
    std::fs::create_dir(&mount).unwrap();
    let mount = mount.to_str().unwrap();
    if let Err(reason) = rig::run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", mount]) {
        println!("skipped: cannot mount a tmpfs here: {reason}");
        return;
    }
    // Lazily: a worker of the kernel may hold the file for a moment longer than the ring.
    let unmount = || rig::run("umount", &["--lazy", mount]).unwrap();
    let path = std::path::Path::new(mount).join("a");
    let error = File::preallocate(&path, 1 << 20, &mut |_| {}).unwrap_err();
    assert!(matches!(error, FileError::Kernel { errno: Errno::NO_SPACE, .. }), "{error}");
    assert!(!path.exists(), "a failed preallocation leaves nothing behind");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    {
        let mut ring = ring();
        let access = Access { direct: false, ..Access::default() };
        let file = ring.add_file(File::open(&path, access).unwrap()).unwrap();
        let buf = filled(&ring, 1 << 20, 5);
        ring.write(file, buf, 0..1 << 20, 0, false, 1).unwrap();
        let done = next(&mut ring);
        assert_eq!(done.result, Err(Errno::NO_SPACE));
        assert!(done.buf.unwrap().is_unique());
    }
    unmount();
}

#[test]
fn an_exclusive_file_cannot_be_opened_again() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 8192);
    let first = File::open(&path, Access::default()).unwrap();
    let error = File::open(&path, Access::default()).unwrap_err();
    assert_eq!(error, FileError::AlreadyOpen { path: path.clone() });
    assert!(error.to_string().contains("already open elsewhere"));
    let shared = Access { exclusive: false, write: false, ..Access::default() };
    assert!(File::open(&path, shared).is_ok(), "a dump tool may look");
    drop(first);
    assert!(File::open(&path, Access::default()).is_ok());
}

#[test]
fn an_exclusive_file_is_kept_until_its_last_handle_is_gone() {
    let scratch = Scratch::new();
    let path = scratch.file("a", 4096);
    let first = File::open(&path, Access::default()).unwrap();
    let second = first.try_clone().unwrap();
    assert_eq!((second.path(), second.identity(), second.size()), (path.as_path(), first.identity(), 4096));
    drop(first);
    let opened = File::open(&path, Access::default()).map(drop);
    assert_eq!(opened, Err(FileError::AlreadyOpen { path: path.clone() }));
    drop(second);
    assert_eq!(File::open(&path, Access::default()).map(drop), Ok(()));
}

#[test]
fn a_file_knows_its_size_kind_alignment_and_identity() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.file("a", 8192), scratch.file("b", 8192));
    let file = File::open(&first, Access::default()).unwrap();
    assert_eq!((file.size(), file.kind(), file.path()), (8192, FileType::Regular, first.as_path()));
    assert!(file.block() >= 512 && 4096 % file.block() == 0);
    let identity = file.identity();
    drop(file);
    assert_eq!(File::open(&first, Access::default()).unwrap().identity(), identity);
    assert_ne!(File::open(&second, Access::default()).unwrap().identity(), identity);
    std::fs::remove_file(&first).unwrap();
    let again = scratch.file("a", 8192);
    assert_ne!(
        File::open(&again, Access::default()).unwrap().identity(),
        identity,
        "same place, another file"
    );
}

#[test]
fn opening_says_what_is_wrong() {
    let scratch = Scratch::new();
    let open = |path: &std::path::Path| File::open(path, Access::default()).unwrap_err().to_string();
    assert!(open(&scratch.path("none")).contains("does not exist"));
    assert!(open(std::path::Path::new("/dev/null")).contains("neither a regular file nor a block device"));
    let path = scratch.file("a", 4096);
    let preallocate =
        |path: &std::path::Path, size| File::preallocate(path, size, &mut |_| {}).unwrap_err().to_string();
    assert!(preallocate(&path, 4096).contains("exists already"));
    assert!(preallocate(&scratch.path("b"), 100).contains("multiple of 4096"));
    let sys = open(std::path::Path::new("/proc/version"));
    assert!(sys.contains("O_DIRECT"), "{sys}");
}

#[test]
fn blocking_reads_and_writes_take_any_alignment() {
    let scratch = Scratch::new();
    let file = File::open(&scratch.file("a", 4 << 20), Access::default()).unwrap();
    let data: Vec<u8> = (0..1_500_000_u32).map(|number| (number % 251) as u8).collect();
    file.write_at(&data, 3000).unwrap();
    file.write_at(b"xyz", 5000).unwrap();
    let mut expected = vec![0; 4 << 20];
    expected[3000..3000 + data.len()].copy_from_slice(&data);
    expected[5000..5003].copy_from_slice(b"xyz");
    let mut found = vec![1; 4 << 20];
    assert_eq!(file.read_at(&mut found, 0), Ok(4 << 20));
    assert!(found == expected);
    let mut piece = [0; 10];
    assert_eq!(file.read_at(&mut piece, 4998), Ok(10));
    assert_eq!(piece, expected[4998..5008]);
    assert_eq!(file.read_at(&mut piece, (4 << 20) - 4), Ok(4));
    assert_eq!(file.read_at(&mut piece, 5 << 20), Ok(0));
    assert_eq!(file.current_size(), Ok(4 << 20));
}

#[test]
fn a_preallocated_file_is_wholly_allocated_and_zero() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let mut reported = Vec::new();
    let path = scratch.path("a");
    File::preallocate(&path, (2 << 20) + 4096, &mut |done| reported.push(done)).unwrap();
    assert_eq!(reported, [1 << 20, 2 << 20, (2 << 20) + 4096]);
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), (2 << 20) + 4096);
    assert!(metadata.blocks() * 512 >= metadata.len());
    assert!(std::fs::read(&path).unwrap().iter().all(|&byte| byte == 0));
}
