//! The only place of the control plane that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Time since boot and wall time, nanoseconds, as the data plane reads them.
pub fn boot_and_wall_ns() -> (u64, u64) {
    let now = midspan_node::clock::now();
    (now.mono, now.wall)
}

/// Wall time, nanoseconds since 1970; 0 when the clock stands before that.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
