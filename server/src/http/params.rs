//! Parameters and headers of requests, as options of a session.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use quorate_engine::SessionOptions;
use quorate_storage::{ReadLevel, WriteLevel};

use super::respond::HttpError;

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 256;

/// The parameters of a request's address, its headers, and where it comes from.
#[derive(Debug)]
pub(super) struct Params {
    query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    peer: Option<SocketAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(|e| {
            HttpError::invalid(format!("the address is malformed: {}", e.body_text()))
        })?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        Ok(Self { query, headers: parts.headers.clone(), peer })
    }
}

impl Params {
    /// Adds parameters from a form.
    pub(super) fn extend(&mut self, form: Vec<(String, String)>) {
        self.query.extend(form);
    }

    /// A parameter; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Refuses parameters that are none of `known`: a misspelt one would be without effect, and nobody would be told.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), HttpError> {
        let unknown = self.query.iter().find(|(name, _)| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |(name, _)| {
            let known = known.join(", ");
            Err(HttpError::invalid(format!("the parameter {name:?} is none of {known}")))
        })
    }

    /// A header.
    pub(super) fn header(&self, name: &str) -> Result<Option<&str>, HttpError> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(HttpError::invalid(format!("header {name} is not UTF-8"))),
        }
    }

    /// The options that parameters and headers give. A parameter goes before the header of the same meaning.
    pub(super) fn session(&self) -> Result<SessionOptions, HttpError> {
        let mut options = SessionOptions {
            database: match self.get("db") {
                Some(database) => Some(database.to_owned()),
                None => self.header("database")?.map(str::to_owned),
            },
            timezone: self.header("timezone")?.map(str::to_owned),
            application: self.header("application-name")?.map(str::to_owned),
            idempotency_key: self.idempotency_key()?,
            client: self.client(),
            ..SessionOptions::default()
        };
        // The header must be right also where the parameter goes before it.
        if let Some(levels) = self.header("consistency")? {
            self.consistency(levels, &mut options)?;
        }
        if let Some(levels) = self.get("consistency") {
            let unset = SessionOptions::default();
            (options.read_level, options.write_level) = (unset.read_level, unset.write_level);
            self.consistency(levels, &mut options)?;
        }
        if let Some(timeout) = self.header("query-timeout")? {
            options.query_timeout = Some(timeout_of(timeout)?);
        }
        Ok(options)
    }

    fn idempotency_key(&self) -> Result<Option<String>, HttpError> {
        let Some(key) = self.header("idempotency-key")? else { return Ok(None) };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(HttpError::invalid(format!(
                "header Idempotency-Key has {} bytes, not 1 to {KEY_BYTES_MAX}",
                key.len()
            )));
        }
        Ok(Some(key.to_owned()))
    }

    /// Levels of reads and writes. `any` and `one` are InfluxDB 1's: they are given more than they ask for.
    fn consistency(&self, levels: &str, options: &mut SessionOptions) -> Result<(), HttpError> {
        for level in levels.split(',').map(str::trim) {
            match level {
                "any" | "one" | "quorum" => options.write_level = WriteLevel::Quorum,
                "all" => options.write_level = WriteLevel::All,
                "linearizable" => options.read_level = ReadLevel::Linearizable,
                "local" => options.read_level = ReadLevel::Local,
                "session" => {
                    let receipt = self.header("quorate-receipt")?.ok_or_else(|| {
                        HttpError::invalid(
                            "consistency session needs the header Quorate-Receipt of the write that must be seen",
                        )
                    })?;
                    let receipts = serde_json::from_str(receipt)
                        .map_err(|e| HttpError::invalid(format!("header Quorate-Receipt: {e}")))?;
                    options.read_level = ReadLevel::Session(receipts);
                }
                other => {
                    return Err(HttpError::invalid(format!(
                        "consistency is {other:?}, none of quorum, all, linearizable, session, local"
                    )));
                }
            }
        }
        Ok(())
    }

    fn client(&self) -> String {
        let agent = self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
        let agent = agent.unwrap_or("http");
        self.peer.map_or_else(|| agent.to_owned(), |peer| format!("{peer} {agent}"))
    }
}

/// A length of time: `30s`, `500ms`, `5m`, `1h`; without a unit, seconds.
fn timeout_of(text: &str) -> Result<Duration, HttpError> {
    let plain = text.trim().parse().map(Duration::from_secs);
    let timeout = plain.or_else(|_| text.parse::<crate::settings::Span>().map(|span| span.0));
    timeout.ok().filter(|timeout| !timeout.is_zero()).ok_or_else(|| {
        HttpError::invalid(format!("header query-timeout is {text:?}, not such as 30s"))
    })
}
