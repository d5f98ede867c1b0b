//! `histogram(x, lo, hi, n)`: how many values lie in each of n equal buckets, below and above them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use crate::counters::arguments;

const NAME: &str = "histogram";

/// As many buckets there may be.
const BUCKETS_MAX: usize = 100_000;

/// The function. Its edges are those of `TimescaleDB`'s: a bucket has its lower edge and not its upper one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Histogram {
    signature: Signature,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Histogram {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        arguments::counted("histogram(x, lo, hi, n)", given.len(), 4, 4)?;
        for (argument, given) in ["x", "lo", "hi"].iter().zip(given) {
            arguments::number(NAME, argument, given)?;
        }
        let count = arguments::number(NAME, "n", &given[3])?;
        Ok(vec![DataType::Float64, DataType::Float64, DataType::Float64, count])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Int64, true))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        super::refuse_distinct(NAME, &args)?;
        let lo = arguments::finite(NAME, "lo", &args.exprs[1])?;
        let hi = arguments::finite(NAME, "hi", &args.exprs[2])?;
        if lo >= hi {
            return plan_err!("{NAME}: lo must be below hi, not {lo} and {hi}");
        }
        let buckets = arguments::whole(NAME, "n", &args.exprs[3], (1, BUCKETS_MAX))?;
        Ok(Box::new(Counts { lo, hi, buckets, of: vec![0; buckets + 2] }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = DataType::new_list(DataType::Int64, true);
        Ok(vec![Arc::new(Field::new(format!("{}[counts]", args.name), list, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Counts: below, of each bucket, above.
#[derive(Debug)]
struct Counts {
    lo: f64,
    hi: f64,
    buckets: usize,
    of: Vec<i64>,
}

impl Counts {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of n")]
    fn bucket(&self, x: f64) -> usize {
        if x < self.lo {
            return 0;
        }
        if x >= self.hi {
            return self.buckets + 1;
        }
        // Halves do not overflow where the whole range does.
        let width = self.hi / 2.0 - self.lo / 2.0;
        let share = (x / 2.0 - self.lo / 2.0) / width;
        ((share * self.buckets as f64) as usize).min(self.buckets - 1) + 1
    }

    fn count(&mut self, values: &ArrayRef, by: i64) {
        let values = values.as_primitive::<Float64Type>();
        for x in values.iter().flatten().filter(|x| !x.is_nan()) {
            let bucket = self.bucket(x);
            self.of[bucket] += by;
        }
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(&values[0], 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(&values[0], -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for others in states[0].as_list::<i32>().iter().flatten() {
            let others = others.as_primitive::<Int64Type>().values();
            self.of.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let counts = Arc::new(Int64Array::from(self.of.clone()));
        Ok(SingleRowListArrayBuilder::new(counts).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.of.capacity() * size_of::<i64>()
    }
}
