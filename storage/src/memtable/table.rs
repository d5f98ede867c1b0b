//! The active memtable of a shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::tiers::Tiers;
use super::{FrozenMemtable, MemtableView, Run, SlicePart};
use crate::batch::{RowBatch, TimeSlices};
use crate::scan::TimeRange;
use crate::{Error, SeriesKey, TableId};

/// What an insert did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InsertCounts {
    /// Rows of the batch.
    pub rows: u64,
    /// Rows folded into others with the same key, of this batch or of earlier ones, as far as this insert found out.
    pub rows_merged: u64,
}

/// Rows that were applied since the last freeze.
#[derive(Debug)]
pub struct Memtable {
    slices: BTreeMap<(TableId, i64), Tiers>,
    log_index_min: u64,
    log_index_first: Option<u64>,
    rows: u64,
    bytes: u64,
}

impl Memtable {
    /// An empty one for entries from `log_index_min` on.
    pub fn new(log_index_min: u64) -> Self {
        Self { slices: BTreeMap::new(), log_index_min, log_index_first: None, rows: 0, bytes: 0 }
    }

    /// Inserts the rows of one entry; log indexes never fall. Deterministic.
    pub fn insert(
        &mut self,
        table: TableId,
        rows: RowBatch,
        slices: &TimeSlices,
        log_index: u64,
    ) -> Result<InsertCounts, Error> {
        let mut counts = InsertCounts { rows: rows.rows() as u64, rows_merged: 0 };
        if counts.rows == 0 {
            return Ok(counts);
        }
        for (slice, rows) in rows.sorted()?.split_slices(slices)? {
            let (run, folded) = Run::from_batch(&rows)?;
            counts.rows_merged += folded as u64;
            self.change((table, slice), |tiers| counts.rows_merged += tiers.push(run) as u64);
        }
        self.log_index_first.get_or_insert(log_index);
        Ok(counts)
    }

    /// Puts rows back that a checkpoint kept: they are older than everything in here.
    pub fn restore(&mut self, part: SlicePart) {
        let SlicePart { table, slice_start, log_index_min, runs, .. } = part;
        self.change((table, slice_start), |tiers| {
            let min = tiers.log_index_min.unwrap_or(log_index_min);
            tiers.log_index_min = Some(min.min(log_index_min));
            tiers.restore(runs);
        });
    }

    /// Takes the rows of these series (`None`: all) and times out; returns how many.
    pub fn delete(
        &mut self,
        table: TableId,
        series: Option<&BTreeSet<SeriesKey>>,
        time: TimeRange,
    ) -> u64 {
        let keys: Vec<_> = self.slices.range((table, i64::MIN)..=(table, i64::MAX)).collect();
        let keys: Vec<_> = keys.into_iter().map(|(key, _)| *key).collect();
        let mut deleted = 0;
        for key in keys {
            self.change(key, |tiers| deleted += tiers.delete(series, time) as u64);
        }
        deleted
    }

    /// Takes out the rows of a table with a time below `before`; returns how many.
    pub fn expire(&mut self, table: TableId, before: i64) -> u64 {
        match before.checked_sub(1) {
            Some(end) => self.delete(table, None, TimeRange { start: i64::MIN, end }),
            None => 0,
        }
    }

    /// Takes out all rows of a table; returns how many.
    pub fn drop_table(&mut self, table: TableId) -> u64 {
        self.delete(table, None, TimeRange::ALL)
    }

    fn change(&mut self, key: (TableId, i64), change: impl FnOnce(&mut Tiers)) {
        let tiers = self.slices.entry(key).or_default();
        let (rows, bytes) = (tiers.rows() as u64, tiers.bytes());
        change(tiers);
        self.rows = self.rows - rows + tiers.rows() as u64;
        self.bytes = self.bytes - bytes + tiers.bytes();
        if tiers.runs().is_empty() {
            self.slices.remove(&key);
        }
    }

    /// Takes all rows out as a frozen memtable for the log range up to `log_index_max`, included. This one goes on, empty,
    /// for later entries.
    ///
    /// # Panics
    ///
    /// If its range begins after `log_index_max`.
    pub fn freeze(&mut self, log_index_max: u64) -> Arc<FrozenMemtable> {
        assert!(
            self.log_index_min <= log_index_max,
            "a memtable from {} on is frozen at {log_index_max}",
            self.log_index_min
        );
        let old = std::mem::replace(self, Self::new(log_index_max + 1));
        let log_index_min = old.log_index_min;
        let parts = old.slices.into_iter().map(|((table, slice_start), tiers)| SlicePart {
            table,
            slice_start,
            log_index_min: tiers.log_index_min.unwrap_or(log_index_min).min(log_index_min),
            log_index_max,
            runs: tiers.into_runs(),
        });
        Arc::new(FrozenMemtable { parts: parts.collect(), log_index_min, log_index_max })
    }

    /// As [`Memtable::freeze`], but the parts in `keep` stay in here (their log range begins where it did), and are
    /// returned as they are at this index.
    pub fn freeze_but(
        &mut self,
        log_index_max: u64,
        keep: &BTreeSet<(TableId, i64)>,
    ) -> (Arc<FrozenMemtable>, Vec<SlicePart>) {
        let frozen = self.freeze(log_index_max);
        if keep.is_empty() {
            return (frozen, Vec::new());
        }
        let (kept, parts): (Vec<_>, Vec<_>) = frozen
            .parts
            .iter()
            .cloned()
            .partition(|part| keep.contains(&(part.table, part.slice_start)));
        for part in &kept {
            self.restore(part.clone());
        }
        let (log_index_min, log_index_max) = (frozen.log_index_min, frozen.log_index_max);
        (Arc::new(FrozenMemtable { parts, log_index_min, log_index_max }), kept)
    }

    /// The smallest parts (table and slice), each below `part_bytes_max`, all together below `bytes_max`.
    pub fn small_parts(&self, part_bytes_max: u64, bytes_max: u64) -> Vec<(TableId, i64)> {
        let sizes = self.slices.iter().map(|(key, tiers)| (tiers.bytes(), *key));
        let mut small: Vec<_> = sizes.filter(|(bytes, _)| *bytes < part_bytes_max).collect();
        small.sort_unstable();
        let mut total = 0;
        let fits = small.into_iter().take_while(|(bytes, _)| {
            total += bytes;
            total <= bytes_max
        });
        let mut keys: Vec<_> = fits.map(|(_, key)| key).collect();
        keys.sort_unstable();
        keys
    }

    /// The rows of a table as they are now, in slices that may hold rows in `time`.
    pub fn view(&self, table: TableId, time: TimeRange) -> MemtableView {
        let slices = self.slices.range((table, i64::MIN)..=(table, i64::MAX));
        let runs = slices.flat_map(|(_, tiers)| tiers.runs());
        MemtableView::new(runs.filter(|run| run.time().overlaps(time)).map(Arc::clone), None)
    }

    /// Rows, doubles included that were not folded yet.
    pub fn rows(&self) -> u64 {
        self.rows
    }
    /// Bytes, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Whether it holds no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
    /// First log index of the range that it stands for.
    pub fn log_index_min(&self) -> u64 {
        self.log_index_min
    }
    /// Log index of the first insert since the last freeze.
    pub fn log_index_first(&self) -> Option<u64> {
        self.log_index_first
    }
    /// Rows of one table, and their earliest and latest time.
    pub fn table_rows(&self, table: TableId) -> (u64, Option<TimeRange>) {
        let view = self.view(table, TimeRange::ALL);
        (view.rows(), view.time())
    }
}
