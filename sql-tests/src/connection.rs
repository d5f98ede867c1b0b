//! sqllogictest over Flight SQL.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use quorate_flight::{Client, ClientError, ClientOutcome};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};

/// An error of a statement.
#[derive(Debug)]
pub struct SltError(String);

impl std::fmt::Display for SltError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SltError {}

impl From<ClientError> for SltError {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

/// A connection that runs the statements of `.slt` files.
#[derive(Debug)]
pub struct Connection {
    client: Client,
}

impl Connection {
    /// Over an open client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait::async_trait]
impl AsyncDB for Connection {
    type Error = SltError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, SltError> {
        match self.client.execute(sql).await? {
            ClientOutcome::Updated(rows) => Ok(DBOutput::StatementComplete(rows.unwrap_or(0))),
            ClientOutcome::Rows { schema, batches } => {
                let batches: Vec<RecordBatch> = batches.try_collect().await?;
                let types = column_types(&schema);
                let mut rows = Vec::new();
                for batch in &batches {
                    append_rows(batch, &mut rows)?;
                }
                Ok(DBOutput::Rows { types, rows })
            }
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "quorate"
    }
}

fn column_types(schema: &SchemaRef) -> Vec<DefaultColumnType> {
    let of = |data_type: &DataType| match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => DefaultColumnType::Text,
        t if t.is_integer() => DefaultColumnType::Integer,
        t if t.is_floating() || matches!(t, DataType::Decimal128(..)) => {
            DefaultColumnType::FloatingPoint
        }
        _ => DefaultColumnType::Any,
    };
    schema.fields().iter().map(|field| of(field.data_type())).collect()
}

fn append_rows(batch: &RecordBatch, rows: &mut Vec<Vec<String>>) -> Result<(), SltError> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch.columns().iter().map(|array| ArrayFormatter::try_new(array, &options));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|e| SltError(e.to_string()))?;
    for row in 0..batch.num_rows() {
        let cell =
            |(column, formatter): (usize, &ArrayFormatter<'_>)| cell(batch, column, row, formatter);
        rows.push(columns.iter().enumerate().map(cell).collect());
    }
    Ok(())
}

/// Text of one value: floats print so that they read back exactly, empty text is visible.
fn cell(batch: &RecordBatch, column: usize, row: usize, formatter: &ArrayFormatter<'_>) -> String {
    let array = batch.column(column);
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    if array.data_type() == &DataType::Float64 {
        return array.as_primitive::<Float64Type>().value(row).to_string();
    }
    let text = formatter.value(row).to_string();
    if text.is_empty() {
        "(empty)".to_owned()
    } else {
        text.replace(' ', "\u{b7}").replace('\n', "\\n")
    }
}
