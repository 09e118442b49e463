//! The spans of one group that have begun and not ended: small queues, oldest first.

use std::collections::VecDeque;

use midspan_format::ids::GroupId;

use super::{Milestone, Stage, end_of};
use crate::counters::spans::{Span, Spans};

/// Frames (or ranges, or runs) that one queue follows; of more, the oldest are not measured.
const FOLLOWED: usize = 1024;

/// Things on their way from one stage to the next, by a key that rises: a position or a time.
#[derive(Debug)]
struct Underway {
    queue: VecDeque<(u64, u64)>,
    limit: usize,
}

impl Underway {
    fn new(limit: usize) -> Self {
        Self { queue: VecDeque::with_capacity(limit), limit }
    }

    fn begin(&mut self, key: u64, at: u64) {
        // A key that goes back belongs to another life: what was under way then never ends.
        if self.queue.back().is_some_and(|(last, _)| *last > key) {
            self.queue.clear();
        }
        if self.queue.len() >= self.limit {
            self.queue.pop_front();
        }
        if self.limit > 0 {
            self.queue.push_back((key, at));
        }
    }

    /// Everything with a key up to `through` has arrived.
    fn end(&mut self, through: u64, mut each: impl FnMut(u64)) {
        while let Some((key, since)) = self.queue.front().copied()
            && key <= through
        {
            each(since);
            self.queue.pop_front();
        }
    }
}

/// The group's spans.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) group: GroupId,
    timed: Underway,
    sealed: Underway,
    sent: Underway,
    /// When an entry of the in-flight table was answered; 0: it was not.
    answered: Box<[u64]>,
    received: Underway,
    asked: Underway,
    fetched: Underway,
    acquired: Underway,
}

impl Flow {
    pub(super) fn new(group: GroupId, requests: usize) -> Self {
        let frames = || Underway::new(FOLLOWED);
        Self {
            group,
            timed: Underway::new(requests),
            sealed: frames(),
            sent: frames(),
            answered: vec![0; requests].into_boxed_slice(),
            received: frames(),
            asked: frames(),
            fetched: frames(),
            acquired: frames(),
        }
    }

    pub(super) fn answered(&mut self, op: u32, at: u64) {
        if let Some(answered) = self.answered.get_mut(op as usize) {
            *answered = at;
        }
    }

    pub(super) fn written(&mut self, op: u32, at: u64, spans: &Spans) {
        let since = self.answered.get_mut(op as usize).map_or(0, std::mem::take);
        if since > 0 {
            spans.record(Span::Write, at.saturating_sub(since));
        }
    }

    pub(super) fn reached(&mut self, at: u64, milestone: &Milestone, spans: &Spans) {
        let took = |span: Span| move |since: u64| spans.record(span, at.saturating_sub(since));
        let (place, end) = (milestone.place, end_of(milestone).0);
        match milestone.stage {
            Stage::Timed => {
                // An entry is used again: whatever was answered there is over.
                self.answered(u32::try_from(milestone.with).unwrap_or(u32::MAX), 0);
                self.timed.begin(place, at);
            }
            Stage::Sealed => {
                self.timed.end(milestone.with, took(Span::Seal));
                self.sealed.begin(end, at);
            }
            Stage::Sent => {
                self.sealed.end(end, took(Span::Send));
                self.sent.begin(end, at);
            }
            Stage::Acknowledged => self.sent.end(place, took(Span::Lane)),
            Stage::Received => self.received.begin(end, at),
            Stage::Journaled => self.received.end(place, took(Span::Journal)),
            Stage::Asked => self.asked.begin(place, at),
            Stage::Fetched => {
                self.asked.end(place, took(Span::Fetch));
                self.fetched.begin(end, at);
            }
            Stage::Acquired => {
                self.fetched.end(place, took(Span::Acquire));
                self.acquired.begin(place, at);
            }
            Stage::Applied => self.acquired.end(place, took(Span::Apply)),
            Stage::Arrived | Stage::Answered | Stage::Written | Stage::Served => {}
        }
    }
}
