//! Arrow batches: bulk ingest, `INSERT`, `load`.

use datafusion::arrow::record_batch::RecordBatch;
use quorate_storage::WriteReceipt;
use quorate_storage::batch::Nulls;

use crate::{Error, Session};

/// What to do about the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestMode {
    /// It must not be there.
    Create,
    /// It must be there; missing columns are added.
    Append,
    /// It is dropped first.
    Replace,
    /// It is made if it is not there.
    CreateAppend,
}

/// Where and how batches are written.
#[derive(Clone, Debug)]
pub struct TableIngest {
    /// Database; the session's if `None`.
    pub database: Option<String>,
    /// Table.
    pub table: String,
    /// What to do about the table.
    pub mode: IngestMode,
    /// Names of the tag columns; all string columns if `None` (new tables only).
    pub tags: Option<Vec<String>>,
    /// Name of the time column; `time`, else the only timestamp column, if `None` (new tables only).
    pub time: Option<String>,
    /// What nulls mean.
    pub nulls: Nulls,
}

/// What an ingest did.
#[derive(Clone, Debug, Default)]
pub struct ColumnsReport {
    /// Per shard.
    pub receipts: Vec<WriteReceipt>,
    /// Rows stored.
    pub rows: u64,
    /// Rows that were rejected: row number from 0 over all batches, and why.
    pub rejected: Vec<(u64, String)>,
    /// Things to tell the user, such as a renamed time column.
    pub notices: Vec<String>,
}

/// A running ingest: batches are written as they come.
#[derive(Debug)]
pub struct ColumnsWriter {}

impl Session {
    /// Begins an ingest: checks or makes the table. Batches follow by [`ColumnsWriter::write`].
    pub async fn ingest(&self, _target: TableIngest) -> Result<ColumnsWriter, Error> {
        unimplemented!()
    }
}

impl ColumnsWriter {
    /// Writes one batch (a chunk under the session's idempotency key). The first one makes the table where needed.
    pub async fn write(&mut self, _batch: &RecordBatch) -> Result<(), Error> {
        unimplemented!()
    }
    /// What was done.
    pub async fn finish(self) -> Result<ColumnsReport, Error> {
        unimplemented!()
    }
}
