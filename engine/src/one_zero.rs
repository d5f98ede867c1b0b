//! [`OneZeroRule`]: −0 and 0 are one value wherever values are told apart, and a sort by one key twice is a sort by it.
//!
//! DataFusion 55 groups −0 with 0, but `count(DISTINCT v)` beside another aggregate counts two, and `PARTITION BY v` makes
//! two partitions: which of them a query meets depends on what else it asks. Here both are put to 0 first. And its ordered
//! aggregates, and `DISTINCT ON` which it makes of them, count on keys of their order to be different: a key that is said
//! again panicked.
//!
//! `CASE v WHEN 0` and `nullif(v, 0)` compare by bytes there, where `v = 0` does not. They are written as that. Tuples and
//! arrays are compared by bytes everywhere: `(v, k) = (0, 'a')`, `array_has(a, 0)`. In those too −0 is put to 0 first.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, GenericListArray,
    OffsetSizeTrait, StructArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Case, ScalarFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Distinct, Expr, ExprSchemable, LogicalPlan, Projection,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// Functions that compare the items of arrays.
const BY_BYTES: [&str; 15] = [
    "array_distinct",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
    "array_union",
];

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
            LogicalPlan::Distinct(Distinct::All(input)) => distinct(input),
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
                in_node(node, tells_apart, in_call)?
                    .transform_data(|node| in_node(node, compares, as_compared))?
                    .transform_data(keys)
            }
            other => in_node(other, compares, as_compared),
        });
        Ok(rewritten?.data)
    }
}

/// Keys of groups that have floats inside, with 0 for −0.
fn keys(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    let LogicalPlan::Aggregate(mut aggregate) = node else { return Ok(Transformed::no(node)) };
    let mut changed = false;
    for key in &mut aggregate.group_expr {
        if !matches!(key, Expr::GroupingSet(_))
            && has_floats(&key.get_type(aggregate.input.schema())?)
        {
            let name = names.save(key);
            *key = name.restore(one_zero(std::mem::take(key)));
            changed = true;
        }
    }
    let node = LogicalPlan::Aggregate(aggregate);
    Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
}

/// Distinct rows, whose columns have 0 for −0 where there are floats inside.
fn distinct(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let is_wanted = |field: &Arc<Field>| has_floats(field.data_type());
    if !input.schema().fields().iter().any(is_wanted) {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    let column = |(relation, field): (Option<&TableReference>, &Arc<Field>)| {
        let column = Expr::from((relation, field));
        if is_wanted(field) {
            return one_zero(column).alias_qualified(relation.cloned(), field.name());
        }
        column
    };
    let columns = input.schema().iter().map(column).collect();
    let input = Projection::try_new(columns, input)?;
    let input = Arc::new(LogicalPlan::Projection(input));
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(input))))
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
        Expr::ScalarFunction(call) => {
            call.func.name() == "nullif" || BY_BYTES.contains(&call.func.name())
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            op.supports_propagation() && !is_plain(left) && !is_plain(right)
        }
        Expr::InList(list) => !list.list.iter().any(is_plain),
        _ => false,
    }
}

/// Whether it is a constant with nothing inside.
fn is_plain(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.data_type().is_nested())
}

/// `v` with 0 for −0 wherever something that has floats inside is compared, and `v = 0` for what compares `v` with 0.
fn as_compared(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if op.supports_propagation()
                && has_floats(&left.get_type(schema)?)
                && has_floats(&right.get_type(schema)?) =>
        {
            let sides = BinaryExpr::new(Box::new(one_zero(*left)), op, Box::new(one_zero(*right)));
            Ok(Transformed::yes(Expr::BinaryExpr(sides)))
        }
        Expr::InList(mut list) if has_floats(&list.expr.get_type(schema)?) => {
            list.expr = Box::new(one_zero(*list.expr));
            list.list = list.list.into_iter().map(one_zero).collect();
            Ok(Transformed::yes(Expr::InList(list)))
        }
        Expr::ScalarFunction(mut call) if BY_BYTES.contains(&call.func.name()) => {
            let mut changed = false;
            for argument in &mut call.args {
                let kind = argument.get_type(schema)?;
                if !is_one_zero(argument) && (kind.is_floating() || has_floats(&kind)) {
                    *argument = one_zero(std::mem::take(argument));
                    changed = true;
                }
            }
            let call = Expr::ScalarFunction(call);
            Ok(if changed { Transformed::yes(call) } else { Transformed::no(call) })
        }
        other => as_equality(other, schema),
    }
}

/// Whether a type has floats inside.
fn has_floats(kind: &DataType) -> bool {
    let of = |field: &Field| field.data_type().is_floating() || has_floats(field.data_type());
    match kind {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            of(field)
        }
        DataType::Struct(fields) => fields.iter().any(|field| of(field)),
        _ => false,
    }
}

/// `CASE WHEN v = 0` for `CASE v WHEN 0`, and for `nullif(v, 0)`.
fn as_equality(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_float = |expr: &Expr| {
        let kind = expr.get_type(schema)?;
        Ok::<_, DataFusionError>(kind.is_floating() || has_floats(&kind))
    };
    match expr {
        Expr::Case(Case { expr: Some(value), when_then_expr, else_expr })
            if is_float(&value)? && !value.is_volatile() =>
        {
            let when = |(when, then): (Box<Expr>, Box<Expr>)| {
                (Box::new(equal(value.as_ref().clone(), *when)), then)
            };
            let when_then_expr = when_then_expr.into_iter().map(when).collect();
            Ok(Transformed::yes(Expr::Case(Case { expr: None, when_then_expr, else_expr })))
        }
        Expr::ScalarFunction(call) if call.func.name() == "nullif" => match &call.args[..] {
            [value, other] if is_float(value)? && is_float(other)? && !value.is_volatile() => {
                let null = Expr::Literal(ScalarValue::try_from(value.get_type(schema)?)?, None);
                let when = (Box::new(equal(value.clone(), other.clone())), Box::new(null));
                let (when_then_expr, otherwise) = (vec![when], Some(Box::new(value.clone())));
                let case = Case { expr: None, when_then_expr, else_expr: otherwise };
                Ok(Transformed::yes(Expr::Case(case)))
            }
            _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// `a = b`, of floats or of what has some inside.
fn equal(a: Expr, b: Expr) -> Expr {
    one_zero(a).eq(one_zero(b))
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
            let kind = expr.get_type(schema)?;
            if (kind.is_floating() || has_floats(&kind)) && !is_one_zero(expr) {
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
        Ok(ColumnarValue::Array(with_one_zero(&values)))
    }
}

/// −0 + 0 is 0, and nothing else changes.
fn with_one_zero(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let values: Float64Array =
                values.as_primitive::<Float64Type>().unary(|value| value + 0.0);
            Arc::new(values)
        }
        DataType::Float32 => {
            let values: Float32Array =
                values.as_primitive::<Float32Type>().unary(|value| value + 0.0);
            Arc::new(values)
        }
        DataType::List(_) => in_list(values.as_list::<i32>()),
        DataType::LargeList(_) => in_list(values.as_list::<i64>()),
        DataType::FixedSizeList(field, size) => {
            let list = values.as_fixed_size_list();
            let (items, nulls) = (with_one_zero(list.values()), list.nulls().cloned());
            Arc::new(FixedSizeListArray::new(Arc::clone(field), *size, items, nulls))
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let parts = values.as_struct();
            let columns = parts.columns().iter().map(with_one_zero).collect();
            Arc::new(StructArray::new(fields.clone(), columns, parts.nulls().cloned()))
        }
        _ => Arc::clone(values),
    }
}

fn in_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> ArrayRef {
    let (field, offsets, items, nulls) = list.clone().into_parts();
    Arc::new(GenericListArray::new(field, offsets, with_one_zero(&items), nulls))
}
