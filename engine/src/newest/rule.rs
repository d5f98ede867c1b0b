//! [`NewestBucketsRule`]: finds sorts that ask for the newest buckets.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};

use super::exec::{Newest, NewestBucketsExec};
use crate::buckets::is_bucket;
use crate::scan::SeriesScanExec;

/// Buckets beyond which finding where they begin takes longer than it is worth.
const BUCKETS_MAX: usize = 256;

/// A rule that reads the newest buckets first, to stand before those that look at orders and streams.
#[derive(Debug)]
pub(crate) struct NewestBucketsRule;

impl PhysicalOptimizerRule for NewestBucketsRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let found = match node.downcast_ref::<SortExec>() {
                Some(sort) => newest_first(&node, sort)?,
                None => None,
            };
            Ok(found.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "newest_buckets_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn newest_first(
    node: &Arc<dyn ExecutionPlan>,
    sort: &SortExec,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(count) = sort.fetch().filter(|count| (1..=BUCKETS_MAX).contains(count)) else {
        return Ok(None);
    };
    let key = sort.expr().first();
    let Some(column) = key.expr.downcast_ref::<Column>() else { return Ok(None) };
    if !key.options.descending {
        return Ok(None);
    }
    // What stands between the sort and the aggregate, from above.
    let mut between = vec![Arc::clone(node)];
    let (mut place, mut plan) = (column.index(), Arc::clone(sort.input()));
    while let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let column = projection.expr()[place].expr.downcast_ref::<Column>();
        let Some(column) = column else { return Ok(None) };
        place = column.index();
        let below = Arc::clone(projection.input());
        between.push(std::mem::replace(&mut plan, below));
    }
    let Some(newest) = newest_of(plan.as_ref(), place, count)? else { return Ok(None) };
    let mut plan: Arc<dyn ExecutionPlan> = Arc::new(NewestBucketsExec::new(plan, newest));
    for above in between.into_iter().rev() {
        plan = above.replace_children(vec![plan], ReplaceChildrenOptions::new(Recompute))?;
    }
    Ok(Some(plan))
}

/// What there is to know of an aggregate by buckets alone, whose bucket is the column at this place.
fn newest_of(plan: &dyn ExecutionPlan, place: usize, count: usize) -> Result<Option<Newest>> {
    let by_one = |aggregate: &AggregateExec| {
        let group = aggregate.group_expr();
        group.is_single() && group.expr().len() == 1 && aggregate.limit_options().is_none()
    };
    let Some(last) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let mut first = last;
    if matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned) {
        let Some(partial) = last.input().downcast_ref::<AggregateExec>() else { return Ok(None) };
        first = partial;
    }
    let is_first = matches!(
        first.mode(),
        AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned
    );
    if place != 0 || !is_first || !by_one(last) || !by_one(first) {
        return Ok(None);
    }
    let Some(scan) = first.input().downcast_ref::<SeriesScanExec>() else { return Ok(None) };
    let (bucket, _) = &first.group_expr().expr()[0];
    if !is_bucket(bucket, scan) {
        return Ok(None);
    }
    let (Some(time), Some(column)) = (scan.whole_time(), scan.time_column()) else {
        return Ok(None);
    };
    let newest = Newest::new(Arc::clone(bucket), (scan.schema(), column), time, count)?;
    // Half of all rows are not worth a second look at them.
    let length = |start: i64| i128::from(time.end) - i128::from(start);
    Ok(newest.filter(|newest| length(newest.start()) < length(time.start) / 2))
}
