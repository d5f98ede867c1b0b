//! Arguments of functions: their types, and constants among them.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::{ScalarValue, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_plan::PhysicalExpr;

use crate::types::type_name;

/// The type that a number is taken in: `DOUBLE`, `BIGINT` or `BIGINT UNSIGNED`.
pub(crate) fn number(function: &str, argument: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(DataType::Int64),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            Ok(DataType::UInt64)
        }
        other if other.is_numeric() || other.is_null() => Ok(DataType::Float64),
        other => plan_err!("{function}: {argument} must be a number, not {}", type_name(other)),
    }
}

/// The type that a time is taken in: nanoseconds, in the zone that it has.
pub(crate) fn time(function: &str, argument: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Timestamp(_, zone) => Ok(DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())),
        DataType::Date32 | DataType::Date64 | DataType::Null => {
            Ok(DataType::Timestamp(TimeUnit::Nanosecond, None))
        }
        other => plan_err!("{function}: {argument} must be a timestamp, not {}", type_name(other)),
    }
}

/// That there are as many arguments as the usage names.
pub(crate) fn counted(usage: &str, given: usize, min: usize, max: usize) -> Result<()> {
    if (min..=max).contains(&given) {
        return Ok(());
    }
    let wanted = if min == max { min.to_string() } else { format!("{min} to {max}") };
    plan_err!("{usage} takes {wanted} arguments, not {given}")
}

/// The value of an argument that must be a constant.
pub(crate) fn constant(
    function: &str,
    argument: &str,
    expr: &Arc<dyn PhysicalExpr>,
) -> Result<ScalarValue> {
    let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
    match expr.evaluate(&batch) {
        Ok(ColumnarValue::Scalar(value)) if !value.is_null() => Ok(value),
        Ok(ColumnarValue::Scalar(_)) => plan_err!("{function}: {argument} must not be NULL"),
        Ok(ColumnarValue::Array(_)) | Err(_) => {
            plan_err!("{function}: {argument} must be a constant, not {expr}")
        }
    }
}

/// A constant that is a finite double.
pub(crate) fn finite(function: &str, argument: &str, expr: &Arc<dyn PhysicalExpr>) -> Result<f64> {
    let value = constant(function, argument, expr)?;
    let ScalarValue::Float64(Some(double)) = value.cast_to(&DataType::Float64)? else {
        return plan_err!("{function}: {argument} must be a number, not {value}");
    };
    if !double.is_finite() {
        return plan_err!("{function}: {argument} must be a finite number, not {double}");
    }
    Ok(double)
}

/// A constant that is a whole number within bounds, both included.
pub(crate) fn whole(
    function: &str,
    argument: &str,
    expr: &Arc<dyn PhysicalExpr>,
    (min, max): (usize, usize),
) -> Result<usize> {
    let value = constant(function, argument, expr)?;
    let whole = match &value {
        ScalarValue::Int64(Some(whole)) => usize::try_from(*whole).ok(),
        ScalarValue::UInt64(Some(whole)) => usize::try_from(*whole).ok(),
        _ => None,
    };
    whole.filter(|whole| (min..=max).contains(whole)).ok_or_else(|| {
        plan_datafusion_err!(
            "{function}: {argument} must be a whole number from {min} to {max}, not {value}"
        )
    })
}
