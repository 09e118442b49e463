//! An area goes on at another place, as its writer says, or gets the data of frames of which it holds the head.

use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::{BLOCK, Position};
use midspan_format::ids::{AreaId, Epoch};
use midspan_format::message::{Begin, RefusedReason};
use midspan_format::superblock::{AreaEntry, AreaHint};

use super::{Area, Beginning, Health, Queued};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, Token};
use crate::vocab::tip::Tip;

impl<B: Buffer> Area<B> {
    /// The writer goes on at another place: what the area holds behind it is dropped. First the permit says where: what it knew of
    /// before has a hole from then on (I2). Then the block there is cleared, so that nothing from before continues the journal after a crash;
    /// and only then frames are taken. `found`: what the disk has at the place of the last frame that is to stay, where [`Area::unknown`] asked
    /// for that.
    ///
    /// # Errors
    /// Something of this session is still on its way to the disk, or the last frame is another one.
    pub fn begin(&mut self, begin: &Begin, found: Option<&FrameHeader>) -> Result<(), RefusedReason> {
        if !self.is_settled() || self.entry.kind != AreaKind::Ring || begin.journal == AreaId::NONE {
            return Err(RefusedReason::BadFrame);
        }
        let keep = self.keeps(begin);
        let within = self.entry.began <= begin.position && begin.position <= self.journaled;
        let fits = |last: &FrameHeader| last.end() == begin.position && last.checksum == begin.chain;
        let has =
            |last: &FrameHeader| found.or(self.last.as_ref()).is_some_and(|it| it.checksum == last.checksum);
        if begin.last.is_some_and(|last| !within || !keep || !fits(&last) || !has(&last)) {
            return Err(RefusedReason::BadFrame);
        }
        let (position, sequence, chain) = (begin.position, begin.sequence, begin.chain);
        let tip = Tip { position, sequence, chain, epoch: Epoch::NONE };
        let beginning = Beginning { journal: begin.journal, tip, keep, recorded_by: None, cleared: false };
        self.beginning = Some(beginning);
        self.session_open = false;
        if keep {
            // What is behind it counts no more, from now on.
            self.ends_before = self.received();
            (self.journaled, self.last, self.received) = (tip.position, begin.last, tip);
        }
        Ok(())
    }

    /// Whether the area goes on in the journal that it holds: what lies before the place stays.
    pub fn keeps(&self, begin: &Begin) -> bool {
        let known = begin.last.is_some() || begin.position == Position(0);
        known && begin.journal == self.entry.frames() && self.entry.began <= begin.position
    }

    /// Where the disk must be asked whether the last frame that is to stay stands there: it is not the last one of all.
    pub fn unknown(&self, begin: &Begin) -> Option<Position> {
        let last =
            begin.last.filter(|last| self.entry.began <= last.position && last.end() <= self.journaled)?;
        let is_last = self.last.is_some_and(|own| own.checksum == last.checksum);
        (!is_last).then_some(last.position)
    }

    fn clear<S: Buffers<Buf = B>>(
        &self,
        context: &mut Context<'_, S>,
        position: Position,
        token: Token,
    ) -> Result<(), RefusedReason> {
        let mut block = context.buffers.take(BLOCK).ok_or(RefusedReason::Busy)?;
        block.bytes_mut().ok_or(RefusedReason::Busy)?.get_mut(..BLOCK).ok_or(RefusedReason::Busy)?.fill(0);
        block.set_filled(BLOCK);
        let (first, _) = self.ring.split(position, BLOCK as u64);
        let data = Slice::new(block, 0..BLOCK);
        context.disk(Disk::Journal, token, DiskOp::Write { offset: first.offset, data, durable: true });
        Ok(())
    }

    /// The permit says where the area goes on: whether it can. If not, the block there is cleared now; it is tried again while no
    /// buffer is free.
    pub fn may_begin<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, token: Token) -> bool {
        let Some(beginning) = self.beginning else { return false };
        if beginning.cleared {
            return true;
        }
        if !self.clearing {
            self.clearing = self.clear(context, beginning.tip.position, token).is_ok();
        }
        false
    }

    /// Whether it is about to go on at another place.
    pub fn begins(&self) -> bool {
        self.beginning.is_some()
    }

    /// It does not come to that.
    pub fn drop_beginning(&mut self) {
        self.beginning = None;
    }

    /// The entry that the permit is to hold; `None` when it does, and the block is clear.
    pub fn on_cleared(&mut self) -> Option<AreaEntry> {
        self.clearing = false;
        let mut beginning = self.beginning?;
        if beginning.recorded_by.is_some() {
            beginning.cleared = true;
            self.beginning = Some(beginning);
            return None;
        }
        let position = beginning.tip.position;
        let journal = if beginning.journal == self.entry.area { AreaId::NONE } else { beginning.journal };
        let last = self.last.filter(|_| beginning.keep);
        let stale_to = match last {
            Some(_) => self.received().max(self.ends_before).max(self.entry.stale_to),
            // Frames that are sent again say how far another lane was; nothing is claimed of this one before it counts.
            None => Position::BEYOND,
        };
        let hint = last.map_or(AreaHint { position, header_checksum: 0, journaled: position }, |last| {
            AreaHint { position: last.position, header_checksum: last.checksum, journaled: position }
        });
        let began = if beginning.keep { self.entry.began } else { position };
        self.entry = AreaEntry { hint, journal, stale_to, began, ..self.entry };
        Some(self.entry)
    }

    /// A frame is here that two lanes must hold, or the writer says that this lane is enough: from now on frames speak of it, too. The entry
    /// that the permit is to hold, the first time.
    pub fn counts(&mut self) -> Option<AreaEntry> {
        let counts = self.is_limited() || self.answerable == Position::BEYOND;
        if self.entry.stale_to < Position::BEYOND || !counts || self.begins() {
            return None;
        }
        self.entry.stale_to = self.journaled;
        Some(self.entry)
    }

    /// The change of the permit that is waited for.
    pub fn is_recorded_by(&mut self, change: u64) {
        if let Some(beginning) = self.beginning.as_mut() {
            beginning.recorded_by = Some(change);
        }
    }

    /// The change that the beginning waits for.
    pub fn recording(&self) -> Option<u64> {
        self.beginning.as_ref()?.recorded_by
    }

    /// The permit says where the area goes on: frames are taken from there.
    pub fn has_begun(&mut self) {
        let Some(beginning) = self.beginning.take() else { return };
        let last = self.last.filter(|_| beginning.keep);
        (self.journaled, self.last, self.received) = (beginning.tip.position, last, beginning.tip);
        (self.hinted, self.answerable) = (self.journaled, Position(0));
        self.recent.clear();
        self.recent_bytes = 0;
        self.health = Health::Open;
        self.session_open = self.session.is_some();
        self.is_resent = true;
    }

    /// Whether memory knows that another frame stands there. The session's chain says that none does; the disk is not asked for each.
    fn holds_other(&self, header: &FrameHeader) -> bool {
        let block = u32::try_from(BLOCK).unwrap_or(0);
        let head = self.cached(header.position, block).and_then(|parts| parts.into_iter().next().flatten());
        let found = head.and_then(|head| FrameHeader::decode(head.bytes()).ok());
        found.is_some_and(|found| found.checksum != header.checksum)
    }

    /// The data of a frame whose head has come: the lane that held it is lost. It counts as soon as a later frame does.
    pub(super) fn fill<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        frame: &Slice<B>,
        header: &FrameHeader,
    ) -> Result<(), RefusedReason> {
        rare!(AreaFills);
        let is_ours = self.entry.kind == AreaKind::Ring
            && header.area == self.entry.frames()
            && header.group == self.group;
        let fits = header.end() <= self.received.position && self.holds(header.position);
        if self.health != Health::Open || !is_ours || !fits || self.holds_other(header) {
            return Err(RefusedReason::BadFrame);
        }
        let head = header.head_length as usize;
        if head < frame.len() {
            let position = header.position.add(head as u64);
            self.queued.push_back(Queued { data: frame.part(head..frame.len()), position, last: None });
            self.write_next(context);
        }
        Ok(())
    }
}
