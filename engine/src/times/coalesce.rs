//! The SQL functions `coalesce` and `nvl` (`ifnull`): DataFusion's, of times and texts too.
//!
//! DataFusion 55 finds no type for a time and a text, where a comparison of both has one: `coalesce(max(time), '1970-01-01')`.
//! And its `nvl` makes texts of times.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::functions::core;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

/// `coalesce(x, …)` or `nvl(x, y)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

/// The functions.
pub(super) fn functions() -> [Arc<ScalarUDF>; 2] {
    [core::coalesce(), core::nvl()].map(|inner| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Coalesce { inner, signature }))
    })
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
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
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
            None if self.name() == "nvl" && types.len() != 2 => {
                plan_err!("nvl(x, y) takes 2 arguments, not {}", types.len())
            }
            None => core::coalesce().inner().coerce_types(types),
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
