//! `verify` at the group's primary, and the round that sends what it has found.

use midspan_format::ids::VolumeId;
use midspan_format::superblock::PairState;

use super::{Group, Play};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Note, VerifyNote, VerifyRefusal, VerifyStop};

impl<B: Buffer> Group<B> {
    /// An operator wants the sites compared.
    pub(super) fn begin_verify<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        volume: Option<VolumeId>,
        bytes_per_s: u64,
        repair: bool,
    ) {
        let paired = self.store.get().pair == PairState::Paired && !self.stopping;
        let outcome = match &mut self.play {
            Play::Primary(primary) if paired && self.handover.is_none() => {
                primary.begin_verify(context, volume, bytes_per_s, repair)
            }
            Play::Primary(_) | Play::Outside(_) => Err(VerifyRefusal::NotPaired),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => Err(VerifyRefusal::NotPrimary),
        };
        if let Err(refusal) = outcome {
            context.note(Note::Verify(VerifyNote::Refused(refusal)));
        }
    }

    /// An operator has had enough of it.
    pub(super) fn end_verify<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let ended = match &mut self.play {
            Play::Primary(primary) => primary.stop_verify(context, VerifyStop::Asked),
            Play::Starting(_)
            | Play::Opening(..)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Resuming { .. }
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => false,
        };
        if !ended {
            context.note(Note::Verify(VerifyNote::Refused(VerifyRefusal::NotRunning)));
        }
    }

    /// A change of roles or of the state begins: nothing more is compared.
    pub(super) fn drop_verify<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Play::Primary(primary) = &mut self.play {
            primary.stop_verify(context, VerifyStop::NotPaired);
        }
    }

    /// What a run has found is marked, and a round sends it.
    pub(super) fn send_found<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Play::Primary(primary) = &mut self.play else { return };
        let found = primary.take_repairs();
        if found.is_empty() || self.handover.is_some() || self.departs || self.stopping {
            return;
        }
        if let Some(tracker) = self.tracker.as_mut() {
            for range in found {
                tracker.mark_silently(VolumeId(range.volume), range.offset, range.length);
            }
            self.begin_resync(context);
        }
    }
}
