//! The only place of the simulator's command that reads a clock: its runs have a time of their own.

use std::time::{Duration, Instant};

/// Real time since it was made.
pub struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
