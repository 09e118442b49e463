//! Boot time in the fewest instructions: the processor's time stamp counter, held against the kernel's clock once a second.
//!
//! A reading costs about a third of a `clock_gettime`. Where the kernel itself does not trust the counter (its clock source
//! is another one), or the processor has none that we know, every reading asks the kernel.

use super::boottime_ns;

/// The counter is first used when it was watched for so long.
const WATCH_NS: u64 = 20_000_000;
/// And is held against the kernel's clock this often.
const ANCHOR_NS: u64 = 1_000_000_000;
/// Tries at an undisturbed pair of readings.
const TRIES: usize = 3;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ticks: u64,
    ns: u64,
}

/// A clock of one thread. Its readings never go back.
#[derive(Debug)]
pub struct Ticker {
    first: Option<Pair>,
    anchor: Pair,
    /// Nanoseconds of a tick, times 2^32; 0: not known yet.
    scale: u64,
    /// Ticks behind the anchor from which the next one is due.
    due: u64,
    last: u64,
}

impl Ticker {
    /// A clock that begins to watch the counter.
    #[must_use]
    pub fn new() -> Self {
        let first = is_trusted().then(pair);
        let anchor = first.unwrap_or(Pair { ticks: 0, ns: 0 });
        Self { first, anchor, scale: 0, due: 0, last: 0 }
    }

    /// Nanoseconds since boot, as [`boottime_ns`].
    pub fn now(&mut self) -> u64 {
        let ticks = ticks().wrapping_sub(self.anchor.ticks);
        let now = if self.scale > 0 && ticks < self.due {
            self.anchor.ns + scaled(ticks, self.scale)
        } else {
            self.look()
        };
        self.last = self.last.max(now);
        self.last
    }

    /// Asks the kernel, and learns the counter's rate from it.
    #[cold]
    fn look(&mut self) -> u64 {
        let Some(first) = self.first else { return boottime_ns() };
        let now = pair();
        let (ns, ticks) = (now.ns.saturating_sub(first.ns), now.ticks.wrapping_sub(first.ticks));
        if ns >= WATCH_NS && ticks > 0 {
            let scale = u64::try_from((u128::from(ns) << 32) / u128::from(ticks)).unwrap_or(0);
            // A counter slower than 1 MHz measures nothing here.
            self.scale = if scale >> 32 < 1000 { scale } else { 0 };
            self.anchor = now;
            let rate = u128::from(ticks) * u128::from(ANCHOR_NS) / u128::from(ns);
            self.due = u64::try_from(rate).unwrap_or(0);
        }
        now.ns
    }
}

impl Default for Ticker {
    fn default() -> Self {
        Self::new()
    }
}

fn scaled(ticks: u64, scale: u64) -> u64 {
    u64::try_from((u128::from(ticks) * u128::from(scale)) >> 32).unwrap_or(u64::MAX)
}

/// Reads both clocks, as near to one another as a few tries bring them: an interruption between the readings would shift
/// everything until the next pair.
fn pair() -> Pair {
    let mut best = (u64::MAX, Pair { ticks: 0, ns: 0 });
    for _ in 0..TRIES {
        let before = ticks();
        let ns = boottime_ns();
        let width = ticks().wrapping_sub(before);
        if width < best.0 {
            best = (width, Pair { ticks: before.wrapping_add(width / 2), ns });
        }
    }
    best.1
}

/// Whether the kernel takes its own time from the counter: then it runs at one rate, on all cores alike.
fn is_trusted() -> bool {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    cfg!(target_arch = "x86_64") && source.is_ok_and(|name| name.trim() == "tsc")
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: reads a register that every x86-64 processor has; where it must not be read, the process was ended long ago.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_lie_between_the_kernels_and_never_go_back() {
        let mut ticker = Ticker::new();
        let begun = boottime_ns();
        let mut last = 0;
        while boottime_ns() < begun + 3 * WATCH_NS {
            let before = boottime_ns();
            let now = ticker.now();
            let after = boottime_ns();
            assert!(now >= last, "went back from {last} to {now}");
            // A wrong rate would be off by far more than what an interrupted pair of readings can shift it.
            assert!(
                now + 1_000_000 >= before && now <= after + 1_000_000,
                "{now} is not between {before} and {after}"
            );
            last = now;
        }
    }
}
