//! First control information: lists journaled frames, and keeps what was issued until a receipt covers it (claims 1, 2).

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::{Position, REGION_BYTES};
use midspan_format::ids::VolumeId;
use midspan_format::manifest::{ManifestEntry, ManifestTable, RegionRun};
use midspan_format::seal::{manifest_head_length, seal_manifest};

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

/// What is gathered, and what is issued and not covered by a receipt.
#[derive(Debug)]
pub struct Manifests<B> {
    identity: LaneIdentity,
    table: ManifestTable,
    gathered_since: u64,
    /// End of each issued manifest in its area, and how far in the ring it lists.
    kept: VecDeque<(Position, Position)>,
    kept_limit: usize,
    /// Everything before this place of the manifest area is covered by a receipt.
    covered: Position,
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
            kept_limit: kept,
            covered,
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
            first_region: u32::try_from(first_region).unwrap_or(0),
            regions: u32::try_from(regions).unwrap_or(0),
            ..ManifestEntry::default()
        });
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
        tip.position.0 + self.next_length() <= self.covered.0 + size && self.kept.len() < self.kept_limit
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
        let (first, last) = (self.table.entries.first()?, self.table.entries.last()?);
        let covers = Position(last.position + u64::from(last.length));
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
            first_time: midspan_format::time::Time(first.first_time),
            last_time: midspan_format::time::Time(last.last_time),
            closed_time: midspan_format::time::Time(last.last_time),
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
        self.kept.push_back((header.end(), covers));
        let mut frame = self.frames.take();
        let body = Rc::get_mut(&mut frame)?;
        body.header = header;
        body.parts.push(Slice::new(head, 0..written));
        self.frames.give(Rc::clone(&frame));
        Some(frame)
    }

    /// A receipt covers the manifest area up to `manifest`.
    pub fn on_receipt(&mut self, manifest: Position) {
        self.covered = self.covered.max(manifest);
        while self.kept.front().is_some_and(|(end, _)| *end <= self.covered) {
            self.kept.pop_front();
        }
    }

    /// Issued manifests that no receipt covers.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }
}
