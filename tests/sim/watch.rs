//! The oracle's own eye on an area: which frames are durable there, found along the chain from the very beginning.
//!
//! What a node claims of an area (progress, receipts, answers) is held against this, never against what its machines believe.
//! Of a journal it also keeps what a site's volumes must hold when everything in it is applied.

use std::collections::{BTreeMap, VecDeque};

use midspan_format::area::AreaKind;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{BLOCK, BLOCK_U64, Position, Ring};
use midspan_format::ids::{AreaId, Epoch, NodeId};
use midspan_format::mark::Mark;
use midspan_format::record::RecordKind;
use midspan_format::superblock::{AreaEntry, LanePoint};

use crate::content;
use crate::pages::{Page, Pages};

/// A range and content that a journal holds: volume, offset, length, checksum of the data (0 for zeroes).
pub type Key = (u32, u64, u64, u64);

#[derive(Debug)]
struct Seen {
    header: FrameHeader,
    bytes: Vec<u8>,
    /// What it puts into volumes: the volume, the first block, the blocks.
    changes: Vec<(u32, usize, Vec<Page>)>,
}

impl Seen {
    fn apply(&self, image: &mut [Pages]) {
        for (volume, first, pages) in &self.changes {
            if let Some(volume) = image.get_mut(*volume as usize) {
                volume.pages_mut()[*first..*first + pages.len()].clone_from_slice(pages);
            }
        }
    }

    fn changes(&self, volume: u32, block: usize) -> bool {
        let is_it = |(of, first, pages): &(u32, usize, Vec<Page>)| {
            *of == volume && (*first..first + pages.len()).contains(&block)
        };
        self.changes.iter().any(is_it)
    }
}

/// The eye.
#[derive(Debug)]
pub struct AreaWatch {
    area: AreaId,
    kind: FrameKind,
    ring: Ring,
    /// Frames behind the image.
    recent: VecDeque<Seen>,
    /// The block that does not begin the frame which would be the next one.
    other: Option<Page>,
    end: Position,
    sequence: u64,
    chain: u64,
    epoch: Epoch,
    /// The state before `recent`.
    base: (Position, u64, u64, Epoch),
    /// Largest prefix that anybody has claimed.
    claimed: Position,
    /// The image is what a site's volumes hold: nothing of the journal was left out.
    whole: bool,
    /// The site looks anew where to follow, and may go back for it.
    pub returns: bool,
    /// Marks are kept for whoever asks.
    pub keeps_marks: bool,
    /// Marks of rounds and of the lanes that have become durable, not yet asked for.
    pub marks: Vec<Mark>,
    /// A Begin without an End is the last of them: of a round in place, or not.
    pub in_round: Option<bool>,
    /// Largest `landed` of any durable frame.
    pub landed: Position,
    /// Times of writes are kept.
    pub keeps_times: bool,
    /// The time of the first record with data of an op, ns.
    pub times: BTreeMap<u64, u64>,
    keys: BTreeMap<Key, u32>,
    ops: BTreeMap<u64, u32>,
    /// What the volumes hold when everything before `recent` is applied.
    image: Vec<Pages>,
    /// Frames found in all.
    pub frames: u64,
    /// By the node whose epoch they are of.
    frames_by: BTreeMap<NodeId, u64>,
    /// How often the ring has wrapped.
    pub wraps: u64,
}

impl AreaWatch {
    /// An eye on an area as an entry describes it; of a journal over volumes of these sizes.
    pub fn new(entry: &AreaEntry, area: AreaId, volumes: &[u64]) -> Self {
        let kind = match entry.kind {
            AreaKind::Manifest => FrameKind::Manifest,
            AreaKind::Receipt => FrameKind::Receipt,
            AreaKind::Ring | AreaKind::OwnRing | AreaKind::State | AreaKind::DirtyMap => FrameKind::Journal,
        };
        Self {
            area,
            kind,
            ring: entry.ring(),
            recent: VecDeque::new(),
            other: None,
            end: Position(0),
            sequence: 1,
            chain: 0,
            epoch: Epoch::NONE,
            base: (Position(0), 1, 0, Epoch::NONE),
            claimed: Position(0),
            whole: true,
            returns: false,
            keeps_marks: false,
            marks: Vec::new(),
            in_round: None,
            landed: Position(0),
            keeps_times: false,
            times: BTreeMap::new(),
            keys: BTreeMap::new(),
            ops: BTreeMap::new(),
            image: volumes.iter().map(|size| Pages::new(usize::try_from(*size).unwrap_or(0))).collect(),
            frames: 0,
            frames_by: BTreeMap::new(),
            wraps: 0,
        }
    }

    /// The site goes on at another place of the chain: what lies before it was not acquired here.
    pub fn rebase(&mut self, point: &LanePoint) {
        self.recent.clear();
        (self.end, self.sequence, self.chain) = (point.position, point.sequence + 1, point.header_checksum);
        self.epoch = Epoch::NONE;
        self.base = (self.end, self.sequence, self.chain, self.epoch);
        self.claimed = point.position;
        (self.whole, self.returns) = (false, false);
        self.other = None;
    }

    /// Whether it ends at the very frame that a point names.
    pub fn ends_at(&self, point: &LanePoint) -> bool {
        self.end == point.position && self.chain == point.header_checksum
    }

    /// Whether what is folded is what a site's volumes hold.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// What its frames are called.
    pub fn area(&self) -> AreaId {
        self.area
    }

    /// Its first frame says what the journal is called: it may begin in any lane.
    pub fn call(&mut self, area: AreaId) {
        if self.frames == 0 && self.end == Position(0) {
            self.area = area;
            self.other = None;
        }
    }

    /// Everything before this is durable.
    pub fn end(&self) -> Position {
        self.end
    }

    /// What the last durable frame says that was durable before it.
    pub fn known(&self) -> Position {
        self.recent.back().map_or(Position(0), |seen| seen.header.journaled)
    }

    /// The epoch of the last durable frame.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether a place of the disk belongs to the area.
    pub fn holds(&self, offset: u64) -> bool {
        (self.ring.start..self.ring.start + self.ring.size).contains(&offset)
    }

    /// Whether a durable frame has this record.
    pub fn has_key(&self, key: &Key) -> bool {
        self.keys.contains_key(key)
    }

    /// Whether a durable frame has data of this op.
    pub fn has_op(&self, op: u64) -> bool {
        self.ops.contains_key(&op)
    }

    /// Bytes of the disk became durable.
    ///
    /// # Errors
    /// Something claimed was overwritten.
    pub fn on_durable(&mut self, disk: &Pages, offset: usize) -> Result<(), String> {
        if let Ok(header) = FrameHeader::decode(disk.at(offset))
            && header.area == self.area
            && header.kind == self.kind
            && self.ring.offset_of(header.position) == offset as u64
            && header.position < self.end
            && header.checksum != self.checksum_at(header.position)
        {
            if header.position < self.claimed {
                return Err(format!(
                    "frame at {} overwrites what was claimed up to {}",
                    header.position, self.claimed
                ));
            }
            self.cut_back(header.position);
        }
        self.advance(disk);
        Ok(())
    }

    /// Finds the frames that are durable now.
    pub fn advance(&mut self, disk: &Pages) {
        while let Some(header) = self.next_header(disk) {
            let Some(bytes) = self.frame(&header, disk) else { return };
            self.take(header, bytes);
        }
    }

    fn next_header(&mut self, disk: &Pages) -> Option<FrameHeader> {
        let page = disk.page(usize::try_from(self.ring.offset_of(self.end)).ok()?);
        if self.other.as_ref().is_some_and(|other| other.is_same(page)) {
            return None;
        }
        let header = FrameHeader::decode(page.bytes()).ok();
        let next = header.filter(|h| self.continues(h) && u64::from(h.length) <= self.ring.size);
        self.other = next.is_none().then(|| page.clone());
        next
    }

    /// Whether a frame is the next one.
    pub fn continues(&self, header: &FrameHeader) -> bool {
        header.area == self.area
            && header.kind == self.kind
            && header.position == self.end
            && header.sequence == self.sequence
            && header.chain == self.chain
            && header.epoch >= self.epoch
    }

    /// The next frame.
    pub fn take(&mut self, header: FrameHeader, bytes: Vec<u8>) {
        let Ok(frame) = CheckedFrame::parse_head(&bytes) else { return };
        count(&frame, &mut self.keys, &mut self.ops, true);
        if self.keeps_marks {
            keep(&frame, &mut self.marks, &mut self.in_round);
        }
        if self.keeps_times {
            for record in frame.records().filter(|record| record.kind() == Some(RecordKind::Write)) {
                for op in content::named(frame.data(&record)) {
                    self.times.entry(op).or_insert(record.time);
                }
            }
        }
        let changes = changes(&frame);
        self.add(header, bytes, changes);
    }

    /// The next frame, of which nothing is left but its header.
    pub fn pass_over(&mut self, header: FrameHeader) {
        self.add(header, Vec::new(), Vec::new());
    }

    fn add(&mut self, header: FrameHeader, bytes: Vec<u8>, changes: Vec<(u32, usize, Vec<Page>)>) {
        self.end = header.end();
        self.sequence = header.sequence + 1;
        self.chain = header.checksum;
        self.epoch = header.epoch;
        self.other = None;
        self.landed = self.landed.max(header.landed);
        self.frames += 1;
        *self.frames_by.entry(header.epoch.node).or_default() += 1;
        self.wraps = self.end.0 / self.ring.size;
        self.recent.push_back(Seen { header, bytes, changes });
    }

    /// Frames found that are of an epoch of this node.
    pub fn frames_by(&self, node: NodeId) -> u64 {
        self.frames_by.get(&node).copied().unwrap_or(0)
    }

    /// Somebody says that everything before `position` is durable.
    ///
    /// # Errors
    /// It is not.
    pub fn claim(&mut self, disk: &Pages, position: Position) -> Result<(), String> {
        self.advance(disk);
        if position > self.end {
            return Err(format!("{position} is claimed, but only {} is durable", self.end));
        }
        self.claimed = self.claimed.max(position);
        Ok(())
    }

    /// Applies what will not change any more to the image.
    pub fn fold(&mut self, to: Position) {
        while self.recent.front().is_some_and(|seen| seen.header.end() <= to) {
            let Some(seen) = self.recent.pop_front() else { break };
            seen.apply(&mut self.image);
            let header = &seen.header;
            self.base = (header.end(), header.sequence + 1, header.checksum, header.epoch);
        }
    }

    /// A block in which volumes differ from what stood at the end of the last [`AreaWatch::fold`], but for those that may be newer
    /// than that, and those that do not count.
    pub fn differs<'a>(
        &mut self,
        volumes: impl Iterator<Item = &'a Pages>,
        counts: impl Fn(usize, u64) -> bool,
    ) -> Option<(usize, u64)> {
        for (volume, (wanted, found)) in self.image.iter_mut().zip(volumes).enumerate() {
            let number = u32::try_from(volume).unwrap_or(u32::MAX);
            let blocks = wanted.pages_mut().iter_mut().zip(found.pages());
            for (block, (wanted, found)) in blocks.enumerate() {
                if wanted.is_same(found) {
                    continue;
                }
                if wanted == found {
                    // From now on it is seen at a glance.
                    wanted.clone_from(found);
                    continue;
                }
                let newer = self.recent.iter().any(|seen| seen.changes(number, block));
                if !newer && counts(volume, block as u64) {
                    return Some((volume, block as u64));
                }
            }
        }
        None
    }

    /// What the volumes hold when everything before `to` is applied. `None`: not to be said any more.
    pub fn replay(&self, to: Position) -> Option<Vec<Pages>> {
        if to < self.base.0 {
            return None;
        }
        let mut image = self.image.clone();
        for seen in self.recent.iter().take_while(|seen| seen.header.end() <= to) {
            seen.apply(&mut image);
        }
        Some(image)
    }

    /// Largest prefix that anybody has claimed.
    pub fn claimed(&self) -> Position {
        self.claimed
    }

    fn checksum_at(&self, position: Position) -> u64 {
        self.recent
            .iter()
            .find(|seen| seen.header.position == position)
            .map_or(0, |seen| seen.header.checksum)
    }

    /// Forgets what is behind a place.
    pub fn cut_back(&mut self, to: Position) {
        while self.recent.back().is_some_and(|seen| seen.header.end() > to) {
            let Some(seen) = self.recent.pop_back() else { break };
            if let Ok(frame) = CheckedFrame::parse_head(&seen.bytes) {
                count(&frame, &mut self.keys, &mut self.ops, false);
            }
        }
        (self.end, self.sequence, self.chain, self.epoch) = match self.recent.back() {
            Some(Seen { header, .. }) => (header.end(), header.sequence + 1, header.checksum, header.epoch),
            None => self.base,
        };
        self.other = None;
    }

    fn frame(&self, header: &FrameHeader, disk: &Pages) -> Option<Vec<u8>> {
        let (first, second) = self.ring.split(header.position, u64::from(header.length));
        let mut bytes = Vec::with_capacity(header.length as usize);
        for piece in [Some(first), second].into_iter().flatten() {
            let start = usize::try_from(piece.offset).ok()?;
            disk.append_to(&mut bytes, start, usize::try_from(piece.length).ok()?);
        }
        CheckedFrame::parse(&bytes).is_ok().then_some(bytes)
    }
}

fn changes(frame: &CheckedFrame<'_>) -> Vec<(u32, usize, Vec<Page>)> {
    let mut changes = Vec::new();
    for record in frame.records() {
        let blocks = |bytes: u64| {
            assert!(bytes.is_multiple_of(BLOCK_U64), "{record:?} is not in whole blocks");
            usize::try_from(bytes / BLOCK_U64).unwrap_or(usize::MAX)
        };
        let pages = match record.kind() {
            Some(RecordKind::Write | RecordKind::RoundData) => {
                frame.data(&record).chunks_exact(BLOCK).map(Page::new).collect()
            }
            Some(RecordKind::Zero) => vec![Page::default(); blocks(record.length)],
            Some(
                RecordKind::Verify
                | RecordKind::RoundBegin
                | RecordKind::RoundEnd
                | RecordKind::LaneSet
                | RecordKind::Leave
                | RecordKind::Handover,
            )
            | None => continue,
        };
        changes.push((record.volume, blocks(record.offset), pages));
    }
    changes
}

fn keep(frame: &CheckedFrame<'_>, marks: &mut Vec<Mark>, in_round: &mut Option<bool>) {
    for mark in frame.records().filter_map(|record| frame.mark(&record)) {
        match mark {
            Mark::RoundBegin(begin) => *in_round = Some(begin.in_place),
            Mark::RoundEnd(_) | Mark::Leave(_) => *in_round = None,
            Mark::LaneSet(_) | Mark::Handover(_) | Mark::Verify(_) => continue,
        }
        marks.push(mark);
    }
}

fn count(frame: &CheckedFrame<'_>, keys: &mut BTreeMap<Key, u32>, ops: &mut BTreeMap<u64, u32>, add: bool) {
    for record in frame.records() {
        change(keys, (record.volume, record.offset, record.length, record.checksum), add);
        let mut last = 0;
        for op in content::named(frame.data(&record)) {
            if op != last {
                change(ops, op, add);
                last = op;
            }
        }
    }
}

fn change<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K, add: bool) {
    if add {
        *counts.entry(key).or_default() += 1;
    } else if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
