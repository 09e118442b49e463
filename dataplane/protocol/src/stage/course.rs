//! What becomes of frames at a target while rounds run: written, let by, or kept until a round's End (I7), as pure decisions.
//!
//! ```text
//!            Leave                  Begin               End of that round
//!  Normal ──────────▶ Away ───────────────▶ Staging ───────────────────▶ Normal (all that is staged is written first)
//!                      ▲ └────────────────▶ InPlace ───────────────────▶ Normal
//!                      └── Leave, Cancelled ──┘ (another Begin: that round instead)
//!                      └─ a newer epoch ─ Staging
//! ```
//! Nothing ends a round of a primary that is gone: its source counts what is staged, and who comes behind it does not. What was
//! staged is dropped at the first frame of a newer epoch, before the writes behind it fill the own ring (I7).
//!
//! A target in `Normal` holds an exact cut: a round changes nothing that it does not have, and is written like anything else. One
//! that holds nothing certain takes no round but one of everything: its source may not know yet, and have marked less.

use midspan_format::checked::CheckedFrame;
use midspan_format::ids::{Epoch, NodeId};
use midspan_format::mark::{Mark, RoundOutcome};
use midspan_format::record::{RecordKind, Shape};
use midspan_format::superblock::GroupState;
use midspan_format::time::Time;

/// What the disks of a target are to the frames that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They hold a cut, and take what comes.
    Normal,
    /// The primary answers, or has answered, outside the lanes: what comes before a Begin would make them no cut.
    Away,
    /// A round, begun in an epoch, is kept in the own ring; the disks hold the last cut.
    Staging(u64, Epoch),
    /// A round is written as it comes; there is no cut until its End.
    InPlace(u64),
}

impl Mode {
    /// As recorded.
    pub fn recorded(state: &GroupState) -> Self {
        let point = state.lanes().first().map(|lane| lane.point.position).unwrap_or_default();
        if !state.left || state.whole_at > point {
            Self::Normal
        } else if state.round_in_place && state.round != 0 {
            Self::InPlace(state.round)
        } else {
            Self::Away
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its records go to the disks.
    Write,
    /// It goes by.
    Pass,
    /// It stays in the own ring until the round's End.
    Keep,
    /// It has the End: everything from the Begin on goes to the disks.
    Replay,
}

/// The way from one mode to the next over a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// The mode behind the frame.
    pub mode: Mode,
    /// What becomes of it.
    pub fate: Fate,
    /// What was staged before it is dropped.
    pub drops: bool,
    /// It says that the primary left the lanes: everything answered up to this time is in them.
    pub left: Option<Time>,
    /// A round ended: the disks hold a cut behind this frame.
    pub ended: bool,
    /// The primary hands over to this site.
    pub handover: Option<Epoch>,
}

impl Course {
    /// The way over a frame without marks.
    fn plain(mode: Mode) -> Self {
        let fate = match mode {
            Mode::Normal | Mode::InPlace(_) => Fate::Write,
            Mode::Away => Fate::Pass,
            Mode::Staging(..) => Fate::Keep,
        };
        Self { mode, fate, drops: false, left: None, ended: false, handover: None }
    }

    /// The way from `mode` over a frame at node `me`. `last`: a takeover reads to the journal's end, and nothing comes behind
    /// it; then no round that would give up the cut is begun. `all`: where nothing on the disks is certain, the regions of a round
    /// that brings all of it.
    pub fn over(mode: Mode, frame: &[u8], me: NodeId, last: bool, all: Option<u64>) -> Self {
        let mut course = Self::plain(mode);
        let Ok(checked) = CheckedFrame::parse_head(frame) else { return course };
        let mut staged_before = matches!(mode, Mode::Staging(..));
        if let Mode::Staging(_, epoch) = mode
            && checked.header().epoch > epoch
        {
            rare!(CourseRoundOutlived);
            course.drop_staged(&mut staged_before);
            (course.mode, course.fate) = (Mode::Away, Fate::Pass);
        }
        for record in checked.records().filter(|record| record.kind().is_some_and(is_mark)) {
            let Some(mark) = checked.mark(&record) else { continue };
            let gives_up = matches!(mark, Mark::RoundBegin(begin) if begin.in_place);
            let gives_up = last && gives_up && matches!(course.mode, Mode::Away | Mode::Staging(..));
            rare!(CourseGivesUpBegin if gives_up);
            let lacks = matches!(mark, Mark::RoundBegin(begin) if all.is_some_and(|all| begin.regions < all))
                && course.mode != Mode::Normal;
            rare!(CourseTooLittle if lacks);
            if gives_up || lacks {
                course.drop_staged(&mut staged_before);
                (course.mode, course.fate) = (Mode::Away, Fate::Pass);
                continue;
            }
            course.on_mark(&mark, me, &mut staged_before);
        }
        course
    }

    fn on_mark(&mut self, mark: &Mark, me: NodeId, staged_before: &mut bool) {
        match (mark, self.mode) {
            (Mark::Leave(leave), _) => {
                self.drop_staged(staged_before);
                (self.mode, self.left, self.fate) = (Mode::Away, Some(leave.cut), Fate::Pass);
                self.ended = false;
            }
            (Mark::RoundBegin(begin), Mode::Away | Mode::Staging(..) | Mode::InPlace(_)) => {
                self.drop_staged(staged_before);
                (self.mode, self.fate) = if begin.in_place {
                    (Mode::InPlace(begin.round), Fate::Write)
                } else {
                    (Mode::Staging(begin.round, begin.epoch), Fate::Keep)
                };
            }
            (Mark::RoundEnd(end), Mode::Staging(round, _) | Mode::InPlace(round)) if end.round == round => {
                match end.outcome {
                    RoundOutcome::Complete => {
                        let staged = matches!(self.mode, Mode::Staging(..));
                        self.fate = if staged { Fate::Replay } else { Fate::Write };
                        (self.mode, self.ended) = (Mode::Normal, true);
                    }
                    RoundOutcome::Cancelled => {
                        rare!(CourseRoundCancelled);
                        self.drop_staged(staged_before);
                        (self.mode, self.fate) = (Mode::Away, Fate::Pass);
                    }
                }
            }
            // The disks hold everything already: it is told all the same.
            (Mark::RoundEnd(_), Mode::Normal) => self.ended = true,
            (Mark::Handover(handover), _) => {
                self.handover = (handover.to == me).then_some(handover.epoch);
            }
            (Mark::RoundBegin(_), Mode::Normal)
            | (Mark::RoundEnd(_), Mode::Away | Mode::Staging(..) | Mode::InPlace(_))
            | (Mark::LaneSet(_) | Mark::Verify(_), _) => {}
        }
    }

    /// What was staged in frames before this one is dropped with the mark.
    fn drop_staged(&mut self, staged_before: &mut bool) {
        self.drops |= core::mem::take(staged_before);
    }
}

fn is_mark(kind: RecordKind) -> bool {
    match kind.shape() {
        Shape::Payload => true,
        Shape::RangeWithData | Shape::Range | Shape::RangeWithPayload => false,
    }
}

#[cfg(test)]
mod tests;
