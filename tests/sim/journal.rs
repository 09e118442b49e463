//! The oracle's eye on a journal that several lanes hold: one chain of frames, of which each lane holds a part (decision 0020).
//!
//! Each lane is watched by itself, as its disk has it. Together they make the journal: what continues it in any lane is
//! added; where a lane goes on with a newer epoch at an earlier place, a start has left out what was behind. That may never be what
//! is *firm*: what a host was answered for, or what a secondary's disks hold.

use std::collections::BTreeMap;
use std::ops::Range;

use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, Epoch};
use midspan_format::superblock::{AreaEntry, FenceSet};

use crate::content;
use crate::event::NodeIndex;
use crate::lane_eye::{LaneEye, Link};
use crate::pages::Pages;
use crate::watch::{AreaWatch, Key};

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
    /// An operator accepts losses: nothing is folded, for a site that takes over may go on from anywhere.
    keeps: bool,
    /// A loss is accepted just now, or two sites have a history of their own: either may leave out what is firm.
    pub loose: bool,
    /// What lies before it was there when a loss was accepted: the taker holds of it what it said.
    pub given_up: Position,
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

    /// So, where an operator may accept a loss.
    pub fn for_losses(mut self) -> Self {
        self.keeps = true;
        self.eyes.iter_mut().for_each(LaneEye::keep_past);
        self
    }

    /// Whether any lane ever held this, in such a world.
    pub fn ever_had(&self, key: &Key) -> bool {
        self.eyes.iter().any(|eye| eye.ever_had(key))
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
        let keeps = self.keeps;
        if let Some(eye) = self.eye(node) {
            let lost = eye.end.max(eye.lost);
            *eye = LaneEye::new(node, areas, volumes);
            if keeps {
                eye.keep_past();
            }
            (eye.journal, eye.lost) = (AreaId::NONE, lost);
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
        if !self.keeps {
            whole.fold(self.firm);
        }
    }

    /// A site serves, from a start that read the journal up to `to`.
    ///
    /// # Errors
    /// That is less than it must be.
    pub fn open(&mut self, epoch: Epoch, to: Position, whole: &mut AreaWatch) -> Result<(), String> {
        // What the start itself has written behind that may be with the other site before it serves.
        let newer = self.chain.range(to.0..).next().is_some_and(|(_, link)| link.epoch >= epoch);
        if to < self.firm && !newer {
            return Err(format!(
                "a start in epoch {epoch} goes by the journal up to {to}, but hosts know of what is before {}",
                self.firm
            ));
        }
        self.opened = (epoch, to);
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
        (self.firm, self.given_up) = (self.firm.min(to), self.given_up.min(to));
        self.eyes.iter_mut().for_each(|eye| eye.untake(to));
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
                self.eyes[at].pass();
            } else if counts && whole.continues(header) && bytes.is_empty() && self.is_passed_over(at) {
                self.pass_over(at, whole);
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
                if position < self.firm && !self.loose {
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

    /// Whether a loss was accepted with the lane that has the data of the next frame: a newer epoch goes on behind the head.
    fn is_passed_over(&self, at: usize) -> bool {
        let waiting = &self.eyes[at].waiting;
        let (first, last) = (waiting.front(), waiting.back());
        self.loose && first.zip(last).is_some_and(|((first, _), (last, _))| last.epoch > first.epoch)
    }

    /// The journal goes on behind it, and nobody's volumes get what it had.
    fn pass_over(&mut self, at: usize, whole: &mut AreaWatch) {
        let Some((header, _)) = self.eyes[at].pass() else { return };
        self.chain.insert(header.position.0, Link::of(&header));
        whole.pass_over(header);
    }

    fn take(&mut self, at: usize, whole: &mut AreaWatch) {
        let Some((header, bytes)) = self.eyes[at].pass() else { return };
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
