//! How a value is written where room is short.

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of something without a unit.
    Plain,
    /// Microseconds, shown as milliseconds and seconds where they are many.
    Microseconds,
    /// Seconds.
    Seconds,
    /// A percentile.
    Percent,
}

impl Unit {
    /// Short, with the unit.
    pub fn text(self, value: f64) -> String {
        match self {
            Unit::Plain => {
                scaled(value, &[(1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"), (0.0, 1.0, "")])
            }
            Unit::Microseconds => scaled(value, &[(1e6, 1e6, " s"), (1e3, 1e3, " ms"), (0.0, 1.0, " µs")]),
            Unit::Seconds => format!("{} s", short(value)),
            Unit::Percent => format!("{} %", trimmed(format!("{value:.3}"))),
        }
    }
}

/// With the first unit that is meant for values as large: from where, how large it is, its name.
fn scaled(value: f64, units: &[(f64, f64, &str)]) -> String {
    match units.iter().find(|(from, _, _)| value.abs() >= *from) {
        Some((_, unit, name)) => format!("{}{name}", short(value / unit)),
        None => short(value),
    }
}

/// Three digits, without noughts at the end.
fn short(value: f64) -> String {
    let behind = match value.abs() {
        magnitude if magnitude >= 99.95 => 0,
        magnitude if magnitude >= 9.995 => 1,
        _ => 2,
    };
    trimmed(format!("{value:.behind$}"))
}

fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_have_their_unit() {
        for (unit, value, text) in [
            (Unit::Plain, 0.0, "0"),
            (Unit::Plain, 1.254, "1.25"),
            (Unit::Plain, 5000.0, "5000"),
            (Unit::Plain, 20_000.0, "20k"),
            (Unit::Plain, 1_500_000.0, "1.5M"),
            (Unit::Microseconds, 0.5, "0.5 µs"),
            (Unit::Microseconds, 500.0, "500 µs"),
            (Unit::Microseconds, 1000.0, "1 ms"),
            (Unit::Microseconds, 12_345.0, "12.3 ms"),
            (Unit::Microseconds, 2e6, "2 s"),
            (Unit::Seconds, 0.25, "0.25 s"),
            (Unit::Percent, 99.99, "99.99 %"),
            (Unit::Percent, 0.0, "0 %"),
        ] {
            assert_eq!(unit.text(value), text, "{unit:?} {value}");
        }
    }
}
