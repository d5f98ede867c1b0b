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
    /// Number of rows to reckon with: the part of `rows` that the wanted time is of the time of all, as if rows lay
    /// evenly in it.
    pub rows_expected: u64,
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
        let of_all = start.zip(end).map_or(1.0, |(start, end)| {
            let wanted = time.map_or(1.0, |time| length(time.start, time.end));
            wanted / length(start, end)
        });
        Self {
            rows,
            rows_exact: nothing_hidden && !overlap(sources),
            rows_expected: expected(rows, of_all),
            time,
            time_exact: nothing_hidden && !filtered,
        }
    }
}

/// Length of a span of time with both its ends, in ns.
fn length(start: i64, end: i64) -> f64 {
    end as f64 - start as f64 + 1.0
}

/// A part of a number of rows, and at least one of them if there are any.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate between nothing and the number of rows"
)]
fn expected(rows: u64, part: f64) -> u64 {
    let part = (rows as f64 * part.clamp(0.0, 1.0)).ceil() as u64;
    part.clamp(rows.min(1), rows)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_time_has_its_part_of_the_rows() {
        let year = length(0, 365 * 86_400_000_000_000 - 1);
        assert_eq!(expected(8_760, length(0, 3_600_000_000_000 - 1) / year), 1);
        assert_eq!(expected(8_760, length(i64::MIN, i64::MAX) / year), 8_760);
        assert_eq!(expected(7, 0.5), 4);
        assert_eq!(expected(7, 0.0), 1);
        assert_eq!(expected(0, 1.0), 0);
        assert_eq!(expected(u64::MAX, 1.0), u64::MAX);
    }
}
