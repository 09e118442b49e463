//! What the relay and the other site say: prefixes and refusals of the lane, receipts of either way (I3, I5; claims 3, 7).

use midspan_format::message::{Refused, RefusedReason};

use super::Primary;
use crate::lane::writer::WriterEvent;
use crate::stage::receipts::Received;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note};

impl<B: Buffer> Primary<B> {
    /// The secondary has told a receipt, past the relay.
    pub fn on_told<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, frame: &[u8]) {
        let before = self.receipts.newest;
        if self.config.tells() && self.receipts.take_told(frame, self.epoch) {
            self.on_receipt(context, before);
            self.proceed(context);
        }
    }

    pub(super) fn on_receipt<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, before: Received) {
        let (now, newest) = (context.now.mono, self.receipts.newest);
        self.manifests.on_receipt(newest.manifest, newest.acquired);
        self.forget_received();
        let journaled = self.journaled();
        if let (Some(unreceived), Some(tip)) = (self.unreceived.as_mut(), self.ring.tip()) {
            // What is not known to be journaled is not known to land either: it is not forgotten.
            unreceived.on_acquired(now, newest.acquired.min(journaled), tip.position);
        }
        if newest != before {
            self.heard_at = now;
        }
    }

    pub(super) fn on_writer<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        outcome: WriterEvent,
        is_ring: bool,
    ) {
        let node = self.config.relay;
        match outcome {
            WriterEvent::Nothing => {}
            WriterEvent::Down if is_ring => context.note(Note::LaneDown { node }),
            WriterEvent::Down => {}
            WriterEvent::Up => {
                if is_ring {
                    self.keep_lanes(context);
                    context.note(Note::LaneUp { node, journaled: self.journaled() });
                    self.on_progress(context);
                } else if let Some(tip) = self.manifest_writer.tip() {
                    self.manifests.set_area(self.manifest_writer.area(), tip);
                }
            }
            WriterEvent::Progress => {
                if is_ring {
                    self.on_progress(context);
                }
            }
            WriterEvent::Restarted => {
                rare!(ManifestsListAgain);
                self.manifests.list_again();
            }
            WriterEvent::Refused(refused) => self.on_refused(context, &refused),
            WriterEvent::Lost { had, found } => {
                rare!(PrimaryLaneLost);
                context.note(Note::LaneLost { node, had, found });
            }
        }
    }

    fn on_refused<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, refused: &Refused) {
        if refused.epoch > self.epoch {
            rare!(PrimaryReplacedByRelay);
            self.fenced = Some(refused.epoch);
            context.note(Note::Fenced { ours: self.epoch, found: refused.epoch });
            return self.close(context);
        }
        if refused.reason != RefusedReason::Busy {
            context.note(Note::LaneRefused { node: self.config.relay, reason: refused.reason });
        }
    }
}
