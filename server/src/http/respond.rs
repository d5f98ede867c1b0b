//! Errors as answers.
//!
//! One JSON shape for all paths: `code` and `message` (InfluxDB 2), `error` (InfluxDB 1 and 3) with the same text, and
//! `position` where the place in the statement is known.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quorate_engine::{Error, ErrorKind};
use quorate_storage::with_causes;
use serde_json::{Map, Value, json};

/// Seconds after which a client may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct HttpError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Line and column in the statement.
    position: Option<(u64, u64)>,
}

impl HttpError {
    /// An error with a status of its own.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), position: None }
    }

    /// The request cannot be right.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Later.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// The body is larger than it may be.
    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message =
            format!("the body is larger than {bytes_max} bytes (max_body); send less at once");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    fn json(self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("error".to_owned(), Value::String(self.message.clone()));
        body.insert("code".to_owned(), json!(self.code));
        body.insert("message".to_owned(), Value::String(self.message));
        if let Some((line, column)) = self.position {
            body.insert("position".to_owned(), json!({ "line": line, "column": column }));
        }
        body
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "unsupported"),
            ErrorKind::NotLeader => (StatusCode::SERVICE_UNAVAILABLE, "not_leader"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ErrorKind::Exhausted => (StatusCode::SERVICE_UNAVAILABLE, "exhausted"),
            ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            ErrorKind::Cancelled => (StatusCode::CONFLICT, "cancelled"),
            ErrorKind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let message = match &error {
            Error::Store(cause) => with_causes(cause),
            Error::Syntax { .. } | Error::Request { .. } | Error::Query { .. } => error.to_string(),
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code, message, "a request failed");
        }
        let position = match error {
            Error::Syntax { line, column, .. } => Some((line, column)),
            Error::Request { .. } | Error::Query { .. } => place_in(&message),
            Error::Store(_) => None,
        };
        Self { status, code, message, position }
    }
}

/// The place that the engine puts at the end of a message about a part of a statement.
fn place_in(message: &str) -> Option<(u64, u64)> {
    let (_, place) = message.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(", column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// JSON that ends with a newline, as terminals and line readers want it.
pub(super) fn json_line(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = json_line(status, &Value::Object(self.json()));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_with_the_place() {
        assert_eq!(place_in("no column \"x\" at line 2, column 17"), Some((2, 17)));
        for message in
            ["no place", "x at line 2", "x at line 2, column 3, or so", "at line x, column 1"]
        {
            assert_eq!(place_in(message), None, "{message}");
        }
    }
}
