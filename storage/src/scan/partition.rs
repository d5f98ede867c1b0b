//! One stream of a scan.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::ScanCounters;
use super::assemble::Assembler;
use super::series::Wanted;
use super::source::Source;
use crate::rows::{Layout, Merge, MergeOptions};
use crate::{Error, FieldType};

/// What a column of the result is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum OutputColumn {
    Time,
    /// The tag at this position of the series key.
    Tag(usize),
    /// The field at this position of the layout.
    Field(usize, FieldType),
}

/// What the partitions of a scan share.
#[derive(Debug)]
pub(super) struct PartitionPlan {
    /// By shard, then old to new.
    pub(super) sources: Vec<Source>,
    pub(super) layout: Layout,
    /// Whether some source has marks of cleared fields, which hide older values.
    pub(super) with_cleared: bool,
    pub(super) columns: Vec<OutputColumn>,
    pub(super) schema: SchemaRef,
    pub(super) limit: Option<usize>,
    /// Places in the layout of fields whose last values are needed, if the last rows are enough.
    pub(super) last: Option<Vec<usize>>,
    pub(super) counters: Arc<ScanCounters>,
}

/// One stream of a scan; may be opened more than once.
#[derive(Clone, Debug)]
pub struct ScanPartition {
    plan: Arc<PartitionPlan>,
    wanted: Wanted,
    rows_max: u64,
}

impl ScanPartition {
    pub(super) fn new(plan: Arc<PartitionPlan>, wanted: Wanted, rows_max: u64) -> Self {
        Self { plan, wanted, rows_max }
    }

    /// Rows known beforehand to be in it at most.
    pub fn rows_max(&self) -> u64 {
        self.rows_max
    }

    /// Opens the stream: batches of up to 8,192 rows; 2,048 rows of one series that lie together may be one. Each call of
    /// `next` blocks on disk reads and decoding.
    pub fn open(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, Error>> + Send>, Error> {
        let plan = &self.plan;
        let mut sources = Vec::with_capacity(plan.sources.len());
        for source in &plan.sources {
            let reads = &plan.counters.reads;
            let what = (&plan.layout, plan.with_cleared);
            match &plan.last {
                None => sources.extend(source.open(&self.wanted, what, reads)?),
                Some(carrying) => {
                    source.open_last(&self.wanted, what, (carrying, reads), &mut sources)?;
                }
            }
        }
        let options = MergeOptions { layout: Arc::clone(&plan.layout), keep_cleared: false };
        Ok(Box::new(Assembler::new(Arc::clone(plan), Merge::new(sources, options))))
    }
}
