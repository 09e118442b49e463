//! First control information: lists journaled frames, and keeps what was issued until a receipt covers it (claims 1, 2).

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{Position, REGION_BYTES};
use midspan_format::ids::{AreaId, VolumeId};
use midspan_format::manifest::{ManifestEntry, ManifestTable, RegionRun};
use midspan_format::seal::{manifest_head_length, seal_manifest};
use midspan_format::time::Time;

use crate::stage::frame_pool::FramePool;
use crate::stage::sealer::{Known, LaneIdentity};
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::Frame;
use crate::vocab::tip::Tip;

/// Frames listed by one manifest at most.
pub const ENTRIES: usize = 48;
/// Region runs of one manifest at most, beyond what one more frame can add.
pub const RUNS: usize = 1024;

/// Manifests on their way whose memory is used again.
const FRAMES: usize = 64;

/// A manifest that was issued and is not covered by a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its end in its area.
    pub end: Position,
    /// Where the first frame it lists begins in the ring.
    pub from: Position,
    /// Where the last one ends.
    pub to: Position,
    /// How many it lists.
    pub frames: u32,
    /// Their first and last times.
    pub times: (Time, Time),
    /// Runs of regions that they touch.
    pub runs: u32,
}

impl Kept {
    /// What a manifest that ends at `end` lists; `None` when that is nothing.
    pub fn new(
        end: Position,
        mut entries: impl ExactSizeIterator<Item = ManifestEntry>,
        runs: usize,
    ) -> Option<Self> {
        let frames = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let first = entries.next()?;
        let last = entries.last().unwrap_or(first);
        Some(Self {
            end,
            from: Position(first.position),
            to: Position(last.position + u64::from(last.length)),
            frames,
            times: (Time(first.first_time), Time(last.last_time)),
            runs: u32::try_from(runs).unwrap_or(u32::MAX),
        })
    }
}

/// What is gathered, and what is issued and not covered by a receipt.
#[derive(Debug)]
pub struct Manifests<B> {
    identity: LaneIdentity,
    table: ManifestTable,
    gathered_since: u64,
    kept: VecDeque<Kept>,
    /// Issued by an earlier process, or an earlier role, of this site.
    recalled: VecDeque<Kept>,
    /// Where the next one goes when none goes through the relay; `None` when they do.
    tip: Option<Tip>,
    kept_limit: usize,
    /// Everything before this place of the manifest area is covered by a receipt.
    covered: Position,
    /// The same as receipts have said; `covered` may be a guess at first.
    received: Position,
    /// The newest frame that found no room.
    skipped: Option<FrameHeader>,
    /// The newest frame that was listed.
    listed: Option<FrameHeader>,
    frames: FramePool<B>,
}

impl<B: Buffer> Manifests<B> {
    /// An issuer that keeps at most `kept` manifests. `unlisted` is the newest frame of the ring that may not be listed yet.
    pub fn new(
        identity: LaneIdentity,
        covered: Position,
        kept: usize,
        unlisted: Option<FrameHeader>,
    ) -> Self {
        let table = ManifestTable {
            entries: Vec::with_capacity(ENTRIES),
            regions: Vec::with_capacity(RUNS + midspan_format::record::MAX_RECORDS),
        };
        Self {
            identity,
            table,
            gathered_since: u64::MAX,
            kept: VecDeque::with_capacity(kept),
            recalled: VecDeque::new(),
            tip: None,
            kept_limit: kept,
            covered,
            received: Position(0),
            skipped: unlisted,
            listed: unlisted,
            frames: FramePool::new(FRAMES, 1),
        }
    }

    /// Whether another frame can be listed before the next issue.
    pub fn has_room(&self) -> bool {
        self.table.entries.len() < ENTRIES && self.table.regions.len() < RUNS
    }

    /// Lists a frame that is journaled, with the ranges (volume, offset, length) it writes. When the area is full and the
    /// table too, the frame is left out: the scan along the chain finds it (I8), and a later entry tells that it is there.
    pub fn add(
        &mut self,
        now: u64,
        header: &FrameHeader,
        ranges: impl Iterator<Item = (VolumeId, u64, u64)>,
    ) {
        if !self.has_room() {
            self.skipped = Some(*header);
            return;
        }
        self.skipped = None;
        self.listed = Some(*header);
        if self.table.entries.is_empty() {
            self.gathered_since = now;
        }
        let first_region = self.table.regions.len();
        for (volume, offset, length) in ranges {
            let first = u32::try_from(offset / REGION_BYTES).unwrap_or(u32::MAX);
            let end = (offset + length.max(1)).div_ceil(REGION_BYTES);
            let count = u32::try_from(end).unwrap_or(u32::MAX).saturating_sub(first);
            let fresh = self.table.regions.get(first_region..).unwrap_or_default();
            let known = fresh.iter().any(|run| {
                run.volume == volume.0 && run.first <= first && first + count <= run.first + run.count
            });
            if !known {
                self.table.regions.push(RegionRun { volume: volume.0, first, count });
            }
        }
        let regions = self.table.regions.len() - first_region;
        self.table.entries.push(ManifestEntry {
            epoch_number: header.epoch.number,
            epoch_node: header.epoch.node.0,
            sequence: header.sequence,
            position: header.position.0,
            first_time: header.first_time.0,
            last_time: header.last_time.0,
            header_checksum: header.checksum,
            length: header.length,
            lane: header.lane.0,
            origin_lane: header.origin_lane.0,
            data_at: header.data_at.0,
            first_region: u32::try_from(first_region).unwrap_or(0),
            regions: u32::try_from(regions).unwrap_or(0),
        });
    }

    /// They go to another area from now on: what was listed is listed again there, by its newest frame.
    pub fn begin_elsewhere(&mut self) {
        self.recalled.clear();
        self.list_again();
        (self.covered, self.received) = (Position(0), Position(0));
    }

    /// The area that they go to, and where they go on in it: what lies there is of an earlier use.
    pub fn set_area(&mut self, area: AreaId, tip: Tip) {
        if self.identity.area != area {
            self.identity.area = area;
            self.covered = self.covered.max(tip.position);
        }
    }

    /// The area began anew: what was listed is listed again, by its newest frame.
    pub fn list_again(&mut self) {
        self.kept.clear();
        if self.skipped.is_none() {
            self.skipped = self.listed;
        }
    }

    /// Lists the newest frame that found no room, once there is some.
    pub fn catch_up(&mut self, now: u64) {
        if self.table.entries.is_empty()
            && let Some(header) = self.skipped.take()
        {
            self.add(now, &header, core::iter::empty());
        }
    }

    /// When the gathered entries must be issued; `u64::MAX` when there are none.
    pub fn due_at(&self, patience_ns: u64) -> u64 {
        if self.table.entries.is_empty() {
            u64::MAX
        } else if self.has_room() {
            self.gathered_since + patience_ns
        } else {
            0
        }
    }

    /// Bytes that the next manifest takes in its area.
    pub fn next_length(&self) -> u64 {
        manifest_head_length(self.table.entries.len(), self.table.regions.len()) as u64
    }

    /// Whether the area of `size` bytes has room for the next manifest at `tip`, and the list of kept ones too.
    pub fn fits(&self, tip: Tip, size: u64) -> bool {
        let room = self.tip.is_some() || tip.position.0 + self.next_length() <= self.covered.0 + size;
        room && self.kept.len() < self.kept_limit
    }

    /// Seals what is gathered at `tip`. `None` when the pool has no buffer.
    pub fn seal<S: Buffers<Buf = B>>(
        &mut self,
        buffers: &mut S,
        tip: Tip,
        known: Known,
    ) -> Option<Rc<Frame<B>>> {
        let length = usize::try_from(self.next_length()).ok()?;
        let mut head = buffers.take(length)?;
        let kept = Kept::new(Position(0), self.table.entries.iter().copied(), self.table.regions.len())?;
        let mut header = FrameHeader {
            kind: FrameKind::Manifest,
            group: self.identity.group,
            lane: self.identity.lane,
            origin_lane: self.identity.lane,
            area: self.identity.area,
            epoch: self.identity.epoch,
            sequence: tip.sequence,
            position: tip.position,
            chain: tip.chain,
            first_time: kept.times.0,
            last_time: kept.times.1,
            closed_time: kept.times.1,
            landed: known.landed,
            landed_time: known.landed_time,
            journaled: known.journaled,
            ..FrameHeader::default()
        };
        let sealed = seal_manifest(&mut header, &self.table, head.bytes_mut()?.get_mut(..length)?);
        assert!(sealed.is_ok(), "a manifest that no reader would take: {sealed:?}");
        let written = sealed.ok()?;
        head.set_filled(written);
        self.table.entries.clear();
        self.table.regions.clear();
        self.kept.push_back(Kept { end: header.end(), ..kept });
        if let Some(tip) = self.tip.as_mut() {
            *tip = Tip::after(&header);
        }
        let mut frame = self.frames.take();
        let body = Rc::get_mut(&mut frame)?;
        body.header = header;
        body.parts.push(Slice::new(head, 0..written));
        self.frames.give(Rc::clone(&frame));
        Some(frame)
    }

    /// A receipt covers the manifest area up to `manifest`, and the ring up to `acquired`: where no manifest lies in an area
    /// of the relay, that is what counts.
    pub fn on_receipt(&mut self, manifest: Position, acquired: Position) {
        let direct = self.tip.is_some();
        (self.covered, self.received) = (self.covered.max(manifest), self.received.max(manifest));
        let covered = self.received;
        let is_covered = |kept: &Kept| if direct { kept.to <= acquired } else { kept.end <= covered };
        for kept in [&mut self.recalled, &mut self.kept] {
            while kept.front().is_some_and(is_covered) {
                kept.pop_front();
            }
        }
    }

    /// None goes through the relay: `tip` is where the next one would have gone there.
    pub fn go_direct(&mut self, tip: Tip) {
        self.tip = Some(tip);
    }

    /// Where the next one goes, when none goes through the relay.
    pub fn direct_tip(&self) -> Option<Tip> {
        self.tip
    }

    /// An earlier manifest was read again; they come in order.
    pub fn recall(&mut self, kept: Kept) {
        if self.recalled.len() < self.kept_limit && kept.end > self.received {
            self.recalled.push_back(kept);
        }
    }

    /// Issued manifests that no receipt covers, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Kept> + '_ {
        self.recalled.iter().chain(&self.kept)
    }
}
