//! Read views: after a read index (or a receipt), what every shard holds of a table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use quorate_segment::TableId;

use super::core::Inner;
use super::{ReadLevel, ShardId, Store};
use crate::Error;
use crate::catalog::Table;
use crate::cluster::MetaState;
use crate::scan::{ShardRows, TableView, TimeRange};
use crate::shard::{Live, Shard};

/// For more tables than this, all shards are asked instead of finding out which may hold rows.
const ROUTED_TABLES_MAX: usize = 64;

/// How many tables are viewed while a shard is locked: writes wait meanwhile.
const LOCKED_TABLES_MAX: usize = 256;

/// How often a session's read looks whether its receipt was applied.
const SESSION_POLL: Duration = Duration::from_millis(2);

/// [`Store::view`].
pub(super) async fn view(
    store: &Store,
    table: TableId,
    time: TimeRange,
    level: &ReadLevel,
) -> Result<TableView, Error> {
    let meta = fresh_meta(store, &[table], level).await?;
    let record = meta.catalog.tables.get(&table).ok_or(Error::NoTable(table))?;
    let shards = meta.routing.shards_of(table, time);
    let rows = shards.into_iter().map(|id| rows_of(store, id, record, time, level));
    let rows = try_join_all(rows).await?;
    Ok(TableView::new(Arc::clone(record), rows))
}

/// [`Store::views`].
pub(super) async fn views(
    store: &Store,
    tables: &[TableId],
    time: TimeRange,
    level: &ReadLevel,
) -> Result<Vec<TableView>, Error> {
    let inner = &store.inner;
    let meta = fresh_meta(store, tables, level).await?;
    // One that was dropped meanwhile is none of those that the caller would find now.
    let record = |table| meta.catalog.tables.get(table).ok_or(Error::Stale { what: "the tables" });
    let records = tables.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let shards: BTreeSet<ShardId> = if tables.len() <= ROUTED_TABLES_MAX {
        tables.iter().flat_map(|table| meta.routing.shards_of(*table, time)).collect()
    } else {
        meta.routing.shards.iter().copied().collect()
    };
    try_join_all(shards.iter().map(|id| wait_fresh(store, *id, level))).await?;
    let mut rows: Vec<Vec<ShardRows>> = vec![Vec::new(); records.len()];
    for id in shards {
        let shard = inner.shard(id)?;
        let chunks = records.chunks(LOCKED_TABLES_MAX).zip(rows.chunks_mut(LOCKED_TABLES_MAX));
        for (records, rows) in chunks {
            let live = shard.machine().live();
            for (record, rows) in records.iter().zip(rows) {
                // Of a table that it has no record of, a shard has no rows: most tables are in few shards.
                let known = live.state.tables.contains_key(&record.id)
                    || live.state.version.dropped.contains(&record.id);
                if !known {
                    continue;
                }
                let part = take(&live, record, time)?;
                if !part.memtables.is_empty() || !part.segments.is_empty() {
                    rows.push(part);
                }
            }
        }
    }
    let views = records.into_iter().zip(rows);
    Ok(views.map(|(record, rows)| TableView::new(Arc::clone(record), rows)).collect())
}

/// The metadata, as fresh as the level asks for.
async fn fresh_meta(
    store: &Store,
    tables: &[TableId],
    level: &ReadLevel,
) -> Result<MetaState, Error> {
    let inner = &store.inner;
    let deadline = inner.options.write_deadline;
    let is_known = match level {
        ReadLevel::Linearizable => false,
        // A shard that is fenced to a change that this node has yet to hear of may hold the session's rows by it.
        ReadLevel::Session(receipts) => {
            let meta = store.meta_state();
            receipts.iter().all(|receipt| {
                inner.shard(receipt.shard).is_ok_and(|shard| {
                    let state = &shard.machine().live().state;
                    let fence = |table| state.fences.get(table).copied();
                    state.applied.is_some_and(|at| at.index >= receipt.index)
                        && tables.iter().all(|table| fence(table) <= meta.routing.epoch(*table))
                })
            })
        }
        ReadLevel::Local => true,
    };
    if !is_known {
        inner.meta_group.read_index(deadline).await.map_err(Inner::meta_error)?;
    }
    Ok(store.meta_state())
}

/// A view of one shard after a read index, for finding what a delete is about.
pub(super) async fn view_of(
    store: &Store,
    id: ShardId,
    table: TableId,
    deadline: Duration,
) -> Result<TableView, Error> {
    let shard = store.inner.shard(id)?;
    shard.read_index(deadline).await?;
    let meta = store.meta_state();
    let record = meta.catalog.tables.get(&table).ok_or(Error::NoTable(table))?;
    let rows = take(&shard.machine().live(), record, TimeRange::ALL)?;
    Ok(TableView::new(Arc::clone(record), vec![rows]))
}

/// What one shard holds, as fresh as the level asks for.
async fn rows_of(
    store: &Store,
    id: ShardId,
    table: &Table,
    time: TimeRange,
    level: &ReadLevel,
) -> Result<ShardRows, Error> {
    let shard = wait_fresh(store, id, level).await?;
    take(&shard.machine().live(), table, time)
}

/// A shard once it is as fresh as the level asks for.
async fn wait_fresh<'a>(
    store: &'a Store,
    id: ShardId,
    level: &ReadLevel,
) -> Result<&'a Shard, Error> {
    let shard = store.inner.shard(id)?;
    let deadline = store.inner.options.write_deadline;
    match level {
        ReadLevel::Linearizable => {
            shard.read_index(deadline).await?;
        }
        ReadLevel::Session(receipts) => {
            let index = receipts.iter().filter(|r| r.shard == id).map(|r| r.index).max();
            if let Some(index) = index {
                wait_applied(shard, index, deadline).await?;
            }
        }
        ReadLevel::Local => {}
    }
    Ok(shard)
}

/// Waits until an entry is applied here.
async fn wait_applied(shard: &Shard, index: u64, deadline: Duration) -> Result<(), Error> {
    let applied = || shard.machine().live().state.applied.is_some_and(|p| p.index >= index);
    let wait = async {
        while !applied() {
            tokio::time::sleep(SESSION_POLL).await;
        }
    };
    tokio::time::timeout(deadline, wait).await.map_err(|_| {
        Error::Exhausted(format!(
            "shard {} has not applied entry {index} within {deadline:?}; retry",
            shard.id().0
        ))
    })
}

/// Takes the view. Refused when the shard holds rows of a newer catalog than the table's record: plan again.
fn take(live: &Live, table: &Table, time: TimeRange) -> Result<ShardRows, Error> {
    let state = &live.state;
    if state.tables.get(&table.id).is_some_and(|t| t.changed_at > table.changed_at) {
        return Err(Error::Stale { what: "the table" });
    }
    if state.version.dropped.contains(&table.id) {
        return Err(Error::NoTable(table.id));
    }
    let frozen = state.flushes.values().map(|f| f.frozen.view(table.id, time));
    let memtables = frozen.chain([state.active.view(table.id, time)]);
    let segments = state.version.of_table(table.id, time).map(|segment| {
        live.files
            .get(&segment.meta.file_hash)
            .map(Arc::clone)
            .ok_or_else(|| Error::Internal(format!("{} is not open", segment.file_name())))
    });
    Ok(ShardRows {
        memtables: memtables.filter(|m| !m.is_empty()).collect(),
        segments: segments.collect::<Result<_, Error>>()?,
        tombstones: state.version.tombstones_of(table.id).map(Arc::clone).collect(),
        expired_before: state.version.expired_before(table.id),
    })
}
