//! From when to when gaps are filled: by arguments, or by what the query says of its time.
//!
//! [`of_plan`] collects comparisons of the time with constants on the way down from the aggregate to the tables. They stay
//! expressions until the plan is made physical, when `now()` has its value; [`FillRange::resolve`] makes buckets of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, JoinType, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, Operator,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::bucket::counted;
use super::grid::{Grid, unit_ns};

const DAY_NS: i128 = 86_400_000_000_000;

/// Which side of a constant the time is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(super) enum Edge {
    /// At it or later.
    From,
    /// Later.
    After,
    /// Earlier.
    Until,
    /// At it or earlier.
    Through,
}

impl Edge {
    fn is_lower(self) -> bool {
        matches!(self, Self::From | Self::After)
    }
}

/// One constant that bounds the time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(super) struct Bound {
    pub(super) edge: Edge,
    pub(super) expr: Expr,
    /// An argument of the function, which overrides what conditions say.
    pub(super) argument: bool,
}

/// Bounds of the time that the rows of a plan have, as far as conditions in it tell.
pub(super) fn of_plan(plan: &LogicalPlan, time: &Expr) -> Result<Vec<Bound>> {
    let mut bounds = Vec::new();
    descend(plan, time, &mut bounds)?;
    Ok(bounds)
}

fn descend(plan: &LogicalPlan, time: &Expr, bounds: &mut Vec<Bound>) -> Result<()> {
    match plan {
        LogicalPlan::Filter(filter) => {
            of_condition(&filter.predicate, time, filter.input.schema(), bounds);
            descend(&filter.input, time, bounds)
        }
        LogicalPlan::TableScan(scan) => {
            for condition in &scan.filters {
                of_condition(condition, time, &scan.projected_schema, bounds);
            }
            Ok(())
        }
        LogicalPlan::Projection(projection) => {
            let below = through(time, &projection.schema, |i| Some(projection.expr[i].clone()))?;
            below.map_or(Ok(()), |time| descend(&projection.input, &time, bounds))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let columns = alias.input.schema().columns();
            let below =
                through(time, &alias.schema, |i| Some(Expr::Column(columns.get(i)?.clone())))?;
            below.map_or(Ok(()), |time| descend(&alias.input, &time, bounds))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let below = through(time, &aggregate.schema, |i| group_key(aggregate, i))?;
            below.map_or(Ok(()), |time| descend(&aggregate.input, &time, bounds))
        }
        LogicalPlan::Sort(sort) => descend(&sort.input, time, bounds),
        LogicalPlan::Limit(limit) => descend(&limit.input, time, bounds),
        LogicalPlan::Distinct(Distinct::All(input)) => descend(input, time, bounds),
        LogicalPlan::Window(window) if has_columns(window.input.schema(), time) => {
            descend(&window.input, time, bounds)
        }
        LogicalPlan::Join(join) => of_join(join, time, bounds),
        // What other nodes do to the time is not known: they bound nothing.
        _ => Ok(()),
    }
}

fn group_key(aggregate: &Aggregate, index: usize) -> Option<Expr> {
    let key = aggregate.group_expr.get(index)?;
    (!matches!(key, Expr::GroupingSet(_))).then(|| key.clone())
}

/// The expression in terms of a node's input, where `of` gives what a column of the node is made from.
fn through(
    time: &Expr,
    schema: &DFSchema,
    of: impl Fn(usize) -> Option<Expr>,
) -> Result<Option<Expr>> {
    let mut known = true;
    let below = time.clone().transform_up(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        if let Some(source) = schema.maybe_index_of_column(column).and_then(&of) {
            Ok(Transformed::yes(source.unalias()))
        } else {
            known = false;
            Ok(Transformed::no(expr))
        }
    })?;
    Ok(known.then_some(below.data))
}

fn has_columns(schema: &DFSchema, expr: &Expr) -> bool {
    expr.column_refs().iter().all(|column| schema.has_column(column))
}

fn of_join(join: &Join, time: &Expr, bounds: &mut Vec<Bound>) -> Result<()> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    if let (Inner, Some(condition)) = (join.join_type, &join.filter) {
        of_condition(condition, time, &join.schema, bounds);
    }
    // Rows that an outer join adds have no time.
    if has_columns(join.left.schema(), time) {
        if matches!(join.join_type, Inner | Left | LeftSemi | LeftAnti) {
            return descend(&join.left, time, bounds);
        }
    } else if has_columns(join.right.schema(), time)
        && matches!(join.join_type, Inner | Right | RightSemi | RightAnti)
    {
        return descend(&join.right, time, bounds);
    }
    Ok(())
}

fn of_condition(condition: &Expr, time: &Expr, schema: &DFSchema, bounds: &mut Vec<Bound>) {
    let time = uncast(time, schema);
    let mut push = |edge, expr: &Expr| {
        bounds.push(Bound { edge, expr: expr.clone(), argument: false });
    };
    for part in split_conjunction(condition) {
        let (part, negated) = match part {
            Expr::Not(inner) => (inner.as_ref(), true),
            part => (part, false),
        };
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let Some(op) = (if negated { op.negate() } else { Some(*op) }) else { continue };
                let (op, constant) = if uncast(left, schema) == time && is_constant(right, schema) {
                    (Some(op), right)
                } else if uncast(right, schema) == time && is_constant(left, schema) {
                    (op.swap(), left)
                } else {
                    continue;
                };
                match op {
                    Some(Operator::GtEq) => push(Edge::From, constant),
                    Some(Operator::Gt) => push(Edge::After, constant),
                    Some(Operator::Lt) => push(Edge::Until, constant),
                    Some(Operator::LtEq) => push(Edge::Through, constant),
                    Some(Operator::Eq) => {
                        push(Edge::From, constant);
                        push(Edge::Through, constant);
                    }
                    Some(_) | None => {}
                }
            }
            Expr::Between(between) if between.negated == negated => {
                if uncast(&between.expr, schema) != time {
                    continue;
                }
                if is_constant(&between.low, schema) {
                    push(Edge::From, &between.low);
                }
                if is_constant(&between.high, schema) {
                    push(Edge::Through, &between.high);
                }
            }
            _ => {}
        }
    }
}

/// An expression without casts that leave the instant as it is, but for its precision.
fn uncast<'a>(expr: &'a Expr, schema: &DFSchema) -> &'a Expr {
    let (inner, to) = match expr {
        Expr::Cast(cast) => (cast.expr.as_ref(), cast.field.data_type()),
        Expr::TryCast(cast) => (cast.expr.as_ref(), cast.field.data_type()),
        Expr::Alias(alias) => return uncast(&alias.expr, schema),
        other => return other,
    };
    match inner.get_type(schema) {
        Ok(from) if zone(&from).is_some() && zone(&from) == zone(to) => uncast(inner, schema),
        Ok(_) | Err(_) => expr,
    }
}

/// The zone of a type that tells an instant; UTC where it has none.
fn zone(data_type: &DataType) -> Option<&str> {
    match data_type {
        DataType::Timestamp(_, None) | DataType::Date32 => Some("UTC"),
        DataType::Timestamp(_, Some(zone)) => match &**zone {
            "+00:00" | "Z" | "UTC" => Some("UTC"),
            other => Some(other),
        },
        _ => None,
    }
}

fn is_constant(expr: &Expr, schema: &DFSchema) -> bool {
    let varies = |e: &Expr| {
        Ok(matches!(
            e,
            Expr::Placeholder(_)
                | Expr::OuterReferenceColumn(_, _)
                | Expr::ScalarSubquery(_)
                | Expr::ScalarVariable(_, _)
        ))
    };
    let known = matches!(
        expr.get_type(schema),
        Ok(DataType::Timestamp(_, _) | DataType::Date32 | DataType::Null)
    );
    known
        && expr.column_refs().is_empty()
        && !expr.is_volatile()
        && !expr.exists(varies).unwrap_or(true)
}

/// An instant in nanoseconds, and how long it is as its type counts; `None` for NULL.
fn instant(value: &ScalarValue) -> Result<Option<(i128, i128)>> {
    let step = match value.data_type() {
        DataType::Timestamp(unit, _) => i128::from(unit_ns(unit)),
        DataType::Date32 => DAY_NS,
        DataType::Null => return Ok(None),
        other => return plan_err!("{other} does not bound the time"),
    };
    let value = match value {
        ScalarValue::Date32(days) => days.map(i64::from),
        other => counted(other)?,
    };
    Ok(value.map(|value| (i128::from(value) * step, step)))
}

/// Buckets that are to be there: `first`, if it is known for all series, up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FillRange {
    pub(super) first: Option<i128>,
    pub(super) end: i128,
}

/// Bounds in nanoseconds: from `lower`, up to and without `upper`.
#[derive(Debug, Default)]
struct Span {
    lower: Option<i128>,
    upper: Option<i128>,
    /// A condition compares with NULL: no row can be.
    nothing: bool,
}

impl Span {
    fn add(&mut self, edge: Edge, value: Option<(i128, i128)>) {
        let Some((at, step)) = value else {
            self.nothing = true;
            return;
        };
        let at = match edge {
            Edge::From | Edge::Until => at,
            Edge::After | Edge::Through => at + step,
        };
        if edge.is_lower() {
            self.lower = Some(self.lower.map_or(at, |lower| lower.max(at)));
        } else {
            self.upper = Some(self.upper.map_or(at, |upper| upper.min(at)));
        }
    }
}

impl FillRange {
    /// Evaluates the bounds for the function `name`.
    pub(super) fn resolve(
        name: &str,
        bounds: &[Bound],
        grid: &Grid,
        unit: TimeUnit,
        session: &dyn Session,
    ) -> Result<Self> {
        let (mut given, mut said) = (Span::default(), Span::default());
        for bound in bounds {
            let value = instant(&evaluate(name, &bound.expr, session)?)?;
            if !bound.argument {
                said.add(bound.edge, value);
            } else if value.is_some() {
                given.add(bound.edge, value);
            }
        }
        if let (Some(start), Some(finish)) = (given.lower, given.upper)
            && start >= finish
        {
            return plan_err!("{name}: start must be before finish");
        }
        let lower = given.lower.or(said.lower);
        if said.nothing {
            return Ok(Self { first: Some(0), end: 0 });
        }
        let Some(upper) = given.upper.or(said.upper) else {
            return plan_err!(
                "{name} has no end to fill up to: bound the time from above in WHERE, as in time < now(), or write \
                 time_bucket_gapfill(width, time, start, finish)"
            );
        };
        Self::buckets(lower, upper, grid, unit)
    }

    fn buckets(lower: Option<i128>, upper: i128, grid: &Grid, unit: TimeUnit) -> Result<Self> {
        let step = i128::from(unit_ns(unit));
        let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
        let index = |at: i128| {
            let at = at.clamp(least, most);
            grid.index_of(i64::try_from(at).expect("the value is in the range"))
        };
        let last = (upper - 1).div_euclid(step);
        let lower = lower.map(|lower| -(-lower).div_euclid(step));
        if lower.is_some_and(|lower| lower > last) {
            return Ok(Self { first: Some(0), end: 0 });
        }
        Ok(Self { first: lower.map(index).transpose()?, end: index(last)? + 1 })
    }
}

fn evaluate(name: &str, expr: &Expr, session: &dyn Session) -> Result<ScalarValue> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(DFSchema::empty()))
        .with_config_options(Arc::clone(session.config().options()))
        .with_query_execution_start_time(session.execution_props().query_execution_start_time)
        .build();
    match ExprSimplifier::new(context).simplify(expr.clone())? {
        Expr::Literal(value, _) => Ok(value),
        other => plan_err!("{name}: {other} bounds the time and is not a constant"),
    }
}
