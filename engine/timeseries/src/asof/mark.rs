//! Marks: functions that say in the `ON` of an ordinary join that it is an as-of join.
//!
//! They are never run: [`super::rule::AsOfRule`] takes them out of every plan. The last two arguments of each but
//! [`TOLERANCE`] are the line and the column of the word `ASOF`, for errors.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `ON __asof_on(line, column) AND …`: the one inequality of the `ON` is the match condition.
pub(super) const ON: &str = "__asof_on";
/// `ON __asof_match(condition, line, column) AND …`: what `MATCH_CONDITION` says.
pub(super) const MATCH: &str = "__asof_match";
/// `USING (…) LEFT SEMI JOIN (SELECT 1) ON __asof_using(line, column)`: the last column of the `USING` is the time.
pub(super) const USING: &str = "__asof_using";
/// `AND __asof_tolerance(interval)`: how far partners may be from each other.
pub(super) const TOLERANCE: &str = "__asof_tolerance";

/// The functions of all marks.
pub(super) fn functions() -> Vec<ScalarUDF> {
    [ON, MATCH, USING, TOLERANCE].map(|name| ScalarUDF::new_from_impl(Mark::new(name))).into()
}

/// The name and the arguments of a mark.
pub(super) fn mark_of(expr: &Expr) -> Option<(&'static str, &[Expr])> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let name = [ON, MATCH, USING, TOLERANCE].into_iter().find(|name| *name == func.name())?;
    Some((name, args))
}

/// Where the word `ASOF` stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    line: i64,
    column: i64,
}

impl Place {
    /// The place that the arguments of a mark end with.
    pub(super) fn of(args: &[Expr]) -> Self {
        let number = |expr: Option<&Expr>| match expr {
            Some(Expr::Literal(ScalarValue::Int64(Some(n)), _)) => *n,
            _ => 1,
        };
        let last = args.len();
        Self {
            line: number(last.checked_sub(2).and_then(|i| args.get(i))),
            column: number(last.checked_sub(1).and_then(|i| args.get(i))),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ASOF JOIN at line {}, column {}", self.line, self.column)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    name: &'static str,
    signature: Signature,
}

impl Mark {
    fn new(name: &'static str) -> Self {
        Self { name, signature: Signature::variadic_any(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{} is no function to be called: write ASOF JOIN", self.name)
    }
}
