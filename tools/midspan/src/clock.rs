//! The only place of this crate that reads a clock, and the signal that replaces sleeping.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A monotonic clock that counts nanoseconds from a chosen first value.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    first_ns: u64,
}

impl Clock {
    /// A clock that now shows `first_ns`.
    #[expect(clippy::disallowed_methods, reason = "this is where the crate reads the clock")]
    pub fn starting_at(first_ns: u64) -> Self {
        Self { origin: Instant::now(), first_ns }
    }

    /// Nanoseconds: the first value plus the time since then. Never decreases.
    pub fn now_ns(&self) -> u64 {
        let elapsed = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.first_ns.saturating_add(elapsed)
    }

    /// Time since the clock was made.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A flag that is raised once, and that threads can wait for instead of sleeping.
#[derive(Debug, Default)]
pub struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Raises the signal and wakes all who wait.
    pub fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is raised, at most for `limit`; says whether it was raised.
    pub fn wait(&self, limit: Duration) -> bool {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(raised, limit, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
