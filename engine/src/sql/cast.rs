//! Exact casts: a value becomes another type without losing anything, or it is an error.

use std::fmt::{Display, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use datafusion::arrow::compute::kernels::cmp::distinct;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use quorate_timeseries::type_name;

use crate::times::instants;
use crate::{Error, ErrorKind};

/// A value that has no exact equal in the type wanted.
#[derive(Debug)]
pub(crate) struct InexactCast {
    /// Which of the values, from 0, where it is known.
    row: Option<usize>,
    message: String,
}

impl InexactCast {
    fn new(row: Option<usize>, message: String) -> Self {
        Self { row, message }
    }

    /// The error with the name of the column or parameter.
    pub(crate) fn named(&self, name: &str) -> Error {
        let row = match self.row {
            Some(row) => format!(" (row {})", row + 1),
            None => String::new(),
        };
        Error::request(ErrorKind::Invalid, format!("{name}{row}: {}", self.message))
    }
}

impl Display for InexactCast {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Casts every value exactly. Times written without a zone are in the zone of `want`, which must be what the reader of
/// the answer expects; integers become times as nanoseconds.
pub(crate) fn cast_exact(array: &ArrayRef, want: &DataType) -> Result<ArrayRef, InexactCast> {
    let have = array.data_type();
    if have == want {
        return Ok(Arc::clone(array));
    }
    match (have, want) {
        (DataType::Null, _) => Ok(new_null_array(want, array.len())),
        (DataType::Dictionary(_, value), _) => {
            let value = value.as_ref().clone();
            cast_exact(&cast(array, &value)?, want)
        }
        (_, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) if becomes_text(have) => {
            cast(array, want)
        }
        (DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8, _) if from_text(want) => {
            cast(array, want)
        }
        (_, _) if is_number(have) && is_number(want) => round_trip(array, want),
        (DataType::Timestamp(_, from), DataType::Timestamp(TimeUnit::Nanosecond, to)) => {
            // An instant keeps its number of nanoseconds; wall time is read in the zone wanted.
            match (from, to) {
                (Some(_), _) | (None, None) => {
                    let same = DataType::Timestamp(TimeUnit::Nanosecond, from.clone());
                    let instants = cast(array, &same)?;
                    cast(&instants, want)
                }
                (None, Some(_)) => {
                    let wall = DataType::Timestamp(TimeUnit::Nanosecond, None);
                    cast(&cast(array, &wall)?, want)
                }
            }
        }
        (DataType::Date32 | DataType::Date64, DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            match want {
                DataType::Timestamp(_, Some(zone)) => instants(array, Some(zone))
                    .map_err(|e| InexactCast::new(Some(e.row), e.message)),
                _ => cast(array, want),
            }
        }
        (_, DataType::Timestamp(TimeUnit::Nanosecond, _)) if have.is_integer() => {
            let ns = cast_exact(array, &DataType::Int64)?;
            let instants = DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("UTC")));
            cast(&cast(&ns, &instants)?, want)
        }
        (DataType::Time32(_) | DataType::Time64(_), DataType::Time32(_) | DataType::Time64(_))
        | (DataType::Timestamp(_, _), DataType::Date32 | DataType::Date64)
        | (DataType::Date32, DataType::Date64)
        | (DataType::Date64, DataType::Date32) => round_trip(array, want),
        _ => Err(InexactCast::new(None, format!("{have} cannot become {want}"))),
    }
}

fn becomes_text(have: &DataType) -> bool {
    matches!(have, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Boolean)
        || is_number(have)
}

fn from_text(want: &DataType) -> bool {
    matches!(
        want,
        DataType::Utf8
            | DataType::Utf8View
            | DataType::LargeUtf8
            | DataType::Boolean
            | DataType::Timestamp(..)
            | DataType::Date32
            | DataType::Interval(_)
    ) || is_number(want)
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn cast(array: &ArrayRef, want: &DataType) -> Result<ArrayRef, InexactCast> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    let done = cast_with_options(array, want, &options);
    if let (Err(_), DataType::Timestamp(TimeUnit::Nanosecond, zone)) = (&done, want)
        && (is_wall(array.data_type()) || array.data_type().is_string())
    {
        // Arrow knows fewer texts, and no instants of local times that a zone skips or shows twice.
        return instants(array, zone.as_ref())
            .map_err(|e| InexactCast::new(Some(e.row), e.message));
    }
    done.map_err(|e| {
        // Which value it was is found by trying them one by one: only an error pays for it.
        let row = (0..array.len())
            .find(|row| cast_with_options(&array.slice(*row, 1), want, &options).is_err());
        let message = match row {
            Some(row) => format!("{} is not a {}", shown(array, row), type_name(want)),
            None => e.to_string(),
        };
        InexactCast::new(row, message)
    })
}

/// Whether it is a time that has no zone.
fn is_wall(have: &DataType) -> bool {
    matches!(have, DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64)
}

/// Casts there and back again: what comes back must be what went.
fn round_trip(array: &ArrayRef, want: &DataType) -> Result<ArrayRef, InexactCast> {
    let there = cast(array, want)?;
    let options = CastOptions { safe: true, format_options: FormatOptions::default() };
    let back = cast_with_options(&there, array.data_type(), &options)
        .map_err(|e| InexactCast::new(None, e.to_string()))?;
    let differs = distinct(array, &back).map_err(|e| InexactCast::new(None, e.to_string()))?;
    // −0 and 0 are the same number.
    let row = differs.iter().position(|d| d == Some(true)).filter(|row| !is_zero(array, *row));
    match row {
        None => Ok(there),
        Some(row) => Err(InexactCast::new(
            Some(row),
            format!("{} is not exactly a {}", shown(array, row), type_name(want)),
        )),
    }
}

fn is_zero(array: &ArrayRef, row: usize) -> bool {
    use datafusion::arrow::datatypes::{Float32Type, Float64Type};
    match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row) == 0.0,
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row) == 0.0,
        _ => false,
    }
}

/// A value as text, shortened.
fn shown(array: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(array, &options)
        .and_then(|f| f.value(row).try_to_string())
        .unwrap_or_else(|_| "the value".to_owned());
    let short: String = text.chars().take(80).collect();
    if matches!(array.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) {
        format!("'{short}'")
    } else {
        short
    }
}

#[cfg(test)]
#[path = "cast_tests.rs"]
mod tests;
