//! What a scan knows beforehand, and what it counts on the way.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quorate_segment::ScanReads;

use super::TimeRange;
use super::source::Source;

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
    /// Pages and bytes of segments.
    pub reads: Arc<ScanReads>,
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

impl ScanStatistics {
    /// Of these sources, with `rows` rows of wanted series in all.
    pub(super) fn new(sources: &[Source], rows: u64, wanted: TimeRange, filtered: bool) -> Self {
        let start = sources.iter().map(|s| s.time().start).min();
        let end = sources.iter().map(|s| s.time().end).max();
        let time = start.zip(end).filter(|_| rows > 0).map(|(start, end)| TimeRange {
            start: start.max(wanted.start),
            end: end.min(wanted.end),
        });
        let nothing_hidden = sources.iter().all(|s| s.hiding.spares(s.time()));
        Self {
            rows,
            rows_exact: nothing_hidden && !overlap(sources),
            time,
            time_exact: nothing_hidden && !filtered,
        }
    }
}

/// Whether two sources may hold the same key. Sources of different shards never do.
fn overlap(sources: &[Source]) -> bool {
    let mut order: Vec<&Source> = sources.iter().collect();
    order.sort_unstable_by_key(|s| (s.shard, s.time().start));
    order.iter().enumerate().any(|(at, a)| {
        let later = order[at + 1..].iter();
        later
            .take_while(|b| b.shard == a.shard && b.time().start <= a.time().end)
            .any(|b| a.key_min() <= b.key_max() && b.key_min() <= a.key_max())
    })
}
