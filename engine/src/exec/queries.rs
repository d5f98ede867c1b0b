//! The registry of running queries: `system.queries`, `KILL QUERY`, and the time limit.
//!
//! A statement that reads takes a [`QueryTicket`] before it is planned; the entry is in the registry until the last
//! clone of its [`QueryGuard`] is dropped, whichever way the query ends: rows exhausted, an error, a client that goes
//! away, a panic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use quorate_storage::{Durations, Histogram};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind, QueryId, SessionOptions};

/// What `system.queries` shows of a running query.
#[derive(Clone, Debug)]
pub(crate) struct RunningQuery {
    pub(crate) sql: String,
    pub(crate) database: String,
    pub(crate) client: String,
    /// What the client calls itself by `SET application_name`, or nothing.
    pub(crate) application: String,
    pub(crate) started: DateTime<Utc>,
    begun: Instant,
    cancel: CancellationToken,
}

impl RunningQuery {
    /// How long it has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whether it was told to end and has not yet.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// The running queries of one node.
#[derive(Debug, Default)]
pub(crate) struct QueryRegistry {
    last_id: AtomicU64,
    running: Mutex<BTreeMap<QueryId, RunningQuery>>,
    durations: Histogram,
}

impl QueryRegistry {
    /// Durations of the queries that have ended, however they did.
    pub(crate) fn durations(&self) -> Durations {
        self.durations.durations()
    }

    /// Registers a query.
    pub(crate) fn begin(
        self: &Arc<Self>,
        sql: &str,
        database: &str,
        session: &SessionOptions,
        timeout: Duration,
    ) -> QueryTicket {
        let id = self.next_id();
        let begun = Instant::now();
        let cancel = CancellationToken::new();
        let query = RunningQuery {
            sql: sql.to_owned(),
            database: database.to_owned(),
            client: session.client.clone(),
            application: session.application.clone().unwrap_or_default(),
            started: Utc::now(),
            begun,
            cancel: cancel.clone(),
        };
        self.running.lock().insert(id, query);
        QueryTicket {
            guard: Arc::new(QueryGuard { id, registry: Arc::clone(self) }),
            cancel,
            timeout,
            // A timeout too long to be a time is none.
            deadline: begun.checked_add(timeout),
        }
    }

    /// An id for an answer that is there already and so never runs.
    pub(crate) fn next_id(&self) -> QueryId {
        QueryId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Tells a query to end; whether it was running.
    pub(crate) fn cancel(&self, id: QueryId) -> bool {
        match self.running.lock().get(&id) {
            Some(query) => {
                query.cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Tells all queries to end.
    pub(crate) fn cancel_all(&self) {
        for query in self.running.lock().values() {
            query.cancel.cancel();
        }
    }

    /// The running queries, oldest first.
    pub(crate) fn list(&self) -> Vec<(QueryId, RunningQuery)> {
        self.running.lock().iter().map(|(id, query)| (*id, query.clone())).collect()
    }
}

/// Keeps a query in the registry.
#[derive(Debug)]
pub(crate) struct QueryGuard {
    id: QueryId,
    registry: Arc<QueryRegistry>,
}

impl Drop for QueryGuard {
    fn drop(&mut self) {
        if let Some(query) = self.registry.running.lock().remove(&self.id) {
            self.registry.durations.observe(query.elapsed());
        }
    }
}

/// A running query's own handle: its registration, and when it must end.
#[derive(Clone, Debug)]
pub(crate) struct QueryTicket {
    guard: Arc<QueryGuard>,
    cancel: CancellationToken,
    timeout: Duration,
    deadline: Option<Instant>,
}

impl QueryTicket {
    /// The query's id.
    pub(crate) fn id(&self) -> QueryId {
        self.guard.id
    }

    /// Runs a step of the query, unless it is killed or its time passes first.
    pub(crate) async fn limit<T>(
        &self,
        step: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let overdue = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Error::request(
                ErrorKind::Cancelled,
                format!("query {} was cancelled", self.id()),
            )),
            () = overdue => Err(Error::request(
                ErrorKind::Timeout,
                format!(
                    "query {} ran longer than its query_timeout of {}",
                    self.id(),
                    crate::sql::format_duration(self.timeout),
                ),
            )),
            outcome = step => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(registry: &Arc<QueryRegistry>, timeout: Duration) -> QueryTicket {
        registry.begin("SELECT 1", "main", &SessionOptions::default(), timeout)
    }

    #[tokio::test]
    async fn a_query_is_listed_until_its_last_handle_is_gone() {
        let registry = Arc::new(QueryRegistry::default());
        let ticket = ticket(&registry, Duration::from_secs(1));
        let id = ticket.id();
        let second = ticket.clone();
        drop(ticket);
        assert_eq!(registry.list().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
        drop(second);
        assert!(registry.list().is_empty());
        assert!(!registry.cancel(id));
    }

    #[tokio::test]
    async fn a_killed_query_and_a_late_query_end_with_different_errors() {
        let registry = Arc::new(QueryRegistry::default());
        let killed = ticket(&registry, Duration::from_mins(1));
        assert!(registry.cancel(killed.id()));
        let error = killed.limit(std::future::pending::<Result<(), Error>>()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);

        let late = ticket(&registry, Duration::from_millis(15));
        let error = late.limit(std::future::pending::<Result<(), Error>>()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("15ms"), "{error}");
        assert_eq!(late.limit(async { Ok(7) }).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}
