//! The engine of one node: a store, a DataFusion runtime, and the running queries.

use std::sync::Arc;
use std::time::Duration;

use quorate_storage::{Disk, Store, StoreOptions};

use crate::{Error, QueryId, Session, SessionOptions};

/// A setting as `system.settings` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name, as in the configuration file.
    pub name: String,
    /// Value in force.
    pub value: String,
    /// `default`, `file`, `environment`, `flag`, or `session`.
    pub source: String,
    /// What it does.
    pub description: String,
}

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The store's.
    pub store: StoreOptions,
    /// How long a query may run unless its session says otherwise.
    pub query_timeout: Duration,
    /// Memory of all queries together.
    pub query_memory_bytes: u64,
    /// Streams per scan and operator; 0 = one per core.
    pub partitions: usize,
    /// Where queries spill; under the data directory if `None`.
    pub spill_dir: Option<std::path::PathBuf>,
    /// Shown by `system.settings`.
    pub settings: Vec<Setting>,
}

/// The engine of one node.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Opens the store and the runtime that queries use.
    pub async fn open(_disk: Arc<dyn Disk>, _options: EngineOptions) -> Result<Arc<Self>, Error> {
        unimplemented!()
    }
    /// Cancels the queries and closes the store.
    pub async fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// The store, for status and tests.
    pub fn store(&self) -> &Store {
        unimplemented!()
    }
    /// A session; cheap, one per request is fine.
    pub fn session(self: &Arc<Self>, _options: SessionOptions) -> Session {
        unimplemented!()
    }
    /// Cancels a running query; whether there was one.
    pub fn cancel(&self, _query: QueryId) -> bool {
        unimplemented!()
    }
}
