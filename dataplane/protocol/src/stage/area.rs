//! One area of a node's disk, open for appends and reads: durable prefix, append queue, recent frames in memory.
//!
//! Upholds I2 (the prefix moves only over bytes whose durable write completed, in order) and the area half of I5 (appends
//! count for the session that is open; a newer one waits until the older one's appends have settled).

mod beginning;

use alloc::collections::VecDeque;

use midspan_format::area::AreaKind;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, FrameKind, IN_TWO_LANES};
use midspan_format::geometry::{Position, Ring};
use midspan_format::ids::{AreaId, Epoch, GroupId, NodeId};
use midspan_format::message::RefusedReason;
use midspan_format::superblock::AreaEntry;

use crate::stage::framed::Framed;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::{Context, Disk, DiskOp, LinkId, MAX_PARTS, Parts, Token};
use crate::vocab::milestone::{Milestone, Stage};
use crate::vocab::tip::Tip;

/// Durable writes of one area that run at the same time; what comes meanwhile gathers into the next one.
const APPENDS_IN_FLIGHT: usize = 2;
/// Frames with more records than this come from a writer with much to say.
const FEW_RECORDS: u32 = 4;
/// Longest durable write, bytes.
const APPEND_BYTES: u64 = 1 << 20;

#[derive(Debug)]
struct Append {
    /// The last frame of it; none where it fills in the data of older ones.
    last: Option<FrameHeader>,
    pieces_left: u8,
}

/// Frames that were received and wait for a durable write.
#[derive(Debug)]
struct Queued<B> {
    data: Slice<B>,
    position: Position,
    last: Option<FrameHeader>,
}

/// Whether the area can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Its prefix is being found after a start.
    Scanning,
    /// In use.
    Open,
    /// Its content ends before a prefix that is known to have been journaled (I8): nothing is appended.
    Damaged,
    /// Its disk failed a write: it is not trusted until a restart.
    Failed,
}

/// The area.
#[derive(Debug)]
pub struct Area<B> {
    /// What and where it is.
    pub entry: AreaEntry,
    /// The group it belongs to.
    pub group: GroupId,
    /// The node that holds it.
    node: NodeId,
    /// Its state.
    pub health: Health,
    ring: Ring,
    tag: u64,
    /// Header of the last journaled frame.
    last: Option<FrameHeader>,
    journaled: Position,
    /// Behind the last frame received in this session.
    received: Tip,
    appends: VecDeque<Append>,
    /// Number of the oldest append in flight: tokens carry it.
    first_append: u32,
    queued: VecDeque<Queued<B>>,
    recent: VecDeque<(Position, Slice<B>)>,
    recent_bytes: u64,
    recent_limit: u64,
    /// The writer's session.
    pub session: Option<LinkId>,
    /// Whether the session was welcomed.
    pub session_open: bool,
    /// Monotonic time of the last answer to the writer.
    pub answered_at: u64,
    /// Prefix that the permit's hint knows of, or soon will.
    pub hinted: Position,
    /// What the writer of this session has said to be in as many lanes as an answer needs.
    answerable: Position,
    /// What comes may have been sealed in an older epoch: it is sent again.
    is_resent: bool,
    /// The area is to go on at another place.
    beginning: Option<Beginning>,
    /// The block there is being cleared.
    clearing: bool,
    /// Where it ended before it was told to go on earlier.
    ends_before: Position,
}

/// An area that goes on at another place (see [`Area::begin`]).
#[derive(Clone, Copy, Debug)]
struct Beginning {
    journal: AreaId,
    tip: Tip,
    /// What lies before is of the same journal, and stays.
    keep: bool,
    /// The change of the permit that says so; none as long as it is not asked for.
    recorded_by: Option<u64>,
    /// The block at the place is clear.
    cleared: bool,
}

impl<B: Buffer> Area<B> {
    /// An area whose content is not known yet. Its tokens carry `tag` above bit 40; up to `recent_limit` bytes of frames
    /// are kept in memory for readers.
    pub fn new(entry: AreaEntry, group: GroupId, node: NodeId, tag: u64, recent_limit: u64) -> Self {
        Self {
            ring: Ring { start: entry.start, size: entry.size },
            entry,
            group,
            node,
            health: Health::Scanning,
            tag: tag << 40,
            last: None,
            journaled: Position(0),
            received: Tip::default(),
            appends: VecDeque::with_capacity(APPENDS_IN_FLIGHT),
            first_append: 0,
            queued: VecDeque::with_capacity(1024),
            recent: VecDeque::with_capacity(4096),
            recent_bytes: 0,
            recent_limit,
            session: None,
            session_open: false,
            answered_at: 0,
            hinted: entry.hint.journaled,
            answerable: Position(0),
            is_resent: false,
            beginning: None,
            clearing: false,
            ends_before: Position(0),
        }
    }

    /// The frame kind that belongs here.
    pub fn frame_kind(&self) -> FrameKind {
        frame_kind(self.entry.kind)
    }

    /// The place on the disk.
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// The durable prefix.
    pub fn journaled(&self) -> Position {
        self.journaled
    }

    /// Header of the last journaled frame.
    pub fn last(&self) -> Option<&FrameHeader> {
        self.last.as_ref()
    }

    /// Behind everything that was received: what lies `size` before it may be overwritten at any time.
    pub fn received(&self) -> Position {
        self.received.position.max(self.journaled)
    }

    /// The scan's result: the prefix, flushed, and the header of its last frame.
    pub fn open_at(&mut self, journaled: Position, last: Option<FrameHeader>) {
        self.journaled = journaled;
        self.received = Tip::behind(journaled, last.as_ref());
        self.last = last;
        self.health = Health::Open;
    }

    /// Whether no append is running or waiting.
    pub fn is_settled(&self) -> bool {
        self.appends.is_empty() && self.queued.is_empty() && self.beginning.is_none()
    }

    /// What the secondary may read: where two lanes must hold a frame, only what the writer has said to be in both. A
    /// start may leave out what is in one of them only (decision 0020).
    pub fn readable(&self) -> Position {
        match self.last.as_ref().filter(|last| last.flags & IN_TWO_LANES != 0) {
            Some(last) => self.journaled.min(last.journaled.max(self.answerable)),
            None => self.journaled,
        }
    }

    /// Whether its readers may use only what is said to be in two lanes.
    pub fn is_limited(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.flags & IN_TWO_LANES != 0)
    }

    /// The writer says what is in as many lanes as an answer needs. `true` when more can be read now.
    pub fn on_answerable(&mut self, answerable: Position) -> bool {
        let before = self.readable();
        self.answerable = answerable;
        self.readable() > before
    }

    /// Whether the writer sends one small frame at a time.
    pub fn is_hurried(&self) -> bool {
        let few = self.last.as_ref().is_none_or(|last| last.records <= FEW_RECORDS);
        few && self.appends.len() + self.queued.len() <= 1
    }

    /// The writer's session ended: what was not given to the disk is forgotten (it was never acknowledged).
    pub fn end_session(&mut self) {
        self.session = None;
        self.session_open = false;
        self.queued.clear();
    }

    /// Opens the session once the older one's appends have settled: the next frame must continue the prefix.
    pub fn begin_session(&mut self) {
        self.session_open = true;
        self.is_resent = false;
        self.answerable = Position(0);
        self.received = Tip::behind(self.journaled, self.last.as_ref());
    }

    /// A frame from the open session. Verified, then queued for a durable write at the position it names.
    pub fn on_frame<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        frame: Slice<B>,
        epoch: Epoch,
    ) -> Result<(), RefusedReason> {
        let header = *CheckedFrame::parse(frame.bytes()).map_err(|_| RefusedReason::BadFrame)?.header();
        let is_journal = header.kind == FrameKind::Journal;
        if is_journal && header.is_head_only_at(self.node) && header.position < self.received.position {
            return self.fill(context, &frame, &header);
        }
        self.take(context, frame, header, epoch)
    }

    /// The head of a frame whose data lies in another lane: it stands for the frame here, and the place of the data stays as it is.
    pub fn on_head<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        head: Slice<B>,
        epoch: Epoch,
    ) -> Result<(), RefusedReason> {
        let header = *CheckedFrame::parse_head(head.bytes()).map_err(|_| RefusedReason::BadFrame)?.header();
        let is_journal = header.kind == FrameKind::Journal;
        if !is_journal || !header.is_head_only_at(self.node) || head.len() != header.head_length as usize {
            return Err(RefusedReason::BadFrame);
        }
        self.take(context, head, header, epoch)
    }

    fn take<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        frame: Slice<B>,
        header: FrameHeader,
        epoch: Epoch,
    ) -> Result<(), RefusedReason> {
        if self.health != Health::Open {
            return Err(RefusedReason::Damaged);
        }
        if header.area != self.entry.frames()
            || header.group != self.group
            || header.kind != self.frame_kind()
        {
            return Err(RefusedReason::ForeignArea);
        }
        // A frame that is sent again, to another lane, is of the epoch in which it was sealed.
        let may_be_older = self.entry.kind == AreaKind::Receipt || self.is_resent;
        if header.epoch != epoch && !(may_be_older && header.epoch < epoch) {
            return Err(RefusedReason::OlderEpoch);
        }
        if !self.received.links(&header) || u64::from(header.length) > self.ring.size {
            return Err(RefusedReason::BadFrame);
        }
        self.received = Tip::after(&header);
        self.is_resent &= header.epoch < epoch;
        if header.kind == FrameKind::Journal {
            context.reach(Milestone::frame(Stage::Received, &header));
        }
        self.forget_recent(frame.len());
        self.remember(header.position, &frame);
        self.enqueue(frame, header);
        self.write_next(context);
        Ok(())
    }

    /// A durable write of this area completed. `true` when the prefix moved.
    pub fn on_appended<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        token: Token,
        failed: bool,
    ) -> bool {
        if failed {
            rare!(AreaFailed);
            self.health = Health::Failed;
        }
        let number = u32::try_from(token.0 & 0xFFFF_FFFF).unwrap_or(0);
        let index = number.wrapping_sub(self.first_append) as usize;
        if let Some(append) = self.appends.get_mut(index) {
            append.pieces_left = append.pieces_left.saturating_sub(1);
        }
        let mut moved = false;
        while self.appends.front().is_some_and(|a| a.pieces_left == 0) {
            let Some(done) = self.appends.pop_front() else { break };
            self.first_append = self.first_append.wrapping_add(1);
            // After a failure nothing behind it counts, whatever its own write said.
            if self.health == Health::Open {
                let Some(last) = done.last else { continue };
                self.journaled = last.end();
                self.last = Some(last);
                moved = true;
            }
        }
        if self.health == Health::Open {
            self.write_next(context);
        } else {
            self.queued.clear();
        }
        moved
    }

    /// Gathers `length` bytes at `position` from memory; `None` when not all of them are there.
    pub fn cached(&self, position: Position, length: u32) -> Option<Parts<B>> {
        let end = position.0 + u64::from(length);
        let first = self.recent.partition_point(|(at, data)| at.0 + data.len() as u64 <= position.0);
        let mut parts: Parts<B> = [const { None }; MAX_PARTS];
        let mut at = position.0;
        for (slot, (start, data)) in parts.iter_mut().zip(self.recent.range(first..)) {
            if at >= end {
                break;
            }
            if start.0 > at {
                return None;
            }
            let skip = usize::try_from(at - start.0).ok()?;
            let take = usize::try_from((end - at).min((data.len() - skip) as u64)).ok()?;
            *slot = Some(data.part(skip..skip + take));
            at += take as u64;
        }
        (at == end).then_some(parts)
    }

    /// Gathers frames from memory.
    pub fn cached_frames(&self, framed: &mut Framed<B>) {
        let from = framed.next();
        let first = self.recent.partition_point(|(at, data)| at.0 + data.len() as u64 <= from.0);
        for (start, data) in self.recent.range(first..) {
            if *start > framed.next() || !framed.add(*start, data) {
                return;
            }
        }
    }

    /// Gives the oldest remembered frames' memory back: the pool runs low. `false` when nothing is remembered.
    pub fn shed(&mut self) -> bool {
        let Some((_, data)) = self.recent.pop_front() else { return false };
        self.recent_bytes -= data.len() as u64;
        true
    }

    /// Whether bytes from `position` on are still in the ring.
    pub fn holds(&self, position: Position) -> bool {
        position >= self.entry.began && position.0 + self.ring.size >= self.received().0
    }

    fn enqueue(&mut self, data: Slice<B>, header: FrameHeader) {
        // A small area may be sent more at once than it holds.
        let most = self.ring.size.min(APPEND_BYTES);
        if let Some(back) = self.queued.back_mut()
            && back.last.is_some_and(|last| last.end() == back.position.add(back.data.len() as u64))
            && (back.data.len() + data.len()) as u64 <= most
            && back.data.join(&data)
        {
            back.last = Some(header);
            return;
        }
        self.queued.push_back(Queued { data, position: header.position, last: Some(header) });
    }

    fn write_next<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        while self.appends.len() < APPENDS_IN_FLIGHT {
            let Some(next) = self.queued.pop_front() else { return };
            let number = self.first_append.wrapping_add(u32::try_from(self.appends.len()).unwrap_or(0));
            let token = Token(self.tag | u64::from(number));
            let (first, second) = self.ring.split(next.position, next.data.len() as u64);
            let cut = usize::try_from(first.length).unwrap_or(0);
            let data = next.data.part(0..cut);
            context.disk(Disk::Journal, token, DiskOp::Write { offset: first.offset, data, durable: true });
            if let Some(second) = second {
                let data = next.data.part(cut..next.data.len());
                context.disk(
                    Disk::Journal,
                    token,
                    DiskOp::Write { offset: second.offset, data, durable: true },
                );
            }
            self.appends.push_back(Append { last: next.last, pieces_left: 1 + u8::from(second.is_some()) });
        }
    }

    fn remember(&mut self, position: Position, frame: &Slice<B>) {
        let joined = self
            .recent
            .back_mut()
            .is_some_and(|(start, data)| start.0 + data.len() as u64 == position.0 && data.join(frame));
        if !joined {
            // A new session may go on before the end of the old one's frames, which were never journaled.
            while self.recent.back().is_some_and(|(start, data)| start.0 + data.len() as u64 > position.0) {
                if let Some((_, data)) = self.recent.pop_back() {
                    rare!(AreaForgets);
                    self.recent_bytes -= data.len() as u64;
                }
            }
            self.recent.push_back((position, frame.clone()));
        }
        self.recent_bytes += frame.len() as u64;
    }

    fn forget_recent(&mut self, coming: usize) {
        while self.recent_bytes + coming as u64 > self.recent_limit || self.recent.len() >= 4096 {
            if !self.shed() {
                return;
            }
        }
    }
}

/// The kind of frame that an area of a kind holds.
pub fn frame_kind(kind: AreaKind) -> FrameKind {
    match kind {
        AreaKind::Manifest => FrameKind::Manifest,
        AreaKind::Receipt => FrameKind::Receipt,
        AreaKind::Ring | AreaKind::OwnRing | AreaKind::State | AreaKind::DirtyMap => FrameKind::Journal,
    }
}
