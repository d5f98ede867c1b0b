//! The SQL functions `time_bucket` and `date_bin`.
//!
//! Width, time zone, origin and offset are constants, which make a [`Grid`] for each batch; types tell them apart. The
//! grid answers for one time after the other, and is asked again only when a time leaves the bucket of the one before.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Int64Array, PrimitiveArray};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, IntervalUnit, TimeUnit};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::functions::datetime;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Function, FunctionArg, FunctionArguments};

use super::arguments::{Given, date_bin_grid, is_text, time_bucket_grid};
use super::grid::Grid;
use super::step::DAY;
use crate::types::type_name;

/// Names that arguments may have.
const NAMES: [&str; 5] = ["bucket_width", "ts", "timezone", "origin", "offset"];

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// `time_bucket(width, time [, time zone] [, origin] [, offset])`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Leaves out the names of arguments of `time_bucket`: their types tell what they are.
pub(super) fn take_names(call: &mut Function) {
    if !call.name.to_string().eq_ignore_ascii_case("time_bucket") {
        return;
    }
    let FunctionArguments::List(list) = &mut call.args else { return };
    for argument in &mut list.args {
        let name = match argument {
            FunctionArg::Named { name, .. }
            | FunctionArg::ExprNamed { name: SqlExpr::Identifier(name), .. } => &name.value,
            _ => continue,
        };
        if !NAMES.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        if let FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } = argument {
            *argument = FunctionArg::Unnamed(arg.clone());
        }
    }
}

/// Nanoseconds of the unit of a type of times.
fn unit_of(time: &DataType) -> Option<i128> {
    match time {
        DataType::Timestamp(TimeUnit::Second, _) => Some(1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Some(1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(1),
        DataType::Date32 => Some(DAY),
        _ => None,
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &'static str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=5).contains(&types.len()) {
            return plan_err!(
                "time_bucket takes a width and a time, and may take a time zone, an origin and an offset; it got {} \
                 arguments",
                types.len()
            );
        }
        let time = match &types[1] {
            DataType::Timestamp(_, _) | DataType::Date32 => types[1].clone(),
            other if is_text(other) || matches!(other, DataType::Null | DataType::Date64) => {
                DataType::Timestamp(TimeUnit::Nanosecond, None)
            }
            other => return plan_err!("time_bucket makes buckets of times, not of {other}"),
        };
        let zone = match &time {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let mut coerced = vec![width_type("time_bucket", &types[0])?, time];
        for other in &types[2..] {
            coerced.push(match other {
                DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => {
                    DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())
                }
                DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
                DataType::Null => DataType::Null,
                other if is_text(other) => DataType::Utf8,
                other => {
                    return plan_err!(
                        "time_bucket takes a time zone (text), an origin (a time) and an offset (an interval) after \
                         width and time, not {}",
                        type_name(other)
                    );
                }
            });
        }
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[1].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let time = args.arg_fields[1].data_type();
        // Errors of constants are found when the statement is planned.
        time_bucket_grid(args.scalar_arguments, time)?;
        Ok(Arc::new(args.arg_fields[1].as_ref().clone().with_name(self.name()).with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let time = args.args[1].data_type();
        match time_bucket_grid(&scalars(&args.args), &time)? {
            Given::Nothing => Ok(ColumnarValue::Scalar(ScalarValue::try_from(&time)?)),
            Given::Column => plan_err!(
                "width, time zone, origin and offset of time_bucket are constants, not columns"
            ),
            Given::Grid(mut grid) => on_times(&args.args[1], |times, unit| {
                bin(times, unit, &mut grid, &|time| {
                    exec_err!(
                        "time_bucket: the bucket of {time} ({} since 1970) starts before the times that {} holds",
                        match unit {
                            1 => "ns",
                            1_000 => "us",
                            1_000_000 => "ms",
                            1_000_000_000 => "s",
                            _ => "days",
                        },
                        args.args[1].data_type()
                    )
                })
            }),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(ordering(input))
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        let time = info.get_data_type(&args[1])?;
        let literals: Vec<_> = args.iter().map(Expr::as_literal).collect();
        match time_bucket_grid(&literals, &time) {
            Ok(Given::Grid(grid)) => preimage(&args[1], &time, literal, grid),
            Ok(Given::Nothing | Given::Column) | Err(_) => Ok(PreimageResult::None),
        }
    }
}

/// DataFusion's `date_bin`, with widths as text (`'1h30m'`) and an error for negative ones.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateBin {
    signature: Signature,
    inner: Arc<ScalarUDF>,
}

impl DateBin {
    pub(super) fn new() -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { signature, inner: datetime::date_bin() }
    }
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &'static str {
        "date_bin"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let text = types.first().is_some_and(is_text);
        let mut types = types.to_vec();
        if text {
            types[0] = INTERVAL;
        }
        let fields: Vec<FieldRef> =
            types.iter().map(|t| Arc::new(Field::new("argument", t.clone(), true))).collect();
        let coerced = fields_with_udf(&fields, self.inner.as_ref())?;
        let mut coerced: Vec<DataType> = coerced.iter().map(|f| f.data_type().clone()).collect();
        // An origin without a zone is read in that of the times, as all times are.
        if let [_, DataType::Timestamp(_, zone @ Some(_)), DataType::Timestamp(_, _)] = &coerced[..]
            && !types.get(2).is_some_and(has_zone)
        {
            coerced[2] = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
        }
        if text {
            coerced[0] = DataType::Utf8;
        }
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let time = args.arg_fields[1].data_type();
        date_bin_grid(args.scalar_arguments)?;
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let field = args.arg_fields[1].as_ref().clone().with_name(self.name()).with_nullable(true);
        debug_assert_eq!(&self.inner.return_type(&types)?, time, "date_bin keeps the type");
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = date_bin_grid(&scalars(&args.args))?;
        let time = args.args[1].data_type();
        if let (Given::Grid(mut grid), DataType::Timestamp(_, _)) = (given, &time) {
            return on_times(&args.args[1], |times, unit| bin_or_null(times, unit, &mut grid));
        }
        if let ColumnarValue::Scalar(ScalarValue::Utf8(text)) = &args.args[0] {
            let width = text.as_deref().and_then(super::parse_duration);
            args.args[0] = ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(width));
        }
        self.inner.invoke_with_args(args)
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(ordering(input))
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        let time = info.get_data_type(&args[1])?;
        let literals: Vec<_> = args.iter().map(Expr::as_literal).collect();
        match date_bin_grid(&literals) {
            Ok(Given::Grid(grid)) if matches!(time, DataType::Timestamp(_, _)) => {
                preimage(&args[1], &time, literal, grid)
            }
            Ok(_) | Err(_) => Ok(PreimageResult::None),
        }
    }

    fn documentation(&self) -> Option<&datafusion::logical_expr::Documentation> {
        self.inner.documentation()
    }
}

fn has_zone(time: &DataType) -> bool {
    matches!(time, DataType::Timestamp(_, Some(_)))
}

fn width_type(function: &str, width: &DataType) -> Result<DataType> {
    match width {
        DataType::Interval(_) | DataType::Duration(_) | DataType::Null => Ok(INTERVAL),
        text if is_text(text) => Ok(DataType::Utf8),
        other => plan_err!(
            "the width of {function} is an interval, such as '5m' or INTERVAL '5 minutes', not {}",
            type_name(other)
        ),
    }
}

fn scalars(args: &[ColumnarValue]) -> Vec<Option<&ScalarValue>> {
    args.iter()
        .map(|a| match a {
            ColumnarValue::Scalar(value) => Some(value),
            ColumnarValue::Array(_) => None,
        })
        .collect()
}

/// Buckets are in the order of their times.
fn ordering(input: &[ExprProperties]) -> SortProperties {
    let constant = |p: &ExprProperties| p.sort_properties == SortProperties::Singleton;
    let (before, after) = input.split_at(1);
    if before.iter().chain(&after[1..]).all(constant) {
        after[0].sort_properties
    } else {
        SortProperties::Unordered
    }
}

/// Calls `bin` with times as integers of their unit, and gives its answer their type.
fn on_times(
    times: &ColumnarValue,
    bin: impl FnOnce(&Int64Array, i128) -> Result<Int64Array>,
) -> Result<ColumnarValue> {
    let time = times.data_type();
    let unit = unit_of(&time).expect("times are coerced to timestamps and dates");
    // Casts between a timestamp and its integers, and the other way round, copy nothing.
    let through = if time == DataType::Date32 { DataType::Int32 } else { DataType::Int64 };
    let integers = |array: &ArrayRef| cast(&cast(array, &through)?, &DataType::Int64);
    let back = |array: Int64Array| cast(&cast(&array, &through)?, &time);
    match times {
        ColumnarValue::Array(array) => {
            let integers = integers(array)?;
            let integers = integers.as_any().downcast_ref().expect("64-bit integers");
            Ok(ColumnarValue::Array(back(bin(integers, unit)?)?))
        }
        ColumnarValue::Scalar(value) => {
            let integers = integers(&value.to_array()?)?;
            let integers = integers.as_any().downcast_ref().expect("64-bit integers");
            let array = back(bin(integers, unit)?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
        }
    }
}

/// Starts of buckets, in the same unit as the times, rounded down to it; `outside` says what is wrong with a time whose
/// bucket starts before all times.
fn bin(
    times: &Int64Array,
    unit: i128,
    grid: &mut Grid,
    outside: &dyn Fn(i64) -> Result<i64>,
) -> Result<Int64Array> {
    let mut starts = Vec::with_capacity(times.len());
    let is_null = |i: usize| times.nulls().is_some_and(|n| n.is_null(i));
    if let Some((width, origin)) = in_unit(grid, unit) {
        // A bucket holds `open..=open + last`, once there is one.
        let (mut open, mut known, last) = (0, false, width.cast_unsigned() - 1);
        for (i, &time) in times.values().iter().enumerate() {
            if !known || time < open || time.wrapping_sub(open).cast_unsigned() > last {
                match fixed_start(time, width, origin) {
                    Some(start) => (open, known) = (start, true),
                    None if is_null(i) => known = false,
                    None => open = outside(time)?,
                }
            }
            starts.push(open);
        }
    } else {
        let mut cursor = Cursor::new(grid, unit);
        for (i, &time) in times.values().iter().enumerate() {
            if is_null(i) {
                starts.push(0);
                continue;
            }
            starts.push(match cursor.start(time)? {
                Some(start) => start,
                None => outside(time)?,
            });
        }
    }
    Ok(PrimitiveArray::new(ScalarBuffer::from(starts), times.nulls().cloned()))
}

/// Starts of buckets as DataFusion has them: NULL where a time or its bucket does not fit 64-bit nanoseconds.
fn bin_or_null(times: &Int64Array, unit: i128, grid: &mut Grid) -> Result<Int64Array> {
    if unit == 1 {
        let outside = |_| exec_err!("outside");
        if let Ok(starts) = bin(times, unit, grid, &outside) {
            return Ok(starts);
        }
    }
    let mut cursor = Cursor::new(grid, unit);
    let starts = times.iter().map(|time| {
        let Some(time) = time else { return Ok(None) };
        let fits = |time: i64| i64::try_from(i128::from(time) * unit).is_ok();
        Ok(cursor.start(time)?.filter(|start| fits(time) && fits(*start)))
    });
    starts.collect::<Result<PrimitiveArray<Int64Type>>>()
}

/// Width, and origin from 0 to below it, in a unit, if all buckets have one width and start on that unit.
fn in_unit(grid: &Grid, unit: i128) -> Option<(i64, i64)> {
    let (width, origin) = grid.fixed().filter(|_| grid.is_whole(unit))?;
    let width = i64::try_from(width / unit).ok()?;
    let origin = i64::try_from((origin / unit).rem_euclid(width.into())).ok()?;
    Some((width, origin))
}

fn fixed_start(time: i64, width: i64, origin: i64) -> Option<i64> {
    let past = time.rem_euclid(width) - origin;
    time.checked_sub(if past < 0 { past + width } else { past })
}

/// The bucket of the last time, kept for the next one.
struct Cursor<'a> {
    grid: &'a mut Grid,
    unit: i128,
    /// The times that are known to have `start`.
    from: i128,
    until: i128,
    start: Option<i64>,
}

impl<'a> Cursor<'a> {
    fn new(grid: &'a mut Grid, unit: i128) -> Self {
        Self { grid, unit, from: 0, until: 0, start: None }
    }

    /// The start of a time's bucket; none if it does not fit.
    fn start(&mut self, time: i64) -> Result<Option<i64>> {
        let at = i128::from(time) * self.unit;
        if at < self.from || at >= self.until {
            let span = self.grid.locate(at)?;
            (self.from, self.until) = (span.from, span.until);
            self.start = i64::try_from(span.start.div_euclid(self.unit)).ok();
        }
        Ok(self.start)
    }
}

/// The times whose bucket starts at a literal; none of them if it is no start.
///
/// An empty range of times is written as one that starts and ends where the next bucket starts, so that all comparisons
/// with the literal become comparisons with its ends.
fn preimage(
    time: &Expr,
    data_type: &DataType,
    literal: &Expr,
    mut grid: Grid,
) -> Result<PreimageResult> {
    let (Some(unit), Some(literal)) = (unit_of(data_type), literal.as_literal()) else {
        return Ok(PreimageResult::None);
    };
    if literal.data_type() != *data_type || !grid.is_whole(unit) {
        return Ok(PreimageResult::None);
    }
    let Some(wanted) = integer(literal) else { return Ok(PreimageResult::None) };
    let at = i128::from(wanted) * unit;
    let own = grid.locate(at)?;
    let mut until = own.until;
    while grid.locate(until)?.start == own.start {
        until = grid.locate(until)?.until;
    }
    let bound = |at: i128| {
        let time = i64::try_from(at.div_euclid(unit)).ok()?;
        let integer = match data_type {
            DataType::Date32 => ScalarValue::Int32(Some(i32::try_from(time).ok()?)),
            _ => ScalarValue::Int64(Some(time)),
        };
        integer.cast_to(data_type).ok()
    };
    let Some(upper) = bound(until) else { return Ok(PreimageResult::None) };
    let lower = if own.start == at { literal.clone() } else { upper.clone() };
    Ok(PreimageResult::Range {
        expr: time.clone(),
        interval: Box::new(Interval::try_new(lower, upper)?),
    })
}

/// A time as an integer of its unit.
fn integer(time: &ScalarValue) -> Option<i64> {
    match time {
        ScalarValue::TimestampSecond(v, _)
        | ScalarValue::TimestampMillisecond(v, _)
        | ScalarValue::TimestampMicrosecond(v, _)
        | ScalarValue::TimestampNanosecond(v, _) => *v,
        ScalarValue::Date32(v) => v.map(i64::from),
        _ => None,
    }
}
