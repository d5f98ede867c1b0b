//! Times and dates that no calendar reaches: in JSON, Arrow writes the text of an error in their place.

use arrow::array::{Array, ArrowPrimitiveType, AsArray, RecordBatch, make_array};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};

const DAY_SECONDS: i64 = 86_400;

/// Refuses rows with a time that cannot be written as text.
pub(super) fn check_times(batch: &RecordBatch) -> Result<(), ArrowError> {
    let schema = batch.schema();
    let beyond = batch.columns().iter().position(|column| has_beyond(column.as_ref()));
    match beyond {
        None => Ok(()),
        Some(column) => Err(ArrowError::InvalidArgumentError(format!(
            "column {:?} holds a time before the year -262,142 or after 262,141, which has no text: ask for Arrow, or \
             cast it to an integer",
            schema.field(column).name()
        ))),
    }
}

fn has_beyond(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => any_beyond::<TimestampSecondType>(array, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            any_beyond::<TimestampMillisecondType>(array, 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            any_beyond::<TimestampMicrosecondType>(array, 1_000_000)
        }
        DataType::Date64 => any_beyond::<Date64Type>(array, 1_000),
        DataType::Date32 => {
            let days = seconds_max() / DAY_SECONDS;
            array.as_primitive::<Date32Type>().iter().flatten().any(|d| i64::from(d).abs() > days)
        }
        nested if nested.is_nested() => {
            array.to_data().child_data().iter().any(|child| has_beyond(&make_array(child.clone())))
        }
        _ => false,
    }
}

fn any_beyond<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array, per_second: i64) -> bool {
    let max = seconds_max().unsigned_abs() * per_second.unsigned_abs();
    array.as_primitive::<T>().iter().flatten().any(|time| time.unsigned_abs() > max)
}

/// Seconds from 1970 to the ends of the calendar, about: time zones need a day, and there is one year more before than
/// after.
fn seconds_max() -> i64 {
    DateTime::<Utc>::MAX_UTC.timestamp() - DAY_SECONDS
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, ListArray, TimestampSecondArray};

    use super::*;

    fn check(column: ArrayRef, fine: bool) {
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        assert_eq!(check_times(&batch).is_ok(), fine, "{batch:?}");
    }

    #[test]
    fn times_without_a_text_are_refused() {
        let seconds = |s| TimestampSecondArray::from(vec![Some(0), s]);
        check(Arc::new(seconds(Some(4_000_000_000_000))), true);
        check(Arc::new(seconds(None)), true);
        check(Arc::new(seconds(Some(i64::MAX))), false);
        check(Arc::new(seconds(Some(i64::MIN)).with_timezone("+02:00")), false);
        check(Arc::new(Date32Array::from(vec![i32::MAX])), false);
        let list = vec![Some(vec![Some(9_000_000_000_000)])];
        let list = ListArray::from_iter_primitive::<TimestampSecondType, _, _>(list);
        check(Arc::new(list), false);
    }
}
