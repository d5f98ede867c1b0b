//! Opening and closing a store: directory, log, metadata group, shards, tasks; and the same backwards.
//!
//! What is done for the groups between is in `starting`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::future::join_all;
use quorate_consensus::MemoryTransport;
use quorate_segment::SegmentCaches;
use quorate_wal::{Disk, Recovery, Wal, WalOptions};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::core::{Inner, Store};
use super::starting::{Starting, blocking};
use super::{StoreOptions, placement, timing};
use crate::Error;
use crate::batch::DecodedBatches;
use crate::cluster::{DataDir, Place, Use, join};
use crate::scan::Tails;
use crate::shard::{Budget, MemtableLimits, Shard};

/// How long background work may take to stop.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Part of the caches' memory that last rows of series may take.
const TAILS_SHARE: u64 = 4;

/// Takes the directory, finds the node's place, and reads the log.
async fn prepare(disk: Arc<dyn Disk>, options: StoreOptions) -> Result<Arc<Starting>, Error> {
    let (dir, place) = find_place(disk, &options).await?;
    let transport = options.cluster.as_ref().map(|cluster| Arc::clone(&cluster.transport));
    let opened = options.clone();
    let (dir, wal, recovery) = blocking(move || open_log(dir, &opened)).await?;
    let full = Arc::new(Notify::new());
    let limits = MemtableLimits {
        budget: Arc::new(Budget::new(options.memory_bytes, Arc::clone(&full))),
        flush_bytes: options.flush_bytes,
        full,
    };
    let starting = Arc::new(Starting {
        caches: SegmentCaches::new(options.cache_bytes - options.cache_bytes / TAILS_SHARE),
        tails: Tails::new(options.cache_bytes / TAILS_SHARE),
        decoded: DecodedBatches::shared(),
        transport: transport.unwrap_or_else(|| MemoryTransport::default().shared()),
        place,
        tasks: TaskTracker::new(),
        failure: watch::channel(None).0,
        cancel: CancellationToken::new(),
        limits,
        options,
        dir,
        wal,
        recovery,
    });
    if let Some(cluster) = &starting.options.cluster {
        // Before the groups: on slow links nobody is elected with the timers for fast ones, and peers may need entries
        // before this node has a leader.
        timing::start(&starting.wal, cluster, &starting.tasks, &starting.cancel);
        cluster.service.set_log(starting.wal.clone());
    }
    Ok(starting)
}

/// [`Store::open`].
pub(super) async fn open(disk: Arc<dyn Disk>, options: StoreOptions) -> Result<Store, Error> {
    let starting = prepare(disk, options).await?;
    let (meta_group, meta) = match starting.start_meta().await {
        Ok(started) => started,
        Err(e) => {
            starting.cancel.cancel();
            starting.stop_answering();
            return Err(e);
        }
    };
    let shards = match starting.start_shards(&meta, &meta_group).await {
        Ok(shards) => shards,
        Err(e) => {
            starting.cancel.cancel();
            starting.stop_answering();
            meta_group.group().stop().await;
            return Err(e);
        }
    };
    let own = starting.own();
    let starting = Arc::try_unwrap(starting)
        .map_err(|_| Error::Internal("a start-up task outlived the start".to_owned()))?;
    let Starting { options, dir, wal, caches, decoded, limits, tasks, failure, cancel, .. } =
        starting;
    let failed = failure.clone();
    wal.on_poison(Box::new(move || {
        failed.send_replace(Some("a write or sync of the write-ahead log failed".to_owned()));
    }));
    let inner = Inner {
        options,
        dir,
        wal,
        own,
        meta_group,
        meta,
        shards,
        budget: limits.budget,
        caches,
        decoded,
        rows_accepted: AtomicU64::new(0),
        failure,
        rerouting: tokio::sync::Mutex::default(),
        maintain: limits.full,
        cancel,
        tasks,
    };
    let store = Store { inner: Arc::new(inner) };
    store.tell_dropped(Duration::from_secs(10)).await;
    super::maintenance::start(&store);
    placement::start(&store);
    super::scrub::start(&store);
    Ok(store)
}

/// Takes the directory, and in a cluster finds the node's place, however long that takes.
async fn find_place(
    disk: Arc<dyn Disk>,
    options: &StoreOptions,
) -> Result<(DataDir, Option<Place>), Error> {
    let usage = if options.cluster.is_some() { Use::Clustered } else { Use::Alone };
    let root = options.dir.clone();
    let dir = blocking(move || DataDir::open(disk, &root, usage)).await?;
    let Some(cluster) = &options.cluster else { return Ok((dir, None)) };
    let clock = Arc::clone(&options.clock);
    let place = join(&dir, cluster, options.shards, clock).await?;
    Ok((dir, Some(place)))
}

/// Reads the log.
fn open_log(dir: DataDir, options: &StoreOptions) -> Result<(DataDir, Wal, Recovery), Error> {
    let disk = Arc::clone(dir.disk());
    let identity = dir.identity();
    let mut log = WalOptions::new(dir.wal(), identity.cluster, identity.node);
    log.segment_bytes = options.wal_segment_bytes;
    log.clock = Arc::clone(&options.clock);
    log.faults = options.faults.clone();
    let (wal, recovery) = Wal::open(disk, log)?;
    if let Some(what) = &recovery.lost {
        tracing::error!("the write-ahead log is not whole: {what}");
    }
    if recovery.bytes_torn > 0 {
        tracing::info!(
            "{} bytes of an unfinished write were discarded; nothing of it was acknowledged",
            recovery.bytes_torn
        );
    }
    Ok((dir, wal, recovery))
}

/// [`Store::close`].
pub(super) async fn close(inner: &Arc<Inner>) -> Result<(), Error> {
    if let Some(cluster) = &inner.options.cluster {
        join_all(inner.led().map(|group| placement::hand_over_to_any(cluster, group))).await;
        // From here on peers are told that no replica runs here.
        cluster.service.stop();
    }
    inner.stop_tasks();
    inner.tasks.close();
    if timeout(CLOSE_DEADLINE, inner.tasks.wait()).await.is_err() {
        tracing::warn!("background work did not stop within {CLOSE_DEADLINE:?}");
    }
    join_all(inner.running().map(|shard| shard.group().stop())).await;
    inner.meta_group.group().stop().await;
    let wal = inner.wal.clone();
    blocking(move || Ok(wal.close()?)).await?;
    inner.dir.release();
    Ok(())
}

impl Store {
    /// Tells every shard of the tables that the metadata group knows to be dropped. What cannot be told now is told by
    /// maintenance.
    pub(super) async fn tell_dropped(&self, deadline: Duration) {
        let dropped = &self.meta_state().catalog.dropped;
        if dropped.is_empty() {
            return;
        }
        let tell = |shard: &Arc<Shard>| {
            let shard = Arc::clone(shard);
            let known: BTreeSet<_> = shard.machine().version().dropped.clone();
            let tables: Vec<_> = dropped.difference(&known).copied().collect();
            async move {
                if tables.is_empty() || shard.stopped().is_some() {
                    return;
                }
                let command = crate::shard::Command::DropTables { tables };
                if let Err(e) = shard.propose(&command, deadline).await {
                    tracing::warn!("shard {} is told of dropped tables later: {e}", shard.id().0);
                }
            }
        };
        join_all(self.inner.running().map(tell)).await;
    }
}
