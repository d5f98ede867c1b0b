//! Writes and deletes: routed, handed to the shards, and answered by one receipt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use quorate_segment::TableId;
use tokio::time::Instant;

use super::{
    Delete, SeriesSelection, ShardId, ShardReceipt, Store, WriteLevel, WriteOptions, WriteReceipt,
};
use crate::Error;
use crate::batch::{TimeSlices, ValidBatch};
use crate::catalog::Table;
use crate::cluster::MetaState;
use crate::scan::TimeRange;
use crate::shard::{
    Command, DeleteCommand, RejectReason, Reply, StoredResult, Submission, TableRecord, WriteItem,
    WriteKey, WriteOutcome, WritePart,
};

/// What one request sends to one shard.
#[derive(Default)]
struct ShardWrite {
    parts: Vec<WritePart>,
    payload: Vec<Bytes>,
    tables: BTreeMap<TableId, TableRecord>,
}

/// How a table goes into an entry.
fn record_of(table: &Table, slices: &TimeSlices) -> TableRecord {
    TableRecord { schema: table.row_schema(), changed_at: table.changed_at, slices: slices.clone() }
}

fn key_of(options: &WriteOptions) -> Option<WriteKey> {
    let (key, chunk) = options.idempotency_key.as_ref()?;
    Some(WriteKey { key: key.as_str().into(), chunk: *chunk, digest: options.digest })
}

/// Routes and encodes; CPU work only.
fn prepare(
    meta: &MetaState,
    batches: Vec<ValidBatch>,
) -> Result<BTreeMap<ShardId, ShardWrite>, Error> {
    let mut writes: BTreeMap<ShardId, ShardWrite> = BTreeMap::new();
    for batch in batches {
        let id = batch.table();
        let table = meta.catalog.tables.get(&id).ok_or(Error::NoTable(id))?;
        let slices = meta.routing.slices(id).ok_or(Error::NoTable(id))?;
        let routing_epoch = meta.routing.epoch(id).ok_or(Error::NoTable(id))?;
        let shard_of = |hash, start| meta.routing.shard(id, hash, start).map_or(0, |s| s.0);
        for (shard, rows) in batch.into_rows().split(&slices, shard_of)? {
            let payload = Bytes::from(rows.encode()?);
            let write = writes.entry(ShardId(shard)).or_default();
            write.parts.push(WritePart {
                table: id,
                routing_epoch,
                rows: rows.rows() as u64,
                bytes: payload.len() as u64,
            });
            write.payload.push(payload);
            write.tables.entry(id).or_insert_with(|| record_of(table, &slices));
        }
    }
    Ok(writes)
}

/// [`Store::write_all`].
pub(super) async fn write_all(
    store: &Store,
    batches: Vec<ValidBatch>,
    options: &WriteOptions,
) -> Result<WriteReceipt, Error> {
    let inner = &store.inner;
    let deadline = options.deadline.unwrap_or(inner.options.write_deadline);
    let catalog_index = batches.iter().map(ValidBatch::catalog_index).max().unwrap_or(0);
    let until = Instant::now() + deadline;
    let writes = prepare(&store.meta_state(), batches)?;
    let key = key_of(options);
    // One damaged shard must not leave a write half done that could have been refused whole.
    for shard in writes.keys() {
        inner.shard(*shard)?;
    }
    let submissions = writes.into_iter().map(|(id, write)| {
        let item = WriteItem {
            catalog_index,
            key: key.clone(),
            rejections: options.rejected.clone(),
            parts: write.parts,
        };
        let tables = write.tables.into_values().collect();
        submit(store, id, Submission { item, tables, payload: write.payload, deadline })
    });
    // Every part is carried through, whatever becomes of the others: a write is atomic per shard only.
    let results = join_all(submissions).await;
    let mut receipt = WriteReceipt { shards: Vec::new(), rejected: options.rejected.clone() };
    let (mut dropped, mut accepted) = (None, 0);
    for result in results {
        let (shard, stored) = result?;
        accepted += stored.accepted;
        if let Some(RejectReason::TableDropped(table)) = stored.reason {
            dropped = Some(table);
        }
        if stored.duplicate {
            receipt.rejected.clone_from(&stored.rejections);
        } else {
            inner.rows_accepted.fetch_add(stored.accepted, Ordering::Relaxed);
        }
        receipt.shards.push(receipt_of(shard, &stored));
    }
    if options.level == WriteLevel::All {
        for part in &receipt.shards {
            inner.shard(part.shard)?.wait_for_all(part.index, until).await?;
        }
    }
    match dropped {
        Some(table) if accepted == 0 => Err(Error::NoTable(table)),
        Some(_) | None => Ok(receipt),
    }
}

fn receipt_of(shard: ShardId, stored: &StoredResult) -> ShardReceipt {
    ShardReceipt {
        shard,
        term: stored.position.term,
        index: stored.position.index,
        accepted: stored.accepted,
        rejected: stored.rejected,
        reason: stored.reason.map(|r| r.to_string()),
        duplicate: stored.duplicate,
    }
}

async fn submit(
    store: &Store,
    id: ShardId,
    mut submission: Submission,
) -> Result<(ShardId, StoredResult), Error> {
    let until = Instant::now() + submission.deadline;
    let inner = &store.inner;
    let shard = inner.shard(id)?;
    let bytes: usize = submission.payload.iter().map(Bytes::len).sum();
    let key = submission.item.key.clone();
    let admits = || shard.admits_writes();
    let _held = inner.budget.hold(bytes as u64, submission.deadline, admits).await?;
    submission.deadline = until.saturating_duration_since(Instant::now());
    let (_, outcome) = shard.submit(submission).await?;
    Ok((id, outcome_of(outcome, key)?))
}

fn outcome_of(outcome: WriteOutcome, key: Option<WriteKey>) -> Result<StoredResult, Error> {
    match outcome {
        WriteOutcome::Stored(stored) => Ok(stored),
        WriteOutcome::KeyReused => {
            let key = key.map_or_else(String::new, |k| k.key.to_string());
            Err(Error::KeyReused { key })
        }
        WriteOutcome::StaleRouting => Err(Error::Stale { what: "the table's routing" }),
    }
}

/// [`Store::time_of_key`].
pub(super) async fn time_of_key(store: &Store, key: &str, proposed: i64) -> Result<i64, Error> {
    let inner = &store.inner;
    let shards = store.meta_state().routing.shards.clone();
    let place = xxhash_rust::xxh3::xxh3_64(key.as_bytes()) % (shards.len().max(1) as u64);
    let place = usize::try_from(place).expect("less than the number of shards");
    let id = *shards.get(place).ok_or_else(|| Error::Internal("no shards".to_owned()))?;
    let shard = inner.shard(id)?;
    let command =
        Command::KeyTime { key: key.into(), proposed, time: inner.options.clock.now_nanos() };
    match shard.propose(&command, inner.options.write_deadline).await? {
        (_, Reply::KeyTime(time)) => Ok(time),
        (_, reply) => Err(Error::Internal(format!("a key's time was answered by {reply:?}"))),
    }
}

/// [`Store::delete`].
pub(super) async fn delete(
    store: &Store,
    delete: Delete,
    options: &WriteOptions,
) -> Result<WriteReceipt, Error> {
    let inner = &store.inner;
    let deadline = options.deadline.unwrap_or(inner.options.write_deadline);
    let meta = store.meta_state();
    if !meta.catalog.tables.contains_key(&delete.table) {
        return Err(Error::NoTable(delete.table));
    }
    let shards = meta.routing.shards_of(delete.table, delete.time);
    let deletes = shards.into_iter().map(|id| delete_in(store, id, &delete, options, deadline));
    let receipts = try_join_all(deletes).await?;
    Ok(WriteReceipt {
        shards: receipts.into_iter().flatten().collect(),
        rejected: options.rejected.clone(),
    })
}

/// Deletes in one shard; nothing is logged where no series matches.
async fn delete_in(
    store: &Store,
    id: ShardId,
    delete: &Delete,
    options: &WriteOptions,
    deadline: Duration,
) -> Result<Option<ShardReceipt>, Error> {
    let shard = store.inner.shard(id)?;
    let series = match &delete.series {
        SeriesSelection::All => None,
        SeriesSelection::Matching(filter) => {
            let view = super::read::view_of(store, id, delete.table, deadline).await?;
            let (filter, time) = (Arc::clone(filter), delete.time);
            let found = tokio::task::spawn_blocking(move || view.series(time, &*filter))
                .await
                .map_err(|e| Error::Internal(format!("finding series: {e}")))??;
            // Under a key it is logged that there was nothing: a retry must not find what came since.
            if found.is_empty() && options.idempotency_key.is_none() {
                return Ok(None);
            }
            Some(found)
        }
    };
    let key = key_of(options);
    let command = Command::Delete(DeleteCommand {
        time: store.inner.options.clock.now_nanos(),
        table: delete.table,
        series,
        range: TimeRange { start: delete.time.start, end: delete.time.end },
        key: key.clone(),
    });
    match shard.propose(&command, deadline).await? {
        (_, Reply::Written(mut outcomes)) if outcomes.len() == 1 => {
            let stored = outcome_of(outcomes.remove(0), key)?;
            Ok(Some(receipt_of(id, &stored)))
        }
        (_, reply) => Err(Error::Internal(format!("a delete was answered by {reply:?}"))),
    }
}
