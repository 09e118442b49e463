//! Where the figures come from: kernel, CPU, cores, the disk behind the folder, the commit.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What figures depend on.
#[derive(Debug, Serialize)]
pub struct Environment {
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Frequency policy of the first core; empty where there is none (virtual machines).
    pub governor: String,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Load average of the last minute before the run.
    pub load: String,
    /// The folder that the disks are in.
    pub folder: PathBuf,
    /// What is mounted there: type and source.
    pub filesystem: String,
    /// The block device under it; none for memory and for file systems over several.
    pub device: Option<Device>,
    /// The commit that this program was built from.
    pub commit: &'static str,
    /// Whether this program was built with optimisation.
    pub build: &'static str,
}

/// A block device.
#[derive(Debug, Serialize)]
pub struct Device {
    /// Its name in the kernel, such as `nvme0n1`.
    pub name: String,
    /// What the vendor calls it; empty where nobody says.
    pub model: String,
    /// The scheduler in use.
    pub scheduler: String,
    /// `write back` or `write through`: whether a flush has anything to do.
    pub write_cache: String,
    /// Whether it turns.
    pub rotational: bool,
}

impl Environment {
    /// As it is now, for disks in `folder`.
    pub fn of(folder: &Path) -> Self {
        let cpuinfo = text("/proc/cpuinfo");
        Self {
            kernel: text("/proc/sys/kernel/osrelease"),
            cpu: field(&cpuinfo, "model name").or_else(|| field(&cpuinfo, "Processor")).unwrap_or_default(),
            cores: midspan_uring::affinity::current_cores().len(),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_mib: memory_mib(&text("/proc/meminfo")),
            load: text("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            folder: folder.to_owned(),
            filesystem: mounted(&text("/proc/self/mountinfo"), folder).unwrap_or_default(),
            device: Device::under(folder),
            commit: env!("MIDSPAN_COMMIT"),
            build: if cfg!(debug_assertions) { "unoptimised" } else { "release" },
        }
    }

    /// For people, one line a topic.
    pub fn text(&self) -> String {
        let governor = if self.governor.is_empty() { String::new() } else { format!(", {}", self.governor) };
        let device = self.device.as_ref().map_or_else(String::new, |device| format!("; {}", device.text()));
        format!(
            "kernel {}, {}, {} cores{governor}, {} MiB, load {}\ndisks in {} ({}{device})\ncommit {}, {} build\n",
            self.kernel,
            self.cpu,
            self.cores,
            self.memory_mib,
            self.load,
            self.folder.display(),
            self.filesystem,
            self.commit,
            self.build,
        )
    }
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first value of a key in a `key : value` list.
fn field(list: &str, key: &str) -> Option<String> {
    let mut pairs = list.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

fn memory_mib(meminfo: &str) -> u64 {
    let kib = field(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Type and source of the innermost mount that holds the folder.
fn mounted(mountinfo: &str, folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = mountinfo.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        Some((place.split(' ').nth(4)?, kind.next()?, kind.next()?))
    });
    // Of several mounts on one point the last is on top.
    let inner =
        mounts.filter(|(point, _, _)| folder.starts_with(point)).max_by_key(|(point, _, _)| point.len());
    inner.map(|(_, kind, source)| format!("{kind} on {source}"))
}

impl Device {
    /// The one under the folder.
    fn under(folder: &Path) -> Option<Self> {
        let number = fs::metadata(folder).ok()?.dev();
        let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
        Self::at(PathBuf::from(format!("/sys/dev/block/{major}:{minor}")).canonicalize().ok()?)
    }

    fn at(mut place: PathBuf) -> Option<Self> {
        if !place.join("queue").is_dir() {
            // A partition: the disk it is part of has the queue.
            place.pop();
        }
        let scheduler = text(place.join("queue/scheduler"));
        Some(Self {
            name: place.file_name()?.to_string_lossy().into_owned(),
            model: text(place.join("device/model")),
            scheduler: scheduler.split(['[', ']']).nth(1).unwrap_or("none").to_owned(),
            write_cache: text(place.join("queue/write_cache")),
            rotational: text(place.join("queue/rotational")) == "1",
        })
    }

    fn text(&self) -> String {
        let Self { name, model, scheduler, write_cache, rotational } = self;
        let model = if model.is_empty() { String::new() } else { format!(" ({model})") };
        let turns = if *rotational { "rotating" } else { "not rotating" };
        format!("{name}{model}: scheduler {scheduler}, cache {write_cache}, {turns}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_named() {
        let mountinfo = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc proc rw\n";
        assert_eq!(mounted(mountinfo, Path::new("/")).unwrap(), "ext4 on /dev/sda1");
        assert_eq!(mounted(mountinfo, Path::new("/proc")).unwrap(), "proc on proc");
        assert_eq!(mounted(mountinfo, Path::new("/no such folder")), None);
    }

    #[test]
    fn fields_are_read_from_lists() {
        assert_eq!(field("a\t: 1\nmodel name\t: X 5: Y\n", "model name").unwrap(), "X 5: Y");
        assert_eq!(memory_mib("MemTotal:       24684084 kB\n"), 24105);
        assert_eq!(memory_mib(""), 0);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_core() {
        let here = Environment::of(&std::env::temp_dir());
        assert!(!here.kernel.is_empty() && here.cores > 0);
        assert!(here.text().contains(&here.kernel));
    }

    #[test]
    fn a_partition_shows_the_queue_of_its_disk() {
        let disk = std::env::temp_dir().join(format!("midspan-device-{}", std::process::id()));
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::create_dir_all(disk.join("part1")).unwrap();
        fs::write(disk.join("queue/scheduler"), "none [kyber] bfq\n").unwrap();
        fs::write(disk.join("queue/write_cache"), "write back\n").unwrap();
        fs::write(disk.join("queue/rotational"), "1\n").unwrap();
        let device = Device::at(disk.join("part1")).unwrap();
        assert!(
            device.text().ends_with(": scheduler kyber, cache write back, rotating"),
            "{}",
            device.text()
        );
        assert_eq!(device.name, disk.file_name().unwrap().to_str().unwrap());
        fs::remove_dir_all(disk).unwrap();
    }
}
