//! [`NewestBucketsExec`]: runs an aggregate for the newest stretch of time that has enough buckets.

use std::fmt::{Debug, Formatter};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampNanosecondType};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};
use quorate_storage::scan::TimeRange;

use crate::scan::{SeriesScanExec, times_batch};

/// How much longer the next stretch is where one had too few buckets.
const STRETCH: i64 = 8;

/// Which buckets are wanted, and how far back they go.
#[derive(Clone, Debug)]
pub(super) struct Newest {
    bucket: Arc<dyn PhysicalExpr>,
    /// Columns of the scan, and the place of its time.
    input: (SchemaRef, usize),
    /// All times of the scan.
    time: TimeRange,
    count: usize,
    /// Where the last `count` buckets begin, if all have rows.
    start: i64,
}

impl Newest {
    /// `None` if the buckets are not told by times in ns.
    pub(super) fn new(
        bucket: Arc<dyn PhysicalExpr>,
        input: (SchemaRef, usize),
        time: TimeRange,
        count: usize,
    ) -> Result<Option<Self>> {
        if !matches!(bucket.data_type(&input.0)?, DataType::Timestamp(TimeUnit::Nanosecond, _)) {
            return Ok(None);
        }
        let mut newest = Self { bucket, input, time, count, start: time.end };
        let mut start = time.end;
        for bucket in 0..count {
            let last = if bucket == 0 { Some(start) } else { start.checked_sub(1) };
            let Some(last) = last.filter(|last| *last >= time.start) else { break };
            let Some(begin) = newest.bucket_of(last)? else { return Ok(None) };
            start = begin;
        }
        newest.start = start;
        Ok(Some(newest))
    }

    /// Where the first stretch begins.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// Beginning of the bucket of a time; `None` if it is none at or before the time.
    fn bucket_of(&self, time: i64) -> Result<Option<i64>> {
        let (schema, column) = &self.input;
        let batch = times_batch(schema, *column, &[time])?;
        let bucket = self.bucket.evaluate(&batch)?.into_array(1)?;
        let Some(bucket) = bucket.as_primitive_opt::<TimestampNanosecondType>() else {
            return Ok(None);
        };
        Ok((bucket.is_valid(0) && bucket.value(0) <= time).then(|| bucket.value(0)))
    }

    /// Beginning of a stretch that is some times as long as one that began at `start`, and begins with a bucket.
    fn earlier(&self, start: i64) -> Result<i64> {
        let length = self.time.end.saturating_sub(start).max(1);
        let wanted = self.time.end.saturating_sub(length.saturating_mul(STRETCH));
        if wanted <= self.time.start {
            return Ok(i64::MIN);
        }
        Ok(self.bucket_of(wanted)?.unwrap_or(i64::MIN))
    }
}

/// The newest groups of an aggregate by buckets: at least those that are wanted, or all.
pub(crate) struct NewestBucketsExec {
    input: Arc<dyn ExecutionPlan>,
    newest: Newest,
    /// What gave the buckets, for its metrics.
    ran: Arc<OnceLock<Arc<dyn ExecutionPlan>>>,
    properties: Arc<PlanProperties>,
}

impl Debug for NewestBucketsExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewestBucketsExec({})", self.newest.count)
    }
}

impl NewestBucketsExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, newest: Newest) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { input, newest, ran: Arc::default(), properties: Arc::new(properties) }
    }
}

/// The same plan over the rows from a time on.
fn since(plan: &Arc<dyn ExecutionPlan>, start: i64) -> Result<Arc<dyn ExecutionPlan>> {
    let time = TimeRange { start, end: i64::MAX };
    let narrow = |node: Arc<dyn ExecutionPlan>| {
        let narrowed = node.downcast_ref::<SeriesScanExec>().map(|scan| scan.within(time));
        Ok(match narrowed {
            Some(scan) => Transformed::yes(Arc::new(scan) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(node),
        })
    };
    Arc::clone(plan).transform_up(narrow).data()
}

/// Runs the plan for longer and longer stretches of time.
async fn run(
    input: Arc<dyn ExecutionPlan>,
    newest: Newest,
    ran: Arc<OnceLock<Arc<dyn ExecutionPlan>>>,
    context: Arc<TaskContext>,
) -> Result<Vec<RecordBatch>> {
    let mut start = newest.start;
    loop {
        let is_all = start <= newest.time.start;
        let plan = since(&input, start)?;
        let stream = plan.execute(0, Arc::clone(&context))?;
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        let buckets: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if is_all || buckets >= newest.count {
            // Where it is executed several times, the first tells.
            ran.get_or_init(|| plan);
            return Ok(batches);
        }
        start = newest.earlier(start)?;
    }
}

impl DisplayAs for NewestBucketsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "NewestBucketsExec: buckets={}", self.newest.count)
            }
            DisplayFormatType::TreeRender => writeln!(f, "buckets={}", self.newest.count),
        }
    }
}

impl ExecutionPlan for NewestBucketsExec {
    fn name(&self) -> &'static str {
        "NewestBucketsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.ran.get().unwrap_or(&self.input)]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.newest.bucket)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.newest.clone())))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (input, newest) = (Arc::clone(&self.input), self.newest.clone());
        let batches = futures::stream::once(run(input, newest, Arc::clone(&self.ran), context));
        let batches = batches.map_ok(|batches| futures::stream::iter(batches).map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches.try_flatten())))
    }
}
