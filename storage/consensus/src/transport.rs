//! How replicas talk: one trait, and its in-memory form for tests.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_wal::GroupId;

use crate::{Group, Node, ReplicaId};

/// A message between two replicas of a group; the payload is encoded by this crate.
#[derive(Clone, Debug)]
pub struct Message {
    /// The group.
    pub group: GroupId,
    /// Who sends.
    pub from: ReplicaId,
    /// Who is meant.
    pub to: ReplicaId,
    /// What it is: priority and channel follow from it.
    pub kind: MessageKind,
    /// The encoded request.
    pub payload: Bytes,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Entries.
    Append,
    /// No entries: the leader lives.
    Heartbeat,
    /// A vote or pre-vote is asked for.
    Vote,
    /// A manifest is offered.
    Snapshot,
    /// Leadership is handed over.
    Transfer,
}

/// How replicas reach each other.
#[async_trait::async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Sends a message and waits for the answer. An unreachable peer is an error, never a made-up answer.
    async fn send(&self, to: &Node, message: Message, deadline: Duration) -> io::Result<Bytes>;
}

/// Replicas in one process, with links that tests can cut.
#[derive(Clone, Debug, Default)]
pub struct MemoryTransport {}

impl MemoryTransport {
    /// Makes a replica reachable.
    pub fn register(&self, _replica: ReplicaId, _group: Group) {
        unimplemented!()
    }
    /// Makes a replica unreachable.
    pub fn unregister(&self, _group: GroupId, _replica: ReplicaId) {
        unimplemented!()
    }
    /// Cuts (or mends) messages from one replica to another.
    pub fn cut(&self, _from: ReplicaId, _to: ReplicaId, _cut: bool) {
        unimplemented!()
    }
    /// As a trait object.
    pub fn shared(self) -> Arc<dyn Transport> {
        Arc::new(self)
    }
}

#[async_trait::async_trait]
impl Transport for MemoryTransport {
    async fn send(&self, _to: &Node, _message: Message, _deadline: Duration) -> io::Result<Bytes> {
        unimplemented!()
    }
}
