//! [`OneZeroRule`]: −0 and 0 are one value wherever values are told apart, and a sort by one key twice is a sort by it.
//!
//! DataFusion 55 groups −0 with 0, but `count(DISTINCT v)` beside another aggregate counts two, and `PARTITION BY v` makes
//! two partitions: which of them a query meets depends on what else it asks. Here both are put to 0 first. And its ordered
//! aggregates, and `DISTINCT ON` which it makes of them, count on keys of their order to be different: a key that is said
//! again panicked.
//!
//! `CASE v WHEN 0` and `nullif(v, 0)` compare by bytes there, where `v = 0` does not. They are written as that.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Case, ScalarFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Distinct, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// The rule, for after types are settled.
#[derive(Debug)]
pub(crate) struct OneZeroRule;

impl AnalyzerRule for OneZeroRule {
    fn name(&self) -> &'static str {
        "one_zero"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Distinct(Distinct::On(mut on)) => {
                let said = on.sort_expr.as_mut().is_some_and(without_repeats);
                let node = LogicalPlan::Distinct(Distinct::On(on));
                Ok(if said { Transformed::yes(node) } else { Transformed::no(node) })
            }
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
                in_node(node, tells_apart, in_call)?
                    .transform_data(|node| in_node(node, compares, as_equality))
            }
            other => in_node(other, compares, as_equality),
        });
        Ok(rewritten?.data)
    }
}

/// Changes the expressions of a node that have such a part.
fn in_node(
    node: LogicalPlan,
    is_wanted: fn(&Expr) -> bool,
    change: fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let mut wanted = false;
    node.apply_expressions(|expr| {
        wanted |= expr.exists(|part| Ok(is_wanted(part)))?;
        Ok(if wanted { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !wanted {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|part| change(part, &schema))?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })
}

/// Whether it compares values without an `=`.
fn compares(expr: &Expr) -> bool {
    match expr {
        Expr::Case(case) => case.expr.is_some(),
        Expr::ScalarFunction(call) => call.func.name() == "nullif",
        _ => false,
    }
}

/// `CASE WHEN v = 0` for `CASE v WHEN 0`, and for `nullif(v, 0)`.
fn as_equality(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_float = |expr: &Expr| Ok::<_, DataFusionError>(expr.get_type(schema)?.is_floating());
    match expr {
        Expr::Case(Case { expr: Some(value), when_then_expr, else_expr })
            if is_float(&value)? && !value.is_volatile() =>
        {
            let when = |(when, then): (Box<Expr>, Box<Expr>)| {
                (Box::new(value.as_ref().clone().eq(*when)), then)
            };
            let when_then_expr = when_then_expr.into_iter().map(when).collect();
            Ok(Transformed::yes(Expr::Case(Case { expr: None, when_then_expr, else_expr })))
        }
        Expr::ScalarFunction(call) if call.func.name() == "nullif" => match &call.args[..] {
            [value, other] if is_float(value)? && is_float(other)? && !value.is_volatile() => {
                let null = Expr::Literal(ScalarValue::try_from(value.get_type(schema)?)?, None);
                let when = (Box::new(value.clone().eq(other.clone())), Box::new(null));
                let (when_then_expr, otherwise) = (vec![when], Some(Box::new(value.clone())));
                let case = Case { expr: None, when_then_expr, else_expr: otherwise };
                Ok(Transformed::yes(Expr::Case(case)))
            }
            _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// Whether a call has an order, or tells values apart.
fn tells_apart(expr: &Expr) -> bool {
    match expr {
        Expr::AggregateFunction(call) => call.params.distinct || call.params.order_by.len() > 1,
        Expr::WindowFunction(call) => {
            call.params.distinct
                || !call.params.partition_by.is_empty()
                || call.params.order_by.len() > 1
        }
        _ => false,
    }
}

fn in_call(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    let mut with_one_zero = |exprs: &mut Vec<Expr>| -> Result<()> {
        for expr in exprs {
            if expr.get_type(schema)?.is_floating() && !is_one_zero(expr) {
                *expr = one_zero(std::mem::take(expr));
                changed = true;
            }
        }
        Ok(())
    };
    let repeats = match &mut expr {
        Expr::AggregateFunction(call) => {
            if call.params.distinct {
                with_one_zero(&mut call.params.args)?;
            }
            without_repeats(&mut call.params.order_by)
        }
        Expr::WindowFunction(call) => {
            if call.params.distinct {
                with_one_zero(&mut call.params.args)?;
            }
            with_one_zero(&mut call.params.partition_by)?;
            without_repeats(&mut call.params.order_by)
        }
        _ => false,
    };
    Ok(if changed || repeats { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// Leaves keys out that were said before; whether there were any.
fn without_repeats(keys: &mut Vec<Sort>) -> bool {
    let before = keys.len();
    let mut known: Vec<Expr> = Vec::with_capacity(before);
    keys.retain(|key| {
        let is_new = !known.contains(&key.expr) || key.expr.is_volatile();
        known.push(key.expr.clone());
        is_new
    });
    keys.len() < before
}

fn is_one_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<OneZero>().is_some())
}

fn one_zero(expr: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(OneZero { signature }))
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&FUNCTION), vec![expr]))
}

/// Its argument, with 0 for −0. No statement can name it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OneZero {
    signature: Signature,
}

impl ScalarUDFImpl for OneZero {
    fn name(&self) -> &'static str {
        "one_zero"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let Some(values) = arrays.into_iter().next() else {
            return datafusion::common::internal_err!("one_zero has one argument");
        };
        // −0 + 0 is 0, and nothing else changes.
        Ok(ColumnarValue::Array(match values.data_type() {
            DataType::Float64 => {
                let values: Float64Array =
                    values.as_primitive::<Float64Type>().unary(|value| value + 0.0);
                Arc::new(values) as ArrayRef
            }
            DataType::Float32 => {
                let values: Float32Array =
                    values.as_primitive::<Float32Type>().unary(|value| value + 0.0);
                Arc::new(values)
            }
            _ => values,
        }))
    }
}
