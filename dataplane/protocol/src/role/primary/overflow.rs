//! Hosts beside a ring that fills: writes are held back before they have a time or a place anywhere, reads never (I10).

use alloc::collections::VecDeque;

use midspan_format::exposure::OverflowStatus;

use super::Primary;
use crate::stage::throttle::{Crossing, Queue, Throttle, cost};
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, HostOp, HostRequest, Note};
use crate::vocab::limits::{Limits, Pace};
use crate::vocab::overflow::OverflowNote;

/// The writes that are held back, first come first.
#[derive(Debug)]
pub(super) struct Overflow<B> {
    throttle: Throttle,
    /// Each with the time at which it came.
    waiting: VecDeque<(u64, HostRequest<B>)>,
    limit: usize,
    /// When the last write went in while others were held back.
    last: u64,
    delayed: u64,
    /// Hosts are paced, and that was told.
    told: bool,
    /// When the level was first looked at: until the secondary was heard, what is free is not known.
    since: Option<u64>,
    threshold: u64,
}

impl<B: Buffer> Overflow<B> {
    /// Beside a ring of `size` bytes.
    pub(super) fn new(size: u64, limits: &Limits, pace: &Pace) -> Self {
        // Half of the room stays for reads.
        let limit = (limits.requests / 2).max(1);
        Self {
            throttle: Throttle::new(size, pace.overflow_percent, pace.throttle_ns),
            waiting: VecDeque::with_capacity(limit),
            limit,
            last: 0,
            delayed: 0,
            told: false,
            since: None,
            threshold: pace.overflow_percent,
        }
    }

    /// Whether no write is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes what is held back: it goes another way.
    pub(super) fn take(&mut self) -> impl Iterator<Item = HostRequest<B>> + '_ {
        self.waiting.drain(..).map(|(_, request)| request)
    }

    fn next_at(&self, now: u64) -> Option<u64> {
        let ((oldest, first), (newest, _)) = (self.waiting.front()?, self.waiting.back()?);
        let queue = Queue {
            waiting: self.waiting.len() as u64,
            oldest_ns: now.saturating_sub(*oldest),
            newest_ns: now.saturating_sub(*newest),
        };
        Some(self.throttle.next_at(now, self.last, cost(bytes(&first.op)), queue))
    }
}

/// Bytes that a request brings into the ring; `None` for one that brings nothing.
fn brings<B: Buffer>(op: &HostOp<B>) -> Option<u64> {
    match op {
        HostOp::Write { length, .. } => Some(*length as u64),
        HostOp::Zero { .. } => Some(0),
        HostOp::Read { .. } | HostOp::Flush => None,
    }
}

fn bytes<B: Buffer>(op: &HostOp<B>) -> u64 {
    brings(op).unwrap_or(0)
}

impl<B: Buffer> Primary<B> {
    /// Whether another host request can be taken.
    pub fn has_room(&self) -> bool {
        if self.landing.failed() && !self.inflight.has_room() {
            // What a failed disk has not taken keeps its place for good: requests are told so, not left waiting.
            return true;
        }
        let held = self.overflow.waiting.len();
        let limit = self.config.limits.requests;
        // What is held back goes into the table of whoever serves next, beside what is in this one.
        let room = held < self.overflow.limit && held + self.inflight.len() < limit;
        self.inflight.has_room() && self.waiting_flushes.len() < limit && room
    }

    /// Holds a write back while the ring fills. What may go on comes back.
    pub(super) fn hold_back<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        request: HostRequest<B>,
    ) -> Option<HostRequest<B>> {
        let now = context.now.mono;
        let overflow = &mut self.overflow;
        let waits = overflow.throttle.is_on() || !overflow.waiting.is_empty();
        if !waits
            || self.landing.failed()
            || brings(&request.op).is_none()
            || overflow.waiting.len() >= overflow.limit
        {
            return Some(request);
        }
        overflow.waiting.push_back((now, request));
        if overflow.waiting.len() == 1 && overflow.next_at(now).is_none_or(|at| at <= now) {
            overflow.last = now;
            return overflow.waiting.pop_front().map(|(_, request)| request);
        }
        rare!(WriteHeldBack);
        overflow.delayed += 1;
        if !core::mem::replace(&mut overflow.told, true) {
            let max_delay_ns = overflow.throttle.max_delay_ns();
            context.note(Note::Overflow(OverflowNote::Throttles { max_delay_ns }));
        }
        None
    }

    /// Looks at the level, and lets in what may go now.
    pub(super) fn drive_overflow<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if self.closed {
            return;
        }
        let now = context.now.mono;
        let since = *self.overflow.since.get_or_insert(now);
        // Before it is known what is free, everything may look taken.
        if self.receipts.newest.staging > 0 || now >= since + self.config.pace.silence_ns {
            self.look_at_level(context);
        }
        while let Some(at) = self.overflow.next_at(now) {
            if !self.landing.failed() && (at > now || self.is_stuck()) || !self.inflight.has_room() {
                return;
            }
            let Some((_, request)) = self.overflow.waiting.pop_front() else { return };
            self.overflow.last = now;
            self.admit(context, request);
        }
    }

    /// Whether the ring takes nothing: what is let in then would only wait elsewhere.
    fn is_stuck(&self) -> bool {
        self.ring_full && self.sealer.holds_hosts_up()
    }

    fn look_at_level<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        let (used, size, freed) = (self.used(), self.ring.size(), self.needed_from().0);
        let overflow = &mut self.overflow;
        let crossing = overflow.throttle.on_level(context.now.mono, used, freed);
        match crossing {
            None => {}
            Some(Crossing::Up) => context.note(Note::Overflow(OverflowNote::Filling { used, size })),
            Some(Crossing::Down) => context.note(Note::Overflow(OverflowNote::Drained { used, size })),
        }
        if !overflow.throttle.is_crossed() && overflow.waiting.is_empty() {
            self.tell_flowing(context);
        }
    }

    /// Hosts are not paced any more.
    pub(super) fn tell_flowing<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>) {
        if core::mem::take(&mut self.overflow.told) {
            let delayed = self.overflow.delayed;
            context.note(Note::Overflow(OverflowNote::Flows { delayed }));
        }
    }

    /// When the next write may go. What has no room in the table, or in the ring, waits for that.
    pub(super) fn overflow_deadline(&self, soon: u64) -> u64 {
        let waits = !self.inflight.has_room() || self.is_stuck();
        match self.overflow.next_at(soon) {
            None => u64::MAX,
            Some(at) if waits => at.max(soon),
            Some(at) => at,
        }
    }

    /// How the ring fills, for status.
    pub fn overflow_status(&self) -> OverflowStatus {
        let overflow = &self.overflow;
        OverflowStatus {
            leaves: self.config.may_leave,
            threshold: overflow.threshold,
            crossed: overflow.throttle.is_crossed(),
            throttled: overflow.told,
            waiting: overflow.waiting.len() as u64,
            delayed: overflow.delayed,
            pace_bytes_per_s: overflow.throttle.pace(),
            max_delay_ns: overflow.throttle.max_delay_ns(),
        }
    }
}
