//! The start of a node's groups: metadata group and shards, their manifests, and what of it is damaged.
//!
//! Each group loads its newest manifest and is given only the log above it. A shard whose log or files are damaged is
//! mended from its peers, where there are any; else it refuses service, alone. Damage of the metadata group refuses the
//! directory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use quorate_consensus::{Group, GroupOptions, Node, ReplicaId, StateMachine, Timers, Transport};
use quorate_segment::SegmentCaches;
use quorate_wal::{GroupId, LogPosition, Recovery, Wal};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::core::{Inner, Slot};
use super::{ShardId, StoreOptions};
use crate::batch::DecodedBatches;
use crate::cluster::{
    DataDir, KnownIds, MetaCommand, MetaMachine, PeerRequest, Peers, Place, Replica,
};
use crate::manifest::ManifestStore;
use crate::scan::Tails;
use crate::shard::{
    Fetcher, FlushLimits, JobSlots, MemtableLimits, Remedy, Shard, ShardFiles, ShardMachine,
    damaged_segments, group_of, needs_repair, recover, run_compactions, run_flushes,
};
use crate::version::SegmentPins;
use crate::{ColumnId, Error, with_causes};

/// How long a group may take to apply what its log holds.
const REPLAY_DEADLINE: Duration = Duration::from_mins(10);
/// How often a start tells that it waits for a shard, before it goes on without it.
const SHARD_ROUNDS: u32 = 5;
/// How long a node may take to say whether it knows this one.
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// The one replica of each group on a node of its own.
const ALONE: ReplicaId = ReplicaId(1);
/// How often a start that waits for others tells for what, and asks whether they still know it.
const TELL_EVERY: Duration = Duration::from_secs(3);
/// Between two rounds of looking for help of peers.
pub(super) const ROUND: Duration = Duration::from_millis(500);
/// Rounds before a shard refuses service.
pub(super) const ROUNDS: u32 = 40;
/// How often somebody who waits is told for what, in rounds.
pub(super) const TELL_ROUNDS: u32 = 10;
/// Flushes at once, on all shards.
const FLUSHES_AT_ONCE: usize = 2;

/// What the groups of a node are started with.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) options: StoreOptions,
    pub(super) dir: DataDir,
    pub(super) wal: Wal,
    pub(super) recovery: Recovery,
    pub(super) transport: Arc<dyn Transport>,
    /// Its place in a cluster.
    pub(super) place: Option<Place>,
    pub(super) caches: Arc<SegmentCaches>,
    pub(super) tails: Arc<Tails>,
    pub(super) decoded: Arc<DecodedBatches>,
    pub(super) limits: MemtableLimits,
    pub(super) tasks: TaskTracker,
    pub(super) failure: watch::Sender<Option<String>>,
    pub(super) cancel: CancellationToken,
}

/// Runs what blocks on the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    crate::blocking::run("a start-up task", work).await
}

impl Starting {
    /// Why a group's log cannot be used, if it cannot. Damaged entries are fetched again from peers; with `accept_loss`,
    /// what is damaged is given up first.
    async fn log_damage(self: &Arc<Self>, group: GroupId) -> Result<Option<String>, Error> {
        let faulty = self.recovery.faulty.get(&group).map_or(0, Vec::len);
        let quarantined = self.recovery.quarantined.contains(&group);
        if faulty == 0 && !quarantined {
            return Ok(None);
        }
        if self.options.accept_loss {
            self.accept_loss(group).await?;
            return Ok(None);
        }
        if quarantined {
            let what = self.recovery.lost.clone();
            return Ok(Some(what.unwrap_or_else(|| "its log is not whole".to_owned())));
        }
        if self.place.is_some() {
            return self.mend_log(group).await;
        }
        Ok(Some(format!("{faulty} entries of its log are damaged")))
    }

    /// Gives up what is damaged or missing in a group's log.
    pub(super) async fn accept_loss(&self, group: GroupId) -> Result<(), Error> {
        let wal = self.wal.clone();
        let lost = blocking(move || Ok(wal.accept_loss(group)?)).await?;
        tracing::error!(
            "group {}: {} entries of the log are given up, from {:?} to {:?}",
            group.0,
            lost.len(),
            lost.first(),
            lost.last()
        );
        Ok(())
    }

    /// What helps where something is damaged.
    pub(super) fn remedy(&self) -> Remedy {
        match self.place {
            Some(_) => Remedy::Replace,
            None => Remedy::Repair(self.dir.root().to_path_buf()),
        }
    }

    /// How other nodes are asked, in a cluster.
    pub(super) fn peers(&self) -> Option<Peers> {
        let cluster = self.options.cluster.as_ref()?;
        Some(Peers::new(Arc::clone(&cluster.transport)))
    }

    pub(super) fn stop_answering(&self) {
        if let Some(cluster) = &self.options.cluster {
            cluster.service.stop();
        }
    }

    /// This node's replica of every group.
    pub(super) fn own(&self) -> ReplicaId {
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
            timers: self
                .options
                .cluster
                .as_ref()
                .map_or_else(Timers::default, |cluster| cluster.service.pace().timers),
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

    pub(super) async fn start_meta(self: &Arc<Self>) -> Result<(Replica, Arc<MetaMachine>), Error> {
        let group = GroupId(0);
        if let Some(what) = self.log_damage(group).await? {
            let remedy = self.remedy();
            return Err(Error::Corrupt(format!(
                "the metadata group cannot start: {what}; {remedy}"
            )));
        }
        let machine = match self.meta_machine().await {
            Err(e) if e.kind() == crate::ErrorKind::Corrupt && self.place.is_some() => {
                tracing::warn!("{}: peers are asked for theirs", with_causes(&e));
                self.take_manifest(group, self.purged(group)).await?;
                self.meta_machine().await?
            }
            machine => machine?,
        };
        let machine = Arc::new(machine);
        if let Some(cluster) = &self.options.cluster {
            cluster.service.set_meta(Arc::clone(&machine));
        }
        let started = self.start_group(group, Arc::<MetaMachine>::clone(&machine)).await?;
        self.bootstrap(&started, &machine).await?;
        Ok((started, machine))
    }

    /// The last index that a group's log no longer holds.
    pub(super) fn purged(&self, group: GroupId) -> Option<LogPosition> {
        self.wal.group(group).state().purged
    }

    async fn meta_machine(self: &Arc<Self>) -> Result<MetaMachine, Error> {
        let starting = Arc::clone(self);
        blocking(move || {
            let disk = Arc::clone(starting.dir.disk());
            let manifests = ManifestStore::open(disk, &starting.dir.meta())?;
            let purged = starting.purged(GroupId(0));
            MetaMachine::open(manifests, purged, &starting.remedy(), starting.failure.clone())
        })
        .await
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
    pub(super) async fn start_shards(
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
            return Err(needs_repair(id, &self.remedy(), &what));
        }
        let machine = self.mended_machine(id, membership).await?;
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
                return Err(needs_repair(id, &self.remedy(), &why));
            }
            (Err(_), Some(why)) => return Err(needs_repair(id, &self.remedy(), &why)),
            (Err(e), None) => return Err(e),
        };
        let shard = Arc::new(Shard::new(
            machine,
            started,
            Arc::clone(&self.options.clock),
            FlushLimits::of(&self.options),
            &self.tasks,
            self.cancel.clone(),
        ));
        self.tasks.spawn(run_compactions(Arc::clone(&shard), slots.clone()));
        Ok(shard)
    }

    /// The state machine, from files that are mended from peers where they must be; who has them may be starting too.
    async fn mended_machine(
        self: &Arc<Self>,
        id: ShardId,
        membership: &Bytes,
    ) -> Result<ShardMachine, Error> {
        let mut opened = self.machine_of(id, membership).await;
        for round in 0..ROUNDS {
            let Err(e) = &opened else { break };
            if e.kind() != crate::ErrorKind::Corrupt || self.place.is_none() {
                break;
            }
            if round % TELL_ROUNDS == 0 {
                tracing::warn!("shard {} looks for help of its peers: {}", id.0, with_causes(e));
            }
            if round > 0 {
                sleep(ROUND).await;
            }
            opened = match self.mend_files(id).await {
                Ok(()) => self.machine_of(id, membership).await,
                Err(e) => Err(needs_repair(id, &self.remedy(), &with_causes(&e))),
            };
        }
        opened
    }

    /// Gets the manifest from a peer where none can be read, and the segments that cannot be opened. A segment that the
    /// others have merged into another one since is theirs no more: then their manifest is taken, which names the other.
    async fn mend_files(self: &Arc<Self>, id: ShardId) -> Result<(), Error> {
        let group = group_of(id);
        if self.lacks_manifest(id).await? {
            self.take_manifest(group, self.purged(group)).await?;
        }
        let Err(e) = self.repair_files(id).await else { return Ok(()) };
        let starting = Arc::clone(self);
        let own = blocking(move || starting.newest_manifest(group)).await?;
        let newer = own.map(|own| LogPosition { index: own.index + 1, ..own });
        self.take_manifest(group, newer).await.map_err(|_| e)
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
            fetcher.fetch_again(id, &files, &meta).await?;
            tracing::warn!("shard {}: a damaged segment was fetched again", id.0);
        }
        Ok(())
    }

    pub(super) fn shard_files(&self, id: ShardId) -> Result<ShardFiles, Error> {
        let disk = Arc::clone(self.dir.disk());
        let segments = self.dir.segments(id);
        disk.create_dir_all(&segments).map_err(|source| Error::Io {
            action: "make",
            path: segments.clone(),
            source,
        })?;
        Ok(ShardFiles {
            remedy: self.remedy(),
            faults: self.options.faults.clone(),
            manifests: ManifestStore::open(Arc::clone(&disk), &self.dir.manifests(id))?,
            caches: Arc::clone(&self.caches),
            tails: Arc::clone(&self.tails),
            decoded: Arc::clone(&self.decoded),
            pins: SegmentPins::new(),
            disk,
            segments,
            failure: self.failure.clone(),
            fetcher: self.options.cluster.as_ref().map(|cluster| {
                let peers = Peers::new(Arc::clone(&cluster.transport));
                Fetcher::new(peers, Arc::clone(&cluster.service))
            }),
        })
    }

    /// Reads a shard's manifests and opens its segments.
    fn open_machine(&self, id: ShardId, membership: &Bytes) -> Result<ShardMachine, Error> {
        let files = self.shard_files(id)?;
        let purged = self.purged(group_of(id));
        let accept_loss = self.options.accept_loss.then_some(membership);
        let recovered = recover(id, &files, purged, accept_loss)?;
        ShardMachine::new(id, files, self.limits.clone(), recovered)
    }
}
