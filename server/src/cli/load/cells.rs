//! Values of text files as columns: each is read as its column's type, exactly, or its row is rejected.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder,
    TimestampNanosecondBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, TimeUnit};

use super::columns::{Type, is_integer, time_of};

/// Largest integer up to which all are doubles.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Absent,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Double(f64),
    Text(&'a str),
    /// Nanoseconds since 1970.
    Time(i64),
}

impl<'a> Cell<'a> {
    /// Reads a text as a type; `None` if it is no value of it.
    pub(super) fn read(
        text: &'a str,
        data_type: Type,
        time_unit: Option<&TimeUnit>,
    ) -> Option<Self> {
        if data_type == Type::Text {
            return Some(if text.is_empty() { Self::Absent } else { Self::Text(text) });
        }
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::Absent);
        }
        match data_type {
            Type::Boolean if text.eq_ignore_ascii_case("true") => Some(Self::Boolean(true)),
            Type::Boolean if text.eq_ignore_ascii_case("false") => Some(Self::Boolean(false)),
            Type::Boolean => None,
            Type::Integer => text.parse().ok().or_else(|| whole(text)).map(Self::Integer),
            Type::Unsigned => {
                let whole = || u64::try_from(whole(text)?).ok();
                text.parse().ok().or_else(whole).map(Self::Unsigned)
            }
            Type::Double => double(text).map(Self::Double),
            Type::Time => time(text, time_unit).map(Self::Time),
            Type::Text => Some(Self::Text(text)),
        }
    }
}

/// An integer that is written as a decimal: `3.0`.
fn whole(text: &str) -> Option<i64> {
    let number: f64 = text.parse().ok()?;
    let exact = number.fract() == 0.0 && number.abs() < EXACT_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and far within the range")]
    exact.then_some(number as i64)
}

/// A double. An integer that is none is refused, as everywhere; decimals are rounded to the nearest.
fn double(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    if !is_integer(text) || number.abs() < EXACT_MAX {
        return Some(number);
    }
    let integer: i128 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "a double beyond i128 is not the integer")]
    let back = number as i128;
    (back == integer).then_some(number)
}

fn time(text: &str, unit: Option<&TimeUnit>) -> Option<i64> {
    if !is_integer(text) {
        return time_of(text);
    }
    let factor = match unit? {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    text.parse::<i64>().ok()?.checked_mul(factor)
}

/// A column being filled.
#[derive(Debug)]
pub(super) enum CellColumn {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Unsigned(UInt64Builder),
    Double(Float64Builder),
    Text(StringBuilder),
    Time(TimestampNanosecondBuilder),
}

impl CellColumn {
    /// An empty column.
    pub(super) fn new(data_type: Type) -> Self {
        match data_type {
            Type::Boolean => Self::Boolean(BooleanBuilder::new()),
            Type::Integer => Self::Integer(Int64Builder::new()),
            Type::Unsigned => Self::Unsigned(UInt64Builder::new()),
            Type::Double => Self::Double(Float64Builder::new()),
            Type::Text => Self::Text(StringBuilder::new()),
            Type::Time => {
                Self::Time(TimestampNanosecondBuilder::new().with_data_type(Self::time_type()))
            }
        }
    }

    /// The Arrow type of a column.
    pub(super) fn arrow_type(data_type: Type) -> DataType {
        match data_type {
            Type::Boolean => DataType::Boolean,
            Type::Integer => DataType::Int64,
            Type::Unsigned => DataType::UInt64,
            Type::Double => DataType::Float64,
            Type::Text => DataType::Utf8,
            Type::Time => Self::time_type(),
        }
    }

    fn time_type() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    }

    /// Appends a value of the column's type, or none.
    pub(super) fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Boolean(b), Cell::Boolean(value)) => b.append_value(value),
            (Self::Boolean(b), _) => b.append_null(),
            (Self::Integer(b), Cell::Integer(value)) => b.append_value(value),
            (Self::Integer(b), _) => b.append_null(),
            (Self::Unsigned(b), Cell::Unsigned(value)) => b.append_value(value),
            (Self::Unsigned(b), _) => b.append_null(),
            (Self::Double(b), Cell::Double(value)) => b.append_value(value),
            (Self::Double(b), _) => b.append_null(),
            (Self::Text(b), Cell::Text(value)) => b.append_value(value),
            (Self::Text(b), _) => b.append_null(),
            (Self::Time(b), Cell::Time(value)) => b.append_value(value),
            (Self::Time(b), _) => b.append_null(),
        }
    }

    /// The column.
    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Self::Boolean(mut b) => Arc::new(b.finish()),
            Self::Integer(mut b) => Arc::new(b.finish()),
            Self::Unsigned(mut b) => Arc::new(b.finish()),
            Self::Double(mut b) => Arc::new(b.finish()),
            Self::Text(mut b) => Arc::new(b.finish()),
            Self::Time(mut b) => Arc::new(b.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, data_type: Type, want: Option<Cell<'_>>) {
        assert_eq!(Cell::read(text, data_type, Some(&TimeUnit::Millisecond)), want, "{text:?}");
    }

    #[test]
    fn numbers_fit_exactly_or_not_at_all() {
        check(" 7 ", Type::Integer, Some(Cell::Integer(7)));
        check("3.0", Type::Integer, Some(Cell::Integer(3)));
        check("3.5", Type::Integer, None);
        check("9223372036854775808", Type::Integer, None);
        check("18446744073709551615", Type::Unsigned, Some(Cell::Unsigned(u64::MAX)));
        check("-1", Type::Unsigned, None);
        check("9007199254740992", Type::Double, Some(Cell::Double(EXACT_MAX)));
        check("9007199254740993", Type::Double, None);
        check("-9007199254740994", Type::Double, Some(Cell::Double(-9_007_199_254_740_994.0)));
        check("0.1", Type::Double, Some(Cell::Double(0.1)));
        check("x", Type::Double, None);
    }

    #[test]
    fn nothing_is_absent_and_text_is_kept_as_it_is() {
        for data_type in [Type::Boolean, Type::Integer, Type::Double, Type::Text, Type::Time] {
            check("", data_type, Some(Cell::Absent));
        }
        check(" a ", Type::Text, Some(Cell::Text(" a ")));
        check("TRUE", Type::Boolean, Some(Cell::Boolean(true)));
        check("yes", Type::Boolean, None);
    }

    #[test]
    fn integers_are_times_in_the_unit_that_is_told() {
        check("1", Type::Time, Some(Cell::Time(1_000_000)));
        check("9223372036854775807", Type::Time, None);
        check("1970-01-01T00:00:01Z", Type::Time, Some(Cell::Time(1_000_000_000)));
        assert_eq!(Cell::read("1", Type::Time, None), None);
    }
}
