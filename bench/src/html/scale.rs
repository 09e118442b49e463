//! From values to places on an axis, with round numbers to mark.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Equal differences have equal lengths.
    Linear,
    /// Equal ratios have equal lengths.
    Log,
    /// Percentiles: each further nine (90, 99, 99.9) has the same length.
    Nines,
}

/// An axis: values from `from` to `to` on places from `low` to `high`.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    spacing: Spacing,
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

/// The last percentile that has a place: everything above stands there.
const HIGHEST_PERCENTILE: f64 = 99.999;

impl Scale {
    /// For these values. A linear axis begins at nothing; a logarithmic one at the power of ten's 1, 2 or 5 below.
    pub fn over(spacing: Spacing, values: impl Iterator<Item = f64>, low: f64, high: f64) -> Self {
        let usable = |value: &f64| value.is_finite() && (spacing != Spacing::Log || *value > 0.0);
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(usable) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        let (from, to) = match spacing {
            Spacing::Linear => (least.min(0.0), round_up(most.max(f64::MIN_POSITIVE))),
            Spacing::Log => (round_down(least), round_up(most * 1.001)),
            Spacing::Nines => (0.0, most.clamp(90.0, HIGHEST_PERCENTILE)),
        };
        Self { spacing, from, to, low, high }
    }

    /// Where a value is; values beyond the ends are at the ends.
    pub fn place(&self, value: f64) -> f64 {
        let bend = |value: f64| match self.spacing {
            Spacing::Linear => value,
            Spacing::Log => value.max(f64::MIN_POSITIVE).log10(),
            Spacing::Nines => -(1.0 - value.min(HIGHEST_PERCENTILE) / 100.0).log10(),
        };
        let part = (bend(value) - bend(self.from)) / (bend(self.to) - bend(self.from));
        self.low + part.clamp(0.0, 1.0) * (self.high - self.low)
    }

    /// Round values on it, few enough to be read.
    pub fn marks(&self) -> Vec<f64> {
        let inside = |value: &f64| *value >= self.from * 0.999 && *value <= self.to * 1.001;
        match self.spacing {
            Spacing::Linear => {
                let step = round_up((self.to - self.from) / 5.0);
                let marks = (0..=10_u32).map(|number| self.from + f64::from(number) * step);
                marks.filter(inside).collect()
            }
            Spacing::Log => {
                let decades = (self.to / self.from).log10();
                let parts: &[f64] = match decades {
                    narrow if narrow < 2.5 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                // Magnitudes of anything that can be measured.
                let all = (-9..=12).flat_map(|power| parts.iter().map(move |part| part * 10_f64.powi(power)));
                all.filter(inside).collect()
            }
            Spacing::Nines => {
                let marks = [0.0, 90.0, 99.0, 99.9, 99.99, 99.999].into_iter();
                marks.filter(|mark| *mark <= self.to).collect()
            }
        }
    }
}

/// The next 1, 2 or 5 times a power of ten that is not smaller.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let above = [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * power);
    above.into_iter().find(|round| *round >= value * 0.9999).unwrap_or(value)
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let below = [5.0, 2.0, 1.0].into_iter().map(|part| part * power);
    below.into_iter().find(|round| *round <= value * 1.0001).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(spacing: Spacing, values: &[f64]) -> Scale {
        Scale::over(spacing, values.iter().copied(), 0.0, 100.0)
    }

    #[test]
    fn a_linear_axis_begins_at_nothing_and_ends_at_a_round_number() {
        let scale = scale(Spacing::Linear, &[3.0, 87.0]);
        assert_eq!((scale.place(0.0), scale.place(100.0), scale.place(50.0)), (0.0, 100.0, 50.0));
        assert_eq!(scale.marks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    }

    #[test]
    fn equal_ratios_are_equally_long_on_a_logarithmic_axis() {
        let scale = scale(Spacing::Log, &[10.0, 999.0]);
        assert!((scale.place(100.0) - 50.0).abs() < 1e-9);
        assert_eq!(scale.marks(), [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        assert_eq!((scale.place(1.0), scale.place(1e9)), (0.0, 100.0));
    }

    #[test]
    fn every_further_nine_is_equally_long() {
        let scale = scale(Spacing::Nines, &[50.0, 100.0]);
        let step = scale.place(99.9) - scale.place(99.0);
        assert!((scale.place(99.0) - scale.place(90.0) - step).abs() < 1e-6 && step > 0.0);
        assert_eq!((scale.place(100.0), scale.place(0.0)), (100.0, 0.0));
        let short = Scale::over(Spacing::Nines, [99.99].into_iter(), 0.0, 100.0);
        assert_eq!(short.marks(), [0.0, 90.0, 99.0, 99.9, 99.99]);
    }

    #[test]
    fn an_axis_without_values_or_with_one_has_places_and_marks() {
        for values in [&[][..], &[5.0], &[f64::NAN], &[0.0]] {
            for spacing in [Spacing::Linear, Spacing::Log, Spacing::Nines] {
                let scale = scale(spacing, values);
                assert!(scale.place(5.0).is_finite() && !scale.marks().is_empty(), "{spacing:?} {values:?}");
            }
        }
    }
}
