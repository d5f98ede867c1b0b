//! Routing records: which shards hold which slices of a table.
//!
//! There is one record per *change* of a table's spread, slice width or shard list, never one per slice; the record in
//! force for a time is the last one whose first slice is not after it. Records are kept by the metadata group. An
//! entry carries the epoch of the table's newest change; a shard that was fenced to a newer one rejects it, retryably.
//!
//! A change takes two entries of the metadata group, so that no row of the old routing is in a slice of the new one:
//!
//! ```text
//! begin (epoch, first slice ≥ …) ─▶ every shard is fenced to the epoch ─▶ last row of all shards ─▶ confirm (first slice)
//! ```
//!
//! Between the two, writers carry the new epoch and write what lies before the tentative first slice, which both routings
//! place alike; rows from it on wait. After the fences nobody writes there, so that the last row that is found stays the
//! last one, whoever looks and however often: a change that its coordinator left half done is finished by anybody.
//!
//! **Invariants:**
//! - a row never changes its shard: the record in force for a slice that holds rows is never replaced;
//! - epochs of a table only grow, and every fence is an epoch that the table's routing has reached.

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

/// A change of a table's routing that has begun, and is not in force yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingRouting {
    /// The metadata group's log index that began it.
    pub(crate) epoch: u64,
    /// From this time on nobody writes until it is confirmed; it is in force from here on, or from a later slice.
    pub(crate) first_slice: i64,
    /// Width of a slice to be.
    pub(crate) slice_ns: i64,
    /// Folds to be.
    pub(crate) spread: u32,
}

/// Routing of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routing {
    /// The shards that new tables spread over.
    pub(crate) shards: Vec<ShardId>,
    /// Per table, its records, ascending by `first_slice`.
    pub(crate) tables: BTreeMap<TableId, Vec<RoutingRecord>>,
    /// Changes that have begun, by table.
    pub(crate) pending: BTreeMap<TableId, PendingRouting>,
    /// Epochs that shards may be fenced to, by table, of changes that have begun; those that were given up included.
    pub(crate) fences: BTreeMap<TableId, u64>,
}

/// [`Routing`] as it was kept before it could be changed.
#[derive(Debug, Deserialize)]
pub(crate) struct UnchangedRouting {
    shards: Vec<ShardId>,
    tables: BTreeMap<TableId, Vec<RoutingRecord>>,
}

impl From<UnchangedRouting> for Routing {
    fn from(old: UnchangedRouting) -> Self {
        let UnchangedRouting { shards, tables } = old;
        Self { shards, tables, pending: BTreeMap::new(), fences: BTreeMap::new() }
    }
}

impl Routing {
    /// Adds the first record of a new table.
    pub(crate) fn add_table(&mut self, epoch: u64, table: TableId, slice_ns: i64, spread: u32) {
        let shards = self.shards.clone();
        let record = RoutingRecord { epoch, first_slice: i64::MIN, slice_ns, spread, shards };
        self.tables.insert(table, vec![record]);
    }

    /// Forgets tables.
    pub(crate) fn retain(&mut self, kept: impl Fn(&TableId) -> bool) {
        self.tables.retain(|table, _| kept(table));
        self.pending.retain(|table, _| kept(table));
        self.fences.retain(|table, _| kept(table));
    }

    /// Begins a change. False if another one has begun, or if no slice starts at its first.
    pub(crate) fn begin(&mut self, table: TableId, change: PendingRouting) -> bool {
        if self.pending.contains_key(&table) || !self.may_begin(table, change.first_slice) {
            return false;
        }
        self.fences.insert(table, change.epoch);
        self.pending.insert(table, change);
        true
    }

    /// Puts the change that `epoch` began in force from a slice on; without one, gives it up. Records of later slices,
    /// which hold no rows, go. Returns the change, unless it was ended before.
    pub(crate) fn confirm(
        &mut self,
        table: TableId,
        epoch: u64,
        first_slice: Option<i64>,
    ) -> Option<PendingRouting> {
        let pending = self.pending.get(&table).filter(|pending| pending.epoch == epoch)?.clone();
        let is_right = |first: i64| first >= pending.first_slice && self.may_begin(table, first);
        if !first_slice.is_none_or(is_right) {
            return None;
        }
        self.pending.remove(&table);
        let Some(first_slice) = first_slice else { return Some(pending) };
        let records = self.tables.get_mut(&table)?;
        records.retain(|record| record.first_slice < first_slice);
        let PendingRouting { slice_ns, spread, .. } = pending;
        let shards = self.shards.clone();
        records.push(RoutingRecord { epoch, first_slice, slice_ns, spread, shards });
        Some(pending)
    }

    /// Whether another record can begin at a time: a slice starts there, and it is not the first of all.
    fn may_begin(&self, table: TableId, at: i64) -> bool {
        at > i64::MIN && self.slices(table).is_some_and(|slices| slices.of(at).start == at)
    }

    /// Start of the slice behind that of a time, or of the first slice of all; `None` if it is the last one.
    pub(crate) fn slice_after(&self, table: TableId, time: Option<i64>) -> Option<i64> {
        self.slices(table)?.of(time.unwrap_or(i64::MIN)).end.checked_add(1)
    }

    /// Whether rows of a time have to wait until a change is confirmed.
    pub(crate) fn waits(&self, table: TableId, time: i64) -> bool {
        self.pending.get(&table).is_some_and(|pending| time >= pending.first_slice)
    }

    /// Epoch of the record in force at a slice; `None` for a table's first one.
    pub(crate) fn later_record(&self, table: TableId, slice_start: i64) -> Option<u64> {
        let record = self.record(table, slice_start)?;
        (record.first_slice > i64::MIN).then_some(record.epoch)
    }

    /// All shards that may hold rows of a table, or get some by a change of its routing.
    pub(crate) fn shards_ever(&self, table: TableId) -> BTreeSet<ShardId> {
        let records = self.tables.get(&table).into_iter().flatten();
        records.flat_map(|record| &record.shards).chain(&self.shards).copied().collect()
    }

    /// The record in force at `time`.
    pub(crate) fn record(&self, table: TableId, time: i64) -> Option<&RoutingRecord> {
        self.tables.get(&table)?.iter().rev().find(|r| r.first_slice <= time)
    }

    /// Epoch of a table's newest record, or of a newer change that has begun.
    pub(crate) fn epoch(&self, table: TableId) -> Option<u64> {
        let record = self.tables.get(&table)?.iter().map(|r| r.epoch).max()?;
        Some(self.fences.get(&table).map_or(record, |fence| record.max(*fence)))
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
#[path = "routing_tests.rs"]
mod tests;
