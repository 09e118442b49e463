//! What goes to a reader that walks along the chain: whole frames, and of those whose data lies in another lane the heads alone. So no
//! byte is sent twice because a range ended inside a frame, and none that is not a frame's.
//!
//! ```text
//!  the ring   [frame][head, hole      ][frame][frame][fra…
//!  is sent    [frame][head][frame][frame]
//! ```

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;

use crate::vocab::buffer::{Buffer, Slice};
use crate::vocab::effect::{MAX_PARTS, Parts};

/// Parts that are gathered. Nothing is verified but that one frame stands behind the other: the reader does that.
#[derive(Debug)]
pub struct Framed<B> {
    parts: Parts<B>,
    count: usize,
    length: u32,
    /// Where the next frame begins.
    next: Position,
    end: Position,
    without: NodeId,
}

impl<B: Buffer> Framed<B> {
    /// Gathers frames from `start` that end at or before `end`.
    pub fn new(start: Position, end: Position, without: NodeId) -> Self {
        Self { parts: [const { None }; MAX_PARTS], count: 0, length: 0, next: start, end, without }
    }

    /// Where the next frame begins.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Adds the frames that stand in `data`, which lies at `start`. `false` when nothing more can be added from anywhere.
    pub fn add(&mut self, start: Position, data: &Slice<B>) -> bool {
        while let Some(from) = self.place_in(start, data) {
            if self.count >= MAX_PARTS {
                return false;
            }
            let (mut to, mut goes_on) = (from, true);
            while goes_on && let Some((sent, end)) = self.frame(data.bytes().get(to..).unwrap_or_default()) {
                to += sent;
                goes_on = end.0 - self.next.0 == sent as u64;
                self.next = end;
            }
            if to == from {
                return false;
            }
            if let Some(part) = self.parts.get_mut(self.count) {
                *part = Some(data.part(from..to));
            }
            self.count += 1;
            self.length += u32::try_from(to - from).unwrap_or(0);
        }
        true
    }

    /// The parts and their bytes; `None` when not one frame was there.
    pub fn parts(self) -> Option<(Parts<B>, u32)> {
        (self.length > 0).then_some((self.parts, self.length))
    }

    /// Where in `data` the next frame begins, if there.
    fn place_in(&self, start: Position, data: &Slice<B>) -> Option<usize> {
        let place = usize::try_from(self.next.0.checked_sub(start.0)?).ok()?;
        (place < data.len() && self.next < self.end).then_some(place)
    }

    /// The frame that begins here: how many of its bytes are sent, and where it ends.
    fn frame(&self, bytes: &[u8]) -> Option<(usize, Position)> {
        let header = FrameHeader::decode(bytes).ok().filter(|header| header.position == self.next)?;
        let is_apart = self.without != NodeId::NONE && header.data_at == self.without;
        let sent = if is_apart { header.head_length } else { header.length } as usize;
        (sent <= bytes.len() && header.end() <= self.end).then_some((sent, header.end()))
    }
}

#[cfg(test)]
mod tests;
