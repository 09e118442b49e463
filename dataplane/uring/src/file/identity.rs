//! What a disk or file is recognised by: 24 bytes that another disk in the same place would not have.
//!
//! ```text
//!  0       1            8                16               24
//!  | kind  | qualifier  | first          | second         |
//!    1 file: 0, inode, birth time in ns        2 device with a hardware name: start sector, two hashes of the name
//!    3 other device: 0, device number, size in bytes
//! ```

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::{FileType, MetadataExt};

/// The identity of an open file or device of `size` bytes.
pub(super) fn of(metadata: &Metadata, kind: FileType, size: u64) -> [u8; 24] {
    match kind {
        FileType::Regular => {
            let birth =
                metadata.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let birth = birth.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0);
            assemble(1, 0, metadata.ino(), birth)
        }
        FileType::Block => {
            let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
            match hardware_name(Path::new(&format!("/sys/dev/block/{major}:{minor}"))) {
                Some((name, start)) => assemble(2, start, hash(&name, SEEDS.0), hash(&name, SEEDS.1)),
                None => assemble(3, 0, metadata.rdev(), size),
            }
        }
    }
}

/// The device's unique name (WWN, serial, device-mapper or md id), and the first sector if it is a partition.
fn hardware_name(node: &Path) -> Option<(Vec<u8>, u64)> {
    let node: PathBuf = node.canonicalize().ok()?;
    let start = std::fs::read_to_string(node.join("start")).ok().and_then(|text| text.trim().parse().ok());
    let whole = if node.join("partition").exists() { node.parent()? } else { &node };
    ["wwid", "device/wwid", "serial", "device/serial", "dm/uuid", "md/uuid"].iter().find_map(|source| {
        let name = std::fs::read(whole.join(source)).ok()?;
        let name = name.trim_ascii();
        // Said by which source too: a serial equal to another disk's WWN is not the same disk.
        (!name.is_empty()).then(|| ([source.as_bytes(), b"=", name].concat(), start.unwrap_or(0)))
    })
}

/// Two different starts of FNV-1a: together 128 bits, so that distinct names do not meet by chance.
const SEEDS: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x9ae1_6a3b_2f90_404f);

fn hash(name: &[u8], seed: u64) -> u64 {
    name.iter().fold(seed, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn assemble(kind: u8, qualifier: u64, first: u64, second: u64) -> [u8; 24] {
    let head = (qualifier << 8) | u64::from(kind);
    let mut identity = [0; 24];
    for (target, word) in identity.chunks_exact_mut(8).zip([head, first, second]) {
        target.copy_from_slice(&word.to_le_bytes());
    }
    identity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("midspan-identity-{}-{name}", std::process::id()));
        std::fs::create_dir_all(root.join("disk/part")).unwrap();
        root
    }

    #[test]
    fn the_serial_names_a_disk_and_the_start_its_partitions() {
        let root = fake("serial");
        let disk = root.join("disk");
        assert_eq!(hardware_name(&disk), None);
        std::fs::write(disk.join("serial"), "S123 \n").unwrap();
        std::fs::write(disk.join("part/partition"), "1").unwrap();
        std::fs::write(disk.join("part/start"), "2048\n").unwrap();
        assert_eq!(hardware_name(&disk), Some((b"serial=S123".to_vec(), 0)));
        assert_eq!(hardware_name(&disk.join("part")), Some((b"serial=S123".to_vec(), 2048)));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_two_hashes_differ_and_depend_on_every_byte() {
        assert_ne!(hash(b"wwid=a", SEEDS.0), hash(b"wwid=a", SEEDS.1));
        assert_ne!(hash(b"wwid=a", SEEDS.0), hash(b"wwid=b", SEEDS.0));
    }
}
