//! `FROM gaps('table', interval [, tolerance])`: planned over the rows of whatever the name stands for.
//!
//! The statement has a query in the place of the name by now (see [`super::table_functions`]). Its plan tells which of its
//! columns are tags, fields and times of stored tables, through views, joins and subqueries; what a column that is none of
//! them is, such as one of a memory table or one that is computed, follows from its type, as in `CREATE TABLE`.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::{Column, DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan, TableScan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, ObjectName, TableFactor,
};
use quorate_storage::ColumnKind;
use quorate_timeseries::{GapLimits, fixed_interval, fixed_tolerance, gaps};

use crate::catalog::column_kind;

/// Name of the function.
pub(super) const NAME: &str = "gaps";

/// Name of the time of rows that have several, and are of no stored table.
const TIME: &str = "time";

const USAGE: &str = "gaps('table', INTERVAL '1 minute' [, tolerance])";

/// Plans `gaps`.
#[derive(Debug)]
struct GapsPlanner;

/// Lets a state plan `gaps`.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    state.register_relation_planner(Arc::new(GapsPlanner))
}

fn is_gaps(name: &ObjectName) -> bool {
    matches!(&name.0[..], [part] if part.as_ident().is_some_and(|i| i.value.eq_ignore_ascii_case(NAME)))
}

/// What a column of a plan is in the stored table that it comes from unchanged; `None` if it comes from none.
fn stored_kind(plan: &LogicalPlan, index: usize) -> Option<ColumnKind> {
    match plan {
        LogicalPlan::TableScan(scan) => scanned_kind(scan, index),
        LogicalPlan::Projection(projection) => {
            kind_of_expr(projection.expr.get(index)?, &projection.input)
        }
        LogicalPlan::Aggregate(aggregate) => {
            kind_of_expr(aggregate.group_expr.get(index)?, &aggregate.input)
        }
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            kind_of_expr(distinct.select_expr.get(index)?, &distinct.input)
        }
        LogicalPlan::SubqueryAlias(alias) => stored_kind(&alias.input, index),
        LogicalPlan::Filter(filter) => stored_kind(&filter.input, index),
        LogicalPlan::Sort(sort) => stored_kind(&sort.input, index),
        LogicalPlan::Limit(limit) => stored_kind(&limit.input, index),
        LogicalPlan::Distinct(Distinct::All(input)) => stored_kind(input, index),
        // Columns of a window come after those of its input.
        LogicalPlan::Window(window) if index < window.input.schema().fields().len() => {
            stored_kind(&window.input, index)
        }
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti => stored_kind(&join.right, index),
                _ if index < left => stored_kind(&join.left, index),
                _ => stored_kind(&join.right, index - left),
            }
        }
        LogicalPlan::Union(union) => {
            let mut kinds = union.inputs.iter().map(|input| stored_kind(input, index));
            let first = kinds.next()??;
            kinds.all(|kind| kind == Some(first)).then_some(first)
        }
        _ => None,
    }
}

fn kind_of_expr(expr: &Expr, input: &LogicalPlan) -> Option<ColumnKind> {
    match expr {
        Expr::Alias(alias) => kind_of_expr(&alias.expr, input),
        Expr::Column(column) => stored_kind(input, input.schema().maybe_index_of_column(column)?),
        _ => None,
    }
}

fn scanned_kind(scan: &TableScan, index: usize) -> Option<ColumnKind> {
    let index = match &scan.projection {
        Some(projection) => *projection.get(index)?,
        None => index,
    };
    let provider = &scan.source.downcast_ref::<DefaultTableSource>()?.table_provider;
    match provider.get_logical_plan() {
        Some(view) => stored_kind(&view, index),
        None => column_kind(provider.as_ref(), index),
    }
}

/// The tags and the time of rows.
#[derive(Debug)]
struct KeyColumns {
    tags: Vec<Column>,
    time: Column,
}

impl KeyColumns {
    fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut tags = Vec::new();
        let (mut stored_times, mut other_times) = (Vec::new(), Vec::new());
        for (index, (qualifier, field)) in plan.schema().iter().enumerate() {
            let column = || Column::new(qualifier.cloned(), field.name());
            let is_time = matches!(field.data_type(), DataType::Timestamp(_, _));
            match stored_kind(plan, index) {
                Some(ColumnKind::Tag) => tags.push(column()),
                None if is_text(field.data_type()) => tags.push(column()),
                Some(ColumnKind::Time) if is_time => stored_times.push(column()),
                None if is_time => other_times.push(column()),
                Some(ColumnKind::Time | ColumnKind::Field(_)) | None => {}
            }
        }
        let time = match sole(&stored_times) {
            Some(time) => time,
            None if stored_times.is_empty() => match sole(&other_times) {
                Some(time) => time,
                None => return no_time(&other_times),
            },
            None => return no_time(&stored_times),
        };
        Ok(Self { tags, time: time.clone() })
    }
}

/// The only column, or the only one that is called `time`.
fn sole(columns: &[Column]) -> Option<&Column> {
    let mut named = columns.iter().filter(|column| column.name == TIME);
    match (columns, named.next(), named.next()) {
        ([column], _, _) | (_, Some(column), None) => Some(column),
        _ => None,
    }
}

fn no_time<T>(candidates: &[Column]) -> Result<T> {
    if candidates.is_empty() {
        return plan_err!("gaps: the rows have no time: none of their columns is a timestamp");
    }
    let names: Vec<String> = candidates.iter().map(Column::quoted_flat_name).collect();
    plan_err!(
        "gaps: the rows have several times, {}, and none of them alone is called time; select one in a view or a query",
        names.join(", ")
    )
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => other.is_string(),
    }
}

/// A constant argument.
fn constant(arg: FunctionArg, context: &mut dyn RelationPlannerContext) -> Result<ScalarValue> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
        return plan_err!("gaps: arguments have no names; write {USAGE}");
    };
    let schema = Arc::new(DFSchema::empty());
    let expr = context.sql_to_expr(expr, &schema)?;
    let simplify = SimplifyContext::builder().with_schema(schema).build();
    match ExprSimplifier::new(simplify).simplify(expr)? {
        Expr::Literal(value, _) => Ok(value),
        other => plan_err!("gaps: {other} is not a constant; write {USAGE}"),
    }
}

/// The rows of the first argument.
fn points(arg: FunctionArg, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Subquery(subquery))) = arg else {
        return plan_err!(
            "gaps: the table is a text, or a query in parentheses, not {arg}; write {USAGE}"
        );
    };
    context.plan(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None })
}

impl RelationPlanner for GapsPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (args, alias) = match relation {
            TableFactor::Table { name, args: Some(args), alias, .. } if is_gaps(&name) => {
                (args.args, alias)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        if !(2..=3).contains(&args.len()) {
            return plan_err!("gaps takes two or three arguments; write {USAGE}");
        }
        let mut args = args.into_iter();
        let Some(table) = args.next() else {
            return plan_err!("gaps: the table is missing; write {USAGE}");
        };
        let lengths: Vec<ScalarValue> =
            args.map(|arg| constant(arg, context)).collect::<Result<_>>()?;
        let limits = GapLimits {
            interval: fixed_interval("gaps", "the interval", &lengths[0])?,
            tolerance: match lengths.get(1) {
                Some(tolerance) => fixed_tolerance("gaps", "the tolerance", tolerance)?,
                None => 0,
            },
        };
        let points = points(table, context)?;
        let KeyColumns { tags, time } = KeyColumns::of(&points)?;
        let plan = gaps(points, &tags, &time, limits)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}
