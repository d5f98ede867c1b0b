//! [`WithinRule`]: puts [`SortWithinExec`] where rows are sorted by the first columns of an order.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::exec::{SortWithinExec, Within};

/// A rule that sorts within groups, to stand behind all others.
pub fn sort_within() -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    Arc::new(WithinRule)
}

/// Leaves sorts alone that are after the first rows only: those hold few.
#[derive(Debug)]
struct WithinRule;

impl PhysicalOptimizerRule for WithinRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_none())
            else {
                return Ok(Transformed::no(node));
            };
            let known = sort.input().equivalence_properties();
            let (prefix, all) = known.extract_common_sort_prefix(sort.expr().clone())?;
            if prefix.is_empty() || all {
                return Ok(Transformed::no(node));
            }
            Ok(Transformed::yes(Arc::new(SortWithinExec::new(node, Within(prefix))) as _))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "sort_within"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
