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
    Delete, KeyedReceipt, SeriesSelection, ShardId, ShardReceipt, Store, WriteLevel, WriteOptions,
    WriteReceipt,
};
use crate::batch::{TimeSlices, ValidBatch};
use crate::catalog::Table;
use crate::cluster::MetaState;
use crate::scan::TimeRange;
use crate::shard::{
    Command, DeleteCommand, RejectReason, Reply, StoredResult, Submission, TableRecord, WriteItem,
    WriteKey, WriteOutcome, WritePart,
};
use crate::{Error, ErrorKind, blocking};

/// Between two attempts of a keyed write whose outcome is unknown.
const RETRY_AFTER: Duration = Duration::from_millis(50);

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

/// The shard that owns a key: the first that is told of it, whether it gets rows or not. What it knows of the key decides
/// for all of them, so that another body under a used key is refused before any of its rows is stored.
fn owner_of(meta: &MetaState, key: &str) -> Result<ShardId, Error> {
    let shards = &meta.routing.shards;
    let place = xxhash_rust::xxh3::xxh3_64(key.as_bytes()) % (shards.len().max(1) as u64);
    let place = usize::try_from(place).expect("less than the number of shards");
    shards.get(place).copied().ok_or_else(|| Error::Internal("no shards".to_owned()))
}

/// Tells the owner of a key of it, where nothing else goes there.
async fn claim(
    store: &Store,
    owner: ShardId,
    options: &WriteOptions,
    deadline: Duration,
) -> Result<(), Error> {
    let item = WriteItem {
        catalog_index: 0,
        key: key_of(options),
        rejections: options.rejected.clone(),
        parts: Vec::new(),
    };
    let submission = Submission { item, tables: Vec::new(), payload: Vec::new(), deadline };
    submit(store, owner, submission).await.map(|_| ())
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
    let most = inner.options.write_deadline;
    let deadline = options.deadline.map_or(most, |deadline| deadline.min(most));
    let catalog_index = batches.iter().map(ValidBatch::catalog_index).max().unwrap_or(0);
    let until = Instant::now() + deadline;
    let meta = store.meta_state();
    let mut writes = prepare(&meta, batches)?;
    let key = key_of(options);
    let owner = key.as_ref().map(|key| owner_of(&meta, &key.key)).transpose()?;
    // One damaged shard must not leave a write half done that could have been refused whole.
    for shard in writes.keys().chain(&owner) {
        inner.shard(*shard)?;
    }
    let submission = |write: ShardWrite| {
        let item = WriteItem {
            catalog_index,
            key: key.clone(),
            rejections: options.rejected.clone(),
            parts: write.parts,
        };
        let tables = write.tables.into_values().collect();
        Submission { item, tables, payload: write.payload, deadline }
    };
    let mut results = Vec::new();
    if let Some(owner) = owner.filter(|_| !writes.is_empty()) {
        let write = writes.remove(&owner);
        let has_rows = write.is_some();
        let claimed = submit(store, owner, submission(write.unwrap_or_default())).await?;
        if has_rows {
            results.push(Ok(claimed));
        }
    }
    let deadline = until.saturating_duration_since(Instant::now());
    let submissions = writes
        .into_iter()
        .map(|(id, write)| submit(store, id, Submission { deadline, ..submission(write) }));
    // Every part is carried through, whatever becomes of the others: a write is atomic per shard only.
    results.extend(join_all(submissions).await);
    let mut receipt =
        WriteReceipt { rejected: options.rejected.clone(), ..WriteReceipt::default() };
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
    receipt.shards.sort_unstable_by_key(|part| part.shard);
    wait_for_level(store, options.level, until, &mut receipt).await?;
    match dropped {
        Some(table) if accepted == 0 => Err(Error::NoTable(table)),
        Some(_) | None => Ok(receipt),
    }
}

/// Waits until every voter has what is committed, if that is asked for. A deadline that passes is no failure.
async fn wait_for_level(
    store: &Store,
    level: WriteLevel,
    until: Instant,
    receipt: &mut WriteReceipt,
) -> Result<(), Error> {
    if level == WriteLevel::Quorum {
        return Ok(());
    }
    for part in &receipt.shards {
        match store.inner.shard(part.shard)?.wait_for_all(part.index, until).await {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Unknown => receipt.not_everywhere = true,
            Err(e) => return Err(e),
        }
    }
    Ok(())
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
    let mut unknown = None;
    loop {
        match shard.submit(submission.clone()).await {
            // What may have been done is found under its key, by whoever leads now.
            Err(e) if key.is_some() && e.kind() == ErrorKind::Unknown => unknown = Some(e),
            // A later attempt that was refused says nothing of an earlier one.
            Err(e) => return Err(unknown.unwrap_or(e)),
            Ok((_, outcome)) => return Ok((id, outcome_of(outcome, key)?)),
        }
        tokio::time::sleep(RETRY_AFTER).await;
        submission.deadline = until.saturating_duration_since(Instant::now());
        if submission.deadline.is_zero()
            && let Some(unknown) = unknown
        {
            return Err(unknown);
        }
    }
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
    let id = owner_of(&store.meta_state(), key)?;
    let shard = inner.shard(id)?;
    let command =
        Command::KeyTime { key: key.into(), proposed, time: inner.options.clock.now_nanos() };
    match shard.propose(&command, inner.options.write_deadline).await? {
        (_, Reply::KeyTime(time)) => Ok(time),
        (_, reply) => Err(Error::Internal(format!("a key's time was answered by {reply:?}"))),
    }
}

/// [`Store::key_status`].
pub(super) async fn key_status(store: &Store, key: &str) -> Result<Vec<KeyedReceipt>, Error> {
    let inner = &store.inner;
    let shards = store.meta_state().routing.shards.clone();
    let asked = shards.into_iter().map(|id| async move {
        let shard = inner.shard(id)?;
        shard.read_index(inner.options.write_deadline).await?;
        let known = shard.machine().live().state.dedup.of_key(key);
        let receipts = known
            .into_iter()
            .map(|(chunk, stored)| KeyedReceipt { chunk, receipt: receipt_of(id, &stored) });
        Ok::<_, Error>(receipts.collect::<Vec<_>>())
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

/// [`Store::delete`].
pub(super) async fn delete(
    store: &Store,
    delete: Delete,
    options: &WriteOptions,
) -> Result<WriteReceipt, Error> {
    let inner = &store.inner;
    let most = inner.options.write_deadline;
    let deadline = options.deadline.map_or(most, |deadline| deadline.min(most));
    let meta = store.meta_state();
    if !meta.catalog.tables.contains_key(&delete.table) {
        return Err(Error::NoTable(delete.table));
    }
    let mut shards = meta.routing.shards_of(delete.table, delete.time);
    let until = Instant::now() + deadline;
    for shard in &shards {
        inner.shard(*shard)?;
    }
    let mut receipts = Vec::new();
    if let Some((key, _)) = &options.idempotency_key {
        let owner = owner_of(&meta, key)?;
        if shards.contains(&owner) {
            shards.retain(|id| *id != owner);
            receipts.extend(delete_in(store, owner, &delete, options, deadline).await?);
        } else {
            claim(store, owner, options, deadline).await?;
        }
    }
    let deadline = until.saturating_duration_since(Instant::now());
    let deletes = shards.into_iter().map(|id| delete_in(store, id, &delete, options, deadline));
    receipts.extend(try_join_all(deletes).await?.into_iter().flatten());
    receipts.sort_unstable_by_key(|part| part.shard);
    let mut receipt = WriteReceipt {
        shards: receipts,
        rejected: options.rejected.clone(),
        not_everywhere: false,
    };
    wait_for_level(store, options.level, until, &mut receipt).await?;
    Ok(receipt)
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
        SeriesSelection::These(series) => Some(series.iter().cloned().collect()),
        SeriesSelection::Matching(filter) => {
            let view = super::read::view_of(store, id, delete.table, deadline).await?;
            let (filter, time) = (Arc::clone(filter), delete.time);
            let found =
                blocking::run("finding series", move || view.series(time, &*filter)).await?;
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
