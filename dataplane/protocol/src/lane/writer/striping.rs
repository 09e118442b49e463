//! What is different where two lanes share the data of frames: both get each head, one of them the data (decision 0021).
//!
//! ```text
//!  frame with data at the other lane ─▶ its head alone      the other lane is lost ─▶ its data is filled in, behind the heads
//! ```
//! It is filled in by portions: the next one goes when the area has answered behind the one before, so that a narrow path is never silent
//! for long.

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

/// Bytes of data that are filled in before an answer is waited for.
const PORTION: u64 = 512 * 1024;

/// Data on its way to a lane that holds the heads.
#[derive(Debug)]
pub(super) struct Filling<B> {
    /// Let go of when all is there.
    frames: Vec<Rc<Frame<B>>>,
    /// The area has the heads of what lies before.
    heads_to: Position,
    /// So many of them were sent in this session.
    sent: usize,
    /// Sending time of the request whose answer the next portion waits for.
    waits_for: u64,
    /// All is there as soon as a frame behind this place is: the area does things in order.
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
        let heads_to = self.tip.map_or(self.journaled, |tip| tip.position);
        self.filling = Some(Filling { frames, heads_to, sent: 0, waits_for: 0, behind: Position::BEYOND });
        self.fill_on(context);
    }

    /// Sends the next portion, if the one before was answered; behind the last one, lets go of all when it is there.
    pub(super) fn fill_on<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let is_up = self.is_up();
        let Some(filling) = self.filling.as_mut() else { return };
        if self.journaled > filling.behind {
            filling.frames = Vec::new();
            filling.sent = 0;
        }
        if !is_up || self.confirmed_at < filling.waits_for || filling.behind < Position::BEYOND {
            return;
        }
        let mut bytes = 0;
        for frame in filling.frames.iter().skip(filling.sent) {
            if bytes >= PORTION {
                break;
            }
            filling.sent += 1;
            if frame.header.end() <= filling.heads_to {
                bytes += u64::from(frame.header.length);
                context.ask(Effect::SendFrame { link: self.link.id, frame: Rc::clone(frame) });
            }
        }
        if filling.sent == filling.frames.len() {
            filling.behind = self.tip.map_or(self.journaled, |tip| tip.position);
            return;
        }
        rare!(FillsOn);
        filling.waits_for = context.now.mono;
        self.ping(context);
    }

    /// Whether all data that was to be filled in is on its way.
    pub fn is_sent(&self) -> bool {
        self.filling.as_ref().is_some_and(|filling| filling.behind < Position::BEYOND)
    }

    /// Whether the data that was to be filled in is there: the next frame says so, and with it how far the disks were that need no more.
    pub fn is_filled(&self) -> bool {
        self.filling.as_ref().is_some_and(|filling| self.journaled > filling.behind)
    }

    /// A new session, in which everything before `found` is journaled.
    pub(super) fn fill_again<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, found: Position) {
        if self.is_filled() {
            return;
        }
        if let Some(filling) = self.filling.as_mut() {
            (filling.heads_to, filling.sent, filling.waits_for) = (found, 0, 0);
            filling.behind = Position::BEYOND;
        }
        self.fill_on(context);
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
