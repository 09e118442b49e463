//! What a ring holds: runs of frames that link, found by looking at every block, and why each run ends.

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, HEADER_BYTES};
use midspan_format::geometry::BLOCK;
use midspan_format::ids::{AreaId, NodeId};

use super::source::RingView;

/// Bytes looked at together.
const CHUNK: usize = 1 << 20;

/// Frames that link to each other.
#[derive(Clone, Debug)]
pub struct Run {
    /// The headers, in order.
    pub headers: Vec<FrameHeader>,
    /// Why the next frame does not follow.
    pub end: End,
}

impl Run {
    /// Position of the first frame.
    pub fn start(&self) -> u64 {
        self.headers.first().map_or(0, |header| header.position.0)
    }

    /// Whether its end is damage, and not just where the journal ends.
    pub fn is_damaged(&self) -> bool {
        match self.end {
            End::Damaged { .. } | End::Unreadable => true,
            End::NoHeader { .. } | End::Older { .. } | End::Broken { .. } => false,
        }
    }

    /// Position behind the last frame.
    pub fn stop(&self) -> u64 {
        self.headers.last().map_or(0, |header| header.end().0)
    }
}

/// Why a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// No valid header of this area stands there.
    NoHeader {
        /// What is wrong with what stands there.
        why: String,
    },
    /// A valid header stands there, of an earlier round of the ring: the normal end.
    Older {
        /// The position that it names.
        position: u64,
    },
    /// A valid header stands there, but it does not link.
    Broken {
        /// How.
        why: String,
    },
    /// The header is good, the rest of the frame is not.
    Damaged {
        /// What is wrong.
        why: String,
    },
    /// The disk cannot be read there.
    Unreadable,
}

impl End {
    /// In a sentence.
    pub fn sentence(&self) -> String {
        match self {
            End::NoHeader { why } => format!("no frame there: {why}"),
            End::Older { position } => {
                format!("what stands there is older: the frame of position {position}")
            }
            End::Broken { why } => format!("the frame there does not link: {why}"),
            End::Damaged { why } => format!("the frame there is damaged: {why}"),
            End::Unreadable => "the disk cannot be read there".to_owned(),
        }
    }
}

/// Every valid header of the area that stands where it says, in order of position.
pub fn headers(ring: &RingView<'_>, area: Option<AreaId>) -> Vec<FrameHeader> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < ring.size {
        let length = CHUNK.min(usize::try_from(ring.size - at).unwrap_or(CHUNK));
        // A chunk with an unreadable sector is looked at block by block.
        let chunk = ring.read(at, length);
        for index in 0..length / BLOCK {
            let offset = index * BLOCK;
            let block = match &chunk {
                Some(bytes) => bytes.get(offset..offset + BLOCK).map(<[u8]>::to_vec),
                None => ring.read(at + offset as u64, BLOCK),
            };
            let header = block.and_then(|bytes| FrameHeader::decode(bytes.get(..HEADER_BYTES)?).ok());
            let Some(header) = header else { continue };
            let in_place = header.position.0 % ring.size == at + offset as u64;
            if in_place && area.is_none_or(|area| area == header.area) {
                found.push(header);
            }
        }
        at += length as u64;
    }
    found.sort_by_key(|header| header.position.0);
    found
}

/// Splits headers, which are in order, into runs, and reads every frame to see whether it verifies. On a disk of `node` those whose data
/// lies at another one need no more than their head.
pub fn runs(ring: &RingView<'_>, area: Option<AreaId>, node: NodeId, headers: &[FrameHeader]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut current: Vec<FrameHeader> = Vec::new();
    for header in headers {
        // Within a frame's own bytes there may be blocks of data that look like headers.
        if current.last().is_some_and(|last| header.position.0 < last.end().0) {
            continue;
        }
        if let Some(last) = current.last()
            && link_error(last, header).is_some()
        {
            let headers = std::mem::take(&mut current);
            runs.push(close(ring, area, headers));
        }
        match verify(ring, node, header) {
            Ok(()) => current.push(*header),
            Err(end) => {
                let headers = std::mem::take(&mut current);
                runs.push(Run { headers, end });
            }
        }
    }
    if !current.is_empty() {
        runs.push(close(ring, area, current));
    }
    runs
}

/// A run that ends without a damaged frame: says what stands behind it.
fn close(ring: &RingView<'_>, area: Option<AreaId>, headers: Vec<FrameHeader>) -> Run {
    let end = headers.last().map_or(End::Unreadable, |last| behind(ring, area, last));
    Run { headers, end }
}

fn behind(ring: &RingView<'_>, area: Option<AreaId>, last: &FrameHeader) -> End {
    let position = last.end().0;
    let Some(block) = ring.read(position, BLOCK) else { return End::Unreadable };
    if block.iter().all(|byte| *byte == 0) {
        return End::NoHeader { why: "zeroes".to_owned() };
    }
    match block.get(..HEADER_BYTES).map(FrameHeader::decode) {
        Some(Ok(next)) if area.is_some_and(|area| area != next.area) => {
            End::NoHeader { why: "a frame of another area".to_owned() }
        }
        Some(Ok(next)) if next.position.0 < position => End::Older { position: next.position.0 },
        Some(Ok(next)) => End::Broken { why: link_error(last, &next).unwrap_or_default() },
        Some(Err(error)) => End::NoHeader { why: error.to_string() },
        None => End::Unreadable,
    }
}

/// Why one frame does not follow the other.
fn link_error(last: &FrameHeader, next: &FrameHeader) -> Option<String> {
    if next.position != last.end() {
        Some(format!("a gap up to position {}", next.position.0))
    } else if next.chain != last.checksum {
        Some(format!("it links to header {:016x}, the frame before it is {:016x}", next.chain, last.checksum))
    } else if next.sequence != last.sequence + 1 {
        Some(format!("sequence {} after {}", next.sequence, last.sequence))
    } else if next.epoch < last.epoch {
        Some("its epoch is older than that of the frame before it".to_owned())
    } else {
        None
    }
}

fn verify(ring: &RingView<'_>, node: NodeId, header: &FrameHeader) -> Result<(), End> {
    let is_elsewhere = header.is_head_only_at(node);
    let length = if is_elsewhere { header.head_length } else { header.length };
    let frame =
        ring.read(header.position.0, usize::try_from(length).unwrap_or(usize::MAX)).ok_or(End::Unreadable)?;
    let found = if is_elsewhere { CheckedFrame::parse_head(&frame) } else { CheckedFrame::parse(&frame) };
    match found {
        Ok(_) => Ok(()),
        Err(error) => Err(End::Damaged { why: error.to_string() }),
    }
}
