//! Telling the primary what is acquired and applied: when a receipt is due, and sealing it.

use midspan_format::frame::{FrameHeader, FrameKind};
use midspan_format::geometry::Position;
use midspan_format::receipt::NO_CUT;
use midspan_format::seal::{receipt_head_length, seal_receipt};

use alloc::rc::Rc;

use super::Secondary;
use crate::lane::site_link::SiteLink;
use crate::vocab::buffer::{Buffer, Buffers, Slice};
use crate::vocab::effect::Context;
use crate::vocab::tip::Tip;

/// Nanoseconds after which a receipt without news is told again.
const RECEIPT_REPEAT_NS: u64 = 2_000_000_000;

impl<B: Buffer> Secondary<B> {
    /// When the next receipt is to be told: soon when there is news, after a while when there is none. What the
    /// relay keeps may rot after it was answered, and then only a later one tells the primary what it may free.
    pub(super) fn receipt_due(&self) -> u64 {
        let Some(told) = self.receipt.lanes.first() else { return u64::MAX };
        let ways = self.ways();
        if ways == [false; 2] {
            return u64::MAX;
        }
        let persisted = self.cut.persisted();
        let acquired = self.acquirer.acquired().position.0;
        let is_new = told.position != acquired
            || told.applied != persisted.tip.position.0
            || self.receipt.manifest != persisted.manifest.0
            || self.receipt.flags != self.flags()
            || ways.into_iter().zip(self.untold).any(|(free, untold)| free && untold);
        match (is_new, acquired) {
            (true, _) => self.receipt_at.saturating_add(self.config.pace.receipt_ns),
            (false, 0) => u64::MAX,
            (false, _) => self.receipt_at.saturating_add(RECEIPT_REPEAT_NS),
        }
    }

    /// Which ways a receipt could go now: to the relay's area, to the primary itself.
    fn ways(&self) -> [bool; 2] {
        let relay = self.config.control.by_relay() && self.receipts.is_up() && self.receipts.pending() == 0;
        [relay, self.site_link.as_ref().is_some_and(SiteLink::has_room)]
    }

    /// Whether the volumes hold a cut.
    fn flags(&self) -> u64 {
        if self.no_cut { NO_CUT } else { 0 }
    }

    pub(super) fn issue_receipt<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let now = context.now.mono;
        if now < self.receipt_due() {
            return;
        }
        let ways = self.ways();
        // Past the relay a receipt stands for itself: its place in the area says nothing.
        let place = (self.receipts.tip().filter(|_| ways[0]), self.site_link.as_ref());
        let (tip, epoch) = match place {
            (Some(tip), _) => (tip, self.receipts.epoch()),
            (None, Some(site)) => (Tip::behind(Position(0), None), site.epoch()),
            (None, None) => return,
        };
        // First the memory: what is noted as told must be told.
        let tally = self.applier.tally();
        let length = receipt_head_length(self.receipt.lanes.len(), tally.differences().len());
        let Some(mut head) = context.buffers.take(length) else { return rare!(ReceiptStarved) };
        let acquired = self.acquirer.acquired();
        let persisted = self.cut.persisted();
        self.receipt.staging = self.config.own_ring.size;
        self.receipt.flags = self.flags();
        let tally = self.applier.tally();
        (self.receipt.run, self.receipt.compared) = (tally.run, tally.compared);
        self.receipt.different = tally.different;
        self.receipt.differences.clear();
        self.receipt.differences.extend_from_slice(tally.differences());
        self.receipt.cut = persisted.time.0;
        self.receipt.manifest = persisted.manifest.0;
        if let Some(lane) = self.receipt.lanes.first_mut() {
            lane.lane = self.config.lane.0;
            lane.epoch_number = acquired.epoch.number;
            lane.epoch_node = acquired.epoch.node.0;
            lane.position = acquired.position.0;
            lane.sequence = acquired.sequence.saturating_sub(1);
            lane.header_checksum = acquired.chain;
            lane.applied = persisted.tip.position.0;
        }
        let mut header = FrameHeader {
            kind: FrameKind::Receipt,
            group: self.config.group,
            lane: self.config.lane,
            origin_lane: self.config.lane,
            area: self.receipts.area(),
            epoch,
            sequence: tip.sequence,
            position: tip.position,
            chain: tip.chain,
            journaled: self.fetcher.told(),
            ..FrameHeader::default()
        };
        let Some(out) = head.bytes_mut().and_then(|b| b.get_mut(..length)) else { return };
        let Ok(written) = seal_receipt(&mut header, &self.receipt, out) else { return };
        head.set_filled(written);
        self.receipt_at = now;
        let mut frame = self.frames.take();
        if let Some(body) = Rc::get_mut(&mut frame) {
            body.header = header;
            body.parts.push(Slice::new(head, 0..written));
        }
        self.frames.give(Rc::clone(&frame));
        self.untold = [self.config.control.by_relay() && !ways[0], self.site_link.is_some() && !ways[1]];
        if let Some(site) = self.site_link.as_mut() {
            site.tell(context, &frame);
        }
        if ways[0] {
            self.receipts.append(context, frame);
        }
    }
}
