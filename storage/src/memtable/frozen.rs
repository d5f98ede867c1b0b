//! What a freeze leaves, and what a read holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Run;
use crate::TableId;
use crate::scan::TimeRange;

/// A memtable that is no longer written and waits to be flushed.
#[derive(Debug)]
pub struct FrozenMemtable {
    /// By table, then slice.
    pub(super) parts: Vec<SlicePart>,
    pub(super) log_index_min: u64,
    pub(super) log_index_max: u64,
}

/// The rows of one table and time slice: what one segment is made of.
#[derive(Clone, Debug)]
pub struct SlicePart {
    /// The table.
    pub table: TableId,
    /// Start of the time slice, ns.
    pub slice_start: i64,
    /// First log index whose rows it may hold.
    pub log_index_min: u64,
    /// Last log index whose rows it may hold.
    pub log_index_max: u64,
    /// In log order.
    pub(crate) runs: Vec<Arc<Run>>,
}

/// Rows of one table in a memtable, as of one moment. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct MemtableView {
    /// In log order within each slice.
    pub(crate) runs: Vec<Arc<Run>>,
    /// Last log index of a frozen memtable's range; `None` for the active one, which newer deletes edit.
    pub(crate) log_index_max: Option<u64>,
}

impl FrozenMemtable {
    /// By table, then slice.
    pub fn parts(&self) -> &[SlicePart] {
        &self.parts
    }
    /// First log index of its range.
    pub fn log_index_min(&self) -> u64 {
        self.log_index_min
    }
    /// Last log index of its range.
    pub fn log_index_max(&self) -> u64 {
        self.log_index_max
    }
    /// Rows, doubles included that were not folded yet.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(SlicePart::rows).sum()
    }
    /// Bytes, about.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(SlicePart::bytes).sum()
    }
    /// The rows of a table in slices that may hold rows in `time`.
    pub fn view(&self, table: TableId, time: TimeRange) -> MemtableView {
        let from = self.parts.partition_point(|part| part.table < table);
        let parts = self.parts[from..].iter().take_while(|part| part.table == table);
        let runs = parts.flat_map(|part| &part.runs).filter(|run| run.time().overlaps(time));
        MemtableView::new(runs.map(Arc::clone), Some(self.log_index_max))
    }
}

impl SlicePart {
    /// Rows, doubles included that were not folded yet.
    pub fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows() as u64).sum()
    }
    /// Bytes, about.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes()).sum()
    }
    /// Earliest and latest time.
    pub fn time(&self) -> Option<TimeRange> {
        times(&self.runs)
    }
    /// Distinct series in it.
    pub fn series(&self) -> usize {
        let all: BTreeSet<_> = self.runs.iter().flat_map(|run| run.series()).collect();
        all.len()
    }
    /// Its rows, for readers.
    pub fn view(&self) -> MemtableView {
        MemtableView::new(self.runs.iter().map(Arc::clone), Some(self.log_index_max))
    }
}

impl MemtableView {
    /// No rows.
    pub fn empty() -> Self {
        Self { runs: vec![], log_index_max: None }
    }
    pub(super) fn new(runs: impl Iterator<Item = Arc<Run>>, log_index_max: Option<u64>) -> Self {
        Self { runs: runs.collect(), log_index_max }
    }
    /// Rows, doubles included that were not folded yet.
    pub fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows() as u64).sum()
    }
    /// Earliest and latest time.
    pub fn time(&self) -> Option<TimeRange> {
        times(&self.runs)
    }
    /// Whether it holds no rows.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

fn times(runs: &[Arc<Run>]) -> Option<TimeRange> {
    let start = runs.iter().map(|run| run.time().start).min()?;
    Some(TimeRange { start, end: runs.iter().map(|run| run.time().end).max()? })
}
