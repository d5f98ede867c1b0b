//! The catalog as DataFusion sees it: databases are catalogs, each with the schemas `public` and `system`.
//!
//! Providers are made over one version of the catalog, so that planning never sees it move. Those of stored tables hold
//! nothing of the statement that they were made for, and may serve the next one over the same version; all others live for
//! one statement.

mod cluster;
mod databases;
mod information;
mod memory;
mod series_function;
mod series_table;
mod system;
mod table;
mod united;
mod view;
mod views;

pub(crate) use databases::{Reads, databases};
pub(crate) use series_function::{SERIES, SeriesFunction};
pub(crate) use table::{StoredTable, column_kind, is_stored, last_rows_of, shown_schema};
pub(crate) use united::{United, UnitedTable, united_of};
pub(crate) use view::broken_view;
pub(crate) use views::{ReadViews, views_of};

#[cfg(test)]
pub(crate) mod tests {
    //! A table for unit tests.

    use quorate_storage::catalog::{Column, DatabaseId, Table, TableOptions};
    use quorate_storage::{ColumnId, ColumnKind, FieldType, TableId};

    /// `cpu (time, host tag, usage double, "Region" tag, note string, n bigint)`.
    pub(crate) fn cpu_table() -> Table {
        let columns = [
            ("time", ColumnKind::Time),
            ("host", ColumnKind::Tag),
            ("usage", ColumnKind::Field(FieldType::Float64)),
            ("Region", ColumnKind::Tag),
            ("note", ColumnKind::Field(FieldType::Utf8)),
            ("n", ColumnKind::Field(FieldType::Int64)),
        ];
        let column = |(id, (name, kind)): (u32, (&str, ColumnKind))| Column {
            id: ColumnId(id),
            name: name.to_owned(),
            kind,
        };
        Table {
            id: TableId(1),
            database: DatabaseId(1),
            name: "cpu".to_owned(),
            columns: (0..).zip(columns).map(column).collect(),
            options: TableOptions::default(),
            column_id_next: 6,
            changed_at: 1,
        }
    }
}
