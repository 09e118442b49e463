//! Walks a ring along its chain: the scan that is the truth about a journal (I8).
//!
//! A walk ends at the first frame that does not verify or does not link to its predecessor. Whether that is the journal's
//! end or damage is decided by [`later_claim`]: a later valid frame, or any other witness, that knows of a longer prefix.

use core::ops::Range;

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{AreaId, NodeId};

use crate::vocab::tip::Tip;

/// What lies at the walk's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A verified frame that links; the range is relative to the bytes given.
    Frame(FrameHeader, Range<usize>),
    /// The verified head of a frame that links, and whose data is not here: it lies in the lane that the head names. The walk goes on with
    /// [`Walk::pass`], or with the frame's bytes from there.
    Head(FrameHeader),
    /// The bytes given end before the frame does: at least so many are needed.
    More(usize),
    /// Nothing that continues the chain.
    End,
}

/// A walk in progress.
#[derive(Clone, Debug)]
pub struct Walk {
    area: AreaId,
    kind: FrameKind,
    tip: Tip,
    /// The first frame is accepted whatever it links to: its predecessor is not known.
    open: bool,
    /// Of which frames no more than the head is there.
    apart: Apart,
}

#[derive(Clone, Copy, Debug)]
enum Apart {
    None,
    /// Of all but those whose data is at this node.
    AllBut(NodeId),
    /// Of those whose data is at this node.
    At(NodeId),
}

impl Walk {
    /// Continues behind `tip`.
    pub fn behind(area: AreaId, kind: FrameKind, tip: Tip) -> Self {
        Self { area, kind, tip, open: false, apart: Apart::None }
    }

    /// Starts at a frame boundary whose predecessor is not known.
    pub fn at(area: AreaId, kind: FrameKind, position: Position) -> Self {
        Self { area, kind, tip: Tip { position, ..Tip::default() }, open: true, apart: Apart::None }
    }

    /// What is walked from now on are bytes of the lane at this node: of some frames it holds the head only.
    pub fn at_lane(&mut self, node: NodeId) {
        self.apart = Apart::AllBut(node);
    }

    /// What is walked from now on are bytes of a lane; the one at this node holds the data of some frames in its place.
    pub fn beside(&mut self, node: NodeId) {
        self.apart = Apart::At(node);
    }

    /// What is walked from now on holds each frame whole.
    pub fn whole(&mut self) {
        self.apart = Apart::None;
    }

    /// Goes on behind a frame whose head is enough.
    pub fn pass(&mut self, header: &FrameHeader) {
        self.tip = Tip::after(header);
        self.open = false;
    }

    /// Goes on at the next block: what stands here does not verify. Only for areas of which any frame may be missing.
    pub fn skip_block(&mut self) {
        *self = Self::at(self.area, self.kind, self.tip.position.add(BLOCK as u64));
    }

    /// The area that is walked.
    pub fn area(&self) -> AreaId {
        self.area
    }

    /// The point behind the last frame found.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// Looks at the frame at the walk's place; `bytes` start there. A good frame moves the walk behind it.
    pub fn next(&mut self, bytes: &[u8]) -> Found {
        if bytes.len() < BLOCK {
            return Found::More(BLOCK);
        }
        let Ok(header) = FrameHeader::decode(bytes) else { return Found::End };
        let continues =
            if self.open { header.position == self.tip.position } else { self.tip.links(&header) };
        if header.area != self.area || header.kind != self.kind || !continues {
            return Found::End;
        }
        let is_apart = match self.apart {
            Apart::None => false,
            Apart::AllBut(node) => header.is_head_only_at(node),
            Apart::At(node) => header.data_at == node,
        };
        if is_apart {
            let length = header.head_length as usize;
            let Some(head) = bytes.get(..length) else { return Found::More(length) };
            return CheckedFrame::parse_head(head).map_or(Found::End, |_| Found::Head(header));
        }
        let length = header.length as usize;
        let Some(frame) = bytes.get(..length) else { return Found::More(length) };
        if CheckedFrame::parse(frame).is_err() {
            // It may be in another lane, which this one got the head beside.
            let may_be_apart = header.data_at != NodeId::NONE && !matches!(self.apart, Apart::AllBut(_));
            let apart = may_be_apart && CheckedFrame::parse_head(frame).is_ok();
            rare!(WalkBodyDamaged if !apart);
            return if apart { Found::Head(header) } else { Found::End };
        }
        self.pass(&header);
        Found::Frame(header, 0..length)
    }
}

/// The longest `journaled` claimed by any valid header of the journal in `bytes`, which start at `position`: evidence against
/// an end found before it. What other areas hold names the journal's prefix too, not their own.
pub fn later_claim(area: AreaId, position: Position, bytes: &[u8]) -> Option<Position> {
    let blocks = bytes.chunks_exact(BLOCK).enumerate();
    let claims = blocks.filter_map(|(index, block)| {
        let header = FrameHeader::decode(block.get(..HEADER_BYTES)?).ok()?;
        let here = Position(position.0 + (index * BLOCK) as u64);
        let claims = header.kind == FrameKind::Journal && header.area == area && header.position == here;
        claims.then_some(header.journaled)
    });
    claims.max()
}
