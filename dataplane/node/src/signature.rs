//! What a disk seems to be in use for: the marks that partition tables and file systems leave in its first MiB.

/// Where a mark stands, its bytes, and what it says.
const MARKS: [(usize, &[u8], &str); 10] = [
    (512, b"EFI PART", "there is a partition table (GPT)"),
    (4096, b"EFI PART", "there is a partition table (GPT)"),
    (0x438, &[0x53, 0xEF], "there is an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "there is an XFS file system"),
    (0x10040, b"_BHRfS_M", "there is a btrfs file system"),
    (0, b"LUKS", "there is an encrypted volume (LUKS)"),
    (536, b"LVM2 001", "it is a physical volume of LVM"),
    (4096, &[0xFC, 0x4E, 0x2B, 0xA9], "it is a member of a RAID (md)"),
    (4086, b"SWAPSPACE2", "it is swap space"),
    // Also at the front of FAT and NTFS file systems; last, because many of the others leave it as it was.
    (510, &[0x55, 0xAA], "there is a partition table or a boot sector"),
];

/// What the first MiB says; `None` when it is all zero.
pub fn of(first: &[u8]) -> Option<&'static str> {
    let stands = |at: usize, mark: &[u8]| first.get(at..).is_some_and(|bytes| bytes.starts_with(mark));
    let known = MARKS.iter().find(|(at, mark, _)| stands(*at, mark)).map(|(_, _, what)| *what);
    known.or_else(|| first.iter().any(|byte| *byte != 0).then_some("there is unknown data in its first MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_found_alone_and_zeroes_are_nothing() {
        assert_eq!(of(&vec![0; 1 << 20]), None);
        assert_eq!(of(&[]), None);
        for (at, mark, what) in MARKS {
            let mut disk = vec![0; 1 << 20];
            disk[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(of(&disk), Some(what));
        }
        let mut disk = vec![0; 1 << 20];
        disk[999_999] = 1;
        assert_eq!(of(&disk), Some("there is unknown data in its first MiB"));
    }

    #[test]
    fn a_partition_table_is_not_taken_for_its_protective_boot_sector() {
        let mut disk = vec![0; 1 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk[512..520].copy_from_slice(b"EFI PART");
        assert_eq!(of(&disk), Some("there is a partition table (GPT)"));
    }
}
