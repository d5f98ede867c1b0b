//! `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`: whole units since 1970-01-01, exactly.

use datafusion::arrow::array::{Array, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::arguments::is_text;
use crate::types::type_name;

/// One function: its name, and how many of its units a second has.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Epoch {
    name: &'static str,
    a_second: i64,
    signature: Signature,
}

/// All of them.
pub(super) fn functions() -> impl Iterator<Item = Epoch> {
    let all =
        [("epoch_s", 1), ("epoch_ms", 1_000), ("epoch_us", 1_000_000), ("epoch_ns", 1_000_000_000)];
    all.into_iter().map(|(name, a_second)| Epoch {
        name,
        a_second,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

impl Epoch {
    /// Numbers of this unit for numbers of a unit of which a second has `from`; rounded down.
    fn convert(&self, times: &Int64Array, from: i64) -> Result<Int64Array> {
        if from >= self.a_second {
            let ratio = from / self.a_second;
            return Ok(times.unary(|time| time.div_euclid(ratio)));
        }
        let ratio = self.a_second / from;
        times.try_unary(|time| {
            if let Some(value) = time.checked_mul(ratio) {
                Ok(value)
            } else {
                exec_err!(
                    "{} of a time {time}/{from} s after 1970 does not fit a BIGINT",
                    self.name
                )
            }
        })
    }
}

impl ScalarUDFImpl for Epoch {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [time @ DataType::Timestamp(_, _)] => Ok(vec![time.clone()]),
            [DataType::Date32 | DataType::Date64] => {
                Ok(vec![DataType::Timestamp(TimeUnit::Second, None)])
            }
            [other] if is_text(other) || *other == DataType::Null => {
                Ok(vec![DataType::Timestamp(TimeUnit::Nanosecond, None)])
            }
            [other] => plan_err!("{} takes a time, not {}", self.name, type_name(other)),
            _ => plan_err!("{} takes one time", self.name),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let from = match args.args[0].data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => 1,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000_000,
            other => return plan_err!("{} takes a time, not {other}", self.name),
        };
        let array = match &args.args[0] {
            ColumnarValue::Array(array) => std::sync::Arc::clone(array),
            ColumnarValue::Scalar(value) => value.to_array()?,
        };
        let integers = cast(&array, &DataType::Int64)?;
        let integers = integers.as_any().downcast_ref().expect("64-bit integers");
        let converted = self.convert(integers, from)?;
        Ok(match &args.args[0] {
            ColumnarValue::Array(_) => ColumnarValue::Array(std::sync::Arc::new(converted)),
            ColumnarValue::Scalar(_) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&converted, 0)?)
            }
        })
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(input[0].sort_properties)
    }
}
