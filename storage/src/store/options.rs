//! Settings of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_wal::{Clock, Faults, SystemClock};

use crate::cluster::ClusterOptions;

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Data directory.
    pub dir: PathBuf,
    /// Shards of a new cluster.
    pub shards: u32,
    /// Memtable bytes per shard that trigger a flush.
    pub flush_bytes: u64,
    /// Log bytes on the node that trigger flushes.
    pub flush_log_bytes: u64,
    /// Age of the oldest row in a memtable that triggers a flush.
    pub flush_age: Duration,
    /// Size of a log segment.
    pub wal_segment_bytes: u64,
    /// How long a write may wait.
    pub write_deadline: Duration,
    /// Memory for caches of segments.
    pub cache_bytes: u64,
    /// Memtables, frozen ones included, and bytes in flight: above it writes wait.
    pub memory_bytes: u64,
    /// Told the time by.
    pub clock: Arc<dyn Clock>,
    /// Damaged log entries are given up, with a record of what went (`quorate repair --accept-loss`).
    pub accept_loss: bool,
    /// Time between two passes over all segments that look for damage.
    pub scrub_every: Duration,
    /// Bytes per second that such a pass reads at most.
    pub scrub_bytes_per_second: u64,
    /// For simulators only: no setting leads here.
    pub faults: Faults,
    /// The cluster that the node belongs to, or waits for; without it, a node of its own.
    pub cluster: Option<ClusterOptions>,
}

impl StoreOptions {
    /// The defaults of `docs/operations.md`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            shards: 8,
            flush_bytes: 64 << 20,
            flush_log_bytes: 1 << 30,
            flush_age: Duration::from_mins(10),
            wal_segment_bytes: 64 << 20,
            write_deadline: Duration::from_secs(30),
            cache_bytes: 256 << 20,
            memory_bytes: 1 << 30,
            clock: Arc::new(SystemClock::new()),
            accept_loss: false,
            scrub_every: Duration::from_hours(24),
            scrub_bytes_per_second: 32 << 20,
            faults: Faults::default(),
            cluster: None,
        }
    }
}
