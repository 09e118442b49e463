//! A file system on our export: the primary is killed while files are written, and the other site's copy is mounted.
//!
//! `nbdfuse` shows the export as a file and a loop device makes a disk of it, which needs root and /dev/fuse.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use midspan::hammer::command::random_run_id;
use midspan::hammer::random::Seeded;

use rig::{Background, Cluster, Folder, LIMIT, Place, Program, Shape, may_mount, pause, wait_for};

/// Files of each writer, at most: so that the volume does not fill.
const FILES: u64 = 3000;
/// Bytes of a line of the append log.
const LINE: usize = 64;
/// How many answers of fsync the test wants to see before the primary is killed.
const SYNCED: usize = 60;

/// An export as a disk of this machine; taken away again when dropped.
struct Attached {
    // The last one that goes.
    _fuse: Background,
    device: String,
    fuse: PathBuf,
    tree: PathBuf,
}

impl Attached {
    fn new(folder: &Folder, name: &str, uri: &str) -> Self {
        let (fuse, tree) = (folder.file(&format!("{name}.fuse")), folder.file(&format!("{name}.tree")));
        fs::create_dir(&fuse).unwrap();
        fs::create_dir(&tree).unwrap();
        let disk = fuse.join("disk");
        let mut server = Program::new("nbdfuse").arg(&disk).arg(uri).start(&folder.file(name));
        wait_for("nbdfuse should show the export", LIMIT, || {
            assert!(server.ended().is_none(), "nbdfuse has ended: {}", server.err());
            disk.exists().then_some(())
        });
        let losetup =
            Program::new("losetup").args(["--direct-io=on", "--find", "--show"]).arg(&disk).run().well();
        Self { _fuse: server, device: losetup.trim().to_owned(), fuse, tree }
    }

    fn mount(&self) -> &Path {
        Program::new("mount").args(["-t", "ext4", &self.device]).arg(&self.tree).run().well();
        &self.tree
    }

    fn unmount(&self) {
        Program::new("umount").arg(&self.tree).run().well();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Each as far as it is still there. Lazily: behind a killed primary nothing can be written back.
        let _ = Program::new("umount").arg("--lazy").arg(&self.tree).run();
        let _ = Program::new("losetup").args(["--detach", &self.device]).run();
        let _ = Program::new("umount").arg("--lazy").arg(&self.fuse).run();
    }
}

/// What was promised to the writers: everything here was synced, and the sync was answered.
#[derive(Default)]
struct Promised {
    /// Files that stay as they were written, by writer and number.
    files: Mutex<Vec<(u64, u64)>>,
    /// Lines of the append log.
    lines: AtomicU64,
    /// The version that was renamed into place.
    version: AtomicU64,
    stop: AtomicBool,
}

impl Promised {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self) -> usize {
        self.files.lock().unwrap().len()
    }

    /// Many files, every third synced with its folder.
    fn write_files(&self, tree: &Path, writer: u64) -> io::Result<()> {
        let folder = tree.join(format!("files-{writer}"));
        fs::create_dir(&folder)?;
        File::open(tree)?.sync_all()?;
        for number in (0..FILES).take_while(|_| !self.stopped()) {
            let mut file = File::create(folder.join(number.to_string()))?;
            file.write_all(&body(writer, number))?;
            if number % 3 == 0 {
                file.sync_all()?;
                sync_folder(&folder)?;
                self.files.lock().unwrap().push((writer, number));
            }
            // Some go again, so that blocks are used twice.
            if number % 5 == 4 && number % 3 == 0 {
                let gone = number - 3;
                self.files.lock().unwrap().retain(|file| *file != (writer, gone));
                fs::remove_file(folder.join(gone.to_string()))?;
            }
        }
        Ok(())
    }

    /// A log as databases have them: one line after the other, each synced.
    fn append(&self, tree: &Path) -> io::Result<()> {
        let mut log = OpenOptions::new().create(true).append(true).open(tree.join("log"))?;
        File::open(tree)?.sync_all()?;
        for number in (1..).take_while(|_| !self.stopped()) {
            log.write_all(&line(number))?;
            log.sync_data()?;
            self.lines.store(number, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A file that is replaced by renaming, as editors do.
    fn replace(&self, tree: &Path) -> io::Result<()> {
        let (new, old) = (tree.join("settings.new"), tree.join("settings"));
        for number in (1..).take_while(|_| !self.stopped()) {
            let mut file = File::create(&new)?;
            file.write_all(&line(number))?;
            file.sync_all()?;
            fs::rename(&new, &old)?;
            sync_folder(tree)?;
            self.version.store(number, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Everything promised is there, by content.
    fn check(&self, tree: &Path) {
        for (writer, number) in self.files.lock().unwrap().iter() {
            let path = tree.join(format!("files-{writer}/{number}"));
            let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(found == body(*writer, *number), "{} is not as it was synced", path.display());
        }
        let (log, lines) = (fs::read(tree.join("log")).unwrap(), self.lines.load(Ordering::Relaxed));
        let there = log.len() / LINE;
        assert!(there as u64 >= lines, "{lines} lines were synced, {there} are there");
        for (number, found) in (1..=lines).zip(log.chunks_exact(LINE)) {
            assert_eq!(found, line(number), "line {number} of the log");
        }
        let (found, version) =
            (fs::read(tree.join("settings")).unwrap(), self.version.load(Ordering::Relaxed));
        let possible = [version, version + 1].map(line);
        assert!(possible.contains(&found), "version {version}: {found:?}");
    }
}

/// Syncs a folder, for sure. When the transaction that held a change has failed and is gone, ext4 finds nothing to commit, and says that the folder
/// is synced (seen with kernel 6.18, any server that dies, and two `fsync` of a folder one behind the other). A journal that has failed takes
/// no change any more: one that it takes shows that it had not.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    let probe = folder.join(format!("probe-{:?}", thread::current().id()));
    File::create(&probe)?;
    fs::remove_file(&probe)
}

/// The content of a file, up to 60 kB.
fn body(writer: u64, number: u64) -> Vec<u8> {
    let mut dice = Seeded::new(writer, number);
    let words = dice.below(7500) + 1;
    (0..words).flat_map(|_| dice.next_word().to_le_bytes()).collect()
}

fn line(number: u64) -> Vec<u8> {
    let mut text = format!("{number} {:016x} ", Seeded::new(number, 1).next_word());
    text += &".".repeat(LINE - 1 - text.len());
    text.push('\n');
    text.into_bytes()
}

#[test]
fn synced_files_outlive_the_primary_and_the_file_system_is_clean() {
    if !may_mount() {
        return;
    }
    let mut cluster = Cluster::running(Shape::new(1, 128));
    let attached = Attached::new(cluster.folder(), "a", &cluster.uri(Place::Primary, 1));
    Program::new("mkfs.ext4").args(["-q", &attached.device]).run().well();
    let tree = attached.mount();
    let promised = Promised::default();
    let ends: Vec<io::Result<()>> = thread::scope(|scope| {
        let writers = [
            scope.spawn(|| promised.write_files(tree, 1)),
            scope.spawn(|| promised.write_files(tree, 2)),
            scope.spawn(|| promised.append(tree)),
            scope.spawn(|| promised.replace(tree)),
        ];
        wait_for("files should be written", LIMIT * 2, || (promised.count() >= SYNCED).then_some(()));
        // Anywhere in what they do.
        pause(Duration::from_micros(Seeded::new(random_run_id(), 0).below(500_000)));
        cluster.kill(Place::Primary);
        pause(Duration::from_millis(200));
        promised.stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let lines = promised.lines.load(Ordering::Relaxed);
    println!("killed after {} synced files and {lines} synced lines; writers: {ends:?}", promised.count());
    assert!(lines > 10 && ends.iter().any(Result::is_err), "the primary was killed in mid-writing");
    drop(attached);

    println!("{}", cluster.take_over());
    let attached = Attached::new(cluster.folder(), "b", &cluster.uri(Place::Secondary, 1));
    // Mounting replays the file system's own journal; what is there then must be whole.
    attached.mount();
    attached.unmount();
    println!("{}", Program::new("fsck.ext4").args(["-f", "-n", &attached.device]).run().well());
    promised.check(attached.mount());
    // It is a disk like any other: written, and read again after a new mount.
    fs::write(attached.tree.join("after"), body(9, 9)).unwrap();
    attached.unmount();
    assert!(fs::read(attached.mount().join("after")).unwrap() == body(9, 9));
    attached.unmount();
}
