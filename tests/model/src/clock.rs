//! How long a run took, for people.

use std::time::{Duration, Instant};

/// The time that `work` takes, with what it gives.
#[expect(clippy::disallowed_methods, reason = "this file is where time is read")]
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let given = work();
    (given, began.elapsed())
}
