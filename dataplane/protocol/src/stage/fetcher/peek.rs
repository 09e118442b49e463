//! A look at the ring itself when nothing is listed for long: marks of a site outside the lanes stand in no manifest.

use midspan_format::geometry::Position;
use midspan_format::ids::NodeId;

use super::{Asked, Fetcher, PEEK_BYTES, Range};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

impl<B: Buffer> Fetcher<B> {
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

    /// Takes a look; where two lanes share the data of frames, at one and then at the other: what comes when they are left stands in one
    /// of them.
    pub(super) fn peek<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let start = self.tip().position;
        // A lane that is read for old data only may hold, or begin to, what none that counts does.
        let may_look_beside = self.shares && self.beside.as_ref().is_some_and(|beside| beside.is_up());
        self.peeks_beside = !self.peeks_beside && may_look_beside;
        let beside = self.peeks_beside;
        if !self.is_trusted(beside) {
            // It is asked once more who may write there.
            self.put_off_peek(context.now.mono);
            if !self.takes {
                rare!(FetcherDistrusts);
                let reader = self.beside.as_mut().filter(|_| beside).unwrap_or(&mut self.ring);
                reader.restart(context);
            }
            return;
        }
        self.peeks = true;
        let range = Range { start, end: start, scan: true, has_rest: false, beside };
        self.asked.push_back(Asked { range, answer: None });
        let reader = self.beside.as_mut().filter(|_| beside).unwrap_or(&mut self.ring);
        reader.read(context, start, PEEK_BYTES, 0);
    }

    /// Both lanes were found to end with the same frame, the next one: it is in both, also where nobody is left to say so.
    pub(super) fn plan_agreed(&mut self) {
        let (Some(here), Some(there)) = self.ends else { return };
        let (start, end) = (here.position, here.end());
        let is_next = start == self.planned_to && here.checksum == there.checksum;
        if self.shares && !self.takes && is_next && here.data_at == NodeId::NONE && self.may_peek() {
            rare!(FetcherSeesBoth);
            self.plan.push_back(Range { start, end, scan: false, has_rest: false, beside: false });
            self.planned_to = end;
        }
    }

    /// The ring says how far it goes.
    pub(super) fn on_peeked(&mut self, journaled: Position, beside: bool) {
        self.asked.pop_front();
        // It was asked before a takeover fenced the lane.
        if !self.is_trusted(beside) {
            return;
        }
        if self.plan.is_empty() && self.asked.is_empty() && journaled > self.planned_to {
            rare!(PeekFindsMore);
            self.plan.push_back(Range {
                start: self.planned_to,
                end: journaled,
                scan: true,
                has_rest: false,
                beside,
            });
            self.planned_to = journaled;
        }
    }
}
