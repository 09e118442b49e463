//! After a start: which manifests an earlier process of this site had issued is read again, so that they are kept until a
//! receipt covers them (claims 2 and 12).

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameKind;
use midspan_format::geometry::{BLOCK, Position};

use crate::lane::reader::{Reader, ReaderEvent};
use crate::recovery::walk::{Found, Walk};
use crate::stage::manifests::{Kept, Manifests};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, LinkId};

const READ_BYTES: u32 = 256 * 1024;

/// The reader, until it has come to where this process began to issue.
#[derive(Debug)]
pub struct Recall {
    reader: Reader,
    /// Where it begins: known with the first receipt.
    from: Option<Position>,
    to: Position,
    walk: Option<Walk>,
    done: bool,
}

impl Recall {
    /// Reads again what the manifest area holds before `to`.
    pub fn new(reader: Reader, to: Position) -> Self {
        Self { reader, from: None, to, walk: None, done: to == Position(0) }
    }

    /// Whether the link is this one's.
    pub fn owns(&self, link: LinkId) -> bool {
        self.reader.id() == link
    }

    /// A receipt says that everything before `covered` is consumed: the rest is kept.
    pub fn begin(&mut self, covered: Position) {
        if self.from.is_none() && !self.done {
            self.from = Some(covered);
            self.done = covered >= self.to;
        }
    }

    /// An event of the link.
    pub fn on_link<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<S::Buf>,
        manifests: &mut Manifests<S::Buf>,
    ) {
        match self.reader.on_link(context, event) {
            ReaderEvent::Up(welcome) => {
                // What is overwritten was covered by a receipt that this process has not seen.
                let oldest = welcome.journaled.0.saturating_sub(welcome.size);
                let from = self.from.filter(|from| from.0 >= oldest && *from < welcome.journaled);
                let Some(from) = from.filter(|_| !self.done) else { return self.end(context) };
                if self.walk.is_none() {
                    self.walk = Some(Walk::at(welcome.area, FrameKind::Manifest, from));
                }
                self.ask(context);
            }
            ReaderEvent::Data { data, .. } => {
                let Some(data) = data else { return self.end(context) };
                self.take(data.bytes(), manifests);
                self.ask(context);
            }
            // An index: what cannot be read again is found along the chain.
            ReaderEvent::Refused(_) => self.end(context),
            ReaderEvent::Nothing | ReaderEvent::Down => {}
        }
    }

    /// Connects, once it is known where to begin.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if self.from.is_some() && !self.done {
            self.reader.on_tick(context);
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        if self.from.is_some() && !self.done { self.reader.deadline() } else { u64::MAX }
    }

    /// Ends the session for good.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if !self.done {
            self.end(context);
        }
    }

    fn end<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.done = true;
        self.reader.close(context);
    }

    fn ask<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        let at = self.walk.as_ref().map_or(self.to, |walk| walk.tip().position);
        if at >= self.to {
            return self.end(context);
        }
        self.reader.read(context, at, READ_BYTES, 0);
    }

    fn take<B: Buffer>(&mut self, mut rest: &[u8], manifests: &mut Manifests<B>) {
        let Some(walk) = self.walk.as_mut() else { return };
        while walk.tip().position < self.to {
            match walk.next(rest) {
                Found::Frame(header, range) => {
                    let kept = rest.get(range.clone()).and_then(|frame| listed(frame, header.end()));
                    if let Some(kept) = kept {
                        manifests.recall(kept);
                    }
                    rest = rest.get(range.end..).unwrap_or_default();
                }
                Found::More(_) => return,
                Found::Head(_) | Found::End => {
                    rare!(RecallDamaged);
                    walk.skip_block();
                    rest = rest.get(BLOCK..).unwrap_or_default();
                }
            }
        }
    }
}

fn listed(frame: &[u8], end: Position) -> Option<Kept> {
    let checked = CheckedFrame::parse(frame).ok()?;
    let manifest = checked.manifest()?;
    Kept::new(end, manifest.entries.iter(), manifest.regions.len())
}
