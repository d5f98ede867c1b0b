//! Memory databases: scratch space on one node.
//!
//! Their tables are DataFusion's own, of any types; nothing of them is written anywhere, replicated, or there after a
//! restart. What all of them hold together is limited.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use parking_lot::RwLock;
use quorate_storage::catalog::View;

use crate::{Error, ErrorKind};

/// The memory databases of a node.
#[derive(Debug)]
pub(crate) struct MemoryDatabases {
    all: RwLock<BTreeMap<String, Arc<MemoryDatabase>>>,
    bytes_max: usize,
    /// Held by each statement that changes one: they change one after the other.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct MemoryDatabase {
    pub(crate) relations: RwLock<BTreeMap<String, Relation>>,
}

/// What a name in a memory database stands for.
#[derive(Clone, Debug)]
pub(crate) enum Relation {
    /// A table.
    Table(Arc<MemTable>),
    /// A view.
    View(View),
}

impl MemoryDatabases {
    /// None, that may come to hold `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { all: RwLock::default(), bytes_max, changing: tokio::sync::Mutex::default() }
    }

    /// One by name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<MemoryDatabase>> {
        self.all.read().get(name).cloned()
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all.read().keys().cloned().collect()
    }

    /// Makes one; whether it was not there.
    pub(crate) fn create(&self, name: &str) -> bool {
        let mut all = self.all.write();
        if all.contains_key(name) {
            return false;
        }
        all.insert(name.to_owned(), Arc::default());
        true
    }

    /// Drops one with all that it holds; whether it was there.
    pub(crate) fn drop_database(&self, name: &str) -> bool {
        self.all.write().remove(name).is_some()
    }

    /// How many bytes more all of them may hold.
    pub(crate) async fn room(&self) -> Result<usize, Error> {
        let databases: Vec<_> = self.all.read().values().cloned().collect();
        let mut bytes = 0;
        for database in databases {
            let relations: Vec<_> = database.relations.read().values().cloned().collect();
            for relation in relations {
                let Relation::Table(table) = relation else { continue };
                for partition in &table.batches {
                    let batches = partition.read().await;
                    bytes += batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
                }
            }
        }
        if bytes >= self.bytes_max { Err(self.full()) } else { Ok(self.bytes_max - bytes) }
    }

    /// How many bytes all of them may hold.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The error for what does not fit.
    pub(crate) fn full(&self) -> Error {
        Error::request(
            ErrorKind::Exhausted,
            format!(
                "the memory databases of this node may hold {} MiB, a quarter of its memory_limit, and this would be \
                 more: drop tables, or keep the rows in a durable database",
                self.bytes_max >> 20
            ),
        )
    }
}
