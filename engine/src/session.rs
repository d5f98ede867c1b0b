//! A session: the options of one client, and the statements it runs.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use quorate_storage::{ReadLevel, WriteLevel};

use crate::{Engine, Error, Outcome, StatementPlan};

/// Options of a session, from headers, cookies or `SET`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Current database; `main` unless said.
    pub database: Option<String>,
    /// Time zone of naive literals and of output, `UTC` unless said.
    pub timezone: Option<String>,
    /// How fresh reads are.
    pub read_level: ReadLevel,
    /// Replicas before an acknowledgement.
    pub write_level: WriteLevel,
    /// Instead of the engine's.
    pub query_timeout: Option<Duration>,
    /// A write with a key that was seen has no second effect.
    pub idempotency_key: Option<String>,
    /// Whether the door can hold what `SET` changes (a cookie or a prompt); without it `SET` is an error that names the
    /// call headers.
    pub stateful: bool,
    /// Who asks, for `system.queries`.
    pub client: String,
    /// What the client calls itself, for `system.queries`.
    pub application: Option<String>,
    /// What `PREPARE` has kept.
    pub prepared: Vec<PreparedText>,
}

/// A statement that `PREPARE` has kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreparedText {
    /// Its name.
    pub name: String,
    /// Types of its parameters as they were written, if they were.
    pub types: Vec<String>,
    /// The statement.
    pub text: String,
}

impl PreparedText {
    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.name.len() + self.text.len() + self.types.iter().map(String::len).sum::<usize>()
    }
}

/// A session.
#[derive(Debug)]
pub struct Session {
    engine: Arc<Engine>,
    options: Mutex<SessionOptions>,
    /// What `now()` is: the statement's start unless its key has a time.
    now: Option<i64>,
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, options: SessionOptions) -> Self {
        Self { engine, options: Mutex::new(options), now: None }
    }

    /// The same session with a fixed `now()`, in ns.
    pub(crate) fn at(&self, now: i64) -> Self {
        let options = Mutex::new(self.options());
        Self { engine: Arc::clone(&self.engine), options, now: Some(now) }
    }

    /// The fixed `now()`, in ns.
    pub(crate) fn now(&self) -> Option<i64> {
        self.now
    }

    /// Its options as they are now.
    pub fn options(&self) -> SessionOptions {
        self.options.lock().clone()
    }

    /// Parses and plans a statement without running it.
    pub async fn plan(&self, sql: &str) -> Result<StatementPlan, Error> {
        crate::sql::plan(self, sql, None).await
    }

    /// Plans a statement whose parameters have values. A query's schema is the one that it has with them.
    pub async fn plan_bound(
        &self,
        sql: &str,
        parameters: Option<RecordBatch>,
    ) -> Result<StatementPlan, Error> {
        crate::sql::plan(self, sql, parameters).await
    }

    /// Runs a statement. `parameters` has one column per parameter; a statement runs once per row of
    /// them, and the rows that a query gives come one after another.
    pub async fn execute(
        &self,
        sql: &str,
        parameters: Option<RecordBatch>,
    ) -> Result<Outcome, Error> {
        crate::sql::execute(self, sql, parameters).await
    }

    /// The engine it belongs to.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Changes the options.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut SessionOptions) -> T) -> T {
        change(&mut self.options.lock())
    }
}
