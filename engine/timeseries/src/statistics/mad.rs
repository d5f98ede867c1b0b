//! `mad(x)`: the median of the distances from the median, exactly.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use crate::counters::{Number, arguments};

const NAME: &str = "mad";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Mad {
    signature: Signature,
}

impl Mad {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Mad {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        arguments::counted("mad(x)", given.len(), 1, 1)?;
        Ok(vec![arguments::number(NAME, "x", &given[0])?])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        super::refuse_distinct(NAME, &args)?;
        Ok(match args.expr_fields[0].data_type() {
            DataType::Int64 => Box::new(Values::<i64>::new(mad_of_integers)),
            DataType::UInt64 => Box::new(Values::<u64>::new(mad_of_integers)),
            _ => Box::new(Values::<f64>::new(mad_of_doubles)),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = DataType::new_list(args.input_fields[0].data_type().clone(), true);
        Ok(vec![Arc::new(Field::new(format!("{}[values]", args.name), list, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The values that have come and not gone, and what answers from them.
#[derive(Debug)]
struct Values<N: Number> {
    values: VecDeque<N>,
    mad: fn(&VecDeque<N>) -> Option<f64>,
}

impl<N: Number> Values<N> {
    fn new(mad: fn(&VecDeque<N>) -> Option<f64>) -> Self {
        Self { values: VecDeque::new(), mad }
    }
}

fn values_of<N: Number>(values: &ArrayRef) -> impl Iterator<Item = N> + '_ {
    values.as_primitive::<N::Arrow>().iter().flatten().filter(|value| N::is_value(*value))
}

impl<N: Number> Accumulator for Values<N> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.extend(values_of::<N>(&values[0]));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = values_of::<N>(&values[0]).count();
        self.values.drain(..gone);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.values.extend(values_of::<N>(&values));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<N::Arrow>::from_iter_values(self.values.iter().copied());
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.mad)(&self.values)))
    }

    fn size(&self) -> usize {
        // The copies that an answer sorts are counted, too: 128 bits wide for integers.
        let bytes = size_of::<N>() + size_of::<i128>();
        size_of::<Self>() + self.values.capacity() * bytes
    }
}

/// The two values in the middle, which are one if their number is odd.
fn middle<V: Copy>(values: &mut [V], order: fn(&V, &V) -> std::cmp::Ordering) -> Option<(V, V)> {
    let upper = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let odd = values.len() % 2 == 1;
    let (below, high, _) = values.select_nth_unstable_by(upper, order);
    let high = *high;
    let low = if odd { None } else { below.iter().copied().max_by(order) };
    Some((low.unwrap_or(high), high))
}

/// In halves and quarters, which are whole, until the end.
fn mad_of_integers<V: Into<i128> + Copy>(values: &VecDeque<V>) -> Option<f64> {
    let mut values: Vec<i128> = values.iter().map(|value| (*value).into()).collect();
    let (low, high) = middle(&mut values, i128::cmp)?;
    let median_twice = low + high;
    for value in &mut values {
        *value = (2 * *value - median_twice).abs();
    }
    let (low, high) = middle(&mut values, i128::cmp)?;
    Some((low + high) as f64 / 4.0)
}

fn mad_of_doubles(values: &VecDeque<f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.iter().copied().collect();
    let (low, high) = middle(&mut values, f64::total_cmp)?;
    let median = low.midpoint(high);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    let (low, high) = middle(&mut values, f64::total_cmp)?;
    Some(low.midpoint(high))
}
