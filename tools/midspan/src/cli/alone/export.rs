//! `midspan resolve GROUP --export DIR`: what is held alone as sparse images, with a list of the ranges beside them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use midspan_daemon::api::types::{AloneRange, AloneVolume, HeldAlone, MAX_PIECE_BYTES};
use midspan_format::checksum::Digest;
use serde_json::{Value, json};

use super::image::{Image, Written};
use super::meter::Meter;
use crate::cli::cells::utc;
use crate::cli::client::{Client, encode};
use crate::cli::exit::{Exit, Failure};

/// The list of ranges, written last: where it stands the export is whole.
const LIST: &str = "ranges.json";

/// A range, with the checksum of its bytes.
struct Copied {
    range: AloneRange,
    checksum: u64,
}

/// An image that was written, with the ranges that it holds.
struct Exported<'a> {
    volume: &'a AloneVolume,
    image: Written,
    path: PathBuf,
    ranges: Vec<Copied>,
}

/// Writes an image for each volume, reads them back, and writes the list. Returns the list.
///
/// # Errors
/// The folder is not empty, a disk cannot be read or written, or what was read back is not what was written.
pub fn run(client: &Client, held: &HeldAlone, folder: &Path) -> Result<Value, Failure> {
    prepare(folder)?;
    let whole = copy(client, held, folder).and_then(|exported| {
        verify(held, &exported)?;
        list(held, &exported, folder)
    });
    whole.map_err(|failure| {
        let place = folder.display();
        let hint = if failure.hint.is_empty() { String::new() } else { format!("{}; ", failure.hint) };
        failure.hint(format!(
            "{hint}the export in {place} is not whole: remove it, and export again into an empty folder"
        ))
    })
}

/// An empty folder, made if there is none.
fn prepare(folder: &Path) -> Result<(), Failure> {
    let place = folder.display();
    if !folder.exists() {
        return fs::create_dir(folder).map_err(|error| Failure::io(place, &error));
    }
    if !folder.is_dir() {
        return Err(Failure::new(Exit::Refused, format!("{place} is no folder"))
            .hint("name an empty folder, or one that does not exist yet"));
    }
    let mut entries = fs::read_dir(folder).map_err(|error| Failure::io(folder.display(), &error))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Failure::new(Exit::Refused, format!("{place} is not empty"))
            .hint("an export goes into a folder of its own: nothing is overwritten")),
    }
}

/// The parts of a range that are moved at a time: offset and length.
fn pieces(range: &AloneRange) -> impl Iterator<Item = (u64, u64)> + use<> {
    let AloneRange { offset_bytes, length_bytes, .. } = *range;
    let starts = (0..length_bytes).step_by(usize::try_from(MAX_PIECE_BYTES).unwrap_or(usize::MAX));
    starts.map(move |start| (offset_bytes + start, MAX_PIECE_BYTES.min(length_bytes - start)))
}

fn copy<'a>(client: &Client, held: &'a HeldAlone, folder: &Path) -> Result<Vec<Exported<'a>>, Failure> {
    let mut meter = Meter::new("copied", held.bytes);
    let mut exported = Vec::new();
    for volume in &held.volumes {
        let path = folder.join(format!("{}.img", volume.name));
        let image = Image::create(path.clone(), volume.size_bytes)?;
        let mut ranges = Vec::new();
        for range in held.ranges.iter().filter(|range| range.volume == volume.volume) {
            let mut digest = Digest::new();
            for (offset, length) in pieces(range) {
                let bytes = piece(client, &held.group, volume, offset, length)?;
                digest.update(&bytes);
                image.write(offset, &bytes)?;
                meter.add(length);
            }
            ranges.push(Copied { range: *range, checksum: digest.finish() });
        }
        exported.push(Exported { volume, image: image.finish()?, path, ranges });
    }
    meter.end();
    Ok(exported)
}

fn piece(
    client: &Client,
    group: &str,
    volume: &AloneVolume,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, Failure> {
    let number = volume.volume;
    let group = encode(group);
    let path = format!("/v1/groups/{group}/alone/data?volume={number}&offset={offset}&length={length}");
    let bytes = client.bytes(&path)?;
    if bytes.len() as u64 == length {
        return Ok(bytes);
    }
    let found = bytes.len();
    Err(Failure::other(format!(
        "volume {}: the daemon gave {found} of {length} bytes at {offset}",
        volume.name
    )))
}

/// Reads the images back.
fn verify(held: &HeldAlone, exported: &[Exported<'_>]) -> Result<(), Failure> {
    let mut meter = Meter::new("verified", held.bytes);
    for Exported { image, path, ranges, .. } in exported {
        for Copied { range, checksum } in ranges {
            let mut digest = Digest::new();
            for (offset, length) in pieces(range) {
                let bytes = image.read(offset, usize::try_from(length).unwrap_or(usize::MAX));
                let bytes = bytes.map_err(|error| {
                    Failure::io(format!("{}: reading back at {offset}", path.display()), &error)
                })?;
                digest.update(&bytes);
                meter.add(length);
            }
            if digest.finish() != *checksum {
                let (place, offset) = (path.display(), range.offset_bytes);
                let message = format!("{place}: the range at {offset} does not read back as it was written");
                return Err(Failure::other(message).hint("do not trust that disk"));
            }
        }
    }
    meter.end();
    Ok(())
}

/// Writes the list, and makes it and the folder durable.
fn list(held: &HeldAlone, exported: &[Exported<'_>], folder: &Path) -> Result<Value, Failure> {
    let range = |copied: &Copied| {
        json!({
            "offset_bytes": copied.range.offset_bytes, "length_bytes": copied.range.length_bytes,
            "crc64": format!("{:016x}", copied.checksum),
        })
    };
    let volume = |exported: &Exported<'_>| {
        json!({
            "volume": exported.volume.volume, "name": exported.volume.name, "size_bytes": exported.volume.size_bytes,
            "bytes": exported.volume.bytes, "file": format!("{}.img", exported.volume.name),
            "ranges": exported.ranges.iter().map(range).collect::<Vec<_>>(),
        })
    };
    let value = json!({
        "group": held.group, "node": held.node, "replaced_by": held.replaced_by,
        "left_ns": held.left_ns, "newest_ns": held.newest_ns, "replaced_ns": held.replaced_ns,
        "left": held.left_ns.map(utc), "newest": held.newest_ns.map(utc), "replaced": held.replaced_ns.map(utc),
        "times": held.times, "bytes": held.bytes, "checksum": "CRC-64/NVME",
        "volumes": exported.iter().map(volume).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&value).map_err(|error| Failure::other(error.to_string()))?;
    let path = folder.join(LIST);
    let failed = |error: std::io::Error| Failure::io(path.display(), &error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let whole = File::open(folder).and_then(|folder| folder.sync_all());
    whole.map_err(|error| Failure::io(folder.display(), &error))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_moved_in_pieces_that_one_answer_can_hold() {
        let range = AloneRange { volume: 1, offset_bytes: 65_536, length_bytes: 2 * MAX_PIECE_BYTES + 4096 };
        let found: Vec<_> = pieces(&range).collect();
        let first = 65_536;
        let expected = [
            (first, MAX_PIECE_BYTES),
            (first + MAX_PIECE_BYTES, MAX_PIECE_BYTES),
            (first + 2 * MAX_PIECE_BYTES, 4096),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_an_empty_folder_is_written_to() {
        let folder = std::env::temp_dir().join(format!("midspan-export-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        prepare(&folder).unwrap();
        prepare(&folder).unwrap();
        fs::write(folder.join("precious"), "").unwrap();
        for taken in [folder.clone(), folder.join("precious")] {
            let failure = prepare(&taken).unwrap_err();
            assert_eq!(failure.exit, Some(Exit::Refused), "{failure:?}");
            assert!(!failure.hint.is_empty());
        }
        assert_eq!(prepare(&folder.join("none/such")).unwrap_err().exit, Some(Exit::NotFound));
        fs::remove_dir_all(&folder).unwrap();
    }
}
