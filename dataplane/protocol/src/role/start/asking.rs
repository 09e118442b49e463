//! A start's question to the other site, before the lane is taken: whether it serves by an operator's word, and has not met the
//! lane since (decision 0015).
//!
//! The relay knows nothing of such a takeover. A former primary that comes back together with the relay would be the first
//! there, and what hosts were told at both sites would be two histories: a split that nobody needs. It lets the other site meet the lane
//! first. Who does not answer in time is not waited for: a site alone must be able to start (design §7).

use super::{Start, Step};
use crate::lane::site_link::{SiteEvent, SiteLink};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, Note, StartNote};

/// How long the other site may take to answer: several round trips of any distance.
const ASK_NS: u64 = 1_000_000_000;

/// The question.
#[derive(Debug)]
pub(super) struct Asking {
    site_link: SiteLink,
    until: u64,
}

impl Asking {
    /// When it must be looked at.
    pub(super) fn deadline(&self) -> u64 {
        self.site_link.deadline().min(self.until)
    }
}

impl<B: Buffer> Start<B> {
    /// The lane can be taken: asks, unless a question is under way already.
    pub(super) fn ask<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, store: &StateStore) {
        if matches!(self.step, Step::Asking(_)) {
            return;
        }
        let mut site_link = self.config.ask_link(store.get().epoch);
        site_link.on_tick(context);
        self.step = Step::Asking(Asking { site_link, until: context.now.mono + ASK_NS });
    }

    /// An event of the question's link.
    pub(super) fn on_answer<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
    ) {
        let Step::Asking(asking) = &mut self.step else { return };
        match asking.site_link.on_link(context, event) {
            SiteEvent::Up if asking.site_link.is_unfenced() => {
                let node = self.config.other_site();
                self.wait(context, Note::OtherServes { node });
            }
            SiteEvent::Up | SiteEvent::Down => self.take_lane(context),
            SiteEvent::Nothing | SiteEvent::Left(_) | SiteEvent::Recorded(_) => {}
        }
    }

    /// Timers of the question.
    pub(super) fn go_on_asking<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.fencer.on_tick(context);
        let Step::Asking(asking) = &mut self.step else { return };
        if asking.site_link.on_tick(context) == SiteEvent::Down || context.now.mono >= asking.until {
            rare!(StartUnanswered);
            self.take_lane(context);
        }
    }

    /// Nobody's answer matters any more.
    pub(super) fn stop_asking<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if let Step::Asking(asking) = &mut self.step {
            asking.site_link.close(context);
            self.step = Step::Fencing;
        }
    }

    fn take_lane<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.stop_asking(context);
        context.note(Note::Start(StartNote::Fencing));
        self.fencer.fence(context);
    }
}
