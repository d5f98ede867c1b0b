//! The headers of a call: under which options it runs.
//!
//! | header | value |
//! |---|---|
//! | `database` (also `bucket`, `bucket-name`, `iox-namespace-name`) | name of a database |
//! | `timezone` | `Europe/Berlin`, `+02:00` |
//! | `consistency` | `linearizable`, `local`, `session` with `quorate-receipt`; `quorum`, `all`; several with commas |
//! | `query-timeout` | `30s`, `500ms`, `5m`, `1h`; without a unit, seconds |
//! | `application-name` | what the client calls itself, for `system.queries` |
//! | `idempotency-key` | at most 256 bytes; a repeat has no second effect |
//! | `timestamps` | `zoned`, or `naive` for drivers that cannot read times with a zone: UTC then |
//! | `quorate-tags`, `quorate-time` | of bulk ingest: names of the tag columns, of the time column |
//!
//! Headers are what a connection begins with: what the session has changed since (`SET`, `USE`) goes before them. Other
//! headers are ignored, as drivers send every option that they do not know as one.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_engine::SessionOptions;
use quorate_storage::{ReadLevel, ShardReceipt, WriteLevel};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::message::SessionState;
use crate::seal::Seal;
use crate::session::{self, BoundedMap, Holder, TokenId};
use crate::status;
use crate::wire::Times;

/// Names of the header `database`, ours first, then those of InfluxDB's clients.
const DATABASE: [&str; 4] = ["database", "bucket", "bucket-name", "iox-namespace-name"];

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 256;

/// Under which options a call runs, and who holds what it changes.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Options of its session.
    pub(crate) options: SessionOptions,
    /// What the session has changed so far.
    pub(crate) state: SessionState,
    /// Who holds the state.
    pub(crate) holder: Holder,
    /// Header `timestamps`.
    pub(crate) times: Times,
    /// Header `quorate-tags`.
    pub(crate) tags: Option<Vec<String>>,
    /// Header `quorate-time`.
    pub(crate) time: Option<String>,
}

impl Call {
    /// Reads the headers.
    pub(crate) fn read(
        metadata: &MetadataMap,
        peer: Option<SocketAddr>,
        seal: &Seal,
        held: &parking_lot::Mutex<BoundedMap<TokenId, SessionState>>,
    ) -> Result<Self, Status> {
        let headers = Headers(metadata);
        let (holder, state) = held_state(&headers, seal, held)?;
        let mut options = headers.options()?;
        state.apply(&mut options);
        options.stateful = holder != Holder::Nobody;
        options.client = client(&headers, peer)?;
        let tags = headers
            .get("quorate-tags")?
            .map(names)
            .transpose()
            .map_err(|why| status::invalid(format!("header quorate-tags: {why}")))?;
        let time = headers.get("quorate-time")?.map(str::to_owned);
        let times = headers.times()?;
        Ok(Self { options, state, holder, times, tags, time })
    }
}

/// The state that the client's cookie or token stands for.
fn held_state(
    headers: &Headers<'_>,
    seal: &Seal,
    held: &parking_lot::Mutex<BoundedMap<TokenId, SessionState>>,
) -> Result<(Holder, SessionState), Status> {
    for cookie in headers.all("cookie")? {
        if let Some(state) = session::from_cookie(seal, cookie) {
            return Ok((Holder::Cookie, state));
        }
    }
    let token = headers.get("authorization")?.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        session::from_token(seal, token)
    });
    Ok(match token {
        Some(id) => (Holder::Token(id), held.lock().get(&id).unwrap_or_default()),
        None => (Holder::Nobody, SessionState::default()),
    })
}

/// Who asks, for `system.queries`.
fn client(headers: &Headers<'_>, peer: Option<SocketAddr>) -> Result<String, Status> {
    let agent = headers.get("user-agent")?.unwrap_or("flight");
    Ok(match peer {
        Some(peer) => format!("{peer} {agent}"),
        None => agent.to_owned(),
    })
}

struct Headers<'a>(&'a MetadataMap);

impl<'a> Headers<'a> {
    /// The first value of a header; one that is not UTF-8 is an error.
    fn get(&self, name: &str) -> Result<Option<&'a str>, Status> {
        Ok(self.all(name)?.into_iter().next())
    }

    fn all(&self, name: &str) -> Result<Vec<&'a str>, Status> {
        self.0
            .get_all(name)
            .iter()
            .map(|value| {
                std::str::from_utf8(value.as_encoded_bytes())
                    .map_err(|_| status::invalid(format!("header {name} is not UTF-8")))
            })
            .collect()
    }

    fn options(&self) -> Result<SessionOptions, Status> {
        let mut options = SessionOptions { database: self.database()?, ..Default::default() };
        if let Some(zone) = self.get("timezone")? {
            check_timezone(zone)
                .map_err(|why| status::invalid(format!("header timezone: {why}")))?;
            options.timezone = Some(zone.to_owned());
        }
        if let Some(levels) = self.get("consistency")? {
            self.consistency(levels, &mut options)
                .map_err(|why| status::invalid(format!("header consistency: {why}")))?;
        }
        if let Some(timeout) = self.get("query-timeout")? {
            let timeout = parse_duration(timeout)
                .map_err(|why| status::invalid(format!("header query-timeout: {why}")))?;
            options.query_timeout = Some(timeout);
        }
        options.application = self.get("application-name")?.map(str::to_owned);
        options.idempotency_key = self.idempotency_key()?;
        Ok(options)
    }

    fn database(&self) -> Result<Option<String>, Status> {
        for name in DATABASE {
            match self.get(name)? {
                Some("") => return Err(status::invalid(format!("header {name} is empty"))),
                Some(database) => return Ok(Some(database.to_owned())),
                None => {}
            }
        }
        Ok(None)
    }

    fn times(&self) -> Result<Times, Status> {
        match self.get("timestamps")? {
            None | Some("zoned") => Ok(Times::Zoned),
            Some("naive") => Ok(Times::Naive),
            Some(other) => Err(status::invalid(format!(
                "header timestamps: {other:?} is neither zoned nor naive"
            ))),
        }
    }

    fn idempotency_key(&self) -> Result<Option<String>, Status> {
        let Some(key) = self.get("idempotency-key")? else { return Ok(None) };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(status::invalid(format!(
                "header idempotency-key has {} bytes, not 1 to {KEY_BYTES_MAX}",
                key.len()
            )));
        }
        Ok(Some(key.to_owned()))
    }

    fn consistency(&self, levels: &str, options: &mut SessionOptions) -> Result<(), String> {
        for level in levels.split(',').map(str::trim) {
            match level {
                "quorum" => options.write_level = WriteLevel::Quorum,
                "all" => options.write_level = WriteLevel::All,
                "linearizable" => options.read_level = ReadLevel::Linearizable,
                "local" => options.read_level = ReadLevel::Local,
                "session" => options.read_level = ReadLevel::Session(self.receipts()?),
                other => {
                    return Err(format!(
                        "{other:?} is none of linearizable, session, local, quorum, all"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The receipts of writes that a read must see, as a write's `quorate-receipt` gave them.
    fn receipts(&self) -> Result<Vec<ShardReceipt>, String> {
        let text = self
            .get("quorate-receipt")
            .map_err(|status| status.message().to_owned())?
            .ok_or("session needs the header quorate-receipt of the write that must be seen")?;
        serde_json::from_str(text).map_err(|e| format!("quorate-receipt: {e}"))
    }
}

/// Whether Arrow knows the time zone.
pub(crate) fn check_timezone(zone: &str) -> Result<(), String> {
    match quorate_engine::zone_named(zone) {
        Some(_) => Ok(()),
        None => Err(format!("{zone:?} is no time zone, such as Europe/Berlin or +02:00")),
    }
}

/// A length of time: a whole number and `ms`, `s`, `m` or `h`; without a unit, seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is no length of time, such as 500ms, 30s, 5m or 1h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit.trim() {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(ms) {
        Some(0) => Err("it must be more than nothing".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err(wrong()),
    }
}

/// Names between commas; one with a comma in it is quoted as in SQL.
pub(crate) fn names(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_name(quoted)?
        } else {
            let (name, _) = rest.split_once(',').unwrap_or((rest, ""));
            (name.trim().to_owned(), rest.get(name.len()..).unwrap_or_default())
        };
        if name.is_empty() {
            return Err(format!("a name is empty in {text:?}"));
        }
        names.push(name);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) if next.trim().is_empty() => {
                return Err(format!("a name is empty in {text:?}"));
            }
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(format!("a comma is missing before {after:?}")),
        };
    }
    Ok(names)
}

/// The name up to its closing quote, and what follows.
fn quoted_name(text: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
            chars.next();
            name.push('"');
        } else {
            return Ok((name, text.get(at + 1..).unwrap_or_default()));
        }
    }
    Err(format!("a quote is missing after {text:?}"))
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
