//! The state machine as openraft sees it: batches entries, hands replies back, and offers snapshots.
//!
//! One task per group owns the [`Applier`] and calls it; the snapshot builder and readers only ask for the durable state.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use parking_lot::Mutex;
use quorate_wal::LogPosition;
use tokio::sync::oneshot;

use crate::codec::{decode_membership, encode_membership};
use crate::raft::{
    LogId, Payload, RaftSnapshot, SnapshotMeta, StoredMembership, TypeConfig, log_id, position,
};
use crate::{Applied, Fatal, Snapshot, StateMachine};

/// Entries handed to the state machine at once, at most.
const APPLY_ENTRIES_MAX: usize = 256;
/// Bytes of commands handed to the state machine at once; one entry may exceed it.
const APPLY_BYTES_MAX: usize = 4 << 20;

/// Where the state machine stands in memory.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl Standing {
    /// Of a state machine that was just opened: what is durable.
    pub(crate) async fn durable(machine: &dyn StateMachine) -> io::Result<Self> {
        let durable = machine.durable().await.map_err(fatal)?;
        let membership = decode_membership(&durable.membership)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Ok(Self { applied: durable.position.map(log_id), membership })
    }

    /// The last entry that is applied.
    pub(crate) fn position(&self) -> Option<LogPosition> {
        self.applied.as_ref().map(position)
    }
}

/// openraft's state machine.
#[derive(Debug)]
pub(crate) struct Applier {
    machine: Arc<dyn StateMachine>,
    standing: Arc<Mutex<Standing>>,
    /// Dropped with the task that applies: whoever stops the group waits for that.
    _alive: oneshot::Sender<()>,
}

impl Applier {
    /// Over a state machine that stands there. The receiver ends when the applier is gone.
    pub(crate) fn new(
        machine: Arc<dyn StateMachine>,
        standing: Arc<Mutex<Standing>>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (alive, ended) = oneshot::channel();
        (Self { machine, standing, _alive: alive }, ended)
    }

    async fn apply_batch(&mut self, batch: Batch) -> io::Result<()> {
        let Some(last) = batch.entries.last().map(|entry| log_id(entry.position)) else {
            return Ok(());
        };
        // The log hands entries out without gaps; what it must not do is to hand one out twice.
        let first = log_id(batch.entries[0].position);
        let standing = self.standing.lock().applied;
        if standing.is_some_and(|applied| first <= applied) {
            let what = format!("entry {first} would be applied after {standing:?}");
            return Err(io::Error::other(what));
        }
        let count = batch.entries.len();
        let applying = AssertUnwindSafe(self.machine.apply(batch.entries)).catch_unwind();
        let replies = match applying.await {
            Ok(result) => result.map_err(fatal)?,
            Err(_) => return Err(io::Error::other("the state machine panicked")),
        };
        if replies.len() != count {
            let what = format!("{} replies for {count} entries", replies.len());
            return Err(io::Error::other(what));
        }
        {
            let mut standing = self.standing.lock();
            standing.applied = Some(last);
            if let Some(membership) = batch.membership {
                standing.membership = membership;
            }
        }
        for (responder, reply) in batch.responders.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(reply.into());
            }
        }
        Ok(())
    }
}

/// Entries that are applied together.
#[derive(Default)]
struct Batch {
    entries: Vec<Applied>,
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    membership: Option<StoredMembership>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.entries.len() >= APPLY_ENTRIES_MAX || self.bytes >= APPLY_BYTES_MAX
    }

    fn push(&mut self, (entry, responder): EntryResponder<TypeConfig>) {
        let (command, membership) = match entry.payload {
            Payload::Blank => (None, None),
            Payload::Normal(command) => {
                self.bytes += command.0.len();
                (Some(Bytes::from_owner(command.0)), None)
            }
            Payload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership);
                let encoded = encode_membership(&stored);
                self.membership = Some(stored);
                (None, Some(encoded))
            }
        };
        self.entries.push(Applied { position: position(&entry.log_id), command, membership });
        self.responders.push(responder);
    }
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Durable;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let standing = self.standing.lock();
        Ok((standing.applied, standing.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let mut batch = Batch::default();
        while let Some(entry) = entries.next().await {
            batch.push(entry?);
            if batch.is_full() {
                self.apply_batch(std::mem::take(&mut batch)).await?;
            }
        }
        self.apply_batch(batch).await
    }

    async fn get_snapshot_builder(&mut self) -> Durable {
        Durable(Arc::clone(&self.machine))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        manifest: Bytes,
    ) -> Result<(), io::Error> {
        let snapshot = Snapshot {
            position: meta.last_log_id.as_ref().map(position),
            membership: encode_membership(&meta.last_membership),
            manifest,
        };
        self.machine.install(snapshot).await.map_err(fatal)?;
        *self.standing.lock() =
            Standing { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let snapshot = self.machine.durable().await.map_err(fatal)?;
        snapshot.position.is_some().then(|| raft_snapshot(snapshot)).transpose()
    }
}

/// The durable state of the state machine: what openraft calls building a snapshot is reading it.
#[derive(Debug)]
pub(crate) struct Durable(Arc<dyn StateMachine>);

impl RaftSnapshotBuilder<TypeConfig> for Durable {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        raft_snapshot(self.0.durable().await.map_err(fatal)?)
    }
}

fn raft_snapshot(snapshot: Snapshot) -> io::Result<RaftSnapshot> {
    let last_membership = decode_membership(&snapshot.membership)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    let meta = SnapshotMeta { last_log_id: snapshot.position.map(log_id), last_membership };
    Ok(RaftSnapshot { meta, snapshot: snapshot.manifest })
}

fn fatal(fatal: Fatal) -> io::Error {
    io::Error::other(fatal)
}
