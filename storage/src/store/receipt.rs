//! What is asked of the store, and what it answers: writes, deletes, reads, receipts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scan::{SeriesFilter, TimeRange};
use crate::{SeriesKey, TableId};

/// What is committed under an idempotency key in one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedReceipt {
    /// The chunk of the request.
    pub chunk: u32,
    /// Where it stands, and what it did. The shard that owns the key may have an entry without rows.
    pub receipt: ShardReceipt,
    /// Epoch of the routing record that brought the rows there; 0 for a table's first one.
    pub epoch: u64,
}

/// A shard; Raft group `shard + 1` of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

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
    /// How long it may take, where that is less than the store's deadline.
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

/// What a write did. Atomic per shard, not across shards, nor across a change of the table's routing: rows on both sides of
/// it may be two parts of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReceipt {
    /// Per shard, ascending.
    pub shards: Vec<ShardReceipt>,
    /// Rejections of the request: of the first time, if it is a duplicate.
    pub rejected: Vec<String>,
    /// It was to be on every voter ([`WriteLevel::All`]), and was not before the deadline. It is committed either way.
    pub not_everywhere: bool,
}

/// Which series a delete is about.
#[derive(Clone, Debug)]
pub enum SeriesSelection {
    /// All of the table.
    All,
    /// Those that the filter keeps, found at a read index and then logged by key.
    Matching(Arc<dyn SeriesFilter>),
    /// These.
    These(BTreeSet<SeriesKey>),
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
