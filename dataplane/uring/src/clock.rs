//! The kernel's clocks as nanoseconds. Callers pass `now` on as a parameter; nothing else here reads a clock or sleeps.

use std::time::Duration;

mod ticker;

pub use ticker::Ticker;

/// How long the end of a killed process is waited for, nanoseconds.
const PATIENCE_NS: u64 = 2_000_000_000;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Nanoseconds since boot, counting suspended time (`CLOCK_BOOTTIME`). Never goes back. For leases and timeouts.
#[must_use]
pub fn boottime_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Nanoseconds since 1970 (`CLOCK_REALTIME`). Can jump either way. For times that humans and other nodes see.
#[must_use]
pub fn realtime_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// Sleeps, where the kernel offers no event to wait for. Never on a shard that serves.
#[expect(clippy::disallowed_methods, reason = "the one place; its caller says why there is no event")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Tries for two seconds what the remains of a killed process may still keep from us: the kernel takes the rings of such a
/// process apart some milliseconds after its end, and until then uses their files and listens at their sockets.
pub(crate) fn patiently<T, E>(
    is_in_use: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let give_up = boottime_ns().saturating_add(PATIENCE_NS);
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && boottime_ns() < give_up => pause(PAUSE),
            tried => return tried,
        }
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable timespec of this frame; the kernel keeps no reference after the call.
    let answer = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert!(answer == 0, "the kernel lacks a clock that every supported release has");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_does_not_go_back_and_wall_time_is_after_2020() {
        let first = boottime_ns();
        assert!(boottime_ns() >= first);
        assert!(realtime_ns() > 1_577_836_800 * 1_000_000_000);
    }
}
