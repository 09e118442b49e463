//! The arithmetic of figures: latencies in a histogram, repeats as median and range, ratios.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies from 1 ns to a minute, to three digits; longer ones count as a minute.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

/// The longest latency told apart, nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never with these bounds; the histogram's own refusal otherwise.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_NS, 3)?))
    }

    /// Adds one.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// Adds so many of one length.
    pub fn record_many(&mut self, latency_ns: u64, count: u64) {
        self.0.saturating_record_n(latency_ns, count);
    }

    /// How many were added.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this part (0.5: half) of all do not exceed, microseconds; `None` without any.
    pub fn at_us(&self, part: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| in_us(self.0.value_at_quantile(part)))
    }
}

impl Latencies {
    /// All of these together.
    ///
    /// # Errors
    /// Never with these bounds.
    pub fn merged<'a>(all: impl IntoIterator<Item = &'a Self>) -> anyhow::Result<Self> {
        let mut sum = Self::new()?;
        for latencies in all {
            sum.0.add(&latencies.0)?;
        }
        Ok(sum)
    }

    /// About forty points of the distribution, percentile and microseconds, denser towards the last: 0, 20.6, … 90, … 99, …
    /// 99.9, … 99.99. Those beyond what so many latencies can tell are left out.
    pub fn percentiles(&self) -> Vec<[f64; 2]> {
        let points = (0..=PERCENTILE_POINTS).map(|point| 1.0 - 10_f64.powf(-0.1 * f64::from(point)));
        let told = points.filter(|part| *part < 0.5 || (1.0 - part) * self.count() as f64 >= 0.999);
        told.filter_map(|part| Some([round(part * 100.0, 1e4), round(self.at_us(part)?, 1e3)])).collect()
    }

    /// The histogram itself, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// Points of a distribution after the first: ten for each nine.
const PERCENTILE_POINTS: u8 = 40;

/// To one part in `parts`, so that files hold no digits without meaning.
pub fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Latencies in a fiftieth of the memory, to two digits: for parts of a window.
#[derive(Debug)]
pub struct Coarse(Histogram<u32>);

impl Coarse {
    /// None yet.
    ///
    /// # Errors
    /// See [`Latencies::new`].
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_NS, 2)?))
    }

    /// Adds one.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// How many were added.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The histogram itself, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u32> {
        &self.0
    }
}

/// Nanoseconds as microseconds.
pub fn in_us(time_ns: u64) -> f64 {
    time_ns as f64 / 1000.0
}

/// `numerator / denominator` where that is a number.
pub fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    let ratio = numerator / denominator;
    ratio.is_finite().then_some(ratio)
}

/// One figure over all repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of the repeats' values; `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// The spread of what `take` finds in each repeat; repeats without it do not count.
    pub fn over<T>(repeats: &[T], take: impl FnMut(&T) -> Option<f64>) -> Option<Self> {
        Self::of(repeats.iter().filter_map(take))
    }

    /// In another unit: all of it times `factor`.
    pub fn scaled(self, factor: f64) -> Self {
        Self { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }

    /// `median [min..max]`, each with three digits; of a single repeat only the figure.
    pub fn text(&self) -> String {
        if self.min.total_cmp(&self.max).is_eq() {
            return digits(self.median);
        }
        format!("{} [{}..{}]", digits(self.median), digits(self.min), digits(self.max))
    }
}

/// A figure with three significant digits, and no more than it needs of them behind the point.
pub fn digits(value: f64) -> String {
    let behind = match value.abs() {
        magnitude if magnitude >= 99.95 => 0,
        magnitude if magnitude >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.behind$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_latencies() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.at_us(0.5), None);
        for us in 1..=1000 {
            latencies.record(us * 1000);
        }
        for (part, exact) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = latencies.at_us(part).unwrap();
            assert!((found - exact).abs() <= exact / 500.0, "{part}: {found} instead of {exact}");
        }
        assert_eq!(latencies.count(), 1000);
    }

    #[test]
    fn points_of_a_distribution_rise_and_end_where_the_latencies_do() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.percentiles(), Vec::<[f64; 2]>::new());
        (1..=1000).for_each(|us| latencies.record(us * 1000));
        let points = latencies.percentiles();
        assert!(points.is_sorted_by(|a, b| a[0] < b[0] && a[1] <= b[1]), "{points:?}");
        assert_eq!(points.first().unwrap()[0], 0.0);
        // A thousand latencies tell one in a thousand, and no less.
        assert_eq!(points.last().unwrap()[0], 99.9);
        let at_90 = points.iter().find(|point| point[0] == 90.0).unwrap()[1];
        assert!((at_90 - 900.0).abs() < 2.0, "{at_90}");
    }

    #[test]
    fn merged_latencies_are_those_of_all() {
        let mut one = Latencies::new().unwrap();
        let mut other = Latencies::new().unwrap();
        one.record(1000);
        other.record(3000);
        other.record(3000);
        let all = Latencies::merged([&one, &other]).unwrap();
        assert_eq!(all.count(), 3);
        assert!((all.at_us(0.9).unwrap() - 3.0).abs() < 0.01);
    }

    #[test]
    fn one_outlier_in_a_thousand_shows_at_the_last_percentile_only() {
        let mut latencies = Latencies::new().unwrap();
        for _ in 0..998 {
            latencies.record(100_000);
        }
        latencies.record(5_000_000);
        latencies.record(5_000_000);
        assert!(latencies.at_us(0.99).unwrap() < 101.0);
        assert!(latencies.at_us(0.999).unwrap() > 4990.0);
    }

    #[test]
    fn a_latency_beyond_the_bounds_counts_as_the_longest() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(u64::MAX);
        assert_eq!(latencies.count(), 1);
        assert!(latencies.at_us(0.5).unwrap() >= in_us(LONGEST_NS));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([9.0, 1.0, 4.0]), Some(Spread { median: 4.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of([8.0, 1.0, 2.0, 4.0]), Some(Spread { median: 3.0, min: 1.0, max: 8.0 }));
    }

    #[test]
    fn a_range_is_shown_where_there_is_one() {
        assert_eq!(Spread::of([7.0]).unwrap().text(), "7.00");
        assert_eq!(Spread::of([1.0, 2.0, 40.0]).unwrap().text(), "2.00 [1.00..40.0]");
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(0.0, 0.0), None);
    }

    #[test]
    fn figures_have_three_digits() {
        let shown: Vec<String> = [0.0, 1.234, 9.999, 12.34, 99.96, 4567.8].map(digits).into();
        assert_eq!(shown, ["0.00", "1.23", "10.0", "12.3", "100", "4568"]);
    }
}
