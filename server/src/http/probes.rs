//! Whether the node lives, serves, and answers like InfluxDB.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::door::Door;
use super::params::Params;
use super::respond::{HttpError, json_line};

/// The version of InfluxDB 1 that clients may take us for: they choose their requests by it.
const INFLUXDB_VERSION: &str = "1.8.10";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// 200 as long as the process answers.
pub(super) async fn health() -> Response {
    let body = json!({
        "name": "quorate",
        "message": "the process is up; /ready tells whether it serves",
        "status": "pass",
        "checks": [],
        "version": VERSION,
    });
    json_line(StatusCode::OK, &body)
}

/// 200 once every local group has a leader and has caught up; 503 before.
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Result<Response, HttpError> {
    let store = door.engine()?.store();
    let refusals = store.refusals();
    if !refusals.is_empty() {
        return Err(HttpError::unavailable(refusals.join("; ")));
    }
    if !store.ready().await {
        return Err(HttpError::unavailable("a group has no leader, or has not caught up"));
    }
    Ok(json_line(StatusCode::OK, &json!({ "status": "ready", "version": VERSION })))
}

/// InfluxDB's greeting.
pub(super) async fn ping(params: Params) -> Response {
    let build = concat!("Quorate ", env!("CARGO_PKG_VERSION"));
    let headers = [("x-influxdb-version", INFLUXDB_VERSION), ("x-influxdb-build", build)];
    if params.get("verbose").is_some_and(|v| v != "false" && v != "0") {
        let body = json_line(StatusCode::OK, &json!({ "version": INFLUXDB_VERSION }));
        return (headers, body).into_response();
    }
    (StatusCode::NO_CONTENT, headers).into_response()
}
