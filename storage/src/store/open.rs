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
use super::{ShardId, StoreOptions, placement};
use crate::cluster::{
    DataDir, KnownIds, MetaCommand, MetaMachine, PeerRequest, Peers, Place, Replica, Use, join,
};
use crate::manifest::ManifestStore;
use crate::shard::{
    Budget, Fetcher, JobSlots, MemtableLimits, Shard, ShardFiles, ShardMachine, damaged_segments,
    group_of, needs_repair, recover, run_compactions, run_flushes,
};
use crate::version::SegmentPins;
use crate::{ColumnId, Error, with_causes};

/// How long a group may take to apply what its log holds.
const REPLAY_DEADLINE: Duration = Duration::from_mins(10);
/// How long background work may take to stop.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// Flushes at once, on all shards.
const FLUSHES_AT_ONCE: usize = 2;
/// How often a start tells that it waits for a shard, before it goes on without it.
const SHARD_ROUNDS: u32 = 5;
/// How long a node may take to say whether it knows this one.
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// The one replica of each group on a node of its own.
const ALONE: ReplicaId = ReplicaId(1);
/// How often a start that waits for others tells for what, and asks whether they still know it.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// What the groups of a node are started with.
#[derive(Debug)]
struct Starting {
    options: StoreOptions,
    dir: DataDir,
    wal: Wal,
    recovery: Recovery,
    transport: Arc<dyn Transport>,
    /// Its place in a cluster.
    place: Option<Place>,
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
        caches: SegmentCaches::new(options.cache_bytes),
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
    let (meta_group, meta) = match starting.start_meta().await {
        Ok(started) => started,
        Err(e) => {
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
    let Starting { options, dir, wal, limits, tasks, failure, cancel, .. } = starting;
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
        rows_accepted: AtomicU64::new(0),
        failure,
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

    fn stop_answering(&self) {
        if let Some(cluster) = &self.options.cluster {
            cluster.service.stop();
        }
    }

    /// This node's replica of every group.
    fn own(&self) -> ReplicaId {
        self.place.as_ref().map_or(ALONE, |place| ReplicaId(place.id))
    }

    /// Runs a replica of a group, and waits until it knows a leader and has applied what its log held.
    async fn start_group(
        &self,
        group: GroupId,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Replica, Error> {
        let name = match group.0.checked_sub(1) {
            None => "the metadata group".to_owned(),
            Some(shard) => format!("shard {shard}"),
        };
        let failed = |source| Error::Group { shard: name.clone(), source: Arc::new(source) };
        let started = Group::start(GroupOptions {
            cluster_name: format!("{:032x}", self.dir.identity().cluster),
            group,
            replica: self.own(),
            log: self.wal.group(group),
            machine,
            transport: Arc::clone(&self.transport),
            timers: Timers::default(),
        })
        .await
        .map_err(failed)?;
        let peers = self.options.cluster.as_ref().map(|cluster| {
            cluster.service.add_group(started.clone());
            Peers::new(Arc::clone(&cluster.transport))
        });
        let ready = match &self.place {
            None => {
                let voters = BTreeMap::from([(ALONE, Node::default())]);
                match started.bootstrap(voters).await {
                    Ok(()) => started.wait_ready(REPLAY_DEADLINE).await,
                    Err(e) => Err(e),
                }
            }
            Some(place) => match self.wait_for_peers(&name, &started, place).await {
                Ok(None) => Ok(()),
                Ok(Some(refused)) => {
                    started.stop().await;
                    return Err(refused);
                }
                Err(e) => Err(e),
            },
        };
        match ready {
            Ok(()) => Ok(Replica::new(started, self.own(), peers)),
            Err(e) => {
                started.stop().await;
                Err(failed(e))
            }
        }
    }

    /// For the metadata group, waits as long as it takes: the others may be started tomorrow. A shard is waited for a
    /// while only: without a majority it refuses what it is asked, and the other shards serve. An error of the store means
    /// that the others do not take this node for one of theirs.
    async fn wait_for_peers(
        &self,
        name: &str,
        group: &Group,
        place: &Place,
    ) -> Result<Option<Error>, quorate_consensus::Error> {
        let voters = place.voters();
        if !voters.is_empty() {
            group.bootstrap(voters).await?;
        }
        let mut rounds = if group.id() == GroupId(0) { u32::MAX } else { SHARD_ROUNDS };
        loop {
            rounds = rounds.saturating_sub(1);
            match group.wait_ready(TELL_EVERY).await {
                Err(e) if matches!(e.kind(), quorate_consensus::ErrorKind::Unavailable) => {
                    tracing::info!("{name} waits for a majority of its replicas: {e}");
                    if let Some(refused) = self.refused_by_peers(place).await {
                        return Ok(Some(refused));
                    }
                    if rounds == 0 {
                        return Ok(None);
                    }
                }
                ready => return ready.map(|()| None),
            }
        }
    }

    /// Asks the members that this node knows; a majority that refuses to talk to it is right.
    async fn refused_by_peers(&self, place: &Place) -> Option<Error> {
        let cluster = self.options.cluster.as_ref()?;
        let peers = Peers::new(Arc::clone(&cluster.transport));
        let others = place.members.iter().filter(|m| m.id != place.id);
        let asked = others.map(|member| {
            let peers = peers.clone();
            async move {
                let node = member.node();
                let asking = peers.ask(&node, &PeerRequest::Report, &[], ASK_DEADLINE);
                asking.await.err().filter(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
            }
        });
        let refusals: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let first = refusals.first()?;
        (refusals.len() > place.members.len() / 2 || refusals.len() + 1 == place.members.len())
            .then(|| Error::DataDir {
                path: self.dir.root().to_path_buf(),
                what: format!("is not taken by the cluster: {first}"),
            })
    }

    async fn start_meta(self: &Arc<Self>) -> Result<(Replica, Arc<MetaMachine>), Error> {
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
        if let Some(cluster) = &self.options.cluster {
            cluster.service.set_meta(Arc::clone(&machine));
        }
        let started = self.start_group(group, Arc::<MetaMachine>::clone(&machine)).await?;
        self.bootstrap(&started, &machine).await?;
        Ok((started, machine))
    }

    /// The first entries of a cluster, if nobody has made them yet. Every founder may: the first counts.
    async fn bootstrap(&self, meta: &Replica, machine: &MetaMachine) -> Result<(), Error> {
        let deadline = self.options.write_deadline;
        if self.place.is_some() {
            // What is known here may be old.
            meta.read_index(deadline).await.map_err(Inner::meta_error)?;
        }
        let state = machine.state();
        let mut commands = Vec::new();
        if state.cluster_key.is_none() {
            let shards = self.place.as_ref().map_or(self.options.shards, |place| place.shards);
            commands.push(MetaCommand::Bootstrap { cluster_key: rand::random(), shards });
        }
        if let Some(place) = &self.place
            && state.nodes.is_empty()
        {
            commands.push(MetaCommand::Found(place.founders.clone()));
        }
        for command in commands {
            let bytes = crate::cluster::encode_meta(&command)?;
            let (at, _) = meta.propose(bytes, deadline).await.map_err(Inner::meta_error)?;
            let applied = meta.group().wait_applied(at.index, deadline);
            applied.await.map_err(Inner::meta_error)?;
        }
        Ok(())
    }

    /// Starts all shards; if one fails for another reason than damage, those that run are stopped again.
    async fn start_shards(
        self: &Arc<Self>,
        meta: &MetaMachine,
        meta_group: &Replica,
    ) -> Result<BTreeMap<ShardId, Slot>, Error> {
        let slots = JobSlots {
            flushes: Arc::new(Semaphore::new(FLUSHES_AT_ONCE)),
            compactions: Arc::new(Semaphore::new(1)),
            failure: self.failure.clone(),
            cancel: self.cancel.clone(),
        };
        let ids = meta.state().routing.shards.clone();
        if ids.len() != self.options.shards as usize {
            tracing::warn!(
                "the data directory has {} shards, and keeps them: the setting {} is for new ones",
                ids.len(),
                self.options.shards
            );
        }
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
        group: &Replica,
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
                if let Some(cluster) = &self.options.cluster {
                    cluster.service.refuse_shard(id, with_causes(&e));
                }
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
        let machine = match self.machine_of(id, membership).await {
            Err(e) if e.kind() == crate::ErrorKind::Corrupt && self.place.is_some() => {
                tracing::warn!("shard {} looks for help of its peers", id.0);
                self.repair_files(id).await?;
                self.machine_of(id, membership).await?
            }
            machine => machine?,
        };
        let machine = Arc::new(machine);
        if let Some(cluster) = &self.options.cluster {
            cluster.service.add_shard(Arc::clone(&machine));
        }
        self.tasks.spawn(run_flushes(Arc::clone(&machine), slots.clone()));
        let started = self.start_group(group, Arc::<ShardMachine>::clone(&machine)).await;
        let started = match (started, machine.stopped()) {
            (Ok(started), None) => started,
            (Ok(started), Some(why)) => {
                started.group().stop().await;
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

    async fn machine_of(
        self: &Arc<Self>,
        id: ShardId,
        membership: &Bytes,
    ) -> Result<ShardMachine, Error> {
        let (starting, membership) = (Arc::clone(self), membership.clone());
        blocking(move || starting.open_machine(id, &membership)).await
    }

    /// Fetches the segments again that the newest manifest names and that cannot be opened.
    async fn repair_files(self: &Arc<Self>, id: ShardId) -> Result<(), Error> {
        let starting = Arc::clone(self);
        let (files, damaged) = blocking(move || {
            let files = starting.shard_files(id)?;
            let damaged = damaged_segments(&files)?;
            Ok((files, damaged))
        })
        .await?;
        let Some(fetcher) = &files.fetcher else { return Ok(()) };
        for meta in damaged {
            fetcher
                .fetch_again(id, &files, &meta)
                .await
                .map_err(|e| needs_repair(id, self.dir.root(), &with_causes(&e)))?;
            tracing::warn!("shard {}: a damaged segment was fetched again", id.0);
        }
        Ok(())
    }

    fn shard_files(&self, id: ShardId) -> Result<ShardFiles, Error> {
        let disk = Arc::clone(self.dir.disk());
        let segments = self.dir.segments(id);
        disk.create_dir_all(&segments).map_err(|source| Error::Io {
            action: "make",
            path: segments.clone(),
            source,
        })?;
        Ok(ShardFiles {
            root: self.dir.root().to_path_buf(),
            manifests: ManifestStore::open(Arc::clone(&disk), &self.dir.manifests(id))?,
            caches: Arc::clone(&self.caches),
            pins: SegmentPins::new(),
            disk,
            segments,
            fetcher: self.options.cluster.as_ref().map(|cluster| {
                let peers = Peers::new(Arc::clone(&cluster.transport));
                Fetcher::new(peers, Arc::clone(&cluster.service))
            }),
        })
    }

    /// Reads a shard's manifests and opens its segments.
    fn open_machine(&self, id: ShardId, membership: &Bytes) -> Result<ShardMachine, Error> {
        let files = self.shard_files(id)?;
        let purged = self.recovery.groups.get(&group_of(id)).and_then(|g| g.purged);
        let accept_loss = self.options.accept_loss.then_some(membership);
        let recovered = recover(id, &files, purged, accept_loss)?;
        ShardMachine::new(id, files, self.limits.clone(), recovered)
    }
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
