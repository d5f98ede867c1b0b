//! `mode(x)`: the most frequent value, of several the smallest.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use crate::counters::arguments;

const NAME: &str = "mode";

/// The function, of values of any type that can be sorted.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Mode {
    signature: Signature,
}

impl Mode {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        arguments::counted("mode(x)", given.len(), 1, 1)?;
        let counted = match &given[0] {
            DataType::Float16 | DataType::Float32 | DataType::Null => DataType::Float64,
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            other => other.clone(),
        };
        if !RowConverter::supports_fields(&[SortField::new(counted.clone())]) {
            return plan_err!("{NAME}: x is {counted}, whose values have no order");
        }
        Ok(vec![counted])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        super::refuse_distinct(NAME, &args)?;
        let data_type = args.expr_fields[0].data_type().clone();
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Box::new(Frequencies { data_type, converter, counts: HashMap::new(), key_bytes: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let values = DataType::new_list(args.input_fields[0].data_type().clone(), true);
        let counts = DataType::new_list(DataType::Int64, true);
        let column =
            |part, list| Arc::new(Field::new(format!("{}[{part}]", args.name), list, true));
        Ok(vec![column("values", values), column("counts", counts)])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// How often each value came, by its encoding, which sorts as the values do.
struct Frequencies {
    data_type: DataType,
    converter: RowConverter,
    counts: HashMap<Box<[u8]>, i64>,
    key_bytes: usize,
}

impl fmt::Debug for Frequencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frequencies").field("values", &self.counts.len()).finish_non_exhaustive()
    }
}

impl Frequencies {
    fn count(&mut self, values: &ArrayRef, by: impl Fn(usize) -> i64) -> Result<()> {
        let values = plain(values);
        let rows = self.converter.convert_columns(&[Arc::clone(&values)])?;
        for (i, row) in rows.iter().enumerate().filter(|(i, _)| values.is_valid(*i)) {
            let key = row.as_ref();
            if let Some(count) = self.counts.get_mut(key) {
                *count += by(i);
                if *count == 0 {
                    self.counts.remove(key);
                    self.key_bytes -= key.len();
                }
            } else {
                self.key_bytes += key.len();
                self.counts.insert(key.into(), by(i));
            }
        }
        Ok(())
    }

    fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows(keys.map(|key| parser.parse(key)))?;
        Ok(Arc::clone(&columns[0]))
    }
}

/// Doubles without NaN and with one zero; everything else as it is.
fn plain(values: &ArrayRef) -> ArrayRef {
    match values.as_primitive_opt::<Float64Type>() {
        Some(doubles) => {
            let plain = doubles.unary_opt::<_, Float64Type>(|x| (!x.is_nan()).then_some(x + 0.0));
            Arc::new(plain)
        }
        None => Arc::clone(values),
    }
}

impl Accumulator for Frequencies {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(&values[0], |_| 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(&values[0], |_| -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (values, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in 0..values.len() {
            let counts = counts.value(row);
            let counts = counts.as_primitive::<Int64Type>();
            self.count(&values.value(row), |i| counts.value(i))?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (keys, counts): (Vec<&[u8]>, Vec<i64>) =
            self.counts.iter().map(|(key, count)| (key.as_ref(), *count)).unzip();
        let list = |items| SingleRowListArrayBuilder::new(items).build_list_scalar();
        let values = self.decode(keys.into_iter())?;
        Ok(vec![list(values), list(Arc::new(Int64Array::from(counts)))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let best = self.counts.iter().max_by_key(|(key, count)| (**count, Reverse(*key)));
        match best {
            Some((key, _)) => {
                let values = self.decode(std::iter::once(key.as_ref()))?;
                ScalarValue::try_from_array(&values, 0)
            }
            None => ScalarValue::try_from(&self.data_type),
        }
    }

    fn size(&self) -> usize {
        let entry = size_of::<(Box<[u8]>, i64)>() + 1;
        size_of::<Self>() + self.converter.size() + self.counts.capacity() * entry + self.key_bytes
    }
}
