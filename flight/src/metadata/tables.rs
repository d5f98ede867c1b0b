//! `GetCatalogs`, `GetDbSchemas`, `GetTables`, `GetTableTypes`.
//!
//! The list is the engine's `information_schema.tables`, so that scratch databases, views and system tables are on it.
//! Schemas come from the catalog where it knows the table, and are planned where it does not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables,
};
use futures::TryStreamExt;
use quorate_engine::Outcome;
use quorate_storage::catalog::{Catalog, Column, Table};
use quorate_storage::{ColumnKind, FieldType};
use tonic::Status;

use super::built;
use crate::call::Call;
use crate::service::Shared;
use crate::session::TIMEZONE;
use crate::status;
use crate::wire::Times;

/// Tables that hold rows of the user.
const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";
/// Tables of `information_schema` and `system`.
const SYSTEM_TABLE: &str = "SYSTEM TABLE";

const LIST: &str = "SELECT table_catalog, table_schema, table_name, table_type \
                    FROM information_schema.tables";

/// A table by its three names, and its type.
type Listed = BTreeMap<(String, String, String), &'static str>;

/// `GetCatalogs`.
pub(super) async fn catalogs(
    shared: &Shared,
    call: &Call,
    command: CommandGetCatalogs,
) -> Result<RecordBatch, Status> {
    let catalog = catalog(shared).await?;
    let mut names: std::collections::BTreeSet<String> =
        catalog.databases.values().map(|d| d.name.clone()).collect();
    names.extend(list(shared, call).await?.into_keys().map(|(catalog, _, _)| catalog));
    let mut builder = command.into_builder();
    for name in names {
        builder.append(name);
    }
    built(builder.build())
}

/// `GetDbSchemas`.
pub(super) async fn schemas(
    shared: &Shared,
    call: &Call,
    command: CommandGetDbSchemas,
) -> Result<RecordBatch, Status> {
    let catalog = catalog(shared).await?;
    let mut names: std::collections::BTreeSet<(String, String)> =
        catalog.databases.values().map(|d| (d.name.clone(), "public".to_owned())).collect();
    let listed = list(shared, call).await?;
    names.extend(listed.into_keys().map(|(catalog, schema, _)| (catalog, schema)));
    let mut builder = command.into_builder();
    for (catalog, schema) in &names {
        builder.append(catalog, schema);
    }
    built(builder.build())
}

/// `GetTables`. Names are filtered first, so that only the schemas that are asked for are made.
pub(super) async fn tables(
    shared: &Shared,
    call: &Call,
    command: CommandGetTables,
) -> Result<RecordBatch, Status> {
    let include_schema = command.include_schema;
    let command = CommandGetTables {
        include_schema: false,
        table_types: command.table_types.iter().map(|t| table_type(t)).collect(),
        ..command
    };
    let mut builder = command.into_builder();
    let none = Schema::empty();
    for ((catalog, schema, table), kind) in list(shared, call).await? {
        built(builder.append(catalog, schema, table, kind, &none))?;
    }
    let names = built(builder.build())?;
    if !include_schema {
        return Ok(names);
    }
    let known = catalog(shared).await?;
    let zone = call.options.timezone.as_deref().unwrap_or(TIMEZONE);
    let command = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let mut builder = command.into_builder();
    for row in rows(&names)? {
        let [catalog, schema, table, kind] = &row;
        // A zone is part of the type of times: only the default one is known without planning.
        let is_known = schema == "public" && zone == TIMEZONE;
        let columns = match known.table(catalog, table).filter(|_| is_known) {
            Some(table) => table_schema(table, call.times),
            None => planned_schema(shared, call, catalog, schema, table).await?,
        };
        built(builder.append(catalog, schema, table, kind, &columns))?;
    }
    built(builder.build())
}

/// `GetTableTypes`.
pub(super) fn types(command: CommandGetTableTypes) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    for name in [TABLE, VIEW, SYSTEM_TABLE] {
        builder.append(name);
    }
    built(builder.build())
}

/// The catalog as of now.
pub(super) async fn catalog(shared: &Shared) -> Result<Arc<Catalog>, Status> {
    let catalog = shared.engine.store().catalog_linearizable().await;
    catalog.map_err(|e| status::of(&e.into()))
}

/// A driver's name of a type of tables as ours.
fn table_type(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    if name == "BASE TABLE" { TABLE.to_owned() } else { name }
}

async fn list(shared: &Shared, call: &Call) -> Result<Listed, Status> {
    let session = shared.session(call.options.clone());
    let outcome = Box::pin(session.execute(LIST, None)).await.map_err(|e| status::of(&e))?;
    let Outcome::Rows(stream) = outcome else {
        return Err(Status::internal("information_schema.tables gave no rows"));
    };
    let batches: Vec<RecordBatch> =
        stream.batches.try_collect().await.map_err(|e| status::of(&e.into()))?;
    let mut listed = Listed::new();
    for batch in &batches {
        for [catalog, schema, table, kind] in rows(batch)? {
            let kind = match (schema.as_str(), kind.as_str()) {
                ("information_schema" | "system", _) => SYSTEM_TABLE,
                (_, "VIEW") => VIEW,
                _ => TABLE,
            };
            listed.insert((catalog, schema, table), kind);
        }
    }
    Ok(listed)
}

/// The first four columns, which are texts, row by row.
fn rows(batch: &RecordBatch) -> Result<Vec<[String; 4]>, Status> {
    let texts = |column: usize| -> Result<_, Status> {
        cast(batch.column(column), &DataType::Utf8).map_err(|e| status::internal(&e))
    };
    let columns = [texts(0)?, texts(1)?, texts(2)?, texts(3)?];
    let columns = columns.each_ref().map(AsArray::as_string::<i32>);
    Ok((0..batch.num_rows())
        .map(|row| {
            columns.map(|c| if c.is_null(row) { String::new() } else { c.value(row).to_owned() })
        })
        .collect())
}

async fn planned_schema(
    shared: &Shared,
    call: &Call,
    catalog: &str,
    schema: &str,
    table: &str,
) -> Result<Schema, Status> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let sql = format!("SELECT * FROM {}.{}.{}", quoted(catalog), quoted(schema), quoted(table));
    let session = shared.session(call.options.clone());
    let plan = session.plan(&sql).await.map_err(|e| status::of(&e))?;
    Ok(crate::wire::wire_schema(&plan.schema, call.times).as_ref().clone())
}

/// The schema of a stored table as a query of it would have it, with what drivers tell of its columns.
fn table_schema(table: &Table, times: Times) -> Schema {
    Schema::new(table.columns.iter().map(|c| column_field(table, c, times)).collect::<Vec<_>>())
}

fn column_field(table: &Table, column: &Column, times: Times) -> Field {
    let zone = (times == Times::Zoned).then(|| TIMEZONE.into());
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
    let (data_type, type_name, remarks) = match column.kind {
        ColumnKind::Time => (time(), "TIMESTAMP(9) WITH TIME ZONE", "time"),
        ColumnKind::Tag => (DataType::Utf8, "VARCHAR", "tag"),
        ColumnKind::Field(FieldType::Float64) => (DataType::Float64, "DOUBLE", "field"),
        ColumnKind::Field(FieldType::Int64) => (DataType::Int64, "BIGINT", "field"),
        ColumnKind::Field(FieldType::UInt64) => (DataType::UInt64, "BIGINT UNSIGNED", "field"),
        ColumnKind::Field(FieldType::Boolean) => (DataType::Boolean, "BOOLEAN", "field"),
        ColumnKind::Field(FieldType::Utf8) => (DataType::Utf8, "VARCHAR", "field"),
        ColumnKind::Field(FieldType::Timestamp) => (time(), "TIMESTAMP(9) WITH TIME ZONE", "field"),
    };
    let flag = |is: bool| if is { "1" } else { "0" };
    let is_text = data_type == DataType::Utf8;
    let metadata: HashMap<String, String> = [
        ("ARROW:FLIGHT:SQL:TABLE_NAME", table.name.as_str()),
        ("ARROW:FLIGHT:SQL:TYPE_NAME", type_name),
        ("ARROW:FLIGHT:SQL:REMARKS", remarks),
        ("ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT", flag(false)),
        ("ARROW:FLIGHT:SQL:IS_CASE_SENSITIVE", flag(is_text)),
        ("ARROW:FLIGHT:SQL:IS_READ_ONLY", flag(false)),
        ("ARROW:FLIGHT:SQL:IS_SEARCHABLE", flag(true)),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let nullable = column.kind != ColumnKind::Time;
    Field::new(&column.name, data_type, nullable).with_metadata(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_names_of_table_types_are_known() {
        assert_eq!(table_type("BASE TABLE"), TABLE);
        assert_eq!(table_type("table"), TABLE);
        assert_eq!(table_type("view"), VIEW);
        assert_eq!(table_type("System Table"), SYSTEM_TABLE);
    }
}
