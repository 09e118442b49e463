//! What the former primary may lack or have torn is marked: everything behind its newest `landed` (I6).

use midspan_format::geometry::Position;
use midspan_format::ids::VolumeId;
use midspan_format::record::{Record, RecordKind};
use midspan_format::superblock::LanePoint;

use super::{Step, Takeover};
use crate::lane::tail::{Tail, TailEvent};
use crate::role::facts::LaneFacts;
use crate::stage::tracker::Tracker;
use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, Note, StartNote};
use crate::vocab::tip::Tip;

/// How long the tail may take to be read for marking; then everything is marked.
const MARKING_NS: u64 = 30_000_000_000;
/// Pause before what did not verify is read again.
const RETRY_NS: u64 = 500_000_000;

/// What is marked is read along the chain.
#[derive(Debug)]
pub(super) struct Marking {
    pub(super) tail: Tail,
    since: u64,
    /// Nothing is read before this time; 0 when nothing holds it up.
    again_at: u64,
}

impl Marking {
    /// Reads on, unless it has to wait.
    pub(super) fn poke<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if context.now.mono >= self.again_at {
            self.again_at = 0;
            self.tail.poke(context);
        }
    }

    /// Whether it has taken too long.
    pub(super) fn is_late(&self, now: u64) -> bool {
        now >= self.since + MARKING_NS
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> u64 {
        let again = if self.again_at > 0 { self.again_at } else { u64::MAX };
        self.tail.deadline().min(self.since + MARKING_NS).min(again)
    }
}

impl Takeover {
    /// Begins to mark what the former primary may lack or have torn.
    pub(super) fn mark<S: Buffers>(&mut self, context: &mut Context<'_, S>, tracker: &mut Tracker) {
        context.note(Note::Start(StartNote::Redoing));
        if self.asked.handed.is_some() {
            // Both sites hold the same.
            self.step = Step::SavingMarks;
            return;
        }
        match (self.why, self.facts.tail(Position(0))) {
            (None, None) => {
                self.former_landed = LaneFacts::tip(&self.facts.ring).to_point();
                self.step = Step::SavingMarks;
            }
            (None, Some(span)) => {
                let mut tail = self.config.tail(span, self.facts.epoch).heads();
                tail.on_tick(context);
                self.step = Step::Marking(Marking { tail, since: context.now.mono, again_at: 0 });
            }
            (Some(_), _) => {
                tracker.mark_all();
                self.step = Step::SavingMarks;
            }
        }
    }

    pub(super) fn on_tail<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        event: TailEvent<S::Buf>,
        tracker: &mut Tracker,
    ) {
        match event {
            TailEvent::Nothing | TailEvent::Up(_) => {}
            TailEvent::Frames(frames) => {
                if let Some((header, _)) = frames.first().filter(|(h, _)| h.position == self.facts.landed.0) {
                    self.former_landed = Tip::before(header).to_point();
                }
                for (_, frame) in &frames {
                    self.mark_frame(frame.bytes(), tracker);
                }
            }
            // What was read wrongly, or damaged on its way, is intact when it is read again. Without it the mark names no point from
            // which the other site can come up, and where that one has served outside the lanes an operator would have to choose.
            TailEvent::Damaged(_) if self.hopes(context.now.mono) => {
                rare!(TakeoverMarksAgain);
                if let Step::Marking(marking) = &mut self.step {
                    marking.tail.rewind();
                    marking.again_at = context.now.mono + RETRY_NS;
                }
            }
            TailEvent::Damaged(position) => {
                context.note(Note::Damaged { node: self.config.relay, position });
                self.mark_everything(context, tracker);
            }
        }
    }

    /// It cannot be said what the former primary lacks: everything may differ.
    pub(super) fn mark_everything<S: Buffers>(
        &mut self,
        context: &mut Context<'_, S>,
        tracker: &mut Tracker,
    ) {
        rare!(TakeoverMarksAll);
        self.former_landed = LanePoint::default();
        tracker.mark_all();
        if let Step::Marking(marking) = &mut self.step {
            marking.tail.close(context);
        }
        self.step = Step::SavingMarks;
    }

    fn mark_frame(&self, frame: &[u8], tracker: &mut Tracker) {
        let Ok(checked) = midspan_format::checked::CheckedFrame::parse_head(frame) else {
            return tracker.mark_all();
        };
        for record in checked.records() {
            let Record { volume, offset, length, .. } = record;
            if record.kind().is_none_or(RecordKind::changes_disk) {
                if self.config.holds(VolumeId(volume), offset, length) {
                    tracker.mark_silently(VolumeId(volume), offset, length);
                } else {
                    tracker.mark_all();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
