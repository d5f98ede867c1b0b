//! [`GapFillRule`]: puts [`GapFill`] over aggregates that group by a gap-filling key, after types are settled.
//!
//! Bottom-up: an [`Aggregate`] with such a key gets the node above it. A node further up that calls `locf`, `interpolate` or
//! `gap_filled` has the call replaced by a column, which the [`GapFill`] below it, past filters, sorts and windows, is made
//! to compute. What is left of the functions in the end stood in a wrong place.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprSchemable, Extension, LogicalPlan, Projection,
    ScalarUDF,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::bucket::{GapBucket, counted};
use super::fill::Method;
use super::functions::{Marker, marker_of};
use super::interpolate::can_interpolate;
use super::node::{FILLED_COLUMN, GapFill, Key, LogicalFill};
use super::range::{self, Bound, Edge};
use super::width::{self, Width};
use super::zone::zone_of;
use crate::buckets::TimeBucket;

/// The rule.
#[derive(Debug)]
pub(super) struct GapFillRule;

impl AnalyzerRule for GapFillRule {
    fn name(&self) -> &'static str {
        "gap_fill"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        if first_marker(&plan)?.is_none() {
            return Ok(plan);
        }
        let plan = plan.transform_up_with_subqueries(rewrite)?.data;
        match first_marker(&plan)? {
            Some(left) => Err(left.misplaced()),
            None => Ok(plan),
        }
    }
}

/// A function of gap filling that an expression calls.
fn marker_in(expr: &Expr) -> Result<Option<Marker>> {
    let mut found = None;
    expr.apply(|e| {
        found = marker_of(e).map(|(marker, _)| marker);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn first_marker(plan: &LogicalPlan) -> Result<Option<Marker>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found = marker_in(expr)?;
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.recompute_schema()?;
    if let LogicalPlan::Aggregate(aggregate) = plan {
        return over_aggregate(aggregate).map(Transformed::yes);
    }
    let mut calls = Vec::new();
    plan.apply_expressions(|expr| {
        expr.apply(|e| {
            match marker_of(e) {
                Some((marker, _)) if !marker.is_key() && !calls.contains(e) => {
                    calls.push(e.clone());
                }
                Some(_) | None => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if calls.is_empty() {
        return Ok(Transformed::yes(plan));
    }
    fill(plan, &calls).map(Transformed::yes)
}

/// The value of a constant argument.
fn constant(marker: Marker, argument: &str, expr: &Expr) -> Result<ScalarValue> {
    let name = marker.name();
    if !expr.column_refs().is_empty() || expr.is_volatile() {
        return plan_err!("{name}: {argument} must be a constant, not {expr}");
    }
    let context = SimplifyContext::builder().with_schema(Arc::new(DFSchema::empty())).build();
    match ExprSimplifier::new(context).simplify(expr.clone())? {
        Expr::Literal(value, _) => Ok(value),
        other => plan_err!("{name}: {argument} must be a constant, not {other}"),
    }
}

fn over_aggregate(aggregate: Aggregate) -> Result<LogicalPlan> {
    refuse_misuse(&aggregate)?;
    let keys: Vec<(usize, Marker)> = aggregate
        .group_expr
        .iter()
        .enumerate()
        .filter_map(|(i, key)| match marker_of(unaliased(key)) {
            Some((marker, _)) if marker.is_key() => Some((i, marker)),
            Some(_) | None => None,
        })
        .collect();
    let (index, marker) = match &keys[..] {
        [] => return Ok(LogicalPlan::Aggregate(aggregate)),
        [key] => *key,
        [(_, first), (_, second), ..] => {
            return plan_err!(
                "GROUP BY has two keys that fill gaps, {} and {}; use date_bin for one of them",
                first.name(),
                second.name()
            );
        }
    };
    if !aggregate.input.all_out_ref_exprs().is_empty() {
        return plan_err!(
            "{} is not supported in a subquery that refers to the query around it; group by the keys that it refers to, \
             and join",
            marker.name()
        );
    }
    let call = aggregate.group_expr[index].clone();
    let (_, arguments) = marker_of(unaliased(&call)).expect("the key was found above");
    let input_schema = aggregate.input.schema();
    let time_type = arguments[1].get_type(input_schema)?;
    let width = Width::of(marker.name(), &constant(marker, "the width", &arguments[0])?)?;
    let origin = match (marker, arguments.get(2)) {
        (Marker::DateBin, Some(origin)) => counted(&constant(marker, "the origin", origin)?)?,
        _ => None,
    };
    let zone = match (marker, arguments.get(4)) {
        (Marker::TimeBucket, Some(zone)) => zone_of(&constant(marker, "the time zone", zone)?)?,
        _ => None,
    };
    let key = Key::new(marker, width, origin, &time_type).in_zone(zone);
    let mut bounds = range::of_plan(&aggregate.input, &arguments[1])?;
    if marker == Marker::TimeBucket {
        add_arguments(marker, &arguments[2..arguments.len().min(4)], &mut bounds)?;
    }
    let bucket = bucket_expr(&key, &arguments[1], &time_type, call.schema_name().to_string())?;
    let mut group = aggregate.group_expr.clone();
    group[index] = bucket;
    let empty = values_of_none(&aggregate)?;
    let count = group.len();
    let below = Aggregate::try_new(Arc::clone(&aggregate.input), group, aggregate.aggr_expr)?;
    let node = GapFill::new(LogicalPlan::Aggregate(below), key, (count, index), empty, bounds)?;
    Ok(extension(node))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn extension(node: GapFill) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// Errors that tell more than the function's place.
fn refuse_misuse(aggregate: &Aggregate) -> Result<()> {
    for expr in &aggregate.group_expr {
        if let (Expr::GroupingSet(_), Some(marker)) = (expr, marker_in(expr)?) {
            return plan_err!(
                "{} is not supported in ROLLUP, CUBE and GROUPING SETS; unite queries that group by it instead",
                marker.name()
            );
        }
    }
    for expr in &aggregate.aggr_expr {
        if let Some(marker @ (Marker::Locf | Marker::Interpolate)) = marker_in(expr)? {
            let name = marker.name();
            return plan_err!(
                "{name} is not supported inside an aggregate: it fills what an aggregate gives; write {name}(avg(x)), not \
                 avg({name}(x))"
            );
        }
    }
    Ok(())
}

/// `start` and `finish`.
fn add_arguments(marker: Marker, arguments: &[Expr], bounds: &mut Vec<Bound>) -> Result<()> {
    for (expr, (edge, name)) in
        arguments.iter().zip([(Edge::From, "start"), (Edge::Until, "finish")])
    {
        if !expr.column_refs().is_empty() || expr.is_volatile() {
            return plan_err!("{}: {name} must be a constant, not {expr}", marker.name());
        }
        bounds.push(Bound { edge, expr: expr.clone(), argument: true });
    }
    Ok(())
}

fn bucket_expr(key: &Key, time: &Expr, time_type: &DataType, name: String) -> Result<Expr> {
    let width = match key.width {
        Some(width) => width::interval(width),
        None => ScalarValue::IntervalMonthDayNano(None),
    };
    if let Some(zone) = &key.zone {
        let zone = Expr::Literal(ScalarValue::from(zone.as_str()), None);
        let arguments = vec![Expr::Literal(width, None), time.clone(), zone];
        return Ok(ScalarUDF::new_from_impl(TimeBucket::new()).call(arguments).alias(name));
    }
    let origin = ScalarValue::Int64(Some(key.origin)).cast_to(time_type)?;
    let arguments = vec![Expr::Literal(width, None), time.clone(), Expr::Literal(origin, None)];
    let function = ScalarUDF::new_from_impl(GapBucket::new());
    Ok(function.call(arguments).alias(name))
}

/// What the columns of an aggregate are for no rows: 0 for counts, else NULL.
fn values_of_none(aggregate: &Aggregate) -> Result<Vec<ScalarValue>> {
    let fields = aggregate.schema.fields();
    let mut values = Vec::with_capacity(fields.len());
    for (i, field) in fields.iter().enumerate() {
        let expr = i.checked_sub(aggregate.group_expr.len()).map(|i| &aggregate.aggr_expr[i]);
        values.push(match expr.map(unaliased) {
            Some(Expr::AggregateFunction(call)) => call.func.default_value(field.data_type())?,
            Some(_) | None => ScalarValue::try_from(field.data_type())?,
        });
    }
    Ok(values)
}

/// A plan whose calls are columns of the node below.
fn fill(plan: LogicalPlan, calls: &[Expr]) -> Result<LogicalPlan> {
    let inputs = plan.inputs();
    let ([input], Some((first, _))) = (&inputs[..], marker_of(&calls[0])) else {
        return Ok(plan);
    };
    // A sort by what is not selected stands above the projection, which gets it for the time of sorting.
    if let (LogicalPlan::Sort(_), LogicalPlan::Projection(projection)) = (&plan, *input) {
        let columns = projection.schema.columns();
        let Some(below) = attach(&projection.input, calls)? else { return Err(first.misplaced()) };
        let filled = calls.iter().map(|call| Ok(Expr::Column(column_of(call))));
        let exprs = projection.expr.iter().cloned().map(Ok).chain(filled);
        let wider = Projection::try_new(exprs.collect::<Result<_>>()?, Arc::new(below))?;
        let sorted = with_columns(&plan, LogicalPlan::Projection(wider))?;
        let exprs = columns.into_iter().map(Expr::Column).collect();
        return Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(sorted))?));
    }
    match attach(input, calls)? {
        Some(input) => with_columns(&plan, input),
        None => Err(first.misplaced()),
    }
}

/// The column that stands for a call.
fn column_of(call: &Expr) -> Column {
    match marker_of(call) {
        Some((Marker::Filled, _)) => Column::from_name(FILLED_COLUMN),
        Some(_) | None => Column::from_name(call.schema_name().to_string()),
    }
}

/// The plan over another input, its calls columns under the names that they had.
fn with_columns(plan: &LogicalPlan, input: LogicalPlan) -> Result<LogicalPlan> {
    if let LogicalPlan::Distinct(Distinct::On(distinct)) = plan {
        return distinct_on(distinct, input).map(|on| LogicalPlan::Distinct(Distinct::On(on)));
    }
    let is_named = matches!(plan, LogicalPlan::Projection(_));
    let exprs = plan.expressions().into_iter().map(|expr| with_column(expr, is_named));
    plan.with_new_exprs(exprs.collect::<Result<_>>()?, vec![input])
}

fn distinct_on(distinct: &DistinctOn, input: LogicalPlan) -> Result<DistinctOn> {
    let all = |exprs: &[Expr], is_named| -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| with_column(expr.clone(), is_named)).collect()
    };
    let sorts = distinct.sort_expr.iter().flatten();
    let sorts = sorts.map(|sort| Ok(sort.with_expr(with_column(sort.expr.clone(), false)?)));
    let sorts = sorts.collect::<Result<Vec<_>>>()?;
    DistinctOn::try_new(
        all(&distinct.on_expr, false)?,
        all(&distinct.select_expr, true)?,
        distinct.sort_expr.is_some().then_some(sorts),
        Arc::new(input),
    )
}

/// An expression whose calls are columns, under the name that it had.
fn with_column(expr: Expr, is_named: bool) -> Result<Expr> {
    let name = expr.schema_name().to_string();
    let replaced = expr.transform_down(|e| match marker_of(&e) {
        Some((marker, _)) if !marker.is_key() => Ok(Transformed::yes(Expr::Column(column_of(&e)))),
        Some(_) | None => Ok(Transformed::no(e)),
    })?;
    let renamed = is_named && replaced.data.schema_name().to_string() != name;
    Ok(if renamed { replaced.data.alias(name) } else { replaced.data })
}

/// Has the gap filling below a node make the columns of calls; `None` if there is none.
fn attach(plan: &LogicalPlan, calls: &[Expr]) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Extension(Extension { node }) => {
            let Some(node) = node.as_any().downcast_ref::<GapFill>() else { return Ok(None) };
            let mut node = node.clone();
            for call in calls {
                node = with_call(node, call)?;
            }
            Ok(Some(extension(node)))
        }
        LogicalPlan::Filter(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_) => {
            let Some(input) = attach(plan.inputs()[0], calls)? else { return Ok(None) };
            plan.with_new_exprs(plan.expressions(), vec![input])?.recompute_schema().map(Some)
        }
        _ => Ok(None),
    }
}

fn with_call(node: GapFill, call: &Expr) -> Result<GapFill> {
    let Some((marker, arguments)) = marker_of(call) else { return Ok(node) };
    let name = marker.name();
    let method = match (marker, arguments.get(1)) {
        (Marker::Filled, _) => return node.with_marks(),
        (Marker::Interpolate, _) => Method::Linear,
        (Marker::Locf, None) => Method::Previous { null_is_missing: true },
        (Marker::Locf, Some(flag)) => {
            let value = constant(marker, "treat_null_as_missing", flag)?;
            Method::Previous { null_is_missing: value != ScalarValue::Boolean(Some(false)) }
        }
        (Marker::DateBin | Marker::TimeBucket, _) => return Err(marker.misplaced()),
    };
    let value = &arguments[0];
    if let Some(inner) = marker_in(value)? {
        return plan_err!(
            "{name} of {} is not supported; coalesce({name}(x), {}(x)) takes the one where the other is NULL",
            inner.name(),
            inner.name()
        );
    }
    let schema = Arc::clone(node.input.schema());
    if let Some(unknown) = value.column_refs().into_iter().find(|c| !schema.has_column(c)) {
        return plan_err!(
            "{name}: {unknown} is not an aggregate or a key of GROUP BY; it fills what an aggregate gives, as in \
             {name}(avg(x))"
        );
    }
    let data_type = value.get_type(&schema)?;
    if method == Method::Linear && !can_interpolate(&data_type) {
        return plan_err!(
            "interpolate: {value} is {data_type}, and only numbers and times can be interpolated; use locf({value})"
        );
    }
    let fill = |value| LogicalFill { value, method, name: call.schema_name().to_string() };
    if let Expr::Column(_) = value {
        return node.with_fill(fill(value.clone()));
    }
    let computed = value.schema_name().to_string();
    let mut node = node;
    if !schema.has_column_with_unqualified_name(&computed) {
        let exprs = schema.columns().into_iter().map(Expr::Column);
        let exprs = exprs.chain([value.clone().alias(&computed)]).collect();
        let input = Projection::try_new(exprs, Arc::new(node.input.clone()))?;
        node = node.with_wider_input(LogicalPlan::Projection(input))?;
    }
    node.with_fill(fill(Expr::Column(Column::from_name(computed))))
}
