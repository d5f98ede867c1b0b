//! `GetPrimaryKeys`, and the foreign keys that no table has.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::CommandGetPrimaryKeys;
use quorate_storage::catalog::Table;
use tonic::Status;

use super::tables::catalog;
use crate::call::Call;
use crate::service::Shared;
use crate::session::DATABASE;
use crate::status;

static PRIMARY: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

static FOREIGN: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

/// Columns of `GetPrimaryKeys`.
pub(super) fn primary_schema() -> SchemaRef {
    Arc::clone(&PRIMARY)
}

/// Columns of `GetExportedKeys`, `GetImportedKeys` and `GetCrossReference`.
pub(super) fn foreign_schema() -> SchemaRef {
    Arc::clone(&FOREIGN)
}

/// `GetPrimaryKeys`: the tags, then the time. A table of a scratch database has none.
pub(super) async fn primary(
    shared: &Shared,
    call: &Call,
    command: &CommandGetPrimaryKeys,
) -> Result<RecordBatch, Status> {
    let database =
        command.catalog.as_deref().or(call.options.database.as_deref()).unwrap_or(DATABASE);
    let in_public = command.db_schema.as_deref().is_none_or(|schema| schema == "public");
    let known = catalog(shared).await?;
    match known.table(database, &command.table).filter(|_| in_public) {
        Some(table) => batch(database, table),
        None => Ok(RecordBatch::new_empty(primary_schema())),
    }
}

fn batch(database: &str, table: &Table) -> Result<RecordBatch, Status> {
    let columns: Vec<&str> =
        table.tags().chain([table.time()]).map(|column| column.name.as_str()).collect();
    let rows = columns.len();
    let repeat = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
    let key_name: ArrayRef = Arc::new(StringArray::new_null(rows));
    let sequence: ArrayRef = Arc::new(Int32Array::from_iter_values((1..).take(rows)));
    let arrays: Vec<ArrayRef> = vec![
        repeat(database),
        repeat("public"),
        repeat(&table.name),
        Arc::new(StringArray::from(columns)),
        key_name,
        sequence,
    ];
    RecordBatch::try_new(primary_schema(), arrays).map_err(|e| status::internal(&e))
}
