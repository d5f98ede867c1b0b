//! Window functions that go along the rows of a partition: `moving_average`, `ema`, `derivative`, `cumulative_sum`.
//!
//! Each answers a row from that row and what it remembers of those before, so that DataFusion streams them. Frames
//! are not looked at. NULL and NaN are no values.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalUnit, TimestampNanosecondType,
};
use datafusion::common::{ScalarValue, exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDFImpl,
};
use datafusion::physical_plan::PhysicalExpr;

use super::sliding_sum::SlidingSum;
use crate::buckets::parse_duration;
use crate::counters::{Compensated, Number, Point, Total, arguments};
use crate::types::type_name;

/// As many rows an average may move over.
const ROWS_MAX: usize = 100_000;

const NANOSECONDS: i128 = 1_000_000_000;

/// Which of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    MovingAverage,
    Ema,
    Derivative,
    CumulativeSum,
}

impl Kind {
    pub(super) const ALL: [Self; 4] =
        [Self::MovingAverage, Self::Ema, Self::Derivative, Self::CumulativeSum];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MovingAverage => "moving_average",
            Self::Ema => "ema",
            Self::Derivative => "derivative",
            Self::CumulativeSum => "cumulative_sum",
        }
    }

    fn usage(self) -> (&'static str, usize, usize) {
        match self {
            Self::MovingAverage => ("moving_average(x, n)", 2, 2),
            Self::Ema => ("ema(x, alpha)", 2, 2),
            Self::Derivative => ("derivative(value, time[, unit])", 2, 3),
            Self::CumulativeSum => ("cumulative_sum(x)", 1, 1),
        }
    }
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AlongRows {
    kind: Kind,
    signature: Signature,
}

impl AlongRows {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for AlongRows {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let (usage, min, max) = self.kind.usage();
        arguments::counted(usage, given.len(), min, max)?;
        let value = if self.kind == Kind::Derivative { "value" } else { "x" };
        let number = arguments::number(name, value, &given[0])?;
        match self.kind {
            Kind::CumulativeSum => Ok(vec![number]),
            Kind::MovingAverage => Ok(vec![number, arguments::number(name, "n", &given[1])?]),
            Kind::Ema => {
                arguments::number(name, "alpha", &given[1])?;
                Ok(vec![DataType::Float64, DataType::Float64])
            }
            Kind::Derivative => {
                let mut types = vec![number, arguments::time(name, "time", &given[1])?];
                if let Some(unit) = given.get(2) {
                    types.push(match unit {
                        DataType::Interval(_) | DataType::Duration(_) => {
                            DataType::Interval(IntervalUnit::MonthDayNano)
                        }
                        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
                        other => {
                            return plan_err!(
                                "{name}: unit must be an interval, such as '1m', not {}",
                                type_name(other)
                            );
                        }
                    });
                }
                Ok(types)
            }
        }
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let data_type = answer_type(self.kind, args.input_fields());
        Ok(Arc::new(Field::new(args.name(), data_type, true)))
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        match args.input_fields()[0].data_type() {
            DataType::Int64 => evaluator::<i64>(self.kind, &args),
            DataType::UInt64 => evaluator::<u64>(self.kind, &args),
            _ => evaluator::<f64>(self.kind, &args),
        }
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::None
    }
}

fn answer_type(kind: Kind, inputs: &[FieldRef]) -> DataType {
    match (kind, inputs.first().map(|field| field.data_type())) {
        (Kind::CumulativeSum, Some(integer @ (DataType::Int64 | DataType::UInt64))) => {
            integer.clone()
        }
        _ => DataType::Float64,
    }
}

fn evaluator<N: Sums>(
    kind: Kind,
    args: &PartitionEvaluatorArgs<'_>,
) -> Result<Box<dyn PartitionEvaluator>> {
    let (name, exprs) = (kind.name(), args.input_exprs());
    let data_type = answer_type(kind, args.input_fields());
    Ok(match kind {
        Kind::MovingAverage => {
            let rows = arguments::whole(name, "n", &exprs[1], (1, ROWS_MAX))?;
            Box::new(Walk { data_type, step: MovingAverage::<N>(SlidingSum::new(rows)) })
        }
        Kind::Ema => {
            let alpha = arguments::finite(name, "alpha", &exprs[1])?;
            if alpha <= 0.0 || alpha > 1.0 {
                return plan_err!("{name}: alpha must be above 0 and at most 1, not {alpha}");
            }
            Box::new(Walk { data_type, step: Ema { alpha, average: None } })
        }
        Kind::Derivative => {
            let unit = exprs.get(2).map_or(Ok(NANOSECONDS), unit)?;
            Box::new(Walk { data_type, step: Derivative::<N> { unit, before: None } })
        }
        Kind::CumulativeSum => {
            let sum: Option<N::Sum> = None;
            Box::new(Walk { data_type, step: CumulativeSum::<N>(sum) })
        }
    })
}

/// The length of an interval in nanoseconds; a day has 24 hours.
fn unit(expr: &Arc<dyn PhysicalExpr>) -> Result<i128> {
    let name = Kind::Derivative.name();
    let value = arguments::constant(name, "unit", expr)?;
    let interval = match &value {
        ScalarValue::IntervalMonthDayNano(interval) => *interval,
        ScalarValue::Utf8(Some(text)) => parse_duration(text),
        _ => None,
    };
    let Some(interval) = interval else {
        return plan_err!("{name}: unit must be an interval, such as '1m', not {value}");
    };
    if interval.months != 0 {
        return plan_err!("{name}: unit must not have months or years: they differ in length");
    }
    let days = i128::from(interval.days) * 24 * 3600 * NANOSECONDS;
    let unit = days + i128::from(interval.nanoseconds);
    if unit <= 0 {
        return plan_err!("{name}: unit must be longer than zero");
    }
    Ok(unit)
}

/// What goes along the rows, one after the other.
trait Step: Debug + Send + 'static {
    /// Takes the next row and answers it.
    fn step(&mut self, columns: &[ArrayRef], row: usize) -> Result<ScalarValue>;
}

#[derive(Debug)]
struct Walk<S> {
    data_type: DataType,
    step: S,
}

impl<S: Step> PartitionEvaluator for Walk<S> {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        if num_rows == 0 {
            return Ok(new_empty_array(&self.data_type));
        }
        let answers =
            (0..num_rows).map(|row| self.step.step(values, row)).collect::<Result<Vec<_>>>()?;
        ScalarValue::iter_to_array(answers)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        self.step.step(values, range.start)
    }

    fn is_causal(&self) -> bool {
        true
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}

fn value<N: Number>(columns: &[ArrayRef], row: usize) -> Option<N> {
    let values = columns[0].as_primitive::<N::Arrow>();
    values.is_valid(row).then(|| values.value(row)).filter(|value| N::is_value(*value))
}

#[derive(Debug)]
struct MovingAverage<N: Number>(SlidingSum<N>);

impl<N: Number> Step for MovingAverage<N> {
    fn step(&mut self, columns: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        self.0.push(value::<N>(columns, row));
        Ok(ScalarValue::Float64(self.0.average()))
    }
}

#[derive(Debug)]
struct Ema {
    alpha: f64,
    average: Option<f64>,
}

impl Step for Ema {
    fn step(&mut self, columns: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        if let Some(x) = value::<f64>(columns, row) {
            let alpha = self.alpha;
            self.average =
                Some(self.average.map_or(x, |average| alpha * x + (1.0 - alpha) * average));
        }
        Ok(ScalarValue::Float64(self.average))
    }
}

#[derive(Debug)]
struct Derivative<N: Number> {
    /// In nanoseconds.
    unit: i128,
    before: Option<Point<N>>,
}

impl<N: Number> Step for Derivative<N> {
    fn step(&mut self, columns: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        let times = columns[1].as_primitive::<TimestampNanosecondType>();
        let (Some(value), true) = (value::<N>(columns, row), times.is_valid(row)) else {
            return Ok(ScalarValue::Float64(None));
        };
        let point = Point { time: times.value(row), value };
        let quotient = self.before.and_then(|before| {
            let time = i128::from(point.time) - i128::from(before.time);
            let units = time as f64 / self.unit as f64;
            (time != 0).then(|| N::difference(point.value, before.value) / units)
        });
        self.before = Some(point);
        Ok(ScalarValue::Float64(quotient))
    }
}

#[derive(Debug)]
struct CumulativeSum<N: Number>(Option<N::Sum>);

impl<N: Sums> Step for CumulativeSum<N> {
    fn step(&mut self, columns: &[ArrayRef], row: usize) -> Result<ScalarValue> {
        if let Some(x) = value::<N>(columns, row) {
            self.0.get_or_insert_default().add(x);
        }
        let sum = self.0.map(|sum| {
            N::whole(&sum).ok_or_else(|| {
                let name = Kind::CumulativeSum.name();
                exec_datafusion_err!("{name}: the sum does not fit its type: cast x to DOUBLE")
            })
        });
        Ok(N::scalar(sum.transpose()?))
    }
}

/// Numbers whose sums are of their own type.
trait Sums: Number {
    /// The sum, none if it does not fit.
    fn whole(sum: &Self::Sum) -> Option<Self>;

    /// As a value of the column.
    fn scalar(sum: Option<Self>) -> ScalarValue;
}

impl Sums for i64 {
    fn whole(sum: &i128) -> Option<i64> {
        i64::try_from(*sum).ok()
    }

    fn scalar(sum: Option<i64>) -> ScalarValue {
        ScalarValue::Int64(sum)
    }
}

impl Sums for u64 {
    fn whole(sum: &i128) -> Option<u64> {
        u64::try_from(*sum).ok()
    }

    fn scalar(sum: Option<u64>) -> ScalarValue {
        ScalarValue::UInt64(sum)
    }
}

impl Sums for f64 {
    fn whole(sum: &Compensated) -> Option<f64> {
        Some(sum.rounded())
    }

    fn scalar(sum: Option<f64>) -> ScalarValue {
        ScalarValue::Float64(sum)
    }
}
