//! [`LastRowsRule`]: scans of whose rows only the last of each series can matter.
//!
//! A row that is the last by time of some group of series is the last of its own series. So where all that an aggregation
//! over tags asks for are last values, a scan may leave out everything else; the aggregation stays, and finds in what comes
//! what it would have found in all. The rule only marks the scan ([`LastRows`]); what a mark permits, the store decides.
//!
//! | plan | marked |
//! |---|---|
//! | `Aggregate: group by tags, [max(time), last_value(x ORDER BY time), first_value(x ORDER BY time DESC), last(x, time) …]` | its scan |
//! | `Join: t.tags = m.tags AND t.time = m.max` with `m` such an aggregation of `max(time)` over the same rows | the scan of `t` |
//!
//! `DISTINCT ON (tags) … ORDER BY tags, time DESC` is an aggregation of the first kind when it comes here.

use std::sync::Arc;

use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan, SortExpr, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use quorate_storage::catalog::Table;
use quorate_storage::scan::LastRows;
use quorate_storage::{ColumnId, ColumnKind};

use crate::catalog::StoredTable;

/// Aggregates `f(value, time)` that answer with the value of the latest row that has one.
const LAST_BY_TIME: [&str; 4] = ["last", "selector_last", "max_by", "arg_max"];

/// Marks scans whose last rows are enough.
#[derive(Debug)]
pub(crate) struct LastRowsRule;

impl OptimizerRule for LastRowsRule {
    fn name(&self) -> &'static str {
        "last_rows"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) => {
                let Some(last) = wanted(&aggregate) else {
                    return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
                };
                marked(&aggregate.input, &last)?.map_data(|input| {
                    let Aggregate { group_expr, aggr_expr, schema, .. } = aggregate;
                    let input = Arc::new(input);
                    let aggregate =
                        Aggregate::try_new_with_schema(input, group_expr, aggr_expr, schema)?;
                    Ok(LogicalPlan::Aggregate(aggregate))
                })
            }
            LogicalPlan::Join(join) => rewrite_join(join),
            other => Ok(Transformed::no(other)),
        }
    }
}

fn rewrite_join(join: Join) -> Result<Transformed<LogicalPlan>> {
    if join.join_type != JoinType::Inner {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let flipped: Vec<(Expr, Expr)> = join.on.iter().map(|(l, r)| (r.clone(), l.clone())).collect();
    let last = LastRows::default();
    if joins_latest(&join.left, &join.right, &join.on) {
        let left = marked(&join.left, &last)?;
        return Ok(
            left.update_data(|left| LogicalPlan::Join(Join { left: Arc::new(left), ..join }))
        );
    }
    if joins_latest(&join.right, &join.left, &flipped) {
        let right = marked(&join.right, &last)?;
        return Ok(
            right.update_data(|right| LogicalPlan::Join(Join { right: Arc::new(right), ..join }))
        );
    }
    Ok(Transformed::no(LogicalPlan::Join(join)))
}

/// Whether a join finds, for each group of `latest`, rows of `rows` at the group's last time.
fn joins_latest(rows: &LogicalPlan, latest: &LogicalPlan, on: &[(Expr, Expr)]) -> bool {
    let Some((scan, stored)) = stored_scan(rows) else { return false };
    let table = stored.table();
    let mut of_time = None;
    let mut groups = Vec::new();
    for (ours, theirs) in on {
        let (Expr::Column(ours), Expr::Column(theirs)) = (ours, theirs) else { continue };
        let (Some(ours), Some((aggregate, output))) =
            (base_column(rows, ours), aggregate_output(latest, theirs))
        else {
            continue;
        };
        match output.checked_sub(aggregate.group_expr.len()) {
            Some(at) if ours == table.time().name && is_max_time(aggregate, at, table) => {
                of_time = Some(aggregate);
            }
            None if base_of(&aggregate.input, &aggregate.group_expr[output]) == Some(ours) => {
                groups.push(output);
            }
            Some(_) | None => {}
        }
    }
    let Some(aggregate) = of_time else { return false };
    let Some((other, theirs)) = stored_scan(&aggregate.input) else { return false };
    groups.sort_unstable();
    groups.dedup();
    theirs.table().id == table.id
        && same_filters(scan, other)
        && groups.len() == aggregate.group_expr.len()
        && aggregate.group_expr.iter().all(|expr| is_tag(&aggregate.input, expr, table))
}

fn is_max_time(aggregate: &Aggregate, at: usize, table: &Table) -> bool {
    let Some(Expr::AggregateFunction(call)) = aggregate.aggr_expr.get(at).map(unaliased) else {
        return false;
    };
    is_plain(call)
        && call.func.name() == "max"
        && is_time(&aggregate.input, call.params.args.first(), table)
}

/// Whether two scans of a table read the same rows.
fn same_filters(a: &TableScan, b: &TableScan) -> bool {
    let filters = |scan: &TableScan| {
        let mut all: Vec<String> =
            scan.filters.iter().map(|f| unnormalize_col(f.clone()).to_string()).collect();
        all.sort_unstable();
        all
    };
    filters(a) == filters(b)
}

/// What an aggregation needs of its scan, if last rows are all.
fn wanted(aggregate: &Aggregate) -> Option<LastRows> {
    let (_, stored) = stored_scan(&aggregate.input)?;
    let (input, table) = (&*aggregate.input, stored.table());
    if !aggregate.group_expr.iter().all(|expr| is_tag(input, expr, table)) {
        return None;
    }
    let mut last = LastRows::default();
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(call) = unaliased(expr) else { return None };
        last.carrying.extend(needed(input, call, table)?);
    }
    last.carrying.sort_unstable();
    last.carrying.dedup();
    Some(last)
}

/// Fields whose last values an aggregate needs besides the last rows; `None` if it needs more than both.
fn needed(input: &LogicalPlan, call: &AggregateFunction, table: &Table) -> Option<Vec<ColumnId>> {
    let params = &call.params;
    if params.distinct || params.filter.is_some() {
        return None;
    }
    let ignores_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
    match call.func.name() {
        "max" => (is_plain(call) && is_time(input, params.args.first(), table)).then(Vec::new),
        "last_value" | "first_value" => {
            let latest_is_last = call.func.name() == "last_value";
            if !ends_with_time(input, &params.order_by, latest_is_last, table) {
                return None;
            }
            let [value] = params.args.as_slice() else { return None };
            if ignores_nulls { carried(input, value, table) } else { Some(Vec::new()) }
        }
        name if LAST_BY_TIME.contains(&name) => match params.args.as_slice() {
            [value, time] if params.order_by.is_empty() && is_time(input, Some(time), table) => {
                carried(input, value, table)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether an order goes by tags, if at all, and then by time. What follows orders rows of one time, which are all the last
/// of their series if one of them is.
fn ends_with_time(input: &LogicalPlan, order: &[SortExpr], ascending: bool, table: &Table) -> bool {
    let first = order.iter().find(|sort| !is_tag(input, &sort.expr, table));
    first.is_some_and(|sort| sort.asc == ascending && is_time(input, Some(&sort.expr), table))
}

/// The field that a value is. A tag is the same in all rows of a series.
fn carried(input: &LogicalPlan, value: &Expr, table: &Table) -> Option<Vec<ColumnId>> {
    let name = base_of(input, value)?;
    let column = table.columns.iter().find(|column| column.name == name)?;
    Some(match column.kind {
        ColumnKind::Time | ColumnKind::Tag => Vec::new(),
        ColumnKind::Field(_) => vec![column.id],
    })
}

fn is_plain(call: &AggregateFunction) -> bool {
    let params = &call.params;
    !params.distinct
        && params.filter.is_none()
        && params.order_by.is_empty()
        && params.null_treatment.is_none()
}

fn is_time(input: &LogicalPlan, expr: Option<&Expr>, table: &Table) -> bool {
    expr.and_then(|expr| base_of(input, expr)).is_some_and(|name| name == table.time().name)
}

fn is_tag(input: &LogicalPlan, expr: &Expr, table: &Table) -> bool {
    base_of(input, expr).is_some_and(|name| table.tags().any(|tag| tag.name == name))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The column of the stored table that an expression over a plan is.
fn base_of(plan: &LogicalPlan, expr: &Expr) -> Option<String> {
    match unaliased(expr) {
        Expr::Column(column) => base_column(plan, column),
        _ => None,
    }
}

fn base_column(plan: &LogicalPlan, column: &Column) -> Option<String> {
    let at = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::TableScan(_) => Some(column.name.clone()),
        LogicalPlan::SubqueryAlias(alias) => {
            base_column(&alias.input, &Column::from(alias.input.schema().qualified_field(at)))
        }
        LogicalPlan::Projection(projection) => base_of(&projection.input, &projection.expr[at]),
        _ => None,
    }
}

/// The aggregation below a plan, and which of its outputs a column is.
fn aggregate_output<'a>(plan: &'a LogicalPlan, column: &Column) -> Option<(&'a Aggregate, usize)> {
    let at = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some((aggregate, at)),
        LogicalPlan::SubqueryAlias(alias) => {
            let column = Column::from(alias.input.schema().qualified_field(at));
            aggregate_output(&alias.input, &column)
        }
        LogicalPlan::Projection(projection) => match unaliased(&projection.expr[at]) {
            Expr::Column(column) => aggregate_output(&projection.input, column),
            _ => None,
        },
        _ => None,
    }
}

/// The scan of a stored table that a plan renames at most.
fn stored_scan(plan: &LogicalPlan) -> Option<(&TableScan, &StoredTable)> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            let source = scan.source.downcast_ref::<DefaultTableSource>()?;
            Some((scan, source.table_provider.downcast_ref::<StoredTable>()?))
        }
        LogicalPlan::SubqueryAlias(alias) => stored_scan(&alias.input),
        LogicalPlan::Projection(projection) => stored_scan(&projection.input),
        _ => None,
    }
}

/// The plan with its scan marked.
fn marked(plan: &LogicalPlan, last: &LastRows) -> Result<Transformed<LogicalPlan>> {
    plan.clone().transform_down(|node| {
        let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
        let Some((_, stored)) = stored_scan(&node) else { return Ok(Transformed::no(node)) };
        if stored.last().is_some() {
            return Ok(Transformed::no(node));
        }
        let table = Arc::new(stored.with_last(last.clone()));
        let source = Arc::new(DefaultTableSource::new(table));
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan.clone() })))
    })
}
