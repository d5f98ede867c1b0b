//! Lengths of time in options and settings: `30d`, `1h30m`, `500ms`.

use std::time::Duration;

use crate::{Error, ErrorKind};

/// Units, largest first, in nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a length of time such as `30d` or `1h30m`: whole numbers with units `w d h m s ms us ns`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Error> {
    let wrong = || {
        Error::request(
            ErrorKind::Invalid,
            format!(
                "{text:?} is not a length of time; write for example '30d', '12h', '1h30m', '500ms'"
            ),
        )
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0_u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = unit.to_ascii_lowercase();
        let (_, ns) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u128 = number.parse().map_err(|_| wrong())?;
        total = number.checked_mul(*ns).and_then(|n| total.checked_add(n)).ok_or_else(wrong)?;
        rest = tail.trim_start();
    }
    let ns = u64::try_from(total).map_err(|_| wrong())?;
    Ok(Duration::from_nanos(ns))
}

/// Writes a length of time so that [`parse_duration`] reads it: in the largest unit that divides it.
pub(crate) fn format_duration(duration: Duration) -> String {
    let total = duration.as_nanos();
    if total == 0 {
        return "0s".to_owned();
    }
    let (name, ns) = UNITS
        .iter()
        .skip(1)
        .find(|(_, ns)| total.is_multiple_of(*ns))
        .expect("nanoseconds divide every duration");
    format!("{}{name}", total / ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_round_trip() {
        for text in ["30d", "12h", "90m", "5s", "500ms", "7us", "1ns", "0s", "14d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(parse_duration(" 2W ").unwrap(), Duration::from_hours(336));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "d", "1", "1.5h", "-1d", "5 parsecs", "99999999999999d", "1é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
