//! One figure in two runs: whether it changed beyond noise, and whether for the better.

use serde::Serialize;

use crate::figures::Spread;

/// What a figure did from the first run to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Its ranges overlap, or the medians are closer than the threshold.
    Same,
    /// It changed for the better.
    Better,
    /// It changed for the worse.
    Worse,
    /// It changed; which way is good is not known.
    Different,
}

/// A figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its place in the JSON.
    pub name: String,
    /// In the first run.
    pub a: Spread,
    /// In the second.
    pub b: Spread,
    /// From median to median; `None` where the first is nothing.
    pub change_percent: Option<f64>,
    /// What that means.
    pub change: Change,
}

/// Whether less of a figure is better, by words in its name; the first that is found decides.
const DIRECTIONS: [(&str, bool); 15] = [
    // Ratios, whose names tell what is divided.
    ("iops_vs", false),
    ("mbps_vs", false),
    ("bytes_vs", true),
    ("p50", true),
    ("p99", true),
    ("cpu_us", true),
    ("switches", true),
    ("syscalls", true),
    ("iops", false),
    ("mbps", false),
    ("_vs_", false),
    ("behind", true),
    ("caught_up", true),
    ("idle_percent", true),
    ("_ms", true),
];

/// Whether less is better; `None`: unknown.
pub fn is_low_good(name: &str) -> Option<bool> {
    DIRECTIONS.iter().find(|(word, _)| name.contains(word)).map(|(_, is_low_good)| *is_low_good)
}

impl Difference {
    /// Judges: a change must part the ranges and move the median by more than the threshold.
    pub fn of(name: &str, a: Spread, b: Spread, threshold_percent: f64) -> Self {
        let change_percent = (a.median != 0.0).then(|| 100.0 * (b.median / a.median - 1.0));
        let is_apart = a.max < b.min || b.max < a.min;
        let is_large = change_percent.is_none_or(|percent| percent.abs() > threshold_percent);
        let change = match is_low_good(name) {
            _ if !(is_apart && is_large) => Change::Same,
            None => Change::Different,
            Some(is_low_good) if is_low_good == (b.median < a.median) => Change::Better,
            Some(_) => Change::Worse,
        };
        Self { name: name.to_owned(), a, b, change_percent, change }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn spread(median: f64, min: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    fn change(name: &str, a: Spread, b: Spread) -> Change {
        Difference::of(name, a, b, 5.0).change
    }

    #[test]
    fn overlapping_ranges_are_noise_however_far_the_medians_are_apart() {
        let (a, b) = (spread(100.0, 90.0, 200.0), spread(190.0, 180.0, 200.0));
        assert_eq!(change("path.x.iops", a, b), Change::Same);
    }

    #[test]
    fn ranges_apart_by_less_than_the_threshold_are_noise() {
        assert_eq!(
            change("path.x.iops", spread(100.0, 99.0, 101.0), spread(104.0, 103.0, 105.0)),
            Change::Same
        );
        let (a, b) = (spread(100.0, 99.0, 101.0), spread(106.0, 105.0, 107.0));
        assert_eq!(change("path.x.iops", a, b), Change::Better);
    }

    #[test]
    fn the_name_tells_which_way_is_good() {
        let (a, b) = (spread(10.0, 9.0, 11.0), spread(20.0, 19.0, 21.0));
        for (name, expected) in [
            ("path.randwrite_4k_qd1.p50_us", Change::Worse),
            ("path.randwrite_4k_qd1.iops", Change::Better),
            ("loads.x.midspan.cpu_us.primary", Change::Worse),
            ("ratio_ranges.randwrite_4k_qd32_vs_quorum", Change::Better),
            ("ratio_ranges.randwrite_4k_qd1_p50_vs_quorum", Change::Worse),
            ("ratio_ranges.cpu_us_qd32_vs_quorum", Change::Worse),
            ("ratio_ranges.answer_qd1_p50_vs_floor", Change::Worse),
            ("ratio_ranges.qd32_iops_vs_floor", Change::Better),
            ("ratio_ranges.round_bytes_vs_dirty", Change::Worse),
            ("ratio_ranges.round_rate_vs_slower", Change::Better),
            ("ratio_ranges.host_p50_beside_round_vs_alone", Change::Worse),
            ("something.else", Change::Different),
        ] {
            assert_eq!(change(name, a, b), expected, "{name}");
        }
        assert_eq!(change("path.randwrite_4k_qd1.p50_us", b, a), Change::Better);
    }

    #[test]
    fn something_where_there_was_nothing_is_a_change() {
        let found = Difference::of("path.x.behind_bytes", spread(0.0, 0.0, 0.0), spread(5.0, 4.0, 6.0), 5.0);
        assert_eq!((found.change_percent, found.change), (None, Change::Worse));
    }
}
