//! Writes and deletes: routed, handed to the shards, and answered by one receipt.
//!
//! A shard that was fenced to a newer routing refuses its part as stale, whole: nothing of it was done. That part alone is
//! routed again, by what the metadata group says now, until the write's deadline. Under an idempotency key, rows that
//! different routing records place go as different writes, each under a key of its own: what a shard has of one attempt by
//! the old routing is then no answer for what the next attempt brings it by the new one.

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
    WriteReceipt, rerouting,
};
use crate::batch::{DecodedBatches, RowBatch, TimeSlices, ValidBatch};
use crate::catalog::Table;
use crate::cluster::MetaState;
use crate::scan::TimeRange;
use crate::shard::{
    Command, DeleteCommand, EPOCH_SEPARATOR, RejectReason, Reply, StoredResult, Submission,
    TableRecord, WriteItem, WriteKey, WriteOutcome, WritePart,
};
use crate::{Error, ErrorKind, blocking};

/// Between two attempts of a keyed write whose outcome is unknown.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Where rows go: to a shard, and under a key as the routing record of this epoch.
type Place = (ShardId, u64);

/// What one request sends to one place.
#[derive(Default)]
struct ShardWrite {
    parts: Vec<WritePart>,
    payload: Vec<Bytes>,
    tables: BTreeMap<TableId, TableRecord>,
}

/// What all parts of a request have in common.
struct Request<'a> {
    options: &'a WriteOptions,
    catalog_index: u64,
    until: Instant,
}

/// What became of what was sent.
#[derive(Default)]
struct Sent {
    stored: Vec<Result<(ShardId, StoredResult), Error>>,
    /// Refused, since they were routed by what is no longer so.
    stale: Vec<ShardWrite>,
}

/// How a table goes into an entry.
fn record_of(table: &Table, slices: &TimeSlices) -> TableRecord {
    TableRecord { schema: table.row_schema(), changed_at: table.changed_at, slices: slices.clone() }
}

fn key_of(options: &WriteOptions, epoch: u64) -> Option<WriteKey> {
    let (key, chunk) = options.idempotency_key.as_ref()?;
    Some(WriteKey { key: WriteKey::placed_by(key, epoch), chunk: *chunk, digest: options.digest })
}

/// Refuses keys that cannot be told from those that are made of them.
fn check_key(options: &WriteOptions) -> Result<(), Error> {
    match &options.idempotency_key {
        Some((key, _)) if key.contains(EPOCH_SEPARATOR) => Err(Error::Invalid(format!(
            "idempotency key {key:?} has a NUL character; use printable ones"
        ))),
        Some(_) | None => Ok(()),
    }
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
        key: key_of(options, 0),
        rejections: options.rejected.clone(),
        parts: Vec::new(),
    };
    let submission = Submission { item, tables: Vec::new(), payload: Vec::new(), deadline };
    submit(store, owner, submission).await.map(|_| ())
}

/// Routes and encodes; CPU work only.
fn prepare(
    decoded: &DecodedBatches,
    meta: &MetaState,
    is_keyed: bool,
    batches: Vec<(TableId, RowBatch)>,
) -> Result<BTreeMap<Place, ShardWrite>, Error> {
    let mut writes: BTreeMap<Place, ShardWrite> = BTreeMap::new();
    for (id, batch) in batches {
        let table = meta.catalog.tables.get(&id).ok_or(Error::NoTable(id))?;
        let routing = &meta.routing;
        let slices = routing.slices(id).ok_or(Error::NoTable(id))?;
        let routing_epoch = routing.epoch(id).ok_or(Error::NoTable(id))?;
        let place_of = |hash, start| {
            let record = routing.later_record(id, start).filter(|_| is_keyed);
            (routing.shard(id, hash, start).unwrap_or(ShardId(0)), record.unwrap_or(0))
        };
        for (place, rows) in batch.split(&slices, place_of)? {
            let payload = Bytes::from(rows.encode()?);
            let write = writes.entry(place).or_default();
            write.parts.push(WritePart {
                table: id,
                routing_epoch,
                rows: rows.rows() as u64,
                bytes: payload.len() as u64,
            });
            write.payload.push(payload.clone());
            write.tables.entry(id).or_insert_with(|| record_of(table, &slices));
            decoded.put(payload, rows);
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
    check_key(options)?;
    let most = inner.options.write_deadline;
    let deadline = options.deadline.map_or(most, |deadline| deadline.min(most));
    let catalog_index = batches.iter().map(ValidBatch::catalog_index).max().unwrap_or(0);
    let request = Request { options, catalog_index, until: Instant::now() + deadline };
    let batches = batches.into_iter().map(|batch| (batch.table(), batch.into_rows())).collect();
    let results = route(store, &request, batches).await?;
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
    receipt.shards.sort_unstable_by_key(|part| (part.shard, part.index));
    wait_for_level(store, options.level, request.until, &mut receipt).await?;
    match dropped {
        Some(table) if accepted == 0 => Err(Error::NoTable(table)),
        Some(_) | None => Ok(receipt),
    }
}

/// Sends rows to where they belong; what is found to be routed by what is no longer so, again.
async fn route(
    store: &Store,
    request: &Request<'_>,
    mut rows: Vec<(TableId, RowBatch)>,
) -> Result<Vec<Result<(ShardId, StoredResult), Error>>, Error> {
    let mut results = Vec::new();
    let mut claimed = false;
    loop {
        let meta = rerouting::routable(store, &rows, request.until).await?;
        let epochs: Vec<_> = rows.iter().map(|(table, _)| meta.routing.epoch(*table)).collect();
        let tables: Vec<TableId> = rows.iter().map(|(table, _)| *table).collect();
        let is_keyed = request.options.idempotency_key.is_some();
        let writes = prepare(&store.inner.decoded, &meta, is_keyed, rows)?;
        let sent = send(store, &meta, request, writes, &mut claimed).await?;
        results.extend(sent.stored);
        if sent.stale.is_empty() {
            return Ok(results);
        }
        // Where another part failed, the request does, and need not be carried further.
        if results.iter().any(Result::is_err) || Instant::now() >= request.until {
            results.push(Err(rerouting::stale()));
            return Ok(results);
        }
        rerouting::catch_up(store, request.until).await?;
        let now = store.meta_state();
        if tables.iter().map(|table| now.routing.epoch(*table)).eq(epochs) {
            // The shards know of a change that the metadata group has lost: nobody knows where its rows are.
            return Err(rerouting::stale());
        }
        rows = rows_of(sent.stale)?;
    }
}

/// For tests: one attempt by metadata that may be old, which is not repeated; how many parts were refused as stale.
#[cfg(test)]
pub(super) async fn route_once(
    store: &Store,
    meta: &MetaState,
    batch: ValidBatch,
    options: &WriteOptions,
) -> usize {
    let until = Instant::now() + store.inner.options.write_deadline;
    let request = Request { options, catalog_index: batch.catalog_index(), until };
    let batches = vec![(batch.table(), batch.into_rows())];
    let is_keyed = options.idempotency_key.is_some();
    let writes = prepare(&store.inner.decoded, meta, is_keyed, batches).expect("it is valid");
    let sent = send(store, meta, &request, writes, &mut false).await.expect("shards answer");
    assert!(sent.stored.iter().all(Result::is_ok));
    sent.stale.len()
}

/// The rows of writes that were not carried out.
fn rows_of(writes: Vec<ShardWrite>) -> Result<Vec<(TableId, RowBatch)>, Error> {
    let parts = writes.into_iter().flat_map(|write| write.parts.into_iter().zip(write.payload));
    parts.map(|(part, payload)| Ok((part.table, RowBatch::decode(&payload)?))).collect()
}

/// Sends each shard its part. The owner of a key is told first, unless it was `claimed` before.
async fn send(
    store: &Store,
    meta: &MetaState,
    request: &Request<'_>,
    mut writes: BTreeMap<Place, ShardWrite>,
    claimed: &mut bool,
) -> Result<Sent, Error> {
    let inner = &store.inner;
    let key = request.options.idempotency_key.as_ref().filter(|_| !writes.is_empty() && !*claimed);
    let owner = key.map(|(key, _)| owner_of(meta, key)).transpose()?;
    // One damaged shard must not leave a write half done that could have been refused whole.
    for shard in writes.keys().map(|(shard, _)| shard).chain(&owner) {
        inner.shard(*shard)?;
    }
    let mut sent = Sent::default();
    if let Some(owner) = owner {
        let write = writes.remove(&(owner, 0));
        let has_rows = write.is_some();
        let (result, write) =
            send_part(store, request, (owner, 0), write.unwrap_or_default()).await;
        match result {
            Err(Error::Stale { .. }) => {
                sent.stale = writes.into_values().chain([write]).collect();
                return Ok(sent);
            }
            result => {
                let stored = result?;
                *claimed = true;
                if has_rows {
                    sent.stored.push(Ok(stored));
                }
            }
        }
    }
    let parts = writes.into_iter().map(|(place, write)| send_part(store, request, place, write));
    // Every part is carried through, whatever becomes of the others: a write is atomic per shard only.
    for (result, write) in join_all(parts).await {
        match result {
            Err(Error::Stale { .. }) => sent.stale.push(write),
            result => sent.stored.push(result),
        }
    }
    Ok(sent)
}

/// Sends one part; gives it back with what became of it.
async fn send_part(
    store: &Store,
    request: &Request<'_>,
    (shard, epoch): Place,
    write: ShardWrite,
) -> (Result<(ShardId, StoredResult), Error>, ShardWrite) {
    let item = WriteItem {
        catalog_index: request.catalog_index,
        key: key_of(request.options, epoch),
        rejections: request.options.rejected.clone(),
        parts: write.parts.clone(),
    };
    let tables = write.tables.values().cloned().collect();
    let deadline = request.until.saturating_duration_since(Instant::now());
    let submission = Submission { item, tables, payload: write.payload.clone(), deadline };
    (submit(store, shard, submission).await, write)
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
            let key = key.split(EPOCH_SEPARATOR).next().unwrap_or_default().to_owned();
            Err(Error::KeyReused { key })
        }
        WriteOutcome::StaleRouting => Err(rerouting::stale()),
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
        let receipts = known.into_iter().map(|(chunk, epoch, stored)| KeyedReceipt {
            chunk,
            receipt: receipt_of(id, &stored),
            epoch,
        });
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
    check_key(options)?;
    // Deletes are not fenced: rows that were placed by a newer routing before the delete began have to be found.
    rerouting::catch_up(store, Instant::now() + deadline).await?;
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
    let key = key_of(options, 0);
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
