//! Arrow batches: bulk ingest, `INSERT`, `load`.

use std::sync::Arc;

use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use quorate_storage::batch::{Nulls, ValidBatch};
use quorate_storage::catalog::{Catalog, CatalogCommand, Table, TableOptions};
use quorate_storage::{WriteOptions, WriteReceipt};
use tokio::task::JoinHandle;

use super::batch_plan::BatchPlan;
use super::batch_rows::convert;
use super::cpu::on_cpu;
use super::growth::{Growth, Needed, Overflow, grow};
use super::lines::known_database;
use crate::{Engine, Error, ErrorKind, Session};

/// Rejected rows that are listed; all are counted.
const REJECTED_LISTED: usize = 10_000;
/// How often a batch is planned again because the catalog moved, before the client is asked to retry.
const ATTEMPTS: usize = 16;

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
    /// Names of the tag columns; all text columns if `None` (of a new table; a table that is there has its tags, and
    /// further text columns become fields).
    pub tags: Option<Vec<String>>,
    /// Name of the time column; the table's (`time`), else the only timestamp column, if `None`.
    pub time: Option<String>,
    /// What nulls mean.
    pub nulls: Nulls,
    /// Under an idempotency key: tells what the client sent from anything else, where the batches are computed from
    /// it. Without it, the batches are what the client sent.
    pub digest: Option<[u8; 32]>,
}

/// What an ingest did.
#[derive(Clone, Debug, Default)]
pub struct ColumnsReport {
    /// One per chunk that was written.
    pub receipts: Vec<WriteReceipt>,
    /// Rows stored.
    pub rows: u64,
    /// Rows that were rejected: row number from 0 over all batches, and why; the first 10,000.
    pub rejected: Vec<(u64, String)>,
    /// How many rows were rejected.
    pub rejected_total: u64,
    /// Things to tell the user, such as a renamed time column.
    pub notices: Vec<String>,
}

/// What SQL has no other words for: committed, and not yet where it was wanted.
pub(crate) fn everywhere<'a>(
    receipts: impl IntoIterator<Item = &'a WriteReceipt>,
) -> Result<(), Error> {
    if receipts.into_iter().any(|receipt| receipt.not_everywhere) {
        return Err(Error::request(
            ErrorKind::Timeout,
            "the write is committed by a majority and stays, but was not on every node before the \
             deadline, as consistency 'all' asks for; a repeat under its idempotency key waits again",
        ));
    }
    Ok(())
}

/// A running ingest: batches are written as they come.
#[derive(Debug)]
pub struct ColumnsWriter {
    engine: Arc<Engine>,
    database: String,
    target: TableIngest,
    /// What is still to be done to the table before the first rows.
    mode: IngestMode,
    key: Option<String>,
    options: WriteOptions,
    chunks: u32,
    /// The chunk that is being written, while the next one is converted.
    pending: Option<JoinHandle<Result<WriteReceipt, quorate_storage::Error>>>,
    rows_seen: u64,
    report: ColumnsReport,
}

impl Session {
    /// Begins an ingest: checks the table. Batches follow by [`ColumnsWriter::write`].
    pub async fn ingest(&self, target: TableIngest) -> Result<ColumnsWriter, Error> {
        let options = self.options();
        let database = target.database.clone().or(options.database);
        let database = database.unwrap_or_else(|| "main".to_owned());
        let store = self.engine().store();
        let mut catalog = known_database(store, &database).await?;
        if target.mode == IngestMode::Append && catalog.table(&database, &target.table).is_none() {
            catalog = store.catalog_linearizable().await?;
        }
        let exists = catalog.table(&database, &target.table).is_some();
        match target.mode {
            IngestMode::Create if exists => {
                let what = format!("table {:?} already exists", target.table);
                return Err(Error::request(ErrorKind::Conflict, what));
            }
            IngestMode::Append if !exists => {
                let what = format!("table {:?} does not exist", target.table);
                return Err(Error::request(ErrorKind::NotFound, what));
            }
            _ => {}
        }
        Ok(ColumnsWriter {
            engine: Arc::clone(self.engine()),
            database,
            // Replacing is idempotent by itself; a key of the table that goes must not keep rows from the new one.
            key: options.idempotency_key.filter(|_| target.mode != IngestMode::Replace),
            mode: target.mode,
            target,
            options: WriteOptions {
                level: options.write_level,
                deadline: options.query_timeout,
                ..WriteOptions::default()
            },
            chunks: 0,
            pending: None,
            rows_seen: 0,
            report: ColumnsReport::default(),
        })
    }
}

impl ColumnsWriter {
    /// Writes one batch. The first one makes the table where needed, also if it has no rows. A failure of its last rows
    /// is told by the next call: they are being written while the next batch comes. Under the session's idempotency
    /// key, a retry must bring the same batches.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let digest = self.digest(batch)?;
        let first = self.rows_seen;
        self.rows_seen += batch.num_rows() as u64;
        let (catalog, table, plan) = self.prepare(batch).await?;
        let (source, nulls) = (batch.clone(), self.target.nulls);
        let index = catalog.index;
        let converted = on_cpu(move || {
            let rows = convert(&source, &plan, &table, nulls)?;
            let check = |rows| ValidBatch::check(&table, index, rows).map_err(Error::from);
            let chunks: Result<Vec<ValidBatch>, Error> =
                rows.chunks.into_iter().map(check).collect();
            Ok::<_, Error>((chunks?, rows.rejected))
        });
        let (chunks, rejected) = converted.await??;
        self.report.rejected_total += rejected.len() as u64;
        for (row, why) in rejected {
            if self.report.rejected.len() < REJECTED_LISTED {
                self.report.rejected.push((first + row as u64, why));
            }
        }
        for rows in chunks {
            self.write_chunk(rows, digest).await?;
        }
        Ok(())
    }

    /// Under a key: tells what the client sent from anything else.
    fn digest(&self, batch: &RecordBatch) -> Result<Option<[u8; 32]>, Error> {
        if self.key.is_none() || self.target.digest.is_some() {
            return Ok(self.target.digest);
        }
        let mut hasher = blake3::Hasher::new();
        digest_rows(&mut hasher, batch)?;
        Ok(Some(hasher.finalize().into()))
    }

    /// Waits for the last rows. What was done.
    pub async fn finish(mut self) -> Result<ColumnsReport, Error> {
        self.settle().await?;
        everywhere(&self.report.receipts)?;
        Ok(self.report)
    }

    /// Plans the batch's columns and makes what the table lacks.
    async fn prepare(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<(Arc<Catalog>, Arc<Table>, BatchPlan), Error> {
        let schema = batch.schema();
        let store = self.engine.store().clone();
        for _ in 0..ATTEMPTS {
            let catalog = store.catalog();
            let fresh = matches!(self.mode, IngestMode::Create | IngestMode::Replace);
            let table = catalog.table(&self.database, &self.target.table).filter(|_| !fresh);
            let mut plan = BatchPlan::new(&schema, &self.target, table.map(AsRef::as_ref))?;
            if fresh {
                self.make(&plan).await?;
                continue;
            }
            let columns = plan.definitions();
            let needed = vec![Needed { table: self.target.table.clone(), columns }];
            match grow(&store, &self.database, &catalog, needed, Overflow::Refuse).await? {
                Growth::Done(catalog) => {
                    self.report.notices.append(&mut plan.notices);
                    self.report.notices.dedup();
                    let table = catalog.table(&self.database, &self.target.table);
                    if let Some(table) = table.map(Arc::clone) {
                        return Ok((catalog, table, plan));
                    }
                }
                Growth::Changed(_) => {}
                Growth::Refused { why, .. } => {
                    return Err(quorate_storage::Error::Catalog(why).into());
                }
            }
        }
        let what = format!("table {:?} keeps changing; retry", self.target.table);
        Err(Error::request(ErrorKind::Conflict, what))
    }

    /// Makes the table anew, as `Create` and `Replace` want it.
    async fn make(&mut self, plan: &BatchPlan) -> Result<(), Error> {
        let store = self.engine.store();
        if self.mode == IngestMode::Replace {
            let drop = CatalogCommand::DropTable {
                database: self.database.clone(),
                name: self.target.table.clone(),
                if_exists: true,
            };
            store.change_catalog(drop).await?;
        }
        let create = CatalogCommand::CreateTable {
            database: self.database.clone(),
            name: self.target.table.clone(),
            columns: plan.definitions(),
            options: TableOptions::default(),
            if_not_exists: false,
            extend: false,
        };
        store.change_catalog(create).await?;
        self.report.notices.extend(plan.notices.iter().cloned());
        self.mode = IngestMode::Append;
        Ok(())
    }

    async fn write_chunk(
        &mut self,
        rows: ValidBatch,
        digest: Option<[u8; 32]>,
    ) -> Result<(), Error> {
        let options = WriteOptions {
            idempotency_key: self.key.clone().map(|key| (key, self.chunks)),
            digest,
            ..self.options.clone()
        };
        self.chunks += 1;
        // One after another: where keys repeat, the later row wins.
        self.settle().await?;
        let store = self.engine.store().clone();
        self.pending = Some(tokio::spawn(async move { store.write(rows, &options).await }));
        Ok(())
    }

    /// Waits for the chunk on its way, and reports it.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let receipt = pending.await.map_err(|e| {
            Error::request(ErrorKind::Internal, format!("a write ended without an answer: {e}"))
        })??;
        for shard in &receipt.shards {
            self.report.rows += shard.accepted;
            if shard.rejected > 0 {
                let why = shard.reason.as_deref().unwrap_or("rejected by the shard");
                let why = format!("{} rows of the batch were not stored: {why}", shard.rejected);
                self.report.rejected_total += shard.rejected;
                self.report.rejected.push((self.rows_seen, why));
            }
        }
        self.report.receipts.push(receipt);
        Ok(())
    }
}

/// Tells a batch from any other, by its bytes on the wire.
pub(crate) fn digest_rows(hasher: &mut blake3::Hasher, batch: &RecordBatch) -> Result<(), Error> {
    let failed = |e| Error::request(ErrorKind::Internal, format!("cannot encode the batch: {e}"));
    let mut writer = StreamWriter::try_new(hasher, &batch.schema()).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.finish().map_err(failed)
}
