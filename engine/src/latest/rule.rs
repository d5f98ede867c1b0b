//! [`LatestRowsRule`]: finds aggregates that ask for the latest row of each group.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

use super::exec::LatestRowsExec;
use crate::scan::SeriesScanExec;

/// A rule that takes rows instead of aggregating columns, to stand before those that look at orders and streams.
#[derive(Debug)]
pub(crate) struct LatestRowsRule;

impl PhysicalOptimizerRule for LatestRowsRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            Ok(match node.downcast_ref::<AggregateExec>().and_then(latest_of) {
                Some(latest) => Transformed::yes(Arc::new(latest) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "latest_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn latest_of(last: &AggregateExec) -> Option<LatestRowsExec> {
    let mut first = last;
    if matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned) {
        let partial = last.input().downcast_ref::<AggregateExec>()?;
        first = partial;
    }
    let is_first = matches!(
        first.mode(),
        AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned
    );
    let is_whole = |one: &AggregateExec| {
        one.group_expr().is_single() && one.limit_options().is_none() && !one.aggr_expr().is_empty()
    };
    if !is_first || !is_whole(first) || !is_whole(last) {
        return None;
    }
    let scan = first.input().downcast_ref::<SeriesScanExec>()?;
    let time = scan.time_column().filter(|_| scan.label().is_last())?;
    let groups = first.group_expr().expr().iter().map(|(expr, _)| column_of(expr));
    let groups = groups.collect::<Option<Vec<usize>>>()?;
    let keys = keys(scan, &groups).filter(|keys| !keys.is_empty())?;
    let filters = first.filter_expr().iter();
    let values = first.aggr_expr().iter().zip(filters).map(|(call, filter)| {
        let is_latest = filter.is_none() && is_of_latest(call, &groups, time);
        call.expressions().first().filter(|_| is_latest).and_then(column_of)
    });
    let values = values.collect::<Option<Vec<usize>>>()?;
    let columns = groups.iter().chain(&values).copied().collect();
    let input = Arc::clone(first.input());
    Some(LatestRowsExec::new(input, last.schema(), time, keys, columns))
}

/// These columns as a scan is sorted by them, if its order begins with them.
fn keys(scan: &SeriesScanExec, groups: &[usize]) -> Option<Vec<(usize, SortOptions)>> {
    let order = scan.properties().output_ordering()?;
    let keys = order.iter().take(groups.len());
    let keys = keys.map(|key| Some((column_of(&key.expr)?, key.options)));
    let keys = keys.collect::<Option<Vec<_>>>()?;
    let is_key = |group: &usize| keys.iter().any(|(column, _)| column == group);
    (keys.len() == groups.len() && groups.iter().all(is_key)).then_some(keys)
}

/// Whether an aggregate answers with what the latest row of its group has.
fn is_of_latest(call: &AggregateFunctionExpr, groups: &[usize], time: usize) -> bool {
    let arguments = call.expressions();
    if call.is_distinct() || call.ignore_nulls() || arguments.len() != 1 {
        return false;
    }
    let newest_first = match call.fun().name() {
        "first_value" => true,
        "last_value" => false,
        "max" => return column_of(&arguments[0]) == Some(time),
        _ => return false,
    };
    let Some((last, before)) = call.order_bys().split_last() else { return false };
    let is_group = |expr| column_of(expr).is_some_and(|column| groups.contains(&column));
    !call.is_reversed()
        && column_of(&last.expr) == Some(time)
        && last.options.descending == newest_first
        && before.iter().all(|key| is_group(&key.expr))
}

fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}
