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

/// What a request goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Short ones: they share the connection of Raft's messages.
    Control,
    /// Pieces of files: a connection of their own, so that nothing waits behind them.
    Bulk,
}

/// Who a node says that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its cluster; 0 while it belongs to none.
    pub cluster: u128,
    /// Its id there ([`Node::node`]); 0 while it belongs to none.
    pub node: u64,
}

/// How replicas reach each other.
///
/// Several [`MessageKind::Append`] messages of one group are sent at once. They should arrive in the order in which
/// `send` was first polled; another order costs time, not safety. The same holds at the receiving side for the first
/// poll of [`Receiver::message`]. Heartbeats and votes must not wait behind a snapshot.
///
/// An unreachable peer is an error, never a made-up answer:
///
/// | kind of error | meaning |
/// |---|---|
/// | [`NotConnected`](io::ErrorKind::NotConnected) | nothing was sent |
/// | [`PermissionDenied`](io::ErrorKind::PermissionDenied) | the peer does not talk to this node: another cluster, or one of the two was replaced |
/// | [`TimedOut`](io::ErrorKind::TimedOut) | it took longer than the deadline; the peer may have acted |
/// | any other | the peer may have acted |
#[async_trait::async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Sends a message of Raft's and waits for the answer.
    async fn send(&self, to: &Node, message: Message, deadline: Duration) -> io::Result<Bytes>;

    /// Asks a node for something else; what, is up to those who ask and answer.
    async fn call(
        &self,
        to: &Node,
        request: Bytes,
        lane: Lane,
        deadline: Duration,
    ) -> io::Result<Bytes>;
}

/// What a transport hands to the node that it serves.
#[async_trait::async_trait]
pub trait Receiver: Debug + Send + Sync + 'static {
    /// Who this node is, for those that it talks to. It changes once, when the node finds its place in a cluster.
    fn identity(&self) -> PeerIdentity;

    /// Whether a node may talk to this one. `to` is the [`Node::node`] that it means, 0 for whoever is there. The error
    /// is told to the peer as [`PermissionDenied`](io::ErrorKind::PermissionDenied).
    fn admit(&self, from: PeerIdentity, to: u64) -> Result<(), String>;

    /// Takes a message of Raft's. The first poll queues it: poll those of one peer in the order of arrival.
    async fn message(&self, message: Message) -> io::Result<Bytes>;

    /// Answers a request.
    async fn request(&self, from: PeerIdentity, request: Bytes) -> io::Result<Bytes>;
}
