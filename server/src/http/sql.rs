//! `/api/v1/sql`: a statement in, its rows out.
//!
//! Rows are streamed: each batch is encoded on a thread for CPU work when the client has taken the one before, so that a
//! result of any size needs a few batches of memory, in Parquet a row group. What fails before the first batch is an error
//! with its status; what fails later cuts the answer off, which no HTTP client takes for the whole. Columns of JSON are
//! made before the first byte goes out, up to their bound.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use quorate_engine::{Outcome, QueryStream, Session, StatementKind};
use serde_json::json;

use super::body::read_if_any;
use super::door::Door;
use super::packing::Packing;
use super::params::Params;
use super::respond::{HttpError, json_line};
use super::rows::{Form, RowsWriter};
use super::statement::{Statement, row};

/// The parameters of a statement.
const SQL_PARAMETERS: [&str; 4] = ["q", "params", "db", "consistency"];
/// The parameters that InfluxDB 1 has for a query; most are without effect here.
const INFLUXQL_PARAMETERS: [&str; 13] = [
    "q",
    "db",
    "consistency",
    "rp",
    "u",
    "p",
    "epoch",
    "precision",
    "pretty",
    "chunked",
    "chunk_size",
    "params",
    "async",
];

/// `GET /api/v1/sql?q=…`: statements that only read.
pub(super) async fn sql_get(
    State(door): State<Arc<Door>>,
    params: Params,
) -> Result<Response, HttpError> {
    params.only(&SQL_PARAMETERS)?;
    let statement = Statement::from_query(&params)?;
    let packing = Packing::wanted(statement.form, &params.headers)?;
    let session = door.engine()?.session(params.session()?);
    if session.plan(&statement.sql).await?.kind != StatementKind::Query {
        return Err(HttpError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "a statement that changes something is sent by POST",
        ));
    }
    run(&session, statement, packing).await
}

/// `POST /api/v1/sql`: any statement.
pub(super) async fn sql_post(
    State(door): State<Arc<Door>>,
    mut params: Params,
    body: Body,
) -> Result<Response, HttpError> {
    let body = read_if_any(&door, &params.headers, body).await?;
    let statement = Statement::from_body(&mut params, &body.bytes)?;
    drop(body);
    params.only(&SQL_PARAMETERS)?;
    let packing = Packing::wanted(statement.form, &params.headers)?;
    let session = door.engine()?.session(params.session()?);
    run(&session, statement, packing).await
}

async fn run(
    session: &Session,
    statement: Statement,
    packing: Packing,
) -> Result<Response, HttpError> {
    let values = match &statement.values {
        Some(values) if !values.is_empty() => {
            Some(row(values, &session.plan(&statement.sql).await?.parameters)?)
        }
        Some(_) | None => None,
    };
    match session.execute(&statement.sql, values).await? {
        Outcome::Rows(stream) => rows(stream, statement.form, packing).await,
        Outcome::Updated(count) => updated(count, statement.form, packing),
        Outcome::Done => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// One row with the number of rows changed; null where they are not counted.
fn updated(count: Option<u64>, form: Form, mut packing: Packing) -> Result<Response, HttpError> {
    let count = count.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let column: ArrayRef = Arc::new(Int64Array::from(vec![count]));
    let batch = RecordBatch::try_from_iter([("count", column)]).map_err(internal)?;
    let mut writer = writer(form, &batch.schema())?;
    writer.batch(&batch).and_then(|()| writer.finish()).map_err(internal)?;
    let headers = packing.headers(form);
    let mut bytes = packing.pack(writer.take()).map_err(internal)?;
    bytes.extend(packing.finish().map_err(internal)?);
    Ok((headers, bytes).into_response())
}

/// A writer of rows, unless the form that the client wants cannot hold them.
fn writer(form: Form, schema: &Schema) -> Result<RowsWriter, HttpError> {
    RowsWriter::new(form, schema).map_err(|error| match error {
        ArrowError::NotYetImplemented(message) => not_acceptable(message),
        other => internal(other),
    })
}

fn not_acceptable(message: String) -> HttpError {
    HttpError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message)
}

fn internal(error: impl std::fmt::Display) -> HttpError {
    let message = format!("cannot encode the rows: {error}");
    HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}

/// A result on its way.
struct Sending {
    query: QueryStream,
    writer: RowsWriter,
    packing: Packing,
    /// Batches that were taken beforehand.
    first: Option<RecordBatch>,
    done: bool,
}

async fn rows(mut query: QueryStream, form: Form, packing: Packing) -> Result<Response, HttpError> {
    let writer = writer(form, &query.schema)?;
    if form == Form::Columns {
        return columns(query, writer, packing).await;
    }
    // What fails at once still has a status of its own.
    let first = match query.batches.next().await {
        Some(Ok(batch)) => Some(batch),
        Some(Err(error)) => return Err(quorate_engine::Error::from(error).into()),
        None => None,
    };
    let headers = packing.headers(form);
    let sending = Sending { query, writer, packing, done: first.is_none(), first };
    let bytes = futures::stream::unfold(Some(sending), |sending| async move {
        let sending = sending?;
        match sending.next().await {
            Ok((bytes, Some(rest))) => Some((Ok(bytes), Some(rest))),
            Ok((bytes, None)) => Some((Ok(bytes), None)),
            Err(error) => {
                tracing::warn!(%error, "a query failed while its rows were sent");
                Some((Err(error), None))
            }
        }
    });
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// Rows of the form that has no first byte before the last row.
async fn columns(
    mut query: QueryStream,
    mut writer: RowsWriter,
    mut packing: Packing,
) -> Result<Response, HttpError> {
    while let Some(batch) = query.batches.next().await {
        let batch = batch.map_err(quorate_engine::Error::from)?;
        let work = tokio::task::spawn_blocking(move || writer.batch(&batch).map(|()| writer));
        writer = work.await.map_err(internal)?.map_err(|error| match error {
            ArrowError::NotYetImplemented(message) => not_acceptable(message),
            // A value that JSON has no form for: the statement's to change.
            ArrowError::InvalidArgumentError(message) => HttpError::invalid(message),
            other => internal(other),
        })?;
    }
    let headers = packing.headers(Form::Columns);
    let work = tokio::task::spawn_blocking(move || {
        writer.finish().map_err(std::io::Error::other)?;
        let mut bytes = packing.pack(writer.take())?;
        bytes.extend(packing.finish()?);
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = work.await.map_err(internal)?.map_err(internal)?;
    Ok((headers, bytes).into_response())
}

impl Sending {
    /// The next bytes, and what is left.
    async fn next(mut self) -> Result<(Vec<u8>, Option<Self>), std::io::Error> {
        let batch = match self.first.take() {
            Some(batch) => Some(batch),
            None if self.done => None,
            None => self.query.batches.next().await.transpose().map_err(std::io::Error::other)?,
        };
        self.done = batch.is_none();
        tokio::task::spawn_blocking(move || {
            let written = match &batch {
                Some(batch) => self.writer.batch(batch),
                None => self.writer.finish(),
            };
            written.map_err(std::io::Error::other)?;
            let mut bytes = self.packing.pack(self.writer.take())?;
            if self.done {
                bytes.extend(self.packing.finish()?);
                return Ok((bytes, None));
            }
            Ok((bytes, Some(self)))
        })
        .await
        .map_err(std::io::Error::other)?
    }
}

/// `/query` of InfluxDB 1: clients make their database by it before they write. Nothing else of its
/// language is taken.
pub(super) async fn query_v1(
    State(door): State<Arc<Door>>,
    method: Method,
    mut params: Params,
    body: Body,
) -> Result<Response, HttpError> {
    if method == Method::POST {
        let body = read_if_any(&door, &params.headers, body).await?;
        // A form, as clients send it; anything else is left alone.
        let _ = Statement::from_body(&mut params, &body.bytes);
    }
    params.only(&INFLUXQL_PARAMETERS)?;
    let name = params.get("q").and_then(created_database).ok_or_else(|| {
        HttpError::invalid(
            "of InfluxQL only CREATE DATABASE is taken; SQL is answered at /api/v1/sql",
        )
    })?;
    let name = name.replace('"', "\"\"");
    let session = door.engine()?.session(params.session()?);
    session.execute(&format!("CREATE DATABASE IF NOT EXISTS \"{name}\""), None).await?;
    Ok(json_line(StatusCode::OK, &json!({ "results": [{ "statement_id": 0 }] })))
}

/// The name in InfluxDB 1's `CREATE DATABASE "name" WITH …`; what follows the name is ignored.
fn created_database(statement: &str) -> Option<&str> {
    let (create, rest) = statement.trim().split_once(char::is_whitespace)?;
    let (database, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    if !create.eq_ignore_ascii_case("create") || !database.eq_ignore_ascii_case("database") {
        return None;
    }
    let rest = rest.trim_start();
    let name = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(|c: char| c.is_whitespace() || c == ';').next(),
    };
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_create_database_is_understood() {
        for (statement, name) in [
            ("CREATE DATABASE telegraf", Some("telegraf")),
            (" create  database \"tele graf\" WITH DURATION 30d", Some("tele graf")),
            ("CREATE DATABASE x;", Some("x")),
            ("CREATE DATABASE \"\"", None),
            ("CREATE DATABASE", None),
            ("CREATE USER x", None),
            ("SHOW DATABASES", None),
        ] {
            assert_eq!(created_database(statement), name, "{statement}");
        }
    }
}
