//! From received bytes to pieces in the hands of their owner: headers are read, payloads land where they are written from.

use midspan_protocol::host::nbd::Context;
use midspan_protocol::host::transmission::{Command, Request, Step};
use midspan_protocol::vocab::effect::HostOp;
use midspan_uring::{Buf, OpId, Refused};

use super::bounds::{self, LARGE_PAYLOAD, REQUESTS};
use super::conn::{Conn, Hand, Pause, RECEIVED, Task, Then, user};
use super::outgoing::{Out, STATUS_EXTENTS};
use super::split::{Span, ZeroPiece, whole_blocks};
use super::work::Work;
use crate::buffers::PoolBuf;
use crate::exports::ExportId;
use crate::frontend::{Host, Marks};
use crate::slab::Key;

impl Conn {
    /// Does all that can be done with what was received; says what it waits for then.
    pub(super) fn proceed(&mut self, me: Key, work: &mut Work, host: &mut Host<'_>) -> Pause {
        if self.receiving {
            return Pause::Input;
        }
        loop {
            let step = match self.task {
                Task::Header => self.header(me, work, host),
                Task::Issue { active, offset, left } => self.issue(work, host, active, offset, left),
                Task::Payload { active, .. } => self.payload(me, work, host, active),
                Task::Skip { .. } => self.skip(me, work, host),
            };
            if let Err(pause) = step {
                return pause;
            }
        }
    }

    fn header(&mut self, me: Key, work: &mut Work, host: &mut Host<'_>) -> Result<(), Pause> {
        if self.leaving {
            return Err(Pause::Input);
        }
        match self.session.on_header(self.input.unread()) {
            Step::NeedMore => Err(self.receive(me, host)),
            Step::Request { .. } | Step::Answer { .. } if self.held.requests >= REQUESTS => Err(Pause::Own),
            Step::Request { consumed, request, payload } => {
                self.begin(me, work, host, request, payload)?;
                self.input.consume(consumed);
                self.held.requests += 1;
                Ok(())
            }
            Step::Answer { consumed, skip, to, result } => {
                self.input.consume(consumed);
                self.held.requests += 1;
                let then = Some(Then::Reply(Out::answer(to, result)));
                self.task = Task::Skip { left: skip, then };
                Ok(())
            }
            Step::Disconnect => {
                self.leaving = true;
                Err(Pause::Input)
            }
            Step::Close(_) => Err(Pause::Broken),
        }
    }

    /// Decides how a request is carried out. Changes nothing when it cannot begin yet.
    fn begin(
        &mut self,
        me: Key,
        work: &mut Work,
        host: &Host<'_>,
        request: Request,
        payload: u32,
    ) -> Result<(), Pause> {
        let Request { offset, length, .. } = request;
        let mut issue = |offset, left| {
            let active = work.begin(me, request).ok_or(Pause::Shared)?;
            Ok(Task::Issue { active, offset, left })
        };
        self.task = match request.command {
            Command::Read { .. } | Command::WriteZeroes { .. } => issue(offset, length)?,
            Command::Flush => issue(0, 1)?,
            Command::Trim { .. } => {
                let blocks = whole_blocks(offset, length);
                if blocks.is_empty() {
                    self.out.push(Out::Done(request.reply_to()));
                    Task::Header
                } else {
                    issue(blocks.start, blocks.end - blocks.start)?
                }
            }
            Command::Cache => {
                self.out.push(Out::Done(request.reply_to()));
                Task::Header
            }
            Command::BlockStatus { contexts, .. } => {
                let marks = if contexts.contains(Context::Dirty) {
                    dirty_extents(host.marks, self.export, offset, length)
                } else {
                    Vec::new()
                };
                self.out.push(Out::Status { request, marks });
                Task::Header
            }
            Command::Write { .. } => {
                let active = work.begin(me, request).ok_or(Pause::Shared)?;
                self.input.expect(u64::from(payload) >= LARGE_PAYLOAD);
                Task::Payload { active, offset, left: u64::from(payload), hand: None }
            }
        };
        Ok(())
    }

    /// Gives the next piece of a request without payload to the owner.
    fn issue(
        &mut self,
        work: &mut Work,
        host: &mut Host<'_>,
        active: Key,
        offset: u64,
        left: u64,
    ) -> Result<(), Pause> {
        let Some(of) = work.active(active) else { return Err(Pause::Broken) };
        let request = of.request;
        if left == 0 || of.failure().is_some() {
            self.task = Task::Header;
            work.complete(active);
            return self.settle(work, active);
        }
        let done = match self.issue_one(work, host, active, request, (offset, left)) {
            Ok(done) => done,
            Err(pause) => {
                self.stream_if_whole(work, active)?;
                return Err(pause);
            }
        };
        self.task = Task::Issue { active, offset: offset + done, left: left - done };
        Ok(())
    }

    /// Gives the first piece of a range to the owner; says how much of the range it was.
    fn issue_one(
        &mut self,
        work: &mut Work,
        host: &mut Host<'_>,
        active: Key,
        request: Request,
        (offset, left): (u64, u64),
    ) -> Result<u64, Pause> {
        if !work.has_room() || host.room() == 0 {
            return Err(Pause::Shared);
        }
        let none = Span { offset, length: 0 };
        let (fua, unmap) = match request.command {
            Command::Read { .. } => {
                let span = Span::first(offset, left);
                let into = self.take(host, span)?;
                let bytes = into.capacity();
                let into = PoolBuf::new(into);
                let op = HostOp::Read { offset: span.start(), length: span.bytes(), into };
                self.submit(work, host, active, (span, bytes), op)?;
                return Ok(span.length as u64);
            }
            Command::WriteZeroes { fua, no_hole } => (fua, !no_hole),
            Command::Trim { fua } => (fua, true),
            Command::Flush => {
                self.may_hold(0, host)?;
                self.submit(work, host, active, (none, 0), HostOp::Flush)?;
                return Ok(left);
            }
            Command::Write { .. } | Command::Cache | Command::BlockStatus { .. } => {
                return Err(Pause::Broken);
            }
        };
        match ZeroPiece::first(offset, left) {
            ZeroPiece::Blocks { offset, length } => {
                self.may_hold(0, host)?;
                let op = HostOp::Zero { offset, length, unmap, fua };
                self.submit(work, host, active, (none, 0), op)?;
                Ok(length)
            }
            ZeroPiece::Part(span) => {
                let mut data = self.take(host, span)?;
                let end = span.skew() + span.length;
                if let Some(place) = data.bytes_mut().and_then(|bytes| bytes.get_mut(span.skew()..end)) {
                    place.fill(0);
                }
                data.set_filled(end);
                self.submit_write(work, host, active, span, data, fua)?;
                Ok(span.length as u64)
            }
        }
    }

    /// The buffer of a piece, if it is within the bounds.
    fn take(&self, host: &Host<'_>, span: Span) -> Result<Buf, Pause> {
        self.may_hold(span.bytes(), host)?;
        bounds::take(host.buffers.pool(), span.bytes()).ok_or(Pause::Memory)
    }

    fn submit_write(
        &mut self,
        work: &mut Work,
        host: &mut Host<'_>,
        active: Key,
        span: Span,
        data: Buf,
        fua: bool,
    ) -> Result<(), Pause> {
        let bytes = data.capacity();
        let op = HostOp::Write { offset: span.offset, length: span.length, data: PoolBuf::new(data), fua };
        self.submit(work, host, active, (span, bytes), op)
    }

    /// Brings the payload of a write together, piece by piece.
    fn payload(&mut self, me: Key, work: &mut Work, host: &mut Host<'_>, active: Key) -> Result<(), Pause> {
        let Some(of) = work.active(active) else { return Err(Pause::Broken) };
        let (failed, command) = (of.failure().is_some(), of.request.command);
        let Task::Payload { offset, left, ref mut hand, .. } = self.task else { return Err(Pause::Broken) };
        let hand = hand.take();
        if failed {
            // What is still to come is thrown away, so that the next header is found.
            let here = hand.map_or(0, |hand| hand.span.length - hand.missing());
            self.task = Task::Skip { left: left - here as u64, then: Some(Then::Fail(active)) };
            return Ok(());
        }
        if left == 0 {
            self.task = Task::Header;
            work.complete(active);
            return self.settle(work, active);
        }
        let mut hand = match hand {
            Some(hand) => hand,
            None => self.next_hand(host, offset, left)?,
        };
        hand.fill_from(&mut self.input);
        if hand.missing() > 0 {
            let pause = self.receive_rest(me, host, &mut hand);
            self.task = Task::Payload { active, offset, left, hand: Some(hand) };
            return Err(pause);
        }
        if !work.has_room() || host.room() == 0 {
            self.task = Task::Payload { active, offset, left, hand: Some(hand) };
            return Err(Pause::Shared);
        }
        let Hand { span, buf: Some(data) } = hand else { return Err(Pause::Broken) };
        self.submit_write(work, host, active, span, data, command == Command::Write { fua: true })?;
        let done = span.length as u64;
        self.task = Task::Payload { active, offset: offset + done, left: left - done, hand: None };
        Ok(())
    }

    /// A buffer for the next piece of a payload, to be filled from where it lies in its first block.
    fn next_hand(&self, host: &Host<'_>, offset: u64, left: u64) -> Result<Hand, Pause> {
        let span = Span::first(offset, left);
        let mut buf = self.take(host, span)?;
        buf.set_filled(span.skew());
        Ok(Hand { span, buf: Some(buf) })
    }

    /// Receives what is missing of a piece to where it is written from.
    fn receive_rest(&mut self, me: Key, host: &mut Host<'_>, hand: &mut Hand) -> Pause {
        let missing = hand.missing();
        let Some(buf) = hand.buf.take() else { return Pause::Broken };
        self.started(host.ring.recv_exact(self.socket, buf, missing, user(me, RECEIVED)), host.now.mono)
    }

    fn skip(&mut self, me: Key, work: &mut Work, host: &mut Host<'_>) -> Result<(), Pause> {
        let Task::Skip { left, ref mut then } = self.task else { return Err(Pause::Broken) };
        let here = left.min(self.input.unread().len() as u64);
        if here < left {
            let then = then.take();
            self.task = Task::Skip { left: left - here, then };
            self.input.consume(self.input.unread().len());
            return Err(self.receive(me, host));
        }
        let then = then.take();
        self.input.consume(usize::try_from(here).unwrap_or(0));
        self.task = Task::Header;
        match then {
            Some(Then::Reply(out)) => self.out.push(out),
            Some(Then::Fail(active)) => {
                work.complete(active);
                return self.settle(work, active);
            }
            None => {}
        }
        Ok(())
    }

    fn receive(&mut self, me: Key, host: &mut Host<'_>) -> Pause {
        let pool = host.buffers.pool();
        let Some(buf) = self.input.target(|length| bounds::take(pool, length)) else { return Pause::Memory };
        self.started(host.ring.recv(self.socket, buf, user(me, RECEIVED)), host.now.mono)
    }

    fn started(&mut self, receive: Result<OpId, Refused>, now: u64) -> Pause {
        if receive.is_err() {
            return Pause::Broken;
        }
        self.receiving = true;
        self.since = now;
        Pause::Input
    }

    /// A receive ended with `count` bytes; none: the client sends nothing more.
    pub(super) fn on_received(&mut self, buf: Buf, count: usize) -> Result<(), Pause> {
        self.receiving = false;
        if let Task::Payload { hand: Some(hand), .. } = &mut self.task {
            hand.buf = Some(buf);
            // A piece is received whole, or the client is gone in the middle of it.
            return if hand.missing() == 0 { Ok(()) } else { Err(Pause::Broken) };
        }
        self.input.on_received(buf, count);
        if count > 0 {
            return Ok(());
        }
        let between = matches!(self.task, Task::Header) && self.input.unread().is_empty();
        self.leaving = true;
        if between { Ok(()) } else { Err(Pause::Broken) }
    }
}

/// Which parts of a range may differ at the other site: lengths from its start on, as many as a reply takes. Without a map
/// everything may.
fn dirty_extents(marks: &dyn Marks, export: ExportId, offset: u64, length: u64) -> Vec<(u64, bool)> {
    let (mut at, end) = (offset, offset.saturating_add(length));
    let mut extents = Vec::new();
    while at < end && extents.len() < STATUS_EXTENTS {
        let Some((marked, until)) = marks.extent(export, at) else { break };
        extents.push((until - at, marked));
        at = until;
    }
    if extents.is_empty() {
        extents.push((length, true));
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every second region of 64 KiB is marked, in an export of three.
    struct Striped;

    impl Marks for Striped {
        fn extent(&self, _: ExportId, offset: u64) -> Option<(bool, u64)> {
            let region = offset >> 16;
            (region < 3).then_some((region % 2 == 1, (region + 1) << 16))
        }
    }

    #[test]
    fn a_range_is_told_in_extents_from_its_own_start_on() {
        let told = |offset, length| dirty_extents(&Striped, ExportId(0), offset, length);
        assert_eq!(told(0, 1 << 16), [(65_536, false)]);
        assert_eq!(told(4096, 1 << 17), [(61_440, false), (65_536, true), (65_536, false)]);
        assert_eq!(told(65_536, 10), [(65_536, true)], "the last one may reach beyond the range");
    }

    #[test]
    fn without_a_map_everything_may_differ() {
        assert_eq!(dirty_extents(&crate::frontend::NoMarks, ExportId(0), 4096, 8192), [(8192, true)]);
    }
}
