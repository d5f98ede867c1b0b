//! The table in the node: what it has, and what it is given.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use quorate_flight::{Client, ClientError, ClientOutcome};

use super::columns::{Column, Role, Type};
use super::plan::{Plan, quoted};

/// The columns of a stored table; `None` if there is none of the name.
pub(super) async fn columns(
    client: &mut Client,
    table: &str,
) -> Result<Option<Vec<Column>>, String> {
    let rows = match rows(client, &format!("DESCRIBE {}", quoted(table))).await {
        Ok(rows) => rows,
        Err(ClientError::Server { code, message }) if code == "NOT_FOUND" => {
            // It is the table that is not there, or its database.
            return if message.starts_with("database ") { Err(message) } else { Ok(None) };
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut columns = Vec::new();
    for row in rows {
        let text =
            |name: &str| row.iter().find(|(column, _)| column == name).map(|(_, v)| v.as_str());
        let described = || {
            Some(Column {
                name: text("column_name")?.to_owned(),
                data_type: Type::of_sql(text("data_type")?)?,
                role: Role::of_name(text("column_kind")?)?,
            })
        };
        let column = described().ok_or_else(|| {
            format!(
                "{table:?} is no stored table: rows cannot be loaded into a view or a memory table"
            )
        })?;
        columns.push(column);
    }
    Ok(Some(columns))
}

/// Makes the table, or what it lacks; the id of the table.
pub(super) async fn prepare(
    client: &mut Client,
    plan: &Plan,
    database: &str,
) -> Result<u64, String> {
    for statement in plan.statements() {
        client.execute(&statement).await.map_err(|e| e.to_string())?;
    }
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let query = format!(
        "SELECT table_id FROM system.tables WHERE database_name = {} AND table_name = {}",
        literal(database),
        literal(&plan.table)
    );
    let ClientOutcome::Rows { batches, .. } =
        client.execute(&query).await.map_err(|e| e.to_string())?
    else {
        return Err("the node gives no rows of system.tables".to_owned());
    };
    let batches: Vec<RecordBatch> = batches.try_collect().await.map_err(|e| e.to_string())?;
    let ids = batches.iter().filter_map(|b| b.column_by_name("table_id"));
    let mut ids = ids.filter_map(|c| c.as_primitive_opt::<UInt64Type>());
    let id = ids.find(|ids| !ids.is_empty()).map(|ids| ids.value(0));
    id.ok_or_else(|| {
        format!("table {:?} is not among the stored tables of database {database:?}", plan.table)
    })
}

/// Rows as texts by column.
async fn rows(
    client: &mut Client,
    statement: &str,
) -> Result<Vec<Vec<(String, String)>>, ClientError> {
    let ClientOutcome::Rows { batches, .. } = client.execute(statement).await? else {
        return Ok(Vec::new());
    };
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        let schema = batch.schema();
        let mut columns = Vec::new();
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            columns.push((field.name(), cast(array, &DataType::Utf8)?));
        }
        for row in 0..batch.num_rows() {
            let cell = |(name, array): &(&String, arrow::array::ArrayRef)| {
                let texts = array.as_string::<i32>();
                texts.is_valid(row).then(|| ((*name).clone(), texts.value(row).to_owned()))
            };
            rows.push(columns.iter().filter_map(cell).collect());
        }
    }
    Ok(rows)
}
