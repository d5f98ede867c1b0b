//! [`Width`]: how wide a bucket is, read from an interval, a duration or a text such as `5m`.

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::{IntervalDayTime, IntervalMonthDayNano, IntervalMonthDayNanoType};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;

const DAY_NS: i128 = 86_400_000_000_000;

/// Units of texts such as `1h30m`, in nanoseconds.
const UNITS: [(&str, i128); 9] = [
    ("w", 7 * DAY_NS),
    ("d", DAY_NS),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Units of texts such as `3mo`, in months.
const MONTH_UNITS: [(&str, i32); 2] = [("mo", 1), ("y", 12)];

/// Width of a bucket: more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) enum Width {
    /// A fixed length; days are 24 hours.
    Nanoseconds(i64),
    /// Calendar months.
    Months(i32),
}

impl Width {
    /// Whether a constant is an interval of nothing.
    pub(crate) fn is_zero(value: &ScalarValue) -> bool {
        parts(value) == Some((0, 0))
    }

    /// Reads a constant argument of `function`; `None` for NULL.
    pub(crate) fn of(function: &str, value: &ScalarValue) -> Result<Option<Self>> {
        if value.is_null() {
            return Ok(None);
        }
        let wrong = || {
            plan_err!(
                "{function}: the width {value} is not an interval; write for example INTERVAL '5 minutes' or '5m'"
            )
        };
        let Some((months, ns)) = parts(value) else { return wrong() };
        match (months, ns) {
            (0, 0) => plan_err!("{function}: the width is zero; it must be longer"),
            (months, ns) if months < 0 || ns < 0 => {
                plan_err!("{function}: the width {value} is negative; it must be positive")
            }
            (months, 0) => Ok(Some(Self::Months(months))),
            (0, ns) => {
                if let Ok(ns) = i64::try_from(ns) {
                    Ok(Some(Self::Nanoseconds(ns)))
                } else {
                    plan_err!("{function}: the width {value} is over 292 years; use months")
                }
            }
            _ => plan_err!(
                "{function}: the width {value} mixes months with days or shorter units; use one of the two"
            ),
        }
    }
}

/// Months, and nanoseconds with days of 24 hours.
fn parts(value: &ScalarValue) -> Option<(i32, i128)> {
    let mdn = |v: IntervalMonthDayNano| {
        (v.months, i128::from(v.days) * DAY_NS + i128::from(v.nanoseconds))
    };
    Some(match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) => mdn(*v),
        ScalarValue::IntervalDayTime(Some(IntervalDayTime { days, milliseconds })) => {
            (0, i128::from(*days) * DAY_NS + i128::from(*milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalYearMonth(Some(months)) => (*months, 0),
        ScalarValue::DurationSecond(Some(v)) => (0, i128::from(*v) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(v)) => (0, i128::from(*v) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(v)) => (0, i128::from(*v) * 1_000),
        ScalarValue::DurationNanosecond(Some(v)) => (0, i128::from(*v)),
        other => {
            let text = other.try_as_str()??;
            // Arrow takes a number without a unit for months.
            let has_unit = text.contains(|c: char| c.is_alphabetic());
            let interval = || parse_interval_month_day_nano(text).ok().map(mdn);
            return of_text(text).or_else(|| has_unit.then(interval).flatten());
        }
    })
}

/// Reads `5m`, `1h30m`, `3mo`.
fn of_text(text: &str) -> Option<(i32, i128)> {
    let mut rest = text.trim();
    let (mut months, mut total) = (0_i32, 0_i128);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: i64 = number.parse().ok()?;
        if let Some((_, ns)) = UNITS.iter().find(|(name, _)| *name == unit) {
            total += i128::from(number) * ns;
        } else {
            let (_, factor) = MONTH_UNITS.iter().find(|(name, _)| *name == unit)?;
            months = i32::try_from(number).ok()?.checked_mul(*factor)?.checked_add(months)?;
        }
        rest = tail;
    }
    Some((months, total))
}

/// The width as a constant that [`Width::of`] reads again.
pub(super) fn interval(width: Width) -> ScalarValue {
    let value = match width {
        Width::Nanoseconds(ns) => IntervalMonthDayNanoType::make_value(0, 0, ns),
        Width::Months(months) => IntervalMonthDayNanoType::make_value(months, 0, 0),
    };
    ScalarValue::IntervalMonthDayNano(Some(value))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::IntervalDayTimeType;

    use super::*;

    fn check(text: &str, want: Option<Width>) {
        let value = ScalarValue::Utf8(Some(text.to_owned()));
        assert_eq!(Width::of("f", &value).ok().flatten(), want, "{text}");
    }

    #[test]
    fn texts_are_widths() {
        check("5m", Some(Width::Nanoseconds(300_000_000_000)));
        check("1h30m", Some(Width::Nanoseconds(5_400_000_000_000)));
        check("10 minutes", Some(Width::Nanoseconds(600_000_000_000)));
        check("3mo", Some(Width::Months(3)));
        check("1y", Some(Width::Months(12)));
        check("1 month", Some(Width::Months(1)));
        for text in ["", "5", "m", "5 parsecs", "0s", "-1 minute", "1mo1d", "99999999999w"] {
            check(text, None);
        }
        assert_eq!(Width::of("f", &ScalarValue::Utf8(None)).unwrap(), None);
        let day_time = IntervalDayTimeType::make_value(1, 1);
        let width = Width::of("f", &ScalarValue::IntervalDayTime(Some(day_time))).unwrap();
        assert_eq!(width, Some(Width::Nanoseconds(86_400_001_000_000)));
    }

    #[test]
    fn intervals_are_read_again() {
        for width in [Width::Nanoseconds(1), Width::Months(7)] {
            assert_eq!(Width::of("f", &interval(width)).unwrap(), Some(width));
        }
    }
}
