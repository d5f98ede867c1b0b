//! The function that makes instants of texts, dates and times without a zone, and of instants what clocks on the wall
//! show. No statement can name it.

use std::sync::Arc;

use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{instants, walls};

/// `local_time(x)`: what a clock on the wall of a zone says, as a time with that zone; of a time with a zone, what a clock
/// on the wall there says, as a time without.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalTime {
    target: DataType,
    signature: Signature,
}

/// The instants of an expression.
pub(super) fn local_time(expr: Expr, target: DataType) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let function = ScalarUDF::from(LocalTime { target, signature });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![expr]))
}

/// The instant of a value.
pub(super) fn local_value(value: &ScalarValue, target: &DataType) -> Result<ScalarValue> {
    let argument = ColumnarValue::Scalar(value.clone());
    match invoke(&argument, target)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}

fn invoke(argument: &ColumnarValue, target: &DataType) -> Result<ColumnarValue> {
    let array = argument.to_array(1)?;
    let times = match target {
        DataType::Timestamp(_, Some(zone)) => instants(&array, Some(zone)),
        _ => walls(&array),
    }
    .map_err(|e| match argument {
        ColumnarValue::Scalar(_) => DataFusionError::Plan(e.message),
        ColumnarValue::Array(_) => DataFusionError::Execution(e.message),
    })?;
    let times = cast(&times, target)?;
    Ok(match argument {
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?),
        ColumnarValue::Array(_) => ColumnarValue::Array(times),
    })
}

impl ScalarUDFImpl for LocalTime {
    fn name(&self) -> &'static str {
        "local_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [argument] = &arguments.args[..] else {
            return datafusion::common::internal_err!("local_time takes one argument");
        };
        invoke(argument, &self.target)
    }
}
