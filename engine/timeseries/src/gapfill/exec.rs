//! [`GapFillExec`]: the physical operator. Its input comes sorted by series and bucket, a series in one partition.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::compute::SortOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr,
    PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};

use super::fill::{Layout, Method};
use super::stream::{Filler, Resources, fill_stream};

/// Adds rows for missing buckets.
pub(super) struct GapFillExec {
    layout: Arc<Layout>,
    input: Arc<dyn ExecutionPlan>,
    /// Series, then bucket.
    order: LexOrdering,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    /// Rows added by all partitions.
    filled: Arc<AtomicU64>,
}

impl Debug for GapFillExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GapFillExec").field("layout", &self.layout).finish_non_exhaustive()
    }
}

fn column(layout: &Layout, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(layout.schema.field(index).name(), index))
}

/// The order that the input has, if it is by the series' keys in any order, and then the bucket.
fn existing_order(layout: &Layout, input: &Arc<dyn ExecutionPlan>) -> Option<LexOrdering> {
    let order = input.output_ordering()?;
    let indexes = order.iter().map(|e| e.expr.downcast_ref::<Column>().map(Column::index));
    let indexes: Vec<usize> = indexes.take(layout.series.len() + 1).collect::<Option<_>>()?;
    let (last, series) = indexes.split_last()?;
    let ascends = !order.get(series.len())?.options.descending;
    let same = series.len() == layout.series.len()
        && layout.series.iter().all(|index| series.contains(index));
    if !(same && ascends && *last == layout.time) {
        return None;
    }
    let options = order.iter().map(|e| e.options);
    let sorts = indexes.iter().zip(options);
    LexOrdering::new(sorts.map(|(i, options)| PhysicalSortExpr::new(column(layout, *i), options)))
}

impl GapFillExec {
    /// Over an input with the columns of the layout, in order.
    pub(super) fn try_new(layout: Arc<Layout>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let order = existing_order(&layout, &input).or_else(|| {
            let columns = layout.series.iter().copied().chain([layout.time]);
            let options = SortOptions::new(false, true);
            LexOrdering::new(columns.map(|i| PhysicalSortExpr::new(column(&layout, i), options)))
        });
        if let Some(order) = order {
            Ok(Self::with_order(layout, input, order))
        } else {
            internal_err!("gap filling has no order")
        }
    }

    fn with_order(layout: Arc<Layout>, input: Arc<dyn ExecutionPlan>, order: LexOrdering) -> Self {
        let schema = Arc::clone(&layout.schema);
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, [order.clone()]),
            // Columns keep their positions, and added rows are of series that are there.
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        );
        let metrics = ExecutionPlanMetricsSet::new();
        let filled = Arc::new(AtomicU64::new(0));
        Self { layout, input, order, properties: Arc::new(properties), metrics, filled }
    }

    fn columns(&self) -> String {
        let layout = &self.layout;
        let name = |i: &usize| layout.schema.field(*i).name().as_str();
        let series: Vec<&str> = layout.series.iter().map(name).collect();
        let fills = layout.fills.iter().map(|fill| {
            let of = name(&fill.source);
            match fill.method {
                Method::Previous { null_is_missing: true } => format!("locf({of})"),
                Method::Previous { null_is_missing: false } => format!("locf({of}, false)"),
                Method::Linear => format!("interpolate({of})"),
            }
        });
        let fills: Vec<String> = fills.collect();
        let zone = layout.zone.as_ref();
        let zone = zone.map_or_else(String::new, |zone| format!(", timezone={zone}"));
        format!(
            "time={}{zone}, series=[{}], fills=[{}]",
            name(&layout.time),
            series.join(", "),
            fills.join(", ")
        )
    }

    /// When the first bucket begins, and when the first that is not filled does.
    fn range(&self) -> String {
        let layout = &self.layout;
        let data_type = layout.schema.field(layout.time).data_type();
        let shown = |index: i128| match layout.grid.start(index) {
            Some(start) => ScalarValue::Int64(Some(start))
                .cast_to(data_type)
                .and_then(|value| value.cast_to(&arrow::datatypes::DataType::Utf8))
                .map_or_else(|_| start.to_string(), |text| text.to_string()),
            None => "…".to_owned(),
        };
        let first = layout.range.first.map_or_else(|| "first row".to_owned(), shown);
        format!("[{first}, {})", shown(layout.range.end))
    }
}

impl DisplayAs for GapFillExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "GapFillExec: {}, range={}", self.columns(), self.range())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "{}", self.columns())?;
                writeln!(f, "range={}", self.range())
            }
        }
    }
}

impl ExecutionPlan for GapFillExec {
    fn name(&self) -> &'static str {
        "GapFillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let series: Vec<_> = self.layout.series.iter().map(|i| column(&self.layout, *i)).collect();
        let distribution = if series.is_empty() {
            Distribution::SinglePartition
        } else {
            Distribution::KeyPartitioned(series)
        };
        InputDistributionRequirements::new(vec![distribution])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.order.clone()))]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let layout = &self.layout;
        let used = layout.series.iter().chain([&layout.time]);
        for index in used.chain(layout.fills.iter().map(|fill| &fill.source)) {
            if f(&column(layout, *index))? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("gap filling has one input");
        };
        let plan = Self::with_order(Arc::clone(&self.layout), input, self.order.clone());
        Ok(Arc::new(plan))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let resources = Resources {
            filled: Arc::clone(&self.filled),
            reservation: MemoryConsumer::new(format!("GapFillExec[{partition}]"))
                .register(context.memory_pool()),
            rows_max: context.session_config().batch_size(),
        };
        let filler = Filler::new(Arc::clone(&self.layout), self.input.schema(), resources)?;
        let input = self.input.execute(partition, context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let stream = fill_stream(filler, input, metrics);
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.layout.schema), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
