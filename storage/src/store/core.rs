//! [`Store`]: the handle that the engine holds, and what stands behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_consensus::{Group, ReplicaId};
use quorate_segment::{SegmentCaches, SeriesKey, TableId};
use quorate_wal::{Disk, Wal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::status::ReadStatus;
use super::{
    Delete, KeyedReceipt, ReadLevel, RoutingStatus, RowPlace, SegmentStatus, ShardId, StoreOptions,
    StoreStatus, TableStatus, WriteOptions, WriteReceipt,
};
use crate::Error;
use crate::batch::{DecodedBatches, ValidBatch};
use crate::catalog::{Catalog, CatalogCommand, CatalogReply, OptionsChange};
use crate::cluster::{
    DataDir, MetaCommand, MetaMachine, MetaReply, MetaState, Replica, decode_reply, encode_meta,
};
use crate::scan::{TableView, TimeRange};
use crate::shard::{Budget, Shard};

/// How long a node that is asked whether it is ready tries to find out.
const READY_DEADLINE: Duration = Duration::from_secs(1);

/// A shard of this node.
#[derive(Debug)]
pub(super) enum Slot {
    /// It runs.
    Running(Arc<Shard>),
    /// It refuses service until an operator has looked; the others run.
    Refused(String),
}

/// What all handles share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) options: StoreOptions,
    pub(super) dir: DataDir,
    pub(super) wal: Wal,
    /// This node's replica of every group.
    pub(super) own: ReplicaId,
    pub(super) meta_group: Replica,
    pub(super) meta: Arc<MetaMachine>,
    pub(super) shards: BTreeMap<ShardId, Slot>,
    pub(super) budget: Arc<Budget>,
    pub(super) caches: Arc<SegmentCaches>,
    pub(super) decoded: Arc<DecodedBatches>,
    pub(super) rows_accepted: AtomicU64,
    /// Why the process must end, once it must.
    pub(super) failure: watch::Sender<Option<String>>,
    /// Held while a change of routing is being ended here.
    pub(super) rerouting: tokio::sync::Mutex<()>,
    /// Wakes maintenance.
    pub(super) maintain: Arc<Notify>,
    pub(super) cancel: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Inner {
    /// Refuses service where the others do not take this node for one of theirs any more.
    pub(super) fn check_member(&self) -> Result<(), Error> {
        let cluster = self.options.cluster.as_ref();
        match cluster.and_then(|cluster| cluster.service.expelled()) {
            Some(why) => Err(Error::Exhausted(format!(
                "this node serves nothing, the others refuse it: {why}"
            ))),
            None => Ok(()),
        }
    }

    /// A shard that runs, or why it does not.
    pub(super) fn shard(&self, id: ShardId) -> Result<&Arc<Shard>, Error> {
        self.check_member()?;
        match self.shards.get(&id) {
            Some(Slot::Running(shard)) => match shard.stopped() {
                None => Ok(shard),
                Some(why) => Err(Error::Corrupt(format!("shard {} has stopped: {why}", id.0))),
            },
            Some(Slot::Refused(why)) => Err(Error::Corrupt(why.clone())),
            None => Err(Error::Internal(format!("shard {} is not on this node", id.0))),
        }
    }

    /// The shards that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &Arc<Shard>> {
        self.shards.values().filter_map(|slot| match slot {
            Slot::Running(shard) => Some(shard),
            Slot::Refused(_) => None,
        })
    }

    /// The groups that this node leads.
    pub(super) fn led(&self) -> impl Iterator<Item = &Group> {
        let shards = self.running().map(|shard| shard.group());
        shards.chain([self.meta_group.group()]).filter(|group| group.is_leader())
    }

    /// An error of the metadata group.
    pub(super) fn meta_error(source: quorate_consensus::Error) -> Error {
        Error::Group { shard: "the metadata group".to_owned(), source: Arc::new(source) }
    }

    /// Proposes to the metadata group.
    pub(super) async fn propose_meta(&self, command: &MetaCommand) -> Result<MetaReply, Error> {
        self.check_member()?;
        let bytes = encode_meta(command)?;
        let deadline = self.options.write_deadline;
        let (at, reply) =
            self.meta_group.propose(bytes, deadline).await.map_err(Self::meta_error)?;
        // The leader has applied it; the caller looks at what this node has.
        self.meta_group.group().wait_applied(at.index, deadline).await.map_err(Self::meta_error)?;
        decode_reply(&reply)
    }
}

impl Inner {
    /// Stops maintenance, jobs and queues.
    pub(super) fn stop_tasks(&self) {
        self.cancel.cancel();
        for shard in self.running() {
            shard.machine().cancelled.store(true, Ordering::SeqCst);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_tasks();
    }
}

/// The store of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

impl Store {
    /// Opens a data directory, or makes a new one: log, metadata group, shards; replays what no manifest covers. Ready
    /// to read and write on return.
    pub async fn open(disk: Arc<dyn Disk>, options: StoreOptions) -> Result<Self, Error> {
        super::open::open(disk, options).await
    }

    /// Stops groups and jobs in order and releases the directory. Memtables stay in the log.
    pub async fn close(&self) -> Result<(), Error> {
        super::open::close(&self.inner).await
    }

    /// Resolves when a failed write or sync makes all that is pending unknown: the process must then end (exit status
    /// 74) and read the disk anew. The text says what failed.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.failure.subscribe();
        loop {
            if let Some(what) = failure.borrow_and_update().clone() {
                return what;
            }
            if failure.changed().await.is_err() {
                // The sender lives as long as this handle does.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The key that this cluster signs handles and tickets with; kept by the metadata group, the same on every node.
    ///
    /// # Panics
    ///
    /// Never: opening ends after the bootstrap, which makes the key.
    pub fn cluster_key(&self) -> [u8; 32] {
        self.inner.meta.state().cluster_key.expect("open returns after the bootstrap")
    }

    /// The catalog as applied on this node.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.meta_state().catalog
    }

    pub(super) fn meta_state(&self) -> MetaState {
        self.inner.meta.state()
    }

    /// The catalog after a metadata read index.
    pub async fn catalog_linearizable(&self) -> Result<Arc<Catalog>, Error> {
        self.inner.check_member()?;
        self.inner
            .meta_group
            .read_index(self.inner.options.write_deadline)
            .await
            .map_err(Inner::meta_error)?;
        Ok(self.catalog())
    }

    /// Changes the catalog. On return [`Store::catalog`] has the change. A rejection is an error.
    pub async fn change_catalog(&self, command: CatalogCommand) -> Result<CatalogReply, Error> {
        let drops = matches!(
            command,
            CatalogCommand::DropDatabase { .. } | CatalogCommand::DropTable { .. }
        );
        let reply = self.inner.propose_meta(&MetaCommand::Catalog(command)).await?;
        match reply {
            MetaReply::Catalog(CatalogReply::Rejected(rejection)) => Err(Error::Catalog(rejection)),
            MetaReply::Catalog(reply) => {
                if drops && matches!(reply, CatalogReply::Changed { .. }) {
                    // The metadata group has the tombstone; a shard that cannot be told now is told by maintenance.
                    self.tell_dropped(Duration::from_secs(2)).await;
                }
                Ok(reply)
            }
            reply => Err(Error::Internal(format!("a catalog command was answered by {reply:?}"))),
        }
    }

    /// Changes options of a table; `time_slice` and `spread` from the slice behind its last row on. On return
    /// [`Store::catalog`] has the change.
    pub async fn change_options(
        &self,
        table: TableId,
        change: &OptionsChange,
    ) -> Result<(), Error> {
        super::rerouting::change(self, table, change).await
    }

    /// How the rows of a table are placed, by time; a change that has begun comes last.
    pub fn routing(&self, table: TableId) -> Vec<RoutingStatus> {
        super::status::routing_of(&self.meta_state(), table)
    }

    /// Where this node takes rows of a series and time to be; `None` for a table that it does not know.
    pub fn place_of(&self, table: TableId, series: &SeriesKey, time: i64) -> Option<RowPlace> {
        super::status::place_of(&self.meta_state(), table, series, time)
    }

    /// Routes and writes a batch; returns once every shard has committed and applied its part.
    pub async fn write(
        &self,
        batch: ValidBatch,
        options: &WriteOptions,
    ) -> Result<WriteReceipt, Error> {
        self.write_all(vec![batch], options).await
    }

    /// As [`Store::write`], for several batches of one request (one table each): one entry per shard.
    pub async fn write_all(
        &self,
        batches: Vec<ValidBatch>,
        options: &WriteOptions,
    ) -> Result<WriteReceipt, Error> {
        super::write::write_all(self, batches, options).await
    }

    /// The time of a keyed request whose rows have none: `proposed` the first time, the same one ever after.
    pub async fn time_of_key(&self, key: &str, proposed: i64) -> Result<i64, Error> {
        super::write::time_of_key(self, key, proposed).await
    }

    /// What is committed under an idempotency key, in all shards, as of now.
    pub async fn key_status(&self, key: &str) -> Result<Vec<KeyedReceipt>, Error> {
        super::write::key_status(self, key).await
    }

    /// Deletes by time range and series. `rejected` of the receipt counts nothing; rows deleted are not counted.
    pub async fn delete(
        &self,
        delete: Delete,
        options: &WriteOptions,
    ) -> Result<WriteReceipt, Error> {
        super::write::delete(self, delete, options).await
    }

    /// A view of one table over all shards that may hold rows of it in `time`.
    pub async fn view(
        &self,
        table: TableId,
        time: TimeRange,
        level: &ReadLevel,
    ) -> Result<TableView, Error> {
        super::read::view(self, table, time, level).await
    }

    /// Views of several tables, in their order: each shard is asked once how fresh it is, not once per table. A table that
    /// is gone is [`Error::Stale`].
    pub async fn views(
        &self,
        tables: &[TableId],
        time: TimeRange,
        level: &ReadLevel,
    ) -> Result<Vec<TableView>, Error> {
        super::read::views(self, tables, time, level).await
    }

    /// Flushes the memtables of all shards and waits until the files are durable. For tests and `CHECKPOINT`.
    pub async fn flush(&self) -> Result<(), Error> {
        super::maintenance::flush_all(&self.inner).await
    }

    /// Compacts until nothing is left to do. For tests and maintenance.
    pub async fn compact(&self) -> Result<(), Error> {
        super::maintenance::compact_all(&self.inner).await
    }

    /// Segments of the current versions, by shard.
    pub fn segments(&self) -> Vec<SegmentStatus> {
        self.inner.running().flat_map(|shard| shard.segments()).collect()
    }

    /// What is known of one table without reading it.
    pub fn table_status(&self, table: TableId) -> TableStatus {
        let mut status = TableStatus::default();
        for shard in self.inner.running() {
            shard.add_table_status(table, &mut status);
        }
        status
    }

    /// Counters.
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            wal: self.inner.wal.status(),
            shards: self.inner.running().map(|shard| shard.status()).collect(),
            rows_accepted: self.inner.rows_accepted.load(Ordering::Relaxed),
            writes_waiting: self.inner.budget.waiting(),
            reads: ReadStatus::of(&self.inner.caches),
        }
    }

    /// Why shards refuse service, if any do.
    pub fn refusals(&self) -> Vec<String> {
        let refused = |slot: &Slot| match slot {
            Slot::Running(_) => None,
            Slot::Refused(why) => Some(why.clone()),
        };
        self.inner.shards.values().filter_map(refused).collect()
    }

    /// Whether every group has a leader with a majority, and its replica here has applied what was committed when it was
    /// asked. Takes up to a second.
    pub async fn ready(&self) -> bool {
        if !self.has_leaders() || self.inner.check_member().is_err() {
            return false;
        }
        if self.inner.options.cluster.is_none() {
            return true;
        }
        let meta = self.inner.meta_group.read_index(READY_DEADLINE);
        let shards = self.inner.running().map(|shard| shard.read_index(READY_DEADLINE));
        let (meta, shards) = futures::join!(meta, futures::future::join_all(shards));
        meta.is_ok() && shards.iter().all(Result::is_ok)
    }

    /// Whether every local group runs and knows a leader, which may be gone: cheap, for counters.
    pub fn has_leaders(&self) -> bool {
        self.inner.meta_group.group().leader().is_some()
            && self.inner.shards.values().all(|slot| match slot {
                Slot::Running(shard) => shard.ready(),
                Slot::Refused(_) => false,
            })
    }
}
