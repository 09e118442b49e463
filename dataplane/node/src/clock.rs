//! The only place of the data plane that reads time.

use midspan_protocol::vocab::effect::Now;
use midspan_uring::clock;

/// Both clocks, now.
pub fn now() -> Now {
    Now { mono: clock::boottime_ns(), wall: clock::realtime_ns() }
}
