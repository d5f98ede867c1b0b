//! [`SeriesScanExec`]: one partition per range of series, each sorted by (tags in id order, nulls first, time).
//!
//! It declares what DataFusion can build on: the order, as far as the projection keeps it; tags that a filter has made
//! constant; the number of rows and the span of time, exact where the store says so. Statistics of fields are not given:
//! those of floats would not be exact, and a wrong `MIN` is worse than a slow one.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, Partitioning, PhysicalExpr,
    PhysicalSortExpr,
};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    StatisticsArgs,
};
use quorate_storage::catalog::Table;
use quorate_storage::scan::{ScanCounters, ScanPartition, ScanStatistics, TableScan, TimeRange};
use quorate_storage::{ColumnId, ColumnKind};

use super::counts::push_counters;
use super::stream::SeriesScanStream;
use super::{ScanLabel, SplitScan};
use crate::Error;
use crate::prune::Pruning;

/// A planned scan of a stored table.
pub(crate) struct SeriesScanExec {
    schema: SchemaRef,
    /// What the columns are.
    columns: Vec<(ColumnId, ColumnKind)>,
    /// Place of the first tag, by which partitions are cut first, among the columns.
    first_tag: Option<usize>,
    /// Times that its rows may have.
    time: Option<TimeRange>,
    /// Where cells of summaries stand for some of the rows.
    split: Option<Arc<SplitScan>>,
    label: ScanLabel,
    partitions: Vec<ScanPartition>,
    statistics: Arc<Statistics>,
    counters: Arc<ScanCounters>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl Debug for SeriesScanExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "SeriesScanExec({})", self.label)
    }
}

impl SeriesScanExec {
    /// An operator over a scan that gives the columns of `schema`.
    pub(crate) fn new(
        table: &Table,
        schema: SchemaRef,
        scan: TableScan,
        pruning: &Pruning,
        label: ScanLabel,
    ) -> Result<Self> {
        let TableScan { partitions, statistics, counters, schema: _ } = scan;
        let properties = PlanProperties::new(
            equivalences(table, &schema, pruning)?,
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let time = statistics.time;
        let statistics = statistics_of(&schema, &table.time().name, &statistics);
        let columns = schema.fields().iter().map(|field| {
            let column = table.columns.iter().find(|column| column.name == *field.name());
            let column = column.ok_or_else(|| {
                internal_datafusion_err!("{:?} is no column of {:?}", field.name(), table.name)
            })?;
            Ok((column.id, column.kind))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let first_tag = table.tags().next().map(|tag| tag.id);
        let first_tag = columns.iter().position(|(id, _)| Some(*id) == first_tag);
        Ok(Self {
            schema,
            columns,
            first_tag,
            time,
            split: None,
            label,
            partitions,
            statistics: Arc::new(statistics),
            counters,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same, with metrics of its own.
    fn copy(&self) -> Self {
        Self {
            schema: Arc::clone(&self.schema),
            columns: self.columns.clone(),
            first_tag: self.first_tag,
            time: self.time,
            split: self.split.clone(),
            label: self.label.clone(),
            partitions: self.partitions.clone(),
            statistics: Arc::clone(&self.statistics),
            counters: Arc::clone(&self.counters),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The same without the rows that cells stand for.
    pub(crate) fn without_cells(&self, split: Arc<SplitScan>) -> Self {
        let statistics = Arc::new(Statistics::clone(&self.statistics).to_inexact());
        Self { split: Some(split), statistics, ..self.copy() }
    }

    /// The same, of the rows in this range of time alone.
    pub(crate) fn within(&self, time: TimeRange) -> Self {
        Self {
            time: Some(time),
            split: None,
            label: self.label.within(time),
            partitions: self.partitions.iter().map(|one| one.within(time)).collect(),
            statistics: Arc::new(Statistics::clone(&self.statistics).to_inexact()),
            ..self.copy()
        }
    }

    /// The same in other partitions.
    fn with_partitions(&self, partitions: Vec<ScanPartition>) -> Self {
        let partitioning = Partitioning::UnknownPartitioning(partitions.len());
        let properties = PlanProperties::clone(&self.properties).with_partitioning(partitioning);
        Self { partitions, properties: Arc::new(properties), ..self.copy() }
    }

    /// Times that its rows may have, if it gives all rows of its series in them.
    pub(crate) fn whole_time(&self) -> Option<TimeRange> {
        self.time.filter(|_| self.split.is_none() && self.label.is_whole())
    }

    /// What the column at this place is.
    pub(crate) fn column(&self, place: usize) -> Option<(ColumnId, ColumnKind)> {
        self.columns.get(place).copied()
    }

    /// Place of the time among the columns.
    pub(crate) fn time_column(&self) -> Option<usize> {
        self.columns.iter().position(|(_, kind)| *kind == ColumnKind::Time)
    }

    /// What `EXPLAIN` says of it.
    pub(crate) fn label(&self) -> &ScanLabel {
        &self.label
    }

    /// Its streams.
    pub(crate) fn partitions(&self) -> &[ScanPartition] {
        &self.partitions
    }

    /// Rows to reckon with.
    pub(crate) fn rows_expected(&self) -> Option<usize> {
        self.statistics.num_rows.get_value().copied()
    }

    /// The times of one cell of its segments' summaries, if one fits into the times that are wanted.
    pub(crate) fn sample_cell(&self) -> Result<Option<TimeRange>, Error> {
        let (Some(time), Some(partition), None) = (self.time, self.partitions.first(), &self.split)
        else {
            return Ok(None);
        };
        let Some(width) = partition.cell_width()? else { return Ok(None) };
        let middle = time.start.midpoint(time.end);
        let start = middle.saturating_sub(middle.rem_euclid(width));
        let cell = TimeRange { start, end: start.saturating_add(width - 1) };
        Ok((time.start <= middle && time.end.saturating_sub(time.start) >= width).then_some(cell))
    }
}

/// Two leaves cut anew, so that rows with the same value in a column of each are in partitions of the same number, and
/// each partition is in the order that it was in. None for others than scans and their first tags, and if there would not be
/// so many partitions.
pub(crate) fn cut_alike(
    (left, of_left): (&dyn ExecutionPlan, usize),
    (right, of_right): (&dyn ExecutionPlan, usize),
    count: usize,
) -> Option<[Arc<dyn ExecutionPlan>; 2]> {
    let (Some(left), Some(right)) =
        (left.downcast_ref::<SeriesScanExec>(), right.downcast_ref::<SeriesScanExec>())
    else {
        return None;
    };
    let by_first = |scan: &SeriesScanExec, column| {
        scan.split.is_none() && !scan.partitions.is_empty() && scan.first_tag == Some(column)
    };
    if !by_first(left, of_left) || !by_first(right, of_right) {
        return None;
    }
    // The side with more rows says where.
    let longer = if left.rows_expected() < right.rows_expected() { right } else { left };
    let mut values: Vec<String> =
        longer.partitions.iter().skip(1).filter_map(ScanPartition::first_tag).collect();
    values.dedup();
    if values.len() + 1 != count {
        return None;
    }
    let cut = |scan: &SeriesScanExec| {
        let partitions = ScanPartition::cut_at(&scan.partitions, &values);
        Arc::new(scan.with_partitions(partitions)) as Arc<dyn ExecutionPlan>
    };
    Some([cut(left), cut(right)])
}

/// The columns of a leaf that are tags: they stay the same along each series.
pub(crate) fn tags_of(leaf: &dyn ExecutionPlan) -> Vec<usize> {
    let Some(scan) = leaf.downcast_ref::<SeriesScanExec>() else { return Vec::new() };
    let kinds = scan.columns.iter().enumerate();
    kinds.filter(|(_, (_, kind))| *kind == ColumnKind::Tag).map(|(at, _)| at).collect()
}

/// The order of the rows, and the tags that a filter has made constant.
fn equivalences(
    table: &Table,
    schema: &SchemaRef,
    pruning: &Pruning,
) -> Result<EquivalenceProperties> {
    let column = |name: &str| -> Option<Arc<dyn PhysicalExpr>> {
        let (index, _) = schema.column_with_name(name)?;
        Some(Arc::new(ColumnExpr::new(name, index)))
    };
    let constant = |name: &str| pruning.constants.iter().find(|(tag, _)| tag == name);
    let mut order = Vec::new();
    let names = table.tags().map(|tag| tag.name.as_str());
    for name in names.chain([table.time().name.as_str()]) {
        if constant(name).is_some() {
            continue;
        }
        // What follows a column that is not there is in no order.
        let Some(expr) = column(name) else { break };
        order.push(PhysicalSortExpr::new(expr, SortOptions::new(false, true)));
    }
    let mut properties = EquivalenceProperties::new(Arc::clone(schema));
    let constants = pruning.constants.iter().filter_map(|(name, value)| {
        let expr = column(name)?;
        Some(ConstExpr::new(expr, AcrossPartitions::Uniform(Some(value.clone()))))
    });
    properties.add_constants(constants)?;
    if !order.is_empty() {
        properties.add_ordering(order);
    }
    Ok(properties)
}

/// The store's statistics in DataFusion's words.
fn statistics_of(schema: &Schema, time: &str, known: &ScanStatistics) -> Statistics {
    let precise = |exact: bool, value: ScalarValue| {
        if exact { Precision::Exact(value) } else { Precision::Inexact(value) }
    };
    let mut statistics = Statistics::new_unknown(schema);
    let rows = if known.rows_exact { known.rows } else { known.rows_expected };
    statistics.num_rows = match usize::try_from(rows) {
        Ok(rows) if known.rows_exact => Precision::Exact(rows),
        Ok(rows) => Precision::Inexact(rows),
        Err(_) => Precision::Absent,
    };
    let Some((index, field)) = schema.column_with_name(time) else { return statistics };
    let mut of_time =
        ColumnStatistics { null_count: Precision::Exact(0), ..ColumnStatistics::new_unknown() };
    if let (Some(range), DataType::Timestamp(_, zone)) = (known.time, field.data_type()) {
        let value = |ns| ScalarValue::TimestampNanosecond(Some(ns), zone.clone());
        of_time.min_value = precise(known.time_exact, value(range.start));
        of_time.max_value = precise(known.time_exact, value(range.end));
    }
    statistics.column_statistics[index] = of_time;
    statistics
}

impl DisplayAs for SeriesScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let names = self.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "SeriesScanExec: {}, columns=[{}]", self.label, names.join(", "))?;
                if self.split.is_some() {
                    f.write_str(", rows=not summarised")?;
                }
                write!(f, ", partitions={}", self.partitions.len())?;
                if let Some(order) = self.properties.output_ordering() {
                    write!(f, ", output_ordering=[{order}]")?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "{}", self.label)?;
                writeln!(f, "columns={}", names.join(", "))
            }
        }
    }
}

impl ExecutionPlan for SeriesScanExec {
    fn name(&self) -> &'static str {
        "SeriesScanExec"
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
        let (schema, metrics) =
            (Arc::clone(&self.schema), BaselineMetrics::new(&self.metrics, partition));
        let stream = match &self.split {
            Some(split) => SeriesScanStream::of_rest(Arc::clone(split), partition, schema, metrics),
            None => SeriesScanStream::new(self.partitions[partition].clone(), schema, metrics),
        };
        Ok(Box::pin(cooperative(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut set = self.metrics.clone_inner();
        push_counters(&mut set, &[&self.counters]);
        Some(set)
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let Some(partition) = args.partition() else { return Ok(Arc::clone(&self.statistics)) };
        let mut statistics = Statistics::new_unknown(&self.schema);
        if let Ok(rows) = usize::try_from(self.partitions[partition].rows_max()) {
            statistics.num_rows = Precision::Inexact(rows);
        }
        Ok(Arc::new(statistics))
    }
}
