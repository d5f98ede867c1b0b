//! Changes of a table's options, of its routing among them: `time_slice` and `spread` of a table that has rows.
//!
//! The new routing is in force from the slice behind the table's last row on; where rows are, they stay. How that is
//! made certain while others write, and what a coordinator that dies leaves behind, stands in `cluster/routing.rs`; this is
//! the part that acts: it fences every shard of the table, looks for the last row, and confirms.
//!
//! | who finds a change that has begun | what they do |
//! |---|---|
//! | who began it, or begins another one | finishes it |
//! | a writer whose rows may be routed anew | finishes it, and writes then |
//! | maintenance of the metadata group's leader | finishes it, in its own time |
//!
//! **Limits.** A shard without a majority holds up changes, and writers of the slices behind the tentative one. A table with
//! rows far in the future is routed anew from there on only. A write that is repeated under its idempotency key, part of
//! which was done, then deleted by somebody else, and whose slice was then routed anew, brings that part back.

use std::time::Duration;

use futures::future::try_join_all;
use quorate_segment::TableId;
use tokio::time::{Instant, timeout_at};

use super::core::{Inner, Store};
use super::{ShardId, read};
use crate::batch::RowBatch;
use crate::catalog::{CatalogCommand, CatalogReply, OptionsChange, TableChange};
use crate::cluster::{MetaCommand, MetaReply, MetaState};
use crate::shard::Command;
use crate::{Error, blocking};

/// Between two attempts of what others have changed meanwhile.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// [`Store::change_options`].
pub(super) async fn change(
    store: &Store,
    table: TableId,
    change: &OptionsChange,
) -> Result<(), Error> {
    let until = Instant::now() + store.inner.options.write_deadline;
    loop {
        match change_once(store, table, change, until).await {
            Err(Error::Stale { .. }) if Instant::now() + AGAIN_AFTER < until => {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            done => return done,
        }
    }
}

async fn change_once(
    store: &Store,
    table: TableId,
    change: &OptionsChange,
    until: Instant,
) -> Result<(), Error> {
    finish(store, table, until).await?;
    let meta = store.meta_state();
    let known = meta.catalog.tables.get(&table).ok_or(Error::NoTable(table))?;
    let wanted = change.of(&known.options);
    if wanted == known.options {
        return Ok(());
    }
    let command = if wanted.routes_as(&known.options) {
        let change = TableChange::SetOptions(wanted.clone());
        MetaCommand::Catalog(CatalogCommand::AlterTable { table, change })
    } else {
        let first_slice = first_slice(store, &meta, table, until).await?;
        let first_slice = first_slice.ok_or_else(|| no_slice_left(&known.name))?;
        MetaCommand::BeginRouting { table, first_slice, change: change.clone() }
    };
    match store.inner.propose_meta(&command).await? {
        MetaReply::Catalog(CatalogReply::Rejected(rejection)) => {
            // Somebody else changed them since they were looked at.
            let now = store.catalog().tables.get(&table).map(|table| table.options.clone());
            let is_stale = now.is_some_and(|now| now != known.options);
            Err(if is_stale { stale() } else { Error::Catalog(rejection) })
        }
        MetaReply::Catalog(_) => Ok(()),
        MetaReply::Stale => Err(stale()),
        MetaReply::Refused(why) => Err(Error::Invalid(why)),
        MetaReply::Done => {
            finish(store, table, until).await?;
            let meta = store.meta_state();
            let now = meta.catalog.tables.get(&table).ok_or(Error::NoTable(table))?;
            if now.options.routes_as(&known.options) {
                // Given up for a row that came meanwhile, or changed back; what is so now is looked at again.
                return Err(stale());
            }
            Ok(())
        }
        reply @ MetaReply::Node(_) => {
            Err(Error::Internal(format!("a change of routing was answered by {reply:?}")))
        }
    }
}

/// The routing moved since it was looked at.
pub(super) fn stale() -> Error {
    Error::Stale { what: "the table's routing" }
}

fn no_slice_left(table: &str) -> Error {
    Error::Invalid(format!(
        "table {table:?} has rows in the last time slice that there is, and a new time_slice or spread is in force \
         from the slice behind the last row on; delete the rows that are that far in the future, and try again"
    ))
}

/// Ends a change of a table's routing that has begun, if one has. Afterwards this node knows the table's routing as of
/// now.
pub(super) async fn finish(store: &Store, table: TableId, until: Instant) -> Result<(), Error> {
    let inner = &store.inner;
    // What one does here, all others here need not do.
    let finishing = timeout_at(until, inner.rerouting.lock()).await;
    let _finishing = finishing.map_err(|_| {
        Error::Exhausted("a change of the table's routing is not done yet; retry".to_owned())
    })?;
    catch_up(store, until).await?;
    let meta = store.meta_state();
    let Some(pending) = meta.routing.pending.get(&table) else { return Ok(()) };
    let fences = meta.routing.shards_ever(table);
    let fences = fences.into_iter().map(|id| fence(store, id, table, pending.epoch, until));
    try_join_all(fences).await?;
    let behind = first_slice(store, &meta, table, until).await?;
    let first_slice = behind.map(|first| first.max(pending.first_slice));
    let command = MetaCommand::ConfirmRouting { table, epoch: pending.epoch, first_slice };
    match inner.propose_meta(&command).await? {
        // Somebody else was faster.
        MetaReply::Done | MetaReply::Stale => Ok(()),
        reply => Err(Error::Internal(format!("a change of routing was ended by {reply:?}"))),
    }
}

/// Makes one shard refuse who does not know of the change.
async fn fence(
    store: &Store,
    id: ShardId,
    table: TableId,
    epoch: u64,
    until: Instant,
) -> Result<(), Error> {
    let shard = store.inner.shard(id)?;
    if is_fenced(store, id, table, epoch)? {
        return Ok(());
    }
    shard.propose(&Command::Fence { table, epoch }, left(until)).await.map(|_| ())
}

fn is_fenced(store: &Store, id: ShardId, table: TableId, epoch: u64) -> Result<bool, Error> {
    let live = store.inner.shard(id)?.machine().live();
    Ok(live.state.fences.get(&table).is_some_and(|fence| *fence >= epoch))
}

/// Start of the slice behind the last row of a table, over all its shards as of now.
async fn first_slice(
    store: &Store,
    meta: &MetaState,
    table: TableId,
    until: Instant,
) -> Result<Option<i64>, Error> {
    let slices = meta.routing.slices(table).ok_or(Error::NoTable(table))?;
    let looked = meta.routing.shards_ever(table).into_iter().map(|id| {
        let slices = slices.clone();
        async move {
            let view = read::view_of(store, id, table, left(until)).await?;
            blocking::run("finding the last row", move || view.last_slice(&slices)).await
        }
    });
    let last = try_join_all(looked).await?.into_iter().flatten().map(|slice| slice.end).max();
    Ok(meta.routing.slice_after(table, last))
}

/// The metadata by which all of these rows can be routed now.
pub(super) async fn routable(
    store: &Store,
    rows: &[(TableId, RowBatch)],
    until: Instant,
) -> Result<MetaState, Error> {
    loop {
        let meta = store.meta_state();
        if meta.routing.pending.is_empty() {
            return Ok(meta);
        }
        let waits = |(table, rows): &&(TableId, RowBatch)| {
            rows.time_range().is_some_and(|time| meta.routing.waits(*table, time.end))
        };
        let Some((table, _)) = rows.iter().find(waits) else { return Ok(meta) };
        match finish(store, *table, until).await {
            Err(Error::Stale { .. }) if Instant::now() + AGAIN_AFTER < until => {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            done => done?,
        }
    }
}

/// Waits until this node knows the metadata as of now.
pub(super) async fn catch_up(store: &Store, until: Instant) -> Result<(), Error> {
    let inner = &store.inner;
    inner.check_member()?;
    inner.meta_group.read_index(left(until)).await.map_err(Inner::meta_error)?;
    Ok(())
}

/// Ends all changes that have begun, one after the other; what fails is tried again later.
pub(super) async fn finish_all(store: &Store, deadline: Duration) {
    if !store.inner.meta_group.group().is_leader() {
        return;
    }
    let pending: Vec<TableId> = store.meta_state().routing.pending.keys().copied().collect();
    for table in pending {
        if let Err(e) = finish(store, table, Instant::now() + deadline).await {
            tracing::warn!("the routing of table {} is changed later: {e}", table.0);
        }
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
#[path = "rerouting_tests.rs"]
mod tests;
