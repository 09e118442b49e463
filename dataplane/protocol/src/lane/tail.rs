//! Reads a span of a ring along its chain, one range at a time: for verifying before a redo, the redo, and the marking.

use alloc::vec::Vec;

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::message::RefusedReason;

use crate::lane::reader::{Reader, ReaderEvent};
use crate::recovery::walk::{Found, Walk};
use crate::vocab::buffer::{Buffers, Slice};
use crate::vocab::effect::{Context, LinkEvent, LinkId};

/// The span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The ring's identity.
    pub area: AreaId,
    /// First frame.
    pub from: Position,
    /// End of the last.
    pub to: Position,
    /// Checksum of the last frame's header: the chain must arrive there.
    pub last_checksum: u64,
}

/// What came.
#[derive(Debug)]
pub enum TailEvent<B> {
    /// Nothing to act on.
    Nothing,
    /// A lane is connected, in which this epoch is in force.
    Up(Epoch),
    /// Verified frames, next in the chain.
    Frames(Vec<(FrameHeader, Slice<B>)>),
    /// The chain does not reach the span's end: damage at this position.
    Damaged(Position),
}

/// The reader of a tail.
#[derive(Debug)]
pub struct Tail {
    reader: Reader,
    /// Of the lane that shares the data of frames with the first one.
    beside: Option<Reader>,
    /// Where nothing but heads is wanted: the node of the lane, which may hold no more.
    heads_at: Option<NodeId>,
    /// The frame here must be read from the lane beside: so many bytes.
    elsewhere: Option<(Position, u32)>,
    span: Span,
    walk: Walk,
    chunk: u32,
}

impl Tail {
    /// Reads `span` by ranges of `chunk` bytes.
    pub fn new(reader: Reader, span: Span, chunk: u32) -> Self {
        let walk = Walk::at(span.area, FrameKind::Journal, span.from);
        Self { reader, beside: None, heads_at: None, elsewhere: None, span, walk, chunk }
    }

    /// What a frame's data is not in the lane for is read from the one beside it.
    pub fn beside(mut self, beside: Reader) -> Self {
        self.walk.beside(beside.node());
        self.beside = Some(beside);
        self
    }

    /// The heads of frames are enough, where their data lies in another lane.
    pub fn heads(mut self) -> Self {
        let node = self.reader.node();
        self.walk.at_lane(node);
        self.heads_at = Some(node);
        self
    }

    /// Whether the link is one of its own.
    pub fn owns(&self, link: LinkId) -> bool {
        link == self.reader.id() || self.beside.as_ref().is_some_and(|beside| beside.id() == link)
    }

    /// Whether the whole span has been delivered.
    pub fn is_done(&self) -> bool {
        self.walk.tip().position >= self.span.to
    }

    /// Starts again from the span's beginning.
    pub fn rewind(&mut self) {
        self.walk = Walk::at(self.span.area, FrameKind::Journal, self.span.from);
        self.elsewhere = None;
        self.look_at(false);
    }

    /// Asks for the next range when none is under way.
    pub fn poke<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        let at = self.walk.tip().position;
        if let Some((position, length)) = self.elsewhere.filter(|(position, _)| *position == at) {
            if let Some(beside) =
                self.beside.as_mut().filter(|beside| beside.is_up() && beside.in_flight() == 0)
            {
                beside.read_known(context, position, length);
            }
            return;
        }
        if self.reader.is_up() && self.reader.in_flight() == 0 && at < self.span.to {
            let length = u32::try_from(self.span.to.0 - at.0).unwrap_or(u32::MAX).min(self.chunk);
            self.reader.read(context, at, length, 0);
        }
    }

    /// An event of the link.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        link: LinkId,
        event: LinkEvent<S::Buf>,
    ) -> TailEvent<S::Buf> {
        let is_beside = link != self.reader.id();
        let reader = match self.beside.as_mut() {
            Some(beside) if is_beside => beside,
            Some(_) | None => &mut self.reader,
        };
        match reader.on_link(context, event) {
            ReaderEvent::Up(welcome) => {
                self.poke(context);
                TailEvent::Up(welcome.epoch)
            }
            ReaderEvent::Data { position, data: Some(data), .. } if position == self.walk.tip().position => {
                self.look_at(is_beside);
                self.on_data(&data)
            }
            ReaderEvent::Refused(refused) => {
                reader.restart(context);
                match refused.reason {
                    RefusedReason::Damaged | RefusedReason::TooOld | RefusedReason::Beyond => {
                        rare!(TailUnreadable);
                        TailEvent::Damaged(self.walk.tip().position)
                    }
                    RefusedReason::Version
                    | RefusedReason::UnknownGroup
                    | RefusedReason::UnknownArea
                    | RefusedReason::ForeignArea
                    | RefusedReason::NotPermitted
                    | RefusedReason::OlderEpoch
                    | RefusedReason::EpochFound
                    | RefusedReason::Full
                    | RefusedReason::BadFrame
                    | RefusedReason::Busy
                    | RefusedReason::Deleted => TailEvent::Nothing,
                }
            }
            // It gives no more: whoever may write there now is named when it is connected anew.
            ReaderEvent::Data { data: None, .. } => {
                rare!(TailGivenNoMore);
                reader.restart(context);
                TailEvent::Nothing
            }
            ReaderEvent::Nothing | ReaderEvent::Down | ReaderEvent::Data { .. } => TailEvent::Nothing,
        }
    }

    /// Timers.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.reader.on_tick(context);
        if let Some(beside) = self.beside.as_mut() {
            beside.on_tick(context);
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        self.reader.deadline().min(self.beside.as_ref().map_or(u64::MAX, Reader::deadline))
    }

    /// Ends the session.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.reader.close(context);
        if let Some(beside) = self.beside.as_mut() {
            beside.close(context);
        }
    }

    /// The bytes that come are of the lane, or of the one beside it.
    fn look_at(&mut self, is_beside: bool) {
        match (&self.beside, self.heads_at) {
            (Some(_), _) if is_beside => self.walk.beside(self.reader.node()),
            (Some(beside), _) => self.walk.beside(beside.node()),
            (None, Some(node)) => self.walk.at_lane(node),
            (None, None) => {}
        }
    }

    fn on_data<B: crate::vocab::buffer::Buffer>(&mut self, data: &Slice<B>) -> TailEvent<B> {
        let mut frames = Vec::new();
        let mut done = 0;
        loop {
            match self.walk.next(data.bytes().get(done..).unwrap_or_default()) {
                Found::Frame(header, range) => {
                    frames.push((header, data.part(done..done + range.end)));
                    done += range.end;
                }
                Found::Head(header) if self.heads_at.is_some() => {
                    let head = header.head_length as usize;
                    frames.push((header, data.part(done..done + head)));
                    self.walk.pass(&header);
                    done = (done + header.length as usize).min(data.len());
                }
                Found::Head(header) if self.beside.is_some() => {
                    self.elsewhere = Some((header.position, header.length));
                    break;
                }
                Found::More(_) if done > 0 => break,
                Found::Head(_) | Found::More(_) | Found::End => {
                    rare!(TailDamaged);
                    return TailEvent::Damaged(self.walk.tip().position);
                }
            }
            if done == data.len() {
                break;
            }
        }
        if self.elsewhere.is_some_and(|(position, _)| position < self.walk.tip().position) {
            self.elsewhere = None;
        }
        let tip = self.walk.tip();
        if tip.position > self.span.to || tip.position == self.span.to && tip.chain != self.span.last_checksum
        {
            return TailEvent::Damaged(tip.position);
        }
        TailEvent::Frames(frames)
    }
}
