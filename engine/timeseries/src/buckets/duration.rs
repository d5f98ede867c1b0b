//! Lengths of time as text: `'5m'`, `'1h30m'`, `'2w'`, `'1mo'`, and all that intervals are written as in SQL.

use datafusion::arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use datafusion::arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::Result;
use datafusion::sql::sqlparser::ast::{Expr, Interval, Value};

enum Unit {
    Months(i32),
    Days(i32),
    Nanos(i64),
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name {
        "y" => Unit::Months(12),
        "mo" => Unit::Months(1),
        "w" => Unit::Days(7),
        "d" => Unit::Days(1),
        "h" => Unit::Nanos(3_600_000_000_000),
        "m" => Unit::Nanos(60_000_000_000),
        "s" => Unit::Nanos(1_000_000_000),
        "ms" => Unit::Nanos(1_000_000),
        "us" | "µs" | "μs" => Unit::Nanos(1_000),
        "ns" => Unit::Nanos(1),
        _ => return None,
    })
}

/// Whole numbers with units, `w d h m s ms us ns` and `mo y`; nothing else, and nothing that does not fit.
fn parse_compact(text: &str) -> Option<IntervalMonthDayNano> {
    let mut rest = text.trim();
    let mut sum = IntervalMonthDayNano::new(0, 0, 0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let number: i64 = number.parse().ok()?;
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(letters);
        match unit(&name.to_lowercase())? {
            Unit::Months(n) => {
                let more = i32::try_from(number).ok()?.checked_mul(n)?;
                sum.months = sum.months.checked_add(more)?;
            }
            Unit::Days(n) => {
                let more = i32::try_from(number).ok()?.checked_mul(n)?;
                sum.days = sum.days.checked_add(more)?;
            }
            Unit::Nanos(n) => {
                sum.nanoseconds = sum.nanoseconds.checked_add(number.checked_mul(n)?)?;
            }
        }
        rest = tail.trim_start();
    }
    Some(sum)
}

/// Reads a length of time: `5m`, `1h30m`, `1mo`, or an interval of SQL such as `1 hour 30 minutes`.
///
/// None if it is neither. A number without a unit is neither.
pub fn parse_duration(text: &str) -> Option<IntervalMonthDayNano> {
    if let Some(interval) = parse_compact(text) {
        return Some(interval);
    }
    // Arrow takes a number without a unit as months.
    let has_unit =
        text.split_whitespace().next_back()?.chars().any(char::is_alphabetic) || text.contains(':');
    if has_unit { parse_interval_month_day_nano(text).ok() } else { None }
}

/// Spells out `INTERVAL '1h30m'`, which DataFusion does not read.
pub(super) fn rewrite(interval: &mut Interval) {
    if interval.leading_field.is_some() {
        return;
    }
    let Expr::Value(value) = interval.value.as_mut() else { return };
    let (Value::SingleQuotedString(text) | Value::DoubleQuotedString(text)) = &mut value.value
    else {
        return;
    };
    if let Some(sum) = parse_compact(text) {
        *text = format!("{} mons {} days {} nanoseconds", sum.months, sum.days, sum.nanoseconds);
    }
}

/// The error for a text that is no length of time.
pub(super) fn refuse<T>(function: &str, argument: &str, text: &str) -> Result<T> {
    datafusion::common::plan_err!(
        "the {argument} of {function} is {text:?}, which is not a length of time; write for example '5m', '1h30m', \
         '1d', '1mo' or INTERVAL '5 minutes'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<(i32, i32, i64)>) {
        let want = want.map(|(months, days, ns)| IntervalMonthDayNano::new(months, days, ns));
        assert_eq!(parse_duration(text), want, "{text}");
    }

    #[test]
    fn lengths_of_time_are_read() {
        const S: i64 = 1_000_000_000;
        check("5m", Some((0, 0, 300 * S)));
        check("1h30m", Some((0, 0, 5_400 * S)));
        check(" 1H 30M ", Some((0, 0, 5_400 * S)));
        check("100ms", Some((0, 0, S / 10)));
        check("7us", Some((0, 0, 7_000)));
        check("7µs", Some((0, 0, 7_000)));
        check("1ns", Some((0, 0, 1)));
        check("1d", Some((0, 1, 0)));
        check("2w", Some((0, 14, 0)));
        check("1mo", Some((1, 0, 0)));
        check("1y", Some((12, 0, 0)));
        check("1y6mo", Some((18, 0, 0)));
        check("1 hour 30 minutes", Some((0, 0, 5_400 * S)));
        check("1.5 hours", Some((0, 0, 5_400 * S)));
        check("-1 day", Some((0, -1, 0)));
    }

    #[test]
    fn what_is_no_length_of_time_is_not_read() {
        for text in
            ["", " ", "5", "m", "5 parsecs", "1h 5", "h1", "9999999999999h", "99999999999d", "5é"]
        {
            check(text, None);
        }
    }
}
