//! [`RunAggregateExec`]: the physical operator.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, InputOrderMode,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::stream;

use super::keys::RunKeys;
use super::stream::RunStream;

/// The first stage of an aggregate, by runs.
#[derive(Debug)]
pub(super) struct RunAggregateExec {
    /// The operator in whose place it stands, and that says what is answered.
    aggregate: Arc<dyn ExecutionPlan>,
    keys: RunKeys,
    metrics: ExecutionPlanMetricsSet,
}

impl RunAggregateExec {
    /// Stands in the place of an [`AggregateExec`] with these keys.
    pub(super) fn new(aggregate: Arc<dyn ExecutionPlan>, keys: RunKeys) -> Self {
        Self { aggregate, keys, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn inner(&self) -> Result<&AggregateExec> {
        let Some(aggregate) = self.aggregate.downcast_ref::<AggregateExec>() else {
            return internal_err!("RunAggregateExec stands for an AggregateExec");
        };
        Ok(aggregate)
    }
}

impl DisplayAs for RunAggregateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str("Run")?,
            DisplayFormatType::TreeRender => {}
        }
        // `AggregateExec: mode=Partial, …`
        self.inner().map_err(|_| fmt::Error)?.fmt_as(format, f)
    }
}

impl ExecutionPlan for RunAggregateExec {
    fn name(&self) -> &'static str {
        "RunAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.aggregate.children()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.aggregate.input_distribution_requirements()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.aggregate.required_input_ordering()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let aggregate = Arc::clone(&self.aggregate).replace_children(children, options)?;
        Ok(Arc::new(Self::new(aggregate, self.keys.clone())))
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
        let name = format!("RunAggregateExec[{partition}]");
        // It gives back what it holds when there is no room for more.
        let reservation =
            MemoryConsumer::new(name).with_can_spill(true).register(context.memory_pool());
        let state = RunStream::new(
            inner,
            self.keys.clone(),
            input,
            reservation,
            BaselineMetrics::new(&self.metrics, partition),
        )?
        .sorted(*inner.input_order_mode() != InputOrderMode::Linear)
        .with_batch_rows(context.session_config().batch_size());
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
        self.aggregate.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.aggregate.statistics_from_inputs(inputs, args)
    }
}
