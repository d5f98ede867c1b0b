//! Names of time zones.

use chrono_tz::TZ_VARIANTS;
use datafusion::arrow::array::timezone::Tz;

/// A time zone as Arrow spells it: an offset such as `+02:00`, or a name of the IANA database, of which upper and lower case
/// do not matter. `None` if there is none.
pub fn zone_named(name: &str) -> Option<&str> {
    if name.parse::<Tz>().is_ok() {
        return Some(name);
    }
    TZ_VARIANTS.iter().map(|zone| zone.name()).find(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for name in ["Europe/Berlin", "europe/berlin", "EUROPE/BERLIN"] {
            assert_eq!(zone_named(name), Some("Europe/Berlin"));
        }
        assert_eq!(zone_named("+05:30"), Some("+05:30"));
        assert_eq!(zone_named("utc"), Some("UTC"));
        for none in ["", "Mars/Base", "Europe", "Europe/Berlin ", "8"] {
            assert_eq!(zone_named(none), None, "{none:?}");
        }
    }
}
