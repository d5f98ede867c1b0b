//! [`PartingRule`]: as-of joins of sorted leaves work on several threads.
//!
//! ```text
//! RepartitionExec: RoundRobinBatch(2)                       AsOfJoinExec: parts=alike      2 partitions
//!   AsOfJoinExec            1 partition                →      SortWithinExec
//!     SortWithinExec                                            leaf, cut at the keys k
//!       leaf                2 partitions                      leaf, cut at the keys k
//!     leaf                  3 partitions
//! ```
//!
//! The rows of an as-of join that merges its inputs come in one partition, and where the next step takes them in any, they
//! are dealt out. If whoever made the leaves can cut both at the same keys, each pair of parts is joined by itself.
//!
//! It stands behind the rules that see to partitions, so that none comes between the join and its leaves.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::exec::AsOfJoinExec;
use crate::within::sorts_within;

/// A leaf, and a column of it.
pub type Keyed<'a> = (&'a dyn ExecutionPlan, usize);

/// Cuts two leaves into so many partitions each, so that rows with the same value in the two columns are in partitions of
/// the same number, nulls apart. Partitions keep the order of their rows. None if it cannot.
pub type CutAlike = fn(Keyed<'_>, Keyed<'_>, usize) -> Option<[Arc<dyn ExecutionPlan>; 2]>;

/// A rule that joins parts of leaves on threads of their own, to stand behind those that see to partitions and orders.
pub fn part_as_of_joins(cut: CutAlike) -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    Arc::new(PartingRule { cut })
}

#[derive(Debug)]
struct PartingRule {
    cut: CutAlike,
}

impl PhysicalOptimizerRule for PartingRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(dealt) = node.downcast_ref::<RepartitionExec>() else {
                return Ok(Transformed::no(node));
            };
            let (Partitioning::RoundRobinBatch(count), Some(join)) =
                (dealt.partitioning(), dealt.input().downcast_ref::<AsOfJoinExec>())
            else {
                return Ok(Transformed::no(node));
            };
            Ok(match self.parted(join, *count)? {
                Some(parted) => Transformed::yes(Arc::new(parted) as _),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "part_as_of_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl PartingRule {
    fn parted(&self, join: &AsOfJoinExec, count: usize) -> Result<Option<AsOfJoinExec>> {
        let Some([left, right]) = join.merged() else { return Ok(None) };
        for (of_left, of_right) in join.on() {
            let (Some(of_left), Some(of_right)) = (leaf(left, of_left), leaf(right, of_right))
            else {
                continue;
            };
            let Some([of_left, of_right]) = (self.cut)(of_left, of_right, count) else { continue };
            let inputs = (over(left, &of_left)?, over(right, &of_right)?);
            let is_so = |input: &Arc<dyn ExecutionPlan>| {
                input.output_partitioning().partition_count() == count
            };
            if is_so(&inputs.0) && is_so(&inputs.1) {
                return Ok(Some(join.over_alike(inputs, count)?));
            }
        }
        Ok(None)
    }
}

/// The leaf below operators that take each partition by itself, and the column of it that a key is.
fn leaf<'a>(input: &'a Arc<dyn ExecutionPlan>, key: &Arc<dyn PhysicalExpr>) -> Option<Keyed<'a>> {
    let mut node = input;
    let mut column = key.downcast_ref::<Column>()?.index();
    loop {
        // So many rows of each partition would be more of more partitions.
        if node.fetch().is_some() {
            return None;
        }
        if let Some(filter) = node.downcast_ref::<FilterExec>() {
            if let Some(columns) = filter.projection() {
                column = *columns.get(column)?;
            }
        } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            column = projection.expr().get(column)?.expr.downcast_ref::<Column>()?.index();
        } else if !sorts_within(node.as_ref()) {
            return node.children().is_empty().then_some((node.as_ref(), column));
        }
        node = *node.children().first()?;
    }
}

/// The same operators over another leaf.
fn over(
    input: &Arc<dyn ExecutionPlan>,
    leaf: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replace = |node: Arc<dyn ExecutionPlan>| {
        Ok(if node.children().is_empty() {
            Transformed::yes(Arc::clone(leaf))
        } else {
            Transformed::no(node)
        })
    };
    Arc::clone(input).transform_up(replace).data()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::lit;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::filter::FilterExecBuilder;

    use super::*;

    #[test]
    fn what_counts_rows_of_a_partition_is_not_looked_through() {
        let schema = Schema::new(vec![Field::new("tag", DataType::Utf8, true)]);
        let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new("tag", 0));
        for (fetch, column) in [(None, Some(0)), (Some(5), None)] {
            let empty = Arc::new(EmptyExec::new(Arc::new(schema.clone())));
            let filter = FilterExecBuilder::new(lit(true), empty).with_fetch(fetch).build();
            let input: Arc<dyn ExecutionPlan> = Arc::new(filter.unwrap());
            assert_eq!(leaf(&input, &key).map(|(_, column)| column), column);
        }
    }
}
