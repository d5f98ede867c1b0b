//! Rows on their way into the log: the type states of the write path.

use arrow::array::{ArrayRef, UInt32Array};

use crate::catalog::Table;
use crate::{ColumnId, Error, SeriesKey, TableId};

/// What a null field of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// Nothing was measured: an older value stays (line protocol, bulk ingest, `load`).
    Absent,
    /// The value is cleared (`INSERT`, `UPDATE`), for the columns that the batch names.
    Explicit,
}

/// Rows of one table as decoded columns, by identity. Series are told apart once per batch, not per row.
#[derive(Clone, Debug)]
pub struct RowBatch {
    /// The distinct series of the batch.
    pub series: Vec<SeriesKey>,
    /// Per row, its place in `series`.
    pub series_of_row: UInt32Array,
    /// Per row, its time: `Timestamp(Nanosecond, "UTC")`, no nulls.
    pub time: ArrayRef,
    /// Field columns, ascending by id: Float64, Int64, UInt64, Boolean, Utf8, Timestamp(ns, UTC).
    pub fields: Vec<(ColumnId, ArrayRef)>,
    /// What nulls mean.
    pub nulls: Nulls,
}

/// A batch that was checked against the catalog: the only kind that can be written.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    table: TableId,
    catalog_index: u64,
    rows: RowBatch,
}

impl ValidBatch {
    /// Checks every column against the table: ids, types, lengths, series keys within the number of tags, no null time.
    pub fn check(_table: &Table, _catalog_index: u64, _rows: RowBatch) -> Result<Self, Error> {
        unimplemented!()
    }
    /// The table.
    pub fn table(&self) -> TableId {
        self.table
    }
    /// The catalog's index that it was checked at.
    pub fn catalog_index(&self) -> u64 {
        self.catalog_index
    }
    /// The rows.
    pub fn rows(&self) -> &RowBatch {
        &self.rows
    }
}
