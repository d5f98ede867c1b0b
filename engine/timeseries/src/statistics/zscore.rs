//! `zscore(x)`: how many standard deviations a value lies from the average of its partition.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDFImpl};

use crate::counters::{Compensated, Number, Total, arguments};

pub(super) const NAME: &str = "zscore";

/// The function, with the standard deviation of a sample.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ZScore {
    signature: Signature,
}

impl ZScore {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for ZScore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        arguments::counted("zscore(x)", given.len(), 1, 1)?;
        Ok(vec![arguments::number(NAME, "x", &given[0])?])
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Float64, true)))
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let scores = match args.input_fields()[0].data_type() {
            DataType::Int64 => scores::<i64>,
            DataType::UInt64 => scores::<u64>,
            _ => scores::<f64>,
        };
        Ok(Box::new(Partition { scores }))
    }
}

#[derive(Debug)]
struct Partition {
    scores: fn(&ArrayRef) -> Float64Array,
}

impl PartitionEvaluator for Partition {
    fn evaluate_all(&mut self, values: &[ArrayRef], _num_rows: usize) -> Result<ArrayRef> {
        Ok(Arc::new((self.scores)(&values[0])))
    }
}

/// In two passes. Values count from the first, exactly for integers.
fn scores<N: Number>(values: &ArrayRef) -> Float64Array {
    let values = values.as_primitive::<N::Arrow>();
    let is_value = |value: &N| N::is_value(*value);
    let Some(origin) = values.iter().flatten().find(is_value) else {
        return Float64Array::new_null(values.len());
    };
    let offsets: Vec<Option<f64>> = values
        .iter()
        .map(|value| value.filter(is_value).map(|value| N::difference(value, origin)))
        .collect();
    let count = offsets.iter().flatten().count() as f64;
    let mean = total(offsets.iter().flatten().copied()) / count;
    let squares = offsets.iter().flatten().map(|offset| (offset - mean) * (offset - mean));
    let deviation = (total(squares) / (count - 1.0)).sqrt();
    // A single value has no deviation, and of equal values none is any deviations away.
    let score =
        |offset: f64| (count > 1.0 && deviation != 0.0).then(|| (offset - mean) / deviation);
    offsets.into_iter().map(|offset| offset.and_then(score)).collect()
}

fn total(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Compensated::default();
    values.for_each(|value| sum.add(value));
    sum.rounded()
}
