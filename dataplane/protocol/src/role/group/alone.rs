//! A start past the journal, by an operator's word: the relay is gone, and what it alone held may be missing (design §7).
//!
//! ```text
//!  asked ─▶ the other site is asked how far it has come ─▶ it has more than this one: refused
//!                        └─ it has no more, or does not answer ─▶ everything is marked ─▶ serves outside the lanes
//! ```
//! Upholds I1 as far as it can be upheld: the word names the time from which answered writes may be missing, what is served is
//! marked as different from the other site (I6), and no takeover that hears of it says that nothing is lost.

use alloc::boxed::Box;

use midspan_format::control::LossReason;
use midspan_format::ids::Epoch;
use midspan_format::superblock::PairState;

use super::{Group, Play, STARVED_NS, is_outside};
use crate::lane::site_link::{SiteEvent, SiteLink};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, LinkId, Note, StartNote, StartRefusal, StartReport};

/// How long the other site may take to say how far it has come.
const ASK_NS: u64 = 3_000_000_000;

/// The question to the other site.
#[derive(Debug)]
pub(super) struct Alone {
    site_link: SiteLink,
    since: u64,
    /// The answer permits it: everything is being marked.
    marking: bool,
}

impl<B: Buffer> Group<B> {
    /// An operator wants this site to serve without the journal.
    pub(super) fn start_without_journal<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let refusal = match &self.play {
            _ if self.stopping => Some(StartRefusal::Stopping),
            _ if self.alone.is_some() => Some(StartRefusal::Running),
            Play::Starting(_) | Play::Resuming { .. } if self.waits_for_lane() => None,
            Play::Starting(_) | Play::Resuming { .. } => {
                Some(StartRefusal::LaneReachable { node: self.config.relay })
            }
            Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => Some(StartRefusal::NotStarting),
        };
        if let Some(refusal) = refusal {
            return context.note(Note::Start(StartNote::Refused(refusal)));
        }
        let site_link = self.config.site_link(self.store.get().epoch);
        self.alone = Some(Box::new(Alone { site_link, since: context.now.mono, marking: false }));
        self.go_on_alone(context);
    }

    /// Whether a start waits for a lane that does not answer, or is not what it was.
    fn waits_for_lane(&self) -> bool {
        match &self.play {
            Play::Starting(start) => start.can_be_skipped(),
            Play::Resuming { fencer, flushed, .. } => *flushed && !fencer.is_up(),
            Play::Opening(..)
            | Play::Primary(_)
            | Play::Leaving(_)
            | Play::Secondary(_)
            | Play::TakingOver(..)
            | Play::Outside(_)
            | Play::Fenced(_)
            | Play::Aborting(..)
            | Play::Stopped => false,
        }
    }

    /// Whether the link is that of the question.
    pub(super) fn asks_alone(&self, link: LinkId) -> bool {
        self.alone.as_ref().is_some_and(|alone| alone.site_link.id() == link)
    }

    pub(super) fn on_alone<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
    ) {
        let waits = self.waits_for_lane();
        let Some(alone) = self.alone.as_mut() else { return };
        if alone.site_link.on_link(context, event) != SiteEvent::Up || alone.marking || !waits {
            return;
        }
        let (epoch, acquired) = (alone.site_link.epoch(), alone.site_link.acquired());
        let state = self.store.get();
        let replaced = epoch > state.epoch && epoch.node == self.config.other_site();
        if replaced || alone.site_link.is_unfenced() {
            return self.end_alone(context, Some(StartRefusal::OtherServes));
        }
        if acquired > state.landed {
            return self.end_alone(context, Some(StartRefusal::SecondaryAhead));
        }
        self.end_alone(context, None);
    }

    /// Timers of the question; without an answer it goes on.
    pub(super) fn go_on_alone<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let Some(alone) = self.alone.as_mut() else { return };
        if !alone.marking {
            alone.site_link.on_tick(context);
        }
        let is_over = alone.marking || context.now.mono >= alone.since + ASK_NS;
        if !self.waits_for_lane() {
            let refusal = StartRefusal::LaneReachable { node: self.config.relay };
            return self.end_alone(context, Some(refusal));
        }
        if is_over {
            self.end_alone(context, None);
        }
    }

    /// When [`Group::go_on_alone`] has something to do next.
    pub(super) fn alone_at(&self) -> u64 {
        match &self.alone {
            Some(alone) if alone.marking => self.seen + STARVED_NS,
            Some(alone) => alone.site_link.deadline().min(alone.since + ASK_NS),
            None => u64::MAX,
        }
    }

    /// Another role begins, or the node ends: nobody waits for an answer any more.
    pub(super) fn drop_alone<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if self.alone.is_some() {
            self.end_alone(context, Some(StartRefusal::LaneReachable { node: self.config.relay }));
        }
    }

    fn end_alone<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        refusal: Option<StartRefusal>,
    ) {
        let stood_outside = is_outside(self.store.get().pair);
        let Some(alone) = self.alone.as_mut() else { return };
        if !alone.marking {
            alone.site_link.close(context);
        }
        if let Some(refusal) = refusal {
            self.alone = None;
            return context.note(Note::Start(StartNote::Refused(refusal)));
        }
        let began = alone.since;
        let was_marking = core::mem::replace(&mut alone.marking, true);
        if let Some(tracker) = self.tracker.as_mut().filter(|_| !stood_outside) {
            // First the marks, then that the lanes are left: a restart that believes the state must find them (I6).
            if !was_marking {
                tracker.mark_all();
            }
            tracker.poke(context);
            if tracker.failed() {
                let refusal = StartRefusal::MayLose { why: LossReason::DiskFailed, missing: None };
                return self.end_alone(context, Some(refusal));
            }
            if !tracker.is_durable() {
                return;
            }
        }
        self.alone = None;
        let state = *self.store.get();
        let (landed, last) = (state.landed_time, state.clock);
        context.note(Note::Start(StartNote::Skipping { landed, last }));
        let node = self.config.node;
        let change = self.store.change(context, |state| {
            if !stood_outside {
                (state.pair, state.left_cut, state.round) = (PairState::Degraded, landed, 0);
                state.takeover_epoch = Epoch { number: state.epoch.number + 1, node };
            }
            (state.left, state.answered, state.by_word) = (true, true, true);
        });
        // One that died before it was ever in an epoch serves in the one that it takes next.
        let epoch = if state.epoch.is_held() { state.epoch } else { self.store.get().takeover_epoch };
        let report = StartReport {
            epoch,
            last_time: landed.0,
            lost_nothing: false,
            why: Some(LossReason::LaneUnreachable),
            took_ns: context.now.mono.saturating_sub(began),
            ..StartReport::default()
        };
        self.serve_outside(context, report, None, Some(change), false);
    }
}
