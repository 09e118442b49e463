//! Where the data of frames is, for whoever asks whether a lane holds all of one.

use std::ops::Range;

use midspan_format::checked::CheckedFrame;
use midspan_format::geometry::Position;

use super::{Journal, LaneEye, Link};
use crate::pages::Pages;

impl LaneEye {
    /// Whether a frame of the journal is there with all of its data.
    pub fn has_whole(&self, position: Position, link: &Link, disk: &Pages) -> bool {
        let length = u32::try_from(link.end.0 - position.0).unwrap_or(u32::MAX);
        let bytes = self.read(position, length, disk);
        let is_it = |bytes: &[u8]| {
            CheckedFrame::parse(bytes).is_ok_and(|frame| frame.header().checksum == link.checksum)
        };
        bytes.is_some_and(|bytes| is_it(&bytes))
    }
}

impl Journal {
    /// The frames that begin in a part of the journal.
    pub fn frames(&self, range: Range<Position>) -> impl Iterator<Item = (Position, Link)> {
        let found = self.chain.range(range.start.0..range.end.0.max(range.start.0));
        found.map(|(position, link)| (Position(*position), *link))
    }

    /// The frame that ends there.
    pub fn frame_before(&self, end: Position) -> Option<(Position, Link)> {
        let (position, link) = self.chain.range(..end.0).next_back()?;
        (link.end == end).then_some((Position(*position), *link))
    }
}
