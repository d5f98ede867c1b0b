//! [`ValueRange`]: which values of a field a query can use.

use std::ops::Bound;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type, UInt64Type};

use super::CellStatistic;
use crate::{ColumnId, FieldType};

/// The lowest and the highest of some values.
pub type Bounds<T> = (Bound<T>, Bound<T>);

/// Values that a query can use of a field: it has no use for rows without one of them, rows without a value included.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueRange {
    /// The field.
    pub field: ColumnId,
    /// The values, in the field's type.
    pub values: ValueBounds,
}

/// Bounds of values.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueBounds {
    /// Of floats, which are compared as numbers. Nothing is said of NaN.
    Float64(Bounds<f64>),
    /// Of integers.
    Int64(Bounds<i64>),
    /// Of integers without sign.
    UInt64(Bounds<u64>),
}

impl ValueRange {
    /// The statistics of cells that it asks for.
    pub(super) fn statistics(&self) -> [(ColumnId, FieldType, CellStatistic); 4] {
        let kind = match self.values {
            ValueBounds::Float64(_) => FieldType::Float64,
            ValueBounds::Int64(_) => FieldType::Int64,
            ValueBounds::UInt64(_) => FieldType::UInt64,
        };
        let all =
            [CellStatistic::Count, CellStatistic::NanCount, CellStatistic::Min, CellStatistic::Max];
        all.map(|statistic| (self.field, kind, statistic))
    }

    /// Leaves only those of `kept` whose row has such a value, or NaN, in the rows of an array that begin with `first`. An
    /// array of another type says nothing.
    pub fn narrow_rows(&self, array: &dyn Array, first: usize, kept: &mut [bool]) {
        match &self.values {
            ValueBounds::Float64(bounds) => {
                narrow_rows::<Float64Type>(
                    with_both_zeros(*bounds),
                    array,
                    first,
                    kept,
                    f64::is_nan,
                );
            }
            ValueBounds::Int64(bounds) => {
                narrow_rows::<Int64Type>(*bounds, array, first, kept, |_| false);
            }
            ValueBounds::UInt64(bounds) => {
                narrow_rows::<UInt64Type>(*bounds, array, first, kept, |_| false);
            }
        }
    }

    /// Leaves only those of `kept` that may hold such a value, by their statistics.
    pub(super) fn narrow(&self, statistics: &[ArrayRef], kept: &mut [bool]) {
        match &self.values {
            ValueBounds::Float64(bounds) => {
                narrow::<Float64Type>(with_both_zeros(*bounds), statistics, kept);
            }
            ValueBounds::Int64(bounds) => narrow::<Int64Type>(*bounds, statistics, kept),
            ValueBounds::UInt64(bounds) => narrow::<UInt64Type>(*bounds, statistics, kept),
        }
    }
}

/// 0 and −0 are one number to some comparisons and two to others.
fn with_both_zeros((low, high): Bounds<f64>) -> Bounds<f64> {
    let with_zero = |bound: Bound<f64>| match bound {
        Bound::Excluded(zero) if zero == 0.0 => Bound::Included(zero),
        other => other,
    };
    (with_zero(low), with_zero(high))
}

fn narrow_rows<T: ArrowPrimitiveType>(
    (low, high): Bounds<T::Native>,
    array: &dyn Array,
    first: usize,
    kept: &mut [bool],
    is_other: impl Fn(T::Native) -> bool,
) {
    let Some(array) = array.as_primitive_opt::<T>() else { return };
    let values = &array.values()[first..first + kept.len()];
    match low {
        Bound::Unbounded => {}
        Bound::Included(low) => leave(values, kept, |value| value >= low || is_other(value)),
        Bound::Excluded(low) => leave(values, kept, |value| value > low || is_other(value)),
    }
    match high {
        Bound::Unbounded => {}
        Bound::Included(high) => leave(values, kept, |value| value <= high || is_other(value)),
        Bound::Excluded(high) => leave(values, kept, |value| value < high || is_other(value)),
    }
    if array.null_count() > 0 {
        for (row, kept) in kept.iter_mut().enumerate() {
            *kept &= array.is_valid(first + row);
        }
    }
}

fn leave<N: Copy>(values: &[N], kept: &mut [bool], holds: impl Fn(N) -> bool) {
    for (kept, value) in kept.iter_mut().zip(values) {
        *kept &= holds(*value);
    }
}

fn narrow<T: ArrowPrimitiveType>(
    (low, high): Bounds<T::Native>,
    statistics: &[ArrayRef],
    kept: &mut [bool],
) {
    let [count, nans, min, max] = statistics else { return };
    let count = count.as_primitive::<UInt32Type>().values();
    let nans = nans.as_primitive::<UInt32Type>().values();
    let (min, max) = (min.as_primitive::<T>(), max.as_primitive::<T>());
    for (at, kept) in kept.iter_mut().enumerate() {
        if count[at] == 0 {
            *kept = false;
        } else if nans[at] == 0 && min.is_valid(at) && max.is_valid(at) {
            let reaches_low = match low {
                Bound::Unbounded => true,
                Bound::Included(low) => max.value(at) >= low,
                Bound::Excluded(low) => max.value(at) > low,
            };
            let reaches_high = match high {
                Bound::Unbounded => true,
                Bound::Included(high) => min.value(at) <= high,
                Bound::Excluded(high) => min.value(at) < high,
            };
            *kept &= reaches_low && reaches_high;
        }
    }
}
