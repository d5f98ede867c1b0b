//! [`TablesScanExec`]: many stored tables as one row source.
//!
//! The read views of all tables are taken while the query is planned; what a view's scan costs (directories are read,
//! series selected and cut) is paid when the first stream comes to the table, so that a plan over 10,000 tables is made
//! as fast as their views are taken. Every stream goes over all tables in order and takes its share of each:
//!
//! ```text
//! stream 0:  cpu part 0, mem part 1 …      a table is cut into as many parts as there are streams, if it is large;
//! stream 1:  cpu part 1, mem part 0 …      the first parts of tables are dealt out in turn
//! ```
//!
//! The rows of a stream are in no order over the tables, and nothing is known of them beforehand.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use parking_lot::Mutex;
use quorate_storage::Error as StoreError;
use quorate_storage::scan::{ScanCounters, ScanPartition, ScanRequest, TableScan, TableView};

use super::counts::{push_count, push_counters};
use super::tables_stream::{Batches, TablesScanStream};
use super::{ScanLabel, SeriesFold};

/// What a column of the answer is made of, in the rows of one table.
#[derive(Clone, Debug)]
pub(crate) enum OutputColumn {
    /// The same text in every row.
    Text(String),
    /// NULL in every row.
    Null,
    /// The column at this place of what is read.
    Read(usize),
    /// The same, integers as doubles.
    Widened(usize),
}

/// One of the tables.
#[derive(Debug)]
pub(crate) struct TablePart {
    view: TableView,
    request: ScanRequest,
    pub(super) columns: Vec<OutputColumn>,
    fold: Option<Arc<SeriesFold>>,
    planned: Mutex<Option<Arc<PlannedPart>>>,
}

/// The planned scan of one of the tables.
#[derive(Debug)]
pub(super) struct PlannedPart {
    partitions: Vec<ScanPartition>,
    counters: Arc<ScanCounters>,
}

impl PlannedPart {
    /// The share of a stream among so many, in the table at `place`.
    pub(super) fn share(
        &self,
        stream: usize,
        streams: usize,
        place: usize,
    ) -> Option<&ScanPartition> {
        self.partitions.get((stream + place) % streams)
    }
}

impl TablePart {
    /// A table to be read through a view; `columns` says what becomes of the columns of `request`.
    pub(crate) fn new(view: TableView, request: ScanRequest, columns: Vec<OutputColumn>) -> Self {
        Self { view, request, columns, fold: None, planned: Mutex::default() }
    }

    /// The same with its rows folded; the columns are then those of the folded rows.
    pub(crate) fn folded(self, fold: SeriesFold) -> Self {
        Self { fold: Some(Arc::new(fold)), ..self }
    }

    /// Opens a share of it.
    pub(super) fn open(&self, share: &ScanPartition) -> Result<Batches, StoreError> {
        let batches = share.open()?;
        Ok(match &self.fold {
            None => batches,
            Some(fold) => Arc::clone(fold).fold(batches),
        })
    }

    /// The table's scan, planned by the first who asks.
    pub(super) fn plan(&self) -> Result<Arc<PlannedPart>, StoreError> {
        let mut planned = self.planned.lock();
        if let Some(planned) = &*planned {
            return Ok(Arc::clone(planned));
        }
        let TableScan { partitions, counters, schema: _, statistics: _ } =
            self.view.scan(self.request.clone())?;
        let part = Arc::new(PlannedPart { partitions, counters });
        *planned = Some(Arc::clone(&part));
        Ok(part)
    }
}

/// A planned scan of several stored tables.
pub(crate) struct TablesScanExec {
    schema: SchemaRef,
    label: ScanLabel,
    parts: Arc<[TablePart]>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl Debug for TablesScanExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "TablesScanExec({})", self.label)
    }
}

impl TablesScanExec {
    /// An operator that gives the columns of `schema` in so many streams.
    pub(crate) fn new(
        schema: SchemaRef,
        parts: Vec<TablePart>,
        streams: usize,
        limit: Option<usize>,
        label: ScanLabel,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(streams.max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self {
            schema,
            label,
            parts: parts.into(),
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn streams(&self) -> usize {
        self.properties.output_partitioning().partition_count()
    }
}

impl DisplayAs for TablesScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let names = self.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
        let tables = self.parts.len();
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "TablesScanExec: {}, tables={tables}", self.label)?;
                write!(f, ", columns=[{}], partitions={}", names.join(", "), self.streams())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "{}", self.label)?;
                writeln!(f, "tables={tables}")?;
                writeln!(f, "columns={}", names.join(", "))
            }
        }
    }
}

impl ExecutionPlan for TablesScanExec {
    fn name(&self) -> &'static str {
        "TablesScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
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
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let stream = TablesScanStream::new(
            Arc::clone(&self.parts),
            (partition, self.streams()),
            Arc::clone(&self.schema),
            self.limit,
            BaselineMetrics::new(&self.metrics, partition),
        );
        Ok(Box::pin(cooperative(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut set = self.metrics.clone_inner();
        let read: Vec<_> = self.parts.iter().filter_map(|p| p.planned.lock().clone()).collect();
        push_count(&mut set, "tables_read", read.len() as u64);
        let counters: Vec<_> = read.iter().map(|part| part.counters.as_ref()).collect();
        push_counters(&mut set, &counters);
        Some(set)
    }
}
