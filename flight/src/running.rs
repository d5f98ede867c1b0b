//! The statements that run now, and those that ran once.
//!
//! A ticket names its run. While it runs, [`Running`] finds it for a cancellation by action, and a query whose ticket was
//! cancelled does not run again on this node, whether its rows were asked for before or not; a stream that the client drops
//! needs no such list, the query ends with it. [`RanOnce`] lets a ticket that writes run once on this node however
//! often it is fetched; across nodes the idempotency key in the ticket does the same for rows.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_engine::QueryId;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::session::BoundedMap;

/// How many finished runs of statements that write are remembered.
const RUNS_MAX: usize = 16_384;

/// How many cancelled queries are remembered.
const CANCELLED_MAX: usize = 16_384;

/// The statements that run now, and the queries that shall not run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug)]
struct Entries {
    next: u64,
    runs: HashMap<u64, Entry>,
    cancelled: BoundedMap<Bytes, ()>,
}

impl Default for Entries {
    fn default() -> Self {
        Self { next: 0, runs: HashMap::new(), cancelled: BoundedMap::new(CANCELLED_MAX) }
    }
}

#[derive(Debug)]
struct Entry {
    run: Bytes,
    query: Option<QueryId>,
    token: CancellationToken,
}

/// One run; it leaves the list when dropped.
#[derive(Debug)]
pub(crate) struct RunGuard {
    entries: Arc<Mutex<Entries>>,
    number: u64,
    token: CancellationToken,
}

impl Running {
    /// Enters a run; it begins as cancelled if its query was.
    pub(crate) fn enter(&self, run: Bytes) -> RunGuard {
        let token = CancellationToken::new();
        let mut entries = self.entries.lock();
        if entries.cancelled.get(&run).is_some() {
            token.cancel();
        }
        let number = entries.next;
        entries.next += 1;
        entries.runs.insert(number, Entry { run, query: None, token: token.clone() });
        drop(entries);
        RunGuard { entries: Arc::clone(&self.entries), number, token }
    }

    /// Cancels what runs under this name; `None` if nothing does, else the queries to be cancelled.
    pub(crate) fn cancel(&self, run: &[u8]) -> Option<Vec<QueryId>> {
        let entries = self.entries.lock();
        let mut found = false;
        let mut queries = Vec::new();
        for entry in entries.runs.values().filter(|entry| entry.run == run) {
            found = true;
            entry.token.cancel();
            queries.extend(entry.query);
        }
        found.then_some(queries)
    }

    /// Cancels a query, which has no effect but its rows: what runs of it ends, and it does not run again. Gives the queries to
    /// be cancelled.
    pub(crate) fn cancel_query(&self, run: &Bytes) -> Vec<QueryId> {
        // First, so that a run that enters meanwhile is either refused or found.
        self.entries.lock().cancelled.insert(run.clone(), ());
        self.cancel(run).unwrap_or_default()
    }
}

impl RunGuard {
    /// Notes the query, so that a cancellation reaches it while the client reads nothing.
    pub(crate) fn set_query(&self, query: QueryId) {
        if let Some(entry) = self.entries.lock().runs.get_mut(&self.number) {
            entry.query = Some(query);
        }
    }

    /// Resolves once the run is cancelled.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.entries.lock().runs.remove(&self.number);
    }
}

/// What statements that write gave, by run.
#[derive(Debug)]
pub(crate) struct RanOnce {
    outcomes: Mutex<BoundedMap<Bytes, Arc<OnceCell<Option<u64>>>>>,
}

impl Default for RanOnce {
    fn default() -> Self {
        Self { outcomes: Mutex::new(BoundedMap::new(RUNS_MAX)) }
    }
}

impl RanOnce {
    /// Runs the statement, waits for the one that runs already, or tells what it gave. An error is not remembered: the
    /// next one tries again.
    pub(crate) async fn run(
        &self,
        run: Bytes,
        statement: impl Future<Output = Result<Option<u64>, Status>>,
    ) -> Result<Option<u64>, Status> {
        let cell = {
            let mut outcomes = self.outcomes.lock();
            if let Some(cell) = outcomes.get(&run) {
                cell
            } else {
                let cell = Arc::new(OnceCell::new());
                outcomes.insert(run, Arc::clone(&cell));
                cell
            }
        };
        cell.get_or_try_init(|| statement).await.copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_while_it_runs() {
        let running = Running::default();
        let guard = running.enter(Bytes::from_static(b"a"));
        guard.set_query(QueryId(7));
        assert_eq!(running.cancel(b"b"), None);
        assert!(!guard.token().is_cancelled());
        assert_eq!(running.cancel(b"a"), Some(vec![QueryId(7)]));
        assert!(guard.token().is_cancelled());
        drop(guard);
        assert_eq!(running.cancel(b"a"), None);
        assert!(!running.enter(Bytes::from_static(b"a")).token().is_cancelled());
    }

    #[test]
    fn a_cancelled_query_does_not_run_again() {
        let running = Running::default();
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        let guard = running.enter(a.clone());
        guard.set_query(QueryId(7));
        assert_eq!(running.cancel_query(&a), [QueryId(7)]);
        assert!(guard.token().is_cancelled());
        assert!(running.enter(a).token().is_cancelled());
        assert_eq!(running.cancel_query(&b), []);
        assert!(running.enter(b).token().is_cancelled());
        assert!(!running.enter(Bytes::from_static(b"c")).token().is_cancelled());
    }

    #[tokio::test]
    async fn a_run_happens_once_unless_it_fails() {
        let once = RanOnce::default();
        let run = Bytes::from_static(b"a");
        let failed = once.run(run.clone(), async { Err(Status::unavailable("later")) }).await;
        assert_eq!(failed.unwrap_err().message(), "later");
        assert_eq!(once.run(run.clone(), async { Ok(Some(3)) }).await.unwrap(), Some(3));
        let second = once.run(run, async { panic!("it ran twice") }).await;
        assert_eq!(second.unwrap(), Some(3));
    }
}
