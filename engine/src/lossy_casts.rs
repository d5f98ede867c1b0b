//! [`LossyCastRule`]: keeps what DataFusion concludes from casts, and from equal floats, true.
//!
//! DataFusion 55 takes a filter on a cast for one on what is cast: `CAST(v AS BIGINT) = 5` makes it believe that `v` is 5 in
//! all rows, though it may be 5.1 and 5.9, and so it leaves `ORDER BY v` out. It takes −0 and 0, which are equal and sort
//! apart, for one value as well. And it takes every cast from one type of time to another for one that keeps the order: the
//! time of day does not, nor the date where clocks are put back over midnight. So such casts get a mark, which is a function that
//! answers its argument and of which nothing is known.
//!
//! | where | what is marked |
//! |---|---|
//! | in filters | casts of numbers or times to a type that holds fewer values; floats that are compared by `=`, unless with a constant that is not zero |
//! | anywhere | casts of times to a time of day, and of instants in a time zone to a date |

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TryCast, Volatility,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::expressions::CastExpr;
use datafusion::scalar::ScalarValue;

/// The rule, for behind all others: those know casts and make use of them.
#[derive(Debug)]
pub(crate) struct LossyCastRule;

impl OptimizerRule for LossyCastRule {
    fn name(&self) -> &'static str {
        "lossy_casts"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        node: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let in_filter = match &node {
            LogicalPlan::Filter(_) => true,
            LogicalPlan::Projection(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_) => false,
            _ => return Ok(Transformed::no(node)),
        };
        let mut found = false;
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(may_be_marked(part)))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        if !found {
            return Ok(Transformed::no(node));
        }
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(marked(expr, &schema, in_filter)?.update_data(|expr| name.restore(expr)))
        })
    }
}

fn may_be_marked(expr: &Expr) -> bool {
    let is_equal = |op: &Operator| matches!(op, Operator::Eq);
    match expr {
        Expr::Cast(_) | Expr::TryCast(_) => true,
        Expr::BinaryExpr(BinaryExpr { op, .. }) => is_equal(op),
        _ => false,
    }
}

/// An expression with its marks.
fn marked(expr: Expr, schema: &DFSchema, in_filter: bool) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| {
        if is_mark(&expr) {
            return Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump));
        }
        let from = |inner: &Expr| inner.get_type(schema);
        let wanted = match &expr {
            Expr::Cast(Cast { expr: inner, field })
            | Expr::TryCast(TryCast { expr: inner, field }) => {
                let (from, to) = (from(inner)?, field.data_type());
                loses_order(&from, to) || in_filter && is_lossy(&from, to)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if in_filter => {
                let is_float = from(left)?.is_floating() && from(right)?.is_floating();
                if !is_float || is_not_zero(left) || is_not_zero(right) {
                    return Ok(Transformed::no(expr));
                }
                let is_done = |side: &Expr| is_mark(side) || matches!(side, Expr::Literal(..));
                if is_done(left) && is_done(right) {
                    return Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump));
                }
                let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
                    return Ok(Transformed::no(expr));
                };
                let side = |side: Expr| -> Result<Box<Expr>> {
                    if is_done(&side) {
                        return Ok(Box::new(side));
                    }
                    Ok(Box::new(mark(marked(side, schema, true)?.data)))
                };
                let equal = BinaryExpr::new(side(*left)?, op, side(*right)?);
                let equal = Expr::BinaryExpr(equal);
                return Ok(Transformed::new(equal, true, TreeNodeRecursion::Jump));
            }
            _ => false,
        };
        if !wanted {
            return Ok(Transformed::no(expr));
        }
        let within = expr.map_children(|inner| marked(inner, schema, in_filter))?.data;
        Ok(Transformed::new(mark(within), true, TreeNodeRecursion::Jump))
    })
}

/// Whether it is a float that has no other float equal to it.
fn is_not_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value != 0.0,
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => *value != 0.0,
        Expr::Literal(ScalarValue::Float16(Some(value)), _) => f32::from(*value) != 0.0,
        _ => false,
    }
}

/// Whether different values may become one, among types whose casts DataFusion draws conclusions from.
fn is_lossy(from: &DataType, to: &DataType) -> bool {
    let is_number = |kind: &DataType| kind.is_numeric() || *kind == DataType::Boolean;
    let among_numbers = is_number(from) && is_number(to);
    let among_times = from.is_temporal() && to.is_temporal();
    let is_finer = match (from, to) {
        (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) => digits(*a) <= digits(*b),
        _ => false,
    };
    (among_numbers || among_times) && !is_finer && !CastExpr::check_bigger_cast(to, from)
}

/// Digits of a second.
fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Whether a later time may become an earlier one.
fn loses_order(from: &DataType, to: &DataType) -> bool {
    let DataType::Timestamp(_, zone) = from else { return false };
    let has_jumps = zone.as_deref().is_some_and(|zone| zone != crate::engine::UTC);
    match to {
        DataType::Time32(_) | DataType::Time64(_) => true,
        DataType::Date32 | DataType::Date64 => has_jumps,
        _ => false,
    }
}

fn is_mark(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<Lossy>().is_some())
}

fn mark(expr: Expr) -> Expr {
    static MARK: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Lossy { signature }))
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&MARK), vec![expr]))
}

/// Answers its argument. No statement can name it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Lossy {
    signature: Signature,
}

impl ScalarUDFImpl for Lossy {
    fn name(&self) -> &'static str {
        "lossy"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let none = ColumnarValue::Scalar(ScalarValue::Null);
        Ok(arguments.args.into_iter().next().unwrap_or(none))
    }
}
