//! openraft's types, filled in, and how they map to this crate's.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, leader_id_adv};
use openraft::raft::ClientWriteResult;
use openraft::raft::responder::Responder;
use quorate_wal::LogPosition;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::Node;
use crate::applier::Applier;
use crate::runtime::GridRuntime;

/// How openraft is instantiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Command;
    type R = Vec<u8>;
    type NodeId = u64;
    type Node = Node;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = GridRuntime;
    type Responder<T>
        = Reply<T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<TypeConfig, Applier>;
pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Command, u64, Node>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, Node>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, Node>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Node>;
pub(crate) type RaftSnapshot = openraft::Snapshot<LeaderId, u64, Node, Bytes>;

/// A command of the state machine, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command(pub(crate) Arc<[u8]>);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Takes the outcome of a proposal to the one who waits for it, if he still does.
#[derive(Debug)]
pub(crate) struct Reply<T>(pub(crate) oneshot::Sender<T>);

/// A proposal's outcome, as openraft tells it.
pub(crate) type Outcome = ClientWriteResult<TypeConfig>;

impl<T: Send + 'static> Responder<TypeConfig, T> for Reply<T> {
    fn on_complete(self, result: T) {
        // Who gave up at the deadline no longer listens.
        self.0.send(result).ok();
    }
}

/// openraft's log id as this crate's position.
pub(crate) fn position(log_id: &LogId) -> LogPosition {
    let leader = log_id.committed_leader_id();
    LogPosition { term: leader.term, leader: leader.node_id, index: log_id.index() }
}

/// This crate's position as openraft's log id.
pub(crate) fn log_id(position: LogPosition) -> LogId {
    let leader = LeaderId { term: position.term, node_id: position.leader };
    LogId::new(leader, position.index)
}
