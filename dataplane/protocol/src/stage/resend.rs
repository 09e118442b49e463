//! Sealed frames that another lane may have to be filled with, kept in memory (design §4): what the secondary has not received,
//! or the primary's own disks do not hold yet. Bounded (I10): past the limit the oldest are let go, and a lost lane is left by the
//! dirty map instead.

use alloc::collections::VecDeque;
use alloc::rc::Rc;

use midspan_format::geometry::Position;

use crate::vocab::effect::Frame;
use crate::vocab::tip::Tip;

/// The frames, oldest first, without a gap up to the newest that was sealed.
#[derive(Debug)]
pub struct Resend<B> {
    frames: VecDeque<Rc<Frame<B>>>,
    bytes: u64,
    limit: u64,
}

impl<B> Resend<B> {
    /// Keeps at most `limit` bytes of frames; 0: none.
    pub fn new(limit: u64) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, limit }
    }

    /// Whether frames are kept at all.
    pub fn is_used(&self) -> bool {
        self.limit > 0
    }

    /// Keeps a frame that was sealed; calls `gone` with those that find no room any more.
    pub fn push(&mut self, frame: &Rc<Frame<B>>, gone: impl FnMut(Rc<Frame<B>>)) {
        if self.limit > 0 {
            self.bytes += u64::from(frame.header.length);
            self.frames.push_back(Rc::clone(frame));
            self.shrink(gone);
        }
    }

    /// Lets go of what lies before `needed`: the secondary has it, and so have the primary's own disks.
    pub fn forget(&mut self, needed: Position, mut gone: impl FnMut(Rc<Frame<B>>)) {
        while self.frames.front().is_some_and(|frame| frame.header.end() <= needed) {
            self.drop_front(&mut gone);
        }
    }

    /// Lets go of the oldest frame, because memory runs low. `false` when none is kept.
    pub fn shed(&mut self) -> bool {
        self.drop_front(&mut |_| {})
    }

    /// Where a lane begins that gets all that is kept; `tip` is behind the newest frame.
    pub fn base(&self, tip: Tip) -> Tip {
        self.frames.front().map_or(tip, |frame| Tip::before(&frame.header))
    }

    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The frames, oldest first.
    pub fn frames(&self) -> impl Iterator<Item = &Rc<Frame<B>>> + '_ {
        self.frames.iter()
    }

    fn shrink(&mut self, mut gone: impl FnMut(Rc<Frame<B>>)) {
        while self.bytes > self.limit && self.drop_front(&mut gone) {}
    }

    fn drop_front(&mut self, gone: &mut impl FnMut(Rc<Frame<B>>)) -> bool {
        let Some(frame) = self.frames.pop_front() else { return false };
        self.bytes -= u64::from(frame.header.length);
        gone(frame);
        true
    }
}

#[cfg(test)]
mod tests {
    use midspan_format::frame::FrameHeader;

    use super::*;

    fn frame(position: u64, length: u32) -> Rc<Frame<()>> {
        let header = FrameHeader { position: Position(position), length, ..FrameHeader::default() };
        Rc::new(Frame { header, parts: alloc::vec::Vec::new() })
    }

    #[test]
    fn it_keeps_what_is_needed_and_lets_the_oldest_go_at_the_limit() {
        let tip = Tip { position: Position(12 << 12), ..Tip::default() };
        let mut resend = Resend::new(4 << 12);
        for at in 0..3 {
            resend.push(&frame(at << 12, 4096), |_| {});
        }
        resend.forget(Position(1 << 12), |_| {});
        assert_eq!(resend.base(tip).position, Position(1 << 12));
        resend.push(&frame(3 << 12, 3 << 12), |gone| assert_eq!(gone.header.position, Position(1 << 12)));
        assert_eq!((resend.base(tip).position, resend.bytes()), (Position(2 << 12), 4 << 12));
        resend.forget(Position(9 << 12), |_| {});
        assert_eq!((resend.base(tip), resend.bytes(), resend.shed()), (tip, 0, false));
    }
}
