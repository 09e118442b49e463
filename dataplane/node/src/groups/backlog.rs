//! How much journal of a group stands in a lane's ring that the secondary has not received, as the disk says.

use midspan_format::area::AreaKind;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameKind, MAX_FRAME};
use midspan_format::geometry::Position;
use midspan_format::superblock::{AreaEntry, GroupPermit};
use midspan_protocol::recovery::walk::{Found, Walk};
use midspan_protocol::vocab::tip::Tip;

use crate::boot::Journal;
use crate::format::FormatError;
use crate::format::areas::read;

/// Bytes that are read at a time: more than the largest frame.
const CHUNK: u64 = 1 << 20;

const _: () = assert!(CHUNK > MAX_FRAME as u64);

/// Bytes of journal in the rings of a lane here that no receipt covers. Where the ring's end is damaged, what was once journaled counts.
///
/// # Errors
/// The disk cannot be read.
pub fn unreceived(journal: &Journal, permit: &GroupPermit) -> Result<u64, FormatError> {
    let mut bytes = 0;
    for ring in permit.areas().iter().filter(|entry| entry.kind == AreaKind::Ring) {
        let end = walk(journal, ring, FrameKind::Journal, |_| {})?.max(ring.hint.journaled);
        let mut received = Position(0);
        for area in permit.areas().iter().filter(|a| a.kind == AreaKind::Receipt && a.lane == ring.lane) {
            walk(journal, area, FrameKind::Receipt, |frame| {
                let Ok(checked) = CheckedFrame::parse(frame) else { return };
                let Some(receipt) = checked.receipt() else { return };
                let lanes = receipt.lanes.iter().filter(|lane| lane.lane == ring.lane.0);
                received = lanes.map(|lane| Position(lane.position)).fold(received, Position::max);
            })?;
        }
        bytes += end.0.saturating_sub(received.0);
    }
    Ok(bytes)
}

/// Shows every frame from the recorded hint on; the position behind the last one.
fn walk(
    journal: &Journal,
    entry: &AreaEntry,
    kind: FrameKind,
    mut show: impl FnMut(&[u8]),
) -> Result<Position, FormatError> {
    let mut walk = if entry.hint.journaled == Position(0) {
        Walk::behind(entry.area, kind, Tip::behind(Position(0), None))
    } else {
        Walk::at(entry.area, kind, entry.hint.position)
    };
    loop {
        let bytes = read_ring(journal, entry, walk.tip().position)?;
        let mut rest = bytes.as_slice();
        loop {
            match walk.next(rest) {
                Found::Frame(_, range) => {
                    show(rest.get(range.clone()).unwrap_or_default());
                    rest = rest.get(range.end..).unwrap_or_default();
                }
                // What was read ends before the frame does; no frame is longer than a whole read.
                Found::More(_) if rest.len() < bytes.len() => break,
                Found::More(_) | Found::Head(_) | Found::End => return Ok(walk.tip().position),
            }
        }
    }
}

fn read_ring(journal: &Journal, entry: &AreaEntry, position: Position) -> Result<Vec<u8>, FormatError> {
    let (first, second) = entry.ring().split(position, CHUNK.min(entry.size));
    let mut bytes = read(journal.file(), first.offset, first.length)?;
    if let Some(second) = second {
        bytes.extend(read(journal.file(), second.offset, second.length)?);
    }
    Ok(bytes)
}
