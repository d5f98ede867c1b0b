//! The SQL function `date_trunc`: DataFusion's, right for constants before 1970 too.
//!
//! Of a constant, DataFusion 55 cuts the digits below a second off, which rounds times before 1970 up; of a column it rounds
//! down. So such constants are columns of one row here.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions::datetime;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

fn is_below_a_second(unit: &ScalarValue) -> bool {
    let text = unit.try_as_str().flatten().unwrap_or_default().to_ascii_lowercase();
    text.starts_with("milli") || text.starts_with("micro")
}

/// `date_trunc(unit, time)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateTrunc {
    inner: Arc<ScalarUDF>,
}

impl DateTrunc {
    pub(super) fn new() -> Self {
        Self { inner: datetime::date_trunc() }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &'static str {
        "date_trunc"
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = match &args.args[..] {
            [ColumnarValue::Scalar(unit), ColumnarValue::Scalar(time)]
                if is_below_a_second(unit)
                    && matches!(time.data_type(), DataType::Timestamp(_, _)) =>
            {
                time.to_array()?
            }
            _ => return self.inner.invoke_with_args(args),
        };
        args.args[1] = ColumnarValue::Array(array);
        args.number_rows = 1;
        let answer = self.inner.invoke_with_args(args)?.into_array(1)?;
        Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?))
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
