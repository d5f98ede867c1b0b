//! Line protocol in, on the paths of InfluxDB 1, 2 and 3.
//!
//! The answer is 204 with the receipt in `Quorate-Receipt`. When some lines are bad, the others are stored and the
//! answer is 400 with the bad ones in InfluxDB 3's form, and the receipt.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quorate_engine::ingest::{LinesReport, Precision};
use serde_json::json;

use super::body::read;
use super::door::Door;
use super::params::Params;
use super::respond::{HttpError, json_line};

/// Response header with the receipt: per shard, where the points stand in its log.
const RECEIPT: &str = "quorate-receipt";

/// InfluxDB 1: `db`, `precision` (default `ns`), `consistency`; `rp`, `u` and `p` are ignored.
pub(super) async fn write_v1(
    State(door): State<Arc<Door>>,
    params: Params,
    body: Body,
) -> Result<Response, HttpError> {
    if params.get("db").is_none() && params.header("database")?.is_none() {
        return Err(HttpError::invalid("the parameter db is missing: name the database"));
    }
    let precision = match params.get("precision") {
        None | Some("ns" | "n") => Precision::Nanosecond,
        Some("us" | "u" | "µs" | "µ") => Precision::Microsecond,
        Some("ms") => Precision::Millisecond,
        Some("s") => Precision::Second,
        Some("m") => Precision::Minute,
        Some("h") => Precision::Hour,
        Some(other) => return Err(unknown_precision(other, "ns, us, ms, s, m, h")),
    };
    let database = params.get("db").map(str::to_owned);
    let request = Request { database: database.clone(), precision, accept_partial: true };
    write(&door, &params, body, request).await.map_err(|error| match database {
        // Telegraf looks for these words before it makes the database and tries again.
        Some(database) if error.status() == StatusCode::NOT_FOUND => {
            let message = format!("database not found: {database:?}; make it by CREATE DATABASE");
            HttpError::new(StatusCode::NOT_FOUND, "not_found", message)
        }
        _ => error,
    })
}

/// InfluxDB 2: `bucket` (a database, or `database/policy`), `precision`; `org` and `orgID` are ignored.
pub(super) async fn write_v2(
    State(door): State<Arc<Door>>,
    params: Params,
    body: Body,
) -> Result<Response, HttpError> {
    let bucket = params
        .get("bucket")
        .ok_or_else(|| HttpError::invalid("the parameter bucket is missing: name the database"))?;
    let precision = match params.get("precision") {
        None | Some("ns") => Precision::Nanosecond,
        Some("us" | "µs") => Precision::Microsecond,
        Some("ms") => Precision::Millisecond,
        Some("s") => Precision::Second,
        Some(other) => return Err(unknown_precision(other, "ns, us, ms, s")),
    };
    // A bucket made from InfluxDB 1 is called `database/retention policy`.
    let known = door.engine()?.store().catalog().database(bucket).is_some();
    let database = match bucket.split_once('/') {
        Some((database, _)) if !known => database,
        _ => bucket,
    };
    let database = Some(database.to_owned());
    write(&door, &params, body, Request { database, precision, accept_partial: true }).await
}

/// InfluxDB 3: `db`, `precision` (default `auto`), `accept_partial` (default true); `no_sync` is ignored: a write is
/// never acknowledged before it is synced.
pub(super) async fn write_v3(
    State(door): State<Arc<Door>>,
    params: Params,
    body: Body,
) -> Result<Response, HttpError> {
    let database = params
        .get("db")
        .ok_or_else(|| HttpError::invalid("the parameter db is missing: name the database"))?;
    let precision = match params.get("precision") {
        None | Some("auto") => Precision::Auto,
        Some("nanosecond" | "ns" | "n") => Precision::Nanosecond,
        Some("microsecond" | "us" | "u") => Precision::Microsecond,
        Some("millisecond" | "ms") => Precision::Millisecond,
        Some("second" | "s") => Precision::Second,
        Some(other) => {
            let known = "auto, nanosecond, microsecond, millisecond, second";
            return Err(unknown_precision(other, known));
        }
    };
    let accept_partial = match params.get("accept_partial") {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let message = format!("accept_partial is {other:?}, neither true nor false");
            return Err(HttpError::invalid(message));
        }
    };
    let database = Some(database.to_owned());
    write(&door, &params, body, Request { database, precision, accept_partial }).await
}

fn unknown_precision(found: &str, known: &str) -> HttpError {
    HttpError::invalid(format!("precision is {found:?}, none of {known}"))
}

/// What the three paths have in common.
struct Request {
    database: Option<String>,
    precision: Precision,
    accept_partial: bool,
}

async fn write(
    door: &Door,
    params: &Params,
    body: Body,
    request: Request,
) -> Result<Response, HttpError> {
    let mut options = params.session()?;
    options.database = request.database.or(options.database);
    let engine = door.engine()?;
    let body = read(door, &params.headers, body).await?;
    let session = engine.session(options);
    let bytes = body.bytes.clone();
    let report = session.write_lines(bytes, request.precision, request.accept_partial).await?;
    door.counters.points(report.points, report.rejected_total);
    answer(&report, request.accept_partial)
}

fn answer(report: &LinesReport, accept_partial: bool) -> Result<Response, HttpError> {
    let mut response = if report.rejected_total == 0 && report.receipt.not_everywhere {
        let body = json!({
            "code": "not_everywhere",
            "message": "the write is committed by a majority and stays, but was not on every node \
                        before the deadline",
        });
        json_line(StatusCode::ACCEPTED, &body)
    } else if report.rejected_total == 0 {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let error = if accept_partial {
            "partial write of line protocol occurred"
        } else {
            "parsing failed for write_lp endpoint"
        };
        let first = report.rejected.first().map_or_else(String::new, |line| {
            format!(", the first in line {}: {}", line.line_number, line.error_message)
        });
        let lines = match report.rejected_total {
            1 => "1 line was".to_owned(),
            n => format!("{n} lines were"),
        };
        let message = format!("{error}: {lines} rejected{first}");
        let body = json!({
            "error": error,
            "code": "invalid",
            "message": message,
            "points_stored": report.points,
            "lines_rejected": report.rejected_total,
            "data": report.rejected,
        });
        json_line(StatusCode::BAD_REQUEST, &body)
    };
    if !report.receipt.shards.is_empty() {
        let receipt = header_json(&report.receipt.shards);
        let receipt = HeaderValue::try_from(receipt).map_err(|e| {
            HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", e.to_string())
        })?;
        response.headers_mut().insert(RECEIPT, receipt);
    }
    Ok(response)
}

/// JSON that a header can carry: visible ASCII only.
fn header_json(value: &impl serde::Serialize) -> String {
    use std::fmt::Write;
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_carries_any_text_as_ascii() {
        let text = header_json(&"é🙂\n");
        assert_eq!(text, r#""\u00e9\ud83d\ude42\n""#);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "é🙂\n");
    }
}
