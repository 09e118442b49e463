//! One shard's ring: owns descriptors and operations, waits for the kernel, and lets go of nothing the kernel still uses.
//!
//! ```text
//!  read, write, send …   (submit)       next_completion   (complete)
//!        │ checks, takes handles              ▲ gives handles back
//!        ▼                                    │
//!      ops ── entry ──▶ submission queue   completion queue ──▶ short? continue : done
//!                             │  wait()       ▲
//!                             ▼               │
//!                           ═══════ kernel ═══════
//! ```
//!
//! An operation's buffers live in `ops` and `vectors` from acceptance until its completion is handed out. Both outlive
//! the kernel's use: `Drop` cancels and waits, and leaks them if the kernel cannot be asked any more.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, squeue};

use crate::errno::Errno;
use crate::file::File;
use crate::op::{Completion, NONE, Op, OpId, Ops, Work};
use crate::pool::Pool;
use crate::probe::{self, ProbeError};
use crate::socket::{Listener, Socket};
use crate::table::{FileId, ListenerId, Refused, SocketId, Table};
use crate::vector::Vectors;
use crate::wake::Waker;

mod entry;
mod submit;
mod complete;

/// Sizes of a ring, fixed at creation. Everything is allocated then and nothing later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Submission queue entries (a power of two): operations per system call, not in flight.
    pub entries: u32,
    /// Operations in flight or queued behind another send; at most 32767.
    pub operations: u32,
    /// Of these at once: vectored sends and writes, and connects.
    pub vectors: u32,
    /// Files, sockets and listeners together.
    pub descriptors: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { entries: 256, operations: 4096, vectors: 1024, descriptors: 1024 }
    }
}

/// What waits for room in the submission queue.
#[derive(Clone, Copy)]
enum Deferred {
    Start(OpId),
    CancelOp(OpId),
    CancelSlot(u32),
}

/// One shard's ring. Made and used on one pinned thread (`!Send`).
///
/// ```compile_fail
/// fn sendable<T: Send>() {}
/// sendable::<midspan_uring::Ring>();
/// ```
pub struct Ring {
    io: IoUring,
    ops: Ops,
    vectors: Vectors,
    table: Table,
    /// Completions that came about without the kernel.
    ready: VecDeque<Completion>,
    deferred: VecDeque<Deferred>,
    /// Entries given to the submission queue whose last completion has not been seen.
    submitted: usize,
    /// `Drop` has begun: nothing is continued or started.
    draining: bool,
    /// Where the waker's eventfd is read to.
    wake_count: Box<UnsafeCell<u64>>,
    waker: Waker,
    pool: Pool,
    vectored_fixed: bool,
}

impl Ring {
    /// Makes the ring on the calling thread and registers the pool's memory with the kernel.
    ///
    /// # Errors
    /// One sentence with what is missing and what to do.
    pub fn new(config: Config, pool: &Pool) -> Result<Ring, ProbeError> {
        // One more for the wake-up; room for every operation's completion and for bursts of accepted connections.
        let operations = config.operations.clamp(1, 32767) + 1;
        let io = probe::make_ring(config.entries.max(1), operations.next_power_of_two() * 2)?;
        let vectored_fixed = probe::capabilities(&io)?.vectored_fixed;
        let submitter = io.submitter();
        let sparse = submitter.register_files_sparse(config.descriptors.max(1));
        sparse.map_err(|error| probe::explain(error.into(), "sparse file tables"))?;
        // SAFETY: the chunks are the pool's own mapping. It is unmapped only when the last `Rc` on it is gone; this ring
        // holds one until its kernel side has been drained (`Drop`), and leaks it if that is impossible.
        let registered = unsafe { submitter.register_buffers(&pool.chunks()) };
        registered.map_err(|error| probe::explain(error.into(), "registered buffers"))?;
        let mut ring = Ring {
            io,
            ops: Ops::new(operations),
            vectors: Vectors::new(config.vectors.max(1)),
            table: Table::new(config.descriptors.max(1)),
            ready: VecDeque::with_capacity(operations as usize + config.descriptors as usize),
            deferred: VecDeque::with_capacity(2 * operations as usize + config.descriptors as usize),
            submitted: 0,
            draining: false,
            wake_count: Box::new(UnsafeCell::new(0)),
            waker: Waker::new().map_err(ProbeError::Other)?,
            pool: pool.clone(),
            vectored_fixed,
        };
        let wake = ring.ops.insert(Op::new(0, NONE, 8, Work::Wake));
        ring.start(wake.unwrap_or(OpId::NOTHING));
        Ok(ring)
    }

    /// The pool whose buffers this ring takes.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Wakes this ring's [`Ring::wait`] from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Operations that can still be accepted. Vectored ones may find no free vector before that.
    #[must_use]
    pub fn room(&self) -> usize {
        self.ops.room()
    }

    /// Operations accepted and not yet handed out as completions, without closes.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ops.in_use() - 1
    }

    /// Lets the kernel's workers of this ring, which do what would block (flushes, zeroing), run on `cores`. By default
    /// they share the core of the thread that made the ring.
    ///
    /// # Errors
    /// `INVALID` if `cores` names no core a mask can hold.
    pub fn set_worker_cores(&mut self, cores: &[usize]) -> Result<(), Errno> {
        let set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: all-zero bytes are a valid, empty cpu_set_t (an array of integers).
        let mut set = unsafe { set.assume_init() };
        let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
        let mut usable = cores.iter().filter(|&&core| core < limit).peekable();
        usable.peek().ok_or(Errno::INVALID)?;
        for &core in usable {
            // SAFETY: `core` is below CPU_SETSIZE, so the bit lies within the set.
            unsafe { libc::CPU_SET(core, &mut set) };
        }
        Ok(self.io.submitter().register_iowq_aff(&set)?)
    }

    /// Takes a file over.
    ///
    /// # Errors
    /// `Full`, or `Kernel`; the file is closed then.
    pub fn add_file(&mut self, file: File) -> Result<FileId, Refused> {
        self.register(&file)?;
        Ok(self.table.add_file(file))
    }

    /// The file behind the id.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&File> {
        self.table.file(id)
    }

    /// Gives a file back when nothing is in flight on it.
    ///
    /// # Errors
    /// `Busy` or `Unknown`.
    pub fn remove_file(&mut self, id: FileId) -> Result<File, Refused> {
        self.table.file(id).ok_or(Refused::Unknown)?;
        self.unregister_idle(id.0.slot)?;
        self.table.take_file(id.0.slot).ok_or(Refused::Unknown)
    }

    /// Takes a socket over.
    ///
    /// # Errors
    /// `Full`, or `Kernel`; the socket is closed then.
    pub fn add_socket(&mut self, socket: Socket) -> Result<SocketId, Refused> {
        self.register(&socket)?;
        Ok(self.table.add_socket(socket))
    }

    /// The socket behind the id: for options, the peer's address, shutdown.
    #[must_use]
    pub fn socket(&self, id: SocketId) -> Option<&Socket> {
        self.table.socket(id)
    }

    /// Gives a socket back when nothing is in flight on it, for example to hand it to another core.
    ///
    /// # Errors
    /// `Busy` or `Unknown`.
    pub fn remove_socket(&mut self, id: SocketId) -> Result<Socket, Refused> {
        self.table.socket(id).ok_or(Refused::Unknown)?;
        self.unregister_idle(id.0.slot)?;
        self.table.take_socket(id.0.slot).ok_or(Refused::Unknown)
    }

    /// Takes a listener over.
    ///
    /// # Errors
    /// `Full`, or `Kernel`; the listener is closed then.
    pub fn add_listener(&mut self, listener: Listener) -> Result<ListenerId, Refused> {
        self.register(&listener)?;
        Ok(self.table.add_listener(listener))
    }

    /// The listener behind the id.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.table.listener(id)
    }

    /// Puts the descriptor into the slot that the table fills next.
    fn register(&mut self, target: &impl AsFd) -> Result<(), Refused> {
        let slot = self.table.next_free().ok_or(Refused::Full)?;
        let update = self.io.submitter().register_files_update(slot, &[target.as_fd().as_raw_fd()]);
        update.map(drop).map_err(|error| Refused::Kernel(error.into()))
    }

    /// Takes a descriptor out of the kernel's table.
    fn unregister(&mut self, slot: u32) -> Result<(), Refused> {
        let update = self.io.submitter().register_files_update(slot, &[-1]);
        update.map(drop).map_err(|error| Refused::Kernel(error.into()))
    }

    fn unregister_idle(&mut self, slot: u32) -> Result<(), Refused> {
        let activity = self.table.activity(slot).ok_or(Refused::Unknown)?;
        if activity.in_flight > 0 || activity.closing.is_some() {
            return Err(Refused::Busy);
        }
        self.unregister(slot)
    }

    /// Submits what is queued. With `min` 0 it never sleeps, and makes no system call if nothing is queued or pending (busy
    /// polling). Otherwise it sleeps until a completion is there, `timeout` has passed or a waker wakes (a wake-up must end
    /// every sleep, so a `min` above 1 counts as 1). Drain the shard's queues after every return.
    ///
    /// # Errors
    /// Only for a broken ring: the shard cannot go on.
    pub fn wait(&mut self, min: usize, timeout: Option<Duration>) -> Result<(), Errno> {
        self.retry_deferred();
        let nothing_there = self.ready.is_empty() && self.io.completion().is_empty();
        let asleep = min > 0 && nothing_there && self.waker.sleep();
        let entered = self.enter(usize::from(asleep), timeout);
        if asleep {
            self.waker.awake();
        }
        entered
    }

    /// One call into the kernel, if there is any reason for it.
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> Result<(), Errno> {
        let queue = self.io.submission();
        let idle = want == 0 && queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
        drop(queue);
        if idle {
            return Ok(());
        }
        let submitter = self.io.submitter();
        let entered = match timeout.filter(|_| want > 0) {
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&timeout))
            }
            None => submitter.submit_and_wait(want),
        };
        match entered.map_err(Errno::from) {
            Ok(_) => Ok(()),
            // Timed out, interrupted, or the kernel wants completions reaped first: the caller does so and comes again.
            Err(errno) if [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN].contains(&errno.raw()) => {
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// Queues one entry; false if there is no room even after a flush.
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        if self.io.submission().is_full() && self.enter(0, None).is_err() {
            return false;
        }
        // SAFETY: every address in `entry` was made by `entry` from a buffer or vector that the operation owns in `ops`
        // and `vectors`, or is `wake_count`. They stay there until the operation's last completion has been seen
        // (`complete`), or for good if it never is (`Drop`).
        unsafe { self.io.submission().push(entry) }.is_ok()
    }

    /// Hands an accepted operation to the kernel, now or as soon as there is room.
    fn start(&mut self, id: OpId) {
        if !self.deferred.is_empty() || !self.try_start(id) {
            self.deferred.push_back(Deferred::Start(id));
        }
    }

    fn try_start(&mut self, id: OpId) -> bool {
        let Some(entry) = self.entry(id) else { return true };
        let pushed = self.push(&entry);
        self.submitted += usize::from(pushed);
        pushed
    }

    /// Asks the kernel to cancel, now or as soon as there is room; after all that was queued before.
    fn request_cancel(&mut self, what: Deferred) {
        if !self.deferred.is_empty() || !self.push(&entry::cancellation(what)) {
            self.deferred.push_back(what);
        }
    }

    fn retry_deferred(&mut self) {
        while let Some(&next) = self.deferred.front() {
            let done = match next {
                Deferred::Start(id) => self.try_start(id),
                Deferred::CancelOp(_) | Deferred::CancelSlot(_) => self.push(&entry::cancellation(next)),
            };
            if !done {
                return;
            }
            self.deferred.pop_front();
        }
    }

    /// Ends everything: true when the kernel uses nothing of ours any more.
    fn drain(&mut self) -> bool {
        self.draining = true;
        while let Some(next) = self.deferred.pop_front() {
            if let Deferred::Start(id) = next {
                drop(self.retire(id, Err(Errno::CANCELED)));
            }
        }
        // Again and again: cancelling can come between two attempts of an operation, or find a worker in mid-write.
        let pause = Duration::from_millis(100);
        while self.submitted > 0 {
            let _ = self.push(&entry::cancel_everything());
            if self.enter(1, Some(pause)).is_err() {
                return false;
            }
            while self.next_completion().is_some() {}
        }
        // The kernel takes the ring itself apart later, in the background. Files and memory are let go of now, so that
        // whoever opens the same files next does not find them in use.
        let submitter = self.io.submitter();
        submitter.unregister_files().is_ok() && submitter.unregister_buffers().is_ok()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.drain() {
            // The kernel cannot be asked: its writes may still come, so the memory stays for good.
            std::mem::forget(std::mem::replace(&mut self.ops, Ops::new(0)));
            std::mem::forget(std::mem::replace(&mut self.vectors, Vectors::new(0)));
            std::mem::forget(std::mem::take(&mut self.wake_count));
            std::mem::forget(self.pool.clone());
        }
    }
}

#[cfg(test)]
mod tests;
