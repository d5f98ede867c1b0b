//! [`Replica`]: this node's replica of a group, and the way from it to the leader.
//!
//! Any node takes any command and any read: where it does not lead, it hands them to the leader, and tries again
//! elsewhere while it is certain that nothing was done. What may have been done is never done twice: the caller is told
//! that the outcome is unknown, and repeats it under its key.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_consensus::{
    Error, ErrorKind, Group, GroupId, Lane, LogPosition, Node, ReplicaId, Transport,
};
use tokio::time::Instant;

use super::wire::{PeerReply, PeerRequest, decode, encode};

/// Between two attempts to find the leader: first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Time that an answer may take beyond the deadline of what was asked.
const ANSWER_SLACK: Duration = Duration::from_millis(500);
/// How often a request that waits for a leader looks who leads.
const LEADER_POLL: Duration = Duration::from_millis(100);
/// How long a node that leads no longer may take to answer.
const LEFT_ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// How long one attempt at a read index may take, before another leader is looked for.
const READ_ATTEMPT: Duration = Duration::from_secs(3);

/// Asks other nodes.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    transport: Arc<dyn Transport>,
}

impl Peers {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// Asks a node. An error of the transport tells whether the request may have arrived.
    pub(crate) async fn ask(
        &self,
        to: &Node,
        request: &PeerRequest,
        payload: &[u8],
        deadline: Duration,
    ) -> io::Result<(PeerReply, Bytes)> {
        let lane = match request {
            PeerRequest::Piece { .. } => Lane::Bulk,
            _ => Lane::Control,
        };
        let bytes = encode(request, payload).map_err(io::Error::other)?;
        let answer = self.transport.call(to, bytes, lane, deadline).await?;
        decode(&answer).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// This node's replica of a group.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    group: Group,
    own: ReplicaId,
    /// None on a node of its own.
    peers: Option<Peers>,
}

/// Where a request goes.
enum Way {
    Here,
    To(Node),
    Nowhere,
}

impl Replica {
    pub(crate) fn new(group: Group, own: ReplicaId, peers: Option<Peers>) -> Self {
        Self { group, own, peers }
    }

    /// The replica itself.
    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// Proposes a command, through the leader wherever it is.
    pub(crate) async fn propose(
        &self,
        command: Bytes,
        deadline: Duration,
    ) -> Result<(LogPosition, Bytes), Error> {
        let Some(peers) = &self.peers else { return self.group.propose(command, deadline).await };
        let until = Instant::now() + deadline;
        let mut pause = PAUSE_MIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let result = match self.way() {
                Way::Here => self.group.propose(command.clone(), left).await,
                Way::To(node) => self.propose_at(peers, &node, &command, left).await,
                Way::Nowhere => Err(self.no_leader()),
            };
            match result {
                Err(e) if is_definite(&e) && Instant::now() + pause < until => {}
                result => return result,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Takes a linearizable read index from the leader and waits until it is applied here.
    pub(crate) async fn read_index(&self, deadline: Duration) -> Result<LogPosition, Error> {
        let Some(peers) = &self.peers else { return self.group.read_index(deadline).await };
        let until = Instant::now() + deadline;
        let mut pause = PAUSE_MIN;
        loop {
            let left = until.saturating_duration_since(Instant::now()).min(READ_ATTEMPT);
            let result = match self.way() {
                Way::Here => self.group.read_index(left).await,
                Way::To(node) => self.read_at(peers, &node, left).await,
                Way::Nowhere => Err(self.no_leader()),
            };
            match result {
                // A read does nothing: it may always be tried again.
                Err(e)
                    if !matches!(e.kind(), ErrorKind::Fatal) && Instant::now() + pause < until => {}
                Err(e) => return Err(e),
                Ok(at) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.group.wait_applied(at.index, left).await?;
                    return Ok(at);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits until every voter has an entry in its log, synced. What is committed stays so either way.
    pub(crate) async fn wait_for_all(&self, index: u64, deadline: Duration) -> Result<(), Error> {
        let until = Instant::now() + deadline;
        let mut pause = PAUSE_MIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let result = match (self.way(), &self.peers) {
                (Way::To(node), Some(peers)) => {
                    let millis = millis(left);
                    let group = self.group.id().0;
                    let asked = PeerRequest::WaitForAll { group, index, deadline: millis };
                    self.ask(peers, &node, &asked, &[], left).await.map(|_| ())
                }
                (Way::Here, _) => wait_for_all(&self.group, index, left).await,
                (Way::To(_) | Way::Nowhere, _) => Err(self.no_leader()),
            };
            match result {
                Err(e) if is_definite(&e) && Instant::now() + pause < until => {}
                Err(e) if is_definite(&e) => return Err(not_everywhere(self.group.id())),
                result => return result,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks all other voters; `None` for one who did not answer.
    pub(crate) async fn ask_voters(
        &self,
        request: &PeerRequest,
        deadline: Duration,
    ) -> Vec<Option<PeerReply>> {
        let Some(peers) = &self.peers else { return Vec::new() };
        let voters = self.group.status().voters;
        let others = voters.into_iter().filter(|(id, _)| *id != self.own);
        let asked = others.map(|(_, node)| async move {
            peers.ask(&node, request, &[], deadline).await.ok().map(|(reply, _)| reply)
        });
        futures::future::join_all(asked).await
    }

    fn way(&self) -> Way {
        match self.group.leader() {
            Some(leader) if leader == self.own => Way::Here,
            Some(leader) => {
                let status = self.group.status();
                let node = status.voters.get(&leader).or_else(|| status.learners.get(&leader));
                node.cloned().map_or(Way::Nowhere, Way::To)
            }
            None => Way::Nowhere,
        }
    }

    fn no_leader(&self) -> Error {
        Error::NotLeader { group: self.group.id(), leader: None }
    }

    async fn propose_at(
        &self,
        peers: &Peers,
        node: &Node,
        command: &[u8],
        deadline: Duration,
    ) -> Result<(LogPosition, Bytes), Error> {
        let group = self.group.id().0;
        let asked = PeerRequest::Propose { group, deadline: millis(deadline) };
        match self.ask(peers, node, &asked, command, deadline).await? {
            (PeerReply::At(at), reply) => Ok((at, reply)),
            (reply, _) => Err(self.odd(&reply)),
        }
    }

    async fn read_at(
        &self,
        peers: &Peers,
        node: &Node,
        deadline: Duration,
    ) -> Result<LogPosition, Error> {
        let group = self.group.id().0;
        let asked = PeerRequest::ReadIndex { group, deadline: millis(deadline) };
        match self.ask(peers, node, &asked, &[], deadline).await? {
            (PeerReply::At(at), _) => Ok(at),
            (reply, _) => Err(self.odd(&reply)),
        }
    }

    async fn ask(
        &self,
        peers: &Peers,
        node: &Node,
        request: &PeerRequest,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<(PeerReply, Bytes), Error> {
        let group = self.group.id();
        let asking = peers.ask(node, request, payload, deadline + ANSWER_SLACK);
        let answer = tokio::select! {
            answer = asking => answer,
            () = self.led_by_another_than(ReplicaId(node.node)) => {
                let what = format!("node {} leads no longer, and has not answered", node.name);
                return Err(Error::Unknown { group, what });
            }
        };
        match answer {
            Ok((PeerReply::Refused(refusal), _)) => Err(refusal.into_error(group)),
            Ok(answer) => Ok(answer),
            Err(e) => {
                let what = format!("node {} at {}: {e}", node.name, node.addr);
                let definite = matches!(
                    e.kind(),
                    io::ErrorKind::NotConnected | io::ErrorKind::PermissionDenied
                );
                Err(if definite {
                    Error::Unavailable { group, what }
                } else {
                    Error::Unknown { group, what }
                })
            }
        }
    }

    /// Resolves a while after another replica leads: one that has only stepped down has answered by then, and one that
    /// hangs never will.
    async fn led_by_another_than(&self, leader: ReplicaId) {
        while self.group.leader().is_none_or(|now| now == leader) {
            tokio::time::sleep(LEADER_POLL).await;
        }
        tokio::time::sleep(LEFT_ANSWERS_WITHIN).await;
    }

    fn odd(&self, reply: &PeerReply) -> Error {
        let what = format!("a peer answered with {reply:?}");
        Error::Unknown { group: self.group.id(), what }
    }
}

/// Whether nothing was done, and another attempt may go better.
fn is_definite(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotLeader { .. } | ErrorKind::Unavailable)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn not_everywhere(group: GroupId) -> Error {
    Error::Unknown { group, what: "it is committed, and not yet on every voter".to_owned() }
}

/// Waits at the leader until every voter has an entry in its log, synced.
pub(crate) async fn wait_for_all(
    group: &Group,
    index: u64,
    deadline: Duration,
) -> Result<(), Error> {
    let until = Instant::now() + deadline;
    loop {
        let status = group.status();
        let has = |voter| status.matched.get(voter).is_some_and(|at| at.index >= index);
        // The only voter of a group has it since it is committed.
        if status.voters.len() == 1 || status.voters.keys().all(has) {
            return Ok(());
        }
        if !group.is_leader() {
            return Err(Error::NotLeader { group: group.id(), leader: status.leader });
        }
        if Instant::now() >= until {
            return Err(not_everywhere(group.id()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
