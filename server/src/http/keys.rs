//! `GET /api/v1/keys/{key}`: what became of a write whose answer was lost.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use quorate_storage::KeyedReceipt;
use serde_json::json;

use super::door::Door;
use super::respond::{HttpError, json_line};

/// Answers with the entries that are committed under an idempotency key. 404 means that there were none when it was asked;
/// a request that is still under way may commit later.
pub(super) async fn key_status(
    State(door): State<Arc<Door>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Response, HttpError> {
    let Path(key) = key.map_err(|e| {
        HttpError::invalid(format!("the key in the address is malformed: {}", e.body_text()))
    })?;
    let engine = door.engine()?;
    let receipts = engine
        .store()
        .key_status(&key)
        .await
        .map_err(|e| HttpError::from(quorate_engine::Error::from(e)))?;
    if receipts.is_empty() {
        return Err(HttpError::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("nothing is committed under the key {key:?} now"),
        ));
    }
    let entries: Vec<_> = receipts.iter().map(entry).collect();
    Ok(json_line(StatusCode::OK, &json!({ "key": key, "committed": entries })))
}

fn entry(receipt: &KeyedReceipt) -> serde_json::Value {
    let KeyedReceipt { chunk, receipt, epoch: _ } = receipt;
    json!({
        "chunk": chunk,
        "shard": receipt.shard.0,
        "term": receipt.term,
        "index": receipt.index,
        "accepted": receipt.accepted,
        "rejected": receipt.rejected,
        "reason": receipt.reason,
    })
}
