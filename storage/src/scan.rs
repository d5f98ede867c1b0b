//! Reading a table: one read view per shard, planned and then streamed.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::catalog::Table;
use crate::{ColumnId, Error};

/// Times from `start` to `end`, both included, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimeRange {
    /// First.
    pub start: i64,
    /// Last.
    pub end: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// Whether it holds this time.
    pub fn contains(self, time: i64) -> bool {
        self.start <= time && time <= self.end
    }
    /// Whether it holds all of the other range.
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
    /// Whether the two share a time.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// Which series a query wants: evaluated once per distinct series, never per row.
pub trait SeriesFilter: Debug + Send + Sync {
    /// `tags` has one column per tag of the table (`Utf8View`, nullable, named as in the table) and one row per
    /// distinct series. The answer is one truth value per row; null is false.
    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, Error>;
}

/// What a query wants of a table.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Columns to return, in this order; may be empty (rows are then counted by the batches' row counts).
    pub columns: Vec<ColumnId>,
    /// Only rows in this range (exact, not a hint).
    pub time: TimeRange,
    /// Only these series (exact).
    pub series: Option<Arc<dyn SeriesFilter>>,
    /// Streams wanted; fewer may come. Series are split over them, each sorted by (tags in id order, nulls first, time).
    pub partitions: usize,
    /// Rows after which a partition may stop.
    pub limit: Option<usize>,
}

/// Counts what a scan did, for `EXPLAIN ANALYZE`.
#[derive(Debug, Default)]
pub struct ScanCounters {
    /// Segments of the table.
    pub segments: AtomicU64,
    /// Segments left out by time or series.
    pub segments_pruned: AtomicU64,
    /// Series looked at.
    pub series: AtomicU64,
    /// Series left out by the filter.
    pub series_pruned: AtomicU64,
    /// Rows decoded from segments and memtables.
    pub rows_decoded: AtomicU64,
    /// Rows that needed a merge because segments or memtables overlap.
    pub rows_merged: AtomicU64,
}

/// What is known of the rows of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanStatistics {
    /// Number of rows: exact or an upper bound.
    pub rows: u64,
    /// Whether `rows` is exact.
    pub rows_exact: bool,
    /// Earliest and latest time, if there are rows.
    pub time: Option<TimeRange>,
    /// Whether `time` is exact.
    pub time_exact: bool,
}

/// A table as of one read view per shard. Files stay until it is dropped.
#[derive(Clone, Debug)]
pub struct TableView {}

/// The Arrow schema of a table as SQL sees it: columns in the table's order; tags and text `Utf8View`, time
/// `Timestamp(Nanosecond, "UTC")` not null, everything else nullable.
pub fn table_schema(_table: &Table) -> SchemaRef {
    unimplemented!()
}

impl TableView {
    /// The table's record that the view was taken with.
    pub fn table(&self) -> &Arc<Table> {
        unimplemented!()
    }
    /// Prunes, and splits what is left. Reads directories, no rows.
    pub fn scan(&self, _request: ScanRequest) -> Result<TableScan, Error> {
        unimplemented!()
    }
}

/// A planned scan.
#[derive(Debug)]
pub struct TableScan {
    /// Schema of the batches.
    pub schema: SchemaRef,
    /// Independent streams.
    pub partitions: Vec<ScanPartition>,
    /// What is known beforehand.
    pub statistics: ScanStatistics,
    /// What it does.
    pub counters: Arc<ScanCounters>,
}

/// One stream of a scan; may be opened more than once.
#[derive(Clone, Debug)]
pub struct ScanPartition {}

impl ScanPartition {
    /// Rows known beforehand to be in it at most.
    pub fn rows_max(&self) -> u64 {
        unimplemented!()
    }
    /// Opens the stream: batches of about 8,192 rows. Each call of `next` blocks on disk reads and decoding.
    pub fn open(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, Error>> + Send>, Error> {
        unimplemented!()
    }
}
