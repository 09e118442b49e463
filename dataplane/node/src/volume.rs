//! The volumes of this node as opened: their sizes are whole blocks, and as large as configured.

use std::path::{Path, PathBuf};

use midspan_format::geometry::{BLOCK_U64, REGION_BYTES, is_whole_blocks};
use midspan_format::ids::VolumeId;
use midspan_protocol::role::site::Volume;
use midspan_uring::File;
use midspan_uring::file::{Access, FileError};

/// Why a volume cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// It cannot be opened.
    #[error("volume {volume}: {error}")]
    File {
        /// The volume.
        volume: VolumeId,
        /// Why.
        error: FileError,
    },
    /// The disk has no size that a volume can have.
    #[error(
        "volume {volume}: {} has {size} bytes, which is not a positive multiple of {BLOCK_U64}: state a `size` that is",
        .path.display()
    )]
    DiskSize {
        /// The volume.
        volume: VolumeId,
        /// Its disk.
        path: PathBuf,
        /// The disk's bytes.
        size: u64,
    },
    /// The configured size is none that a volume can have.
    #[error(
        "volume {volume}: a size of {size} bytes is configured, which is not a positive multiple of {BLOCK_U64}"
    )]
    WantedSize {
        /// The volume.
        volume: VolumeId,
        /// The configured bytes.
        size: u64,
    },
    /// The disk is smaller than the volume shall be.
    #[error(
        "volume {volume}: {} is too small, it has {size} bytes and {wanted} are configured: enlarge the disk, or lower \
         `size` at both sites",
        .path.display()
    )]
    TooSmall {
        /// The volume.
        volume: VolumeId,
        /// Its disk.
        path: PathBuf,
        /// The disk's bytes.
        size: u64,
        /// The configured bytes.
        wanted: u64,
    },
}

/// A volume that is open.
#[derive(Debug)]
pub struct OpenVolume {
    /// Its number.
    pub id: VolumeId,
    /// Its disk.
    pub file: File,
    /// Bytes that hosts see.
    pub size: u64,
}

impl OpenVolume {
    /// Opens a volume's disk. `wanted` is its configured size; else it is as large as its disk.
    ///
    /// # Errors
    /// One sentence with what is wrong.
    pub fn open(id: VolumeId, path: &Path, wanted: Option<u64>, access: Access) -> Result<Self, VolumeError> {
        let file = File::open(path, access).map_err(|error| VolumeError::File { volume: id, error })?;
        let size = size_of(id, path, file.size(), wanted)?;
        Ok(Self { id, file, size })
    }

    /// What machines are told of it.
    pub fn volume(&self) -> Volume {
        Volume { id: self.id, size: self.size, identity: self.file.identity() }
    }
}

/// Largest volume, bytes (256 TiB): its regions are counted in 32 bits.
const LARGEST: u64 = REGION_BYTES << 32;

/// Bytes of a volume on a disk of `size` bytes.
fn size_of(volume: VolumeId, path: &Path, size: u64, wanted: Option<u64>) -> Result<u64, VolumeError> {
    let is_possible = |bytes: u64| (1..=LARGEST).contains(&bytes) && is_whole_blocks(bytes);
    match wanted {
        None if !is_possible(size) => Err(VolumeError::DiskSize { volume, path: path.to_owned(), size }),
        None => Ok(size),
        Some(wanted) if !is_possible(wanted) => Err(VolumeError::WantedSize { volume, size: wanted }),
        Some(wanted) if wanted > size => {
            Err(VolumeError::TooSmall { volume, path: path.to_owned(), size, wanted })
        }
        Some(wanted) => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_more_regions_than_32_bits_count_is_refused() {
        let of = |size| size_of(VolumeId(3), Path::new("/a"), size, None);
        assert!(of(LARGEST).is_ok());
        assert!(matches!(of(LARGEST + 4096), Err(VolumeError::DiskSize { .. })));
    }

    #[test]
    fn a_volume_is_as_large_as_configured_or_as_its_disk() {
        let of = |size, wanted| size_of(VolumeId(3), Path::new("/a"), size, wanted);
        assert_eq!(
            (of(8192, None), of(8192, Some(4096)), of(8191, Some(4096))),
            (Ok(8192), Ok(4096), Ok(4096))
        );
        let texts: Vec<_> =
            [of(8191, None), of(0, None), of(8192, Some(5000)), of(8192, Some(0)), of(8192, Some(12288))]
                .map(|refused| refused.unwrap_err().to_string())
                .to_vec();
        assert!(texts.iter().all(|text| text.starts_with("volume 3: ")), "{texts:?}");
        assert!(
            texts[4].contains("/a is too small, it has 8192 bytes and 12288 are configured"),
            "{texts:?}"
        );
    }
}
