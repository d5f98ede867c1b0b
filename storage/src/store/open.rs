//! Opening and closing a store: directory, log, metadata group, shards, tasks; and the same backwards.
//!
//! Each group loads its newest manifest and is given only the log above it. A shard whose log or files are damaged
//! refuses service, alone; damage of the metadata group, or of the log as a whole, refuses the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use quorate_consensus::{
    Group, GroupOptions, MemoryTransport, Node, ReplicaId, StateMachine, Timers, Transport,
};
use quorate_segment::SegmentCaches;
use quorate_wal::{Disk, GroupId, Recovery, Wal, WalOptions};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::core::{Inner, Slot, Store};
use super::{ShardId, StoreOptions};
use crate::cluster::{DataDir, KnownIds, MetaCommand, MetaMachine};
use crate::manifest::ManifestStore;
use crate::shard::{
    Budget, JobSlots, MemtableLimits, Shard, ShardFiles, ShardMachine, group_of, needs_repair,
    recover, run_compactions, run_flushes,
};
use crate::version::SegmentPins;
use crate::{ColumnId, Error, with_causes};

/// How long a group may take to apply what its log holds.
const REPLAY_DEADLINE: Duration = Duration::from_mins(10);
/// How long background work may take to stop.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// Flushes at once, on all shards.
const FLUSHES_AT_ONCE: usize = 2;
/// The one replica of each group on a node of its own.
const ALONE: ReplicaId = ReplicaId(1);

/// What the groups of a node are started with.
#[derive(Debug)]
struct Starting {
    options: StoreOptions,
    dir: DataDir,
    wal: Wal,
    recovery: Recovery,
    transport: Arc<dyn Transport>,
    caches: Arc<SegmentCaches>,
    limits: MemtableLimits,
    tasks: TaskTracker,
    failure: watch::Sender<Option<String>>,
    cancel: CancellationToken,
}

/// Runs what blocks on the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::Internal(format!("a start-up task panicked: {e}"))))
}

/// [`Store::open`].
pub(super) async fn open(disk: Arc<dyn Disk>, options: StoreOptions) -> Result<Store, Error> {
    let opened = options.clone();
    let (dir, wal, recovery) = blocking(move || open_log(disk, &opened)).await?;
    let full = Arc::new(Notify::new());
    let limits = MemtableLimits {
        budget: Arc::new(Budget::new(options.memory_bytes, Arc::clone(&full))),
        flush_bytes: options.flush_bytes,
        full,
    };
    let starting = Arc::new(Starting {
        caches: SegmentCaches::new(options.cache_bytes),
        transport: MemoryTransport::default().shared(),
        tasks: TaskTracker::new(),
        failure: watch::channel(None).0,
        cancel: CancellationToken::new(),
        limits,
        options,
        dir,
        wal,
        recovery,
    });
    let (meta_group, meta) = starting.start_meta().await?;
    let shards = match starting.start_shards(&meta, &meta_group).await {
        Ok(shards) => shards,
        Err(e) => {
            starting.cancel.cancel();
            meta_group.stop().await;
            return Err(e);
        }
    };
    let starting = Arc::try_unwrap(starting)
        .map_err(|_| Error::Internal("a start-up task outlived the start".to_owned()))?;
    let Starting { options, dir, wal, limits, tasks, failure, cancel, .. } = starting;
    let failed = failure.clone();
    wal.on_poison(Box::new(move || {
        failed.send_replace(Some("a write or sync of the write-ahead log failed".to_owned()));
    }));
    let inner = Inner {
        options,
        dir,
        wal,
        meta_group,
        meta,
        shards,
        budget: limits.budget,
        rows_accepted: AtomicU64::new(0),
        failure,
        maintain: limits.full,
        cancel,
        tasks,
    };
    let store = Store { inner: Arc::new(inner) };
    store.tell_dropped(Duration::from_secs(10)).await;
    super::maintenance::start(&store);
    Ok(store)
}

/// Takes the directory and reads the log.
fn open_log(
    disk: Arc<dyn Disk>,
    options: &StoreOptions,
) -> Result<(DataDir, Wal, Recovery), Error> {
    let dir = DataDir::open(Arc::clone(&disk), &options.dir)?;
    let identity = dir.identity();
    let mut log = WalOptions::new(dir.wal(), identity.cluster, identity.node);
    log.segment_bytes = options.wal_segment_bytes;
    log.clock = Arc::clone(&options.clock);
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

impl Starting {
    /// Why a group's log cannot be used, if it cannot; with `accept_loss`, what is damaged is given up first.
    async fn log_damage(self: &Arc<Self>, group: GroupId) -> Result<Option<String>, Error> {
        let faulty = self.recovery.faulty.get(&group).map_or(0, Vec::len);
        let quarantined = self.recovery.quarantined.contains(&group);
        if faulty == 0 && !quarantined {
            return Ok(None);
        }
        if !self.options.accept_loss {
            let what = if quarantined {
                self.recovery.lost.clone().unwrap_or_else(|| "its log is not whole".to_owned())
            } else {
                format!("{faulty} entries of its log are damaged")
            };
            return Ok(Some(what));
        }
        let wal = self.wal.clone();
        let lost = blocking(move || Ok(wal.accept_loss(group)?)).await?;
        tracing::error!(
            "group {}: {} entries of the log are given up, from {:?} to {:?}",
            group.0,
            lost.len(),
            lost.first(),
            lost.last()
        );
        Ok(None)
    }

    /// Runs a group with one voter, and waits until it leads and has applied what its log held.
    async fn start_group(
        &self,
        group: GroupId,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Group, Error> {
        let failed = |source| Error::Group {
            shard: match group.0.checked_sub(1) {
                None => "the metadata group".to_owned(),
                Some(shard) => format!("shard {shard}"),
            },
            source: Arc::new(source),
        };
        let started = Group::start(GroupOptions {
            cluster_name: format!("{:032x}", self.dir.identity().cluster),
            group,
            replica: ALONE,
            log: self.wal.group(group),
            machine,
            transport: Arc::clone(&self.transport),
            timers: Timers::default(),
        })
        .await
        .map_err(failed)?;
        let voters = BTreeMap::from([(ALONE, Node::default())]);
        let ready = match started.bootstrap(voters).await {
            Ok(()) => started.wait_ready(REPLAY_DEADLINE).await,
            Err(e) => Err(e),
        };
        match ready {
            Ok(()) => Ok(started),
            Err(e) => {
                started.stop().await;
                Err(failed(e))
            }
        }
    }

    async fn start_meta(self: &Arc<Self>) -> Result<(Group, Arc<MetaMachine>), Error> {
        let group = GroupId(0);
        if let Some(what) = self.log_damage(group).await? {
            return Err(Error::Corrupt(format!(
                "the metadata group cannot start: {what}; restore the data directory from a \
                 backup, or give up what is lost with `quorate repair --accept-loss --data-dir {}`",
                self.dir.root().display()
            )));
        }
        let purged = self.recovery.groups.get(&group).and_then(|g| g.purged);
        let starting = Arc::clone(self);
        let machine = blocking(move || {
            let disk = Arc::clone(starting.dir.disk());
            let manifests = ManifestStore::open(disk, &starting.dir.meta())?;
            MetaMachine::open(manifests, purged)
        })
        .await?;
        let machine = Arc::new(machine);
        let started = self.start_group(group, Arc::<MetaMachine>::clone(&machine)).await?;
        if machine.state().cluster_key.is_none() {
            let command =
                MetaCommand::Bootstrap { cluster_key: rand::random(), shards: self.options.shards };
            started
                .propose(crate::cluster::encode_meta(&command)?, self.options.write_deadline)
                .await
                .map_err(Inner::meta_error)?;
        }
        Ok((started, machine))
    }

    /// Starts all shards; if one fails for another reason than damage, those that run are stopped again.
    async fn start_shards(
        self: &Arc<Self>,
        meta: &MetaMachine,
        meta_group: &Group,
    ) -> Result<BTreeMap<ShardId, Slot>, Error> {
        let slots = JobSlots {
            flushes: Arc::new(Semaphore::new(FLUSHES_AT_ONCE)),
            compactions: Arc::new(Semaphore::new(1)),
            failure: self.failure.clone(),
            cancel: self.cancel.clone(),
        };
        let ids = meta.state().routing.shards.clone();
        let started = {
            // The same voters as the metadata group's, should a shard have lost its own record of them.
            let membership = meta.membership();
            let start = |id: &ShardId| self.start_shard(*id, &slots, &membership);
            join_all(ids.iter().map(start)).await
        };
        let mut shards = BTreeMap::new();
        let mut failed = None;
        for (id, slot) in ids.iter().zip(started) {
            match slot {
                Ok(slot) => {
                    shards.insert(*id, slot);
                }
                Err(e) => failed = Some(e),
            }
        }
        if failed.is_none() {
            failed = self.reserve(meta_group, meta, &shards).await.err();
        }
        let Some(e) = failed else { return Ok(shards) };
        for slot in shards.values() {
            if let Slot::Running(shard) = slot {
                shard.group().stop().await;
            }
        }
        Err(e)
    }

    /// Keeps ids that shards have rows of from being given again: where the metadata group lost entries, a new table
    /// would find the rows of another one.
    async fn reserve(
        &self,
        group: &Group,
        meta: &MetaMachine,
        shards: &BTreeMap<ShardId, Slot>,
    ) -> Result<(), Error> {
        let mut known = KnownIds::default();
        for slot in shards.values() {
            let Slot::Running(shard) = slot else { continue };
            let live = shard.machine().live();
            for table in &live.state.version.dropped {
                known.add(*table, ColumnId(0));
            }
            for (table, record) in &live.state.tables {
                let schema = &record.schema;
                let columns = schema.tags.iter().chain(&schema.fields);
                for column in columns.chain([&schema.time]) {
                    known.add(*table, column.id);
                }
            }
        }
        if !known.is_ahead_of(&meta.state().catalog) {
            return Ok(());
        }
        tracing::error!("shards hold rows of tables or columns that the metadata group has lost");
        let command = crate::cluster::encode_meta(&MetaCommand::Reserve(known))?;
        group.propose(command, self.options.write_deadline).await.map_err(Inner::meta_error)?;
        Ok(())
    }

    /// Starts a shard; damage makes it refuse, other failures fail the start.
    async fn start_shard(
        self: &Arc<Self>,
        id: ShardId,
        slots: &JobSlots,
        membership: &Bytes,
    ) -> Result<Slot, Error> {
        match self.try_start_shard(id, slots, membership).await {
            Ok(shard) => Ok(Slot::Running(shard)),
            Err(e) if e.kind() == crate::ErrorKind::Corrupt => {
                tracing::error!("{}", with_causes(&e));
                Ok(Slot::Refused(with_causes(&e)))
            }
            Err(e) => Err(e),
        }
    }

    async fn try_start_shard(
        self: &Arc<Self>,
        id: ShardId,
        slots: &JobSlots,
        membership: &Bytes,
    ) -> Result<Arc<Shard>, Error> {
        let group = group_of(id);
        if let Some(what) = self.log_damage(group).await? {
            return Err(needs_repair(id, self.dir.root(), &what));
        }
        let (starting, membership) = (Arc::clone(self), membership.clone());
        let machine = blocking(move || starting.open_machine(id, &membership)).await?;
        let machine = Arc::new(machine);
        self.tasks.spawn(run_flushes(Arc::clone(&machine), slots.clone()));
        let started = self.start_group(group, Arc::<ShardMachine>::clone(&machine)).await;
        let started = match (started, machine.stopped()) {
            (Ok(started), None) => started,
            (Ok(started), Some(why)) => {
                started.stop().await;
                return Err(needs_repair(id, self.dir.root(), &why));
            }
            (Err(_), Some(why)) => return Err(needs_repair(id, self.dir.root(), &why)),
            (Err(e), None) => return Err(e),
        };
        let shard = Arc::new(Shard::new(
            machine,
            started,
            Arc::clone(&self.options.clock),
            self.options.flush_bytes,
            &self.tasks,
            self.cancel.clone(),
        ));
        self.tasks.spawn(run_compactions(Arc::clone(&shard), slots.clone()));
        Ok(shard)
    }

    /// Reads a shard's manifests and opens its segments.
    fn open_machine(&self, id: ShardId, membership: &Bytes) -> Result<ShardMachine, Error> {
        let disk = Arc::clone(self.dir.disk());
        let segments = self.dir.segments(id);
        disk.create_dir_all(&segments).map_err(|source| Error::Io {
            action: "make",
            path: segments.clone(),
            source,
        })?;
        let files = ShardFiles {
            root: self.dir.root().to_path_buf(),
            manifests: ManifestStore::open(Arc::clone(&disk), &self.dir.manifests(id))?,
            caches: Arc::clone(&self.caches),
            pins: SegmentPins::new(),
            disk,
            segments,
        };
        let purged = self.recovery.groups.get(&group_of(id)).and_then(|g| g.purged);
        let accept_loss = self.options.accept_loss.then_some(membership);
        let recovered = recover(id, &files, purged, accept_loss)?;
        ShardMachine::new(id, files, self.limits.clone(), recovered)
    }
}

/// [`Store::close`].
pub(super) async fn close(inner: &Arc<Inner>) -> Result<(), Error> {
    inner.stop_tasks();
    inner.tasks.close();
    if timeout(CLOSE_DEADLINE, inner.tasks.wait()).await.is_err() {
        tracing::warn!("background work did not stop within {CLOSE_DEADLINE:?}");
    }
    join_all(inner.running().map(|shard| shard.group().stop())).await;
    inner.meta_group.stop().await;
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
