//! `lttb(time, value, n)`: at most n points that draw the line that all points draw.
//!
//! Largest triangle, three buckets (Steinarsson, "Downsampling Time Series for Visual Representation", 2013): first
//! and last point stay; the others are cut into n − 2 buckets of equal counts, and of each stays the point that spans
//! the largest triangle with the point that stayed before it and the mean of the bucket after it.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, PrimitiveArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimestampNanosecondType};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use crate::counters::{
    Compensated, Number, Point, Total, arguments, order, points_of, points_of_states, state_fields,
    states,
};

const NAME: &str = "lttb";

/// Fewer than three points have no triangle; more are no plot.
const POINTS: (usize, usize) = (3, 100_000);

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Lttb {
    signature: Signature,
}

impl Lttb {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn fields(time: &DataType, value: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("time", time.clone(), true),
        Field::new("value", value.clone(), true),
    ])
}

impl AggregateUDFImpl for Lttb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        arguments::counted("lttb(time, value, n)", given.len(), 3, 3)?;
        Ok(vec![
            arguments::time(NAME, "time", &given[0])?,
            arguments::number(NAME, "value", &given[1])?,
            arguments::number(NAME, "n", &given[2])?,
        ])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Struct(fields(&types[0], &types[1])), true))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        line(&args, false)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        line(&args, true)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(match args.input_fields[1].data_type() {
            DataType::Int64 => state_fields::<i64>(args.name),
            DataType::UInt64 => state_fields::<u64>(args.name),
            _ => state_fields::<f64>(args.name),
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn line(args: &AccumulatorArgs<'_>, slides: bool) -> Result<Box<dyn Accumulator>> {
    super::refuse_distinct(NAME, args)?;
    let wanted = arguments::whole(NAME, "n", &args.exprs[2], POINTS)?;
    let (time, value) = (args.expr_fields[0].data_type(), args.expr_fields[1].data_type());
    let fields = fields(time, value);
    Ok(match value {
        DataType::Int64 => Box::new(Line::<i64>::new(wanted, fields, slides)),
        DataType::UInt64 => Box::new(Line::<u64>::new(wanted, fields, slides)),
        _ => Box::new(Line::<f64>::new(wanted, fields, slides)),
    })
}

/// All points of a line.
#[derive(Debug)]
struct Line<N: Number> {
    wanted: usize,
    fields: Fields,
    /// As they came, if those that came first are to leave first.
    points: VecDeque<Point<N>>,
    slides: bool,
}

impl<N: Number> Line<N> {
    fn new(wanted: usize, fields: Fields, slides: bool) -> Self {
        Self { wanted, fields, points: VecDeque::new(), slides }
    }

    /// The points that stay, in order.
    fn draw(&mut self) -> Vec<Point<N>> {
        let copy: Vec<Point<N>>;
        let points = if self.slides {
            let mut sorted: Vec<Point<N>> = self.points.iter().copied().collect();
            sorted.sort_unstable_by(order::<N>);
            copy = sorted;
            &copy[..]
        } else {
            let points = self.points.make_contiguous();
            points.sort_unstable_by(order::<N>);
            points
        };
        down_sample::<N>(points, self.wanted).into_iter().map(|i| points[i]).collect()
    }
}

impl<N: Number> Accumulator for Line<N> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.points.extend(points_of::<N>(&values[1], &values[0]).flatten());
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = points_of::<N>(&values[1], &values[0]).flatten().count();
        if gone > self.points.len() {
            return exec_err!("{} of {} points leave a window", gone, self.points.len());
        }
        self.points.drain(..gone);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.slides
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.points.extend(points_of_states::<N>(states)?.map(|(_, point)| point));
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let states = states::<N>(self.points.iter().copied(), [self.points.len()])?;
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let list = DataType::new_list(DataType::Struct(self.fields.clone()), true);
        if self.points.is_empty() {
            return ScalarValue::try_from(&list);
        }
        let kept = self.draw();
        let times = kept.iter().map(|point| point.time);
        let zone = match self.fields[0].data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let times = PrimitiveArray::<TimestampNanosecondType>::from_iter_values(times);
        let times: ArrayRef = Arc::new(times.with_timezone_opt(zone));
        let values = kept.iter().map(|point| point.value);
        let values: ArrayRef = Arc::new(PrimitiveArray::<N::Arrow>::from_iter_values(values));
        let columns = vec![times, values];
        let rows = StructArray::try_new(self.fields.clone(), columns, None)?;
        Ok(SingleRowListArrayBuilder::new(Arc::new(rows)).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.points.capacity() * size_of::<Point<N>>()
    }
}

/// Which of the points in order stay.
fn down_sample<N: Number>(points: &[Point<N>], wanted: usize) -> Vec<usize> {
    if points.len() <= wanted {
        return (0..points.len()).collect();
    }
    let last = points.len() - 1;
    let buckets = wanted - 2;
    // 100,000 buckets of any number of points that memory holds: no overflow.
    let edge = |bucket: usize| (bucket * (points.len() - 2)) / buckets + 1;
    let mut kept = vec![0];
    let mut stayed = 0;
    for bucket in 0..buckets {
        let next =
            if bucket + 1 < buckets { edge(bucket + 1)..edge(bucket + 2) } else { last..last + 1 };
        let from = points[stayed];
        let mean = mean_from::<N>(from, &points[next]);
        stayed = largest::<N>(from, mean, points, edge(bucket)..edge(bucket + 1));
        kept.push(stayed);
    }
    kept.push(last);
    kept
}

/// Where a point lies, seen from another: nanoseconds, value.
fn offset<N: Number>(from: Point<N>, to: Point<N>) -> (f64, f64) {
    let time = (i128::from(to.time) - i128::from(from.time)) as f64;
    (time, N::difference(to.value, from.value))
}

fn mean_from<N: Number>(from: Point<N>, points: &[Point<N>]) -> (f64, f64) {
    let (mut times, mut values) = (Compensated::default(), Compensated::default());
    for point in points {
        let (time, value) = offset::<N>(from, *point);
        times.add(time);
        values.add(value);
    }
    let count = points.len() as f64;
    (times.rounded() / count, values.rounded() / count)
}

/// The point with the largest triangle; of equal ones the first.
fn largest<N: Number>(
    from: Point<N>,
    mean: (f64, f64),
    points: &[Point<N>],
    bucket: std::ops::Range<usize>,
) -> usize {
    let mut best = (bucket.start, -1.0);
    for i in bucket {
        let (time, value) = offset::<N>(from, points[i]);
        let area = (time * mean.1 - mean.0 * value).abs();
        if area > best.1 {
            best = (i, area);
        }
    }
    best.0
}
