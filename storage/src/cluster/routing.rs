//! Routing records: which shards hold which slices of a table.
//!
//! There is one record per *change* of a table's spread, slice width or shard list, never one per slice; the record in
//! force for a time is the last one whose first slice is not after it. Records are kept by the metadata group. An
//! entry carries the epoch of the table's newest record; a shard that was fenced to a newer one rejects it, retryably.

use std::collections::{BTreeMap, BTreeSet};

use quorate_segment::TableId;
use serde::{Deserialize, Serialize};

use super::token::{fold, token};
use crate::batch::{SliceSpan, TimeSlices};
use crate::scan::TimeRange;
use crate::store::ShardId;

/// Slices × folds above which a query asks every shard instead of working out which ones may hold rows.
const TOKENS_PER_QUERY_MAX: u64 = 4_096;

/// How a table is routed from `first_slice` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoutingRecord {
    /// Grows with every record of the cluster: the metadata group's log index that made it.
    pub(crate) epoch: u64,
    /// Start of the first slice that it is in force for.
    pub(crate) first_slice: i64,
    /// Width of a slice.
    pub(crate) slice_ns: i64,
    /// Folds of the series of one slice.
    pub(crate) spread: u32,
    /// The shards, chosen by token modulo their number.
    pub(crate) shards: Vec<ShardId>,
}

impl RoutingRecord {
    /// The shard of a slice and fold.
    fn shard(&self, table: TableId, slice: i64, fold: u32) -> ShardId {
        let n = self.shards.len() as u64;
        let place = token(table, slice, fold) % n;
        self.shards[usize::try_from(place).expect("less than the number of shards")]
    }
}

/// Routing of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routing {
    /// The shards that new tables spread over.
    pub(crate) shards: Vec<ShardId>,
    /// Per table, its records, ascending by `first_slice`.
    pub(crate) tables: BTreeMap<TableId, Vec<RoutingRecord>>,
}

impl Routing {
    /// Adds the first record of a new table.
    pub(crate) fn add_table(&mut self, epoch: u64, table: TableId, slice_ns: i64, spread: u32) {
        let shards = self.shards.clone();
        let record = RoutingRecord { epoch, first_slice: i64::MIN, slice_ns, spread, shards };
        self.tables.insert(table, vec![record]);
    }

    /// The record in force at `time`.
    pub(crate) fn record(&self, table: TableId, time: i64) -> Option<&RoutingRecord> {
        self.tables.get(&table)?.iter().rev().find(|r| r.first_slice <= time)
    }

    /// Epoch of a table's newest record.
    pub(crate) fn epoch(&self, table: TableId) -> Option<u64> {
        self.tables.get(&table)?.iter().map(|r| r.epoch).max()
    }

    /// How a table's time is cut into slices.
    pub(crate) fn slices(&self, table: TableId) -> Option<TimeSlices> {
        let records = self.tables.get(&table)?;
        let span = |r: &RoutingRecord| SliceSpan { from: r.first_slice, width: r.slice_ns };
        TimeSlices::new(records.iter().map(span).collect()).ok()
    }

    /// The shard of a row, by its series' hash and the start of its slice.
    pub(crate) fn shard(
        &self,
        table: TableId,
        series_hash: u64,
        slice_start: i64,
    ) -> Option<ShardId> {
        let record = self.record(table, slice_start)?;
        Some(record.shard(table, slice_start, fold(series_hash, record.spread)))
    }

    /// The shards that may hold rows of a table in a range of time, ascending.
    pub(crate) fn shards_of(&self, table: TableId, time: TimeRange) -> Vec<ShardId> {
        let (Some(records), Some(slices)) = (self.tables.get(&table), self.slices(table)) else {
            return Vec::new();
        };
        let mut found: BTreeSet<ShardId> = BTreeSet::new();
        let mut tokens = 0_u64;
        let mut next = time.start;
        while next <= time.end {
            let slice = slices.of(next);
            let Some(record) = self.record(table, slice.start) else { break };
            tokens += u64::from(record.spread);
            if tokens > TOKENS_PER_QUERY_MAX {
                return all_shards(records);
            }
            found.extend((0..record.spread).map(|fold| record.shard(table, slice.start, fold)));
            match slice.end.checked_add(1) {
                Some(start) => next = start,
                None => break,
            }
        }
        found.into_iter().collect()
    }
}

fn all_shards(records: &[RoutingRecord]) -> Vec<ShardId> {
    let all: BTreeSet<ShardId> = records.iter().flat_map(|r| &r.shards).copied().collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use quorate_segment::SeriesKey;

    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    fn routing(spread: u32) -> Routing {
        let mut routing = Routing { shards: (0..8).map(ShardId).collect(), ..Routing::default() };
        routing.add_table(5, TableId(3), DAY, spread);
        routing
    }

    fn shard(routing: &Routing, series: &SeriesKey, time: i64) -> Option<ShardId> {
        let slice = routing.slices(TableId(3)).unwrap().of(time);
        routing.shard(TableId(3), series.hash64(), slice.start)
    }

    #[test]
    fn a_query_asks_every_shard_that_holds_rows_of_its_range() {
        for spread in [1, 4] {
            let routing = routing(spread);
            for (start, days) in [(0, 1), (-5 * DAY + 3, 2), (17 * DAY + 1, 9)] {
                let time = TimeRange { start, end: start + days * DAY };
                let asked = routing.shards_of(TableId(3), time);
                for i in 0..200 {
                    let series = SeriesKey::encode([Some(format!("h{i}").as_str())]);
                    for t in [time.start, time.start + DAY / 2, time.end] {
                        let shard = shard(&routing, &series, t).unwrap();
                        assert!(
                            asked.contains(&shard),
                            "spread {spread}: {shard:?} not in {asked:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_short_range_of_a_small_table_asks_one_shard_and_all_of_time_asks_all() {
        let routing = routing(1);
        let hour = TimeRange { start: 10 * DAY, end: 10 * DAY + 3_600_000_000_000 };
        assert_eq!(routing.shards_of(TableId(3), hour).len(), 1);
        assert_eq!(routing.shards_of(TableId(3), TimeRange::ALL).len(), 8);
    }

    #[test]
    fn one_series_moves_over_all_shards_as_time_goes_on() {
        let routing = routing(1);
        let series = SeriesKey::encode([Some("a")]);
        let shards: BTreeSet<ShardId> =
            (0..100).filter_map(|d| shard(&routing, &series, d * DAY)).collect();
        assert_eq!(shards.len(), 8);
    }

    #[test]
    fn a_later_record_is_in_force_from_its_first_slice_on() {
        let mut routing = routing(1);
        let later = RoutingRecord {
            epoch: 9,
            first_slice: 10 * DAY,
            slice_ns: DAY / 2,
            spread: 4,
            shards: vec![ShardId(8)],
        };
        routing.tables.get_mut(&TableId(3)).unwrap().push(later);
        let series = SeriesKey::encode([Some("a")]);
        assert_ne!(shard(&routing, &series, 10 * DAY - 1), Some(ShardId(8)));
        assert_eq!(shard(&routing, &series, 10 * DAY), Some(ShardId(8)));
        assert_eq!(routing.epoch(TableId(3)), Some(9));
        let across = TimeRange { start: 10 * DAY - 1, end: 10 * DAY };
        assert_eq!(routing.shards_of(TableId(3), across).len(), 2);
    }

    #[test]
    fn an_unknown_table_has_no_shard() {
        assert_eq!(routing(1).shard(TableId(4), 0, 0), None);
        assert!(routing(1).shards_of(TableId(4), TimeRange::ALL).is_empty());
    }
}
