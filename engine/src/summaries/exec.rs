//! [`SummaryScanExec`]: the states of the cells that stand for rows.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};

use super::answer::Answer;
use crate::scan::{ScanLabel, SeriesScanExec, SplitScan};

/// Rows of a batch at most.
const BATCH_ROWS: usize = 8_192;

/// The states of cells, one partition for each of the scan.
pub(crate) struct SummaryScanExec {
    label: ScanLabel,
    split: Arc<SplitScan>,
    answer: Answer,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl Debug for SummaryScanExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "SummaryScanExec({})", self.label)
    }
}

impl SummaryScanExec {
    /// The cells of a split scan.
    pub(super) fn new(scan: &SeriesScanExec, split: Arc<SplitScan>, answer: Answer) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(answer.schema())),
            Partitioning::UnknownPartitioning(split.partitions()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self {
            label: scan.label().clone(),
            split,
            answer,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

/// The states of one partition, batch by batch.
fn states(
    split: &SplitScan,
    answer: &Answer,
    partition: usize,
    metrics: &BaselineMetrics,
) -> Result<Vec<RecordBatch>> {
    let _timing = metrics.elapsed_compute().timer();
    let mut batches = Vec::new();
    let taken = split.take(partition)?;
    for cells in taken.iter().flat_map(|split| &split.cells) {
        let states = answer.states(cells)?;
        for start in (0..states.num_rows()).step_by(BATCH_ROWS) {
            let rows = BATCH_ROWS.min(states.num_rows() - start);
            metrics.record_output(rows);
            batches.push(states.slice(start, rows));
        }
    }
    Ok(batches)
}

impl DisplayAs for SummaryScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                let partitions = self.split.partitions();
                write!(
                    f,
                    "SummaryScanExec: {}, {}, partitions={partitions}",
                    self.label, self.answer
                )
            }
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.label),
        }
    }
}

impl ExecutionPlan for SummaryScanExec {
    fn name(&self) -> &'static str {
        "SummaryScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for group in self.answer.groups() {
            recursion = recursion.visit_sibling(|| f(group))?;
        }
        Ok(recursion)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new(format!("SummaryScanExec[{partition}]"));
        let memory = consumer.register(context.memory_pool());
        let (split, answer) = (Arc::clone(&self.split), self.answer.clone());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        // Reading happens when the stream is polled, on the threads of queries.
        let batches = futures::stream::once(async move {
            let batches = states(&split, &answer, partition, &metrics)?;
            memory.try_grow(batches.iter().map(RecordBatch::get_array_memory_size).sum())?;
            // It is held until the last one is taken.
            Ok::<_, DataFusionError>(futures::stream::iter(batches).map(move |batch| {
                let _held = &memory;
                Ok(batch)
            }))
        });
        let batches = batches.try_flatten();
        let schema = Arc::clone(self.answer.schema());
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, Box::pin(batches)))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut set = self.metrics.clone_inner();
        self.split.push_counts(&mut set);
        Some(set)
    }
}
