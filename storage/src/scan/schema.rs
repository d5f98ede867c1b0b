//! Columns as SQL sees them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::ColumnKind;
use crate::catalog::{Column, Table};
use crate::rows::{arrow_type, timestamp_type};

/// The Arrow schema of a table as SQL sees it: columns in the table's order; tags and text `Utf8View`, time
/// `Timestamp(Nanosecond, "UTC")` not null, everything else nullable.
pub fn table_schema(table: &Table) -> SchemaRef {
    Arc::new(Schema::new(table.columns.iter().map(column_field).collect::<Vec<_>>()))
}

/// One column as SQL sees it.
pub(super) fn column_field(column: &Column) -> Field {
    match column.kind {
        ColumnKind::Time => Field::new(&column.name, timestamp_type(), false),
        ColumnKind::Tag => Field::new(&column.name, DataType::Utf8View, true),
        ColumnKind::Field(kind) => Field::new(&column.name, arrow_type(kind), true),
    }
}
