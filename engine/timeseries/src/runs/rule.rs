//! [`RunsRule`]: puts [`RunAggregateExec`] where its keys stay the same for a while.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::exec::{ByRuns, RunAggregateExec};
use super::keys::RunKeys;

/// A rule that groups by runs, to stand behind all others. `steady` names the columns of a leaf that stay the same for a
/// while along its rows, besides those of its order: tags of series which are not the first ones.
pub fn group_by_runs(
    steady: fn(&dyn ExecutionPlan) -> Vec<usize>,
) -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    Arc::new(RunsRule { steady })
}

/// Looks at the first stage of aggregates alone: its states may come in any number of parts.
struct RunsRule {
    steady: fn(&dyn ExecutionPlan) -> Vec<usize>,
}

impl fmt::Debug for RunsRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunsRule")
    }
}

impl RunsRule {
    fn keys_of(&self, aggregate: &AggregateExec) -> Option<RunKeys> {
        let group = aggregate.group_expr();
        let plain = *aggregate.mode() == AggregateMode::Partial
            && aggregate.limit_options().is_none()
            && group.is_single()
            && !group.is_true_no_grouping();
        if !plain {
            return None;
        }
        let keys: Vec<_> = group.expr().iter().map(|(key, _)| Arc::clone(key)).collect();
        let input = aggregate.input();
        RunKeys::of(&keys, input.equivalence_properties(), self.steady_columns(input))
    }

    /// As the leaf says, through operators that take rows away or columns.
    fn steady_columns(&self, plan: &Arc<dyn ExecutionPlan>) -> Vec<usize> {
        let children = plan.children();
        let [input] = children[..] else {
            return if children.is_empty() { (self.steady)(plan.as_ref()) } else { vec![] };
        };
        let below = || self.steady_columns(input);
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let below = below();
            let columns = projection.expr().iter().map(|e| e.expr.downcast_ref::<Column>());
            let kept = |column: Option<&Column>| column.is_some_and(|c| below.contains(&c.index()));
            return columns.enumerate().filter(|(_, c)| kept(*c)).map(|(at, _)| at).collect();
        }
        match plan.downcast_ref::<FilterExec>() {
            Some(filter) => match filter.projection().as_ref() {
                Some(kept) => {
                    let below = below();
                    (0..kept.len()).filter(|at| below.contains(&kept[*at])).collect()
                }
                None => below(),
            },
            None => vec![],
        }
    }
}

impl PhysicalOptimizerRule for RunsRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let keys = node.downcast_ref::<AggregateExec>().and_then(|node| self.keys_of(node));
            Ok(match keys {
                Some(keys) => {
                    Transformed::yes(Arc::new(RunAggregateExec::new(node, ByRuns(keys))) as _)
                }
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "group_by_runs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
