//! The rules that make a physical plan faster: `DataFusion`'s, without what makes answers of version 55.2 wrong.
//!
//! | rule | what is wrong | here |
//! |---|---|---|
//! | `FilterPushdown` of plain filters | moves filters by the names of columns: over a join whose sides have a name in common, `l.x IS DISTINCT FROM r.x` becomes `r.x IS DISTINCT FROM r.x` | left out: the logical plan's filters are where they can be already |
//! | `LimitedDistinctAggregation` | the limit of groups that come in order, as those of a window's first rows, is an internal error | not over windows |
//! | `TopKAggregation` | NaN is never equal to NaN in its table of groups: it panics, or gives the group twice | not for floating point |

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::aggregate_statistics::AggregateStatistics;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_optimizer::limited_distinct_aggregation::LimitedDistinctAggregation;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::output_requirements::OutputRequirementExec;
use datafusion::physical_optimizer::topk_aggregation::TopKAggregation;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use crate::latest::LatestRowsRule;
use crate::newest::NewestBucketsRule;
use crate::scan::SeriesScanExec;
use crate::summaries::SummariesRule;

/// The rules of all statements, in order. The second `FilterPushdown`, of filters that are found out while a query runs,
/// has another name and stays. What leaves rows out comes after the rule that answers from
/// statistics alone.
pub(crate) fn rules(summaries: bool) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let left_out = FilterPushdown::new();
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != left_out.name());
    let (of_groups, of_distinct) = (TopKAggregation::new(), LimitedDistinctAggregation::new());
    for rule in &mut rules {
        let unless: fn(&dyn ExecutionPlan) -> bool = match rule.name() {
            name if name == of_groups.name() => answers_floats,
            name if name == of_distinct.name() => is_window,
            _ => continue,
        };
        *rule = Arc::new(Sometimes { rule: Arc::clone(rule), unless });
    }
    let of_exchanges = EnsureRequirements::new();
    for rule in rules.iter_mut().filter(|rule| rule.name() == of_exchanges.name()) {
        *rule = Arc::new(FewRows { rule: Arc::clone(rule) });
    }
    let of_statistics = AggregateStatistics::new();
    let place = rules.iter().position(|rule| rule.name() == of_statistics.name());
    let place = place.map_or(0, |place| place + 1);
    rules.insert(place, Arc::new(LatestRowsRule));
    rules.insert(place + 1, Arc::new(NewestBucketsRule));
    if summaries {
        rules.insert(place + 2, Arc::new(SummariesRule));
    }
    rules
}

/// A rule for plans without a certain operator.
#[derive(Debug)]
struct Sometimes {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
    unless: fn(&dyn ExecutionPlan) -> bool,
}

impl PhysicalOptimizerRule for Sometimes {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if plan.exists(|node| Ok((self.unless)(node.as_ref())))? {
            return Ok(plan);
        }
        self.rule.optimize(plan, config)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// The rule of exchanges, for plain plans with the estimates of their rows, so that few rows are not dealt out to several
/// threads. Over the rows of a group, of which it knows few, DataFusion 55 would leave out exchanges that the next group
/// needs, and then refuse its own plan.
#[derive(Debug)]
struct FewRows {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalOptimizerRule for FewRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !is_plain(&plan) {
            return self.rule.optimize(plan, config);
        }
        let mut config = config.clone();
        config.execution.use_row_number_estimates_to_optimize_partitioning = true;
        self.rule.optimize(plan, &config)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Whether it reads one table, and groups once at most.
fn is_plain(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let (mut plan, mut groups) = (plan, 0);
    loop {
        if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            groups += usize::from(*aggregate.mode() != AggregateMode::Partial);
        } else if plan.downcast_ref::<FilterExec>().is_none()
            && plan.downcast_ref::<ProjectionExec>().is_none()
            && plan.downcast_ref::<SortExec>().is_none()
            && plan.downcast_ref::<OutputRequirementExec>().is_none()
        {
            return groups < 2 && plan.downcast_ref::<SeriesScanExec>().is_some();
        }
        let children = plan.children();
        let [child] = children[..] else { return false };
        plan = child;
    }
}

/// Whether it groups, and a column of its answer, group or aggregate, is of floating point.
fn answers_floats(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
        aggregate.schema().fields().iter().any(|field| field.data_type().is_floating())
    })
}

/// Whether it answers window functions.
fn is_window(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<WindowAggExec>().is_some()
        || plan.downcast_ref::<BoundedWindowAggExec>().is_some()
}
