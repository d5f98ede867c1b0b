//! [`Ahead`]: queries that run while their client is still asking for the rows.
//!
//! A client asks twice, for the schema (`GetFlightInfo`) and for the rows (`DoGet`), and almost always does. So the query
//! starts with the first question: by the time of the second it is planned, and often there are rows.
//!
//! - The rows are those of the moment of the first question, which is when the read began. A client that comes later than
//!   the head start is long, comes again, under other options, or after the catalog has changed, has the query run anew.
//! - What nobody fetches ends after that time, or is never started where [`QUERIES_MAX`] wait already. A query computes
//!   a few batches at most before somebody takes them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_engine::{Engine, Error, Outcome, Session, SessionOptions};
use quorate_storage::catalog::Catalog;
use tokio_util::task::AbortOnDropHandle;

/// Queries that wait for their clients.
const QUERIES_MAX: usize = 64;

/// A query that runs, and gives rows once it is planned.
pub(crate) type Started = AbortOnDropHandle<Result<Outcome, Error>>;

/// The queries, by the names of their runs.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// How long a query waits for its client.
    patience: Duration,
    queries: Arc<Mutex<HashMap<Bytes, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    options: SessionOptions,
    catalog: Arc<Catalog>,
    query: Started,
    /// Takes the entry out in the end.
    _end: AbortOnDropHandle<()>,
}

impl Ahead {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, queries: Arc::default() }
    }

    /// Starts a query.
    pub(crate) fn start(
        &self,
        run: Bytes,
        engine: &Engine,
        session: Session,
        (sql, parameters): (String, Option<arrow::array::RecordBatch>),
    ) {
        if self.queries.lock().len() >= QUERIES_MAX {
            return;
        }
        let (options, catalog) = (session.options(), engine.store().catalog());
        let query = async move { Box::pin(session.execute(&sql, parameters)).await };
        let query = AbortOnDropHandle::new(tokio::spawn(query));
        let end = end(Arc::downgrade(&self.queries), run.clone(), self.patience);
        let end = AbortOnDropHandle::new(tokio::spawn(end));
        self.queries.lock().insert(run, Entry { options, catalog, query, _end: end });
    }

    /// The query of a run, if it was started under these options and over this catalog.
    pub(crate) fn take(
        &self,
        run: &[u8],
        engine: &Engine,
        options: &SessionOptions,
    ) -> Option<Started> {
        let entry = self.queries.lock().remove(run)?;
        let is_same =
            entry.options == *options && Arc::ptr_eq(&entry.catalog, &engine.store().catalog());
        is_same.then_some(entry.query)
    }

    /// Ends a query that waits, if there is one.
    pub(crate) fn cancel(&self, run: &[u8]) {
        let ended = self.queries.lock().remove(run);
        // Outside the lock: what the query holds is let go of here.
        drop(ended);
    }
}

/// Ends a query that nobody fetches.
async fn end(queries: Weak<Mutex<HashMap<Bytes, Entry>>>, run: Bytes, patience: Duration) {
    tokio::time::sleep(patience).await;
    if let Some(queries) = queries.upgrade() {
        let ended = queries.lock().remove(&run);
        // Outside the lock: what the query holds is let go of here.
        drop(ended);
    }
}
