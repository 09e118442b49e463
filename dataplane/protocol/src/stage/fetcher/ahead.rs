//! What a scan's bytes say of the frames behind one whose data lies in the other lane: they are planned from the heads, so that several
//! are read at the same time, and what the scan has brought already is not read again.
//!
//! ```text
//!  a scan's bytes   [frame][head, hole      ][frame][frame][head, hole   ]
//!  planned                 [in the other one][at hand     ][in the other one][ the scan goes on
//! ```
//! Nothing is believed of it: each range is verified when it comes, as ever.

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;

use super::{Answer, Asked, Fetcher, Range};
use crate::vocab::buffer::{Buffer, Slice};
use crate::vocab::tip::Tip;

/// A scan's bytes, from the first frame on whose data lies elsewhere.
#[derive(Debug)]
pub(super) struct Ahead<B> {
    position: Position,
    data: Slice<B>,
    /// They are of the lane beside.
    beside: bool,
}

impl<B: Buffer> Fetcher<B> {
    /// Plans what stands in a scan's bytes, which begin with a head whose data is in the other lane; gives the end of it.
    pub(super) fn plan_ahead(&mut self, first: &FrameHeader, asked: &Range, data: Slice<B>) -> Position {
        let (here, there) = (self.node_of(asked.beside), self.node_of(!asked.beside));
        let mut ranges = core::mem::take(&mut self.ahead_ranges);
        ranges.clear();
        let (mut tip, mut next) = (Tip::before(first), Some(*first));
        while let Some(header) = next {
            let beside = if header.data_at == there { !asked.beside } else { asked.beside };
            let (start, end) = (header.position, header.end());
            let is_near = [NodeId::NONE, here, there].contains(&header.data_at);
            let is_cut = beside == asked.beside && end.0 - first.position.0 > data.len() as u64;
            if end > asked.end && start > first.position || !is_near || is_cut {
                break;
            }
            tip = Tip::after(&header);
            match ranges.last_mut() {
                Some(last) if last.beside == beside && self.fits_one(last.start, end) => last.end = end,
                Some(_) | None => {
                    ranges.push(Range { start, end, scan: false, has_rest: false, beside });
                }
            }
            let offset = usize::try_from(end.0 - first.position.0).unwrap_or(usize::MAX);
            next = data.bytes().get(offset..).and_then(|bytes| FrameHeader::decode(bytes).ok());
            next = next.filter(|next| tip.links(next) && next.area == first.area && next.kind == first.kind);
        }
        self.ahead = Some(Ahead { position: first.position, data, beside: asked.beside });
        self.ahead_ranges = ranges;
        tip.position
    }

    /// Puts what was planned so in front of everything else.
    pub(super) fn plan_first(&mut self) {
        while let Some(range) = self.ahead_ranges.pop() {
            self.plan.push_front(range);
        }
    }

    /// The next range, if a scan has brought it already, counts as asked and answered.
    pub(super) fn take_at_hand(&mut self) -> bool {
        let Some(range) = self.plan.front().copied() else { return false };
        let Some(answer) = self.at_hand(&range) else { return false };
        self.plan.pop_front();
        self.asked.push_back(Asked { range, answer: Some(answer) });
        true
    }

    /// Reads that are not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.asked.iter().filter(|asked| asked.answer.is_none()).count()
    }

    /// A range that a scan has brought already. It is taken when what was asked before has come; so something must have been.
    fn at_hand(&self, range: &Range) -> Option<Answer<B>> {
        let ahead = self.ahead.as_ref().filter(|ahead| ahead.beside == range.beside && !range.scan)?;
        let place = |position: Position| usize::try_from(position.0.checked_sub(ahead.position.0)?).ok();
        let (start, end) = (place(range.start)?, place(range.end)?);
        let is_there = !self.asked.is_empty() && end <= ahead.data.len();
        is_there.then(|| Answer { position: range.start, data: Some(ahead.data.part(start..end)) })
    }

    fn fits_one(&self, start: Position, end: Position) -> bool {
        end.0 - start.0 <= u64::from(self.limits.fetch_bytes)
    }
}
