//! The store of one node: what the engine holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_wal::Disk;
use serde::{Deserialize, Serialize};

use crate::batch::ValidBatch;
use crate::catalog::{Catalog, CatalogCommand, CatalogReply};
use crate::scan::{SeriesFilter, TableView, TimeRange};
use crate::{Error, LogPosition, TableId};

/// A shard; Raft group `shard + 1` of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

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
    /// Damaged log entries are given up, with a record of what went (`quorate repair --accept-loss`).
    pub accept_loss: bool,
}

impl StoreOptions {
    /// The defaults of `docs/operations.md`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            shards: 8,
            flush_bytes: 64 << 20,
            flush_log_bytes: 1 << 30,
            flush_age: Duration::from_secs(600),
            wal_segment_bytes: 64 << 20,
            write_deadline: Duration::from_secs(30),
            cache_bytes: 256 << 20,
            memory_bytes: 1 << 30,
            accept_loss: false,
        }
    }
}

/// How many replicas must have a write before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteLevel {
    /// A majority has synced it.
    #[default]
    Quorum,
    /// Every voter has synced it.
    All,
}

/// How a write is made.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The client's key and the number of the chunk under it: a repeat has one effect.
    pub idempotency_key: Option<(String, u32)>,
    /// Digest of the client's bytes; a repeat of the key with another one is refused.
    pub digest: Option<[u8; 32]>,
    /// Rejections of the request that the stored result of the key must repeat.
    pub rejected: Vec<String>,
    /// Replicas before the acknowledgement.
    pub level: WriteLevel,
    /// Instead of the store's deadline.
    pub deadline: Option<Duration>,
}

/// One shard's part of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReceipt {
    /// The shard.
    pub shard: ShardId,
    /// Raft term.
    pub term: u64,
    /// Log index.
    pub index: u64,
    /// Rows accepted.
    pub accepted: u64,
    /// Rows rejected by apply (expired, dropped table).
    pub rejected: u64,
    /// Why rows were rejected by apply.
    pub reason: Option<String>,
    /// Whether the key was known: the result is that of the first time.
    pub duplicate: bool,
}

/// What a write did. Atomic per shard, not across shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReceipt {
    /// Per shard, ascending.
    pub shards: Vec<ShardReceipt>,
    /// Rejections of the request: of the first time, if it is a duplicate.
    pub rejected: Vec<String>,
}

/// Which series a delete is about.
#[derive(Clone, Debug)]
pub enum SeriesSelection {
    /// All of the table.
    All,
    /// Those that the filter keeps, found at a read index and then logged by key.
    Matching(Arc<dyn SeriesFilter>),
}

/// A delete by time range and series.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The table.
    pub table: TableId,
    /// Times, both included.
    pub time: TimeRange,
    /// Series.
    pub series: SeriesSelection,
}

/// How fresh a read is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadLevel {
    /// Sees every write acknowledged before it began.
    #[default]
    Linearizable,
    /// Sees the writes of these receipts.
    Session(Vec<ShardReceipt>),
    /// Whatever this node has applied.
    Local,
}

/// One segment, for `system.segments`.
#[derive(Clone, Debug)]
pub struct SegmentStatus {
    /// Its shard.
    pub shard: ShardId,
    /// Start of its time slice, ns.
    pub slice_start: i64,
    /// The job that made it.
    pub job: LogPosition,
    /// Compaction level: 0 is a flush.
    pub level: u32,
    /// What the manifest keeps.
    pub meta: Arc<quorate_segment::SegmentMeta>,
}

/// One table, for `system.tables`.
#[derive(Clone, Debug, Default)]
pub struct TableStatus {
    /// Rows in segments and memtables before deduplication.
    pub rows: u64,
    /// Bytes in segments.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Rows in memtables.
    pub memtable_rows: u64,
    /// Earliest time, ns.
    pub time_min: Option<i64>,
    /// Latest time, ns.
    pub time_max: Option<i64>,
}

/// One shard.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// Which.
    pub shard: ShardId,
    /// Raft.
    pub group: quorate_consensus::GroupStatus,
    /// Bytes in the active and frozen memtables.
    pub memtable_bytes: u64,
    /// Flush jobs that wait or run.
    pub flushes_pending: u64,
    /// Compaction jobs that wait or run.
    pub compactions_pending: u64,
    /// Segments of the current manifest.
    pub segments: u64,
    /// Rows merged by primary key at flush and compaction.
    pub rows_deduplicated: u64,
}

/// Counters of the store, for `/metrics`.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// The log.
    pub wal: quorate_wal::WalStatus,
    /// The shards.
    pub shards: Vec<ShardStatus>,
    /// Rows accepted since start.
    pub rows_accepted: u64,
    /// Writes waiting for memory now.
    pub writes_waiting: u64,
}

/// The store of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Opens a data directory, or makes a new one: log, metadata group, shards; replays what no manifest covers. Ready
    /// to read and write on return.
    pub async fn open(_disk: Arc<dyn Disk>, _options: StoreOptions) -> Result<Self, Error> {
        unimplemented!()
    }
    /// Stops groups and jobs in order and releases the directory. Memtables stay in the log.
    pub async fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// The key that this cluster signs handles and tickets with; kept by the metadata group, the same on every node.
    pub fn cluster_key(&self) -> [u8; 32] {
        unimplemented!()
    }
    /// The catalog as applied on this node.
    pub fn catalog(&self) -> Arc<Catalog> {
        unimplemented!()
    }
    /// The catalog after a metadata read index.
    pub async fn catalog_linearizable(&self) -> Result<Arc<Catalog>, Error> {
        unimplemented!()
    }
    /// Changes the catalog. On return [`Store::catalog`] has the change. A rejection is an error.
    pub async fn change_catalog(&self, _command: CatalogCommand) -> Result<CatalogReply, Error> {
        unimplemented!()
    }
    /// Routes and writes a batch; returns once every shard has committed and applied its part.
    pub async fn write(
        &self,
        _batch: ValidBatch,
        _options: &WriteOptions,
    ) -> Result<WriteReceipt, Error> {
        unimplemented!()
    }
    /// As [`Store::write`], for several batches of one request (one table each): one entry per shard.
    pub async fn write_all(
        &self,
        _batches: Vec<ValidBatch>,
        _options: &WriteOptions,
    ) -> Result<WriteReceipt, Error> {
        unimplemented!()
    }
    /// Deletes by time range and series. `rejected` of the receipt counts nothing; rows deleted are not counted.
    pub async fn delete(
        &self,
        _delete: Delete,
        _options: &WriteOptions,
    ) -> Result<WriteReceipt, Error> {
        unimplemented!()
    }
    /// A view of one table over all shards that may hold rows of it in `time`.
    pub async fn view(
        &self,
        _table: TableId,
        _time: TimeRange,
        _level: &ReadLevel,
    ) -> Result<TableView, Error> {
        unimplemented!()
    }
    /// Flushes the memtables of all shards and waits until the files are durable. For tests and `CHECKPOINT`.
    pub async fn flush(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// Compacts until nothing is left to do. For tests and maintenance.
    pub async fn compact(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// Segments of the current manifests, by shard.
    pub fn segments(&self) -> Vec<SegmentStatus> {
        unimplemented!()
    }
    /// What is known of one table without reading it.
    pub fn table_status(&self, _table: TableId) -> TableStatus {
        unimplemented!()
    }
    /// Counters.
    pub fn status(&self) -> StoreStatus {
        unimplemented!()
    }
    /// Whether every local group has a leader and has caught up.
    pub fn ready(&self) -> bool {
        unimplemented!()
    }
}
