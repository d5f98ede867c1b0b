//! Validation against the catalog, as a type state.

use arrow::array::Array;

use super::RowBatch;
use super::columns::batch_type;
use crate::catalog::Table;
use crate::rows::{tag_count, timestamp_type};
use crate::{ColumnKind, Error, TableId};

/// A batch that was checked against the catalog, and sorted: the only kind that can be written.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    table: TableId,
    catalog_index: u64,
    rows: RowBatch,
}

impl ValidBatch {
    /// Checks every column against the table: ids, types, lengths, series keys within the number of tags, no null time.
    /// Then sorts.
    pub fn check(table: &Table, catalog_index: u64, rows: RowBatch) -> Result<Self, Error> {
        let invalid = |what: String| Err(Error::Invalid(format!("table {:?}: {what}", table.name)));
        let count = rows.rows();
        if *rows.time.data_type() != timestamp_type() {
            return invalid(format!("time is {}", rows.time.data_type()));
        }
        if rows.time.len() != count || rows.time.null_count() > 0 {
            return invalid("every row needs a time".into());
        }
        if rows.series_of_row.null_count() > 0
            || rows.series_of_row.values().iter().any(|s| *s as usize >= rows.series.len())
        {
            return invalid("every row needs a series".into());
        }
        let tags = table.tags().count();
        if rows.series.iter().any(|key| tag_count(key) > tags) {
            return invalid(format!("a series has more than the table's {tags} tags"));
        }
        if !rows.fields.is_sorted_by(|(a, _), (b, _)| a < b) {
            return invalid("fields do not ascend by column id".into());
        }
        for (id, array) in &rows.fields {
            let Some(column) = table.columns.iter().find(|column| column.id == *id) else {
                return invalid(format!("there is no column {}", id.0));
            };
            let ColumnKind::Field(kind) = column.kind else {
                return invalid(format!("column {:?} is not a field", column.name));
            };
            if *array.data_type() != batch_type(kind) {
                let have = array.data_type();
                return invalid(format!("column {:?} is {kind:?}, not {have}", column.name));
            }
            if array.len() != count {
                return invalid(format!("column {:?} has another number of rows", column.name));
            }
        }
        Ok(Self { table: table.id, catalog_index, rows: rows.sorted()? })
    }

    /// The table.
    pub fn table(&self) -> TableId {
        self.table
    }
    /// The catalog's index that it was checked at.
    pub fn catalog_index(&self) -> u64 {
        self.catalog_index
    }
    /// The rows, sorted.
    pub fn rows(&self) -> &RowBatch {
        &self.rows
    }
    /// Gives the rows away.
    pub fn into_rows(self) -> RowBatch {
        self.rows
    }
}
