//! The oracle's eye on a journal that several lanes hold: one chain of frames, of which each lane holds a part (decision 0020).
//!
//! Each lane is watched by itself, as its disk has it. Together they make the journal: what continues it in any lane is
//! added; where a lane goes on with a newer epoch at an earlier place, a start has left out what was behind. That may never be what
//! is *firm*: what a host was answered for, or what a secondary's disks hold.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use midspan_format::area::AreaKind;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{Position, Ring};
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::superblock::{AreaEntry, FenceSet, GROUP_SLOTS, GroupPermit, permit_offset};

use crate::content;
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
    epoch: Epoch,
}

impl Link {
    fn of(header: &FrameHeader) -> Self {
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
    journal: AreaId,
    began: Position,
    end: Position,
    /// Sequence and chain of the next frame; whatever comes, where the lane began in the middle.
    next: Option<(u64, u64)>,
    epoch: Epoch,
    chain: BTreeMap<u64, Link>,
    /// Up to here it holds what the journal does.
    agreed: Position,
    /// What it holds behind that.
    waiting: VecDeque<(FrameHeader, Vec<u8>)>,
    claimed: Position,
    /// The block that does not begin the frame which would be the next one.
    other: Option<Page>,
}

impl LaneEye {
    fn new(node: NodeIndex, areas: [AreaEntry; 3], volumes: &[u64]) -> Self {
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
            claimed: Position(0),
            other: None,
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
    fn on_durable(&mut self, disk: &Pages, offset: usize, cleared: bool) -> Result<(), String> {
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
    }

    fn cut_back(&mut self, to: Position) {
        drop(self.chain.split_off(&to.0));
        while self.waiting.back().is_some_and(|(header, _)| header.position >= to) {
            self.waiting.pop_back();
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
    fn advance(&mut self, disk: &Pages) {
        while let Some((header, bytes)) = self.next_frame(disk) {
            let link = Link::of(&header);
            self.chain.insert(header.position.0, link);
            (self.end, self.epoch) = (header.end(), header.epoch);
            self.next = Some((header.sequence + 1, header.checksum));
            self.waiting.push_back((header, bytes));
        }
        // Data may be filled in behind its head.
        if let Some((header, _)) = self.waiting.front().filter(|(_, bytes)| bytes.is_empty())
            && let Some(bytes) = self.bytes_of(header, disk)
            && let Some((_, empty)) = self.waiting.front_mut()
        {
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

/// All lanes of a world, and what they make together.
#[derive(Debug, Default)]
pub struct Journal {
    /// The lanes; none where there is one relay only.
    pub eyes: Vec<LaneEye>,
    chain: BTreeMap<u64, Link>,
    /// Where the first frame with data of an op ends.
    ops: BTreeMap<u64, Position>,
    /// So for zeroes.
    zeroes: BTreeMap<Key, Position>,
    /// Nothing before it may ever be left out.
    pub firm: Position,
    /// The newest start, and where it began: what older epochs wrote behind it does not count.
    opened: (Epoch, Position),
    /// The sets that A and B had recorded, and asked for, when they were last looked at.
    pub sets: [(FenceSet, FenceSet); 2],
}

impl Journal {
    /// Eyes on these lanes.
    pub fn new(lanes: &[(NodeIndex, [AreaEntry; 3])], volumes: &[u64]) -> Self {
        let eyes = lanes.iter().map(|(node, areas)| LaneEye::new(*node, *areas, volumes)).collect();
        Self { eyes, ..Self::default() }
    }

    /// How the lanes are seen, for whoever looks into a failure.
    pub fn told(&self, whole: &AreaWatch) -> String {
        let eye = |eye: &LaneEye| {
            let waiting = eye.waiting.front().map(|(header, bytes)| {
                (header.position.0, header.length, header.data_at.0, header.epoch, bytes.len())
            });
            format!("{}: {}..{} agreed {} waiting {waiting:?}", eye.node, eye.began, eye.end, eye.agreed)
        };
        let eyes: Vec<_> = self.eyes.iter().map(eye).collect();
        format!("{eyes:?} whole to {} firm {} opened {:?}", whole.end(), self.firm, self.opened)
    }

    /// Whether there are several lanes.
    pub fn is_used(&self) -> bool {
        !self.eyes.is_empty()
    }

    /// The eye on a node's lane.
    pub fn eye(&mut self, node: NodeIndex) -> Option<&mut LaneEye> {
        self.eyes.iter_mut().find(|eye| eye.node == node)
    }

    /// Something became durable on a lane's disk; `cleared`: a block where it is to go on.
    ///
    /// # Errors
    /// Something that was claimed or is firm was overwritten.
    pub fn on_durable(
        &mut self,
        node: NodeIndex,
        disk: &Pages,
        offset: usize,
        cleared: bool,
        whole: &mut AreaWatch,
    ) -> Result<(), String> {
        let Some(eye) = self.eye(node) else { return Ok(()) };
        eye.manifest.on_durable(disk, offset)?;
        eye.receipt.on_durable(disk, offset)?;
        eye.on_durable(disk, offset, cleared)?;
        self.see(node, disk, whole)
    }

    /// Finds what is durable now in a lane, and what that makes of the journal.
    ///
    /// # Errors
    /// Something firm is left out.
    pub fn see(&mut self, node: NodeIndex, disk: &Pages, whole: &mut AreaWatch) -> Result<(), String> {
        let Some(eye) = self.eye(node) else { return Ok(()) };
        eye.advance(disk);
        self.settle(whole)
    }

    /// Somebody says that everything before `position` is durable in a lane.
    ///
    /// # Errors
    /// It is not.
    pub fn claim(
        &mut self,
        node: NodeIndex,
        disk: &Pages,
        position: Position,
        whole: &mut AreaWatch,
    ) -> Result<(), String> {
        self.see(node, disk, whole)?;
        let Some(eye) = self.eye(node) else { return Ok(()) };
        if position > eye.end {
            return Err(format!(
                "{position} is claimed in the lane at {node}, but only {} is durable",
                eye.end
            ));
        }
        eye.claimed = eye.claimed.max(position);
        Ok(())
    }

    /// A node's disk is another one.
    pub fn lose(&mut self, node: NodeIndex, areas: [AreaEntry; 3], volumes: &[u64]) {
        if let Some(eye) = self.eye(node) {
            *eye = LaneEye::new(node, areas, volumes);
            eye.journal = AreaId::NONE;
        }
    }

    /// Whether this very frame is in the journal.
    pub fn knows(&self, header: &FrameHeader) -> bool {
        self.chain.get(&header.position.0).is_some_and(|link| link.checksum == header.checksum)
    }

    /// The frames that begin in a part of the journal.
    pub fn frames(&self, range: Range<Position>) -> impl Iterator<Item = (Position, Link)> {
        let found = self.chain.range(range.start.0..range.end.0.max(range.start.0));
        found.map(|(position, link)| (Position(*position), *link))
    }

    /// The frame that ends there.
    pub fn frame_before(&self, end: Position) -> Option<(Position, Link)> {
        let (position, link) = self.chain.range(..end.0).next_back()?;
        (link.end == end).then_some((Position(*position), *link))
    }

    /// Where the first frame with data of an op ends.
    pub fn place_of_op(&self, op: u64) -> Option<Position> {
        self.ops.get(&op).copied()
    }

    /// Where the first frame with these zeroes ends.
    pub fn place_of_zeroes(&self, key: &Key) -> Option<Position> {
        self.zeroes.get(key).copied()
    }

    /// Nothing before `position` may be left out any more.
    pub fn make_firm(&mut self, position: Position, whole: &mut AreaWatch) {
        self.firm = self.firm.max(position);
        whole.fold(self.firm);
    }

    /// A site serves, from a start that read the journal up to `to`.
    ///
    /// # Errors
    /// That is less than it must be.
    pub fn open(&mut self, epoch: Epoch, to: Position, whole: &mut AreaWatch) -> Result<(), String> {
        if to < self.firm {
            return Err(format!(
                "a start in epoch {epoch} goes by the journal up to {to}, but hosts know of what is before {}",
                self.firm
            ));
        }
        self.opened = (epoch, to);
        let newer = self.chain.range(to.0..).next().is_some_and(|(_, link)| link.epoch >= epoch);
        if !newer && to < whole.end() {
            self.cut_back(to, whole);
        }
        Ok(())
    }

    fn cut_back(&mut self, to: Position, whole: &mut AreaWatch) {
        whole.cut_back(to);
        drop(self.chain.split_off(&to.0));
        self.ops.retain(|_, end| *end <= to);
        self.zeroes.retain(|_, end| *end <= to);
        for eye in &mut self.eyes {
            eye.agreed = eye.agreed.min(to);
        }
    }

    fn settle(&mut self, whole: &mut AreaWatch) -> Result<(), String> {
        loop {
            let mut moved = false;
            for at in 0..self.eyes.len() {
                moved |= self.follow(at, whole)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Takes what a lane holds beyond what it is known to share with the journal.
    fn follow(&mut self, at: usize, whole: &mut AreaWatch) -> Result<bool, String> {
        let mut moved = false;
        loop {
            let eye = &self.eyes[at];
            let Some((header, bytes)) = eye.waiting.front() else { return Ok(moved) };
            if header.position != eye.agreed || header.position > whole.end() {
                return Ok(moved);
            }
            let position = header.position;
            whole.call(header.area);
            let same = self.chain.get(&position.0).is_some_and(|link| link.checksum == header.checksum);
            let counts = position < self.opened.1 || header.epoch >= self.opened.0;
            if same {
                let eye = &mut self.eyes[at];
                eye.agreed = header_end(eye);
                eye.waiting.pop_front();
            } else if counts && whole.continues(header) && bytes.is_empty() {
                // The other lane has its data, or will.
                return Ok(moved);
            } else if counts && whole.continues(header) {
                self.take(at, whole);
            } else {
                let newest = eye.waiting.back().map_or(Epoch::NONE, |(header, _)| header.epoch);
                if newest <= whole.epoch() || newest < self.opened.0 {
                    return Ok(moved);
                }
                let node = eye.node;
                if position < self.firm {
                    return Err(format!(
                        "the lane at {node} goes on in epoch {newest} from {position}, but hosts know of what is before {}",
                        self.firm
                    ));
                }
                if position >= whole.end() {
                    // It does not continue the journal at all.
                    return Ok(moved);
                }
                self.cut_back(position, whole);
            }
            moved = true;
        }
    }

    fn take(&mut self, at: usize, whole: &mut AreaWatch) {
        let eye = &mut self.eyes[at];
        eye.agreed = header_end(eye);
        let Some((header, bytes)) = eye.waiting.pop_front() else { return };
        let link = Link::of(&header);
        self.chain.insert(header.position.0, link);
        if let Ok(frame) = CheckedFrame::parse_head(&bytes) {
            for record in frame.records() {
                let key = (record.volume, record.offset, record.length, record.checksum);
                if record.checksum == 0 {
                    self.zeroes.entry(key).or_insert(header.end());
                }
                for op in content::named(frame.data(&record)) {
                    self.ops.entry(op).or_insert(header.end());
                }
            }
        }
        whole.take(header, bytes);
    }
}

fn header_end(eye: &LaneEye) -> Position {
    eye.waiting.front().map_or(eye.agreed, |(header, _)| header.end())
}
