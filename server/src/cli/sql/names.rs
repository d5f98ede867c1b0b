//! The names that completion offers, as the server tells them.
//!
//! They are asked for when Tab needs them, and kept until a statement of this session may have changed them, or for a
//! while, as others change them, too. A server that does not answer at once is not asked again for the same Tab: the
//! user waits for an answer that is not needed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use futures::StreamExt;
use quorate_flight::{Client, ClientOutcome};
use quorate_wal::{Clock, SystemClock};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::completion::Names;
use super::session::CURRENT_DATABASE;

/// How long Tab waits for one answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long answers are believed.
const FRESH: Duration = Duration::from_secs(30);

/// Names of one kind: there may be a hundred thousand tables.
const NAMES_MAX: usize = 10_000;

/// Counts the statements that may have changed names.
pub(super) type Changes = Arc<AtomicU64>;

/// Names, asked of the server of a session.
pub(super) struct ServerNames<'a> {
    runtime: &'a Runtime,
    client: Arc<Mutex<Client>>,
    changes: Changes,
    clock: SystemClock,
    known: RefCell<Known>,
    /// The server did not answer during this Tab.
    silent: Cell<bool>,
}

#[derive(Default)]
struct Known {
    /// The count of changes at which they were asked for.
    changes: u64,
    since: Duration,
    /// Answers by the queries that gave them.
    answers: HashMap<String, Vec<String>>,
}

impl<'a> ServerNames<'a> {
    /// Names of what a session sees.
    pub(super) fn new(runtime: &'a Runtime, client: Arc<Mutex<Client>>, changes: Changes) -> Self {
        let (clock, known) = (SystemClock::default(), RefCell::new(Known::default()));
        Self { runtime, client, changes, clock, known, silent: Cell::new(false) }
    }

    /// Begins a Tab: names that may be old are forgotten, and a server that was silent gets another chance.
    pub(super) fn begin(&self) {
        let (changes, now) = (self.changes.load(Ordering::Relaxed), self.clock.monotonic());
        let mut known = self.known.borrow_mut();
        if known.changes != changes || now.saturating_sub(known.since) > FRESH {
            *known = Known { changes, since: now, answers: HashMap::new() };
        }
        self.silent.set(false);
    }

    /// The first column of a query, or nothing.
    fn ask(&self, query: String) -> Vec<String> {
        if let Some(answer) = self.known.borrow().answers.get(&query) {
            return answer.clone();
        }
        if self.silent.get() {
            return Vec::new();
        }
        let asked = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, first_column(&self.client, &query)).await
        });
        let Ok(Some(answer)) = asked else {
            self.silent.set(true);
            return Vec::new();
        };
        self.known.borrow_mut().answers.insert(query, answer.clone());
        answer
    }
}

impl Names for ServerNames<'_> {
    fn databases(&self) -> Vec<String> {
        self.ask("SHOW DATABASES".to_owned())
    }

    fn tables(&self, schema: &str) -> Vec<String> {
        self.ask(format!(
            "SELECT table_name FROM information_schema.tables WHERE table_catalog = {CURRENT_DATABASE} \
             AND table_schema = {} ORDER BY table_name LIMIT {NAMES_MAX}",
            text(schema)
        ))
    }

    fn columns(&self, table: &[String]) -> Vec<String> {
        let (database, schema, name) = match table {
            [name] => (CURRENT_DATABASE.to_owned(), "public", name),
            [schema, name] => (CURRENT_DATABASE.to_owned(), schema.as_str(), name),
            [database, schema, name] => (text(database), schema.as_str(), name),
            _ => return Vec::new(),
        };
        self.ask(format!(
            "SELECT column_name FROM information_schema.columns WHERE table_catalog = {database} \
             AND table_schema = {} AND table_name = {} ORDER BY ordinal_position",
            text(schema),
            text(name)
        ))
    }

    fn functions(&self) -> Vec<String> {
        self.ask(
            "SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY routine_name"
                .to_owned(),
        )
    }
}

async fn first_column(client: &Mutex<Client>, query: &str) -> Option<Vec<String>> {
    let mut client = client.lock().await;
    let ClientOutcome::Rows { mut batches, .. } = client.execute(query).await.ok()? else {
        return None;
    };
    let mut values = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch: RecordBatch = batch.ok()?;
        for row in 0..batch.num_rows() {
            values.push(array_value_to_string(batch.column(0), row).ok()?);
        }
    }
    Some(values)
}

/// A text as SQL writes it.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
