//! Linearizable read indexes, shared by the callers that wait for one.
//!
//! A read index must be taken after its caller asked. Callers who ask while a round with the other voters is under way
//! share the *next* round: it begins when the present one ends, and whoever comes after its beginning starts another.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use openraft::LinearizerOption;
use openraft::errors::{ForwardReason, LinearizableReadError, RaftError};
use parking_lot::Mutex;
use quorate_wal::LogPosition;

use crate::ReplicaId;
use crate::raft::{Raft, position};

/// Why there is no read index.
#[derive(Clone, Debug)]
pub(crate) enum NoRead {
    NotLeader(Option<ReplicaId>),
    NoQuorum(String),
    Stopped(String),
}

type Round = Shared<BoxFuture<'static, Result<LogPosition, NoRead>>>;

/// Takes read indexes, one round at a time.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The round that has not begun.
    next: Mutex<Option<Round>>,
    /// Held by the round that has.
    turn: tokio::sync::Mutex<()>,
}

impl Reads {
    /// A round that begins after this call.
    pub(crate) fn join(self: &Arc<Self>, raft: &Raft, timeout: Duration) -> Round {
        let mut next = self.next.lock();
        if let Some(round) = &*next {
            return round.clone();
        }
        let round = Arc::clone(self).round(raft.clone(), timeout).boxed().shared();
        *next = Some(round.clone());
        round
    }

    async fn round(self: Arc<Self>, raft: Raft, timeout: Duration) -> Result<LogPosition, NoRead> {
        let _turn = self.turn.lock().await;
        self.next.lock().take();
        // An acknowledgement that is older than this round does not count.
        let fresh = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(timeout);
        match raft.get_read_linearizer(fresh).await {
            Ok(linearizer) => Ok(position(linearizer.read_log_id().log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                match forward.reason {
                    ForwardReason::LeaseExpired => {
                        Err(NoRead::NoQuorum("the leader hears no quorum".to_owned()))
                    }
                    ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                        Err(NoRead::NotLeader(forward.leader_id.map(ReplicaId)))
                    }
                }
            }
            Err(RaftError::APIError(e @ LinearizableReadError::QuorumNotEnough(_))) => {
                Err(NoRead::NoQuorum(e.to_string()))
            }
            Err(RaftError::Fatal(e)) => Err(NoRead::Stopped(e.to_string())),
        }
    }
}
