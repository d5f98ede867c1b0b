//! [`LatestRowsExec`]: takes the latest row of each run of rows with the same group.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::{SortOptions, concat_batches, partition, take_record_batch};
use datafusion::arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning,
    PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};

/// The latest row of each group.
pub(super) struct LatestRowsExec {
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    /// Place of the time in the input.
    time: usize,
    /// The columns of the group, as the input is sorted by them.
    keys: Vec<(usize, SortOptions)>,
    /// Places in the input of the columns that it gives, those of the group first.
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl Debug for LatestRowsExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "LatestRowsExec({:?})", &self.columns[..self.keys.len()])
    }
}

impl LatestRowsExec {
    /// Groups by the first columns of those that it gives; the input is sorted by these keys, which are the same columns.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        time: usize,
        keys: Vec<(usize, SortOptions)>,
        columns: Vec<usize>,
    ) -> Self {
        let mut equivalences = EquivalenceProperties::new(Arc::clone(&schema));
        let given = keys.iter().filter_map(|(place, options)| {
            let at = columns[..keys.len()].iter().position(|column| column == place)?;
            let expr = Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>;
            Some(PhysicalSortExpr::new(expr, *options))
        });
        equivalences.add_ordering(given);
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (properties, metrics) = (Arc::new(properties), ExecutionPlanMetricsSet::new());
        Self { input, schema, time, keys, columns, properties, metrics }
    }

    fn names(&self) -> String {
        let input = self.input.schema();
        let names =
            self.columns[..self.keys.len()].iter().map(|at| input.field(*at).name().as_str());
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Finds latest rows in batches of which each goes on where the one before ended.
struct Latest {
    schema: SchemaRef,
    groups: usize,
    time: usize,
    columns: Vec<usize>,
    /// The latest row so far of the group that the last batch ended with.
    open: Option<RecordBatch>,
}

impl Latest {
    /// The latest rows of the groups that end within a batch.
    fn take_in(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let joined;
        let batch = match &self.open {
            Some(open) if batch.num_rows() > 0 => {
                joined = concat_batches(&batch.schema(), [open, batch])?;
                &joined
            }
            _ => batch,
        };
        let times = batch.column(self.time).as_primitive::<TimestampNanosecondType>().values();
        let keys = self.columns[..self.groups].iter().map(|at| Arc::clone(batch.column(*at)));
        let mut latest = Vec::new();
        for rows in partition(&keys.collect::<Vec<_>>())?.ranges() {
            let mut best = rows.start;
            for row in rows {
                if times[row] > times[best] {
                    best = row;
                }
            }
            latest.push(best as u64);
        }
        if let Some(last) = latest.pop() {
            self.open = Some(take_record_batch(batch, &UInt64Array::from(vec![last]))?);
        }
        self.given(&take_record_batch(batch, &UInt64Array::from(latest))?)
    }

    /// The latest row of the last group.
    fn end(&mut self) -> Option<Result<RecordBatch>> {
        let open = self.open.take()?;
        Some(self.given(&open))
    }

    fn given(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|at| Arc::clone(rows.column(*at))).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl DisplayAs for LatestRowsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "LatestRowsExec: by=[{}]", self.names())
            }
            DisplayFormatType::TreeRender => writeln!(f, "by={}", self.names()),
        }
    }
}

impl ExecutionPlan for LatestRowsExec {
    fn name(&self) -> &'static str {
        "LatestRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let input = self.input.schema();
        let keys = self.keys.iter().map(|(at, options)| {
            PhysicalSortExpr::new(Arc::new(Column::new(input.field(*at).name(), *at)), *options)
        });
        vec![LexOrdering::new(keys).map(OrderingRequirements::from)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (input, schema) = (children.swap_remove(0), Arc::clone(&self.schema));
        let (keys, columns) = (self.keys.clone(), self.columns.clone());
        Ok(Arc::new(Self::new(input, schema, self.time, keys, columns)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let latest = Latest {
            schema: Arc::clone(&self.schema),
            groups: self.keys.len(),
            time: self.time,
            columns: self.columns.clone(),
            open: None,
        };
        let input = self.input.execute(partition, context)?;
        // None stands for the end.
        let input = input.map_ok(Some).chain(futures::stream::iter([Ok(None)]));
        let rows = input.scan((latest, metrics), |(latest, metrics), batch| {
            let timer = metrics.elapsed_compute().timer();
            let rows = match batch {
                Ok(Some(batch)) => Some(latest.take_in(&batch)),
                Ok(None) => latest.end(),
                Err(e) => Some(Err(e)),
            };
            drop(timer);
            if let Some(Ok(rows)) = &rows {
                metrics.record_output(rows.num_rows());
            }
            futures::future::ready(rows)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
