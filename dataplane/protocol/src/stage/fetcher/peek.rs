//! A look at the ring itself when nothing is listed for long: marks of a site outside the lanes stand in no manifest.

use midspan_format::geometry::Position;

use super::{Fetcher, Range};

impl Fetcher {
    /// Whether nothing is planned or asked.
    pub(super) fn may_peek(&self) -> bool {
        let idle = self.plan.is_empty() && self.asked.is_empty() && self.target.is_none();
        idle && self.ring.is_up() && self.walk.is_some()
    }

    /// A look that is due and cannot be taken is due later: a deadline that nothing meets lets nobody rest.
    pub(super) fn put_off_peek(&mut self, now: u64) {
        if now >= self.peek_at {
            self.peek_at = self.next_peek(now);
        }
    }

    pub(super) fn next_peek(&self, now: u64) -> u64 {
        now + u64::from(self.pace.poll_ms) * 1_000_000
    }

    /// The ring says how far it goes.
    pub(super) fn on_peeked(&mut self, journaled: Position) {
        self.asked.pop_front();
        if self.plan.is_empty() && self.asked.is_empty() && journaled > self.planned_to {
            rare!(PeekFindsMore);
            self.plan.push_back(Range {
                start: self.planned_to,
                end: journaled,
                scan: true,
                has_rest: false,
            });
            self.planned_to = journaled;
        }
    }
}
