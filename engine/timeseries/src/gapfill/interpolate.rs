//! Linear interpolation by time, in the type of the values.
//!
//! Integers, decimals and times are interpolated exactly, in 128 bits, and rounded to the nearest, halves away from the earlier
//! value. Floats follow IEEE 754: a NaN at either end gives NaN.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, PrimitiveBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::common::internal_err;
use datafusion::error::Result;

use super::fill::NONE;

/// Whether values of a type can be interpolated.
pub(super) fn can_interpolate(data_type: &DataType) -> bool {
    use DataType::{
        Date32, Date64, Decimal128, Duration, Float32, Float64, Int8, Int16, Int32, Int64,
        Timestamp, UInt8, UInt16, UInt32, UInt64,
    };
    matches!(
        data_type,
        Int8 | Int16
            | Int32
            | Int64
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Float32
            | Float64
            | Decimal128(_, _)
            | Timestamp(_, _)
            | Duration(_)
            | Date32
            | Date64
    )
}

/// Where a value lies: between the values at `before` and `after`, at a time. [`NONE`] is no value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between {
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) time: i64,
}

/// Interpolates between `values`, which are at `times`.
pub(super) fn interpolate(
    values: &ArrayRef,
    times: &[i64],
    places: &[Between],
) -> Result<ArrayRef> {
    macro_rules! exact {
        ($type:ty) => {
            build::<$type>(values, times, places, |v0, v1, part| {
                let value = exact(v0.into(), v1.into(), part);
                value.try_into().expect("the value is between two of its type")
            })
        };
    }
    let array = match values.data_type() {
        DataType::Float64 => build::<Float64Type>(values, times, places, float),
        DataType::Float32 => build::<Float32Type>(values, times, places, |v0, v1, part| {
            #[expect(clippy::cast_possible_truncation, reason = "it is between two of 32 bits")]
            let value = float(v0.into(), v1.into(), part) as f32;
            value
        }),
        DataType::Int8 => exact!(Int8Type),
        DataType::Int16 => exact!(Int16Type),
        DataType::Int32 => exact!(Int32Type),
        DataType::Int64 => exact!(Int64Type),
        DataType::UInt8 => exact!(UInt8Type),
        DataType::UInt16 => exact!(UInt16Type),
        DataType::UInt32 => exact!(UInt32Type),
        DataType::UInt64 => exact!(UInt64Type),
        DataType::Decimal128(_, _) => build::<Decimal128Type>(values, times, places, exact),
        DataType::Date32 => exact!(Date32Type),
        DataType::Date64 => exact!(Date64Type),
        DataType::Timestamp(TimeUnit::Second, _) => exact!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => exact!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => exact!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => exact!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => exact!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => exact!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => exact!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => exact!(DurationNanosecondType),
        other => return internal_err!("values of {other} are not interpolated"),
    };
    Ok(array)
}

/// How far along: `gone` of `whole`, `whole` not 0.
#[derive(Debug, Clone, Copy)]
struct Part {
    gone: u64,
    whole: u64,
}

fn build<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    times: &[i64],
    places: &[Between],
    between: impl Fn(T::Native, T::Native, Part) -> T::Native,
) -> ArrayRef {
    let array: &PrimitiveArray<T> = values.as_primitive();
    let mut built = PrimitiveBuilder::<T>::with_capacity(places.len());
    for place in places {
        if place.before == NONE || place.after == NONE {
            built.append_null();
            continue;
        }
        let (before, after) = (place.before as usize, place.after as usize);
        if before == after {
            // The row's own value, or its own NULL.
            built.append_option(array.is_valid(before).then(|| array.value(before)));
            continue;
        }
        let (first, last) = (times[before], times[after]);
        let part = Part { gone: place.time.abs_diff(first), whole: last.abs_diff(first) };
        built.append_value(between(array.value(before), array.value(after), part));
    }
    Arc::new(built.finish().with_data_type(values.data_type().clone()))
}

/// Exact, rounded to the nearest. No step overflows: the product is of two factors under 2^64.
fn exact(v0: i128, v1: i128, part: Part) -> i128 {
    let (gone, whole) = (u128::from(part.gone), u128::from(part.whole));
    let distance = v1.abs_diff(v0);
    let (quotient, rest) = (distance / whole, distance % whole);
    let moved = quotient * gone + (rest * gone + whole / 2) / whole;
    let moved =
        if v1 >= v0 { v0.checked_add_unsigned(moved) } else { v0.checked_sub_unsigned(moved) };
    moved.expect("the value is between two of its type")
}

fn float(v0: f64, v1: f64, part: Part) -> f64 {
    if v0.to_bits() == v1.to_bits() {
        return v0;
    }
    let (gone, whole) = (part.gone as f64, part.whole as f64);
    let product = (v1 - v0) * gone;
    if product.is_finite() {
        return v0 + product / whole;
    }
    let share = gone / whole;
    v0 * (1.0 - share) + v1 * share
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn part(gone: u64, whole: u64) -> Part {
        Part { gone, whole }
    }

    #[test]
    fn integers_are_rounded_to_the_nearest() {
        assert_eq!(exact(0, 10, part(1, 4)), 3);
        assert_eq!(exact(10, 0, part(1, 4)), 7);
        assert_eq!(exact(0, 1, part(1, 3)), 0);
        let (least, most) = (i128::from(i64::MIN), i128::from(u64::MAX));
        assert_eq!(exact(least, i128::from(i64::MAX), part(u64::MAX, u64::MAX)), i64::MAX.into());
        assert_eq!(exact(0, most, part(u64::MAX - 1, u64::MAX)), most - 1);
        let decimal = 10_i128.pow(38) - 1;
        assert_eq!(exact(-decimal, decimal, part(1, 2)), 0);
    }

    #[test]
    fn floats_at_the_ends_of_their_range_do_not_overflow() {
        assert!((float(-f64::MAX, f64::MAX, part(1, 2))).abs() < f64::EPSILON);
        assert!(float(f64::NAN, 1.0, part(1, 2)).is_nan());
        assert!(float(f64::INFINITY, f64::NEG_INFINITY, part(1, 2)).is_nan());
        assert!(float(f64::INFINITY, f64::INFINITY, part(1, 2)).is_infinite());
    }

    proptest! {
        #[test]
        fn what_is_interpolated_is_between(
            v0 in any::<i64>(), v1 in any::<i64>(), gone in any::<u64>(), whole in 1..=u64::MAX
        ) {
            let (v0, v1) = (i128::from(v0), i128::from(v1));
            let value = exact(v0, v1, part(gone % whole, whole));
            prop_assert!(value >= v0.min(v1) && value <= v0.max(v1));
        }
    }
}
