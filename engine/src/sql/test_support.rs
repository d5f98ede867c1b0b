//! An engine for tests of planning.

use std::sync::Arc;
use std::time::Duration;

use quorate_storage::StoreOptions;
use quorate_wal::RealDisk;
use tempfile::TempDir;

use crate::{Engine, EngineOptions};

/// An empty engine of so many shards, and where it keeps them.
pub(super) async fn engine(shards: u32) -> (TempDir, Arc<Engine>) {
    let dir = TempDir::new().unwrap();
    let options = EngineOptions {
        store: StoreOptions { shards, ..StoreOptions::new(dir.path()) },
        query_timeout: Duration::from_mins(1),
        query_memory_bytes: 256 << 20,
        partitions: 2,
        spill_dir: None,
        file_dir: None,
        summaries: true,
        settings: Vec::new(),
    };
    let engine = Engine::open(RealDisk::shared(), options).await.unwrap();
    (dir, engine)
}
