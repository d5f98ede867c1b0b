//! Maintenance: what a leader proposes on its own, and what every node clears up.
//!
//! | trigger | what it does |
//! |---|---|
//! | a memtable is full, old, or memory is tight | flush of that shard |
//! | nothing is written for some seconds | flush of a memtable that is not small; slices are merged into one run |
//! | the log is too large | flush of the groups that hold its oldest part, then their log is purged |
//! | segments to merge | compaction, one at a time per shard |
//! | a table's retention has moved on | `Expire` in every shard that holds the table |
//! | a table was dropped and a shard was not told | told again |
//! | a change of a table's routing was left half done | ended |
//! | manifests name replaced segments and nothing is written | a flush, so that the files can go |
//! | nothing is written to any shard, and more log is held than one file | flushes of the groups that hold it, so that it can go |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use quorate_segment::TableId;
use quorate_wal::GroupId;
use tokio::time::{Instant, timeout};

use super::ShardId;
use super::core::{Inner, Store};
use crate::cluster::{KnownIds, MetaCommand};
use crate::compaction::Config;
use crate::shard::{Command, Shard, group_of};
use crate::{Error, blocking};

/// How often the triggers are looked at when nothing wakes maintenance.
const TICK: Duration = Duration::from_millis(250);
/// How often retention is looked at.
const RETENTION_EVERY: Duration = Duration::from_secs(30);
/// Commands of the metadata group after which it writes a manifest.
const META_COMMANDS_MAX: u64 = 1_000;
/// How long a change of routing that somebody left half done may take to end; shards have to be tended meanwhile.
const REROUTING_DEADLINE: Duration = Duration::from_secs(2);
/// How long replaced segments may stay before a flush is made for their sake.
const REPLACED_AFTER: Duration = Duration::from_secs(5);
/// How long nothing must be written for a shard to be quiet.
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// The part of a full memtable from which on that of a quiet shard is flushed: less can wait for more.
const QUIET_FLUSH_PART: u64 = 8;
/// Flushes of a shard for the sake of its log while nothing is written: the log above the manifest before the newest is
/// kept, so the first covers what there is and the second lets it go.
const QUIET_LOG_FLUSHES_MAX: u32 = 2;
/// How long a flush or compaction that somebody waits for may take.
const JOB_DEADLINE: Duration = Duration::from_mins(10);

/// Starts the task; it ends when the store closes.
pub(super) fn start(store: &Store) {
    // The task holds no handle of the store's: dropping the last one ends it.
    let inner = Arc::downgrade(&store.inner);
    let cancel = store.inner.cancel.clone();
    let wake = Arc::clone(&store.inner.maintain);
    store.inner.tasks.spawn(async move {
        let mut rounds = Rounds::default();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            let Some(inner) = inner.upgrade() else { return };
            let store = Store { inner };
            tokio::select! {
                () = store.inner.cancel.cancelled() => return,
                () = rounds.run(&store) => {}
            }
        }
    });
}

/// What maintenance remembers between rounds.
#[derive(Debug, Default)]
struct Rounds {
    retention_at: Option<Duration>,
    replaced_since: BTreeMap<GroupId, Duration>,
    /// Bytes of the active memtable, and since when it has them.
    active: BTreeMap<GroupId, (u64, Duration)>,
    /// Whether nothing was written to any shard for a while.
    node_is_quiet: bool,
    /// Flushes for the sake of the log since something was written to a shard of this node.
    log_flushes: BTreeMap<GroupId, u32>,
}

impl Rounds {
    async fn run(&mut self, store: &Store) {
        let inner = &store.inner;
        let largest = largest_if_tight(inner);
        let busy = inner.running().filter(|s| !self.is_quiet(inner, s)).count();
        self.node_is_quiet = busy == 0;
        if busy > 0 {
            self.log_flushes.clear();
        }
        for shard in inner.running() {
            let make_room = largest == Some(shard.id());
            if let Err(e) = self.tend(inner, shard, make_room).await {
                tracing::warn!("maintenance of shard {} is tried again: {e}", shard.id().0);
            }
        }
        if let Err(e) = self.tend_meta(inner).await {
            tracing::warn!("maintenance of the metadata group is tried again: {e}");
        }
        let now = inner.options.clock.monotonic();
        if self.retention_at.is_none_or(|at| now.saturating_sub(at) >= RETENTION_EVERY) {
            self.retention_at = Some(now);
            store.tell_dropped(inner.options.write_deadline).await;
            super::rerouting::finish_all(store, REROUTING_DEADLINE).await;
            if let Err(e) = expire(store).await {
                tracing::warn!("retention is tried again: {e}");
            }
        }
    }

    /// One shard: flush, log, compaction.
    async fn tend(
        &mut self,
        inner: &Inner,
        shard: &Arc<Shard>,
        make_room: bool,
    ) -> Result<(), Error> {
        if !shard.leads() {
            return Ok(());
        }
        let options = &inner.options;
        let group = group_of(shard.id());
        let held = inner.wal.bytes_held_by(group);
        let log_is_large = held > options.flush_log_bytes;
        let active = shard.active_bytes();
        let quiet = self.is_quiet(inner, shard);
        let due = active >= options.flush_bytes
            || shard.active_age().is_some_and(|age| {
                let is_enough = quiet && active >= options.flush_bytes / QUIET_FLUSH_PART;
                is_enough || age >= options.flush_age
            })
            || make_room;
        if (due && shard.may_freeze()) || (log_is_large && !shard.flush_pending()) {
            shard.propose_flush(true, options.write_deadline).await?;
        }
        if log_is_large {
            shard.purge_log(true).await?;
        }
        if self.replaced_for_long(inner, shard, quiet) && !shard.flush_pending() {
            shard.propose_flush(true, options.write_deadline).await?;
        }
        if !shard.flush_pending() && self.is_log_due(inner, group) {
            shard.propose_flush(true, options.write_deadline).await?;
        }
        let config = Config { settled: quiet, ..Config::default() };
        shard.propose_compaction(&config, options.write_deadline).await?;
        Ok(())
    }

    /// Whether nothing was written to a shard for a while, as the bytes of its active memtable tell.
    fn is_quiet(&mut self, inner: &Inner, shard: &Shard) -> bool {
        let (active, now) = (shard.active_bytes(), inner.options.clock.monotonic());
        let (known, since) = self.active.entry(group_of(shard.id())).or_insert((active, now));
        if *known != active {
            (*known, *since) = (active, now);
        }
        now.saturating_sub(*since) >= QUIET_AFTER
    }

    /// Whether a group, when no shard is written to, shall write a manifest so that its log can go. Not while others
    /// write: each file of their log would make every idle group write one.
    fn is_log_due(&mut self, inner: &Inner, group: GroupId) -> bool {
        let flushes = self.log_flushes.entry(group).or_default();
        let is_due = self.node_is_quiet
            && inner.wal.bytes_held_by(group) > inner.options.wal_segment_bytes
            && *flushes < QUIET_LOG_FLUSHES_MAX;
        *flushes += u32::from(is_due);
        is_due
    }

    /// The metadata group: a manifest now and then, so that its log can go.
    async fn tend_meta(&mut self, inner: &Inner) -> Result<(), Error> {
        let held = inner.wal.bytes_held_by(GroupId(0));
        let commands = inner.meta.commands_since_manifest();
        let leads = inner.meta_group.group().is_leader();
        // A node that follows has nothing to write before the leader's entry has come, and must not count that.
        let log_is_due = (leads || commands > 0) && self.is_log_due(inner, GroupId(0));
        let log_is_large = held > inner.options.flush_log_bytes;
        if commands < META_COMMANDS_MAX && !log_is_large && !log_is_due {
            return Ok(());
        }
        if log_is_due && leads {
            // It changes nothing, but a manifest needs an entry behind the one before it.
            inner.propose_meta(&MetaCommand::Reserve(KnownIds::default())).await?;
        }
        let meta = Arc::clone(&inner.meta);
        let before = blocking::run("a checkpoint", move || meta.checkpoint()).await?;
        match before {
            Some(before) => {
                inner.meta_group.group().snapshot_moved(before).await.map_err(Inner::meta_error)
            }
            None => Ok(()),
        }
    }

    /// Whether manifests have named replaced segments for a while, without a write that would lead to a flush.
    fn replaced_for_long(&mut self, inner: &Inner, shard: &Shard, quiet: bool) -> bool {
        let group = group_of(shard.id());
        let flushed_anyway = shard.active_age().is_some() && !quiet;
        if !shard.machine().holds_replaced() || flushed_anyway {
            self.replaced_since.remove(&group);
            return false;
        }
        let now = inner.options.clock.monotonic();
        let since = *self.replaced_since.entry(group).or_insert(now);
        let long = now.saturating_sub(since) >= REPLACED_AFTER;
        if long {
            self.replaced_since.remove(&group);
        }
        long
    }
}

/// The shard with the largest memtable, when the active ones take more than half of the budget: the time to flush is
/// before writers have to wait.
fn largest_if_tight(inner: &Inner) -> Option<ShardId> {
    let sizes: Vec<(u64, ShardId)> =
        inner.running().map(|shard| (shard.active_bytes(), shard.id())).collect();
    let total: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
    if total <= inner.budget.bytes_max() / 2 {
        return None;
    }
    sizes.into_iter().max().map(|(_, id)| id)
}

/// Proposes the watermarks that are due. They are rounded down to a 64th of the retention, so that a long one does not
/// move every time somebody looks.
async fn expire(store: &Store) -> Result<(), Error> {
    let inner = &store.inner;
    let catalog = store.catalog();
    if catalog.tables.values().all(|table| table.options.retention_ns.is_none()) {
        return Ok(());
    }
    let Some(now) = store.majority_time().await else { return Ok(()) };
    for table in catalog.tables.values() {
        let Some(retention) = table.options.retention_ns else { continue };
        let step = (retention / 64).max(1);
        let before = now.saturating_sub(retention).div_euclid(step).saturating_mul(step);
        for shard in inner.running().filter(|shard| shard.leads()) {
            if is_due(shard, table.id, before) {
                let command = Command::Expire { table: table.id, before };
                shard.propose(&command, inner.options.write_deadline).await?;
            }
        }
    }
    Ok(())
}

fn is_due(shard: &Shard, table: TableId, before: i64) -> bool {
    let live = shard.machine().live();
    live.state.tables.contains_key(&table)
        && live.state.version.expired_before(table).is_none_or(|have| have < before)
}

/// [`Store::flush`].
pub(super) async fn flush_all(inner: &Inner) -> Result<(), Error> {
    try_join_all(inner.running().map(|shard| flush(inner, shard))).await?;
    Ok(())
}

async fn flush(inner: &Inner, shard: &Arc<Shard>) -> Result<(), Error> {
    let position = shard.propose_flush(false, inner.options.write_deadline).await?;
    let durable = || shard.machine().manifest_position().is_some_and(|at| at >= position);
    wait_for(shard, durable).await
}

/// [`Store::compact`].
pub(super) async fn compact_all(inner: &Inner) -> Result<(), Error> {
    try_join_all(inner.running().map(|shard| compact(inner, shard))).await?;
    Ok(())
}

async fn compact(inner: &Inner, shard: &Arc<Shard>) -> Result<(), Error> {
    let idle = || shard.machine().live().state.compactions.is_empty();
    loop {
        wait_for(shard, idle).await?;
        if !shard.propose_compaction(&Config::full(), inner.options.write_deadline).await? && idle()
        {
            return Ok(());
        }
    }
}

/// Waits for a job of a shard; fails when jobs cannot be done now.
async fn wait_for(shard: &Shard, done: impl Fn() -> bool + Send + Sync) -> Result<(), Error> {
    let machine = shard.machine();
    let until = Instant::now() + JOB_DEADLINE;
    loop {
        let installed = machine.installed.notified();
        tokio::pin!(installed);
        installed.as_mut().enable();
        if done() {
            return Ok(());
        }
        if let Some(why) = machine.stopped() {
            return Err(Error::Corrupt(format!("shard {} has stopped: {why}", shard.id().0)));
        }
        if machine.failing.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Error::Exhausted(format!(
                "shard {} cannot write its files now; they are written once there is space",
                shard.id().0
            )));
        }
        if Instant::now() >= until {
            return Err(Error::Exhausted(format!("shard {} is not done yet", shard.id().0)));
        }
        // Manifests are written after the install that wakes this, and wake nobody.
        let _ = timeout(Duration::from_millis(20), installed).await;
    }
}
