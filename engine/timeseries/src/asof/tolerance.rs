//! [`Tolerance`]: how far from a row its partner may be.

use std::fmt;

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNanoType, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use super::mark::Place;
use crate::buckets::parse_duration;

const DAY_NS: i128 = 86_400_000_000_000;

/// A distance, which partners may have and not exceed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tolerance {
    /// In units of the times that are compared, rounded down: times are whole units.
    pub(super) distance: u64,
    /// As it was written.
    pub(super) value: ScalarValue,
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.value))
    }
}

impl Tolerance {
    /// The tolerance that an expression says for times of a type.
    pub(super) fn of(expr: &Expr, times: &DataType, place: Place) -> Result<Self> {
        let value = match literal(expr, place)? {
            value if times.is_integer() => value,
            value => match value.try_as_str().flatten().and_then(parse_duration) {
                Some(interval) => ScalarValue::IntervalMonthDayNano(Some(interval)),
                None => value,
            },
        };
        let shown = shown(&value);
        let (kind, distance) = match length(&value) {
            Some(Length { months, ns }) => {
                let Some(unit) = unit_ns(times) else {
                    return plan_err!(
                        "{place}: TOLERANCE {shown} is an interval, but numbers are compared: give a number"
                    );
                };
                ("interval", (months == 0).then(|| ns.div_euclid(unit)))
            }
            None => match whole(&value) {
                Some(n) if times.is_integer() => ("number", Some(n)),
                _ if times.is_integer() => {
                    return plan_err!("{place}: TOLERANCE takes a whole number here, not {shown}");
                }
                _ => {
                    return plan_err!(
                        "{place}: TOLERANCE takes an INTERVAL '…', or a length as text such as '5m', not {shown}"
                    );
                }
            },
        };
        match distance {
            None => plan_err!(
                "{place}: TOLERANCE {shown} has months, which have no fixed length: give days or less"
            ),
            Some(n) if n < 0 => {
                plan_err!("{place}: TOLERANCE {shown} is a negative {kind}: give 0 or more")
            }
            Some(n) => Ok(Self { distance: u64::try_from(n).unwrap_or(u64::MAX), value }),
        }
    }
}

/// A value as results show it: an interval is `1 mins`.
fn shown(value: &ScalarValue) -> String {
    let known = (!value.is_null()).then(|| value.to_array().ok()).flatten();
    let text = known.and_then(|one| array_value_to_string(&one, 0).ok());
    text.unwrap_or_else(|| value.to_string())
}

fn literal(expr: &Expr, place: Place) -> Result<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Ok(value.clone()),
        Expr::Negative(inner) => literal(inner, place)?.arithmetic_negate(),
        Expr::Alias(alias) => literal(&alias.expr, place),
        Expr::Cast(cast) => literal(&cast.expr, place)?.cast_to(cast.field.data_type()),
        other => plan_err!("{place}: TOLERANCE takes a constant, not {other}"),
    }
}

/// How long an interval is.
struct Length {
    months: i32,
    /// Of its days, which have 24 hours, and of what is less.
    ns: i128,
}

fn length(value: &ScalarValue) -> Option<Length> {
    let of = |months: i32, days: i32, ns: i128| {
        Some(Length { months, ns: i128::from(days) * DAY_NS + ns })
    };
    match value {
        ScalarValue::IntervalMonthDayNano(Some(i)) => {
            of(i.months, i.days, i128::from(i.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(i)) => {
            of(0, i.days, i128::from(i.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalYearMonth(Some(months)) => of(*months, 0, 0),
        ScalarValue::DurationSecond(Some(n)) => of(0, 0, i128::from(*n) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(n)) => of(0, 0, i128::from(*n) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(n)) => of(0, 0, i128::from(*n) * 1_000),
        ScalarValue::DurationNanosecond(Some(n)) => of(0, 0, i128::from(*n)),
        _ => None,
    }
}

fn whole(value: &ScalarValue) -> Option<i128> {
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(n))) if value.data_type().is_integer() => Some(i128::from(n)),
        _ => None,
    }
}

/// Nanoseconds of one unit of a type of time.
fn unit_ns(times: &DataType) -> Option<i128> {
    match times {
        DataType::Timestamp(unit, _)
        | DataType::Time32(unit)
        | DataType::Time64(unit)
        | DataType::Duration(unit) => Some(match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        }),
        DataType::Date32 => Some(DAY_NS),
        DataType::Date64 => Some(1_000_000),
        _ => None,
    }
}

/// The interval of so many units of a type of time, to be taken from a bound; none for numbers.
pub(super) fn interval_of(times: &DataType, distance: u64) -> Option<ScalarValue> {
    let ns = unit_ns(times)?.checked_mul(i128::from(distance))?;
    let ns = i64::try_from(ns).ok()?;
    let interval = IntervalMonthDayNanoType::make_value(0, 0, ns);
    Some(ScalarValue::IntervalMonthDayNano(Some(interval)))
}
