//! What a scan's bytes say of the frames behind one whose data lies in the other lane: they are planned from the heads, so that several
//! are read at the same time, and what the scan has brought already is not read again.
//!
//! ```text
//!  a scan's bytes   [frame][head][frame][frame][head]
//!  planned                 [in the other one  ][at hand     ][in the other one  ][ the scan goes on
//! ```
//! Nothing is believed of it: each range is verified when it comes, as ever.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;

use super::{Answer, Asked, Fetcher, Range};
use crate::vocab::buffer::{Buffer, Slice};
use crate::vocab::tip::Tip;

/// What a scan has brought from behind the first frame whose data lies elsewhere, in the order of the journal.
#[derive(Debug)]
pub(super) struct Ahead<B> {
    ranges: Vec<Range>,
    at_hand: VecDeque<(Position, Slice<B>)>,
}

/// Ranges of one piece of a scan: more take memory from the allocator.
const RANGES: usize = 256;

impl<B: Buffer> Ahead<B> {
    pub(super) fn new() -> Self {
        Self { ranges: Vec::with_capacity(RANGES), at_hand: VecDeque::with_capacity(RANGES) }
    }

    pub(super) fn forget(&mut self) {
        self.at_hand.clear();
    }

    /// A frame of which `bytes` have come, if it is of this lane.
    fn add(&mut self, range: Range, bytes: Option<Slice<B>>, most: u64) {
        let last = self.ranges.last_mut().filter(|last| last.beside == range.beside);
        let joins = last.filter(|last| range.end.0 - last.start.0 <= most);
        match (joins, bytes) {
            (Some(last), None) => last.end = range.end,
            (Some(last), Some(bytes)) => {
                if let Some((_, before)) = self.at_hand.back_mut()
                    && before.join(&bytes)
                {
                    last.end = range.end;
                } else {
                    self.ranges.push(range);
                    self.at_hand.push_back((range.start, bytes));
                }
            }
            (None, bytes) => {
                self.ranges.push(range);
                self.at_hand.extend(bytes.map(|bytes| (range.start, bytes)));
            }
        }
    }
}

impl<B: Buffer> Fetcher<B> {
    /// Plans what stands in a scan's bytes, which begin with a head whose data is in the other lane; gives the end of it.
    pub(super) fn plan_ahead(&mut self, first: &FrameHeader, asked: &Range, data: &Slice<B>) -> Position {
        let (here, there) = (self.node_of(asked.beside), self.node_of(!asked.beside));
        let most = u64::from(self.limits.fetch_bytes);
        self.ahead.ranges.clear();
        self.ahead.forget();
        let (mut tip, mut next, mut at) = (Tip::before(first), Some(*first), 0);
        while let Some(header) = next {
            let is_there = header.data_at == there;
            let (start, end) = (header.position, header.end());
            // Only where both share is a head all that was asked for of such a frame.
            let sent = if is_there && self.shares { header.head_length } else { header.length } as usize;
            let is_near = is_there || [NodeId::NONE, here].contains(&header.data_at);
            let is_cut = !is_there && at + sent > data.len();
            if end > asked.end && start > first.position || !is_near || is_cut {
                break;
            }
            let range = Range { start, end, scan: false, has_rest: false, beside: asked.beside != is_there };
            self.ahead.add(range, (!is_there).then(|| data.part(at..at + sent)), most);
            tip = Tip::after(&header);
            at += sent;
            next = data.bytes().get(at..).and_then(|bytes| FrameHeader::decode(bytes).ok());
            next = next.filter(|next| tip.links(next) && next.area == first.area && next.kind == first.kind);
        }
        tip.position
    }

    /// Puts what was planned so in front of everything else.
    pub(super) fn plan_first(&mut self) {
        while let Some(range) = self.ahead.ranges.pop() {
            self.plan.push_front(range);
        }
    }

    /// The next range, if a scan has brought it already, counts as asked and answered. It is taken when what was asked before has come;
    /// so something must have been.
    pub(super) fn take_at_hand(&mut self) -> bool {
        let Some(range) = self.plan.front().copied().filter(|range| !range.scan) else { return false };
        let is_next = |(start, _): &(Position, Slice<B>)| *start == range.start;
        if self.asked.is_empty() || !self.ahead.at_hand.front().is_some_and(is_next) {
            return false;
        }
        let Some((position, data)) = self.ahead.at_hand.pop_front() else { return false };
        self.plan.pop_front();
        self.asked.push_back(Asked { range, answer: Some(Answer { position, data: Some(data) }) });
        true
    }

    /// Reads that are not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.asked.iter().filter(|asked| asked.answer.is_none()).count()
    }
}
