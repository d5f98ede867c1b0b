//! [`SpanPlanner`]: intervals and durations times a number, or divided by one, as in `5 * INTERVAL '1 minute'` and
//! `(max(time) - min(time)) / 2`; and lengths of time and times as texts, as in `now() - '1h'` and `time - '2024-01-01'`.
//! DataFusion 55 has no such operators.
//!
//! Intervals are multiplied as in `PostgreSQL` (`interval_mul` of `src/backend/utils/adt/timestamp.c`): each part by itself;
//! what is left of a month goes to the days, 30 of them, and what is left of a day to the time, 24 hours.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, make_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DFSchema, exec_err, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast as cast_expr, lit,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use quorate_timeseries::parse_duration;

const DAYS_PER_MONTH: f64 = 30.0;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Plans products and quotients that have an interval or a duration in them, and sums and differences of a time and a text.
#[derive(Debug)]
pub(crate) struct SpanPlanner;

/// Gives a text beside a time its type: a length of time, or else, in a difference, a time.
fn with_text(mut expr: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let type_of = |side: &Expr| side.get_type(schema).ok().filter(is_time);
    let (left, right) = (type_of(&expr.left), type_of(&expr.right));
    let is_difference = expr.op == BinaryOperator::Minus;
    match (left, text_of(&expr.left), right, text_of(&expr.right)) {
        (Some(time), _, _, Some(text)) => {
            if let Some(span) = parse_duration(text) {
                expr.right = lit(ScalarValue::IntervalMonthDayNano(Some(span)));
            } else if is_difference {
                expr.right = cast_expr(expr.right, time);
            }
        }
        (_, Some(text), Some(time), _) => match parse_duration(text) {
            Some(span) if !is_difference => {
                expr.left = lit(ScalarValue::IntervalMonthDayNano(Some(span)));
            }
            None if is_difference => expr.left = cast_expr(expr.left, time),
            _ => {}
        },
        _ => {}
    }
    expr
}

/// Gives a date that a length with a time of day is added to a time of day too, as in `PostgreSQL`.
fn with_clock(mut expr: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let is_date = |side: &Expr| {
        side.get_type(schema).is_ok_and(|kind| matches!(kind, DataType::Date32 | DataType::Date64))
    };
    let wall = DataType::Timestamp(TimeUnit::Nanosecond, None);
    if has_clock(&expr.right) && is_date(&expr.left) {
        expr.left = cast_expr(expr.left, wall);
    } else if has_clock(&expr.left) && is_date(&expr.right) {
        expr.right = cast_expr(expr.right, wall);
    }
    expr
}

/// Whether it is a constant interval that is not of whole days.
fn has_clock(expr: &Expr) -> bool {
    const DAY_NANOSECONDS: i64 = 86_400_000_000_000;
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _) => {
            span.nanoseconds % DAY_NANOSECONDS != 0
        }
        _ => false,
    }
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

impl ExprPlanner for SpanPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let operator = match expr.op {
            BinaryOperator::Multiply => Scale::Times,
            BinaryOperator::Divide => Scale::Over,
            BinaryOperator::Plus | BinaryOperator::Minus => {
                return Ok(PlannerResult::Original(with_clock(with_text(expr, schema), schema)));
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        let (span, number) = match (span_type(&left), span_type(&right)) {
            (Some(span), None) => number_type(&right).map(|number| (span, number)),
            (None, Some(span)) if operator == Scale::Times => {
                number_type(&left).map(|number| (span, number))
            }
            _ => None,
        }
        .map_or((None, None), |(span, number)| (Some(span), Some(number)));
        let (Some(span), Some(number)) = (span, number) else {
            return Ok(PlannerResult::Original(expr));
        };
        let (of, by) = match span_type(&left) {
            Some(_) => (expr.left, expr.right),
            None => (expr.right, expr.left),
        };
        let arguments = vec![as_type(of, span, schema)?, as_type(by, number, schema)?];
        Ok(PlannerResult::Planned(operator.call(arguments)))
    }
}

fn as_type(expr: Expr, kind: DataType, schema: &DFSchema) -> Result<Expr> {
    Ok(if expr.get_type(schema)? == kind { expr } else { cast_expr(expr, kind) })
}

/// What intervals and durations are multiplied as.
fn span_type(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Interval(_) => Some(DataType::Interval(IntervalUnit::MonthDayNano)),
        DataType::Duration(unit) => Some(DataType::Duration(*unit)),
        _ => None,
    }
}

/// What numbers are multiplied as.
fn number_type(kind: &DataType) -> Option<DataType> {
    match kind {
        kind if kind.is_integer() => Some(DataType::Int64),
        // NULL, or a parameter of which nothing is known but this.
        kind if kind.is_numeric() || kind.is_null() => Some(DataType::Float64),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scale {
    Times,
    Over,
}

impl Scale {
    fn call(self, arguments: Vec<Expr>) -> Expr {
        static TIMES: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Scaled::function(Scale::Times));
        static OVER: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Scaled::function(Scale::Over));
        let function = match self {
            Self::Times => &TIMES,
            Self::Over => &OVER,
        };
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), arguments))
    }

    fn of(self, value: f64, number: f64) -> f64 {
        match self {
            Self::Times => value * number,
            Self::Over => value / number,
        }
    }
}

/// A number, exact where it can be.
#[derive(Clone, Copy, Debug)]
enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
        }
    }

    fn is_zero(self) -> bool {
        self.as_f64() == 0.0
    }
}

/// `(span, number)` → span. No statement can name it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scaled {
    scale: Scale,
    signature: Signature,
}

impl Scaled {
    fn function(scale: Scale) -> Arc<ScalarUDF> {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Self { scale, signature }))
    }

    fn scaled<T: ArrowPrimitiveType>(
        &self,
        spans: &ArrayRef,
        numbers: &ArrayRef,
        scale: impl Fn(T::Native, Number) -> Option<T::Native>,
    ) -> Result<ArrayRef> {
        let spans = spans.as_primitive::<T>();
        let (integers, floats) =
            (numbers.as_primitive_opt::<Int64Type>(), numbers.as_primitive_opt::<Float64Type>());
        let number = |row: usize| match (integers, floats) {
            (Some(integers), _) => {
                integers.is_valid(row).then(|| Number::Integer(integers.value(row)))
            }
            (None, Some(floats)) => floats.is_valid(row).then(|| Number::Float(floats.value(row))),
            (None, None) => None,
        };
        let values = spans.iter().enumerate().map(|(row, span)| {
            let (Some(span), Some(number)) = (span, number(row)) else { return Ok(None) };
            if self.scale == Scale::Over && number.is_zero() {
                return Err(ArrowError::DivideByZero.into());
            }
            if let Some(scaled) = scale(span, number) {
                return Ok(Some(scaled));
            }
            let operator = if self.scale == Scale::Times { "times" } else { "divided by" };
            exec_err!("an interval {operator} {} is out of range", number.shown())
        });
        Ok(Arc::new(values.collect::<Result<PrimitiveArray<T>>>()?))
    }
}

impl ScalarUDFImpl for Scaled {
    fn name(&self) -> &'static str {
        match self.scale {
            Scale::Times => "interval_times",
            Scale::Over => "interval_divided",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = arguments.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let [spans, numbers] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return internal_err!("{} takes a span and a number", self.name());
        };
        let scaled = match spans.data_type() {
            DataType::Interval(IntervalUnit::MonthDayNano) => self
                .scaled::<IntervalMonthDayNanoType>(spans, numbers, |span, number| {
                    interval(self.scale, span, number)
                })?,
            kind @ DataType::Duration(_) => {
                let ticks = cast(spans, &DataType::Int64)?;
                let scale = |span, number| units(self.scale, span, number);
                let scaled = self.scaled::<Int64Type>(&ticks, numbers, scale)?;
                make_array(scaled.to_data().into_builder().data_type(kind.clone()).build()?)
            }
            other => return internal_err!("{} takes no {other}", self.name()),
        };
        if is_constant {
            let value = ScalarValue::try_from_array(&scaled, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(scaled))
    }
}

/// A whole number of units, such as nanoseconds, rounded to the nearest; `None` out of range.
fn units(scale: Scale, units: i64, number: Number) -> Option<i64> {
    match (scale, number) {
        (Scale::Times, Number::Integer(number)) => units.checked_mul(number),
        (Scale::Over, Number::Integer(number)) => {
            let (units, number) = (i128::from(units), i128::from(number));
            let (quotient, rest) = (units / number, units % number);
            let up = rest.abs() * 2 >= number.abs();
            let sign = units.signum() * number.signum();
            i64::try_from(quotient + if up { sign } else { 0 }).ok()
        }
        (_, Number::Float(number)) => whole(scale.of(units as f64, number).round()),
    }
}

fn interval(
    scale: Scale,
    of: IntervalMonthDayNano,
    number: Number,
) -> Option<IntervalMonthDayNano> {
    let by = number.as_f64();
    let months = scale.of(f64::from(of.months), by);
    let days = scale.of(f64::from(of.days), by);
    let days_of_months = micros(months.fract() * DAYS_PER_MONTH);
    let seconds = micros((days.fract() + days_of_months.fract()) * SECONDS_PER_DAY);
    let more_days = (seconds / SECONDS_PER_DAY).trunc();
    let seconds = SECONDS_PER_DAY.mul_add(-more_days, seconds);
    let days = days.trunc() + days_of_months.trunc() + more_days;
    let nanoseconds =
        units(scale, of.nanoseconds, number)?.checked_add(whole((seconds * 1e9).round())?)?;
    Some(IntervalMonthDayNano {
        months: i32::try_from(whole(months.trunc())?).ok()?,
        days: i32::try_from(whole(days)?).ok()?,
        nanoseconds,
    })
}

/// Rounded to six digits, which hides that 0.1 is none of a double's values.
fn micros(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A double without a fraction as an integer.
#[expect(clippy::cast_possible_truncation, reason = "checked to be in the range")]
fn whole(value: f64) -> Option<i64> {
    // -2^63 is a double and 2^63 - 1 is not.
    let range = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
    range.contains(&value).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(months: i32, days: i32, nanoseconds: i64, number: Number) -> Option<(i32, i32, i64)> {
        let of = IntervalMonthDayNano { months, days, nanoseconds };
        interval(Scale::Times, of, number).map(|i| (i.months, i.days, i.nanoseconds))
    }

    #[test]
    fn what_is_left_of_a_part_goes_to_the_next_one() {
        const HOUR: i64 = 3_600_000_000_000;
        assert_eq!(times(1, 1, HOUR, Number::Integer(-3)), Some((-3, -3, -3 * HOUR)));
        assert_eq!(times(1, 0, 0, Number::Float(1.5)), Some((1, 15, 0)));
        assert_eq!(times(1, 0, 0, Number::Float(0.25)), Some((0, 7, 12 * HOUR)));
        assert_eq!(times(0, 1, 0, Number::Float(0.1)), Some((0, 0, HOUR * 24 / 10)));
        assert_eq!(times(1, 1, 0, Number::Float(-0.5)), Some((0, -15, -12 * HOUR)));
        assert_eq!(times(0, 0, i64::MAX, Number::Integer(1)), Some((0, 0, i64::MAX)));
        for out in [Number::Integer(i64::MAX), Number::Float(f64::NAN), Number::Float(1e300)] {
            assert_eq!(times(0, 0, 2, out), None, "{out:?}");
            assert_eq!(times(1, 0, 0, out), None, "{out:?}");
        }
    }

    #[test]
    fn quotients_are_rounded_to_the_nearest_unit() {
        let over = |n, by| units(Scale::Over, n, Number::Integer(by));
        assert_eq!(
            [over(7, 2), over(-7, 2), over(7, -2), over(5, 3)].map(Option::unwrap),
            [4, -4, -4, 2]
        );
        assert_eq!(over(i64::MAX, 1), Some(i64::MAX));
        assert_eq!(over(i64::MIN, -1), None);
        assert_eq!(units(Scale::Over, 3, Number::Float(1.5)), Some(2));
    }
}
