//! [`StandIn`]: an operator that gives what another one would, and gets there in its own way.
//!
//! Rules that stand behind all others put one in the place of an operator of DataFusion. What is asked of inputs, what is
//! known of the answer and how expressions are found stays with the operator that it stands for, so no plan is right with
//! the one and wrong with the other; only its execution is replaced, by [`Work`].

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::stream;

/// What gives batches one after the other.
pub(crate) trait Batches: Send + 'static {
    /// The next one; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<RecordBatch>>> + Send;
}

/// The stream of all batches. It lets others run now and then.
pub(crate) fn stream_of(schema: SchemaRef, batches: impl Batches) -> SendableRecordBatchStream {
    let batches = stream::try_unfold(batches, |mut batches| async move {
        let next = batches.next().await;
        next.map(|batch| batch.map(|batch| (batch, batches)))
    });
    make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
}

/// What one partition of a [`StandIn`] works with.
pub(crate) struct Means {
    pub(crate) input: SendableRecordBatchStream,
    /// Of memory; nothing is taken yet.
    pub(crate) reservation: MemoryReservation,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) metrics: BaselineMetrics,
}

/// How a [`StandIn`] does what another operator does.
pub(crate) trait Work: fmt::Debug + Clone + Send + Sync + 'static {
    /// The operator that it stands for, one with one input.
    type For: ExecutionPlan;
    /// One partition at work.
    type Batches: Batches;

    /// Name of the operator.
    const NAME: &'static str;
    /// Whether it can give back memory when others need it.
    const GIVES_BACK: bool;

    /// Begins the work on one partition.
    fn begin(&self, stands_for: &Self::For, means: Means) -> Result<Self::Batches>;

    /// Shows it in a plan.
    fn fmt_as(
        &self,
        stands_for: &Self::For,
        format: DisplayFormatType,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result;
}

/// Stands for an operator of type `W::For`.
#[derive(Debug)]
pub(crate) struct StandIn<W: Work> {
    stands_for: Arc<dyn ExecutionPlan>,
    work: W,
    metrics: ExecutionPlanMetricsSet,
}

impl<W: Work> StandIn<W> {
    /// Stands in the place of an operator, which is a `W::For`.
    pub(crate) fn new(stands_for: Arc<dyn ExecutionPlan>, work: W) -> Self {
        Self { stands_for, work, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn stands_for(&self) -> Result<&W::For> {
        let Some(stands_for) = self.stands_for.downcast_ref::<W::For>() else {
            return internal_err!("{} stands for {}", W::NAME, self.stands_for.name());
        };
        Ok(stands_for)
    }
}

impl<W: Work> DisplayAs for StandIn<W> {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.work.fmt_as(self.stands_for().map_err(|_| fmt::Error)?, format, f)
    }
}

impl<W: Work> ExecutionPlan for StandIn<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.stands_for.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.stands_for.children()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.stands_for.input_distribution_requirements()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.stands_for.required_input_ordering()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.stands_for.benefits_from_input_partitioning()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.stands_for.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stands_for = Arc::clone(&self.stands_for).replace_children(children, options)?;
        Ok(Arc::new(Self::new(stands_for, self.work.clone())))
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
        let stands_for = self.stands_for()?;
        let [input] = self.stands_for.children()[..] else {
            return internal_err!("{} has one input", W::NAME);
        };
        let consumer = MemoryConsumer::new(format!("{}[{partition}]", W::NAME));
        let means = Means {
            input: input.execute(partition, Arc::clone(&context))?,
            reservation: consumer.with_can_spill(W::GIVES_BACK).register(context.memory_pool()),
            context,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(stream_of(self.schema(), self.work.begin(stands_for, means)?))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.stands_for.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.stands_for.statistics_from_inputs(inputs, args)
    }
}
