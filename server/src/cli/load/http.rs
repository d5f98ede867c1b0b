//! Line protocol to the node, over HTTP.

use std::time::Duration;

use quorate_storage::ShardReceipt;
use serde::Deserialize;
use ureq::Agent;
use ureq::http::{HeaderValue, Response};

use super::send::SendError;

/// How long the node may take to answer: longer than its own deadline for writes is by default.
const ANSWER_MAX: Duration = Duration::from_mins(2);

/// Unit of the timestamps of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Precision {
    /// Seconds, milliseconds, microseconds or nanoseconds, whichever is near the present.
    Auto,
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl Precision {
    /// Its name in a request.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
        }
    }
}

/// A line that the node did not store.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RejectedLine {
    /// From 1, within what was sent; 0 for points that a shard refused.
    pub(super) line_number: u64,
    pub(super) error_message: String,
}

/// What became of lines.
#[derive(Clone, Debug, Default)]
pub(super) struct LinesAnswer {
    pub(super) receipts: Vec<ShardReceipt>,
    /// How many lines were rejected, and those that are listed.
    pub(super) rejected_total: u64,
    pub(super) rejected: Vec<RejectedLine>,
}

/// The body of an answer to a write that was not done in whole.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
    lines_rejected: Option<u64>,
    #[serde(default)]
    data: Vec<RejectedLine>,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub(super) struct LineWriter {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl LineWriter {
    /// For a node at `http://host:port`, or `host:port`.
    pub(super) fn new(
        addr: &str,
        database: &str,
        precision: Precision,
        token: Option<String>,
    ) -> Result<Self, String> {
        let (scheme, rest) = addr.split_once("://").unwrap_or(("http", addr));
        if scheme != "http" {
            return Err(format!("{addr}: {scheme} is not supported; write http://host:port"));
        }
        let rest = rest.trim_end_matches('/');
        let url = format!(
            "http://{rest}/api/v3/write_lp?db={}&precision={}",
            percent_encoded(database),
            precision.name()
        );
        let config = Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(ANSWER_MAX)).build().into();
        Ok(Self { agent, url, token })
    }

    /// Whether anybody answers: a load does not begin by waiting for a node that is not there. Blocks.
    pub(super) fn reach(&self) -> Result<(), String> {
        let place = self.place();
        match self.agent.get(format!("{place}/health")).call() {
            Ok(_) => Ok(()),
            Err(e) => Err(unreachable(place, &e)),
        }
    }

    fn place(&self) -> &str {
        self.url.split("/api/").next().unwrap_or_default()
    }

    /// Writes lines under a key. Blocks.
    pub(super) fn write(&self, key: &str, lines: &[u8]) -> Result<LinesAnswer, SendError> {
        let mut request = self.agent.post(&self.url).header("Idempotency-Key", key);
        if let Some(token) = &self.token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        let lost = |e: ureq::Error| SendError::Later(unreachable(self.place(), &e));
        let mut response = request.send(lines).map_err(lost)?;
        let body = response.body_mut().read_to_string().map_err(lost)?;
        answer(&response, &body)
    }
}

fn unreachable(place: &str, error: &ureq::Error) -> String {
    format!("cannot reach {place} over HTTP: {error}; --http-addr says where the node serves it")
}

fn answer<B>(response: &Response<B>, body: &str) -> Result<LinesAnswer, SendError> {
    let receipts = response.headers().get("quorate-receipt").map(HeaderValue::as_bytes);
    let receipts = match receipts.map(serde_json::from_slice).transpose() {
        Ok(receipts) => receipts.unwrap_or_default(),
        Err(e) => {
            return Err(SendError::Final(format!("the receipt of a write is malformed: {e}")));
        }
    };
    let status = response.status().as_u16();
    if status == 204 {
        return Ok(LinesAnswer { receipts, ..LinesAnswer::default() });
    }
    let refusal: Option<Refusal> = serde_json::from_str(body).ok();
    let message = match &refusal {
        Some(refusal) if !refusal.message.is_empty() => refusal.message.clone(),
        _ => format!("the node answers {status}: {}", body.trim()),
    };
    match (status, refusal) {
        (400, Some(Refusal { lines_rejected: Some(rejected_total), data, .. })) => {
            Ok(LinesAnswer { receipts, rejected_total, rejected: data })
        }
        (413, _) => Err(SendError::Final(format!("{message}; max_body of the node is too small"))),
        (502..=504, _) => Err(SendError::Later(message)),
        _ => Err(SendError::Final(message)),
    }
}

/// A text as a parameter of an address.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<LinesAnswer, SendError> {
        answer(&Response::builder().status(status).body(()).unwrap(), body)
    }

    #[test]
    fn rejected_lines_are_no_failure_and_other_refusals_are() {
        let body = r#"{"code":"invalid","message":"m","lines_rejected":2,"data":[{"line_number":3,"error_message":"why","original_line":"x"}]}"#;
        let got = read(400, body).unwrap();
        assert_eq!((got.rejected_total, got.rejected[0].line_number), (2, 3));
        let got = read(400, r#"{"code":"invalid","message":"no such unit"}"#).unwrap_err();
        assert!(matches!(got, SendError::Final(message) if message == "no such unit"));
        let got = read(503, "starting").unwrap_err();
        assert!(matches!(got, SendError::Later(message) if message.contains("starting")));
    }

    #[test]
    fn a_database_may_have_any_name() {
        assert_eq!(percent_encoded("a b&ü-1"), "a%20b%26%C3%BC-1");
        let error = LineWriter::new("https://h:1", "main", Precision::Ns, None).unwrap_err();
        assert!(error.contains("https"), "{error}");
    }
}
