//! The oracle's eye on one lane: what its disk has of the journal, frame by frame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use midspan_format::area::AreaKind;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{Position, Ring};
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::record::Record;
use midspan_format::superblock::{AreaEntry, GROUP_SLOTS, GroupPermit, permit_offset};

use crate::event::NodeIndex;
use crate::layout::node_id;
use crate::pages::{Page, Pages};
use crate::watch::{AreaWatch, Key};

/// A frame of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Checksum of its header.
    pub checksum: u64,
    /// Its end.
    pub end: Position,
    /// Where its data alone lies, if it does.
    pub data_at: NodeId,
    pub(crate) epoch: Epoch,
}

impl Link {
    pub(crate) fn of(header: &FrameHeader) -> Self {
        let (checksum, end, epoch) = (header.checksum, header.end(), header.epoch);
        Self { checksum, end, data_at: header.data_at, epoch }
    }
}

/// The eye on one lane.
#[derive(Debug)]
pub struct LaneEye {
    /// Where it is.
    pub node: NodeIndex,
    /// On its manifest area.
    pub manifest: AreaWatch,
    /// On its receipt area.
    pub receipt: AreaWatch,
    /// The epoch of the newest fence that its node has answered.
    pub fenced: Option<Epoch>,
    /// Its areas.
    pub areas: [AreaEntry; 3],
    ring: Ring,
    /// What its frames are called.
    pub(crate) journal: AreaId,
    pub(crate) began: Position,
    pub(crate) end: Position,
    /// Sequence and chain of the next frame; whatever comes, where the lane began in the middle.
    next: Option<(u64, u64)>,
    pub(crate) epoch: Epoch,
    pub(crate) chain: BTreeMap<u64, Link>,
    /// Up to here it holds what the journal does.
    pub(crate) agreed: Position,
    /// What it holds behind that.
    pub(crate) waiting: VecDeque<(FrameHeader, Vec<u8>)>,
    /// What the journal took of it, where another site's history may come before it and go again.
    past: Option<VecDeque<(FrameHeader, Vec<u8>)>>,
    /// Whatever a frame here ever brought to volumes, in such a world.
    keys: BTreeSet<Key>,
    pub(crate) claimed: Position,
    /// How far it had held the journal when its disk became another one; the newest such place.
    pub(crate) lost: Position,
    /// The block that does not begin the frame which would be the next one.
    other: Option<Page>,
}

impl LaneEye {
    pub(crate) fn new(node: NodeIndex, areas: [AreaEntry; 3], volumes: &[u64]) -> Self {
        let [ring, manifest, receipt] = areas;
        Self {
            node,
            manifest: AreaWatch::new(&manifest, manifest.area, volumes),
            receipt: AreaWatch::new(&receipt, receipt.area, volumes),
            fenced: None,
            areas,
            ring: ring.ring(),
            journal: ring.area,
            began: Position(0),
            end: Position(0),
            next: Some((1, 0)),
            epoch: Epoch::NONE,
            chain: BTreeMap::new(),
            agreed: Position(0),
            waiting: VecDeque::new(),
            past: None,
            keys: BTreeSet::new(),
            claimed: Position(0),
            lost: Position(0),
            other: None,
        }
    }

    /// What the journal takes is kept: of two histories either may count in the end.
    pub(crate) fn keep_past(&mut self) {
        self.past = Some(VecDeque::new());
    }

    /// The first frame that waits is taken.
    pub(crate) fn pass(&mut self) -> Option<(FrameHeader, Vec<u8>)> {
        let passed = self.waiting.pop_front()?;
        self.agreed = passed.0.end();
        if let Some(past) = &mut self.past {
            past.push_back(passed.clone());
        }
        Some(passed)
    }

    /// What was taken of it from `to` on is not in the journal any more: it waits again.
    pub(crate) fn untake(&mut self, to: Position) {
        // A lane that begins behind it may have been seen to begin before the lane where this is left out.
        self.agreed = self.agreed.min(to).max(self.began);
        let Some(past) = &mut self.past else { return };
        while let Some(passed) = past.pop_back_if(|(header, _)| header.position >= to) {
            self.waiting.push_front(passed);
        }
    }

    /// Whether a frame here ever brought this to volumes.
    pub(crate) fn ever_had(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    fn remember(&mut self, bytes: &[u8]) {
        if self.past.is_some()
            && let Ok(frame) = CheckedFrame::parse_head(bytes)
        {
            let key = |record: &Record| (record.volume, record.offset, record.length, record.checksum);
            self.keys.extend(frame.records().map(|record| key(&record)));
        }
    }

    /// Everything from its beginning up to here is durable in it.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Up to here it holds the journal, from where it began.
    pub fn agreed(&self) -> Position {
        self.agreed
    }

    /// Where it began.
    pub fn began(&self) -> Position {
        self.began
    }

    /// Whether it holds frames of this journal, or could.
    pub fn is_of(&self, journal: AreaId) -> bool {
        self.journal == journal
    }

    /// Whether it held what lies before `position`, until its disk became another one.
    pub fn has_lost(&self, position: Position) -> bool {
        position <= self.lost
    }

    /// Bytes of its ring.
    pub fn size(&self) -> u64 {
        self.ring.size
    }

    /// Whether a place of the disk belongs to its ring.
    pub fn holds(&self, offset: u64) -> bool {
        (self.ring.start..self.ring.start + self.ring.size).contains(&offset)
    }

    /// Which of its areas has this id.
    pub fn kind_of(&self, area: AreaId) -> Option<AreaKind> {
        let found = self.areas.iter().find(|entry| entry.area == area).map(|entry| entry.kind);
        found.or_else(|| (area == self.journal).then_some(AreaKind::Ring))
    }

    /// Something became durable on the disk.
    pub(crate) fn on_durable(&mut self, disk: &Pages, offset: usize, cleared: bool) -> Result<(), String> {
        if offset < usize::try_from(midspan_format::superblock::AREAS_OFFSET).unwrap_or(0) {
            self.see_permit(disk);
        }
        if !self.holds(offset as u64) {
            return Ok(());
        }
        // Of all places that lie there, the one within the last turn of the ring.
        let place = offset as u64 - self.ring.start;
        let from = self.end.0.saturating_sub(self.ring.size);
        let position = Position(from + (place + self.ring.size - from % self.ring.size) % self.ring.size);
        let known = self.chain.get(&position.0).filter(|link| link.end.0 > self.began.0);
        let Some(known) = known.copied() else { return Ok(()) };
        if cleared {
            // It goes on here: what is behind is dropped.
            self.cut_back(position);
            self.claimed = self.claimed.min(position);
            return Ok(());
        }
        let Ok(header) = FrameHeader::decode(disk.at(offset)) else { return Ok(()) };
        let is_other = header.area == self.journal
            && header.kind == FrameKind::Journal
            && header.position == position
            && header.checksum != known.checksum;
        if is_other {
            if position < self.claimed {
                let claimed = self.claimed;
                return Err(format!(
                    "frame at {position} of {} overwrites what was claimed up to {claimed}",
                    self.node
                ));
            }
            self.cut_back(position);
        }
        Ok(())
    }

    /// The permit may say that the lane has begun at another place.
    fn see_permit(&mut self, disk: &Pages) {
        let block = |slot, sequence| {
            let offset = usize::try_from(permit_offset(slot, sequence)).unwrap_or(0);
            disk.at(offset)
        };
        let permits =
            (0..GROUP_SLOTS).filter_map(|slot| GroupPermit::choose_slot(block(slot, 0), block(slot, 1)).ok());
        let entry = permits
            .flat_map(|permit| permit.areas().to_vec())
            .find(|entry| entry.kind == AreaKind::Ring && entry.area == self.areas[0].area);
        let Some(entry) = entry.filter(|e| (e.frames(), e.began) != (self.journal, self.began)) else {
            return;
        };
        (self.journal, self.began, self.end, self.agreed) =
            (entry.frames(), entry.began, entry.began, entry.began);
        (self.next, self.epoch, self.claimed) = (None, Epoch::NONE, entry.began);
        self.other = None;
        self.chain.clear();
        self.waiting.clear();
        if let Some(past) = &mut self.past {
            past.clear();
        }
    }

    fn cut_back(&mut self, to: Position) {
        drop(self.chain.split_off(&to.0));
        while self.waiting.back().is_some_and(|(header, _)| header.position >= to) {
            self.waiting.pop_back();
        }
        if let Some(past) = &mut self.past {
            past.retain(|(header, _)| header.position < to);
        }
        self.end = to;
        self.other = None;
        let last = self.chain.last_key_value().map(|(_, link)| *link);
        self.epoch = last.map_or(Epoch::NONE, |link| link.epoch);
        // Its sequence is not kept: the next frame must fit the chain.
        self.next =
            last.map(|link| (0, link.checksum)).or(if to == Position(0) { Some((1, 0)) } else { None });
        self.agreed = self.agreed.min(to);
    }

    /// Finds the frames that are durable now.
    pub(crate) fn advance(&mut self, disk: &Pages) {
        while let Some((header, bytes)) = self.next_frame(disk) {
            let link = Link::of(&header);
            self.remember(&bytes);
            self.chain.insert(header.position.0, link);
            (self.end, self.epoch) = (header.end(), header.epoch);
            self.next = Some((header.sequence + 1, header.checksum));
            self.waiting.push_back((header, bytes));
        }
        // Data may be filled in behind its head.
        if let Some((header, _)) = self.waiting.front().filter(|(_, bytes)| bytes.is_empty())
            && let Some(bytes) = self.bytes_of(header, disk)
        {
            self.remember(&bytes);
            let Some((_, empty)) = self.waiting.front_mut() else { return };
            *empty = bytes;
        }
    }

    fn next_frame(&mut self, disk: &Pages) -> Option<(FrameHeader, Vec<u8>)> {
        let header = self.next_header(disk)?;
        if header.is_head_only_at(node_id(self.node)) {
            let head = self.read(header.position, header.head_length, disk)?;
            let bytes = CheckedFrame::parse_head(&head).is_ok().then(|| self.bytes_of(&header, disk));
            return bytes.map(|bytes| (header, bytes.unwrap_or_default()));
        }
        self.bytes_of(&header, disk).map(|bytes| (header, bytes))
    }

    fn next_header(&mut self, disk: &Pages) -> Option<FrameHeader> {
        let page = disk.page(usize::try_from(self.ring.offset_of(self.end)).ok()?);
        if self.other.as_ref().is_some_and(|other| other.is_same(page)) {
            return None;
        }
        let fits = |header: &FrameHeader, (sequence, chain)| {
            chain == header.chain && (sequence == 0 || sequence == header.sequence)
        };
        let links = |header: &FrameHeader| {
            header.area == self.journal
                && header.kind == FrameKind::Journal
                && header.position == self.end
                && self.next.is_none_or(|next| fits(header, next))
                && header.epoch >= self.epoch
                && u64::from(header.length) <= self.ring.size
        };
        let header = FrameHeader::decode(page.bytes()).ok().filter(links);
        self.other = header.is_none().then(|| page.clone());
        header
    }

    /// Whether a frame of the journal is there with all of its data.
    pub fn has_whole(&self, position: Position, link: &Link, disk: &Pages) -> bool {
        let length = u32::try_from(link.end.0 - position.0).unwrap_or(u32::MAX);
        let bytes = self.read(position, length, disk);
        let is_it = |bytes: &[u8]| {
            CheckedFrame::parse(bytes).is_ok_and(|frame| frame.header().checksum == link.checksum)
        };
        bytes.is_some_and(|bytes| is_it(&bytes))
    }

    /// A frame, if all of it is there.
    fn bytes_of(&self, header: &FrameHeader, disk: &Pages) -> Option<Vec<u8>> {
        let bytes = self.read(header.position, header.length, disk)?;
        let is_it = CheckedFrame::parse(&bytes).is_ok_and(|frame| frame.header().checksum == header.checksum);
        is_it.then_some(bytes)
    }

    fn read(&self, position: Position, length: u32, disk: &Pages) -> Option<Vec<u8>> {
        let (first, second) = self.ring.split(position, u64::from(length));
        let mut bytes = Vec::with_capacity(length as usize);
        for piece in [Some(first), second].into_iter().flatten() {
            let start = usize::try_from(piece.offset).ok()?;
            disk.append_to(&mut bytes, start, usize::try_from(piece.length).ok()?);
        }
        Some(bytes)
    }
}
