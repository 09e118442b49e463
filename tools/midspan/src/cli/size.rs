//! Sizes with units on the command line and in tables.

/// Units, largest first.
const UNITS: [(&str, u64); 5] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Parses `4096`, `64KiB`, `1GiB`, `1G` (units of 1024 throughout).
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let factor = if unit.is_empty() || unit == "B" {
        Some(1)
    } else {
        let known = |name: &str| {
            unit.eq_ignore_ascii_case(name) || (unit.len() == 1 && name.starts_with(&unit.to_uppercase()))
        };
        UNITS.iter().find(|(name, _)| known(name)).map(|(_, factor)| *factor)
    };
    let number: Option<u64> = number.parse().ok();
    match (number, factor) {
        (Some(number), Some(factor)) => {
            number.checked_mul(factor).ok_or_else(|| format!("`{text}` is more than 64 bits can hold"))
        }
        _ => Err(format!(
            "`{text}` is not a size: a whole number with an optional unit KiB, MiB, GiB, TiB or PiB"
        )),
    }
}

/// A size for people, for example `1.5 GiB`.
pub fn show(bytes: u64) -> String {
    for (name, factor) in UNITS {
        if bytes >= factor {
            let whole = bytes / factor;
            let tenths = bytes % factor * 10 / factor;
            return if tenths == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64KiB"), Ok(65536));
        assert_eq!(parse("1 GiB"), Ok(1 << 30));
        assert_eq!(parse("2g"), Ok(2 << 30));
        assert!(parse("1.5GiB").is_err());
        assert!(parse("GiB").is_err());
        assert!(parse("1GB").is_err());
        assert!(parse("99999999PiB").is_err());
    }

    #[test]
    fn sizes_are_shown_with_one_digit_behind_the_point() {
        assert_eq!(show(0), "0 B");
        assert_eq!(show(1536), "1.5 KiB");
        assert_eq!(show(1 << 30), "1 GiB");
    }
}
