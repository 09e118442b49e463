//! Turns the kernel's answers into completions: continues what was short, gives buffers back, finishes closes.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

use super::{Deferred, Ring};
use crate::errno::Errno;
use crate::op::{Completion, Kind, OpId, Work};
use crate::socket::Socket;
use crate::table::Refused;

/// What an answer of the kernel means for its operation.
enum Step {
    /// Submit what remains.
    Again,
    /// It has ended.
    End(Result<u32, Errno>),
}

impl Ring {
    /// The next completion that is already there, without any system call. Call it until `None`, then [`Ring::wait`].
    pub fn next_completion(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.ready.pop_front() {
                return Some(completion);
            }
            let answer = self.io.completion().next()?;
            if let Some(completion) = self.on_answer(&answer) {
                return Some(completion);
            }
        }
    }

    fn on_answer(&mut self, answer: &cqueue::Entry) -> Option<Completion> {
        let id = OpId::from_user_data(answer.user_data());
        if id == OpId::NOTHING {
            return None;
        }
        let more = cqueue::more(answer.flags());
        if !more {
            self.submitted -= 1;
        }
        let op = self.ops.get(id)?;
        let (slot, user) = (op.slot, op.user);
        match op.work {
            Work::Wake => {
                if self.draining {
                    drop(self.ops.remove(id))
                } else {
                    self.start(id)
                }
                None
            }
            Work::Accept => {
                let socket = accepted(answer.result());
                let result = socket.as_ref().map(|_| 0).map_err(|errno| *errno);
                if !more {
                    drop(self.retire(id, Ok(0)));
                }
                Some(Completion { user, kind: Kind::Accept, result, buf: None, socket: socket.ok(), more })
            }
            Work::Recv { .. } => {
                if let Some(activity) = self.table.activity(slot) {
                    activity.nonempty = cqueue::sock_nonempty(answer.flags());
                }
                self.on_step(id, answer.result())
            }
            Work::Read { .. }
            | Work::Write { .. }
            | Work::WriteVectored { .. }
            | Work::Flush
            | Work::Zero { .. }
            | Work::Connect { .. }
            | Work::Send { .. }
            | Work::SendVectored { .. } => self.on_step(id, answer.result()),
        }
    }

    pub(super) fn on_step(&mut self, id: OpId, result: i32) -> Option<Completion> {
        match self.step(id, result) {
            Step::Again => {
                self.start(id);
                None
            }
            Step::End(result) => self.retire(id, result),
        }
    }

    /// Accounts for one answer.
    fn step(&mut self, id: OpId, result: i32) -> Step {
        let Some(op) = self.ops.get_mut(id) else { return Step::End(Err(Errno::INVALID)) };
        let closing = self.table.activity(op.slot).is_some_and(|activity| activity.closing.is_some());
        let stop = op.cancelled || closing || self.draining;
        let Ok(count) = u32::try_from(result) else {
            let errno = Errno::new(result.saturating_neg());
            let retry = match &mut op.work {
                Work::Zero { unmap, .. } => errno == Errno::NOT_SUPPORTED && std::mem::replace(unmap, false),
                Work::Connect { .. } => false,
                Work::Read { .. }
                | Work::Write { .. }
                | Work::WriteVectored { .. }
                | Work::Flush
                | Work::Accept => errno.raw() == libc::EINTR,
                Work::Recv { .. } | Work::Send { .. } | Work::SendVectored { .. } | Work::Wake => {
                    errno.raw() == libc::EINTR
                }
            };
            return if retry && !stop { Step::Again } else { Step::End(Err(errno)) };
        };
        op.done += count;
        assert!(op.done <= op.total, "the kernel moved more than it was asked to");
        let complete = op.done == op.total;
        let aligned = op.done.is_multiple_of(self.table.block(op.slot));
        match &op.work {
            // Nothing more is there: the end of the file, or the peer has closed.
            Work::Read { .. } if count == 0 || !aligned => Step::End(Ok(op.done)),
            Work::Recv { whole, .. } if count == 0 || !whole => Step::End(Ok(op.done)),
            Work::Write { .. } | Work::WriteVectored { .. } if !complete && (count == 0 || !aligned) => {
                Step::End(Err(Errno::IO))
            }
            Work::Send { .. } | Work::SendVectored { .. } if !complete && count == 0 => {
                Step::End(Err(Errno::BROKEN_PIPE))
            }
            Work::Flush | Work::Zero { .. } | Work::Connect { .. } | Work::Accept | Work::Wake => {
                Step::End(Ok(0))
            }
            Work::Read { .. }
            | Work::Write { .. }
            | Work::WriteVectored { .. }
            | Work::Recv { .. }
            | Work::Send { .. }
            | Work::SendVectored { .. }
                if complete =>
            {
                Step::End(Ok(op.done))
            }
            Work::Read { .. } | Work::Write { .. } | Work::Recv { .. } | Work::Send { .. } => {
                again_unless(stop)
            }
            Work::WriteVectored { vector, .. } | Work::SendVectored { vector } => {
                self.vectors.get(*vector).advance(count as usize);
                again_unless(stop)
            }
        }
    }

    /// Ends an operation that the kernel has let go of, or never had: gives its buffers back and does what waited for it.
    pub(super) fn retire(&mut self, id: OpId, result: Result<u32, Errno>) -> Option<Completion> {
        let op = self.ops.remove(id)?;
        let (user, kind, moved) = (op.user, op.kind(), op.done as usize);
        let (mut result, mut socket) = (result, None);
        let buf = match op.work {
            Work::Read { buf, .. } => {
                buf.end_receive(moved);
                Some(buf)
            }
            Work::Recv { buf, .. } => {
                buf.end_receive(moved);
                if let Some(activity) = self.table.activity(op.slot) {
                    activity.receiving = false;
                }
                Some(buf)
            }
            Work::Write { buf, .. } => Some(buf),
            Work::WriteVectored { vector, .. } => {
                self.vectors.put_back(vector);
                None
            }
            Work::SendVectored { vector } => {
                self.vectors.put_back(vector);
                self.next_send(op.slot, op.next, result);
                None
            }
            Work::Send { .. } => {
                self.next_send(op.slot, op.next, result);
                None
            }
            Work::Connect { socket: connected, vector } => {
                self.vectors.put_back(vector);
                if op.cancelled && result.is_ok() {
                    result = Err(Errno::CANCELED);
                }
                socket = result.is_ok().then_some(connected);
                None
            }
            Work::Flush | Work::Zero { .. } | Work::Accept | Work::Wake => None,
        };
        self.release(op.slot);
        Some(Completion { user, kind, result, buf, socket, more: false })
    }

    /// The first send of a socket has ended: the next one's turn, or the end of all.
    fn next_send(&mut self, slot: u32, next: OpId, result: Result<u32, Errno>) {
        let Some(activity) = self.table.activity(slot) else { return };
        activity.first_send = next;
        if next == OpId::NOTHING {
            activity.last_send = OpId::NOTHING;
        }
        if result.is_err() {
            activity.broken = true;
        }
        if next == OpId::NOTHING {
            return;
        }
        if activity.broken || activity.closing.is_some() || self.draining {
            self.fail_sends(slot, next);
        } else if self.ops.get(next).is_some_and(|op| op.cancelled) {
            // Cancelled before its turn: nothing of it was sent, so the stream is whole, but what follows may rely on it.
            activity.broken = true;
            self.fail_sends(slot, next);
        } else {
            self.start(next);
        }
    }

    /// Ends queued sends, which the kernel never had, from `first` on.
    fn fail_sends(&mut self, slot: u32, first: OpId) {
        let mut next = first;
        while let Some(op) = self.ops.remove(next) {
            next = op.next;
            if let Work::SendVectored { vector } = op.work {
                self.vectors.put_back(vector);
            }
            let (user, kind, result) = (op.user, Kind::Send, Err(Errno::CANCELED));
            self.ready.push_back(Completion { user, kind, result, buf: None, socket: None, more: false });
            if let Some(activity) = self.table.activity(slot) {
                activity.in_flight -= 1;
            }
        }
        if let Some(activity) = self.table.activity(slot) {
            if activity.first_send == first {
                activity.first_send = OpId::NOTHING;
            }
            activity.last_send = activity.first_send;
        }
    }

    /// One operation less on the descriptor; the last one finishes a close.
    fn release(&mut self, slot: u32) {
        let Some(activity) = self.table.activity(slot) else { return };
        activity.in_flight -= 1;
        if activity.in_flight == 0 {
            self.finish_close(slot);
        }
    }

    /// See [`Ring::close`].
    pub(super) fn begin_close(&mut self, slot: u32, user: u64) -> Result<(), Refused> {
        let activity = self.table.activity(slot).ok_or(Refused::Unknown)?;
        if activity.closing.is_some() {
            return Err(Refused::Closed);
        }
        activity.closing = Some(user);
        let (in_flight, first) = (activity.in_flight, activity.first_send);
        if let Some(op) = self.ops.get_mut(first) {
            let queued = std::mem::replace(&mut op.next, OpId::NOTHING);
            if queued != OpId::NOTHING {
                self.fail_sends(slot, queued);
            }
        }
        if in_flight == 0 {
            self.finish_close(slot);
        } else {
            self.request_cancel(Deferred::CancelSlot(slot));
        }
        Ok(())
    }

    /// Closes the descriptor and says so, if that was asked for.
    fn finish_close(&mut self, slot: u32) {
        let Some(user) = self.table.activity(slot).and_then(|activity| activity.closing) else { return };
        let unregistered = self.unregister(slot);
        debug_assert!(unregistered.is_ok(), "emptying a slot of the own table cannot fail");
        self.table.close(slot);
        let kind = Kind::Close;
        self.ready.push_back(Completion { user, kind, result: Ok(0), buf: None, socket: None, more: false });
    }
}

fn again_unless(stop: bool) -> Step {
    if stop { Step::End(Err(Errno::CANCELED)) } else { Step::Again }
}

/// The connection behind an answer to `accept`.
fn accepted(result: i32) -> Result<Socket, Errno> {
    if result < 0 {
        return Err(Errno::new(result.saturating_neg()));
    }
    // SAFETY: the kernel has just made this descriptor for this answer; each answer is seen once, so it gets one owner.
    let fd = unsafe { OwnedFd::from_raw_fd(result) };
    Socket::adopt(fd)
}
