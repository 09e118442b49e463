//! What is to be read, in the order of the journal, from the last verified frame to the end that is known of. A read that fails takes only
//! itself out of it.

use midspan_format::geometry::Position;

use super::{Fetcher, PLAN, Range, SHARED_PLAN};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::Context;

impl<B: Buffer> Fetcher<B> {
    /// Whether what another manifest lists can be planned.
    pub(super) fn has_plan_room(&self) -> bool {
        self.plan.len() < if self.beside.is_some() { SHARED_PLAN } else { PLAN } / 2
    }

    /// Takes the memory for a longer plan where one may be needed.
    pub(super) fn reserve_plan(&mut self) {
        if self.beside.is_some() {
            self.plan.reserve(SHARED_PLAN);
        }
    }

    /// What was asked for and has not come is planned again, as it was; of a piece the rest still stands in the plan, from its start on.
    pub(super) fn forget_reads(&mut self) {
        self.peeks = false;
        self.ahead.forget();
        while let Some(asked) = self.asked.pop_back() {
            let range = asked.range;
            if range.end > range.start && !range.has_rest {
                self.plan.push_front(range);
            }
        }
        self.fill_plan();
    }

    /// The plan goes from the last verified frame to its end: what it leaves out, or has lost, is a scan.
    pub(super) fn fill_plan(&mut self) {
        let start = self.tip().position;
        let end = self.target().unwrap_or(self.planned_to).max(start);
        let beside = self.scans_beside && self.shares;
        while self.plan.front().is_some_and(|range| range.end <= start) {
            self.plan.pop_front();
        }
        let takes = self.target.is_some();
        if takes && self.plan.front().is_some_and(|first| first.start > start) {
            self.plan.clear();
        }
        if let Some(first) = self.plan.front_mut() {
            let gap = first.start;
            first.start = gap.max(start);
            first.beside = if first.scan && !takes { beside } else { first.beside };
            if gap > start {
                self.plan.push_front(Range { start, end: gap, scan: true, has_rest: false, beside });
            }
        }
        let planned = self.plan.back().map_or(start, |last| last.end);
        self.plan_scan(planned, end);
        self.planned_to = end;
    }

    /// What comes next is looked for along the chain: it was not what was asked for. What is planned behind it stays.
    pub(super) fn rescan<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.forget_answers(context);
        self.forget_reads();
    }

    /// So is everything.
    pub(super) fn rescan_all<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        self.plan.clear();
        self.asked.clear();
        self.rescan(context);
    }

    /// A scan goes on at `from`, behind what came of a piece.
    pub(super) fn go_on_scanning(&mut self, asked: Range, from: Position) {
        let has_more = |range: &Range| range.end > from;
        if asked.has_rest {
            match self.plan.front_mut().filter(|rest| has_more(rest)) {
                Some(rest) => rest.start = from,
                None => drop(self.plan.pop_front()),
            }
        } else if has_more(&asked) {
            self.plan.push_front(Range { start: from, ..asked });
        }
    }
}
