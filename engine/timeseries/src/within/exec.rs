//! [`SortWithinExec`]: the physical operator.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::stream;

use super::stream::WithinStream;

/// Sorts rows whose first columns of the order are sorted.
#[derive(Debug)]
pub(super) struct SortWithinExec {
    /// The operator in whose place it stands.
    sort: Arc<dyn ExecutionPlan>,
    /// What the rows are sorted by.
    prefix: Vec<PhysicalSortExpr>,
    metrics: ExecutionPlanMetricsSet,
}

impl SortWithinExec {
    /// Stands in the place of a [`SortExec`] over rows that are sorted so.
    pub(super) fn new(sort: Arc<dyn ExecutionPlan>, prefix: Vec<PhysicalSortExpr>) -> Self {
        Self { sort, prefix, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn inner(&self) -> Result<&SortExec> {
        let Some(sort) = self.sort.downcast_ref::<SortExec>() else {
            return internal_err!("SortWithinExec stands for a SortExec");
        };
        Ok(sort)
    }
}

impl DisplayAs for SortWithinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expr = self.inner().map_err(|_| fmt::Error)?.expr();
        let sorted: Vec<String> = self.prefix.iter().map(ToString::to_string).collect();
        let sorted = sorted.join(", ");
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "SortWithinExec: expr=[{expr}], sorted_by=[{sorted}]")
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "{expr}")?;
                writeln!(f, "sorted_by={sorted}")
            }
        }
    }
}

impl ExecutionPlan for SortWithinExec {
    fn name(&self) -> &'static str {
        "SortWithinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.sort.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.sort.children()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.sort.input_distribution_requirements()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.sort.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sort = Arc::clone(&self.sort).replace_children(children, options)?;
        Ok(Arc::new(Self::new(sort, self.prefix.clone())))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let inner = self.inner()?;
        let input = inner.input().execute(partition, Arc::clone(&context))?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let order = (inner.expr().clone(), self.prefix.clone());
        let state = WithinStream::new(input, order, partition, context, metrics);
        let batches = stream::try_unfold(state, |mut state| async move {
            let next = state.next().await;
            next.map(|batch| batch.map(|batch| (batch, state)))
        });
        let stream = RecordBatchStreamAdapter::new(self.schema(), batches);
        Ok(make_cooperative(Box::pin(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.sort.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.sort.statistics_from_inputs(inputs, args)
    }
}
