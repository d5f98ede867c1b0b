//! One live segment, and the name that commands call it by.

use std::sync::Arc;

use quorate_segment::SegmentMeta;
use serde::{Deserialize, Serialize};

use crate::scan::TimeRange;
use crate::{LogPosition, TableId};

/// BLAKE3 of a segment's file: its name on disk.
pub type FileHash = [u8; 32];

/// Names a segment by the job that made it, so that commands need not know hashes: replicas whose encoders differ have
/// different files for the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The table.
    pub table: TableId,
    /// Start of the time slice, ns.
    pub slice_start: i64,
    /// Log index of the flush or compaction that made it.
    pub job: u64,
    /// Which of the job's segments for this table and slice, from 0; a large compaction makes several, by key.
    pub part: u32,
}

/// A segment that a version holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveSegment {
    /// What is known of the file.
    pub meta: Arc<SegmentMeta>,
    /// The flush or compaction that made it. Tombstones below its index are applied to its rows.
    pub job: LogPosition,
    /// Which of the job's segments for this table and slice, from 0.
    pub part: u32,
    /// Start of its time slice, ns.
    pub slice_start: i64,
    /// 0 for a flush, else one more than the highest level that it was merged from.
    pub level: u32,
}

impl LiveSegment {
    /// The name that commands call it by.
    pub fn name(&self) -> SegmentRef {
        SegmentRef {
            table: self.meta.table,
            slice_start: self.slice_start,
            job: self.job.index,
            part: self.part,
        }
    }
    /// The table.
    pub fn table(&self) -> TableId {
        self.meta.table
    }
    /// First log index whose rows it may hold.
    pub fn log_index_min(&self) -> u64 {
        self.meta.spec.log_index_min
    }
    /// Last log index whose rows it may hold.
    pub fn log_index_max(&self) -> u64 {
        self.meta.spec.log_index_max
    }
    /// Times of its earliest and latest row.
    pub fn time(&self) -> TimeRange {
        TimeRange { start: self.meta.time_min, end: self.meta.time_max }
    }
    /// The file's name without a directory.
    pub fn file_name(&self) -> String {
        self.meta.file_name()
    }
}
