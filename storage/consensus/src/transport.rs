//! How replicas talk to each other.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use quorate_wal::GroupId;

use crate::{Node, ReplicaId};

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
///
/// Several [`MessageKind::Append`] messages of one group are sent at once. They should arrive in the order in which
/// `send` was first polled; another order costs time, not safety. The same holds at the receiving side for the first
/// poll of [`Group::handle`](crate::Group::handle). Heartbeats and votes must not wait behind a snapshot.
#[async_trait::async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Sends a message and waits for the answer. An unreachable peer is an error, never a made-up answer; a call that
    /// took longer than `deadline` is [`io::ErrorKind::TimedOut`].
    async fn send(&self, to: &Node, message: Message, deadline: Duration) -> io::Result<Bytes>;
}
