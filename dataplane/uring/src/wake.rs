//! Wakes a sleeping shard from other threads, and a task of another runtime from a shard, through eventfds.
//!
//! The order of every use is: *publish* (push to a queue), then [`Waker::wake`]; and on the other side: *drain*, then
//! sleep. `flag` explains why no wake-up between the two is lost; a loom model checks it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::errno::{Errno, check};

/// What the loom model replaces.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

mod flag;

use flag::Flag;

/// An eventfd and the flag that spares most writes to it.
struct Event {
    fd: OwnedFd,
    flag: Flag,
}

impl Event {
    fn new(flags: libc::c_int) -> Result<Event, Errno> {
        // SAFETY: a call on numbers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | flags) })?;
        // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
        Ok(Event { fd: unsafe { OwnedFd::from_raw_fd(fd) }, flag: Flag::new() })
    }

    /// Adds one to the counter. It cannot overflow: at most one write goes with one sleep.
    fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: pointer and length describe the live array `one`; the descriptor is open as long as `self` lives.
        let written = unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        debug_assert!(written == 8, "an eventfd takes eight bytes");
    }
}

/// Wakes the shard whose ring it came from. Cheap while the shard is awake: one atomic swap, no system call.
#[derive(Clone)]
pub struct Waker {
    event: Arc<Event>,
}

impl Waker {
    pub(crate) fn new() -> Result<Waker, Errno> {
        // Blocking mode: the ring's read of the eventfd shall wait.
        Ok(Waker { event: Arc::new(Event::new(0)?) })
    }

    /// Makes the shard's present or next [`crate::Ring::wait`] return. Call it after publishing.
    pub fn wake(&self) {
        if self.event.flag.raise() {
            self.event.ring();
        }
    }

    /// The shard announces that it is about to sleep. False: it has been woken since it last drained; do not sleep.
    pub(crate) fn sleep(&self) -> bool {
        self.event.flag.sleep()
    }

    /// The shard is awake and will drain its queues.
    pub(crate) fn awake(&self) {
        self.event.flag.awake();
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.event.fd.as_raw_fd()
    }
}

/// Makes the other half's descriptor readable: from a shard to a task of another runtime. Coalesced like [`Waker`].
#[derive(Clone)]
pub struct Signal {
    event: Arc<Event>,
}

/// The waiting half of a [`Signal`]: wrap it in the runtime's readiness type (tokio: `AsyncFd`), await readability,
/// call [`SignalReceiver::clear`], then drain the queue.
pub struct SignalReceiver {
    event: Arc<Event>,
}

/// A new signal and its receiver.
///
/// # Errors
/// If the process has no descriptors left.
pub fn signal() -> Result<(Signal, SignalReceiver), Errno> {
    let event = Arc::new(Event::new(libc::EFD_NONBLOCK)?);
    // The receiver counts as asleep except between `clear` and its next wait.
    let asleep = event.flag.sleep();
    debug_assert!(asleep, "a new flag is not raised");
    Ok((Signal { event: Arc::clone(&event) }, SignalReceiver { event }))
}

impl Signal {
    /// Makes the receiver readable. Call it after publishing.
    pub fn notify(&self) {
        if self.event.flag.raise() {
            self.event.ring();
        }
    }
}

impl SignalReceiver {
    /// Makes the descriptor unreadable again. Drain the queue *after* this call.
    pub fn clear(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: pointer and length describe the live array `count`; the descriptor is non-blocking and open.
        let _ = unsafe { libc::read(self.event.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        self.event.flag.rearm();
    }
}

impl AsFd for SignalReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.fd.as_fd()
    }
}

impl AsRawFd for SignalReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.event.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
