//! [`Reduce`]: makes one partial state of each run, where that is a sum or a count, so that an accumulator looks its group
//! up once per run instead of once per row.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowNumericType, AsArray, Int64Array, PrimitiveArray, UInt64Array,
};
use datafusion::arrow::compute::sum;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

/// Rows of a run, on average, from which on reducing pays.
const RUN_ROWS_MIN: usize = 8;

/// A function whose partial states are sums and counts of its argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reduce {
    /// `[count, sum]`.
    Avg,
    /// `[count]`.
    Count,
    /// `[sum]`.
    Sum,
}

impl Reduce {
    /// What an aggregate is reduced by, if it can be.
    pub(super) fn of(aggregate: &AggregateFunctionExpr) -> Option<Self> {
        if aggregate.is_distinct() {
            return None;
        }
        let function = aggregate.fun().inner();
        if function.downcast_ref::<Avg>().is_some() {
            Some(Self::Avg)
        } else if function.downcast_ref::<Count>().is_some() {
            Some(Self::Count)
        } else if function.downcast_ref::<Sum>().is_some() {
            Some(Self::Sum)
        } else {
            None
        }
    }

    /// Partial states of runs, a row for each; none where they would have to be something else, or would not pay.
    pub(super) fn states(
        self,
        values: &[ArrayRef],
        runs: &[(Range<usize>, usize)],
    ) -> Option<Vec<ArrayRef>> {
        let [values] = values else { return None };
        if values.len() < runs.len() * RUN_ROWS_MIN || values.logical_null_count() > 0 {
            return None;
        }
        let counts = runs.iter().map(|(rows, _)| rows.len() as u64);
        match self {
            Self::Avg if *values.data_type() == DataType::Float64 => {
                let counts = Arc::new(UInt64Array::from_iter_values(counts));
                Some(vec![counts, sums::<Float64Type>(values, runs)])
            }
            Self::Avg => None,
            Self::Count => {
                let counts = counts.map(u64::cast_signed);
                Some(vec![Arc::new(Int64Array::from_iter_values(counts))])
            }
            Self::Sum => match values.data_type() {
                DataType::Float64 => Some(vec![sums::<Float64Type>(values, runs)]),
                DataType::Int64 => Some(vec![sums::<Int64Type>(values, runs)]),
                DataType::UInt64 => Some(vec![sums::<UInt64Type>(values, runs)]),
                _ => None,
            },
        }
    }
}

/// Sums of runs, which hold no nulls; those of integers wrap, as DataFusion's do.
fn sums<T: ArrowNumericType>(values: &ArrayRef, runs: &[(Range<usize>, usize)]) -> ArrayRef {
    let values = values.as_primitive::<T>();
    let sums = runs.iter().map(|(rows, _)| sum(&values.slice(rows.start, rows.len())));
    Arc::new(sums.collect::<PrimitiveArray<T>>())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Float64Array;

    use super::*;

    fn states(reduce: Reduce, values: ArrayRef, lengths: &[usize]) -> Option<Vec<ArrayRef>> {
        let mut start = 0;
        let runs = lengths.iter().enumerate().map(|(group, length)| {
            start += length;
            (start - length..start, group)
        });
        reduce.states(&[values], &runs.collect::<Vec<_>>())
    }

    #[test]
    fn a_run_has_the_sum_and_the_count_of_its_rows() {
        let values = || Arc::new(Int64Array::from_iter_values(0..30)) as ArrayRef;
        let want = |values: Vec<i64>| Some(vec![Arc::new(Int64Array::from(values)) as ArrayRef]);
        assert_eq!(states(Reduce::Sum, values(), &[10, 20]), want(vec![45, 390]));
        assert_eq!(states(Reduce::Count, values(), &[10, 20]), want(vec![10, 20]));
        let floats = Arc::new(Float64Array::from_iter_values((0..30).map(f64::from)));
        let want: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(vec![10, 20])),
            Arc::new(Float64Array::from(vec![45.0, 390.0])),
        ];
        assert_eq!(states(Reduce::Avg, floats, &[10, 20]), Some(want));
    }

    #[test]
    fn integers_wrap() {
        let values = Arc::new(Int64Array::from(vec![i64::MAX; 16]));
        let want: ArrayRef = Arc::new(Int64Array::from(vec![-16]));
        assert_eq!(states(Reduce::Sum, values, &[16]), Some(vec![want]));
    }

    #[test]
    fn short_runs_and_nulls_are_left_to_the_accumulator() {
        let values = Arc::new(Int64Array::from_iter_values(0..15));
        assert_eq!(states(Reduce::Sum, values, &[7, 8]), None);
        let values: Int64Array = (0..16).map(|n| (n != 3).then_some(n)).collect();
        let values = Arc::new(values);
        assert_eq!(states(Reduce::Count, values, &[16]), None);
    }
}
