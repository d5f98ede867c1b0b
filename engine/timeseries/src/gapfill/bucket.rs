//! [`GapBucket`]: the key that the aggregate below gap filling groups by. It has no name in SQL.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::grid::Grid;
use super::width::Width;

/// `gap_bucket(width, time, origin)`: when the bucket of a time begins, exactly, over the whole range of the type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct GapBucket {
    signature: Signature,
}

impl GapBucket {
    /// The function.
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(3, Volatility::Immutable) }
    }
}

/// An instant as its type counts it; `None` for NULL.
pub(super) fn counted(value: &ScalarValue) -> Result<Option<i64>> {
    let array = cast(&value.to_array()?, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().iter().next().flatten())
}

impl ScalarUDFImpl for GapBucket {
    fn name(&self) -> &'static str {
        "gap_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[1].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(width), time, ColumnarValue::Scalar(origin)] = &args.args[..]
        else {
            return internal_err!("gap_bucket takes a width, a time and an origin");
        };
        let time = time.to_array(args.number_rows)?;
        let null = || ColumnarValue::Scalar(ScalarValue::Null);
        let (Some(width), Some(origin)) = (Width::of("gap_bucket", width)?, counted(origin)?)
        else {
            return null().cast_to(time.data_type(), None);
        };
        let grid = Grid::new("gap_bucket", width, time.data_type(), origin)?;
        let counts = cast(&time, &DataType::Int64)?;
        let starts: PrimitiveArray<Int64Type> =
            counts.as_primitive::<Int64Type>().try_unary(|time| grid.floor(time))?;
        let starts: ArrayRef = Arc::new(starts);
        Ok(ColumnarValue::Array(cast(&starts, time.data_type())?))
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(input[1].sort_properties)
    }
}
