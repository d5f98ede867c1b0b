//! A table as of one read view per shard.

use std::sync::Arc;

use quorate_segment::SegmentReader;

use super::Tails;
use super::plan::{matching_series, plan};
use super::{ScanRequest, SeriesFilter, TableScan, TimeRange};
use crate::batch::TimeSlices;
use crate::catalog::Table;
use crate::memtable::MemtableView;
use crate::version::{LiveSegment, SegmentPin, Tombstone};
use crate::{Error, SeriesKey};

/// A live segment whose file is open, and stays.
#[derive(Clone, Debug)]
pub struct OpenSegment {
    /// What the version says of it.
    pub live: LiveSegment,
    /// Its file.
    pub reader: Arc<SegmentReader>,
    /// Keeps the file.
    pub pin: Arc<SegmentPin>,
    /// Last rows of the node's segments.
    pub(crate) tails: Arc<Tails>,
}

/// What one shard holds of a table, as of one applied index.
#[derive(Clone, Debug, Default)]
pub struct ShardRows {
    /// Frozen memtables in log order, then the active one.
    pub memtables: Vec<MemtableView>,
    /// Live segments of the table, in any order.
    pub segments: Vec<Arc<OpenSegment>>,
    /// Deletes of the version; those of other tables are ignored.
    pub tombstones: Vec<Arc<Tombstone>>,
    /// Rows with a time below are expired.
    pub expired_before: Option<i64>,
}

/// A table as of one read view per shard. Files stay until it is dropped.
#[derive(Clone, Debug)]
pub struct TableView {
    table: Arc<Table>,
    shards: Arc<[ShardRows]>,
}

impl TableView {
    /// Of what the shards hold.
    pub fn new(table: Arc<Table>, mut shards: Vec<ShardRows>) -> Self {
        for shard in &mut shards {
            shard.tombstones.retain(|t| t.table == table.id);
            shard.segments.retain(|s| s.live.table() == table.id);
            shard.segments.sort_by_key(|s| (s.live.log_index_min(), s.live.part));
        }
        Self { table, shards: shards.into() }
    }
    /// The table's record that the view was taken with.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }
    /// Whether no shard holds rows in the times that it was taken for.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|s| s.memtables.is_empty() && s.segments.is_empty())
    }
    /// By shard.
    pub(super) fn shards(&self) -> &[ShardRows] {
        &self.shards
    }
    /// The series that a filter keeps and that may have rows in `time`, ascending. Reads directories, no rows.
    pub(crate) fn series(
        &self,
        time: TimeRange,
        filter: &dyn SeriesFilter,
    ) -> Result<Vec<SeriesKey>, Error> {
        matching_series(self, time, filter)
    }
    /// The last slice that holds rows. Reads rows of that slice, and of later ones whose rows are all deleted.
    pub(crate) fn last_slice(&self, slices: &TimeSlices) -> Result<Option<TimeRange>, Error> {
        let segments = |shard: &ShardRows| -> Vec<TimeRange> {
            shard.segments.iter().map(|segment| segment.live.time()).collect()
        };
        let runs = self.shards.iter().flat_map(|s| &s.memtables).flat_map(|m| &m.runs);
        let times: Vec<TimeRange> =
            self.shards.iter().flat_map(segments).chain(runs.map(|run| run.time())).collect();
        let mut last = times.iter().map(|time| time.end).max();
        while let Some(time) = last {
            let slice = slices.of(time);
            if self.has_rows_from(slice.start)? {
                return Ok(Some(slice));
            }
            let earlier = times.iter().filter(|time| time.start < slice.start);
            last = earlier.map(|time| time.end.min(slice.start - 1)).max();
        }
        Ok(None)
    }
    fn has_rows_from(&self, start: i64) -> Result<bool, Error> {
        let scan = self.scan(ScanRequest {
            columns: vec![self.table.time().id],
            time: TimeRange { start, end: i64::MAX },
            values: Vec::new(),
            series: None,
            partitions: 1,
            limit: Some(1),
            last: None,
        })?;
        for partition in &scan.partitions {
            for batch in partition.open()? {
                if batch?.num_rows() > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
    /// Prunes, and splits what is left. Reads directories, no rows.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made for one scan")]
    pub fn scan(&self, request: ScanRequest) -> Result<TableScan, Error> {
        plan(self, &request)
    }
}
