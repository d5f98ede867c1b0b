//! The network as openraft sees it: one client per peer and purpose, over the [`Transport`].
//!
//! Entries are pipelined: up to [`MESSAGES_IN_FLIGHT`] append messages to one peer are under way, and their answers are
//! handed on in the order of the messages. The first answer that is not a success ends the pipeline; openraft then
//! probes anew. Every call ends at its deadline, whatever the transport does.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::base::BoxFuture;
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    RPCTypes, RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_wal::GroupId;
use serde::de::DeserializeOwned;

use crate::codec::{
    self, AppendReply, SnapshotRecord, SnapshotReply, TransferRecord, TransferReply, VoteAskRecord,
    VoteReply,
};
use crate::raft::{RaftSnapshot, TypeConfig, Vote, position};
use crate::{Message, MessageKind, Node, ReplicaId, Transport};

/// Append messages to one peer that wait for an answer, at most.
const MESSAGES_IN_FLIGHT: usize = 8;

/// Makes clients to the other replicas of a group.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) append_deadline: Duration,
}

/// What a client is for: heartbeats keep their short deadline, entries wait for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Entries,
    Heartbeats,
    Snapshots,
}

impl Peers {
    fn peer(&self, target: u64, node: &Node, purpose: Purpose) -> Peer {
        Peer { peers: self.clone(), to: ReplicaId(target), node: node.clone(), purpose }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Node) -> Peer {
        self.peer(target, node, Purpose::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Node) -> Peer {
        self.peer(target, node, Purpose::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Node) -> Peer {
        self.peer(target, node, Purpose::Snapshots)
    }
}

/// A client to one other replica.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    peers: Peers,
    to: ReplicaId,
    node: Node,
    purpose: Purpose,
}

type RpcError = RPCError<TypeConfig>;
type AppendResult = Result<StreamAppendResult<TypeConfig>, RpcError>;

impl Peer {
    /// Sends a request and reads the answer.
    async fn call<R: DeserializeOwned>(
        &self,
        kind: MessageKind,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<R, RpcError> {
        let Peers { group, replica, transport, .. } = &self.peers;
        let message =
            Message { group: *group, from: *replica, to: self.to, kind, payload: payload.into() };
        let sending = transport.send(&self.node, message, deadline);
        let answer: Bytes = match tokio::time::timeout(deadline, sending).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) if e.kind() != io::ErrorKind::TimedOut => {
                return Err(Unreachable::new(&e).into());
            }
            Ok(Err(_)) | Err(_) => {
                return Err(Timeout {
                    action: action(kind),
                    id: replica.0,
                    target: self.to.0,
                    timeout: deadline,
                }
                .into());
            }
        };
        codec::decode(&answer).map_err(|e| NetworkError::new(&e).into())
    }

    async fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        ttl: Duration,
    ) -> AppendResult {
        let (kind, deadline) = match self.purpose {
            Purpose::Heartbeats => (MessageKind::Heartbeat, ttl),
            Purpose::Entries | Purpose::Snapshots => {
                (MessageKind::Append, ttl.max(self.peers.append_deadline))
            }
        };
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let payload = codec::encode_append(&request);
        drop(request);
        let reply: AppendReply = self.call(kind, payload, deadline).await?;
        if prev.is_none() && matches!(reply, AppendReply::Conflict) {
            let what = "the peer finds a conflict before the first entry";
            return Err(NetworkError::from_string(what).into());
        }
        Ok(AppendEntriesResponse::from(reply).into_stream_result(prev, last))
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
        ttl: Duration,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let record = VoteAskRecord::new(&request, pre_vote);
        let reply: VoteReply = self.call(MessageKind::Vote, codec::encode(&record), ttl).await?;
        Ok(reply.into())
    }
}

fn action(kind: MessageKind) -> RPCTypes {
    match kind {
        MessageKind::Append | MessageKind::Heartbeat => RPCTypes::AppendEntries,
        MessageKind::Vote => RPCTypes::Vote,
        MessageKind::Snapshot => RPCTypes::InstallSnapshot,
        MessageKind::Transfer => RPCTypes::TransferLeader,
    }
}

impl NetBackoff<TypeConfig> for Peer {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetStreamAppend<TypeConfig> for Peer {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let peer: &'s Self = self;
        let ttl = option.hard_ttl();
        Box::pin(async move {
            let answers = input
                .map(move |request| peer.append(request, ttl))
                .buffered(MESSAGES_IN_FLIGHT)
                .boxed();
            Ok(until_refused(answers).boxed())
        })
    }
}

/// Hands answers on up to and including the first that is not a plain success.
fn until_refused(answers: BoxStream<'_, AppendResult>) -> impl Stream<Item = AppendResult> + Send {
    futures::stream::unfold(Some(answers), |answers| async move {
        let mut answers = answers?;
        let answer = answers.next().await?;
        let goes_on = matches!(answer, Ok(Ok(_)));
        Some((answer, goes_on.then_some(answers)))
    })
}

impl NetVote<TypeConfig> for Peer {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(request, false, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(request, true, option.hard_ttl()).await
    }
}

impl NetSnapshot<TypeConfig> for Peer {
    type SnapshotData = Bytes;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let at = snapshot.meta.last_log_id.as_ref().map(position);
        let membership = codec::encode_membership(&snapshot.meta.last_membership);
        let record = SnapshotRecord::new(&vote, at, &membership, &snapshot.snapshot);
        let payload = codec::encode(&record);
        let sending = self.call::<SnapshotReply>(MessageKind::Snapshot, payload, option.hard_ttl());
        tokio::select! {
            closed = cancel => Err(closed.into()),
            reply = sending => Ok(reply?.into()),
        }
    }
}

impl NetTransferLeader<TypeConfig> for Peer {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let payload = codec::encode(&TransferRecord::from(&request));
        let reply: TransferReply =
            self.call(MessageKind::Transfer, payload, option.hard_ttl()).await?;
        Ok(reply.into())
    }
}
