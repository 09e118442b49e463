//! The last frame of a primary that hands its role over: sealed when nothing is left to do, sent when it is recorded.

use alloc::rc::Rc;

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::BLOCK;
use midspan_format::mark::{Handover, Mark};

use super::{LATEST_WALL, Primary};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

impl<B: Buffer> Primary<B> {
    /// Whether everything answered is on the disks of both sites, flushed.
    pub fn is_drained(&self) -> bool {
        let Some(tip) = self.ring.tip() else { return false };
        self.inflight.is_empty()
            && self.overflow.is_empty()
            && self.sealer.is_empty()
            && self.pending() == 0
            && self.lanes_are_up()
            && !self.is_asking()
            && self.flushes == 0
            && self.waiting_flushes.is_empty()
            && self.landing.landed().0 == tip.position
            && self.receipts.newest.applied == tip.position
    }

    /// Seals the frame that hands over; it is kept until [`Primary::send_handover`]. `None`: no room or no memory now.
    pub fn seal_handover<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
    ) -> Option<FrameHeader> {
        let fits = self.used() + 2 * BLOCK as u64 <= self.ring_size();
        let tip = self.ring.tip().filter(|_| fits && self.may_seal())?;
        let block = context.buffers.take(BLOCK)?;
        let time = self.clock.next(context.now.wall.min(LATEST_WALL));
        let mark = Mark::Handover(Handover { epoch: self.epoch, to: self.config.other_site() });
        self.sealer.join_mark(block, time, &mark);
        let known = self.known();
        let mut ops = self.landing.blank();
        // Nothing comes behind it that would say when both lanes hold it, and whoever reads it decides what counts. Where lanes share the
        // data that is the one that ends first: there it is said by a ping, and by a manifest.
        self.sealer.mark_doubled(self.shares());
        let frame = self.sealer.seal(context.buffers, tip, known, &mut ops);
        self.sealer.mark_doubled(self.lanes.is_doubled());
        self.landing.give_blank(ops);
        if frame.is_none() {
            rare!(HandoverStarved);
            // The mark must not leave by itself: it is not recorded.
            self.sealer.clear();
        }
        self.handover = frame;
        self.handover.as_ref().map(|frame| frame.header)
    }

    /// It does not go into the lane after all.
    pub fn drop_handover(&mut self) {
        self.handover = None;
    }

    /// Puts it into the lane.
    pub fn send_handover<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Some(frame) = self.handover.as_ref().map(Rc::clone) {
            self.put(context, &frame);
        }
    }

    /// Whether the lane holds it. Then it is listed, so that the other site asks for it at once.
    pub fn is_handed_over<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) -> bool {
        let Some(frame) = &self.handover else { return false };
        if self.journaled() < frame.header.end() {
            return false;
        }
        self.manifests.add(0, &frame.header, core::iter::empty());
        self.issue_manifest(context);
        true
    }

    /// Gives the lease back: nothing is read here any more.
    pub fn release<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.ring.release(context);
    }

    /// Whether the lane has taken it back.
    pub fn is_released(&self) -> bool {
        self.ring.is_released()
    }
}
