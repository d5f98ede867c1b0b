//! The SQL function `coalesce`: DataFusion's, of times and texts too.
//!
//! DataFusion 55 finds no type for a time and a text, where a comparison of both has one: `coalesce(max(time), '1970-01-01')`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::error::Result;
use datafusion::functions::core;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// `coalesce(x, …)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce {
    inner: Arc<ScalarUDF>,
}

/// The function.
pub(super) fn coalesce() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Coalesce { inner: core::coalesce() }))
}

/// The type of times among which there are texts and dates.
fn time_of(types: &[DataType]) -> Option<DataType> {
    let is_time = |kind: &DataType| matches!(kind, DataType::Timestamp(..));
    let may_be_time = |kind: &DataType| {
        is_time(kind) || kind.is_string() || kind.is_null() || *kind == DataType::Date32
    };
    let is_other = |kind: &DataType| !is_time(kind) && !kind.is_null();
    if !types.iter().all(may_be_time) || !types.iter().any(is_time) || !types.iter().any(is_other) {
        return None;
    }
    let zone = types.iter().find_map(|kind| match kind {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    });
    Some(DataType::Timestamp(TimeUnit::Nanosecond, zone))
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &'static str {
        "coalesce"
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

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match time_of(types) {
            Some(time) => Ok(vec![time; types.len()]),
            None => self.inner.inner().coerce_types(types),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.inner().simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.inner().conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
