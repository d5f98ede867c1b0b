//! Coalesces writes: what arrives while an entry is being synced goes into the next one.
//!
//! There is no artificial wait: with a free slot the first write goes at once, alone. While all slots are taken, writes
//! gather; the next free slot takes them together, up to [`COALESCE_BYTES_MAX`], each with a reply of its own. Writes
//! were encoded by their callers, so this only puts bytes together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_segment::TableId;
use quorate_wal::Clock;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::{
    Command, ENTRY_BYTES_MAX, Reply, StoredResult, TableRecord, WriteCommand, WriteItem,
    WriteOutcome, encode,
};
use crate::cluster::Replica;
use crate::store::ShardId;
use crate::{Error, LogPosition};

/// Bytes above which an entry takes no further write.
const COALESCE_BYTES_MAX: usize = 4 << 20;
/// Writes above which an entry takes no further one.
const COALESCE_WRITES_MAX: usize = 1_024;
/// Entries on their way at once: one is synced while the next is gathered and the one before is applied.
const ENTRIES_IN_FLIGHT: usize = 2;
/// Writes that may queue; their bytes are bounded by the budget.
const QUEUE_LEN: usize = 4_096;

/// One client's write to one shard.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    /// What goes into the entry.
    pub(crate) item: WriteItem,
    /// Tables that it is about.
    pub(crate) tables: Vec<TableRecord>,
    /// Its encoded batches.
    pub(crate) payload: Vec<Bytes>,
    /// How long it may take from here.
    pub(crate) deadline: Duration,
}

impl Submission {
    fn bytes(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }
}

/// What became of a submission: the entry's place, and the outcome.
pub(crate) type Answer = Result<(LogPosition, WriteOutcome), Error>;

type Queued = (Submission, oneshot::Sender<Answer>);

/// The queue of one shard.
#[derive(Clone, Debug)]
pub(crate) struct Proposer {
    shard: ShardId,
    queue: mpsc::Sender<Queued>,
}

impl Proposer {
    /// Starts the task that gathers and proposes; it ends when the store closes.
    pub(crate) fn start(
        shard: ShardId,
        replica: Replica,
        clock: Arc<dyn Clock>,
        early: bool,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let (queue, mut submissions) = mpsc::channel::<Queued>(QUEUE_LEN);
        let slots = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
        let spawner = tasks.clone();
        tasks.spawn(async move {
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let first = tokio::select! {
                    () = cancel.cancelled() => return,
                    first = submissions.recv() => first,
                };
                let Some(first) = first else { return };
                let mut bytes = first.0.bytes();
                let mut gathered = vec![first];
                while bytes < COALESCE_BYTES_MAX && gathered.len() < COALESCE_WRITES_MAX {
                    let Ok(next) = submissions.try_recv() else { break };
                    bytes += next.0.bytes();
                    gathered.push(next);
                }
                if early {
                    acknowledge_early(&replica, &mut gathered);
                }
                let (replica, time) = (replica.clone(), clock.now_nanos());
                spawner.spawn(async move {
                    propose(shard, &replica, time, gathered).await;
                    drop(slot);
                });
            }
        });
        Self { shard, queue }
    }

    /// Hands a write in and waits for its outcome.
    pub(crate) async fn submit(&self, submission: Submission) -> Answer {
        let bytes = submission.bytes();
        if bytes > ENTRY_BYTES_MAX {
            return Err(Error::Exhausted(format!(
                "the write has {bytes} bytes for shard {}, more than {ENTRY_BYTES_MAX}; send it \
                 in parts",
                self.shard.0
            )));
        }
        let (answer, answered) = oneshot::channel();
        let closed = || closing(self.shard);
        self.queue.send((submission, answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// The error of a write that came too late to be proposed.
fn closing(shard: ShardId) -> Error {
    let group = super::group_of(shard);
    let what = "the store is closing".to_owned();
    ProposeError::Group(Arc::new(quorate_consensus::Error::Unavailable { group, what }))
        .to_error(shard)
}

/// [`quorate_wal::PlantedBug::EarlyAcknowledgement`]: answers writers before anything is done.
fn acknowledge_early(replica: &Replica, gathered: &mut [Queued]) {
    let last = replica.group().status().last;
    for (submission, answer) in gathered {
        let Some(position) = last.map(|at| LogPosition { index: at.index + 1, ..at }) else {
            continue;
        };
        let stored = StoredResult {
            position,
            accepted: submission.item.parts.iter().map(|part| part.rows).sum(),
            rejected: 0,
            reason: None,
            rejections: Vec::new(),
            duplicate: false,
        };
        let nobody = oneshot::channel().0;
        let _ =
            std::mem::replace(answer, nobody).send(Ok((position, WriteOutcome::Stored(stored))));
    }
}

/// Proposes one entry and answers its writers.
async fn propose(shard: ShardId, replica: &Replica, time: i64, gathered: Vec<Queued>) {
    let mut tables: BTreeMap<TableId, TableRecord> = BTreeMap::new();
    let mut writes = Vec::with_capacity(gathered.len());
    let mut payload = Vec::new();
    let mut answers = Vec::with_capacity(gathered.len());
    let mut deadline = Duration::ZERO;
    for (submission, answer) in gathered {
        deadline = deadline.max(submission.deadline);
        for record in submission.tables {
            let newer = tables
                .get(&record.schema.table)
                .is_none_or(|have| have.changed_at < record.changed_at);
            if newer {
                tables.insert(record.schema.table, record);
            }
        }
        writes.push(submission.item);
        payload.extend(submission.payload);
        answers.push(answer);
    }
    let tables = tables.into_values().collect();
    let command = Command::Write(WriteCommand { time, tables, writes });
    match propose_command(shard, replica, &command, &payload, deadline).await {
        Ok((position, Reply::Written(outcomes))) if outcomes.len() == answers.len() => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // A writer that went away does not wait for its answer.
                let _ = answer.send(Ok((position, outcome)));
            }
        }
        Ok((position, reply)) => {
            for answer in answers {
                let _ = answer.send(Err(Error::Internal(format!(
                    "entry {} of shard {} was answered by {reply:?}",
                    position.index, shard.0
                ))));
            }
        }
        Err(failure) => {
            for answer in answers {
                let _ = answer.send(Err(failure.to_error(shard)));
            }
        }
    }
}

/// Why an entry failed; told to each of its writers.
#[derive(Clone, Debug)]
pub(crate) enum ProposeError {
    /// Raft or the log.
    Group(Arc<quorate_consensus::Error>),
    /// A bug.
    Internal(String),
}

impl ProposeError {
    /// For one writer.
    pub(crate) fn to_error(&self, shard: ShardId) -> Error {
        match self {
            Self::Group(source) => {
                Error::Group { shard: format!("shard {}", shard.0), source: Arc::clone(source) }
            }
            Self::Internal(what) => Error::Internal(what.clone()),
        }
    }
}

/// Proposes a command and reads the reply.
pub(crate) async fn propose_command(
    shard: ShardId,
    replica: &Replica,
    command: &Command,
    payload: &[Bytes],
    deadline: Duration,
) -> Result<(LogPosition, Reply), ProposeError> {
    let internal =
        |e: postcard::Error| ProposeError::Internal(format!("a command of shard {}: {e}", shard.0));
    let bytes = encode(command, payload).map_err(internal)?;
    let (position, reply) =
        replica.propose(bytes, deadline).await.map_err(|e| ProposeError::Group(Arc::new(e)))?;
    let reply = postcard::from_bytes(&reply).map_err(internal)?;
    Ok((position, reply))
}
