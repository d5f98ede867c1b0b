//! `gaps`: where a series has no points for longer than it should.
//!
//! One pass over each series in the order of time: the time of the point before comes from `lag`, and [`MissingPoints`]
//! counts what would lie between. Over an input that is sorted by series and time, as stored tables are, nothing is sorted
//! and memory is a few batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::{Column, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::lag;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use crate::gapfill::Width;

/// Nanoseconds of a constant interval, duration or text such as `1m`, which is `argument` of `function`; never negative.
pub fn fixed_interval(function: &str, argument: &str, value: &ScalarValue) -> Result<i64> {
    let name = format!("{function}: {argument}");
    match Width::of(&name, value)? {
        Some(Width::Nanoseconds(ns)) => Ok(ns),
        Some(Width::Months(_)) => {
            plan_err!(
                "{name} is in months, which differ in length; write days, as in INTERVAL '30 days'"
            )
        }
        None => plan_err!("{name} is NULL; write an interval, as in INTERVAL '1 minute'"),
    }
}

/// A fixed length in nanoseconds that may be none, or an error that names the argument.
pub fn fixed_tolerance(function: &str, argument: &str, value: &ScalarValue) -> Result<i64> {
    if Width::is_zero(value) { Ok(0) } else { fixed_interval(function, argument, value) }
}

/// What [`gaps`] looks for, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapLimits {
    /// How far apart neighbours should be.
    pub interval: i64,
    /// How much farther they may be.
    pub tolerance: i64,
}

/// Rows of the gaps in `points`, whose column `time` is a timestamp: the tags, `gap_start` and `gap_end` (the points on
/// either side) and `missing` (how many points at the interval would lie between).
pub fn gaps(
    points: LogicalPlan,
    tags: &[Column],
    time: &Column,
    limits: GapLimits,
) -> Result<LogicalPlan> {
    let of_tags: Vec<Expr> = tags.iter().cloned().map(Expr::Column).collect();
    let end = Expr::Column(time.clone());
    let used = of_tags.iter().cloned().chain([end.clone()]);
    let before = lag(end.clone(), Some(1), None)
        .partition_by(of_tags.clone())
        .order_by(vec![end.clone().sort(true, true)])
        .build()?
        .alias("gap_start");
    let start = Expr::Column(Column::from_name("gap_start"));
    let missing = ScalarUDF::new_from_impl(MissingPoints::new()).call(vec![
        start.clone(),
        end.clone(),
        lit(limits.interval),
        lit(limits.tolerance),
    ]);
    let columns = of_tags.iter().cloned().map(|tag| {
        let name = tag.schema_name().to_string();
        match tag {
            Expr::Column(column) => Expr::Column(column.clone()).alias(column.name),
            other => other.alias(name),
        }
    });
    let columns = columns.chain([start, end.alias("gap_end"), missing.alias("missing")]);
    LogicalPlanBuilder::from(points)
        .project(used)?
        .window(vec![before])?
        .project(columns)?
        .filter(Expr::Column(Column::from_name("missing")).is_not_null())?
        .alias("gaps")?
        .build()
}

/// `missing_points(start, end, interval, tolerance)`: NULL where the two are close enough. It has no name in SQL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MissingPoints {
    signature: Signature,
}

impl MissingPoints {
    fn new() -> Self {
        Self { signature: Signature::any(4, Volatility::Immutable) }
    }
}

/// Times as nanoseconds since 1970; an error for those that are out of their range.
fn nanoseconds(times: &ArrayRef) -> Result<ArrayRef> {
    let whole = match times.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        other => return internal_err!("gaps are between timestamps, not {other}"),
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast(&cast_with_options(times, &whole, &options)?, &DataType::Int64)?)
}

/// `ceil((end - start) / interval) - 1` where they are more than interval and tolerance apart.
fn missing(start: i64, end: i64, limits: GapLimits) -> Result<Option<i64>> {
    let distance = i128::from(end) - i128::from(start);
    let (interval, tolerance) = (i128::from(limits.interval), i128::from(limits.tolerance));
    if distance <= interval + tolerance {
        return Ok(None);
    }
    if let Ok(count) = i64::try_from((distance - 1) / interval) {
        Ok(Some(count))
    } else {
        exec_err!("gaps: more than {} points are missing in one gap", i64::MAX)
    }
}

impl ScalarUDFImpl for MissingPoints {
    fn name(&self) -> &'static str {
        "missing_points"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [start, end, interval, tolerance] = &args.args[..] else {
            return internal_err!("missing_points takes two times and two lengths");
        };
        let (
            ColumnarValue::Scalar(ScalarValue::Int64(Some(interval))),
            ColumnarValue::Scalar(ScalarValue::Int64(Some(tolerance))),
        ) = (interval, tolerance)
        else {
            return internal_err!("lengths of missing_points are constants");
        };
        let limits = GapLimits { interval: *interval, tolerance: *tolerance };
        let counted = |time: &ColumnarValue| nanoseconds(&time.to_array(args.number_rows)?);
        let (start, end) = (counted(start)?, counted(end)?);
        let (start, end) = (start.as_primitive::<Int64Type>(), end.as_primitive::<Int64Type>());
        let mut counts = Int64Array::builder(start.len());
        for row in 0..start.len() {
            counts.append_option(if start.is_valid(row) && end.is_valid(row) {
                missing(start.value(row), end.value(row), limits)?
            } else {
                None
            });
        }
        Ok(ColumnarValue::Array(Arc::new(counts.finish())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_points_are_those_that_would_lie_between() {
        let check = |distance: i64, tolerance: i64, want: Option<i64>| {
            let limits = GapLimits { interval: 60, tolerance };
            assert_eq!(missing(1_000, 1_000 + distance, limits).unwrap(), want, "{distance}");
        };
        check(60, 0, None);
        check(61, 0, Some(1));
        check(120, 0, Some(1));
        check(121, 0, Some(2));
        check(360 * 60, 0, Some(359));
        check(120, 60, None);
        check(121, 60, Some(2));
        let limits = GapLimits { interval: 1, tolerance: 0 };
        assert!(missing(i64::MIN, i64::MAX, limits).is_err());
        let limits = GapLimits { interval: i64::MAX, tolerance: i64::MAX };
        assert_eq!(missing(i64::MIN, i64::MAX, limits).unwrap(), Some(2));
    }
}
