//! What the store tells of itself, for system tables and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_segment::SegmentCaches;

use super::ShardId;
use crate::cluster::{Member, MetaState, NodeReport};
use crate::{LogPosition, SeriesKey, TableId};

/// The nodes of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// By id.
    pub nodes: Vec<NodeStatus>,
}

/// One node, for `system.nodes` and `system.replicas`.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Which.
    pub member: Member,
    /// What it says of itself, or why it says nothing.
    pub report: Result<NodeReport, String>,
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

/// How rows of a table are placed from a time on, for `system.routing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingStatus {
    /// Start of the first slice, ns; `None` for all of time before the next one.
    pub first_slice: Option<i64>,
    /// Width of a slice, ns.
    pub time_slice_ns: i64,
    /// Over how many tokens the series of a slice spread.
    pub spread: u32,
    /// Whether it is in force; else a change has begun, and is in force from this slice or a later one on once it has ended.
    pub in_force: bool,
}

/// Where rows of one series and time are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    /// The shard.
    pub shard: ShardId,
    /// Epoch of the routing record that says so; 0 for a table's first one.
    pub epoch: u64,
}

/// [`super::Store::routing`].
pub(super) fn routing_of(meta: &MetaState, table: TableId) -> Vec<RoutingStatus> {
    let records = meta.routing.tables.get(&table).into_iter().flatten();
    let records = records.map(|record| RoutingStatus {
        first_slice: Some(record.first_slice).filter(|first| *first > i64::MIN),
        time_slice_ns: record.slice_ns,
        spread: record.spread,
        in_force: true,
    });
    let pending = meta.routing.pending.get(&table).map(|pending| RoutingStatus {
        first_slice: Some(pending.first_slice),
        time_slice_ns: pending.slice_ns,
        spread: pending.spread,
        in_force: false,
    });
    records.chain(pending).collect()
}

/// [`super::Store::place_of`].
pub(super) fn place_of(
    meta: &MetaState,
    table: TableId,
    series: &SeriesKey,
    time: i64,
) -> Option<RowPlace> {
    let slice = meta.routing.slices(table)?.of(time);
    let shard = meta.routing.shard(table, series.hash64(), slice.start)?;
    Some(RowPlace { shard, epoch: meta.routing.later_record(table, slice.start).unwrap_or(0) })
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
    /// Rows that apply refused since the cluster began: older than their table's retention.
    pub rows_expired: u64,
    /// Keyed writes that were repeats, since the cluster began.
    pub writes_duplicate: u64,
    /// Entries applied since start, those of the log that were applied again included.
    pub entries_applied: u64,
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
    /// Reads of segments.
    pub reads: ReadStatus,
}

/// Reads of segments since start, for whatever reason, and the cache of their blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStatus {
    /// Bytes read from disk and verified.
    pub bytes_read: u64,
    /// Bytes that the cache had.
    pub bytes_cached: u64,
    /// Blocks that did not match their hash.
    pub blocks_corrupt: u64,
    /// Rows decoded.
    pub rows_decoded: u64,
    /// Pages that were left out of the row groups that were read.
    pub pages_skipped: u64,
    /// Bytes that the cache holds.
    pub cache_bytes: u64,
}

impl ReadStatus {
    /// Of the caches of a store.
    pub(super) fn of(caches: &SegmentCaches) -> Self {
        let counters = &caches.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            bytes_read: load(&counters.bytes_read),
            bytes_cached: load(&counters.bytes_cached),
            blocks_corrupt: load(&counters.blocks_corrupt),
            rows_decoded: load(&counters.rows_decoded),
            pages_skipped: load(&counters.pages_skipped),
            cache_bytes: caches.bytes_held(),
        }
    }
}
