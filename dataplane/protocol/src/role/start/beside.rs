//! Where two lanes share the data of frames a start takes both, and goes by the one that ends first (decision 0021).
//!
//! What is behind the end of either was answered to nobody: whoever was answered has the head in both lanes, and the data in the one that
//! the head names. So the shorter lane says where the journal ends, and both hold what lies before.

use alloc::boxed::Box;

use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;
use midspan_format::message::{FenceIntent, Fenced, RefusedReason};
use midspan_format::superblock::GroupState;

use super::preparing::{Preparing, left_behind};
use super::{Outcome, Start, Step};
use crate::lane::fencer::FencerEvent;
use crate::role::facts::LaneFacts;
use crate::role::policy::LanePolicy;
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, LinkEvent, Note, StartNote};

impl<B: Buffer> Start<B> {
    /// The lane that shares the data with the one that it goes by.
    pub(super) fn beside_of(&self, store: &StateStore) -> Option<NodeId> {
        let set = &store.get().set;
        set.nodes.iter().copied().find(|node| set.is_striped() && *node != self.config.relay)
    }

    /// The epoch is recorded: the other lane is taken in it, too.
    pub(super) fn fence_beside(&mut self, node: NodeId, state: &GroupState) {
        let epoch = self.facts.epoch;
        let known = left_behind(&self.facts, state, self.config.node);
        let fencer = self.config.fencer_beside(node, FenceIntent::Restart, known, epoch);
        self.step = Step::FencingBeside(Box::new(fencer));
    }

    /// An event of that fence.
    pub(super) fn on_beside<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        event: LinkEvent<B>,
        store: &mut StateStore,
    ) -> Outcome {
        let Step::FencingBeside(fencer) = &mut self.step else { return Outcome::Running };
        let node = fencer.node();
        match fencer.on_link(context, event) {
            FencerEvent::Done(fenced) => self.on_beside_fenced(context, node, &fenced, store),
            FencerEvent::Foreign(found) => return Outcome::Fenced(found),
            FencerEvent::Nothing
            | FencerEvent::Probed(_)
            | FencerEvent::Forgotten(_)
            | FencerEvent::Released
            | FencerEvent::Refused(_) => {}
        }
        self.advance(context, store)
    }

    fn on_beside_fenced<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        node: NodeId,
        fenced: &Fenced,
        store: &StateStore,
    ) {
        let Some(other) = LaneFacts::new(fenced, self.config.lane) else {
            return self.wait(context, Note::LaneRefused { node, reason: RefusedReason::UnknownArea });
        };
        let (here, there) = (&self.facts.ring, &other.ring);
        // Nothing was sealed yet: the other one begins with the first frame.
        let is_new = here.journaled.0 == 0 && there.journaled.0 == 0;
        if !is_new && here.area != there.area {
            return self.wait(context, Note::LaneLost { node, had: here.journaled, found: there.journaled });
        }
        if !there.open {
            return self.wait(context, Note::Damaged { node, position: there.journaled });
        }
        let fits = here.may_share_with(there) && there.may_share_with(here);
        if !is_new && !fits {
            return self.wait(context, Note::LaneLost { node, had: here.journaled, found: there.journaled });
        }
        if there.journaled < here.journaled {
            rare!(StartTurnsToShorter);
            // What was on its way has come to this one only. Both are fenced now: nothing more does.
            self.fencer.close(context);
            if let Some(preparing) = Preparing::new(&self.config, store) {
                self.step = Step::Preparing(preparing);
            }
            return;
        }
        // A lane begins only where the disks hold everything before.
        if there.began > self.facts.landed.0 && there.began <= here.journaled {
            self.facts.landed.0 = there.began;
        }
        self.read_tail(context, Some(node), store);
    }

    /// Reads what the disks may lack; of some frames the data is in the lane at `beside`.
    pub(super) fn read_tail<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        beside: Option<NodeId>,
        store: &StateStore,
    ) {
        // What this site knows of its own disks: of two lanes that shared the one that is left may not have all data from before.
        let shared = store.get().has_shared() || self.config.lane_policy == LanePolicy::Stripe;
        let landed = if shared { store.get().landed } else { Position(0) };
        let Some(span) = self.facts.tail(landed) else { return self.flush(context) };
        context.note(Note::Start(StartNote::Reading { from: span.from, to: span.to }));
        let mut tail = self.config.tail(span, self.facts.epoch);
        if let Some(node) = beside {
            tail = tail.beside(self.config.tail_beside(node, span.area, self.facts.epoch));
        }
        tail.on_tick(context);
        self.step = Step::Verifying(tail);
    }
}
