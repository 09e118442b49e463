//! What the kernel counts about processes and cores: CPU time, context switches, time used by others.

use std::fs;

/// Clock ticks a second in `/proc`: the same on every architecture that Linux still runs on.
const TICKS: u64 = 100;
/// Microseconds of a tick.
const TICK_US: u64 = 1_000_000 / TICKS;

/// What one process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time, kernel workers of its rings included; in steps of 10 ms.
    pub cpu_us: u64,
    /// Times that one of its threads left a core, willingly or not.
    pub switches: u64,
}

impl Usage {
    /// Of a process now; `None` when it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut switches = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            // A thread that has ended meanwhile counts no more.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            switches += switches_of(&status);
        }
        Some(Self { cpu_us: cpu_us_of(&stat)?, switches })
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu_us: self.cpu_us.saturating_sub(earlier.cpu_us),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// User and system time from a `stat` file. The name in parentheses may itself hold blanks and parentheses.
fn cpu_us_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_US)
}

/// Context switches from a thread's `status` file.
fn switches_of(status: &str) -> u64 {
    let counted = status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
    counted.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

/// What all cores together have done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// Time spent on anything, by anybody, microseconds.
    pub busy_us: u64,
    /// Time that the hypervisor gave to others while there was something to do, microseconds.
    pub stolen_us: u64,
}

impl Cores {
    /// Now; nothing where the kernel does not tell.
    pub fn now() -> Self {
        Self::from_stat(&fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or_default()
    }

    fn from_stat(stat: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = *ticks.as_slice() else {
            return None;
        };
        Some(Self { busy_us: (user + nice + system + irq + softirq) * TICK_US, stolen_us: steal * TICK_US })
    }
}

/// Who else was there during a stretch of measuring, in cores' worth of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Used by others, the kernel's own threads among them.
    pub others: f64,
    /// Kept back by the hypervisor.
    pub stolen: f64,
}

impl Noise {
    /// From what all cores did and what we ourselves used of it.
    pub fn of(before: Cores, after: Cores, ours_us: u64, wall_ns: u64) -> Self {
        let wall_us = wall_ns.max(1) as f64 / 1e3;
        let busy_us = after.busy_us.saturating_sub(before.busy_us);
        Self {
            others: busy_us.saturating_sub(ours_us) as f64 / wall_us,
            stolen: after.stolen_us.saturating_sub(before.stolen_us) as f64 / wall_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_what_was_used_and_not_by_us() {
        let before = Cores { busy_us: 1_000, stolen_us: 0 };
        let after = Cores { busy_us: 1_501_000, stolen_us: 100_000 };
        assert_eq!(Noise::of(before, after, 500_000, 1_000_000_000), Noise { others: 1.0, stolen: 0.1 });
        // Ticks are coarse: what we used may exceed what was counted.
        assert_eq!(Noise::of(before, before, 10_000, 1_000_000_000), Noise::default());
    }

    #[test]
    fn time_is_found_behind_a_name_with_parentheses() {
        let stat = "42 (a) b) (c) S 1 2 3 4 -1 5 6 7 8 9 150 25 0 0 20 0 1 0 99";
        assert_eq!(cpu_us_of(stat), Some(1_750_000));
        assert_eq!(cpu_us_of("42"), None);
    }

    #[test]
    fn both_kinds_of_switches_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(switches_of(status), 15);
    }

    #[test]
    fn idle_time_is_not_busy_and_stolen_time_is_apart() {
        let stat = "cpu  10 1 5 1000 7 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(Cores::from_stat(stat), Some(Cores { busy_us: 210_000, stolen_us: 40_000 }));
        assert_eq!(Cores::from_stat("intr 5"), None);
    }

    #[test]
    fn this_process_has_used_something_and_a_missing_one_nothing() {
        let mut work = 0_u64;
        for number in 0..20_000_000_u64 {
            work = std::hint::black_box(work ^ number);
        }
        let own = Usage::of(std::process::id()).unwrap();
        assert!(own.cpu_us > 0 || own.switches > 0);
        assert_eq!(Usage::of(u32::MAX), None);
        assert_eq!(own.since(own), Usage::default());
    }
}
