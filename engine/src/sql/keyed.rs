//! Statements that write under an idempotency key: what a retry must repeat, and what it must find unchanged.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Visit, visit_expressions};

use super::parameters::Parameters;
use crate::{Error, Session};

/// A statement that writes, under its session's key if it has one.
pub(super) struct Keyed<'a> {
    given: &'a Session,
    /// The session with the key's time.
    fixed: Option<Session>,
    digest: Option<[u8; 32]>,
}

impl<'a> Keyed<'a> {
    /// Fixes what `now()` is to the key's time, which is the same at every retry; rows are routed by it. The digest is
    /// of what the client sent: the rows that are computed from it may differ at a retry.
    pub(super) async fn begin(
        given: &'a Session,
        sql: &str,
        statement: &(impl Visit + Sync),
        parameters: &Parameters,
    ) -> Result<Self, Error> {
        let options = given.options();
        let Some(key) = &options.idempotency_key else {
            return Ok(Self { given, fixed: None, digest: None });
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"statement 1");
        let zone = super::settings::time_zone(&options)?;
        for text in [super::current_database(&options), &zone, sql] {
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        parameters.digest(&mut hasher)?;
        let fixed = if calls_functions(statement) {
            let store = given.engine().store();
            let now = given.engine().options().store.clock.now_nanos();
            Some(given.at(store.time_of_key(key, now).await?))
        } else {
            None
        };
        Ok(Self { given, fixed, digest: Some(hasher.finalize().into()) })
    }

    /// The session to run in.
    pub(super) fn session(&self) -> &Session {
        self.fixed.as_ref().unwrap_or(self.given)
    }

    /// Tells what the client sent from anything else; `None` without a key.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        self.digest
    }
}

/// Whether a function is called: only then can the time matter, and asking for a key's time costs a log entry.
fn calls_functions(statement: &impl Visit) -> bool {
    let found = visit_expressions(statement, |expr| match expr {
        Expr::Function(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
