//! Where the other site reads another lane than the one in which it is said that the lanes are left, it is asked to read that one.
//!
//! It may have recorded a change of the set of which this site never heard, or have read one lane of a mirror where a takeover fenced the
//! other one: its receipt never names the mark then, and nobody would come back (liveness). Upholds I1 as any set that is asked for does: what
//! is asked for is durable here, and the lane holds everything that was answered in the lanes, and says that they were left.

use midspan_format::geometry::Position;
use midspan_format::message::{Message, SetAsked};

use super::{Outside, Step};
use crate::stage::state_store::StateStore;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

/// How long the other site has to find the mark by itself, and then before it is asked again.
const PATIENCE_NS: u64 = 2_000_000_000;

impl<B: Buffer> Outside<B> {
    /// Asks, when the mark has stood in the lane for a while and the other site does not.
    pub(super) fn ask_to_follow<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        store: &StateStore,
    ) {
        let (now, state) = (context.now.mono, store.get());
        let waits = matches!(self.step, Step::Serving)
            && self.config.lanes.len() > 1
            && self.site_link.is_up()
            && self.comeback.has_left()
            && self.comeback.ready(state).is_none();
        if !waits {
            self.asks_at = u64::MAX;
            return;
        }
        if self.asks_at == u64::MAX {
            self.asks_at = now + PATIENCE_NS;
        }
        let set = if state.asked.is_none() { state.set } else { state.asked };
        // Of two lanes that count the first one is read where they are left, or both.
        let is_this = set.second().is_none() && set.first() == self.comeback.lane_node();
        if now < self.asks_at || !is_this || !store.is_idle() {
            return;
        }
        rare!(OutsideAsksToFollow);
        self.asks_at = now + PATIENCE_NS;
        let (group, epoch) = (self.config.group, state.epoch);
        // A site that is bound to another lane stays so.
        let asked = SetAsked { group, epoch, set, holds: Position(0) };
        self.site_link.say(context, Message::SetAsked(asked));
    }
}
