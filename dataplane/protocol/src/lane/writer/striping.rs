//! What is different where two lanes share the data of frames: both get each head, one of them the data (decision 0021).
//!
//! ```text
//!  frame with data at the other lane ─▶ its head alone      the other lane is lost ─▶ its data is filled in, behind the heads
//! ```

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::{BLOCK, BLOCK_U64, Position};
use midspan_format::message::{Head, Message, Welcome};

use super::Writer;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Effect, Frame};
use crate::vocab::tip::Tip;

/// Data on its way to a lane that holds the heads.
#[derive(Debug)]
pub(super) struct Filling<B> {
    frames: Vec<Rc<Frame<B>>>,
    /// It is there as soon as a frame behind this place is: the area does things in order.
    behind: Position,
}

impl<B: Buffer> Writer<B> {
    /// Bytes that were sent, or wait to be, and are not journaled.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    /// From now on the area shares the data of frames with another lane, or does not: `keeps` what it holds when it is told where to
    /// go on, and gets each frame `whole`, or the heads of those whose data lies elsewhere.
    pub fn share(&mut self, keeps: bool, whole: bool) {
        (self.keeps, self.whole) = (keeps, whole);
        if !keeps {
            self.filling = None;
        }
    }

    /// The last frame of the journal when this role began: an area that holds more is told to go on behind it.
    pub fn go_on_behind(&mut self, last: Option<FrameHeader>) {
        self.behind = last;
    }

    /// The other lane is lost: this one gets the data of all `frames` of which it holds the head, and whole frames from now on.
    pub fn fill<'a, S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        frames: impl Iterator<Item = &'a Rc<Frame<B>>>,
    ) where
        B: 'a,
    {
        self.whole = true;
        let node = self.link.node;
        let frames: Vec<_> = frames.filter(|frame| frame.header.is_head_only_at(node)).cloned().collect();
        if self.is_up() {
            for frame in &frames {
                context.ask(Effect::SendFrame { link: self.link.id, frame: Rc::clone(frame) });
            }
        }
        let behind = self.tip.map_or(self.journaled, |tip| tip.position);
        self.filling = Some(Filling { frames, behind });
    }

    /// Whether the data that was to be filled in is there: the next frame says so, and with it how far the disks were that need no more.
    pub fn is_filled(&self) -> bool {
        self.filling.as_ref().is_some_and(|filling| self.journaled > filling.behind)
    }

    /// Whether data is being filled in, or was.
    pub fn fills(&self) -> bool {
        self.filling.is_some()
    }

    /// A new session, in which everything before `found` is journaled.
    pub(super) fn fill_again<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, found: Position) {
        if self.is_filled() {
            return;
        }
        let Some(filling) = self.filling.as_mut() else { return };
        for frame in filling.frames.iter().filter(|frame| frame.header.end() <= found) {
            context.ask(Effect::SendFrame { link: self.link.id, frame: Rc::clone(frame) });
        }
        filling.behind = found;
    }

    /// Bytes that a frame takes on its way.
    pub(super) fn cost(&self, header: &FrameHeader) -> u64 {
        if self.sends_head(header) { 2 * BLOCK_U64 } else { header.length.into() }
    }

    fn sends_head(&self, header: &FrameHeader) -> bool {
        header.is_head_only_at(self.link.node) && !self.whole
    }

    pub(super) fn send<S: Buffers<Buf = B>>(&self, context: &mut Context<'_, S>, frame: &Rc<Frame<B>>) {
        let mut out = Rc::clone(frame);
        if self.sends_head(&frame.header)
            && let Some(head) = head_of(context.buffers, frame)
        {
            out = head;
        }
        context.ask(Effect::SendFrame { link: self.link.id, frame: out });
    }

    /// Whether the area may be told to go on here: nothing was sealed since, so what it holds behind it was never answered.
    pub(super) fn may_cut_back(&self, welcome: &Welcome, base: Tip) -> bool {
        let is_known =
            base.position == Position(0) || self.behind.is_some_and(|last| last.checksum == base.chain);
        self.keeps
            && is_known
            && self.unjournaled.is_empty()
            && welcome.area == self.area
            && welcome.began <= base.position
            && welcome.journaled >= base.position
    }
}

/// What goes to a lane that does not get the data; `None` when no buffer is free: then it gets the whole frame.
fn head_of<S: Buffers>(buffers: &mut S, frame: &Rc<Frame<S::Buf>>) -> Option<Rc<Frame<S::Buf>>> {
    let head = frame.parts.first()?.clone();
    let mut block = buffers.take(BLOCK)?;
    let message = Message::Head(Head { length: frame.header.head_length });
    message.encode_block(block.bytes_mut()?.first_chunk_mut::<BLOCK>()?);
    block.set_filled(BLOCK);
    Some(Rc::new(Frame { header: frame.header, parts: vec![Slice::new(block, 0..BLOCK), head] }))
}
