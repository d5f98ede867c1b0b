//! The rules that make a physical plan faster: `DataFusion`'s, without what makes answers of version 55.2 wrong.
//!
//! | rule | what is wrong | here |
//! |---|---|---|
//! | `FilterPushdown` of plain filters | moves filters by the names of columns: over a join whose sides have a name in common, `l.x IS DISTINCT FROM r.x` becomes `r.x IS DISTINCT FROM r.x` | left out: the logical plan's filters are where they can be already |
//! | `LimitedDistinctAggregation` | `WindowTopN` after it puts in order what it took for unordered: an internal error | comes after it |
//! | `TopKAggregation` | NaN is never equal to NaN in its table of groups: it panics, or gives the group twice | not for floating point |

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_optimizer::limited_distinct_aggregation::LimitedDistinctAggregation;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::topk_aggregation::TopKAggregation;
use datafusion::physical_optimizer::window_topn::WindowTopN;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

/// The rules of all statements, in order. The second `FilterPushdown`, of filters that are found out while a query runs,
/// has another name and stays.
pub(crate) fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let (left_out, replaced) = (FilterPushdown::new(), TopKAggregation::new());
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != left_out.name());
    let place = |name: &str| rules.iter().position(|rule| rule.name() == name);
    let (limits, orders) = (LimitedDistinctAggregation::new(), WindowTopN::new());
    if let (Some(limits), Some(orders)) = (place(limits.name()), place(orders.name())) {
        let rule = rules.remove(orders);
        rules.insert(limits.min(orders), rule);
    }
    for rule in &mut rules {
        if rule.name() == replaced.name() {
            *rule = Arc::new(GroupLimit { rule: Arc::clone(rule) });
        }
    }
    rules
}

/// `TopKAggregation` where no group and no extreme is of floating point.
#[derive(Debug)]
struct GroupLimit {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalOptimizerRule for GroupLimit {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut floats = false;
        plan.apply(|node| {
            floats |= node.downcast_ref::<AggregateExec>().is_some_and(answers_floats);
            Ok(if floats { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if floats { Ok(plan) } else { self.rule.optimize(plan, config) }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Whether a column of the aggregation's answer, group or aggregate, is of floating point.
fn answers_floats(aggregate: &AggregateExec) -> bool {
    aggregate.schema().fields().iter().any(|field| field.data_type().is_floating())
}
