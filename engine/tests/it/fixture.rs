//! An engine on a temporary directory, and answers as text.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use quorate_engine::{Engine, EngineOptions, Error, Outcome, Session, SessionOptions};
use quorate_storage::StoreOptions;
use quorate_wal::RealDisk;
use tempfile::TempDir;

/// An engine and its directory.
pub(crate) struct Fixture {
    pub(crate) engine: Arc<Engine>,
    pub(crate) session: Session,
    dir: TempDir,
}

fn options(dir: &TempDir) -> EngineOptions {
    EngineOptions {
        store: StoreOptions { shards: 2, ..StoreOptions::new(dir.path()) },
        query_timeout: Duration::from_mins(1),
        query_memory_bytes: 256 << 20,
        partitions: 2,
        spill_dir: None,
        file_dir: None,
        summaries: true,
        settings: Vec::new(),
    }
}

/// Options of a session that keeps what `SET` says.
pub(crate) fn stateful() -> SessionOptions {
    SessionOptions { stateful: true, client: "test".to_owned(), ..SessionOptions::default() }
}

impl Fixture {
    /// A fresh engine.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A fresh engine with other options.
    pub(crate) async fn with(change: impl FnOnce(&mut EngineOptions)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut options = options(&dir);
        change(&mut options);
        let engine = Engine::open(RealDisk::shared(), options).await.unwrap();
        let session = engine.session(stateful());
        Self { engine, session, dir }
    }

    /// Its data directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The same directory, opened again.
    pub(crate) async fn restart(self) -> Self {
        self.engine.close().await.unwrap();
        drop((self.session, self.engine));
        let engine = Engine::open(RealDisk::shared(), options(&self.dir)).await.unwrap();
        let session = engine.session(stateful());
        Self { engine, session, dir: self.dir }
    }

    /// Runs a statement that must work.
    pub(crate) async fn run(&self, sql: &str) -> Outcome {
        run(&self.session, sql, None).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Rows of a query: values separated by spaces, rows in order.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.session, sql, None).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Checks the rows of a query.
    pub(crate) async fn check(&self, sql: &str, want: &[&str]) {
        assert_eq!(self.rows(sql).await, want, "{sql}");
    }

    /// Checks that a statement fails, and how.
    pub(crate) async fn check_error(&self, sql: &str, text: &str) -> Error {
        let error = match rows(&self.session, sql, None).await {
            Ok(rows) => panic!("{sql}: {rows:?}"),
            Err(error) => error,
        };
        assert!(error.to_string().contains(text), "{sql}: {error}");
        error
    }

    /// The table of most tests: two series with two rows, and one without a region.
    pub(crate) async fn cpu(self) -> Self {
        self.run(
            "CREATE TABLE cpu (time TIMESTAMP NOT NULL, host STRING, region STRING, usage DOUBLE, n BIGINT,
             PRIMARY KEY (host, region, time))",
        )
        .await;
        self.run(
            "INSERT INTO cpu (time, host, region, usage, n) VALUES
             ('2024-01-01T00:00:00Z', 'a', 'eu', 1, 10), ('2024-01-01T00:01:00Z', 'a', 'eu', 2, 20),
             ('2024-01-01T00:00:00Z', 'b', 'us', 3, NULL), ('2024-01-01T00:02:00Z', 'b', 'us', 4, 40),
             ('2024-01-01T00:00:00Z', 'c', NULL, 5, 50)",
        )
        .await;
        self
    }
}

/// Runs a statement.
pub(crate) async fn run(
    session: &Session,
    sql: &str,
    parameters: Option<RecordBatch>,
) -> Result<Outcome, Error> {
    session.execute(sql, parameters).await
}

/// The batches of an answer.
pub(crate) async fn collect(outcome: Outcome) -> Result<Vec<RecordBatch>, Error> {
    match outcome {
        Outcome::Rows(stream) => Ok(stream.batches.try_collect().await?),
        Outcome::Updated(_) | Outcome::Done => Ok(Vec::new()),
    }
}

/// Rows of a statement as text.
pub(crate) async fn rows(
    session: &Session,
    sql: &str,
    parameters: Option<RecordBatch>,
) -> Result<Vec<String>, Error> {
    let batches = collect(run(session, sql, parameters).await?).await?;
    Ok(batches.iter().flat_map(text).collect())
}

fn text(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect::<Vec<_>>();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" "))
        .collect()
}
