//! [`AsOfJoinExec`]: the physical operator, a merge of two sorted inputs.
//!
//! Both inputs come sorted by keys and time. In which order the keys are sorted does not matter, so that order is asked
//! for which most inputs have already. Memory: of each side three batches of every partition, the batch at hand, the batch
//! of the last partner, and at most a few right batches that the answer for one left batch refers to.
//!
//! The partitions of inputs that are sorted already, by the first key at least, are merged here, run by run
//! ([`super::merge`]); to part them by keys without losing the order could keep back whole series. Scans are cut at the same
//! keys instead, where what follows takes several partitions ([`super::parting`]). Inputs that must be sorted anyway are
//! parted by keys.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, JoinType, Statistics, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::equivalence::{ProjectionMapping, join_equivalence_properties};
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning,
    PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{EmissionType, ExecutionPlanProperties};
use datafusion::physical_plan::joins::utils::build_join_schema;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::{
    EmbeddedProjection, ProjectionExec, try_embed_projection,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
    ReplaceChildrenOptions, apply_expression_roots,
};

use super::comparison::{Comparison, Kind};
use super::cursor::Cursor;
use super::gather::{Gather, Side};
use super::merge::Merge;
use super::sorted::Sorter;
use super::stream::AsOfStream;
use super::tolerance::Tolerance;
use crate::stand_in::stream_of;

type Expr = Arc<dyn PhysicalExpr>;

/// What is joined: as [`super::node::AsOfJoin`] says, over columns by position.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    pub(super) on: Vec<(Expr, Expr)>,
    pub(super) left: Expr,
    pub(super) comparison: Comparison,
    pub(super) right: Expr,
    pub(super) tolerance: Option<Tolerance>,
    pub(super) kind: Kind,
}

/// The order that both inputs come in.
#[derive(Clone, Debug)]
struct Order {
    /// Positions in [`Matched::on`], and how each is sorted.
    keys: Vec<(usize, SortOptions)>,
    time: SortOptions,
}

/// Joins each left row with the nearest right row.
#[derive(Debug)]
pub(super) struct AsOfJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    matched: Matched,
    order: Order,
    parts: Parts,
    /// Columns that are wanted of those of both sides, left before right; all if none.
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// How rows of equal keys come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// All partitions of an input are merged.
    Merged,
    /// Inputs are parted by keys for it.
    ByKeys,
    /// Inputs have so many partitions, and equal keys in those of the same number.
    Alike(usize),
}

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: true };

impl Order {
    /// The order that the inputs have, or come nearest to.
    fn of(left: &dyn ExecutionPlan, right: &dyn ExecutionPlan, matched: &Matched) -> Result<Self> {
        let keys = (0..matched.on.len()).map(|key| (key, ASCENDING)).collect();
        let mut best = Self { keys, time: ASCENDING };
        let mut most = best.kept(left, right, matched)?;
        for (input, is_left) in [(left, true), (right, false)] {
            let known = input.equivalence_properties().output_ordering();
            let Some(order) = known.map(|known| Self::like(&known, is_left, matched)) else {
                continue;
            };
            let kept = order.kept(left, right, matched)?;
            if kept > most {
                (best, most) = (order, kept);
            }
        }
        Ok(best)
    }

    /// Sorted as an input is, as far as it is sorted by keys.
    fn like(known: &LexOrdering, is_left: bool, matched: &Matched) -> Self {
        let (times, side): (&Expr, Vec<&Expr>) = if is_left {
            (&matched.left, matched.on.iter().map(|(l, _)| l).collect())
        } else {
            (&matched.right, matched.on.iter().map(|(_, r)| r).collect())
        };
        let mut keys: Vec<(usize, SortOptions)> = Vec::new();
        let mut time = ASCENDING;
        for sorted in known {
            let free = |key: &usize| keys.iter().all(|(taken, _)| taken != key);
            if let Some(key) = (0..side.len()).filter(free).find(|key| side[*key].eq(&sorted.expr))
            {
                keys.push((key, sorted.options));
            } else {
                if sorted.expr.eq(times) && !sorted.options.descending {
                    time = sorted.options;
                }
                break;
            }
        }
        let rest: Vec<usize> =
            (0..side.len()).filter(|key| keys.iter().all(|(taken, _)| taken != key)).collect();
        keys.extend(rest.into_iter().map(|key| (key, ASCENDING)));
        Self { keys, time }
    }

    /// How many of the inputs come so, by how many of the sorts the one does that has fewer of them, and how many both
    /// do.
    fn kept(
        &self,
        left: &dyn ExecutionPlan,
        right: &dyn ExecutionPlan,
        matched: &Matched,
    ) -> Result<(usize, usize, usize)> {
        let (of_left, of_right) = self.sorts(matched);
        let (mut whole, mut least, mut sum) = (0, usize::MAX, 0);
        for (input, sorts) in [(left, of_left), (right, of_right)] {
            let known = input.equivalence_properties();
            let count = sorts.len();
            let Some(sorts) = LexOrdering::new(sorts) else { continue };
            let (prefix, all) = known.extract_common_sort_prefix(sorts)?;
            let prefix = if all { count } else { prefix.len() };
            whole += usize::from(all);
            least = least.min(prefix);
            sum += prefix;
        }
        Ok((whole, least, sum))
    }

    fn sorts(&self, matched: &Matched) -> (Vec<PhysicalSortExpr>, Vec<PhysicalSortExpr>) {
        let sort = |expr: &Expr, options| PhysicalSortExpr::new(Arc::clone(expr), options);
        let keys = self.keys.iter().map(|(key, options)| (&matched.on[*key], *options));
        let (mut left, mut right): (Vec<_>, Vec<_>) =
            keys.map(|((l, r), options)| (sort(l, options), sort(r, options))).unzip();
        left.push(sort(&matched.left, self.time));
        right.push(sort(&matched.right, self.time));
        (left, right)
    }
}

/// What is known of the rows of an input after its partitions were merged in this order.
fn merged(
    input: &dyn ExecutionPlan,
    order: Vec<PhysicalSortExpr>,
    parts: Parts,
) -> EquivalenceProperties {
    let mut known = input.equivalence_properties().clone();
    if parts == Parts::Merged && input.output_partitioning().partition_count() > 1 {
        let sorted = known.ordering_satisfy(order.clone()).unwrap_or(false);
        known.clear_per_partition_constants();
        known.clear_orderings();
        if sorted {
            known.add_ordering(order);
        }
    }
    known
}

impl AsOfJoinExec {
    /// The operator over inputs as they are before orders and partitions are seen to.
    pub(super) fn plan(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        matched: Matched,
    ) -> Result<Self> {
        let order = Order::of(left.as_ref(), right.as_ref(), &matched)?;
        let (_, begun, _) = order.kept(left.as_ref(), right.as_ref(), &matched)?;
        let is_free = begun == 0 && !matched.on.is_empty();
        let parts = if is_free { Parts::ByKeys } else { Parts::Merged };
        Self::try_new((left, right), matched, order, parts, None)
    }

    fn try_new(
        (left, right): (Arc<dyn ExecutionPlan>, Arc<dyn ExecutionPlan>),
        matched: Matched,
        order: Order,
        parts: Parts,
        projection: Option<Vec<usize>>,
    ) -> Result<Self> {
        let of = match matched.kind {
            Kind::Left => JoinType::Left,
            Kind::Inner => JoinType::Inner,
        };
        let (schema, _) = build_join_schema(&left.schema(), &right.schema(), &of);
        let mut schema = Arc::new(schema);
        let (of_left, of_right) = order.sorts(&matched);
        let mut equivalences = join_equivalence_properties(
            merged(left.as_ref(), of_left, parts),
            merged(right.as_ref(), of_right, parts),
            &of,
            Arc::clone(&schema),
            &[true, false],
            None,
            &matched.on,
        )?;
        // Left columns keep their places.
        let mut partitioning = match parts {
            Parts::Merged => Partitioning::UnknownPartitioning(1),
            Parts::ByKeys => left.output_partitioning().clone(),
            Parts::Alike(count) => Partitioning::UnknownPartitioning(count),
        };
        if let Some(columns) = &projection {
            let mapping = ProjectionMapping::from_indices(columns, &schema)?;
            schema = Arc::new(schema.project(columns)?);
            partitioning = partitioning.project(&mapping, &equivalences);
            equivalences = equivalences.project(&mapping, Arc::clone(&schema));
        }
        let bounded = left.boundedness();
        let properties =
            PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, bounded);
        let (properties, metrics) = (Arc::new(properties), ExecutionPlanMetricsSet::new());
        Ok(Self { left, right, matched, order, parts, projection, schema, properties, metrics })
    }

    /// The inputs, if their partitions are merged here.
    pub(super) fn merged(&self) -> Option<[&Arc<dyn ExecutionPlan>; 2]> {
        (self.parts == Parts::Merged).then_some([&self.left, &self.right])
    }

    /// The keys.
    pub(super) fn on(&self) -> &[(Expr, Expr)] {
        &self.matched.on
    }

    /// The same over inputs whose partitions are alike, so many of each.
    pub(super) fn over_alike(
        &self,
        inputs: (Arc<dyn ExecutionPlan>, Arc<dyn ExecutionPlan>),
        count: usize,
    ) -> Result<Self> {
        let (matched, order) = (self.matched.clone(), self.order.clone());
        Self::try_new(inputs, matched, order, Parts::Alike(count), self.projection.clone())
    }

    /// Where the columns of the answer come from.
    fn columns(&self) -> Vec<Side> {
        let (left, right) = (self.left.schema().fields().len(), self.right.schema().fields().len());
        let side = |column| match column {
            column if column < left => Side::Left(column),
            column => Side::Right(column - left),
        };
        match &self.projection {
            Some(columns) => columns.iter().copied().map(side).collect(),
            None => (0..left + right).map(side).collect(),
        }
    }

    fn sorters(&self) -> Result<(Sorter, Sorter)> {
        let schema = self.left.schema();
        let mut fields = Vec::with_capacity(self.order.keys.len());
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (key, options) in &self.order.keys {
            let (l, r) = &self.matched.on[*key];
            fields.push(SortField::new_with_options(l.data_type(&schema)?, *options));
            left.push(Arc::clone(l));
            right.push(Arc::clone(r));
        }
        let converter =
            if fields.is_empty() { None } else { Some(Arc::new(RowConverter::new(fields)?)) };
        let (of_left, of_right) = (Arc::clone(&self.matched.left), Arc::clone(&self.matched.right));
        Ok((
            Sorter { keys: left, time: of_left, converter: converter.clone() },
            Sorter { keys: right, time: of_right, converter },
        ))
    }
}

impl EmbeddedProjection for AsOfJoinExec {
    fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        let inputs = (Arc::clone(&self.left), Arc::clone(&self.right));
        let (matched, order) = (self.matched.clone(), self.order.clone());
        Self::try_new(inputs, matched, order, self.parts, projection)
    }
}

impl DisplayAs for AsOfJoinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Matched { on, left, comparison, right, tolerance, kind } = &self.matched;
        let on: Vec<String> = on.iter().map(|(l, r)| format!("{l} = {r}")).collect();
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "AsOfJoinExec: type={kind}")?;
                if !on.is_empty() {
                    write!(f, ", on=[{}]", on.join(", "))?;
                }
                write!(f, ", match={left} {comparison} {right}")?;
                if let Some(tolerance) = tolerance {
                    write!(f, ", tolerance={tolerance}")?;
                }
                if matches!(self.parts, Parts::Alike(_)) {
                    f.write_str(", parts=alike")?;
                }
                if self.projection.is_some() {
                    let names = self.schema.fields().iter().map(|field| field.name().as_str());
                    write!(f, ", columns=[{}]", names.collect::<Vec<_>>().join(", "))?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "type={kind}")?;
                if !on.is_empty() {
                    writeln!(f, "on={}", on.join(", "))?;
                }
                writeln!(f, "match={left} {comparison} {right}")?;
                tolerance.as_ref().map_or(Ok(()), |t| writeln!(f, "tolerance={t}"))
            }
        }
    }
}

impl ExecutionPlan for AsOfJoinExec {
    fn name(&self) -> &'static str {
        "AsOfJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.parts != Parts::ByKeys {
            // Partitions are merged here, or alike.
            return InputDistributionRequirements::new(vec![
                Distribution::UnspecifiedDistribution;
                2
            ]);
        }
        let (left, right) = self.matched.on.iter().cloned().unzip();
        InputDistributionRequirements::co_partitioned(vec![
            Distribution::KeyPartitioned(left),
            Distribution::KeyPartitioned(right),
        ])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let (left, right) = self.order.sorts(&self.matched);
        [left, right].map(|sorts| LexOrdering::new(sorts).map(OrderingRequirements::from)).into()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![self.parts == Parts::ByKeys; 2]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let keys = self.matched.on.iter().flat_map(|(left, right)| [left, right]);
        apply_expression_roots(keys.chain([&self.matched.left, &self.matched.right]), f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([left, right]) = <[_; 2]>::try_from(children) else {
            return internal_err!("AsOfJoinExec has two children");
        };
        let (matched, order) = (self.matched.clone(), self.order.clone());
        let projection = self.projection.clone();
        Ok(Arc::new(Self::try_new((left, right), matched, order, self.parts, projection)?))
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.projection.is_some() {
            return Ok(None);
        }
        // What is wanted of the inputs alone was seen to among logical plans: all that they have is compared, or shown.
        try_embed_projection(projection, self)
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
        let count = |input: &Arc<dyn ExecutionPlan>| input.output_partitioning().partition_count();
        if self.parts != Parts::Merged && count(&self.left) != count(&self.right) {
            return internal_err!("the inputs of an as-of join have unlike partitions");
        }
        let (left, right) = self.sorters()?;
        let name = format!("AsOfJoinExec[{partition}]");
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (time, nulls_first) = (metrics.elapsed_compute(), self.order.time.nulls_first);
        let merge = |input: &Arc<dyn ExecutionPlan>, sorter| {
            let stream = |partition| input.execute(partition, Arc::clone(&context));
            Ok::<_, DataFusionError>(match self.parts {
                Parts::Alike(_) => Merge::of_one(stream(partition)?, sorter, nulls_first, time),
                Parts::ByKeys => Merge::new(vec![stream(partition)?], sorter, nulls_first, time),
                Parts::Merged => {
                    let streams = (0..count(input)).map(stream).collect::<Result<_>>()?;
                    Merge::new(streams, sorter, nulls_first, time)
                }
            })
        };
        let merge = AsOfStream {
            left: merge(&self.left, left)?,
            right: merge(&self.right, right)?,
            cursor: Cursor::new(self.matched.comparison),
            gather: Gather::new(self.matched.kind, Arc::clone(&self.schema), self.columns()),
            distance: self.matched.tolerance.as_ref().map(|t| t.distance),
            partners: Vec::new(),
            reservation: MemoryConsumer::new(name).register(context.memory_pool()),
            metrics,
        };
        Ok(stream_of(Arc::clone(&self.schema), merge))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        // Without keys to part them by, the one partition has all rows.
        vec![ChildStats::At(partition.filter(|_| self.parts != Parts::Merged)), ChildStats::Skip]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        // Every left row is in the answer of a left join once, and in that of an inner one at most once.
        let Some(left) = inputs.first() else {
            return internal_err!("AsOfJoinExec has two children");
        };
        let mut statistics = match self.matched.kind {
            Kind::Left => left.as_ref().clone(),
            Kind::Inner => left.as_ref().clone().to_inexact(),
        };
        statistics.total_byte_size = Precision::Absent;
        let of_left = std::mem::take(&mut statistics.column_statistics);
        let known = |side| match side {
            Side::Left(column) => of_left.get(column).cloned(),
            Side::Right(_) => None,
        };
        let columns = self.columns().into_iter().map(known);
        statistics.column_statistics =
            columns.map(|known| known.unwrap_or_else(ColumnStatistics::new_unknown)).collect();
        Ok(Arc::new(statistics))
    }
}
