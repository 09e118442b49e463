//! Memory of sealed frames, used again and again: nothing is allocated for a frame while fewer than a pool are held.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::frame::FrameHeader;

use crate::vocab::effect::Frame;

/// Frames that were sealed before; some may still be held by whoever sends them.
#[derive(Debug)]
pub struct FramePool<B> {
    spare: VecDeque<Rc<Frame<B>>>,
    parts: usize,
}

impl<B> FramePool<B> {
    /// A pool of `frames` frames, each with room for `parts` memory ranges.
    pub fn new(frames: usize, parts: usize) -> Self {
        let mut spare = VecDeque::with_capacity(frames);
        spare.extend((0..frames).map(|_| blank(parts)));
        Self { spare, parts }
    }

    /// An empty frame, held by nobody else: an old one where there is one.
    pub fn take(&mut self) -> Rc<Frame<B>> {
        for _ in 0..self.spare.len() {
            let Some(mut frame) = self.spare.pop_front() else { break };
            if let Some(body) = Rc::get_mut(&mut frame) {
                body.parts.clear();
                return frame;
            }
            self.spare.push_back(frame);
        }
        blank(self.parts)
    }

    /// Takes a frame back, also one that others still hold: it is used again when they have let go.
    pub fn give(&mut self, mut frame: Rc<Frame<B>>) {
        if let Some(body) = Rc::get_mut(&mut frame) {
            body.parts.clear();
        }
        if self.spare.len() < self.spare.capacity() {
            self.spare.push_back(frame);
        }
    }
}

fn blank<B>(parts: usize) -> Rc<Frame<B>> {
    Rc::new(Frame { header: FrameHeader::default(), parts: Vec::with_capacity(parts) })
}
