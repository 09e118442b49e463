//! Builds the kernel's form of an operation from what the operation owns.

use std::os::fd::{AsFd, AsRawFd};

use io_uring::types::{CancelBuilder, Fd, Fixed, FsyncFlags};
use io_uring::{opcode, squeue};

use super::{Deferred, Ring};
use crate::op::{Op, OpId, Work};
use crate::vector::Vectors;

/// `IORING_RECVSEND_POLL_FIRST`: the socket was empty last time, so wait for data before the first attempt.
const POLL_FIRST: u16 = 1;

/// Sends go out whole (the kernel continues partial ones) and a dead peer is an error, not a signal.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

impl Ring {
    /// The entry for what remains of the operation; `None` if it has ended.
    pub(super) fn entry(&mut self, id: OpId) -> Option<squeue::Entry> {
        let op = self.ops.get(id)?;
        let entry = match &op.work {
            Work::Accept
            | Work::Connect { .. }
            | Work::Recv { .. }
            | Work::Send { .. }
            | Work::SendVectored { .. } => {
                let first = !self.table.activity(op.slot).is_none_or(|activity| activity.nonempty);
                socket_entry(op, &mut self.vectors, first)
            }
            Work::Wake => {
                opcode::Read::new(Fd(self.waker.raw_fd()), self.wake_count.get().cast(), op.total).build()
            }
            Work::Read { .. }
            | Work::Write { .. }
            | Work::WriteVectored { .. }
            | Work::Flush
            | Work::Zero { .. } => file_entry(op, &mut self.vectors),
        };
        Some(entry.user_data(id.user_data()))
    }
}

pub(super) fn file_entry(op: &Op, vectors: &mut Vectors) -> squeue::Entry {
    let (file, done, rest) = (Fixed(op.slot), op.done as usize, op.total - op.done);
    let flags = |durable: bool| if durable { libc::RWF_DSYNC } else { 0 };
    match &op.work {
        Work::Read { buf, offset } => {
            let target = buf.address(buf.filled() + done).as_ptr();
            opcode::ReadFixed::new(file, target, rest, buf.chunk())
                .offset(offset + u64::from(op.done))
                .build()
        }
        Work::Write { buf, start, offset, durable } => {
            let source = buf.address(start + done).as_ptr();
            let write = opcode::WriteFixed::new(file, source, rest, buf.chunk());
            write.offset(offset + u64::from(op.done)).rw_flags(flags(*durable)).build()
        }
        Work::WriteVectored { vector, offset, durable, chunk } => {
            let (iovecs, count) = vectors.get(*vector).remaining();
            let count = u32::try_from(count).unwrap_or(0);
            let (offset, flags) = (offset + u64::from(op.done), flags(*durable));
            match chunk {
                Some(chunk) => opcode::WritevFixed::new(file, iovecs, count, *chunk)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
                None => opcode::Writev::new(file, iovecs, count).offset(offset).rw_flags(flags).build(),
            }
        }
        Work::Flush => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
        Work::Zero { offset, len, unmap } => {
            let how = if *unmap { libc::FALLOC_FL_PUNCH_HOLE } else { libc::FALLOC_FL_ZERO_RANGE };
            opcode::Fallocate::new(file, *len).offset(*offset).mode(how | libc::FALLOC_FL_KEEP_SIZE).build()
        }
        Work::Accept
        | Work::Connect { .. }
        | Work::Recv { .. }
        | Work::Send { .. }
        | Work::SendVectored { .. }
        | Work::Wake => unreachable!("not an operation on a file"),
    }
}

fn socket_entry(op: &Op, vectors: &mut Vectors, poll_first: bool) -> squeue::Entry {
    let (socket, done, rest) = (Fixed(op.slot), op.done as usize, op.total - op.done);
    match &op.work {
        Work::Accept => opcode::AcceptMulti::new(socket).flags(libc::SOCK_CLOEXEC).build(),
        Work::Connect { socket, vector } => {
            let (address, len) = vectors.get(*vector).address();
            opcode::Connect::new(Fd(socket.as_fd().as_raw_fd()), address, len).build()
        }
        Work::Recv { buf, whole } => {
            let target = buf.address(buf.filled() + done).as_ptr();
            let flags = if *whole { libc::MSG_WAITALL } else { 0 };
            let first = if poll_first { POLL_FIRST } else { 0 };
            opcode::Recv::new(socket, target, rest).flags(flags).ioprio(first).build()
        }
        Work::Send { buf, start } => {
            opcode::Send::new(socket, buf.address(start + done).as_ptr(), rest).flags(SEND_FLAGS).build()
        }
        Work::SendVectored { vector } => {
            let flags = u32::try_from(SEND_FLAGS).unwrap_or(0);
            opcode::SendMsg::new(socket, vectors.get(*vector).message()).flags(flags).build()
        }
        Work::Read { .. }
        | Work::Write { .. }
        | Work::WriteVectored { .. }
        | Work::Flush
        | Work::Zero { .. }
        | Work::Wake => unreachable!("not an operation on a socket"),
    }
}

/// Cancels one operation, or all of one descriptor. Its own completion concerns nobody.
pub(super) fn cancellation(what: Deferred) -> squeue::Entry {
    let builder = match what {
        Deferred::Start(id) | Deferred::CancelOp(id) => CancelBuilder::user_data(id.user_data()),
        Deferred::CancelSlot(slot) => CancelBuilder::fd(Fixed(slot)).all(),
    };
    opcode::AsyncCancel2::new(builder).build().user_data(OpId::NOTHING.user_data())
}

/// Cancels all that can be cancelled.
pub(super) fn cancel_everything() -> squeue::Entry {
    opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(OpId::NOTHING.user_data())
}
