//! What a shard keeps in a manifest.
//!
//! The record is the state *as of exactly the manifest's log index*: captured when the `Flush` of that index applies,
//! completed by the files of the jobs up to it. Jobs that were logged up to it and are not finished are listed, so that
//! a restart takes them up again.

use bytes::Bytes;
use quorate_segment::TableId;
use serde::{Deserialize, Serialize};

use crate::shard::{CompactCommand, DedupRecord, TableRecord};
use crate::version::Version;
use crate::{Error, LogPosition};

/// Version of the encoding; the first byte of a body.
const RECORD_VERSION: u8 = 1;

/// A table as a shard's log has described it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableState {
    /// Columns and slice width, of the newest entry.
    pub(crate) record: TableRecord,
}

/// Exact counts of what apply did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Rows that went into a memtable.
    pub(crate) rows_accepted: u64,
    /// Rows older than the table's retention.
    pub(crate) rows_expired: u64,
    /// Rows of dropped tables.
    pub(crate) rows_dropped: u64,
    /// Keyed writes that were known already.
    pub(crate) writes_duplicate: u64,
    /// Rows merged by primary key at flush and compaction.
    pub(crate) rows_deduplicated: u64,
}

/// A compaction that was logged and is not installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PendingCompaction {
    /// Its place in the log: its name.
    pub(crate) position: LogPosition,
    /// What it does.
    pub(crate) command: CompactCommand,
    /// The table's watermark as of its index.
    pub(crate) expired_before: Option<i64>,
}

/// The state of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShardRecord {
    /// Live segments, tombstones, watermarks, dropped tables.
    pub(crate) version: Version,
    /// Tables, ascending by id.
    pub(crate) tables: Vec<TableState>,
    /// Routing epochs below which entries are refused.
    pub(crate) fences: Vec<(TableId, u64)>,
    /// Keys of recent writes.
    pub(crate) dedup: DedupRecord,
    /// The latest leader time in the log, ns.
    pub(crate) time: i64,
    /// Counts.
    pub(crate) counters: Counters,
    /// Compactions that were logged and are not installed, ascending.
    pub(crate) compactions: Vec<PendingCompaction>,
    /// Rows of parts (one table and slice) too small for a segment: [`crate::memtable::SlicePart::encode`].
    pub(crate) checkpoint: Vec<Vec<u8>>,
}

impl ShardRecord {
    /// As the body of a manifest.
    pub(crate) fn encode(&self) -> Result<Bytes, Error> {
        postcard::to_extend(self, vec![RECORD_VERSION])
            .map(Bytes::from)
            .map_err(|e| Error::Internal(format!("cannot encode a shard's manifest: {e}")))
    }

    /// From the body of a manifest.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Error> {
        match body.split_first() {
            Some((&RECORD_VERSION, rest)) => postcard::from_bytes(rest)
                .map_err(|e| Error::Corrupt(format!("a shard's manifest is malformed: {e}"))),
            Some((version, _)) => Err(Error::Corrupt(format!(
                "a shard's manifest has version {version}; this version reads up to \
                 {RECORD_VERSION}"
            ))),
            None => Err(Error::Corrupt("a shard's manifest is empty".to_owned())),
        }
    }
}
