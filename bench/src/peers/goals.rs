//! What the comparison is to show, and by how much it does or does not.

use serde::Serialize;

use super::ratios::PeerRatio;
use crate::figures::digits;

/// A goal for one ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Goal {
    ratio: &'static str,
    what: &'static str,
    /// On files.
    on_files: f64,
    /// On disks in memory.
    in_memory: f64,
}

/// The goals that this suite can judge. For those over the floor, see `quick`.
const GOALS: [Goal; 7] = [
    Goal {
        ratio: "randwrite_4k_qd32_vs_quorum",
        what: "4 KiB random write, depth 32, over the mirror",
        on_files: 4.0,
        in_memory: 4.0,
    },
    Goal {
        ratio: "randwrite_4k_qd32_attached_vs_quorum",
        what: "the same, secondary following",
        on_files: 2.5,
        in_memory: 2.5,
    },
    Goal {
        ratio: "randwrite_4k_qd32_vs_qemu_nbd",
        what: "the same over unreplicated qemu-nbd",
        on_files: 1.5,
        in_memory: 2.0,
    },
    Goal {
        ratio: "write_128k_qd8_vs_quorum",
        what: "128 KiB sequential, depth 8, over the mirror",
        on_files: 2.2,
        in_memory: 2.3,
    },
    Goal {
        ratio: "fsync_4k_vs_quorum",
        what: "write, then FLUSH, depth 1, over the mirror",
        on_files: 2.0,
        in_memory: 2.0,
    },
    Goal {
        ratio: "fsync_4k_qd16_vs_quorum",
        what: "write, then FLUSH, depth 16, over the mirror",
        on_files: 4.0,
        in_memory: 4.0,
    },
    Goal {
        ratio: "cpu_us_qd32_vs_quorum",
        what: "CPU time a write, primary and relay over the mirror's two processes",
        on_files: 0.3,
        in_memory: 0.3,
    },
];

/// A goal and what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Name of the ratio.
    pub ratio: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What is wanted.
    pub goal: f64,
    /// Whether less is better.
    pub is_low_good: bool,
    /// The median found; `None` where it was not measured.
    pub found: Option<f64>,
    /// Whether the goal is reached.
    pub reached: Option<bool>,
}

/// All goals against what was found.
pub fn judge(ratios: &[PeerRatio], in_memory: bool) -> Vec<Verdict> {
    let judged = GOALS.iter().map(|goal| {
        let wanted = if in_memory { goal.in_memory } else { goal.on_files };
        let is_low_good = goal.ratio.starts_with("cpu_");
        let found = ratios.iter().find(|ratio| ratio.name == goal.ratio).map(|ratio| ratio.spread.median);
        let reached = found.map(|found| if is_low_good { found <= wanted } else { found >= wanted });
        Verdict { ratio: goal.ratio, what: goal.what, goal: wanted, is_low_good, found, reached }
    });
    judged.collect()
}

impl Verdict {
    /// The goal, `≥ 4` or `≤ 0.3`.
    pub fn goal_text(&self) -> String {
        format!("{} {}", if self.is_low_good { "≤" } else { "≥" }, self.goal)
    }

    /// In words, with the distance.
    pub fn text(&self) -> String {
        match (self.found, self.reached) {
            (Some(found), Some(reached)) => {
                let distance = digits(100.0 * (found / self.goal - 1.0).abs());
                let side = if found < self.goal { "below" } else { "above" };
                format!("{}, {distance} % {side}", if reached { "reached" } else { "NOT reached" })
            }
            (None, _) | (_, None) => "not measured".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Spread;

    fn ratio(name: &str, median: f64) -> PeerRatio {
        let spread = Spread { median, min: median, max: median };
        PeerRatio { name: name.to_owned(), is_low_good: name.starts_with("cpu_"), spread }
    }

    fn verdict(ratios: &[PeerRatio], in_memory: bool, name: &str) -> Verdict {
        judge(ratios, in_memory).into_iter().find(|verdict| verdict.ratio == name).unwrap()
    }

    #[test]
    fn a_goal_says_by_how_much_it_is_reached_or_not() {
        let ratios = [ratio("randwrite_4k_qd32_vs_qemu_nbd", 1.8), ratio("cpu_us_qd32_vs_quorum", 0.33)];
        let on_files = verdict(&ratios, false, "randwrite_4k_qd32_vs_qemu_nbd");
        assert_eq!((on_files.reached, on_files.text().as_str()), (Some(true), "reached, 20.0 % above"));
        let in_memory = verdict(&ratios, true, "randwrite_4k_qd32_vs_qemu_nbd");
        assert_eq!(in_memory.text(), "NOT reached, 10.0 % below");
        let cpu = verdict(&ratios, false, "cpu_us_qd32_vs_quorum");
        assert_eq!((cpu.reached, cpu.text().as_str()), (Some(false), "NOT reached, 10.0 % above"));
        assert_eq!(cpu.goal_text(), "≤ 0.3");
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_not() {
        let none = verdict(&[], false, "fsync_4k_vs_quorum");
        assert_eq!((none.reached, none.text().as_str()), (None, "not measured"));
    }
}
