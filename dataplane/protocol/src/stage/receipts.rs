//! Follows the receipts, in their area and as the other site tells them: the newest is all that counts (claims 1, 3, 7, 13).

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameKind;
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{Epoch, LaneId};
use midspan_format::receipt::NO_CUT;
use midspan_format::time::Time;

use crate::lane::reader::{Reader, ReaderEvent};
use crate::recovery::walk::{Found, Walk};
use crate::stage::tally::Tally;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, LinkEvent, LinkId};

const READ_BYTES: u32 = 64 * 1024;

/// What the secondary has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Durable in the secondary's own ring before this position of the lane.
    pub acquired: Position,
    /// Checksum of the last header before it.
    pub header_checksum: u64,
    /// Applied, flushed and recorded as the cut before this position.
    pub applied: Position,
    /// The cut.
    pub cut: Time,
    /// Manifests consumed before this place of their area.
    pub manifest: Position,
    /// Bytes of its own ring: what a round may stage; 0 while nothing was heard.
    pub staging: u64,
    /// Its disks hold no cut.
    pub no_cut: bool,
}

/// The follower.
#[derive(Debug)]
pub struct Receipts {
    /// `None`: they come from the other site only.
    reader: Option<Reader>,
    lane: LaneId,
    walk: Option<Walk>,
    /// The newest receipt.
    pub newest: Received,
    /// What the secondary has compared.
    pub tally: Tally,
    /// Where bytes did not verify: if they come again, they are so on the disk.
    bad: Option<Position>,
    poll_ms: u32,
}

/// What a range of the area has brought.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    newer: bool,
    /// It ends in bytes that do not verify, the first time at this place.
    again: bool,
}

impl Receipts {
    /// A follower; over a reader of the receipt area, where they travel through the relay.
    pub fn new(reader: Option<Reader>, lane: LaneId, poll_ms: u32) -> Self {
        Self {
            reader,
            lane,
            walk: None,
            newest: Received::default(),
            tally: Tally::new(),
            bad: None,
            poll_ms,
        }
    }

    /// Takes over what another follower has come to know.
    pub fn go_on_from(&mut self, other: Self) {
        (self.newest, self.tally) = (other.newest, other.tally);
    }

    /// Whether the link is this one's.
    pub fn owns(&self, link: LinkId) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.id() == link)
    }

    /// The other site has told a receipt. `true` when it says something new. One of another epoch is not of this primary's
    /// lane as it is now.
    pub fn take_told(&mut self, frame: &[u8], epoch: Epoch) -> bool {
        let told = CheckedFrame::parse(frame).ok().filter(|checked| checked.header().epoch == epoch);
        if told.is_none() {
            return false;
        }
        let Some(found) = read_receipt(frame, self.lane, &mut self.tally) else { return false };
        let before = self.newest;
        self.newest = merge(self.newest, found);
        self.newest != before
    }

    /// An event of the link. `true` when a newer receipt was read.
    pub fn on_link<S: Buffers>(&mut self, context: &mut Context<'_, S>, event: LinkEvent<S::Buf>) -> bool {
        let Some(reader) = self.reader.as_mut() else { return false };
        match reader.on_link(context, event) {
            ReaderEvent::Up(welcome) => {
                let start = welcome.last.map_or(welcome.journaled, |last| last.position);
                self.walk = Some(Walk::at(welcome.area, FrameKind::Receipt, start));
                self.ask(context);
                false
            }
            ReaderEvent::Data { data, .. } => {
                let taken = data.map_or_else(Taken::default, |data| self.take(&data));
                if taken.again {
                    // The last receipt may be the last for long: it is asked for anew, not waited for.
                    self.restart(context);
                } else {
                    self.ask(context);
                }
                taken.newer
            }
            ReaderEvent::Refused(_) => {
                rare!(ReceiptsRefused);
                // The area may have wrapped past us while we were away, or cannot be read now: start again at its newest
                // receipt. A refused session tries again by itself.
                self.restart(context);
                false
            }
            ReaderEvent::Nothing | ReaderEvent::Down => false,
        }
    }

    /// Timers of the link.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if let Some(reader) = self.reader.as_mut() {
            reader.on_tick(context);
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        self.reader.as_ref().map_or(u64::MAX, Reader::deadline)
    }

    /// Ends the session for good.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if let Some(reader) = self.reader.as_mut() {
            reader.close(context);
        }
    }

    fn restart<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if let Some(reader) = self.reader.as_mut() {
            reader.restart(context);
        }
    }

    fn ask<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        let (Some(walk), Some(reader)) = (self.walk.as_ref(), self.reader.as_mut()) else { return };
        if !reader.is_up() {
            return;
        }
        reader.read(context, walk.tip().position, READ_BYTES, self.poll_ms);
    }

    fn take<B: Buffer>(&mut self, data: &Slice<B>) -> Taken {
        let mut taken = Taken::default();
        let Some(walk) = self.walk.as_mut() else { return taken };
        let mut rest = data.bytes();
        loop {
            match walk.next(rest) {
                Found::Frame(_, range) => {
                    let (frame, tally) = (rest.get(range.clone()), &mut self.tally);
                    if let Some(found) = frame.and_then(|frame| read_receipt(frame, self.lane, tally)) {
                        self.newest = merge(self.newest, found);
                        taken.newer = true;
                    }
                    rest = rest.get(range.end..).unwrap_or_default();
                }
                Found::More(_) => break,
                // Damaged on the way, or on the disk, where it says nothing and a later one says everything.
                Found::Head(_) | Found::End => {
                    let position = walk.tip().position;
                    if self.bad.replace(position) != Some(position) {
                        rare!(ReceiptReadAgain);
                        taken.again = true;
                        break;
                    }
                    rare!(ReceiptSkipped);
                    walk.skip_block();
                    rest = rest.get(BLOCK..).unwrap_or_default();
                }
            }
        }
        taken
    }
}

/// Takes the maximum of each part: receipts are monotone, whatever order they come in.
fn merge(old: Received, new: Received) -> Received {
    let acquired = if (new.acquired, new.applied) >= (old.acquired, old.applied) { new } else { old };
    Received {
        acquired: acquired.acquired,
        header_checksum: acquired.header_checksum,
        applied: old.applied.max(new.applied),
        cut: old.cut.max(new.cut),
        manifest: old.manifest.max(new.manifest),
        staging: acquired.staging,
        no_cut: acquired.no_cut,
    }
}

fn read_receipt(frame: &[u8], lane: LaneId, tally: &mut Tally) -> Option<Received> {
    let checked = CheckedFrame::parse(frame).ok()?;
    let receipt = checked.receipt()?;
    tally.on_told(&receipt);
    let entry = receipt.lanes.iter().find(|l| l.lane == lane.0)?;
    Some(Received {
        acquired: Position(entry.position),
        header_checksum: entry.header_checksum,
        applied: Position(entry.applied),
        cut: Time(receipt.cut),
        manifest: Position(receipt.manifest),
        staging: receipt.staging,
        no_cut: receipt.flags & NO_CUT != 0,
    })
}
